"""lifetime: ends a connection some time after it opened. ``timeout`` in milliseconds; 0: never."""

from __future__ import annotations

from ..stage import End, Stage


class Lifetime(Stage):
    """Closes both sides ``timeout`` after the connection opened, or the toxic came to it; traffic does not keep it.

    ``reset``: with a RST in place of a FIN. It is what a load balancer's maximum connection age does.
    """

    type = "lifetime"
    defaults = {"timeout": 0, "reset": False}
    rank = 1  # its cut is not held up by other toxics

    began = 0.0

    def on_start(self, at: float) -> None:
        self.began = at
        self._set()

    def on_update(self, at: float) -> None:
        self._set()

    def on_deadline(self, at: float) -> None:
        self.cut(at, End.RESET if self.attributes["reset"] else End.CUT)

    def on_remove(self, at: float) -> None:
        self.deadline = None
        self.release(at)

    def _set(self) -> None:
        milliseconds = self.attributes["timeout"]
        self.deadline = self.began + milliseconds / 1000 if milliseconds > 0 else None
