"""reset_peer: resets the connection when data comes. ``timeout`` in milliseconds before the reset."""

from __future__ import annotations

from ..stage import End, Stage


class ResetPeer(Stage):
    """The first data (or end) in its direction is dropped, and after ``timeout`` the connection ends.

    As in Toxiproxy, a connection that opens while the toxic exists ends with a RST however it ends, even where the
    toxicity spares it; one that was open before sees a FIN. An idle connection is left alone.
    """

    type = "reset_peer"
    defaults = {"timeout": 0}
    interrupts = True
    resets = True

    def on_data(self, data: bytes, at: float) -> None:
        self._reset(at)

    def on_end(self, end: End, at: float) -> None:
        self._reset(at)

    def on_remove(self, at: float) -> None:
        pass  # a reset that has begun waits its time; else nothing is queued

    def _reset(self, at: float) -> None:
        if not self.queue:
            self.sticky = True
            self.cut(at + self.attributes["timeout"] / 1000)
