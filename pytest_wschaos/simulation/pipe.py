"""One direction of a simulated TCP connection: what is on its way, and when it arrives."""

from __future__ import annotations

import asyncio
import enum
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextvars import Context

    from .loop import SimulatedLoop
    from .transport import SimulatedTransport

CAPACITY = 1024 * 1024
"""Bytes that may be on their way and not read, unless a link says otherwise. The kernel's buffers hold some MiB."""
FIRST_RETRANSMISSION = 0.2
"""Seconds until TCP repeats what was lost; twice as long each further time (Linux's smallest timeout)."""
FIRST_HANDSHAKE_RETRANSMISSION = 1.0
"""The same for a SYN and its answer."""
LONGEST_RETRANSMISSION = 120.0
SLICE = 0.05
"""Seconds of a bandwidth that arrive in one piece."""
MOST_SLICES = 10_000
"""Pieces of one write, however little the bandwidth is."""


@dataclass
class Link:
    """What one direction of a way through the network does to data. It may be changed at any time.

    Attributes:
        latency: seconds that data takes.
        jitter: up to so many seconds more, drawn for each write; order is kept.
        bandwidth: bytes per second; None: no limit.
        capacity: bytes that may be on their way and not read; above it the sender waits.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    capacity: int = CAPACITY

    def __post_init__(self) -> None:
        for name in ("latency", "jitter"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be 0 s or more")
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ValueError(f"bandwidth = {self.bandwidth!r}: must be above 0 bytes per second, or None")
        if not self.capacity > 0:
            raise ValueError(f"capacity = {self.capacity!r}: must be above 0 bytes")


class Mark(enum.Enum):
    """What travels before the data, as the handshake's answers do, or behind it."""

    SYN = "syn"
    FIN = "fin"
    RST = "rst"


Item = bytes | Mark


class Target(Protocol):
    """Who reads a direction."""

    context: Context
    max_size: int

    def arrived(self, data: bytes) -> None:
        """Data has come."""

    def marked(self, mark: Mark) -> None:
        """A mark has come."""


