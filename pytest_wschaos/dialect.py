"""How messages of a protocol are to be read: the one thing the checks must be told about yours.

A dialect looks at one text or binary message and tells what it means, by returning one of the small
classes below, or None for a message that matters to no rule. Only what a protocol has needs telling;
rules that need more are UNSUPPORTED. A dialect keeps no state.

    class ChatDialect(Dialect):
        name = "my-chat"
        tells = (Credentials, Welcome, Message)

        def read(self, way, message):
            frame = json.loads(message)
            match frame["op"]:
                case "login":
                    return Credentials(token=frame["key"])
                ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The client says who it is. Where it resumes: the ``session``, and the last ``seq`` that it has."""

    token: str | None = None
    session: str | None = None
    epoch: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The server accepts the credentials: the client is ready."""

    session: str | None = None
    epoch: str | None = None
    recovered: bool = False
    """Whether the server goes on with an earlier session."""
    last_id: int | None = None
    """The highest client id that the server has processed."""
    seq: int | None = None
    rate: float | None = None
    burst: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """A heartbeat's question; ``key`` is what the answer repeats."""

    key: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The answer to the ping with the same ``key``."""

    key: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The application's data. Upwards with the client's ``id``, downwards with the server's ``seq``.

    Ids are whole numbers or strings. Numbers without holes are taken for a sequence that rises in the order in which
    the application asked; subscriptions may share it or have their own. Others (random ones) tell no order.
    """

    id: int | str | None = None
    seq: int | None = None
    topic: str | None = None
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Downwards: the verdict on ``id``. Upwards: everything up to ``seq`` was received."""

    id: int | str | None = None
    seq: int | None = None
    ok: bool = True
    duplicate: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """The client wants a topic's messages."""

    id: int | str | None = None
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """The client no longer wants them."""

    id: int | str | None = None
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The server says that sequences ``first`` to ``last`` are lost."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The server refuses a frame; the connection stays."""

    code: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell:
    """The server is about to go away; ``retry_after`` seconds is the earliest return."""

    retry_after: float | None = None


Meaning = Credentials | Welcome | Ping | Pong | Message | Ack | Subscribe | Unsubscribe | Gap | Refusal | Farewell
Way = Literal["up", "down"]


class Dialect:
    """Reads the messages of one protocol. Subclass it, and return yours from the fixture ``wschaos_dialect``."""

    name: ClassVar[str] = ""
    tells: ClassVar[tuple[type[Meaning], ...]] = ()
    """The kinds of message that :meth:`read` may return. With Welcome among them a connection is ready when
    the welcome has come; without, when the handshake is done."""

    def speaks(self, path: str, subprotocols: str) -> bool:
        """Whether a connection speaks this protocol, by the path and the offered subprotocols of its handshake."""
        return True

    def read(self, way: Way, message: str | bytes) -> Meaning | None:
        """What a message means; ``way`` is ``up`` (client to server) or ``down``.

        An exception from here is recorded as ``error`` on the timeline, and the message counts as unread.
        """
        raise NotImplementedError


def kind(meaning: type[Meaning]) -> str:
    """The timeline's word for a kind of message: its class name in lower case."""
    return meaning.__name__.lower()
