"""A record told per client and connection: what every check reads, so that none reads raw events twice."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Literal

from ..timeline import Event, Record
from .tolerance import STAMP_DELAY, Timing, by

if TYPE_CHECKING:
    from ..profile import Profile
    from .waits import Wait


@dataclass(slots=True)
class Ping:
    """A ping as it passed the client's side of the proxy."""

    at: float
    key: object
    level: Literal["frame", "app"]
    answered: float | None = None
    """When its own pong came to the side that asked; None: never."""


@dataclass
class Connection:
    """One attempt of one client, from its TCP connection to its end, as the events at the client's side tell it.

    All instants are seconds on the record's clock; None: it did not happen.
    """

    client: str
    number: int
    events: list[Event] = field(default_factory=list)
    told: int = 0
    """How many events of the application were on record when it began."""

    def seen(self, *kinds: str, place: str = "client", way: str | None = None) -> list[Event]:
        """The events of some kinds at one place, in order."""
        # Checks ask for one kind at a time, and for most of them many times.
        events = self._by_kind.get(kinds[0], []) if len(kinds) == 1 else [e for e in self.events if e.kind in kinds]
        return [e for e in events if e.place == place and (way is None or e.way == way)]

    @cached_property
    def _by_kind(self) -> dict[str, list[Event]]:
        """Its events by kind; first asked for when all of them are known."""
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.kind, []).append(event)
        return found

    def first(self, *kinds: str, place: str = "client", way: str | None = None) -> Event | None:
        """The first of them."""
        events = self._by_kind.get(kinds[0], []) if len(kinds) == 1 else self.seen(*kinds, place=place, way=way)
        for event in events:
            if event.place == place and (way is None or event.way == way):
                return event
        return None

    @cached_property
    def attempt(self) -> float:
        """When the client connected, or was refused."""
        return float(self.events[0].at)

    @cached_property
    def refused(self) -> bool:
        """Whether TCP itself refused."""
        return any(e.kind == "attempt" and e.get("refused") for e in self.events)

    @cached_property
    def late(self) -> float:
        """Seconds by which the attempt may be on record later than it was; 0 where it was accepted."""
        return float(self.events[0].get("late", 0.0))

    @cached_property
    def response(self) -> Event | None:
        """The answer to the upgrade that reached the client."""
        return self.first("response")

    @cached_property
    def encrypted(self) -> bool:
        """Whether nothing could be read of it."""
        return any(e.kind == "error" and e.get("encrypted") for e in self.events)

    @cached_property
    def host(self) -> str | None:
        """The host that the client asked for."""
        handshake = self.first("handshake", way="up")
        return handshake.get("host") if handshake is not None else None

    @cached_property
    def speaks(self) -> bool:
        """Whether its messages are read by the dialect, where there is one."""
        handshake = self.first("handshake", way="up")
        return handshake is None or bool(handshake.get("spoken", True))

    @cached_property
    def redirect(self) -> Literal["", "own", "foreign"]:
        """Whether the upgrade was answered with a redirect, within the same host or to another."""
        if self.response is None or not 300 <= self.response["status"] < 400:
            return ""
        return "own" if self.response.get("to") in (None, self.host) else "foreign"

    @cached_property
    def opened(self) -> float | None:
        """When the 101 reached the client."""
        return self.response.at if self.response is not None and self.response["status"] == 101 else None

    @cached_property
    def ready(self) -> float | None:
        """When the client was open, authenticated and welcomed."""
        event = self.first("ready")
        return event.at if event is not None else None

    @cached_property
    def end(self) -> Event | None:
        """The end of TCP at the client's side: ``by`` peer is the client itself."""
        return self.first("end")

    @cached_property
    def abandoned(self) -> float | None:
        """When the client itself ended TCP."""
        return self.end.at if self.end is not None and self.end["by"] == "peer" else None

    @cached_property
    def close_received(self) -> Event | None:
        """The Close frame that reached the client."""
        return self.first("close", way="down")

    @cached_property
    def close_sent(self) -> Event | None:
        """The Close frame that the client sent."""
        return self.first("close", way="up")

    @cached_property
    def cut(self) -> Event | None:
        """What the engine did to end it, if a fault ended it."""
        return self.first("cut", place="proxy")

    @cached_property
    def signs(self) -> list[float]:
        """The instants at which the client learned of the end or decided on it, in order."""
        events = [self.close_received, self.close_sent, self.end]
        instants = [e.at for e in events if e is not None]
        if self.refused:
            instants.append(self.attempt)
        if self.response is not None and self.response["status"] != 101:
            instants.append(self.response.at)
        return sorted(instants)

    @cached_property
    def over(self) -> float | None:
        """When the client's side was over for good: TCP ended, or refused."""
        if self.refused:
            return self.attempt
        return self.end.at if self.end is not None else None

    @cached_property
    def pings(self) -> list[Ping]:
        """The client's pings, each with the answer that reached the client."""
        return _pair(self.seen("ping", way="up"), self.seen("pong", way="down"))

    @cached_property
    def server_pings(self) -> list[Ping]:
        """The server's pings as they left the server, each with the answer that reached the server."""
        return _pair(
            self.seen("ping", place="server", way="down"),
            self.seen("pong", place="server", way="up"),
        )

    def alive_at(self, instant: float) -> bool:
        """Whether the client held this connection at an instant."""
        return self.attempt <= instant and (self.over is None or instant < self.over)


