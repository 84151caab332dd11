"""How far a run is: a bar on a terminal, else a line for each case."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TextIO

from ...checks.verdict import Outcome
from ..suite.case import Case
from ..suite.estimate import left
from ..suite.player import Player
from ..suite.result import Result

EACH = 0.5
"""Seconds after which the bar is drawn anew."""
LONGEST_BAR = 30


def line(result: Result) -> str:
    """A result in a line of at most 80 columns, long ids apart."""
    return f"{result.case.id:<44} {result.outcome:<12} {result.closing:<11} {result.duration:7.1f} s"


class Lines:
    """A line for each case, as soon as it has been played."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def planned(self, cases: Sequence[Case], player: Player | None) -> None:
        """What will be played."""

    def finished(self, result: Result) -> None:
        """A case has been played."""
        with self._lock:
            print(line(result), file=self._stream, flush=True)

    def stop(self) -> None:
        """Nothing more will come."""


class Bar:
    """One line that tells how far it is and how long it will take; each FAIL is a line above it.

    Args:
        stream: a terminal.
        seconds: how long a case lasts, about.
    """

    def __init__(self, stream: TextIO, seconds: Callable[[Case], float]) -> None:
        self._stream = stream
        self._seconds = seconds
        self._player: Player | None = None
        self._cases: dict[str, Case] = {}
        self._begun: dict[str, float] = {}
        self._counts: Counter[Outcome] = Counter()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wschaos-bar", daemon=True)
        self._total = 0

    def planned(self, cases: Sequence[Case], player: Player | None) -> None:
        """What will be played, and by whom; None: by workers of pytest-xdist."""
        with self._lock:
            self._player = player
            self._cases = {case.id: case for case in cases}
            self._total = len(cases)
        self._thread.start()

    def finished(self, result: Result) -> None:
        """A case has been played."""
        with self._lock:
            self._cases.pop(result.case.id, None)
            self._counts[result.outcome] += 1
            if result.outcome is Outcome.FAIL:
                self._stream.write(f"\r\x1b[K{line(result)}\n")
        self._draw()

    def stop(self) -> None:
        """Leave the line empty."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._stream.write("\r\x1b[K")
        self._stream.flush()

    def _run(self) -> None:
        while not self._over.wait(EACH):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            text = self._text(time.monotonic(), shutil.get_terminal_size().columns)
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()

    def _text(self, now: float, columns: int) -> str:
        playing = [id for id in (self._player.playing if self._player else ()) if id in self._cases]
        self._begun = {id: self._begun.get(id, now) for id in playing}
        running = [self._seconds(self._cases[id]) - (now - self._begun[id]) for id in playing]
        waiting = [case for id, case in self._cases.items() if id not in self._begun]
        done = self._total - len(self._cases)
        filled = round(LONGEST_BAR * done / max(1, self._total))
        bar = "#" * filled + "." * (LONGEST_BAR - filled)
        limit = self._player.limit if self._player else 1
        about = minutes(left(self._seconds, waiting, running, limit)) if self._cases else "done"
        counts = ", ".join(f"{self._counts[o]} {o}" for o in (Outcome.FAIL, Outcome.INCONCLUSIVE) if self._counts[o])
        return f"[{bar}] {done}/{self._total}  {about}  {counts}".rstrip()[: columns - 1]


def minutes(seconds: float) -> str:
    """A time that is left, as people say it."""
    if seconds < 1:
        return "nearly done"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"
