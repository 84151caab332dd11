"""reset_now: resets connections at once, without waiting for data."""

from __future__ import annotations

from ..stage import End, Stage


class ResetNow(Stage):
    """Live connections, idle ones too, get a RST on both sides; each new one as soon as it is accepted. No attributes.

    The server is not even dialled for a new one.
    """

    type = "reset_now"
    rank = 1  # its reset is not held up by other toxics

    def on_start(self, at: float) -> None:
        self.cut(at, End.RESET)
