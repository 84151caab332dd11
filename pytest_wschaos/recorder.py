"""Turns the bytes at both sides of the proxy into events on the timeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from .dialect import Ack, Credentials, Dialect, Meaning, Message, Ping, Pong, Welcome, kind
from .engine import handshakes
from .engine.frames import Encrypted, Head, Malformed, Opcode, Seen
from .engine.observer import Observer, Place, Tap, Way, together
from .engine.reading import SWITCHING, Reading
from .timeline import Timeline, digest, fingerprint


class Recorder(Observer):
    """Writes what the engine sees onto a timeline; the engine's observer.

    Args:
        dialect: tells what messages mean; None: frames are told, messages are not read.
    """

    _spoken = False

    def __init__(self, timeline: Timeline, dialect: Dialect | None = None) -> None:
        self.timeline = timeline
        self.dialect = dialect
        self._counting: dict[str, tuple[Observer, bool]] = {}
        self._terminating: dict[str, str] = {}
        self._tell(dialect)

    def handshake(self, path: str, subprotocols: str) -> Dialect | None:
        """The dialect of a new connection; None where it does not speak it."""
        if self.dialect is None or not self._speaks(self.dialect, path, subprotocols):
            if not self._spoken:
                self._tell(None)
            return None
        self._spoken = True
        self._tell(self.dialect)
        return self.dialect

    def _speaks(self, dialect: Dialect, path: str, subprotocols: str) -> bool:
        try:
            return dialect.speaks(path, subprotocols)
        except Exception as error:  # a dialect is the user's code; the traffic goes on whatever it does
            self.timeline.record("error", "proxy", error=_complaint(dialect, error))
            return False

    def _tell(self, dialect: Dialect | None) -> None:
        """Say on the timeline what can be told. Only when nobody speaks the dialect, nothing can."""
        self.timeline.dialect = dialect.name if dialect is not None else None
        self.timeline.tells = frozenset(kind(meaning) for meaning in dialect.tells) if dialect else frozenset()

    def count(self, proxy: str, observer: Observer, *, only: bool) -> None:
        """Tell an observer of a listener's connections too; ``only``: keep no record of them here."""
        self._counting[proxy] = observer, only

    def terminates(self, proxy: str, client: str) -> None:
        """A listener ends TLS; its connections are those of a client who has another listener for plain ones."""
        self._terminating[proxy] = client

    def attempt(self, proxy: str, number: int = 0) -> Tap | None:
        """A client has connected."""
        observer, only = self._counting.get(proxy, (None, False))
        if observer is None:
            return self._connection(proxy)
        counted = observer.attempt(proxy, number)
        return counted if only else together([self._connection(proxy), counted])

    def _connection(self, proxy: str) -> ConnectionRecorder:
        return ConnectionRecorder(self, self._terminating.get(proxy, proxy), tls=proxy in self._terminating)

    def refused(self, proxy: str, at: float, late: float) -> None:
        """A client was refused."""
        observer, only = self._counting.get(proxy, (None, False))
        if observer is not None:
            observer.refused(proxy, at, late)
        if only:
            return
        number = self.timeline.next_connection()
        detail = {"refused": True, "late": late} if late else {"refused": True}
        client = self._terminating.get(proxy, proxy)
        self.timeline.record("attempt", "client", client=client, conn=number, at=at, **detail)

    def blind(self, proxy: str) -> None:
        """Refused attempts can no longer be told apart."""
        self.timeline.sees_refused = False


_Read = tuple[Meaning, dict[str, Any]] | None
"""What a message means, with what is recorded of it."""


