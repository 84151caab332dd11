"""limit_data: closes after a number of bytes. ``bytes`` counts from the moment at which the toxic came."""

from __future__ import annotations

from ..stage import Stage


class LimitData(Stage):
    """Passes ``bytes`` bytes, then closes both sides at once; 0 closes on the first data."""

    type = "limit_data"
    defaults = {"bytes": 0}
    interrupts = True

    passed = 0

    def on_data(self, data: bytes, at: float) -> None:
        left = max(0, int(self.attributes["bytes"]) - self.passed)
        if part := data[:left]:
            self.put(at, part)
            self.passed += len(part)
        if self.passed >= self.attributes["bytes"]:
            self.cut(at)
