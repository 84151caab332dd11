"""The record of what was seen, by whom and when. Every judgement is a function of it and a profile.

An :class:`Event` says what happened on one client's connection, seen at one *place*: ``client`` (the
client's side of the proxy: what the client really sent and received), ``server`` (the server's side),
``proxy`` (what the engine did), ``app`` (what the client told its application) or ``harness``.

The kinds:

=============== ======= =====================================================================
kind            place   detail
=============== ======= =====================================================================
attempt         client  a TCP connection; ``refused``: true where it was refused, ``tls``: where the proxy ends TLS
handshake       both    the upgrade request: ``path``, ``host``, ``origin``, ``subprotocol``
response        both    the server's answer to it: ``status``, ``retry_after``, ``to`` (a redirect's host)
ready           client  open, authenticated and welcomed (without a dialect: open)
end             both    this side's TCP ended: ``by`` peer or proxy, ``how`` fin or reset
ping, pong      both    ``key``, ``level``: frame or app
close           both    ``code`` (None: no code), ``reason``
text, binary    both    a message that the dialect (or no dialect) does not tell more of: ``size``
credentials ... both    what the dialect tells of a message: see :mod:`pytest_wschaos.dialect`
error           proxy   upstream not reached, TLS failed, or bytes that cannot be read: ``error``, ``encrypted``
fault, healed   proxy   a fault was injected, removed: ``fault``, ``id``, and its arguments
cut             proxy   the engine ended a connection for a fault: ``fault``, ``how``
acted           proxy   a toxic did something to a frame or handshake: ``toxic`` (its name), ``did``, ``what``
token           harness the server's valid token changed: ``fingerprint``, and the one that it ``replaced``
lag             harness the harness's own clock came late: ``lag`` seconds, measured at ``at``
app.*           app     what the client told its application (``app.gave_up`` ...), or was asked (``app.send``)
=============== ======= =====================================================================

Credentials are never recorded, only their :func:`fingerprint`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

Place = Literal["client", "server", "proxy", "app", "harness"]
Way = Literal["", "up", "down"]

FORMAT = "wschaos-timeline-1"
FARTHEST = 5.0
"""Seconds around an instant within which standstills are looked for."""
DENSE = 0.8
"""Share of the time that standstills must make up to count as one."""
SECRET_PARAMETERS = frozenset(["token", "access_token", "auth", "jwt", "key", "api_key"])
"""Names of query parameters that are taken for credentials."""
COLUMNS = ("at", "kind", "place", "client", "conn", "way")
"""What every event has; no detail can have such a name."""


def toxic_name(fault: str, id: int) -> str:
    """What the toxics are called that carry a fault out; the direction follows."""
    return f"wschaos-{fault}-{id}"


def fingerprint(secret: str) -> str:
    """A short name for a secret that tells two secrets apart without giving either away."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()[:8]


def digest(data: object) -> str:
    """A short name for a payload, the same wherever it is seen."""
    return hashlib.sha256(_canonical(data)).hexdigest()[:12]


def payload_size(data: object) -> int:
    """About how many bytes a payload takes, whatever a client wraps it in."""
    return len(_canonical(data))


