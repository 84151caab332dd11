"""Writes records by hand, concisely: what the checks' tests judge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_wschaos.timeline import Event, Place, Record, Way


class Script:
    """A record in the making. Instants are seconds; events may be told in any order."""

    def __init__(self, *, tells: tuple[str, ...] = (), sees_refused: bool = True, client: str = "c") -> None:
        self.events: list[Event] = []
        self.tells = frozenset(tells)
        self.sees_refused = sees_refused
        self.client = client
        self._connections = 0
        self._faults = 0

    def event(
        self,
        at: float,
        kind: str,
        place: Place = "client",
        *,
        client: str | None = None,
        conn: int | None = None,
        way: Way = "",
        **detail: Any,
    ) -> Script:
        """Any event at one place; ``conn`` defaults to the latest connection except where there can be none."""
        if conn is None and place in ("client", "server"):
            conn = self._connections
        self.events.append(Event(at, kind, place, self.client if client is None else client, conn, way, detail))
        return self

    def frame(self, at: float, way: Way, kind: str, *, lost: bool = False, **options: Any) -> Script:
        """A frame as both places see it; ``lost``: it does not get through."""
        sent, got = ("client", "server") if way == "up" else ("server", "client")
        self.event(at, kind, sent, way=way, **options)  # type: ignore[arg-type]
        if not lost:
            self.event(at, kind, got, way=way, **options)  # type: ignore[arg-type]
        return self

    def attempt(self, at: float, *, client: str | None = None, refused: bool = False, late: float = 0.0) -> int:
        """A new connection; returns its number. ``late``: it may have been made so many seconds before."""
        self._connections += 1
        self.event(at, "attempt", client=client, refused=refused, late=late)
        return self._connections

    def refused(self, at: float, *, client: str | None = None, late: float = 0.0) -> int:
        """An attempt that TCP refused."""
        return self.attempt(at, client=client, refused=True, late=late)

    def opened(self, at: float, *, client: str | None = None, ready: bool = True) -> int:
        """A connection that is opened, and ready, at once; returns its number."""
        number = self.attempt(at, client=client)
        self.event(at, "handshake", client=client, path="/ws", way="up")
        self.event(at, "response", client=client, status=101, way="down")
        if ready:
            self.event(at, "ready", client=client)
        return number

    def rejected(self, at: float, status: int, *, client: str | None = None, **detail: Any) -> int:
        """An attempt that is answered with another status than 101, and ended."""
        number = self.attempt(at, client=client)
        self.event(at, "response", client=client, status=status, way="down", **detail)
        self.event(at, "end", client=client, by="proxy", how="fin")
        return number

    def end(self, at: float, by: str = "proxy", how: str = "fin", **options: Any) -> Script:
        """The end of TCP at the client's side: ``by`` peer is the client itself."""
        return self.event(at, "end", by=by, how=how, **options)

    def fault(self, at: float, name: str, until: float | None = None, *, client: str = "", **detail: Any) -> Script:
        """A fault, removed at ``until`` (None: never)."""
        self._faults += 1
        self.event(at, "fault", "proxy", client=client, fault=name, id=self._faults, **detail)
        if until is not None:
            self.event(until, "healed", "proxy", client="", fault=name, id=self._faults)
        return self

    def app(self, at: float, name: str, *, client: str | None = None, **detail: Any) -> Script:
        """What the client told its application, or the application asked."""
        return self.event(at, f"app.{name}", "app", client=client, **detail)

    def ping(
        self, at: float, *, answered: float | None = 0.001, conn: int | None = None, client: str | None = None
    ) -> Script:
        """A ping of the client's, whose pong reaches it ``answered`` seconds later; None: the link is dead."""
        dead = answered is None
        self.frame(at, "up", "ping", lost=dead, conn=conn, client=client, key=at, level="frame")
        if answered is not None:
            self.frame(at + answered, "down", "pong", conn=conn, client=client, key=at, level="frame")
        return self

    def pings(self, start: float, stop: float, every: float = 30.0, **options: Any) -> Script:
        """Pings at ``start`` and then every so often, before ``stop``."""
        for count in range(round((stop - start) / every) + 1):
            if start + count * every < stop:
                self.ping(start + count * every, **options)
        return self

    def server_ping(self, at: float, *, answered: float | None = 0.001, conn: int | None = None) -> Script:
        """A ping of the server's, whose pong reaches it ``answered`` seconds later; None: the link is dead."""
        self.frame(at, "down", "ping", lost=answered is None, conn=conn, key=at, level="frame")
        if answered is not None:
            self.frame(at + answered, "up", "pong", conn=conn, key=at, level="frame")
        return self

    def live(
        self, at: float, *, client: str | None = None, presented: dict[str, Any] | None = None, **welcome: Any
    ) -> int:
        """A connection that is opened, sends credentials and is welcomed, 10 ms later; returns its number."""
        number = self.opened(at, client=client, ready=False)
        credentials = {"fingerprint": "f1", "mode": "first_message", **(presented or {})}
        self.frame(at + 0.002, "up", "credentials", client=client, **credentials)
        self.frame(at + 0.01, "down", "welcome", client=client, **{"recovered": False, "last_id": 0, **welcome})
        self.event(at + 0.01, "ready", client=client)
        return number

    def token(self, at: float, fingerprint: str, **detail: Any) -> Script:
        """The server's valid token changes."""
        return self.event(at, "token", "harness", client="", fingerprint=fingerprint, **detail)

    def lag(self, at: float, seconds: float) -> Script:
        """The harness itself was late."""
        return self.event(at, "lag", "harness", client="", lag=seconds)

    def record(self, until: float) -> Record:
        """The record up to an instant."""
        events = tuple(sorted(self.events, key=lambda event: event.at))
        return Record(
            events, until, dialect="script" if self.tells else None, tells=self.tells, sees_refused=self.sees_refused
        )


def refusals(
    s: Script, waits: Iterable[float], *, start: float = 0.0, client: str | None = None, late: float = 0.0
) -> float:
    """A refused attempt at ``start``, and one more after each wait; returns when the last was."""
    at = start
    s.refused(at, client=client, late=late)
    for wait in waits:
        at += wait
        s.refused(at, client=client, late=late)
    return at


def flapping(
    s: Script, waits: Iterable[float], *, start: float = 0.0, held: float = 0.01, code: int = 1011, ready: bool = True
) -> float:
    """Connections that the server closes after ``held`` seconds, with a wait after each; returns the last end."""
    at = start
    for wait in (*waits, None):
        s.opened(at, ready=ready)
        s.frame(at + held, "down", "close", code=code, reason="")
        s.end(at + held)
        if wait is not None:
            at += held + wait
    return at + held