class ConnectionRecorder(Tap):
    """Writes one connection. A frame that is held or lost in between is on record as sent, and not as arrived."""

    watching = True

    def __init__(self, recorder: Recorder, client: str, *, tls: bool = False) -> None:
        self._recorder = recorder
        self._timeline = recorder.timeline
        self._dialect: Dialect | None = None
        self._client = client
        self._conn = recorder.timeline.next_connection()
        self._reading = Reading()
        self._last: dict[Way, tuple[Iterable[Head | Seen], dict[int, tuple[Seen, _Read]]]] = {}
        detail: dict[str, Any] = {"tls": True} if tls else {}
        self._record("attempt", "client", **detail)

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Bytes passed one side."""
        items = self._reading.messages(place, way, data)
        if way not in self._last or self._last[way][0] is not items:
            self._last[way] = items, {}
        try:
            for item in items:
                if isinstance(item, Head):
                    self._head(item, place, way)
                else:
                    self._seen(item, place, way)
        except Malformed as error:
            if self._enters(place, way):
                detail = {"encrypted": True} if isinstance(error, Encrypted) else {}
                self._record("error", "proxy", way, error=f"not WebSocket, no longer read: {error}", **detail)

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """One side's TCP has ended."""
        self._record("end", place, by=by, how=how)

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """The engine ends the connection."""
        self._record("cut", "proxy", fault=fault, how=how)

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """A toxic has done something to what passes in a direction."""
        self._record("acted", "proxy", way, toxic=toxic, **what)

    def error(self, text: str) -> None:
        """The upstream cannot be reached."""
        self._record("error", "proxy", error=text)

    def _record(
        self, name: str, place: Literal["client", "server", "proxy"], way: Way | None = None, **detail: Any
    ) -> None:
        self._timeline.record(name, place, client=self._client, conn=self._conn, way=way or "", **detail)

    def _head(self, head: Head, place: Place, way: Way) -> None:
        if way == "up":
            request = handshakes.request(head)
            if place == "client":
                self._dialect = self._recorder.handshake(request["path"], request.get("subprotocol", ""))
                if self._dialect is None and self._recorder.dialect is not None:
                    request["spoken"] = False
            self._record("handshake", place, way, **request)
            return
        self._record("response", place, way, **handshakes.response(head))
        if handshakes.status(head) == SWITCHING and place == "client" and not self._welcomes:
            self._record("ready", "client")

    @property
    def _welcomes(self) -> bool:
        return self._dialect is not None and Welcome in self._dialect.tells

    def _seen(self, seen: Seen, place: Place, way: Way) -> None:
        payload = seen.payload or b""
        match seen.opcode:
            case Opcode.PING | Opcode.PONG:
                self._record(seen.opcode.name.lower(), place, way, key=payload.hex(), level="frame")
            case Opcode.CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else None
                self._record("close", place, way, code=code, reason=payload[2:].decode("utf-8", "replace"))
            case _:
                self._message(seen, place, way)

    def _message(self, seen: Seen, place: Place, way: Way) -> None:
        read = self._known(seen, place, way)
        if read is None:
            self._record("text" if seen.opcode is Opcode.TEXT else "binary", place, way, size=seen.size)
            return
        meaning, detail = read
        if seen.opcode is Opcode.BINARY:
            detail = {**detail, "binary": True}
        self._record(kind(type(meaning)), place, way, size=seen.size, **detail)
        if isinstance(meaning, Welcome) and place == "client" and way == "down":
            self._record("ready", "client", recovered=meaning.recovered)

    def _known(self, seen: Seen, place: Place, way: Way) -> _Read:
        """What a message means; of those that passed the other side just before it is known."""
        known = self._last[way][1]
        if id(seen) not in known:
            known[id(seen)] = seen, self._read(seen, place, way)  # the message too: another must not get its id
        return known[id(seen)][1]

    def _read(self, seen: Seen, place: Place, way: Way) -> _Read:
        if self._dialect is None or seen.payload is None:
            return None
        try:
            text = seen.payload.decode() if seen.opcode is Opcode.TEXT else seen.payload
            meaning = self._dialect.read(way, text)
            if meaning is not None and not isinstance(meaning, Meaning):
                raise TypeError(
                    f"read() returned {type(meaning).__name__}, which is no class of pytest_wschaos.dialect"
                )
            return None if meaning is None else (meaning, _detail(meaning))
        except Exception as error:  # a dialect is the user's code; a message that it cannot read is only unread
            if self._enters(place, way):
                self._record("error", "proxy", way, error=_complaint(self._dialect, error))
            return None

    @staticmethod
    def _enters(place: Place, way: Way) -> bool:
        """Whether this is where the direction enters the proxy: what is wrong is told once."""
        return (place == "client") == (way == "up")


def _complaint(dialect: Dialect, error: Exception) -> str:
    return f"dialect {dialect.name}: {type(error).__name__}: {error}"


def _detail(meaning: Meaning) -> dict[str, Any]:
    """What is recorded of a message: no secret, and of the data only its digest."""
    fields = dataclasses.fields(meaning)
    detail = {field.name: value for field in fields if (value := getattr(meaning, field.name)) is not None}
    match meaning:
        case Ping() | Pong():
            return {"key": meaning.key, "level": "app"}
        case Credentials():
            token = detail.pop("token", None)
            if token is not None:
                detail |= {"fingerprint": fingerprint(str(token)), "mode": "first_message"}
        case Message():
            detail["digest"] = digest(detail.pop("data", None))
        case Ack():
            detail.pop("error", None)
            if meaning.error is not None:
                detail["error"] = str(meaning.error)[:200]
    if "session" in detail:
        detail["session"] = fingerprint(str(detail["session"]))
    return detail
