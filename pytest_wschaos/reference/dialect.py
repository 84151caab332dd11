"""The dialect of the reference protocol: what the frames of ``wschaos.v1`` mean to the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..dialect import (
    Ack,
    Credentials,
    Dialect,
    Farewell,
    Gap,
    Meaning,
    Message,
    Ping,
    Pong,
    Refusal,
    Subscribe,
    Unsubscribe,
    Way,
    Welcome,
)
from .protocol import SUBPROTOCOL, Frame, decode_binary, decode_text


class ReferenceDialect(Dialect):
    """Reads ``wschaos.v1``. Of a blob in chunks, the last chunk is the message; the others tell nothing."""

    name = SUBPROTOCOL
    tells: ClassVar[tuple[type[Meaning], ...]] = (
        Credentials,
        Welcome,
        Ping,
        Pong,
        Message,
        Ack,
        Subscribe,
        Unsubscribe,
        Gap,
        Refusal,
        Farewell,
    )

    def speaks(self, path: str, subprotocols: str) -> bool:
        """At ``/ws``, and wherever the subprotocol is offered."""
        return path.partition("?")[0] == "/ws" or SUBPROTOCOL in subprotocols

    def read(self, way: Way, message: str | bytes) -> Meaning | None:
        """What a frame means; None for an unknown type and for all but the last chunk of a blob.

        Raises:
            ProtocolError: the frame cannot be decoded.
        """
        if isinstance(message, bytes):
            frame, body = decode_binary(message)
            frame["data"] = body
            number, count = frame.get("chunk", (1, 1))
            if number < count:
                return None
        else:
            frame = decode_text(message)
        read = (_UP if way == "up" else _DOWN).get(frame["type"])
        return None if read is None else read(frame)


def _key(frame: Frame, name: str) -> Any:
    """An id or the like, where it is fit to be compared and counted; a client may have sent anything."""
    value = frame.get(name)
    return None if isinstance(value, list | dict) else value


_UP: dict[str, Callable[[Frame], Meaning]] = {
    "auth": lambda f: Credentials(
        token=_key(f, "token"), session=_key(f, "session"), epoch=_key(f, "epoch"), seq=_key(f, "seq")
    ),
    "send": lambda f: Message(id=_key(f, "id"), topic=_key(f, "topic"), data=f.get("data")),
    "subscribe": lambda f: Subscribe(id=_key(f, "id"), topic=f["topic"]),
    "unsubscribe": lambda f: Unsubscribe(id=_key(f, "id"), topic=f["topic"]),
    "ack": lambda f: Ack(seq=_key(f, "seq")),
    "ping": lambda f: Ping(key=f.get("n")),
    "pong": lambda f: Pong(key=f.get("n")),
}
_DOWN: dict[str, Callable[[Frame], Meaning]] = {
    "welcome": lambda f: Welcome(
        session=_key(f, "session"),
        epoch=_key(f, "epoch"),
        recovered=f.get("recovered", False),
        last_id=f.get("last_id"),
        seq=_key(f, "seq"),
        rate=f.get("rate"),
        burst=f.get("burst"),
    ),
    "message": lambda f: Message(seq=_key(f, "seq"), topic=_key(f, "topic"), data=f.get("data")),
    "ack": lambda f: Ack(
        id=_key(f, "id"), ok=f.get("ok", True), duplicate=f.get("duplicate", False), error=f.get("error")
    ),
    "gap": lambda f: Gap(first=f["from"], last=f["to"]),
    "ping": lambda f: Ping(key=f.get("n")),
    "pong": lambda f: Pong(key=f.get("n")),
    "error": lambda f: Refusal(code=f.get("code"), reason=f.get("reason")),
    "going_away": lambda f: Farewell(retry_after=f.get("retry_after")),
}
