from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wschaos.engine import websocket_stage
from pytest_wschaos.engine.errors import BadRequest
from pytest_wschaos.engine.stage import End, Stage
from pytest_wschaos.engine.toxics import frame as toxic

from .rig import open_rig
from .track import Track, stage
from .wire import ANSWER, BINARY, CLOSE, MASK, PING, PONG, REQUEST, TEXT, Said, close, frame, listen


def opened(one: Stage) -> Track:
    """A connection whose handshake has passed."""
    track = Track(one)
    head = REQUEST if one.upstream else ANSWER
    track.feed(head, 0.0)
    track.out.clear()
    return track


def through(one: Stage, *pieces: bytes) -> list[Said]:
    """What comes out of frames."""
    track = opened(one)
    for piece in pieces:
        track.feed(piece)
    track.until(1000.0)
    return listen(track.data, masked=one.upstream)


def texts(*payloads: bytes, mask: bytes = b"") -> bytes:
    return b"".join(frame(TEXT, payload, mask=mask) for payload in payloads)


def payloads(said: list[Said]) -> list[bytes]:
    return [one.payload for one in said]


# --- what happens to what is chosen ---


def test_drop_leaves_out_what_it_is_told_to_and_nothing_else() -> None:
    one = stage("frame", action="drop", opcodes=["pong"])
    data = texts(b"a") + frame(PONG, b"1") + frame(PING, b"2") + texts(b"b")
    assert payloads(through(one, data)) == [b"a", b"2", b"b"]
    assert one.acts == [("drop", "pong")]  # type: ignore[attr-defined]


def test_drop_of_a_message_drops_all_its_frames_and_spares_control_frames_between() -> None:
    data = frame(TEXT, b"a", final=False) + frame(PING, b"p") + frame(0, b"b", final=False) + frame(0, b"c")
    assert payloads(through(stage("frame", action="drop", opcodes=["text"]), data, texts(b"d"))) == [b"p"]
    assert payloads(through(stage("frame", action="drop", opcodes=["ping"]), data)) == [b"abc"]


def test_delay_holds_up_what_is_chosen_and_what_follows() -> None:
    track = opened(stage("frame", action="delay", delay=500, opcodes=["ping"]))
    track.feed(texts(b"before") + frame(PING, b"p") + texts(b"after"), 1.0)
    track.feed(texts(b"later"), 2.0)
    track.until(5.0)
    assert [at for at, _ in track.out] == [1.0, 1.5, 1.5, 2.0]
    assert payloads(listen(track.data)) == [b"before", b"p", b"after", b"later"]


def test_a_delayed_message_that_comes_in_pieces_is_delayed_as_a_whole() -> None:
    track = opened(stage("frame", action="delay", delay=500))
    data = texts(b"abcdef")
    track.feed(data[:4], 1.0)
    track.feed(data[4:], 1.2)
    track.until(5.0)
    assert [at for at, _ in track.out] == [1.5, 1.7]


def test_duplicate_repeats_whole_messages() -> None:
    data = frame(TEXT, b"a", final=False) + frame(PING, b"p") + frame(0, b"b") + texts(b"c")
    said = through(stage("frame", action="duplicate", opcodes=["text"]), data)
    assert payloads(said) == [b"p", b"ab", b"ab", b"c", b"c"]
    assert [one.frames for one in said] == [1, 2, 2, 1, 1]


def test_reorder_swaps_a_message_with_the_next_one() -> None:
    one = stage("frame", action="reorder", opcodes=["text"])
    data = texts(b"a") + frame(PING, b"p") + texts(b"b", b"c", b"d", b"e")
    assert payloads(through(one, data)) == [b"p", b"b", b"a", b"d", b"c"]


def test_a_reordered_message_does_not_come_between_the_frames_of_another() -> None:
    one = stage("frame", action="reorder", match="first")
    data = texts(b"first") + frame(TEXT, b"b", final=False) + frame(PING, b"p") + frame(0, b"c")
    assert payloads(through(one, data)) == [b"p", b"bc", b"first"]


def test_a_control_frame_may_be_reordered_with_any() -> None:
    one = stage("frame", action="reorder", opcodes=["ping"], count=1)
    assert payloads(through(one, frame(PING, b"1") + texts(b"a") + frame(PING, b"2"))) == [b"a", b"1", b"2"]


