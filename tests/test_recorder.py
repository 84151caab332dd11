"""What the recorder makes of bytes: events, without secrets, and never an exception, whatever comes."""

from __future__ import annotations

import json
from typing import Any, ClassVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wschaos import Event
from pytest_wschaos.dialect import Ack, Credentials, Dialect, Meaning, Message, Ping, Pong, Way, Welcome
from pytest_wschaos.recorder import ConnectionRecorder, Recorder
from pytest_wschaos.timeline import Timeline, fingerprint

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
SECRET = "s3cret-t0ken"


class Chat(Dialect):
    """Returns whatever the message's ``read`` names; a nuisance where it is told to be one."""

    name = "chat"
    tells: ClassVar[tuple[type[Meaning], ...]] = (Credentials, Welcome, Ping, Pong, Message, Ack)

    def speaks(self, path: str, subprotocols: str) -> bool:
        if path == "/broken":
            raise LookupError("no idea")
        return path.startswith("/chat")

    def read(self, way: Way, message: str | bytes) -> Meaning | None:
        told = json.loads(message)
        kinds = {"auth": Credentials, "hi": Welcome, "ping": Ping, "pong": Pong, "say": Message, "ack": Ack}
        if told["op"] in kinds:
            return cast(Meaning, kinds[told.pop("op")](**told))
        return cast(Meaning, told.get("value"))


def text(payload: str) -> bytes:
    data = payload.encode()
    return bytes([0x81, 126]) + len(data).to_bytes(2, "big") + data


def op(name: str, **fields: Any) -> bytes:
    return text(json.dumps({"op": name, **fields}))


@pytest.fixture
def timeline() -> Timeline:
    return Timeline(lambda: 1.0)


def connect(
    timeline: Timeline, path: str = "/chat", *headers: str, dialect: Dialect | None = None
) -> ConnectionRecorder:
    connection = Recorder(timeline, dialect or Chat()).attempt("client")
    request = "\r\n".join([f"GET {path} HTTP/1.1", *headers, "", ""]).encode("latin-1")
    connection.data("client", "up", request)
    return connection


def opened(timeline: Timeline, path: str = "/chat", *, dialect: Dialect | None = None) -> ConnectionRecorder:
    connection = connect(timeline, path, dialect=dialect)
    connection.data("client", "down", SWITCH)
    return connection


def last(timeline: Timeline, kind: str) -> Event:
    return [event for event in timeline if event.kind == kind][-1]


def test_a_connection_from_attempt_to_end(timeline: Timeline) -> None:
    connection = opened(timeline)
    connection.data("client", "up", op("auth", token=SECRET, session="s1", seq=4))
    connection.data("client", "down", op("hi", session="s1", recovered=True))
    connection.data("client", "up", op("say", id=1, topic="t", data={"a": 1}))
    connection.data("client", "down", op("ack", id=1, ok=False, error="x" * 500))
    connection.data("client", "up", op("ping", key=7))
    connection.data("client", "down", b"\x8a\x01k")
    connection.data("client", "down", b"\x88\x05\x03\xe9bye")
    connection.cut("abort", "reset")
    connection.ended("client", "proxy", "reset")
    assert [(event.kind, event.place, event.way) for event in timeline] == [
        ("attempt", "client", ""),
        ("handshake", "client", "up"),
        ("response", "client", "down"),
        ("credentials", "client", "up"),
        ("welcome", "client", "down"),
        ("ready", "client", ""),
        ("message", "client", "up"),
        ("ack", "client", "down"),
        ("ping", "client", "up"),
        ("pong", "client", "down"),
        ("close", "client", "down"),
        ("cut", "proxy", ""),
        ("end", "client", ""),
    ]
    assert {event.conn for event in timeline} == {1}
    assert last(timeline, "ready")["recovered"] is True
    assert last(timeline, "credentials")["seq"] == 4
    assert len(last(timeline, "ack")["error"]) == 200
    assert (last(timeline, "ping")["key"], last(timeline, "ping")["level"]) == (7, "app")
    assert (last(timeline, "pong")["key"], last(timeline, "pong")["level"]) == ("6b", "frame")
    assert (last(timeline, "close")["code"], last(timeline, "close")["reason"]) == (1001, "bye")
    assert "digest" in last(timeline, "message").detail
    assert "data" not in last(timeline, "message").detail


def test_a_close_without_a_code(timeline: Timeline) -> None:
    opened(timeline).data("client", "down", b"\x88\x00")
    assert last(timeline, "close")["code"] is None


