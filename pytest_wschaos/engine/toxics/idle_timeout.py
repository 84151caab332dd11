"""idle_timeout: closes a connection whose direction has been silent. ``timeout`` in milliseconds; 0: never."""

from __future__ import annotations

from ..stage import End, Stage


class IdleTimeout(Stage):
    """Closes both sides once no data has passed in its direction for ``timeout``; traffic keeps it open.

    Unlike Toxiproxy's ``timeout`` it discards nothing: it is what a reverse proxy's read timeout does.
    """

    type = "idle_timeout"
    defaults = {"timeout": 0}
    rank = -1  # what counts is what the peer sends, and not what other toxics let through, and when

    ended = False
    """Whether the stream has ended, which is not silence."""

    def on_start(self, at: float) -> None:
        milliseconds = self.attributes["timeout"]
        self.deadline = at + milliseconds / 1000 if milliseconds > 0 and not self.ended else None

    def on_data(self, data: bytes, at: float) -> None:
        self.on_start(at)
        self.put(at, data)

    def on_end(self, end: End, at: float) -> None:
        self.ended = True
        self.deadline = None
        self.put(at, end)

    def on_update(self, at: float) -> None:
        self.on_start(at)

    def on_deadline(self, at: float) -> None:
        self.cut(at)

    def on_remove(self, at: float) -> None:
        self.deadline = None
        self.release(at)