@pytest.mark.parametrize("amid", [False, True])
def test_what_is_reordered_waits_no_longer_than_it_may(amid: bool) -> None:
    track = opened(stage("frame", action="reorder", count=1, opcodes=["text"], delay=300))
    ping = frame(PING, b"ping")
    track.feed(texts(b"a") + (ping[:3] if amid else b""), 1.0)
    track.until(2.0)
    track.feed(ping[3:] if amid else ping, 2.0)
    assert payloads(listen(track.data)) == ([b"ping", b"a"] if amid else [b"a", b"ping"])


@pytest.mark.parametrize("over", ["close", "eof"])
def test_what_waits_comes_before_the_end(over: str) -> None:
    track = opened(stage("frame", action="reorder"))
    track.feed(texts(b"a"))
    assert track.out == []
    track.feed(frame(CLOSE, close(1000)) if over == "close" else End.EOF)
    assert payloads(listen(track.data))[0] == b"a"


def test_truncate_shortens_the_payload_and_says_so() -> None:
    for size in (3, 200, 70_000):
        said = through(stage("frame", action="truncate", keep=2), texts(b"a" * size, b"b"))
        assert payloads(said) == [b"aa", b"b"]
    said = through(stage("frame", action="truncate", keep=200), texts(b"a" * 70_000, b"b"))
    assert payloads(said) == [b"a" * 200, b"b"]


def test_truncate_counts_over_the_frames_of_a_message() -> None:
    data = frame(TEXT, b"abc", final=False) + frame(0, b"def", final=False) + frame(0, b"g")
    said = through(stage("frame", action="truncate", keep=4), data)
    assert said == [Said(TEXT, b"abcd", 3)]


@pytest.mark.parametrize("upstream", [False, True])
@pytest.mark.parametrize("pieces", [1, 1000])
def test_corrupt_flips_as_many_bits_as_it_is_told_to(upstream: bool, pieces: int) -> None:
    sent = bytes(1000)
    one = stage("frame", action="corrupt", bits=1, opcodes=["binary"], upstream=upstream)
    raw = frame(BINARY, sent, mask=MASK if upstream else b"") + texts(b"a", mask=MASK if upstream else b"")
    step = -(-len(raw) // pieces)
    first, second = through(one, *(raw[place : place + step] for place in range(0, len(raw), step)))
    assert len(first.payload) == 1000
    assert sum(byte.bit_count() for byte in first.payload) == 1
    assert second.payload == b"a"


def test_corrupt_leaves_an_empty_payload() -> None:
    assert payloads(through(stage("frame", action="corrupt"), texts(b"", b""))) == [b"", b""]


@pytest.mark.parametrize("upstream", [False, True])
def test_close_comes_in_place_of_what_is_chosen_and_is_the_last(upstream: bool) -> None:
    mask = MASK if upstream else b""
    one = stage("frame", action="close", code=4001, reason="bye", match="b", upstream=upstream)
    track = opened(one)
    track.feed(texts(b"a", b"b", b"c", mask=mask))
    track.feed(texts(b"d", mask=mask))
    track.feed(End.EOF)
    assert payloads(listen(track.data, masked=upstream)) == [b"a", close(4001, "bye")]
    assert track.out[-1][1] is End.EOF


def test_close_may_come_between_the_frames_of_a_message() -> None:
    one = stage("frame", action="close", opcodes=["ping"])
    data = frame(TEXT, b"a", final=False) + frame(PING, b"") + frame(0, b"b")
    assert payloads(through(one, data)) == [close(1011)]


def test_the_close_of_the_peer_itself_may_be_changed_and_dropped() -> None:
    data = texts(b"a") + frame(CLOSE, close(1000))
    assert payloads(through(stage("frame", action="close", code=1012, opcodes=["close"]), data))[1] == close(1012)
    assert payloads(through(stage("frame", action="drop", opcodes=["close"]), data)) == [b"a"]


@pytest.mark.parametrize("action", ["duplicate", "reorder"])
def test_a_close_is_neither_repeated_nor_overtaken(action: str) -> None:
    assert payloads(through(stage("frame", action=action), frame(CLOSE, close(1000)))) == [close(1000)]


def test_what_is_held_of_a_message_goes_before_a_close() -> None:
    data = frame(TEXT, b"a", final=False) + frame(CLOSE, close(1000))
    track = opened(stage("frame", action="duplicate"))
    track.feed(data)
    assert track.data == data


def test_what_is_held_of_a_message_goes_before_an_injected_close_too() -> None:
    track = opened(stage("frame", action="close", match="b"))
    track.feed(frame(TEXT, b"a", final=False) + frame(PING, b"b"))
    assert track.data == frame(TEXT, b"a", final=False) + frame(CLOSE, close(1011))


# --- choosing ---


@pytest.mark.parametrize(
    ("attributes", "gone"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"every": 3}, [1, 4, 7]),
        ({"start": 3}, [3, 4, 5, 6, 7, 8]),
        ({"count": 2}, [1, 2]),
        ({"start": 2, "every": 2, "count": 3}, [2, 4, 6]),
        ({"match": "no 4"}, [4]),
        ({"match": "no", "start": 8}, [8]),
        ({"match": "other"}, []),
        ({"opcodes": ["binary", "ping"]}, []),
        ({"probability": 0.0}, []),
    ],
)
@pytest.mark.parametrize("upstream", [False, True])
def test_what_is_chosen(attributes: dict[str, Any], gone: list[int], upstream: bool) -> None:
    one = stage("frame", action="drop", upstream=upstream, **attributes)
    said = through(one, texts(*(b"no %d" % number for number in range(1, 9)), mask=MASK if upstream else b""))
    assert payloads(said) == [b"no %d" % number for number in range(1, 9) if number not in gone]
    assert len(one.acts) == len(gone)  # type: ignore[attr-defined]


