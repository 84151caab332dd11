"""Which topics the client is subscribed to, and which it must ask for again. Sans-I/O."""

from __future__ import annotations

from collections.abc import Container


class Subscriptions:
    """The topics that the server has confirmed. They belong to its session, so a fresh one knows none of them."""

    def __init__(self) -> None:
        self._topics: dict[str, None] = {}

    def confirmed(self, kind: str, topic: str) -> None:
        """The server accepted a ``subscribe`` or an ``unsubscribe``."""
        if kind == "subscribe":
            self._topics[topic] = None
        else:
            self._topics.pop(topic, None)

    def restore(self, pending: Container[str]) -> list[str]:
        """The session is a fresh one: the topics to subscribe to again, once each.

        Those in ``pending`` are left out: their own requests are still on the way. What is returned counts as
        confirmed again only when the server says so.
        """
        topics = [topic for topic in self._topics if topic not in pending]
        self._topics.clear()
        return topics
