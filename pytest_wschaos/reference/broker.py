"""Who gets what is published: topics, and who is subscribed to them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from .session import Publication


class Subscriber(Hashable, Protocol):
    """Whoever takes publications; a session is one."""

    def publish(self, publication: Publication) -> None:
        """Take one publication. Must not block and must not raise."""


class Broker(Protocol):
    """Carries publications from whoever publishes to every subscriber of the topic, in order."""

    def subscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Let ``subscriber`` have the topic's publications from now on; once, however often it is called."""

    def unsubscribe(self, topic: str, subscriber: Subscriber) -> None:
        """End that; nothing happens where it was not subscribed."""

    def publish(self, publication: Publication) -> None:
        """Hand a publication to the topic's subscribers. Does not block."""


class MemoryBroker:
    """The broker of a server that stands alone: delivers at once, in order of subscription."""

    def __init__(self) -> None:
        # A dict keeps the order of subscription, which a set would not.
        self._topics: dict[str, dict[Subscriber, None]] = {}

    @property
    def topics(self) -> frozenset[str]:
        """The topics that have subscribers."""
        return frozenset(self._topics)

    def subscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Let ``subscriber`` have the topic's publications from now on."""
        self._topics.setdefault(topic, {})[subscriber] = None

    def unsubscribe(self, topic: str, subscriber: Subscriber) -> None:
        """End that, and forget a topic that nobody is subscribed to."""
        subscribers = self._topics.get(topic, {})
        subscribers.pop(subscriber, None)
        if not subscribers:
            self._topics.pop(topic, None)

    def publish(self, publication: Publication) -> None:
        """Hand a publication to the topic's subscribers."""
        for subscriber in tuple(self._topics.get(publication.topic, ())):
            subscriber.publish(publication)