def test_a_match_is_looked_for_over_the_frames_of_a_message() -> None:
    data = frame(TEXT, b"sec", final=False) + frame(0, b"ret") + texts(b"public")
    assert payloads(through(stage("frame", action="drop", match="secret"), data)) == [b"public"]


def test_a_match_is_looked_for_in_control_frames_too() -> None:
    one = stage("frame", action="truncate", match="2", keep=0)
    assert payloads(through(one, frame(PING, b"12"), frame(PING, b"34"))) == [b"", b"34"]


def test_a_matched_one_can_be_delayed() -> None:
    track = opened(stage("frame", action="delay", delay=100, match="b"))
    track.feed(texts(b"a", b"b"), 1.0)
    track.until(2.0)
    assert track.out == [(1.0, texts(b"a")), (1.1, texts(b"b"))]


def test_the_seed_says_which_ones_are_chosen() -> None:
    def left(seed: int) -> list[bytes]:
        one = stage("frame", action="drop", probability=0.5, seed=seed)
        return payloads(through(one, texts(*(b"%d" % number for number in range(40)))))

    assert left(1) == left(1) != left(2)
    assert 0 < len(left(1)) < 40


def test_what_is_compressed_is_not_taken_from_those_that_lean_on_it() -> None:
    squeezed = frame(TEXT, b"abc", compressed=True)
    for action in ("drop", "duplicate", "reorder"):
        track = opened(stage("frame", action=action))
        track.feed(squeezed)
        assert track.data == squeezed
    track = opened(stage("frame", action="truncate", keep=1, match="c"))
    track.feed(squeezed)
    assert track.data == frame(TEXT, b"a", compressed=True)


# --- what it reads ---


def test_the_offer_to_compress_is_taken_out_when_asked() -> None:
    track = Track(stage("frame", upstream=True, compression=False))
    track.feed(REQUEST)
    assert b"extensions" not in track.data.lower()
    assert track.data.startswith(b"GET /ws HTTP/1.1\r\nHost: a\r\n")
    assert track.data.endswith(b"Sec-WebSocket-Version: 13\r\n\r\n")
    track = Track(stage("frame", upstream=True))
    track.feed(REQUEST)
    assert track.data == REQUEST


