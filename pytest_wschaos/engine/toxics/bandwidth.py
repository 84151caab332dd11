"""bandwidth: limits the rate. ``rate`` in kilobytes (1000 bytes) a second, for each connection; 0 holds everything."""

from __future__ import annotations

import math

from ..pieces import Pieces

SLICE = 0.1
"""Seconds of data that leave in one piece."""


class Bandwidth(Pieces):
    """Data leaves as fast as the rate allows, in pieces of a tenth of a second. Nothing is lost."""

    type = "bandwidth"
    defaults = {"rate": 0}
    interrupts = True
    capacity = 32 * 1024  # little, so that the sender feels the slow link

    def on_data(self, data: bytes, at: float) -> None:
        rate = self.attributes["rate"] * 1000
        if rate <= 0:  # a negative one crashes Toxiproxy
            self.put_pieces([(math.inf, data)])
            return
        size = max(1, int(rate * SLICE))
        start = max(at, self.free_at)
        pieces = []
        for first in range(0, len(data), size):
            piece = data[first : first + size]
            start += len(piece) / rate
            pieces.append((start, piece))
        self.put_pieces(pieces)
        self.free_at = start
