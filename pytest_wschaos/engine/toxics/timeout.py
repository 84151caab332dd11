"""timeout: discards data, and closes after a while. ``timeout`` in milliseconds; 0: never closes by itself."""

from __future__ import annotations

from ..stage import Stage


class Timeout(Stage):
    """All data of the direction is discarded; each discarded chunk starts the timeout anew, as in Toxiproxy.

    Removal closes the connection, because bytes are missing: also where the toxicity has spared it.
    """

    type = "timeout"
    defaults = {"timeout": 0}
    interrupts = True

    def on_start(self, at: float) -> None:
        milliseconds = self.attributes["timeout"]
        self.deadline = at + milliseconds / 1000 if milliseconds > 0 else None

    def on_data(self, data: bytes, at: float) -> None:
        self.on_start(at)

    def on_update(self, at: float) -> None:
        self.on_start(at)

    def on_interrupt(self, at: float) -> None:
        self.on_start(at)

    def on_deadline(self, at: float) -> None:
        self.cut(at)

    def on_remove(self, at: float) -> None:
        self.cut(at)
