"""Which topics the client is subscribed to, and which it must ask for again. Sans-I/O."""

from __future__ import annotations

from collections.abc import Container


class Subscriptions:
    """The topics that the server has confirmed. They belong to its session, so a fresh one knows none of them."""

    def __init__(self) -> None:
        self._topics: dict[str, None] = {}
        self._owed: dict[str, None] = {}  # asked for again, and given up before the server had confirmed it

    def confirmed(self, kind: str, topic: str) -> None:
        """The server accepted a ``subscribe`` or an ``unsubscribe``."""
        self._owed.pop(topic, None)
        if kind == "subscribe":
            self._topics[topic] = None
        else:
            self._topics.pop(topic, None)

    def owe(self, topic: str) -> None:
        """A topic was to be restored, and the client gave up before the server had confirmed it."""
        self._owed[topic] = None

    def owed(self, pending: Container[str]) -> list[str]:
        """The session was recovered: the topics that it may lack, to subscribe to again, once each.

        Those in ``pending`` are left out: their own requests are still on the way. What is returned counts as
        confirmed only when the server says so.
        """
        topics = [topic for topic in self._owed if topic not in pending]
        self._owed.clear()
        return topics

    def restore(self, pending: Container[str]) -> list[str]:
        """The session is a fresh one: the topics to subscribe to again, all of them, as in :meth:`owed`."""
        self._owed = {**self._topics, **self._owed}
        self._topics.clear()
        return self.owed(pending)