@pytest.mark.parametrize(
    ("upstream", "data"),
    [
        (False, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n\x81\x00"),
        (True, b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n\x81\x00"),
        (True, b"\x16\x03\x01 not HTTP at all"),
        (False, b"SSH-2.0\r\n\r\n\x81\x00"),
        (False, ANSWER + b"\x83\x00\x81\x00"),
        (False, ANSWER + b"\x89\x7e\x01\x00"),
        (False, ANSWER + b"\x82\x7e\x00\x01a\x82\x00"),
    ],
)
def test_what_is_no_websocket_passes_as_it_is(upstream: bool, data: bytes) -> None:
    track = Track(stage("frame", action="drop", upstream=upstream))
    for place in range(len(data)):
        track.feed(data[place : place + 1])
    assert track.data == data


def test_a_head_without_end_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_stage, "HEAD_LIMIT", 100)
    track = Track(stage("frame", action="drop"))
    track.feed(b"HTTP/1.1 " + b"a" * 100)
    assert len(track.data) == 109


def test_frames_follow_the_last_of_several_answers() -> None:
    one = stage("frame", action="drop")
    track = Track(one)
    track.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER + texts(b"a"))
    assert track.data == b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER


@pytest.mark.parametrize(("first", "second"), [(texts(b"abc")[:3], texts(b"d")), (b"\x81", b""), (b"HTTP/1.1 1", b"")])
def test_an_end_amid_something_loses_nothing(first: bytes, second: bytes) -> None:
    head = b"" if first.startswith(b"H") else ANSWER
    track = Track(stage("frame", action="duplicate"))
    track.feed(head + first)
    track.feed(End.EOF)
    assert track.data == head + first
    assert track.out[-1][1] is End.EOF


def test_a_large_frame_streams_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toxic, "PAYLOAD_LIMIT", 1000)
    for attributes in ({"match": "z"}, {"action": "duplicate"}, {"action": "corrupt"}):
        track = opened(stage("frame", **{"action": "drop", **attributes}))
        data = frame(BINARY, b"x" * 5000)
        track.feed(data[:2000])
        assert len(track.data) == 2000
        track.feed(data[2000:])
        assert len(track.data) == len(data)
        if attributes.get("action") != "corrupt":
            assert track.data == data


def test_a_message_in_many_frames_is_not_held_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toxic, "PAYLOAD_LIMIT", 1000)
    track = opened(stage("frame", action="drop", match="z"))
    data = frame(TEXT, b"", final=False) + frame(0, b"", final=False) * 100
    track.feed(data)
    assert track.data == data
    track.feed(frame(0, b"z"))
    assert listen(track.data) == [Said(TEXT, b"z", 102)]


def test_a_length_that_nobody_can_send_is_passed_on() -> None:
    for action in ("corrupt", "duplicate", "truncate", "delay"):
        track = opened(stage("frame", action=action, keep=2**62))
        track.feed(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffabc")
        assert track.data[:10] == b"\x82\x7f" + (
            (2**62).to_bytes(8, "big") if action == "truncate" else b"\x7f" + b"\xff" * 7
        )


# --- coming and going ---


def joined(one_data: bytes, *pieces: bytes, upstream: bool = False) -> tuple[Track, bytes]:
    track = Track(stage("frame", action="drop", opened_with=False, upstream=upstream))
    for piece in (one_data, *pieces):
        track.feed(piece)
    return track, track.data


def test_on_a_live_connection_it_begins_with_a_read_that_begins_with_a_frame() -> None:
    assert joined(texts(b"a"), texts(b"b"))[1] == b""
    middle = b"the end of a frame"
    assert joined(middle, texts(b"b"))[1] == middle
    assert joined(b"\x81", texts(b"b"))[1] == b"\x81"
    unmasked = texts(b"a")
    assert joined(unmasked, texts(b"b", mask=MASK), upstream=True)[1] == unmasked
    assert joined(b"\x09\x00")[1] == b"\x09\x00"
    assert joined(b"\xb1\x00")[1] == b"\xb1\x00"
    assert joined(texts(b"a") + b"\x81")[1] == b""


def test_on_a_connection_whose_handshake_is_to_come_it_waits_for_that() -> None:
    assert joined(ANSWER, texts(b"a"))[1] == ANSWER
    assert joined(REQUEST, texts(b"a", mask=MASK), upstream=True)[1] == REQUEST


def test_the_rest_of_a_message_that_began_before_passes() -> None:
    rest = frame(0, b"b", final=False) + frame(0, b"c")
    assert joined(rest + texts(b"d"))[1] == rest


def test_removal_lets_go_of_what_waits() -> None:
    one = stage("frame", action="reorder")
    track = opened(one)
    track.feed(texts(b"a") + texts(b"b")[:1])
    track.remove(one, 1.0)
    assert track.chain.stages == []
    track.feed(texts(b"b")[1:] + texts(b"c"))
    assert payloads(listen(track.data)) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    "attributes", [{"action": "drop"}, {"action": "truncate", "keep": 1}, {"action": "drop", "match": "zz"}]
)
@pytest.mark.parametrize("cut", range(1, 14))
def test_removal_amid_a_frame_leaves_the_stream_valid(attributes: dict[str, Any], cut: int) -> None:
    one = stage("frame", opcodes=["text"], **attributes)
    track = opened(one)
    data = frame(TEXT, b"abc", final=False) + frame(PING, b"") + frame(0, b"zzz") + texts(b"after")
    track.feed(data[:cut])
    track.remove(one, 1.0)
    track.feed(data[cut:])
    said = listen(track.data)
    assert said[-1].payload == b"after"
    assert PING in [one.opcode for one in said]


