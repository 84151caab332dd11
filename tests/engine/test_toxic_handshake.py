from __future__ import annotations

from typing import Any

import pytest

from pytest_wschaos.engine.errors import BadRequest
from pytest_wschaos.engine.stage import End

from .rig import Rig
from .track import Track, stage
from .wire import ANSWER, REQUEST, TEXT, frame


def answer(data: bytes) -> tuple[str, dict[str, str]]:
    """The first line and the headers of an answer that is all there is."""
    head, _, rest = data.partition(b"\r\n\r\n")
    assert rest == b""
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines)


def answered(given: bytes = ANSWER, **attributes: Any) -> Track:
    track = Track(stage("handshake", **attributes))
    for place in range(len(given)):
        track.feed(given[place : place + 1], 1.0)
    return track


def test_a_status_is_answered_in_the_servers_place() -> None:
    track = answered(status=503, retry_after=7, headers={"x-why": "chaos"})
    first, headers = answer(track.data)
    assert first == "HTTP/1.1 503 Service Unavailable"
    assert headers == {"Content-Length": "0", "Connection": "close", "x-why": "chaos", "Retry-After": "7"}
    assert track.out[-1] == (1.0, End.CUT)
    track.feed(frame(TEXT, b"hello"))
    track.feed(End.EOF)
    assert track.out[-1] == (1.0, End.CUT)


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"status": 429, "reason": "Slow Down"}, "HTTP/1.1 429 Slow Down"),
        ({"status": 599}, "HTTP/1.1 599 Unknown"),
        ({"status": 200}, "HTTP/1.1 200 OK"),
    ],
)
def test_the_reason_is_the_usual_one_or_that_given(attributes: dict[str, Any], line: str) -> None:
    assert answer(answered(**attributes).data)[0] == line


def test_a_wrong_accept_key_and_headers_go_in_place_of_the_servers() -> None:
    track = answered(accept="wrong", headers={"upgrade": "other", "X-New": "1"})
    assert answer(track.data) == (
        "HTTP/1.1 101 Switching Protocols",
        {"Connection": "Upgrade", "upgrade": "other", "X-New": "1", "Sec-WebSocket-Accept": "wrong"},
    )
    track.feed(frame(TEXT, b"goes on"))
    assert track.data.endswith(b"goes on")


def test_silence_swallows_all_but_the_end() -> None:
    track = answered(silence=True)
    track.feed(frame(TEXT, b"hello"))
    assert track.out == []
    track.feed(End.EOF)
    assert track.out == [(1.0, End.EOF)]


@pytest.mark.parametrize("status", [0, 503])
def test_the_bytes_of_the_answer_may_be_slow(status: int) -> None:
    track = answered(delay=10, status=status)
    track.feed(frame(TEXT, b"hello"), 1.0)
    track.until(100.0)
    head = track.data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert [(at, item) for at, item in track.out[: len(head)]] == [
        (pytest.approx(1.0 + 0.01 * (place + 1)), head[place : place + 1]) for place in range(len(head))
    ]
    assert track.out[len(head)][1] == (End.CUT if status else frame(TEXT, b"hello"))


def test_an_answer_of_the_servers_own_is_changed_too_and_its_body_passes() -> None:
    track = answered(b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno", retry_after=0)
    assert track.data == b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nRetry-After: 0\r\n\r\nno"


def test_a_provisional_answer_passes() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    assert answered(early + ANSWER, status=401).data.startswith(early + b"HTTP/1.1 401 ")


@pytest.mark.parametrize("given", [{"opened_with": False}, {"upstream": True}])
def test_without_an_answer_to_come_everything_passes(given: dict[str, Any]) -> None:
    track = Track(stage("handshake", status=503, **given))
    track.feed(ANSWER)
    track.feed(End.EOF)
    assert track.out == [(0.0, ANSWER), (0.0, End.EOF)]


def test_it_tells_what_it_did() -> None:
    for attributes, act in (({"status": 503}, ("answer", "503")), ({"silence": True}, ("silence", "101"))):
        one = stage("handshake", **attributes)
        Track(one).feed(ANSWER)
        assert one.acts == [act]  # type: ignore[attr-defined]


def test_removal_leaves_what_it_has_swallowed_swallowed() -> None:
    one = stage("handshake", silence=True)
    track = Track(one)
    track.feed(ANSWER)
    track.remove(one, 1.0)
    track.feed(b"after")
    assert track.out == []


def test_removal_amid_the_answer_lets_it_pass() -> None:
    one = stage("handshake", status=503)
    track = Track(one)
    track.feed(ANSWER[:20])
    track.remove(one, 1.0)
    track.feed(ANSWER[20:])
    assert track.data == ANSWER


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"status": 101}, "toxic handshake: status = 101: must be 200 to 599, or 0"),
        ({"status": 600}, "status = 600"),
        ({"retry_after": -2}, "retry_after = -2: must be 0 s or more, or -1"),
        ({"delay": -1}, "delay = -1: must be 0 ms or more"),
        ({"reason": "a\r\nb"}, "reason = .*: must be a text in one line"),
        ({"accept": "a\n"}, "accept = .*: must be a text in one line"),
        ({"headers": {"a b": "c"}}, "headers = .*: must be names of headers"),
        ({"headers": {"a": 1}}, "headers = .*: must be names of headers"),
        ({"headers": {"a": "b\r\n"}}, "headers = .*: must be names of headers"),
    ],
)
def test_what_makes_no_sense_is_named(attributes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        stage("handshake", **attributes)


@pytest.mark.asyncio
async def test_a_client_gets_the_answer_and_both_sides_end(rig: Rig) -> None:
    live = await rig.pair()
    rig.proxy.add_toxic("handshake", attributes={"status": 401})
    client, server = await rig.pair()
    await client.send(REQUEST)
    assert await server.receive(len(REQUEST)) == REQUEST
    await server.send(ANSWER)
    assert answer(await client.rest())[0] == "HTTP/1.1 401 Unauthorized"
    assert await server.rest() == b""
    assert rig.notes.taps[1].cuts == [("handshake", "fin")]
    await rig.echo(*live)