def _pair(pings: list[Event], pongs: list[Event]) -> list[Ping]:
    """Give each ping the first later pong with its key and level; each pong answers one ping."""
    left = list(pongs)
    paired = []
    for event in pings:
        ping = Ping(event.at, event.get("key"), event.get("level", "frame"))
        for pong in left:
            if pong.at >= ping.at and pong.get("key") == ping.key and pong.get("level", "frame") == ping.level:
                ping.answered = pong.at
                left.remove(pong)
                break
        paired.append(ping)
    return paired


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault while it was injected; ``end`` is the record's end where it never healed."""

    name: str
    start: float
    end: float
    event: Event

    @property
    def id(self) -> int:
        """Its number."""
        return int(self.event["id"])

    def __str__(self) -> str:
        said = ", ".join(f"{k}={v!r}" for k, v in self.event.detail.items() if k not in ("fault", "id"))
        return f"{self.name}({said}) from {self.start:.3f} to {self.end:.3f} s"


def faults(record: Record) -> list[Fault]:
    """The faults of a record, in order."""
    healed = {e["id"]: e.at for e in record.events if e.kind == "healed"}
    return [Fault(e["fault"], e.at, healed.get(e["id"], record.until), e) for e in record.events if e.kind == "fault"]


def unseen_attempts(record: Record) -> list[tuple[float, float]]:
    """The times in which attempts are refused and not seen."""
    return [] if record.sees_refused else [(f.start, f.end) for f in faults(record) if f.name == "refuse"]


@dataclass
class Client:
    """Everything that one client did."""

    name: str
    connections: list[Connection]
    app: list[Event]
    """What it told its application, and what the application asked of it; empty: it does not report."""
    record: Record
    gaps: tuple[Profile, tuple[Wait, ...]] | None = None
    """What :func:`.waits.gaps` has measured, and by which profile."""

    @property
    def reports(self) -> bool:
        """Whether the client tells its application's events to the harness."""
        # What the harness itself saw the application ask.
        asked = {f"app.{name}" for name in ("send", "close", "reconnect", "subscribe", "unsubscribe")}
        return any(e.kind not in asked for e in self.app)

    def told(self, name: str) -> list[Event]:
        """What it told its application, by name (``gave_up``, ``closed`` ...)."""
        return [e for e in self.app if e.kind == f"app.{name}"]

    def failed_fetches(self, start: float, end: float) -> list[Event]:
        """The attempts between two instants that it told of and that left no trace on the wire.

        The token provider failed, or nobody sees attempts while they are refused. Each is the event
        ``app.closed`` that ended one.
        """
        return [e for e in self._failed_fetches if start <= e.at <= end]

    @cached_property
    def _failed_fetches(self) -> list[Event]:
        told = [e for e in self.app if e.kind in ("app.connecting", "app.closed")]
        begun = [(e, after) for e, after in zip_longest(told, told[1:]) if e.kind == "app.connecting"]
        ended = [after if after is not None and after.kind == "app.closed" else None for _, after in begun]
        failed: list[Event] = []
        for end, attempts in zip(ended, self._seen_of([e.at for e, _ in begun], ended), strict=True):
            if not attempts and end is not None and end.get("code") is None:
                failed.append(end)
            # A refused attempt that was seen very late is counted with the next one: two, where none was missing.
            del failed[len(failed) - min(len(failed), max(0, attempts - 1)) :]
        return failed

    def _seen_of(self, begun: list[float], ended: list[Event | None]) -> list[int]:
        """How many attempts were seen of each that it told of, by when it told that each began, and that it ended."""
        seen = [0] * (len(begun) + 1)
        for connection in self.connections:
            at = connection.attempt
            number = bisect_right(begun, at)
            end = ended[number - 1] if number else None
            over = end is not None and end.at + connection.late + STAMP_DELAY < at
            # What a client tells comes through a pipe or a thread, so that its attempt may be seen a little earlier.
            if (not number or seen[number] or over) and number < len(begun):
                number += by(self.record, at, begun[number], since=at) is not Timing.BROKEN
            seen[number] += 1
        return seen[1:]

    def pairs(self) -> Iterator[tuple[Connection, Connection]]:
        """Each connection with the attempt that followed it."""
        return pairwise(self.connections)

    def after(self, connection: Connection) -> Connection | None:
        """The attempt that followed a connection."""
        return next((b for a, b in self.pairs() if a is connection), None)


class Story:
    """A record, told per client."""

    def __init__(self, record: Record) -> None:
        self.record = record
        connections: dict[tuple[str, int], Connection] = {}
        app: dict[str, list[Event]] = {}
        for event in record.events:
            if event.place == "app":
                app.setdefault(event.client, []).append(event)
            elif event.conn is not None:
                key = (event.client, event.conn)
                if key not in connections:
                    connections[key] = Connection(*key, told=len(app.get(event.client, ())))
                connections[key].events.append(event)
        # An attempt is the first event of a connection; without one (a record that was cut) it is not judged.
        whole: dict[str, list[Connection]] = {}
        for connection in connections.values():
            if connection.first("attempt") is not None:
                whole.setdefault(connection.client, []).append(connection)
        self.clients = [
            Client(name, sorted(whole.get(name, []), key=lambda c: c.attempt), app.get(name, []), record)
            for name in dict.fromkeys([*whole, *app])
        ]

    @cached_property
    def connections(self) -> list[Connection]:
        """All connections of all clients."""
        return [connection for client in self.clients for connection in client.connections]

    @cached_property
    def encrypted(self) -> Connection | None:
        """The first connection in which nothing can be read."""
        return next((c for c in self.connections if c.encrypted), None)

    @cached_property
    def faults(self) -> list[Fault]:
        """The faults that were injected, in order."""
        return faults(self.record)

    def injected(self, *names: str) -> list[Fault]:
        """The faults of some names."""
        return [fault for fault in self.faults if fault.name in names]
