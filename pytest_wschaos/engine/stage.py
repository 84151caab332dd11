"""What a toxic does to one direction of one connection, without I/O: data and due time in, data and due time out."""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .errors import BadRequest

Attributes = dict[str, Any]


class End(enum.Enum):
    """How a stream ends. It travels through the stages behind the data."""

    EOF = "eof"
    """The source has ended: the destination is closed once the data is out."""
    CUT = "cut"
    """A toxic ends the connection: both sides are closed."""
    RESET = "reset"
    """A toxic resets the connection: both sides get a RST."""


Item = bytes | End

OVERHEAD = 64
"""Bytes that an item takes beside its data, about: many small ones must not take all memory."""


class Stage:
    """Base of all toxics: passes everything on at once.

    A stage is fed with data and the instant at which it came, and queues it with the instant at which it
    is due. It shares ``attributes`` with its toxic, so an update is seen at once. All times are seconds;
    attributes are in Toxiproxy's units (milliseconds for most, see each toxic).
    """

    type: ClassVar[str] = "noop"
    defaults: ClassVar[Mapping[str, Any]] = {}
    """The attributes that the toxic has, with their values where none are given. A value given is of the same kind:
    integer, number, text, boolean, list or object."""
    capacity: ClassVar[int] = 1024 * 1024
    """Bytes that may be held; above it the source is no longer read."""
    rank: int = 0
    """Where it stands, whenever it came: -1 before all others, 1 behind them."""
    silences: bool = False
    """Whether it hides the end of the stream."""
    upstream = False
    """Whether its direction is that from the client to the server; set by the proxy, as are those that follow."""
    opened_with = False
    """Whether the connection opened while the toxic existed."""
    since: float | None = None
    """When the toxic was made; None: as soon as it came to the connection."""

    interrupts: ClassVar[bool] = False
    """Whether the toxic before it is run anew when it comes or goes, as Toxiproxy does."""
    resets: ClassVar[bool] = False
    """Whether connections that open while the toxic exists end with a RST."""

    def __init__(self, attributes: Attributes, rng: random.Random) -> None:
        self.attributes = attributes
        self.rng = rng
        self.queue: deque[tuple[float, Item]] = deque()
        self.held = 0
        self.deadline: float | None = None
        self.cuts = False
        """Whether the toxic itself ends the connection."""
        self.sticky = False
        """Whether this connection keeps the toxic when it is removed."""
        self.toxicity = 1.0
        self.active = True
        """Whether the draw was won; else it is passed over, and holds nothing."""
        self.tell: Callable[..., None] = _to_nobody
        """Called with what it has done, where that cannot be seen otherwise."""

    @classmethod
    def check(cls, attributes: Attributes) -> None:
        """Refuse attributes that make no sense.

        Raises:
            BadRequest: which one, and what it may be.
        """

    @classmethod
    def wrong(cls, name: str, value: object, must: str) -> BadRequest:
        """The error for an attribute."""
        return BadRequest(f"toxic {cls.type}: {name} = {value!r:.80}: must be {must}")

    @property
    def full(self) -> bool:
        """Whether it holds all that it may."""
        return self.held >= self.capacity

    @property
    def empty(self) -> bool:
        """Whether nothing waits in it."""
        return not self.queue

    def start(self, at: float) -> None:
        """The toxic has come to the connection, or the connection has opened: draw whether it works here."""
        self.active = self.rng.random() < self.toxicity
        if self.active:
            self.on_start(at)

    def rerun(self, at: float, interrupt: Callable[[float], None]) -> None:
        """Toxiproxy runs it anew, and draws again. What has to be kept (it is ``sticky``) goes on as it is.

        Args:
            interrupt: what this means where it works: ``on_update`` or ``on_interrupt``.
        """
        if self.active and self.sticky:
            return
        before, self.active = self.active, self.rng.random() < self.toxicity
        if before:
            interrupt(at)
            if not self.active:
                self.deadline = None
                self.release(at)
        elif self.active:
            self.on_start(at)

    def put(self, due: float, item: Item) -> None:
        """Queue an item; it never overtakes the one before it."""
        self.queue.append((max(due, self.queue[-1][0]) if self.queue else due, item))
        if isinstance(item, bytes):
            self.held += len(item) + OVERHEAD

    def pop(self) -> tuple[float, Item]:
        """Take the item that is due first."""
        due, item = self.queue.popleft()
        if isinstance(item, bytes):
            self.held -= len(item) + OVERHEAD
        return due, item

    def requeue(self, at: float) -> None:
        """Treat what is queued as if it came now: the attributes have changed."""
        waiting = [item for _, item in self.queue]
        self.queue.clear()
        self.held = 0
        for item in waiting:
            self.on_data(item, at) if isinstance(item, bytes) else self.on_end(item, at)

    def release(self, at: float) -> None:
        """Make everything that is queued due now."""
        self.queue = deque((min(due, at), item) for due, item in self.queue)

    def cut(self, at: float, end: End = End.CUT) -> None:
        """End the connection at an instant, behind what is queued."""
        self.cuts = True
        self.put(at, end)

    def on_start(self, at: float) -> None:
        """The toxic has come to the connection, or the connection has opened."""

    def on_data(self, data: bytes, at: float) -> None:
        """Data has come."""
        self.put(at, data)

    def on_end(self, end: End, at: float) -> None:
        """The stream before this stage has ended; it follows the data that is queued."""
        self.put(at, end)

    def on_deadline(self, at: float) -> None:
        """The instant that was set as ``deadline`` has come."""

    def on_update(self, at: float) -> None:
        """The attributes have changed."""

    def on_interrupt(self, at: float) -> None:
        """The toxic behind it has come or gone, which Toxiproxy's own toxics feel."""

    def on_remove(self, at: float) -> None:
        """The toxic is being removed: what is queued goes on at once. One that is sticky stays none the less."""
        self.release(at)


def _to_nobody(**what: object) -> None:
    """Nobody wants to know."""