def _canonical(data: object) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    try:
        return json.dumps(data, sort_keys=True, default=repr).encode()
    except (TypeError, ValueError):  # keys that cannot be sorted, or a structure that holds itself
        return repr(data).encode(errors="surrogatepass")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was seen. ``at`` is in seconds on the engine's clock."""

    at: float
    kind: str
    place: Place
    client: str = ""
    conn: int | None = None
    way: Way = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.detail[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A detail, or ``default`` where it was not recorded."""
        return self.detail.get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """The event as plain data, empty fields left out."""
        plain: dict[str, Any] = {"at": self.at, "kind": self.kind, "place": self.place}
        for name in ("client", "conn", "way"):
            if value := getattr(self, name):
                plain[name] = value
        return plain | ({"detail": dict(self.detail)} if self.detail else {})


@dataclass(frozen=True, slots=True)
class Record:
    """A timeline that has ended: what the checks judge. Events are in order of time, in seconds from its start."""

    events: tuple[Event, ...]
    until: float
    """The instant up to which the record reaches; nothing that is not in it happened before."""
    seed: int = 0
    dialect: str | None = None
    """Name of the dialect by which messages were read; None: frames only."""
    tells: frozenset[str] = frozenset()
    """Kinds of message that the dialect can tell."""
    sees_refused: bool = True
    """Whether connection attempts are seen while the proxy refuses them."""

    _lags: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)
    _sleeps: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)
    _standstills: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Checks ask for the lag at every step; events are many, those that tell of lag are few.
        lags, sleeps = _lags(self.events), _sleeps(self.events, self.until)
        object.__setattr__(self, "_lags", tuple(_merged(lags)))
        object.__setattr__(self, "_sleeps", tuple(_merged(sleeps)))
        object.__setattr__(self, "_standstills", tuple(_merged([*lags, *sleeps])))

    def lag(self, start: float, end: float) -> float:
        """For how long, in all, the harness's own clock stood still between two instants, in seconds.

        Each step of a chain may meet a standstill of its own, so that a sum and not the longest bounds the delay.
        The time for which a client was suspended counts too: nothing can be asked of it then.
        """
        # What comes right after a standstill of the harness may be on record late by all of it; a sleep delays
        # nothing but what happens during it.
        stood = sum(until - since for since, until in _overlapping(self._lags, start, end))
        slept = (min(until, end) - max(since, start) for since, until in _overlapping(self._sleeps, start, end))
        return stood + sum(slept)

    def standstill(self, instant: float, slack: float) -> float:
        """For how long the harness's clock stood still around an instant, in seconds: before it and after it.

        Standstills that follow each other closely are one: they count as long as they make up at least four fifths of
        the time between the instant and them, but for ``slack`` seconds. On a machine that is merely busy each timer
        comes some milliseconds late, which makes up less than half.
        """
        middle = bisect_left(self._standstills, instant, key=lambda span: span[1])
        first, last = instant - FARTHEST, instant + FARTHEST
        before = (
            (instant - s, u - s) for s, u in ((max(s, first), u) for s, u in reversed(self._standstills[:middle]))
        )
        after = ((u - instant, u - s) for s, u in ((s, min(u, last)) for s, u in self._standstills[middle:]))
        return _dense(before, slack) + _dense(after, slack)

    def save(self, path: str | Path) -> None:
        """Write the record as JSON lines: a head, then an event a line."""
        head = {
            "format": FORMAT,
            "until": self.until,
            "seed": self.seed,
            "dialect": self.dialect,
            "tells": sorted(self.tells),
            "sees_refused": self.sees_refused,
        }
        lines = [head, *(event.to_dict() for event in self.events)]
        Path(path).write_text("".join(json.dumps(line, default=repr) + "\n" for line in lines), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is not a saved timeline; the message names the line.
        """
        number = 1
        try:
            with open(path, encoding="utf-8") as lines:
                head = json.loads(next(lines, ""))
                if head.pop("format") != FORMAT:
                    raise ValueError(f"not {FORMAT}")
                head["tells"] = frozenset(head["tells"])
                events = []
                for number, line in enumerate(lines, 2):  # noqa: B007 - the message below names it
                    events.append(Event(**json.loads(line)))
            return cls(events=tuple(events), **head)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}: not a saved timeline: {error}") from error


def _lags(events: Sequence[Event]) -> list[tuple[float, float]]:
    """When the harness stood still, from and until."""
    return [(e.at - float(e["lag"]), e.at) for e in events if e.kind == "lag"]


def _sleeps(events: Sequence[Event], until: float) -> list[tuple[float, float]]:
    """When a client was suspended, from and until."""
    healed = {e.get("id"): e.at for e in events if e.kind == "healed"}
    return [(e.at, healed.get(e.get("id"), until)) for e in events if e.kind == "fault" and e.get("fault") == "suspend"]