class Pipe:
    """Carries what one transport writes to the other, in order, with one timer."""

    __slots__ = (
        "_due",
        "_free_at",
        "_loop",
        "_lost_at",
        "_random",
        "_timer",
        "dead",
        "held",
        "link",
        "queue",
        "source",
        "target",
        "used",
    )

    def __init__(self, loop: SimulatedLoop, link: Link, rng: random.Random) -> None:
        self._loop = loop
        self.link = link
        self._random = rng
        self.source: SimulatedTransport | None = None
        self.target: Target | None = None
        self.queue: deque[tuple[float, Item]] = deque()
        self.used = 0
        """Bytes that were sent and have not been read."""
        self.dead = False
        """Whether all that is sent is swallowed, and nobody is told."""
        self.held = 0
        """For how many reasons nothing arrives for now."""
        self._lost_at: float | None = None  # while it is partitioned: when the first thing was lost
        self._due = 0.0  # nothing overtakes: when the last item arrives
        self._free_at = 0.0  # when the bandwidth has room again
        self._timer: asyncio.Handle | None = None

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Take as much as there is room for; returns how many bytes that was."""
        size = min(len(data), self.link.capacity - self.used)
        if size > 0:
            self.used += size
            self._put(bytes(data[:size]) if size < len(data) or not isinstance(data, bytes) else data, size)
            return size
        return 0

    def mark(self, mark: Mark) -> None:
        """Send an end behind the data."""
        self._put(mark, 0)

    def _put(self, item: Item, size: int) -> None:
        if self.dead:
            return
        link, now = self.link, self._loop.time()
        takes = link.latency
        if link.jitter:
            takes += self._random.uniform(0.0, link.jitter)
        if link.bandwidth is not None:
            self._trickle(item, size, takes, link.bandwidth)
        else:
            self._due = at = max(now + takes, self._due)
            self.queue.append((at, item))
        if self._timer is None:
            self._arm(now)

    def _trickle(self, item: Item, size: int, takes: float, bandwidth: float) -> None:
        """Let it arrive in slices, each as soon as the bandwidth has let it through."""
        begun = max(self._loop.time(), self._free_at)
        self._free_at = begun + size / bandwidth
        at_once = bandwidth * SLICE
        step = max(1, size if size <= at_once else max(int(at_once), size // MOST_SLICES))
        for start in range(0, max(1, size), step):
            end = min(start + step, size)
            self._due = at = max(begun + end / bandwidth + takes, self._due)
            self.queue.append((at, item if isinstance(item, Mark) else item[start:end]))

    def attach(self, target: Target) -> None:
        """From now on there is somebody to read; what has arrived until then has waited."""
        self.target = target
        self._arm(self._loop.time())

    def detach(self) -> None:
        """Both sides are gone: nothing is carried any more, and nobody is held in memory."""
        self.blackhole()
        self.source = self.target = None

    def _arm(self, now: float) -> None:
        if self._timer is None and self.queue and not self.held and self.target is not None:
            at, context = self.queue[0][0], self.target.context
            if at <= now:
                self._timer = self._loop.happen(self._arrive, context=context)
            else:
                self._timer = self._loop.call_at(at, self._arrive, context=context)

    def _arrive(self) -> None:
        """One read, as in a turn of asyncio's own loop: who is woken by data runs before the end behind it is seen."""
        self._timer = None
        target, queue, now = self.target, self.queue, self._loop.time()
        if target is None or not queue:
            return
        if queue[0][0] <= now:
            _, item = queue.popleft()
            if isinstance(item, Mark):
                target.marked(item)
            else:
                if queue and queue[0][0] <= now and not isinstance(queue[0][1], Mark):
                    item = self._more(item, now, target.max_size)
                if len(item) > target.max_size:
                    queue.appendleft((now, item[target.max_size :]))
                    item = item[: target.max_size]
                target.arrived(item)
        if queue:
            self._arm(now)

    def _more(self, first: bytes, now: float, limit: int) -> bytes:
        """What has arrived is read at once, as far as one read goes."""
        parts, size = [first], len(first)
        queue = self.queue
        while queue and queue[0][0] <= now and not isinstance(queue[0][1], Mark) and size < limit:
            part = queue.popleft()[1]
            assert isinstance(part, bytes)
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def waits(self) -> bool:
        """Whether data has come that nobody has read."""
        first = self.queue[0] if self.queue and not self.held else None
        return first is not None and first[0] <= self._loop.time() and not isinstance(first[1], Mark)

    def taken(self, size: int) -> None:
        """The receiver has read so much: there is room for more."""
        self.used -= size
        if self.source is not None:
            self.source.room()

    def room(self) -> None:
        """There may be room for more."""
        if self.source is not None:
            self.source.room()

    # --- faults

    def reset(self) -> None:
        """Throw away all that is on its way, and send a RST in its place: it waits behind nothing."""
        self.used -= sum(len(item) for _, item in self.queue if not isinstance(item, Mark))
        self.queue.clear()
        self._stop()
        self._due = self._free_at = self._loop.time()
        self.mark(Mark.RST)

    def blackhole(self) -> None:
        """Swallow all that is on its way, and all that comes."""
        self.dead = True
        self.queue.clear()
        self._stop()

    def hold(self) -> None:
        """Let nothing arrive until :meth:`release`."""
        self.held += 1
        self._stop()

    def release(self) -> None:
        """Let everything go that was held: at once, in order."""
        self.held -= 1
        self._again(self._loop.time())

    def lose(self) -> None:
        """Lose what is on its way and what comes, until :meth:`repair`: then TCP repeats it at its next try."""
        self.hold()
        if self._lost_at is None and self.queue:
            self._lost_at = self._loop.time()

    def repair(self) -> None:
        """Let TCP's next repetition get through."""
        now = self._loop.time()
        self.held -= 1
        if self.queue:
            due, item = self.queue[0]
            lost = self._lost_at if self._lost_at is not None else due
            first = FIRST_HANDSHAKE_RETRANSMISSION if item is Mark.SYN else FIRST_RETRANSMISSION
            self._again(next_try(lost, now, first))
        self._lost_at = None

    def _again(self, at: float) -> None:
        """All that waits arrives at an instant, or later where it is due later."""
        self.queue = deque((max(at, due), item) for due, item in self.queue)
        self._due = max(self._due, at)
        self._arm(self._loop.time())

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def next_try(lost: float, now: float, first: float = FIRST_RETRANSMISSION) -> float:
    """When TCP repeats for the next time what was lost at an instant."""
    wait, at = first, lost
    while at < now:
        at += wait
        wait = min(2 * wait, LONGEST_RETRANSMISSION)
    return at
