"""reset_peer: resets the connection when data comes. ``timeout`` in milliseconds before the reset."""

from __future__ import annotations

from ..stage import End, Stage


class ResetPeer(Stage):
    """The first data (or end) in its direction is dropped, and after ``timeout`` the connection ends.

    As in Toxiproxy, connections that open while the toxic exists see a RST; those that were open before see a
    FIN. An idle connection is left alone.
    """

    type = "reset_peer"
    defaults = {"timeout": 0}

    def on_data(self, data: bytes, at: float) -> None:
        self._reset(at)

    def on_end(self, end: End, at: float) -> None:
        self._reset(at)

    def on_remove(self, at: float) -> None:
        pass  # a reset that has begun waits its time; else nothing is queued

    def _reset(self, at: float) -> None:
        if not self.queue:
            self.sticky = True
            self.cut(at + self.attributes["timeout"] / 1000, End.RESET if self.opened_with else End.CUT)
