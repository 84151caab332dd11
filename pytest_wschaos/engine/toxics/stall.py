"""stall: holds data and ends, and lets them go when it is removed. Nothing is lost."""

from __future__ import annotations

import math

from ..stage import End, Stage


class Stall(Stage):
    """Holds all that comes, in order; past ``capacity`` bytes the source is no longer read. No attributes."""

    type = "stall"

    def on_data(self, data: bytes, at: float) -> None:
        self.put(math.inf, data)

    def on_end(self, end: End, at: float) -> None:
        self.put(math.inf, end)
