"""How far a long run is: a line on a terminal while it runs, which is gone afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter  # of the process: on virtual time, the loop's clock says nothing about how long it takes
from typing import TextIO

EVERY = 0.2
"""Real seconds between two lines."""
CLEAR = "\r\x1b[K"


class Progress:
    """Writes a line over the one before.

    Args:
        text: what to say now.
        shown: whether to; None: where ``stream`` is a terminal.
        stream: where; standard error by default.
    """

    def __init__(self, text: Callable[[], str], shown: bool | None = None, stream: TextIO | None = None) -> None:
        self._text = text
        self._stream = sys.stderr if stream is None else stream
        self.shown = self._stream.isatty() if shown is None else shown
        self._at = perf_counter()
        self._written = False

    def look(self) -> None:
        """Write the line, unless it is too early for that."""
        if not self.shown or perf_counter() - self._at < EVERY:
            return
        self._at = perf_counter()
        self._written = True
        self._stream.write(CLEAR + self._text())
        self._stream.flush()

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._written:
            self._written = False
            self._stream.write(CLEAR)
            self._stream.flush()