def _merged(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The spans in order; what was measured twice counts once."""
    current: tuple[float, float] | None = None
    for start, end in sorted(spans):
        if current is None or start >= current[1]:
            if current is not None:
                yield current
            current = (start, end)
        else:
            current = (current[0], max(current[1], end))
    if current is not None:
        yield current


def _overlapping(spans: Sequence[tuple[float, float]], start: float, end: float) -> Iterator[tuple[float, float]]:
    """Those of the spans, in order, that overlap the time between two instants."""
    first = bisect_right(spans, start, key=lambda span: span[1])
    return takewhile(lambda span: span[0] <= end, spans[first:])


def _dense(lags: Iterable[tuple[float, float]], slack: float) -> float:
    """The sum of the lags up to the farthest at which they make up most of the time; pairs of distance and lag."""
    total = counted = 0.0
    for distance, lag in lags:
        if lag <= 0:  # farther than is looked at
            break
        total += lag
        if total / DENSE + slack >= distance:
            counted = total
    return counted


class Timeline:
    """The record while it is being written. Any thread may record, read and wait.

    Args:
        clock: tells the time in seconds; the engine's ``loop.time``.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        seed: int = 0,
        dialect: str | None = None,
        tells: frozenset[str] = frozenset(),
        sees_refused: bool = True,
    ) -> None:
        self._clock = clock
        self._events: list[Event] = []
        self._forgotten = 0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._since = clock()
        self._connections = 0
        self.closed = False
        """Whether nothing more will come."""
        self.reason: Exception | None = None
        """Why, where it is not that the test has ended."""
        self.seed = seed
        self.dialect = dialect
        self.tells = tells
        self.sees_refused = sees_refused

    def close(self, reason: Exception | None = None) -> None:
        """Nothing more will come; whoever waits for something is woken, and told the reason."""
        with self._lock:
            self.closed = True
            self.reason = self.reason or reason
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def now(self) -> float:
        """Seconds on the clock that stamps the events."""
        return self._clock()

    def elapsed(self) -> float:
        """Seconds from the record's start, as the events of a frozen record have them."""
        return self._clock() - self._since

    def next_connection(self) -> int:
        """The number of a new connection, counted from 1 over all clients."""
        with self._lock:
            self._connections += 1
            return self._connections

    def record(
        self,
        kind: str,
        place: Place,
        *,
        client: str = "",
        conn: int | None = None,
        way: Way = "",
        at: float | None = None,
        **detail: Any,
    ) -> None:
        """Add an event, now or at a given earlier instant, and wake whoever waits for one."""
        with self._lock:
            event = Event(self._clock() if at is None else at, kind, place, client, conn, way, detail)
            self._events.append(event)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def tell(self, kind: str, **detail: Any) -> None:
        """Add an event of what the engine does."""
        self.record(kind, "proxy", **detail)

    def late(self, lag: float) -> None:
        """Add that a clock of the harness came late by ``lag`` seconds."""
        self.record("lag", "harness", lag=lag)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after each new event, on the thread that recorded it; returns what ends that."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop

    def since(self, index: int) -> list[Event]:
        """The events from the ``index``-th on, in the order in which they were recorded."""
        with self._lock:
            return self._events[max(0, index - self._forgotten) :]

    def forget(self, choose: Callable[[Sequence[Event]], Iterable[Event]]) -> int:
        """Keep only the events that ``choose`` picks, in order; returns how many are forgotten.

        The length does not shrink: whoever had seen everything up to an index has seen what is kept, too.
        """
        with self._lock:
            kept = list(choose(self._events))
            forgotten = len(self._events) - len(kept)
            self._forgotten += forgotten
            self._events = kept
        return forgotten

    def __len__(self) -> int:
        return self._forgotten + len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.since(0))

    def freeze(self) -> Record:
        """The record up to now, in seconds from its start."""
        with self._lock:
            # Lag and refusals are recorded after the fact; sorting puts them in their place.
            events = sorted(self._events, key=lambda event: event.at)
            until = self._clock() - self._since
        # On a virtual clock the record begins with it, and all instants are what they are.
        counted = tuple(replace(e, at=e.at - self._since) for e in events) if self._since else tuple(events)
        return Record(counted, until, self.seed, self.dialect, self.tells, self.sees_refused)
