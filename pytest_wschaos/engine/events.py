"""The engine's events: kept in a bounded ring, and read from it by whoever follows them, however slowly.

No reader has a queue. Each has its place in the ring, and what has left the ring meanwhile is counted to it as lost. So
the engine never waits for a reader, and readers take no memory. docs/events.md tells what each event holds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from . import handshakes
from .errors import BadRequest, Busy
from .frames import CONTROL_LIMIT, Encrypted, Frame, Head, Malformed, Opcode, StreamReader
from .observer import Observer, Place, ProxyChange, Tap, ToxicChange, Way
from .reading import SWITCHING, Reading, provisional

if TYPE_CHECKING:
    from .proxy import Toxic

KEPT = 10_000
"""Events that are kept, and as many frames."""
READERS = 100
"""Readers at one time."""
BATCH = 50
"""Lines that a reader is given at once: about half a millisecond's work."""
LONGEST = 500
"""Characters beyond which a value in an event is cut short."""
SHORT = (bool, int, float, type(None))
"""Values that are short as they are."""
HEAD_LIMIT = 16 * 1024
"""Bytes of an HTTP head beyond which a connection is no longer read."""
BEGINS: Mapping[Way, bytes] = {"up": b"GET ", "down": b"HTTP/"}
"""How the head of a WebSocket's handshake begins."""

Kind = Literal[
    "attempt",
    "accepted",
    "dial",
    "connected",
    "dial_failed",
    "handshake",
    "response",
    "unread",
    "frame",
    "close",
    "acted",
    "cut",
    "end",
    "blind",
    "proxy_created",
    "proxy_enabled",
    "proxy_disabled",
    "proxy_deleted",
    "toxic_added",
    "toxic_updated",
    "toxic_removed",
    "lost",
]

T = TypeVar("T")


class Event(NamedTuple):
    """Something that happened. ``number`` counts events from 1; a frame has that of the event before it."""

    number: int
    at: float
    kind: Kind
    proxy: str
    conn: int | None
    detail: dict[str, Any]

    def line(self) -> bytes:
        """The event as a line of JSON."""
        plain: dict[str, Any] = {"n": self.number, "at": self.at, "kind": self.kind}
        if self.proxy:
            plain["proxy"] = self.proxy
        if self.conn is not None:
            plain["conn"] = self.conn
        plain |= self.detail
        return json.dumps(plain, separators=(",", ":"), default=repr).encode() + b"\n"