def test_without_a_dialect_a_connection_is_ready_when_it_is_open(timeline: Timeline) -> None:
    connection = Recorder(timeline).attempt("client")
    connection.data("client", "up", b"GET / HTTP/1.1\r\n\r\n")
    connection.data("client", "down", SWITCH + text("hello") + b"\x82\x01x")
    assert [event.kind for event in timeline] == ["attempt", "handshake", "response", "ready", "text", "binary"]
    assert last(timeline, "text")["size"] == 5
    assert timeline.dialect is None


def test_the_servers_side_makes_nobody_ready(timeline: Timeline) -> None:
    connection = connect(timeline)
    connection.data("server", "down", SWITCH + op("hi"))
    assert "ready" not in [event.kind for event in timeline]


def test_the_timeline_says_what_is_told_once_somebody_speaks_the_dialect(timeline: Timeline) -> None:
    recorder = Recorder(timeline, Chat())
    assert timeline.dialect == "chat"
    recorder.handshake("/echo", "")
    assert timeline.dialect is None
    recorder.handshake("/chat", "")
    assert timeline.tells == {"credentials", "welcome", "ping", "pong", "message", "ack"}
    recorder.handshake("/echo", "")
    assert timeline.dialect == "chat"


def test_a_refused_attempt_has_a_number_of_its_own(timeline: Timeline) -> None:
    recorder = Recorder(timeline)
    recorder.refused("client", at=0.5, late=0.0)
    recorder.refused("client", at=0.5, late=0.01)
    recorder.attempt("client")
    assert [(event.conn, event.get("refused")) for event in timeline] == [(1, True), (2, True), (3, None)]
    assert [event.get("late") for event in timeline] == [None, 0.01, None]


def test_a_refused_handshake_is_not_read_further(timeline: Timeline) -> None:
    connection = connect(timeline)
    connection.data("client", "down", b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\n\r\nplease \x83 wait")
    connection.error("upstream 127.0.0.1:1 cannot be reached")
    assert last(timeline, "response").detail == {"status": 503, "retry_after": 2.0}
    assert [event["error"] for event in timeline if event.kind == "error"] == ["upstream 127.0.0.1:1 cannot be reached"]


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "soon", ""])
def test_a_retry_after_that_is_no_number_is_left_out(timeline: Timeline, value: str) -> None:
    connect(timeline).data("client", "down", f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\n\r\n".encode())
    assert last(timeline, "response").detail == {"status": 503}


@pytest.mark.parametrize(
    ("path", "headers", "mode"),
    [
        (f"/chat?token={SECRET}&room=1", (), "query"),
        (f"/chat?Access_Token={SECRET}", (), "query"),
        ("/chat", (f"Authorization: Bearer {SECRET}",), "header"),
        ("/chat", (f"Cookie: a=b; wschaos_token={SECRET}",), "cookie"),
    ],
)
def test_credentials_of_the_handshake_are_on_record_by_fingerprint(
    timeline: Timeline, path: str, headers: tuple[str, ...], mode: str
) -> None:
    connect(timeline, path, *headers)
    handshake = last(timeline, "handshake")
    assert (handshake["mode"], handshake["fingerprint"]) == (mode, fingerprint(SECRET))


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/chat?token={SECRET}", ()),
        (f"/chat?room={SECRET}", ()),
        (f"/chat?{SECRET}", ()),
        (f"/chat?a=1&{SECRET}&b", ()),
        ("/chat", (f"Authorization: {SECRET}",)),
        ("/chat", (f"Cookie: session={SECRET}",)),
        ("/chat", (f'Cookie: wschaos_token="{SECRET}"; [bad',)),
        ("/chat", (f"X-Api-Key: {SECRET}",)),
    ],
)
def test_no_secret_is_on_record(timeline: Timeline, path: str, headers: tuple[str, ...]) -> None:
    connection = connect(timeline, path, *headers)
    connection.data("client", "down", SWITCH)
    connection.data("client", "up", op("auth", token=SECRET, session=SECRET))
    connection.data("client", "up", op("say", data=SECRET))
    connection.data("client", "up", op("unknown", value=SECRET))
    assert last(timeline, "handshake")["path"].startswith("/chat")
    assert SECRET not in repr(list(timeline))


def test_a_token_among_the_subprotocols_is_not_on_record(timeline: Timeline) -> None:
    connect(timeline, "/chat", f"Sec-WebSocket-Protocol: chat, bearer.{SECRET * 4}")
    offered = last(timeline, "handshake")["subprotocol"]
    assert offered.startswith("chat, ")
    assert SECRET not in offered


