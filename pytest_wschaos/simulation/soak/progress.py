"""How far a soak is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import shutil
from time import perf_counter, process_time  # of the process: time.monotonic() is virtual
from typing import TextIO

BAR = 24
"""Columns of the bar."""
REDRAW = 0.25
"""Seconds of wall time between two pictures of the bar."""
LINE = 10.0
"""Seconds of wall time between two lines where there is no terminal."""


class Progress:
    """Tells a person how far it is.

    Args:
        out: where to; None: nowhere.
        hours: virtual hours that it will take in all.
    """

    def __init__(self, out: TextIO | None, hours: float) -> None:
        self._out = out
        self._hours = hours
        self._terminal = out is not None and out.isatty()
        self._began = self._told = perf_counter()
        self._cpu = process_time()
        self._width = 0

    @property
    def wall(self) -> float:
        """Seconds of wall time since the beginning."""
        return perf_counter() - self._began

    @property
    def cpu(self) -> float:
        """Seconds of the processor since the beginning."""
        return process_time() - self._cpu

    def begin(self, text: str) -> None:
        """Say what begins."""
        if self._out is not None:
            print(text, file=self._out, flush=True)

    def tick(self, seconds: float, faults: int) -> None:
        """So many virtual seconds are over; says so if it is time to."""
        now = perf_counter()
        if self._out is None or now - self._told < (REDRAW if self._terminal else LINE):
            return
        self._told = now
        text = self._text(seconds / 3600, faults)
        if self._terminal:
            self._draw(text)
        else:
            print(text, file=self._out, flush=True)

    def _text(self, done: float, faults: int) -> str:
        minutes = self.wall / 60
        speed = done / minutes if minutes else 0.0
        left = (self._hours - done) / speed if speed else 0.0
        told = (
            f"{done:.1f} of {self._hours:g} virtual hours, {faults} faults, {speed:.2f} virtual hours a minute, "
            f"{_duration(max(0.0, left))} left"
        )
        if not self._terminal:
            return told
        full = round(BAR * min(1.0, done / self._hours))
        return f"[{'#' * full}{'.' * (BAR - full)}] {told}"

    def _draw(self, text: str) -> None:
        assert self._out is not None
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self._width}}", end="", file=self._out, flush=True)
        self._width = len(text)

    def clear(self) -> None:
        """Take the bar away: something else is about to be printed."""
        if self._terminal and self._width:
            self._draw("")
            print("\r", end="", file=self._out, flush=True)
            self._width = 0


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
