"""slow_close: delays the end of the stream. ``delay`` in milliseconds."""

from __future__ import annotations

from ..stage import End, Stage


class SlowClose(Stage):
    """Data passes untouched; the end waits ``delay`` before it goes on."""

    type = "slow_close"
    defaults = {"delay": 0}
    interrupts = True

    def on_end(self, end: End, at: float) -> None:
        self.put(at + self.attributes["delay"] / 1000, end)

    def on_update(self, at: float) -> None:
        self.requeue(at)

    def on_interrupt(self, at: float) -> None:
        self.on_update(at)