def test_removal_amid_the_message_after_which_one_waits() -> None:
    one = stage("frame", action="reorder", count=1)
    track = opened(one)
    track.feed(texts(b"a") + frame(TEXT, b"b", final=False))
    track.remove(one, 1.0)
    track.feed(frame(0, b"c") + texts(b"d"))
    assert payloads(listen(track.data)) == [b"bc", b"a", b"d"]


@pytest.mark.parametrize("end", [False, True])
def test_what_is_held_does_not_come_amid_a_control_frame(end: bool) -> None:
    one = stage("frame", action="drop", match="c", opcodes=["text"])
    track = opened(one)
    ping = frame(PING, b"ping")
    track.feed(frame(TEXT, b"b", final=False) + ping[:4])
    if end:
        track.feed(End.EOF)
        assert track.data == ping[:4]
        return
    track.remove(one, 1.0)
    track.feed(ping[4:] + frame(0, b"c") + texts(b"a"))
    assert payloads(listen(track.data)) == [b"ping", b"bc", b"a"]


def test_removal_amid_a_control_frame_while_a_message_waits() -> None:
    one = stage("frame", action="reorder", opcodes=["text"])
    track = opened(one)
    ping = frame(PING, b"ping")
    track.feed(texts(b"a") + ping[:3])
    track.remove(one, 1.0)
    track.feed(ping[3:])
    assert payloads(listen(track.data)) == [b"ping", b"a"]


def test_removal_after_a_close_lets_nothing_follow_it() -> None:
    one = stage("frame", action="close")
    track = opened(one)
    track.feed(texts(b"a"))
    track.remove(one, 1.0)
    track.feed(texts(b"b"))
    track.feed(End.EOF)
    assert payloads(listen(track.data)) == [close(1011)]


def test_removal_lets_what_is_delayed_go_at_once() -> None:
    one = stage("frame", action="delay", delay=1000)
    track = opened(one)
    track.feed(texts(b"a"), 1.0)
    track.remove(one, 1.1)
    assert track.out == [(1.1, texts(b"a"))]


def test_an_update_is_followed_from_the_next_message_on() -> None:
    one = stage("frame", action="drop", match="a")
    track = opened(one)
    track.feed(texts(b"a")[:2])
    track.update(one, 1.0, match="b")
    track.feed(texts(b"a")[2:] + texts(b"b"))
    assert payloads(listen(track.data)) == [b"a"]


def test_an_update_amid_a_truncated_frame_leaves_its_length_true() -> None:
    one = stage("frame", action="truncate", keep=2)
    track = opened(one)
    track.feed(texts(b"abcdef")[:3])
    track.update(one, 1.0, keep=4)
    track.feed(texts(b"abcdef")[3:] + texts(b"abcdef"))
    assert payloads(listen(track.data)) == [b"ab", b"abcd"]


UNITS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([PING, PONG]), st.lists(st.binary(max_size=5), min_size=1, max_size=1)),
        st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300), min_size=1, max_size=4)),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=150)
