"""bandwidth: limits the rate. ``rate`` in kilobytes (1000 bytes) a second, for each connection; 0 holds everything."""

from __future__ import annotations

import math

from ..stage import Stage

SLICE = 0.1
"""Seconds of data that leave in one piece."""


class Bandwidth(Stage):
    """Data leaves as fast as the rate allows, in pieces of a tenth of a second. Nothing is lost."""

    type = "bandwidth"
    defaults = {"rate": 0}
    capacity = 32 * 1024  # little, so that the sender feels the slow link

    free_at = 0.0

    def on_data(self, data: bytes, at: float) -> None:
        rate = self.attributes["rate"] * 1000
        if rate <= 0:
            self.put(math.inf, data)
            return
        piece = max(1, int(rate * SLICE))
        start = max(at, self.free_at)
        for first in range(0, len(data), piece):
            part = data[first : first + piece]
            start += len(part) / rate
            self.put(start, part)
        self.free_at = start

    def on_update(self, at: float) -> None:
        self.free_at = at
        self.requeue(at)
