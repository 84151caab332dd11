import json

import pytest

from pytest_wschaos.dialect import (
    Ack,
    Credentials,
    Farewell,
    Gap,
    Message,
    Ping,
    Pong,
    Refusal,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from pytest_wschaos.reference.dialect import ReferenceDialect
from pytest_wschaos.reference.protocol import ProtocolError, chunks

UP = [
    ({"type": "auth", "token": "t"}, Credentials(token="t")),
    (
        {"type": "auth", "token": "t", "session": "s", "resume_token": "r", "epoch": "e", "seq": 4},
        Credentials(token="t", session="s", epoch="e", seq=4),
    ),
    ({"type": "send", "id": 3, "topic": "a", "data": [1]}, Message(id=3, topic="a", data=[1])),
    ({"type": "send", "id": [3], "topic": "a", "data": 1}, Message(id=None, topic="a", data=1)),
    ({"type": "subscribe", "id": 1, "topic": "a"}, Subscribe(id=1, topic="a")),
    ({"type": "unsubscribe", "id": 2, "topic": "a"}, Unsubscribe(id=2, topic="a")),
    ({"type": "ack", "seq": 9}, Ack(seq=9)),
    ({"type": "ping", "n": "x"}, Ping(key="x")),
    ({"type": "pong", "n": 1}, Pong(key=1)),
    ({"type": "welcome"}, None),
]
DOWN = [
    (
        {"type": "welcome", "session": "s", "epoch": "e", "recovered": True}
        | {"last_id": 2, "seq": 5, "rate": 1.5, "burst": 3},
        Welcome(session="s", epoch="e", recovered=True, last_id=2, seq=5, rate=1.5, burst=3),
    ),
    ({"type": "message", "seq": 1, "topic": "a", "data": None}, Message(seq=1, topic="a")),
    ({"type": "ack", "id": 1, "ok": True}, Ack(id=1)),
    (
        {"type": "ack", "id": 1, "ok": False, "duplicate": True, "error": "no"},
        Ack(id=1, ok=False, duplicate=True, error="no"),
    ),
    ({"type": "gap", "from": 2, "to": 4}, Gap(first=2, last=4)),
    ({"type": "error", "code": 4400, "reason": "r"}, Refusal(code=4400, reason="r")),
    ({"type": "going_away", "retry_after": 2}, Farewell(retry_after=2)),
    ({"type": "ping", "n": 1}, Ping(key=1)),
    ({"type": "pong", "n": 1}, Pong(key=1)),
    ({"type": "send", "id": 1, "topic": "a", "data": 1}, None),
]


CASES = [("up", *case) for case in UP] + [("down", *case) for case in DOWN]


@pytest.mark.parametrize(("way", "frame", "meaning"), CASES)
def test_it_tells_what_a_frame_means(way, frame, meaning):
    assert ReferenceDialect().read(way, json.dumps(frame)) == meaning
    assert meaning is None or type(meaning) in ReferenceDialect.tells


def test_of_a_blob_only_the_last_chunk_is_the_message():
    assert ReferenceDialect().read("up", b'\0\0\0\x0f{"type":"send"}x') == Message(data=b"x")
    parts = list(chunks({"type": "send", "id": 7, "topic": "a"}, b"abcde", 2))
    meanings = [ReferenceDialect().read("up", part) for part in parts]
    assert meanings == [None, None, Message(id=7, topic="a", data=b"e")]


@pytest.mark.parametrize("message", ["{", b"\0\0\1", "[]"])
def test_what_cannot_be_read_raises(message):
    with pytest.raises(ProtocolError):
        ReferenceDialect().read("up", message)
