"""Reading a WebSocket stream, in whatever pieces it comes, and whatever is in it."""

from __future__ import annotations

import random
import zlib

import pytest
from engine.wire import frame
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wschaos.engine import frames
from pytest_wschaos.engine.frames import Head, Inflater, Malformed, Opcode, Seen, StreamReader, inflaters, unmask

REQUEST = b"GET /ws HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\n\r\n"


def read(*pieces: bytes, reader: StreamReader | None = None) -> list[Head | Seen]:
    reader = reader or opened()
    return [item for piece in pieces for item in reader.feed(piece)]


def opened() -> StreamReader:
    """A reader whose handshake is done."""
    reader = StreamReader()
    assert len(list(reader.feed(REQUEST))) == 1
    return reader


def deflate(*messages: bytes) -> list[bytes]:
    state = zlib.compressobj(wbits=-15)
    return [(state.compress(data) + state.flush(zlib.Z_SYNC_FLUSH))[:-4] for data in messages]


def test_the_head_comes_first_and_repeated_headers_are_joined() -> None:
    (head,) = read(REQUEST, reader=StreamReader())
    assert head == Head(("GET", "/ws", "HTTP/1.1"), {"host": "a", "x": "1, 2"})


def test_a_status_line_may_have_no_phrase() -> None:
    (head,) = read(b"HTTP/1.1 101\r\n\r\n", reader=StreamReader())
    assert isinstance(head, Head)
    assert head.start == ("HTTP/1.1", "101", "")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("mask", [b"", b"\x01\x02\x03\x04"])
def test_every_length_is_read(size: int, mask: bytes) -> None:
    payload = random.Random(size).randbytes(size)
    assert read(frame(2, payload, mask=mask)) == [Seen(Opcode.BINARY, size, payload)]


def test_fragments_are_put_together_around_control_frames() -> None:
    stream = (
        frame(1, b"one ", final=False)
        + frame(9, b"key")
        + frame(0, b"two ", final=False)
        + frame(0, b"three")
        + frame(8, b"\x03\xe8")
    )
    assert read(stream) == [
        Seen(Opcode.PING, 3, b"key"),
        Seen(Opcode.TEXT, 13, b"one two three"),
        Seen(Opcode.CLOSE, 2, b"\x03\xe8"),
    ]


@given(st.lists(st.integers(1, 40), max_size=20))
def test_it_does_not_matter_in_what_pieces_it_comes(sizes: list[int]) -> None:
    stream = (
        REQUEST + frame(1, b"hello", mask=b"abcd") + frame(2, b"x" * 200, final=False) + frame(10, b"") + frame(0, b"y")
    )
    pieces = []
    rest = stream
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read(*pieces, rest, reader=StreamReader()) == read(stream, reader=StreamReader())


def test_a_message_that_inflates_without_end_is_given_up() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    inflater = Inflater(takeover=True)
    assert inflater.inflate(data[:-4]) is None
    small = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    after = (small.compress(b"hello") + small.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert inflater.inflate(after) is None  # it may refer to what was not followed
    assert Inflater(takeover=True).inflate(after) == b"hello"


@settings(max_examples=200)
@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes_is_read_or_called_malformed(data: bytes, head: bool) -> None:
    reader = opened() if head else StreamReader()
    try:
        for seen in reader.feed(data):
            assert isinstance(seen, Head | Seen)
    except Malformed as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x83\x00", "unknown opcode 3"),
        (b"\x89\x7e\x00\x7e", "a control frame of 126 bytes"),
        (b"\x88\xff" + b"\xff" * 8, "a control frame of"),
    ],
)
def test_what_no_frame_can_be_is_malformed(data: bytes, told: str) -> None:
    with pytest.raises(Malformed, match=told):
        read(data)


@pytest.mark.parametrize(
    ("data", "told"), [(b"hello\r\n\r\n", "not an HTTP head"), (b"x" * 70_000, "no end of the HTTP head")]
)
def test_what_no_head_can_be_is_malformed(data: bytes, told: str) -> None:
    with pytest.raises(Malformed, match=told):
        read(data, reader=StreamReader())


def test_nothing_is_read_once_the_owner_says_so() -> None:
    reader = opened()
    reader.frames = False
    assert read(frame(1, b"hello"), reader=reader) == []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PAYLOAD_LIMIT", 1000)


