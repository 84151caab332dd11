"""Ending a case before its time: because nobody waits for it any more, or because its client runs wild."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import TypeVar

from ...timeline import Timeline

T = TypeVar("T")

MOST_OPEN = 200
"""Connections that one client may have at a time; the spec allows one. Each costs the harness three descriptors."""
MOST_ATTEMPTS = 3000
"""Attempts of one client in one case: more than any case calls for, and what a loop without a wait makes in a minute."""


class Curtain:
    """Lets any thread end a case that is being played on another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fallen = False
        self._playing: tuple[asyncio.AbstractEventLoop, asyncio.Task[object]] | None = None

    def fall(self) -> None:
        """End the case, and do not let it begin."""
        with self._lock:
            self._fallen = True
            if self._playing is not None:
                loop, task = self._playing
                loop.call_soon_threadsafe(task.cancel)

    async def over(self, case: Coroutine[object, object, T]) -> T:
        """Await the case.

        Raises:
            asyncio.CancelledError: the curtain has fallen.
        """
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._fallen:
                case.close()
                raise asyncio.CancelledError
            self._playing = (asyncio.get_running_loop(), task)
        try:
            return await case
        finally:
            with self._lock:
                self._playing = None


class Wildness:
    """Watches a timeline for a client that opens connections without end, which would take the harness down with it."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._position = 0
        self._open: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self.found: asyncio.Future[str] = self._loop.create_future()
        """What a client did, in words, once one has."""
        self.stop = timeline.listen(self._look)

    def _look(self) -> None:
        with self._lock:  # events come on several threads
            events = self._timeline.since(self._position)
            self._position += len(events)
            for event in events:
                if event.kind == "attempt":
                    self._attempts[event.client] += 1
                    self._open[event.client] += not event.get("refused")
                elif event.kind == "end" and event.place == "client":
                    self._open[event.client] -= 1
            connecting = {event.client for event in events if event.kind == "attempt"}
            words = next((words for client in connecting if (words := self._words(client))), "")
        if words and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, words)

    def _words(self, client: str) -> str:
        if self._open[client] > MOST_OPEN:
            return f"the client opened more than {MOST_OPEN} connections side by side; it was ended"
        if self._attempts[client] > MOST_ATTEMPTS:
            return f"the client made more than {MOST_ATTEMPTS} attempts to connect; it was ended"
        return ""

    def _tell(self, words: str) -> None:
        if not self.found.done():
            self.found.set_result(words)