@pytest.mark.parametrize(
    "message",
    [
        text("not json"),
        op("unknown", value="a string"),
        op("unknown", value=[1]),
        op("auth", password=1),
        b"\x82\x01\xff",
        b"\x81\x01\xff",
    ],
)
def test_a_message_that_the_dialect_cannot_read_is_only_unread(timeline: Timeline, message: bytes) -> None:
    connection = opened(timeline)
    connection.data("client", "up", message)
    connection.data("client", "up", op("ping", key=1))
    error, unread, after = list(timeline)[-3:]
    assert error["error"].startswith("dialect chat: ")
    assert (unread.kind, after.kind) == ("binary" if message[0] == 0x82 else "text", "ping")


@pytest.mark.parametrize("token", [17, ["a"], "\ud800", True])
def test_a_token_may_be_anything(timeline: Timeline, token: Any) -> None:
    opened(timeline).data("client", "up", op("auth", token=token))
    assert len(last(timeline, "credentials")["fingerprint"]) == 8


def test_an_error_may_be_anything(timeline: Timeline) -> None:
    opened(timeline).data("client", "down", op("ack", error={"code": 3}))
    assert last(timeline, "ack")["error"] == "{'code': 3}"


def test_a_dialect_that_fails_at_the_handshake_does_not_speak(timeline: Timeline) -> None:
    connection = opened(timeline, "/broken")
    connection.data("client", "up", text("hello"))
    assert last(timeline, "error")["error"] == "dialect chat: LookupError: no idea"
    assert last(timeline, "text")["size"] == 5


def test_what_is_no_websocket_is_no_longer_read(timeline: Timeline) -> None:
    connection = Recorder(timeline).attempt("client")
    connection.data("client", "up", b"\x15\x03\x01 hello \r\n\r\n" + b"\x00" * 10)
    connection.data("client", "up", b"more")
    assert [event.kind for event in timeline] == ["attempt", "handshake", "error"]
    assert last(timeline, "error")["error"].startswith("not WebSocket, no longer read: ")


def test_what_is_wrong_is_told_once(timeline: Timeline) -> None:
    connection = connect(timeline, "/chat")
    connection.data("client", "down", SWITCH)
    connection.data("client", "up", b"\x8f\x00")
    connection.data("server", "up", b"\x8f\x00")
    assert [event.kind for event in timeline].count("error") == 1


def test_tls_cannot_be_read(timeline: Timeline) -> None:
    connection = Recorder(timeline).attempt("client")
    for place in ("client", "server"):
        connection.data(place, "up", b"\x16\x03\x01\x02\x00\x01")
    assert [event.kind for event in timeline] == ["attempt", "error"]
    assert last(timeline, "error")["encrypted"] is True


@pytest.mark.parametrize("target", ["//[::1", "", "?", "/a b", "http://[/", "/%", "/?=&=&&"])
def test_any_target_is_recorded(timeline: Timeline, target: str) -> None:
    connect(timeline, target)
    assert isinstance(last(timeline, "handshake")["path"], str)


def test_a_provisional_answer_is_followed_by_another(timeline: Timeline) -> None:
    connection = connect(timeline)
    connection.data("client", "down", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + SWITCH + text("hello"))
    assert [event["status"] for event in timeline if event.kind == "response"] == [103, 101]
    assert last(timeline, "text")["size"] == 5


@pytest.mark.parametrize("status", [b"\xb2\xb2\xb2", b"abc", b"-1", b"", b"1" * 5000])
def test_a_status_that_is_no_number_is_zero(timeline: Timeline, status: bytes) -> None:
    connect(timeline).data("client", "down", b"HTTP/1.1 " + status + b" X\r\n\r\n")
    assert last(timeline, "response")["status"] == 0


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["client", "server"]), st.sampled_from(["up", "down"]), st.binary())))
def test_no_bytes_make_the_recorder_raise(chunks: list[tuple[Any, Any, bytes]]) -> None:
    timeline = Timeline(lambda: 1.0)
    connection = Recorder(timeline, Chat()).attempt("client")
    for head in (
        "GET /chat HTTP/1.1\r\n\r\n",
        "HTTP/1.1 101 X\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    ):
        connection.data("client", "up" if head.startswith("GET") else "down", head.encode())
    for place, way, data in chunks:
        connection.data(place, way, data)
    assert next(iter(timeline)).kind == "attempt"


@settings(max_examples=200)
@given(st.binary())
def test_no_head_makes_the_recorder_raise(line: bytes) -> None:
    timeline = Timeline(lambda: 1.0)
    connection = Recorder(timeline, Chat()).attempt("client")
    connection.data("client", "up", b"GET /" + line + b" HTTP/1.1\r\nCookie: " + line + b"\r\n\r\n")
    connection.data("client", "down", b"HTTP/1.1 " + line + b"\r\nRetry-After: " + line + b"\r\n\r\n")
    assert next(iter(timeline)).kind == "attempt"