@pytest.mark.usefixtures("small")
def test_a_large_frame_is_told_by_its_size_and_not_kept() -> None:
    reader = opened()
    large = frame(2, b"x" * 5000, mask=b"abcd")
    for place in range(0, len(large), 100):
        seen = read(large[place : place + 100], reader=reader)
        assert len(reader._buffer) <= 100
    assert seen == [Seen(Opcode.BINARY, 5000, None)]
    assert read(frame(1, b"next"), reader=reader) == [Seen(Opcode.TEXT, 4, b"next")]


@pytest.mark.usefixtures("small")
def test_a_large_message_in_fragments_is_told_by_its_size() -> None:
    parts = [frame(1, b"x" * 600, final=False), frame(0, b"x" * 600, final=False), frame(0, b"x")]
    assert read(*parts, frame(1, b"next")) == [Seen(Opcode.TEXT, 1201, None), Seen(Opcode.TEXT, 4, b"next")]


def test_a_length_that_nobody_can_send_holds_no_memory() -> None:
    reader = opened()
    assert read(b"\x82\x7f" + b"\x7f" * 8, *[b"x" * 10_000] * 20, reader=reader) == []
    assert len(reader._buffer) == 0


@pytest.mark.parametrize("takeover", [True, False])
def test_compressed_messages_are_read(takeover: bool) -> None:
    plain = [b"hello hello hello"] * 3
    packed = deflate(*plain) if takeover else [deflate(text)[0] for text in plain]
    reader = opened()
    reader.inflater = Inflater(takeover=takeover)
    seen = read(*(frame(1, data, compressed=True) for data in packed), frame(1, b"plain"), reader=reader)
    assert [item.payload for item in seen if isinstance(item, Seen)] == [*plain, b"plain"]


def test_a_compressed_message_without_an_agreement_is_not_read() -> None:
    assert read(frame(1, deflate(b"hello")[0], compressed=True)) == [Seen(Opcode.TEXT, 7, None)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("takeover", [True, False])
def test_a_message_that_inflates_too_far_is_not_kept_and_the_next_one_is_read(takeover: bool) -> None:
    plain = [b"x" * 1000, b"x" * 1001, b"y" * 50_000, b"y" * 300]
    packed = deflate(*plain) if takeover else [deflate(text)[0] for text in plain]
    inflater = Inflater(takeover=takeover)
    assert [inflater.inflate(data) for data in packed] == [plain[0], None, None, plain[3]]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("takeover", [True, False])
def test_after_a_message_that_was_not_kept_only_independent_ones_can_be_read(takeover: bool) -> None:
    noise = random.Random(1).randbytes(3000)
    plain = [noise, noise[:200]]
    packed = deflate(*plain) if takeover else [deflate(text)[0] for text in plain]
    reader = opened()
    reader.inflater = Inflater(takeover=takeover)
    seen = read(*(frame(2, data, compressed=True) for data in packed), reader=reader)
    assert [item.payload for item in seen if isinstance(item, Seen)] == [None, None if takeover else plain[1]]


def test_garbage_spoils_only_what_leans_on_it() -> None:
    for takeover in (True, False):
        inflater = Inflater(takeover=takeover)
        assert inflater.inflate(b"\xff\xff\xff") is None
        assert inflater.inflate(deflate(b"hello")[0]) == (None if takeover else b"hello")


@pytest.mark.parametrize(
    ("header", "up", "down"),
    [
        ("permessage-deflate", True, True),
        ("x-other, permessage-deflate; client_no_context_takeover", False, True),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=12", True, False),
    ],
)
def test_the_agreement_says_who_keeps_its_context(header: str, up: bool, down: bool) -> None:
    found = inflaters(Head(("HTTP/1.1", "101", ""), {"sec-websocket-extensions": header}))
    assert [inflater is not None and inflater._takeover for inflater in found] == [up, down]


def test_without_an_agreement_nothing_is_inflated() -> None:
    assert inflaters(Head(("HTTP/1.1", "101", ""), {})) == (None, None)


@given(st.binary(max_size=50), st.binary(min_size=4, max_size=4))
def test_unmasking_twice_changes_nothing(payload: bytes, mask: bytes) -> None:
    assert unmask(unmask(payload, mask), mask) == payload
