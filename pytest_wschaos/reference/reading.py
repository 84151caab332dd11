"""How what came down reaches the application: by its event handler, or by iteration; or not, while it pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from .events import Events
from .inbox import Inbox


class Reading:
    """Hands out what the inbox holds.

    Args:
        inbox: where it comes from.
        events: where it goes.
        taken: called when something was taken outside of the link's own doing; it may be time to acknowledge.
    """

    def __init__(self, inbox: Inbox, events: Events, taken: Callable[[], None]) -> None:
        self._inbox = inbox
        self._events = events
        self._taken = taken
        self._paused = False
        self._iterating = False

    def arrived(self) -> None:
        """The inbox has something: hand it on, unless somebody fetches it."""
        while len(self._inbox) and self._events.heard and not self._paused and not self._iterating:
            self._deliver()
        if self._iterating:
            self._events.wake()

    def pause(self) -> None:
        """Hand out nothing."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self.arrived()
        self._taken()

    async def messages(self, running: Callable[[], bool]) -> AsyncIterator[dict[str, object]]:
        """The events ``message``, each as it is taken, until the client is no longer running.

        Raises:
            RuntimeError: somebody else iterates already.
        """
        if self._iterating:
            raise RuntimeError("messages() is being iterated already")
        self._iterating = True
        try:
            while True:
                if len(self._inbox) and not self._paused:
                    event = self._deliver()
                    self._taken()
                    if event["event"] == "message":
                        yield event
                elif running():
                    await self._events.changed()
                else:
                    return
        finally:
            self._iterating = False

    def _deliver(self) -> dict[str, object]:
        delivery = self._inbox.take(asyncio.get_running_loop().time())
        if delivery.topic is None:
            return self._events.tell("gap", **{"from": delivery.seq, "to": delivery.to})
        return self._events.tell("message", topic=delivery.topic, data=delivery.data)
