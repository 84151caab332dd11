"""How late a loop is: whoever judges time must know by how much its own clock was off."""

from __future__ import annotations

import asyncio

from .timeline import Timeline

PERIOD = 0.01
"""Seconds between two looks. A stall that falls between them is seen shorter by as much, at most."""
NOTED = 0.004
"""Seconds below which a delay is an idle machine's normal one, and is not recorded."""


class LagMeter:
    """While it runs, records on the timeline by how much its loop's timers come late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeline: Timeline) -> None:
        self._loop = loop
        self._timeline = timeline
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

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
        if lag > NOTED:
            self._timeline.record("lag", "harness", lag=lag)
        self.start()