class Ring(Generic[T]):
    """The last things that were put in. They are numbered from 1 on."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots: list[T] = []
        self.last = 0
        """The number of the newest; 0: there is none."""

    @property
    def first(self) -> int:
        """The number of the oldest that is kept."""
        return self.last - len(self._slots) + 1

    def put(self, thing: T) -> None:
        """Add one; where the ring is full, the oldest goes."""
        if len(self._slots) < self._size:
            self._slots.append(thing)
        else:
            self._slots[self.last % self._size] = thing
        self.last += 1

    def get(self, number: int) -> T | None:
        """The one of a number; None: it is gone, or has not come yet."""
        return self._slots[(number - 1) % self._size] if self.first <= number <= self.last else None


class EventLog(Observer):
    """Keeps what the engine tells.

    Args:
        clock: tells the time in seconds; the engine's ``loop.time``.
        show: a toxic as plain data.
    """

    def __init__(self, clock: Callable[[], float], show: Callable[[Toxic], dict[str, Any]]) -> None:
        self.clock = clock
        self._show = show
        self.events: Ring[Event] = Ring(KEPT)
        self.frames: Ring[Event] = Ring(KEPT)
        """Only what passes while somebody reads frames."""
        self.news = asyncio.Event()
        """Set by everything that is put in."""
        self.reads_frames = False
        """Whether somebody reads frames."""
        self._readers: set[Reader] = set()

    def read(self, since: int | None = None, *, frames: bool = False, follow: bool = True) -> Reader:
        """Begin to read: what came after the event ``since`` (None: all that is kept), and what comes.

        Raises:
            BadRequest: there is no such event yet.
            Busy: there are as many readers as there may be.
        """
        if since is not None and since > self.events.last:
            raise BadRequest(f"since {since} is after the newest event, {self.events.last}: was the engine restarted?")
        if len(self._readers) >= READERS:
            raise Busy(f"{READERS} readers follow the events already: end one of them first")
        reader = Reader(self, self.events.first - 1 if since is None else since, frames=frames, follow=follow)
        self._readers.add(reader)
        self._count()
        return reader

    def leave(self, reader: Reader) -> None:
        """A reader reads no more."""
        self._readers.discard(reader)
        self._count()

    def _count(self) -> None:
        self.reads_frames = any(reader.frames for reader in self._readers)

    def tell(self, kind: Kind, proxy: str, conn: int | None = None, *, at: float | None = None, **detail: Any) -> None:
        """An event has happened, now or at a given earlier instant."""
        at = self.clock() if at is None else at
        self.events.put(Event(self.events.last + 1, at, kind, proxy[:LONGEST], conn, _short(detail)))
        self.news.set()

    def tell_frame(self, kind: Kind, proxy: str, conn: int, **detail: Any) -> None:
        """A frame has passed."""
        self.frames.put(Event(self.events.last, self.clock(), kind, proxy[:LONGEST], conn, detail))
        self.news.set()

    # --- what the engine calls

    def attempt(self, proxy: str, number: int) -> Tap:
        """A client has connected."""
        self.tell("attempt", proxy, number)
        return ConnectionLog(self, proxy, number)

    def refused(self, proxy: str, at: float, late: float) -> None:
        """A client was refused."""
        detail: dict[str, Any] = {"late": late} if late else {}
        self.tell("attempt", proxy, at=at, refused=True, **detail)

    def blind(self, proxy: str) -> None:
        """Refused attempts can no longer be told apart."""
        self.tell("blind", proxy)

    def proxy_changed(self, proxy: str, change: ProxyChange, listen: str, upstream: str) -> None:
        """A proxy has come, gone or changed."""
        self.tell(change, proxy, listen=listen, upstream=upstream)

    def toxic_changed(self, proxy: str, change: ToxicChange, toxic: Toxic) -> None:
        """A toxic has come, gone or changed."""
        self.tell(change, proxy, toxic=self._show(toxic))


class Reader:
    """Reads the log, some lines of JSON at a time. Whoever has begun to read has to close it in the end."""

    def __init__(self, log: EventLog, event: int, *, frames: bool, follow: bool) -> None:
        self.frames = frames
        self._log = log
        self._event = event  # the last that was read, here and below
        self._frame = log.frames.last
        self._until = None if follow else log.events.last

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes:
        while not (lines := self.take()):
            if self._until is not None:
                raise StopAsyncIteration
            self._log.news.clear()
            await self._log.news.wait()
        return b"".join(lines)

    async def aclose(self) -> None:
        """Read no more."""
        self._log.leave(self)

    def take(self) -> list[bytes]:
        """The next lines; none where there are none yet."""
        lines = self._losses()
        while len(lines) < BATCH and (event := self._next()) is not None:
            lines.append(event.line())
        return lines

    def _next(self) -> Event | None:
        ended = self._until is not None and self._event >= self._until
        event = None if ended else self._log.events.get(self._event + 1)
        frame = self._log.frames.get(self._frame + 1) if self.frames else None
        if frame is not None and (event is None or frame.number < event.number):
            self._frame += 1
            return frame
        self._event += event is not None
        return event

    def _losses(self) -> list[bytes]:
        events, frames = self._log.events, self._log.frames
        lost = {"events": max(0, events.first - 1 - self._event)}
        self._event += lost["events"]
        if self.frames:
            lost["frames"] = max(0, frames.first - 1 - self._frame)
            self._frame += lost["frames"]
        return [Event(self._event, self._log.clock(), "lost", "", None, lost).line()] if any(lost.values()) else []


class ConnectionLog(Tap):
    """Tells of one connection. It is read until its handshake is over, and for as long as somebody reads frames.

    From then on it is not read any more, whoever comes: where in the stream a frame begins, nobody can know.
    """

    __slots__ = ("_heads", "_log", "_number", "_proxy", "_reading", "_upgraded", "watching")

    def __init__(self, log: EventLog, proxy: str, number: int) -> None:
        self._log = log
        self._proxy = proxy
        self._number = number
        self._reading: Reading | None = Reading(_stream, inflate=False)
        self._heads = 4  # still to come, two at each side
        self._upgraded = False
        self.watching = True

    def accepted(self, address: str) -> None:
        """The client is connected."""
        self._tell("accepted", client=address)

    def dialling(self, upstream: str) -> None:
        """The upstream is being connected to."""
        self._tell("dial", upstream=upstream)

    def connected(self) -> None:
        """The upstream is connected."""
        self._tell("connected")

    def error(self, text: str) -> None:
        """The upstream cannot be reached."""
        self._tell("dial_failed", error=text)

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Bytes passed one side."""
        if self._reading is None:
            return
        try:
            for item in self._reading.frames(place, way, data):
                if isinstance(item, Head):
                    self._head(item, place, way)
                elif self._log.reads_frames:
                    self._frame(item, place, way)
        except Malformed as error:
            self._tell("unread", place=place, way=way, **({"encrypted": True} if isinstance(error, Encrypted) else {}))
            if self._heads:
                self._look_away()
        if not self._heads and not (self._upgraded and self._log.reads_frames):
            self._look_away()

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """One side's TCP has ended."""
        self._tell("end", place=place, by=by, how=how)

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """The engine ends the connection."""
        self._tell("cut", fault=fault, how=how)

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """A toxic has done something to what passes in a direction."""
        self._tell("acted", toxic=toxic, way=way, what=what)

    def _head(self, head: Head, place: Place, way: Way) -> None:
        if way == "up":
            self._tell("handshake", place=place, way=way, **handshakes.request(head))
        else:
            self._tell("response", place=place, way=way, **handshakes.response(head))
            self._upgraded = handshakes.status(head) == SWITCHING
        if way == "up" or not provisional(head):
            self._heads -= 1

    def _frame(self, frame: Frame, place: Place, way: Way) -> None:
        detail: dict[str, Any] = {"place": place, "way": way, "size": frame.size}
        if frame.opcode is Opcode.CLOSE:
            payload = frame.payload or b""
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else None
            self._log.tell_frame("close", self._proxy, self._number, **detail, code=code)
        else:
            name = frame.opcode.name.lower()
            self._log.tell_frame("frame", self._proxy, self._number, **detail, opcode=name, final=frame.final)

    def _look_away(self) -> None:
        self.watching = False
        self._reading = None

    def _tell(self, kind: Kind, **detail: Any) -> None:
        self._log.tell(kind, self._proxy, self._number, **detail)


def _stream(way: Way) -> StreamReader:
    return StreamReader(head_limit=HEAD_LIMIT, keep=CONTROL_LIMIT, begins=BEGINS[way])


def _short(detail: dict[str, Any]) -> dict[str, Any]:
    """What an event holds, each value cut short. Most are short; this is done for every event."""
    for name, value in detail.items():
        if type(value) is dict:
            detail[name] = {key: _cut(one) for key, one in value.items()}
        elif type(value) not in SHORT and (type(value) is not str or len(value) > LONGEST):
            detail[name] = _cut(value)
    return detail


def _cut(value: Any) -> Any:
    """A value, or the beginning of its text where that is long."""
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    return value if len(text) <= LONGEST else text[:LONGEST] + "..."
