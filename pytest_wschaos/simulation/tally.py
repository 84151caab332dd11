"""The light record of a fleet: when its connections came, opened and ended, and no frame of them.

A timeline of all that 10 000 clients send takes a gigabyte for ten minutes of heartbeats. This takes 8 bytes for each
connection's beginning, opening and end.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Literal

from ..engine.observer import Observer, Place, Tap, Way
from ..timeline import Timeline

UPGRADED = (b"HTTP/1.1 101", b"HTTP/1.0 101")
QUIET = 1.0
"""Seconds in which at most one event of a kind goes onto the timeline, so that it shows what happened, and when."""
LOOK_EVERY = 256
"""Pieces of data after which the progress is told."""


class Tally(Observer):
    """Counts the connections of a fleet; an engine's observer. Times are on the engine's clock, in seconds.

    Args:
        timeline: gets one event of each kind a second: that clients came, were refused, were cut. It has no
            connection, and so is no matter for the checks.
        client: under whose name. What comes over listeners of other names is only counted: it has a record already.
        progress: called now and then while something happens.
    """

    def __init__(self, timeline: Timeline, client: str, progress: Callable[[], None] | None) -> None:
        self._timeline = timeline
        self._client = client
        self._progress = progress
        self._told: dict[str, float] = {}
        self._pieces = 0
        self.attempts = array("d")
        """When each client came, refused or not."""
        self.refusals = array("d")
        self.opened = array("d")
        """When each upgrade was answered by 101."""
        self.ended = array("d")
        """When each upgraded connection ended."""
        self.open = 0
        """Connections that are upgraded, and of which neither side has ended."""

    # --- what the engine calls

    def attempt(self, proxy: str, number: int) -> _Connection:
        """A client has connected."""
        now = self._timeline.now()
        self.attempts.append(now)
        light = proxy == self._client
        if light:
            self.tell("attempt", "client", now)
        self.look()
        return _Connection(self, light)

    def refused(self, proxy: str, at: float, late: float) -> None:
        """A client was refused."""
        self.attempts.append(at)
        self.refusals.append(at)
        if proxy == self._client:
            self.tell("attempt", "client", at, refused=True)
        self.look()

    def now(self) -> float:
        """The time."""
        return self._timeline.now()

    def look(self) -> None:
        """Something has happened."""
        if self._progress is not None:
            self._pieces += 1
            if self._pieces % LOOK_EVERY == 0:
                self._progress()

    def tell(self, kind: str, place: Literal["client", "proxy"], at: float, **detail: Any) -> None:
        """Put an event on the timeline, unless one like it is there already."""
        key = f"{kind} {detail}"
        if at - self._told.get(key, float("-inf")) >= QUIET:
            self._told[key] = at
            self._timeline.record(kind, place, client=self._client, at=at, **detail)


class _Connection(Tap):
    """One connection, as the engine tells of it."""

    __slots__ = ("_light", "_open", "_tally", "watching")

    def __init__(self, tally: Tally, light: bool) -> None:
        self._tally = tally
        self._light = light
        self.watching = True
        self._open = False

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Only the first bytes that go down are looked at."""
        if not self.watching or place != "client" or way != "down":
            return
        self.watching = False
        if data.startswith(UPGRADED):
            self._open = True
            self._tally.open += 1
            self._tally.opened.append(self._tally.now())

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """One side's TCP has ended."""
        tally = self._tally
        if self._open:
            self._open = False
            tally.open -= 1
            tally.ended.append(tally.now())
        tally.look()

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """The engine ends the connection."""
        if self._light:
            self._tally.tell("cut", "proxy", self._tally.now(), fault=fault, how=how)

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """A toxic has done something."""
        if self._light:
            self._tally.tell("acted", "proxy", self._tally.now(), toxic=toxic, **what)

    def error(self, text: str) -> None:
        """The server cannot be reached."""
        if self._light:
            self._tally.tell("error", "proxy", self._tally.now(), error=text)