@given(
    units=UNITS,
    seed=st.integers(0, 2**32),
    action=st.sampled_from(toxic.ACTIONS),
    opcodes=st.lists(st.sampled_from(["text", "binary", "ping", "pong"]), max_size=2),
    match=st.sampled_from(["", "a", "\x00"]),
    every=st.integers(1, 3),
    upstream=st.booleans(),
    closing=st.booleans(),
    removed=st.one_of(st.none(), st.floats(0, 1)),
)
def test_no_stream_becomes_invalid_however_it_is_cut_up(
    units: list[tuple[int, list[bytes]]],
    seed: int,
    action: str,
    opcodes: list[str],
    match: str,
    every: int,
    upstream: bool,
    closing: bool,
    removed: float | None,
) -> None:
    rng = random.Random(seed)
    mask = MASK if upstream else b""
    data = b""
    for opcode, parts in units:
        for place, part in enumerate(parts):
            final = place == len(parts) - 1
            data += frame(0 if place else opcode, part, final=final, mask=mask)
            if not final and rng.random() < 0.5:
                data += frame(PING, b"between", mask=mask)
    if closing:
        data += frame(CLOSE, close(1000), mask=mask)
    sent = listen(data, masked=upstream)
    chosen: dict[str, Any] = {"action": action, "opcodes": opcodes, "match": match, "every": every, "keep": 1}
    one = stage("frame", upstream=upstream, seed=seed, **chosen)
    track = opened(one)
    place = 0
    while place < len(data):
        if removed is not None and place >= removed * len(data):
            track.remove(one, track.now)
            removed = None
        step = rng.randint(1, 20)
        track.feed(data[place : place + step])
        place += step
    track.feed(End.EOF)
    came = listen(track.data, masked=upstream)
    if not one.acts or action in ("pass", "delay", "reorder"):  # type: ignore[attr-defined]
        assert sorted(payloads(came)) == sorted(payloads(sent))
    elif action == "duplicate":
        assert len(came) == len(sent) + len(one.acts)  # type: ignore[attr-defined]
    elif action == "drop":
        assert len(came) == len(sent) - len(one.acts)  # type: ignore[attr-defined]
    elif action in ("truncate", "corrupt"):
        assert len(came) == len(sent)


@pytest.mark.asyncio
async def test_chance_is_drawn_for_each_connection_and_direction_and_is_the_same_for_a_seed() -> None:
    async def run(seed: int) -> list[bytes]:
        """What becomes of the same payload on two connections, up and down."""
        spoilt = []
        async with open_rig(seed) as rig:
            for stream in ("upstream", "downstream"):
                rig.proxy.add_toxic("frame", stream=stream, attributes={"action": "corrupt"})
            for _ in range(2):
                client, server = await rig.pair()
                for source, target, head, mask in ((client, server, REQUEST, MASK), (server, client, ANSWER, b"")):
                    data = head + frame(BINARY, bytes(1000), mask=mask)
                    await source.send(data)
                    came = await target.receive(len(data))
                    spoilt.append(listen(came[len(head) :], masked=bool(mask))[0].payload)
        return spoilt

    first = await run(1)
    assert await run(1) == first
    assert await run(2) != first
    assert len(set(first)) == 4


# --- what cannot be ---


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"action": "explode"}, "toxic frame: action = 'explode': must be one of pass, drop, delay"),
        ({"opcodes": ["txt"]}, r"opcodes = \['txt'\]: must be a list of text, binary, close, ping, pong"),
        ({"opcodes": [1]}, r"opcodes = \[1\]: must be a list"),
        ({"every": 0}, "every = 0: must be 1 or more"),
        ({"start": 0}, "start = 0: must be 1 or more"),
        ({"count": -1}, "count = -1: must be 0 or more"),
        ({"probability": 1.5}, "probability = 1.5: must be 0 to 1"),
        ({"delay": -1}, "delay = -1: must be 0 or more"),
        ({"keep": -1}, "keep = -1: must be 0 or more"),
        ({"bits": 0}, "bits = 0: must be 1 to 1024"),
        ({"code": 999}, "code = 999: must be 1000 to 4999"),
        ({"match": "\ud800"}, "match = .*: must be text that UTF-8 can hold"),
        ({"reason": "x" * 124}, "reason = .*: must be 123 bytes or fewer"),
    ],
)
def test_what_makes_no_sense_is_named(attributes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        stage("frame", **attributes)
