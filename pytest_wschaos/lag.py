"""How late a loop is: whoever judges time must know by how much its own clock was off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PERIOD = 0.01
"""Seconds between two looks. A stall that falls between them is seen shorter by as much, at most."""
NOTED = 0.004
"""Seconds below which a delay is an idle machine's normal one, and is not recorded."""

STANDSTILL = 0.02
"""Seconds by which a thread is late that waits for another to give up the interpreter, and more."""


class LagMeter:
    """While it runs, tells by how many seconds its loop's timers come late, where that is of note."""

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[float], object]) -> None:
        self._loop = loop
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.standstills = 0
        """How often it was later than that by :data:`STANDSTILL` or more."""

    def start(self) -> None:
        """Begin; from the loop's own thread. A virtual clock is never late."""
        if getattr(self._loop, "virtual", False):
            return
        self._due = self._loop.time() + PERIOD
        self._timer = self._loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """End; from the loop's own thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        lag = self._loop.time() - self._due
        self.standstills += lag >= STANDSTILL
        if lag > NOTED:
            self._late(lag)
        self.start()
