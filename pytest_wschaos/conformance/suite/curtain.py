"""Ending a case before its time: because nobody waits for it any more, or because there is no sense in going on."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TypeVar

from ...checks.tolerance import STANDSTILLS
from ...timeline import Event, Timeline
from ..subjects.subject import Client

T = TypeVar("T")

MOST_OPEN = 200
"""Connections that one client may have at a time; the spec allows one. Each costs the harness three descriptors."""
MOST_ATTEMPTS = 3000
"""Attempts of one client in one case: more than any case calls for; a loop without a wait makes so many in a minute."""
SILENT = 20.0
"""Seconds without a sign of a client that was told to connect, its hello included, after which it never will."""
LONGEST_SILENT = 4 * SILENT
"""The same on a machine that is so busy that a process may take long to come up."""
LOOK_EVERY = 1.0
ASKED = frozenset(
    f"app.{what}" for what in ("send", "subscribe", "unsubscribe", "reconnect", "close", "end", "asked", "exited")
)
"""What is on record of a client that it has not said itself."""


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

    async def over(self, case: Coroutine[object, object, T], longest: float | None = None) -> T:
        """Await the case, for so many seconds at most.

        Raises:
            asyncio.CancelledError: the curtain has fallen.
            TimeoutError: it took longer.
        """
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._fallen:
                case.close()
                raise asyncio.CancelledError
            self._playing = (asyncio.get_running_loop(), task)
        try:
            async with asyncio.timeout(longest):
                return await case
        finally:
            with self._lock:
                self._playing = None


class Watch:
    """Watches over a case for what would make it senseless, or take the harness down with it.

    A client that opens connections without end, one that was told to connect and gives no sign of it, and one that has
    crashed.
    """

    def __init__(self, timeline: Timeline, clients: Sequence[Client]) -> None:
        self._timeline = timeline
        self._clients = clients
        self._position = 0
        self._open: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._stirred: set[str] = set()
        """Clients that have done something."""
        self._crashed: set[str] = set()
        self._late = 0.0
        """Seconds by which the harness's timers were late, in all."""
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self.found: asyncio.Future[str] = self._loop.create_future()
        """What a client did, or did not, in words, once that is so."""
        self._stop = timeline.listen(self._look)
        self._timer = self._loop.call_later(LOOK_EVERY, self._look_at_clients)

    def stop(self) -> None:
        """Watch no more."""
        self._stop()
        self._timer.cancel()
        self.found.cancel()

    def _look(self) -> None:
        with self._lock:  # events come on several threads
            events = self._timeline.since(self._position)
            self._position += len(events)
            for event in events:
                self._count(event)
            words = next((words for event in events if (words := self._words(event))), "")
        if words:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                self._loop.call_soon_threadsafe(self._tell, words)

    def _count(self, event: Event) -> None:
        if event.kind == "lag":
            self._late += event["lag"]
        elif event.kind == "attempt":
            self._attempts[event.client] += 1
            self._open[event.client] += not event.get("refused")
            self._stirred.add(event.client)
        elif event.kind == "end" and event.place == "client":
            self._open[event.client] -= 1
        elif event.place == "app" and event.kind not in ASKED:
            self._stirred.add(event.client)

    def _words(self, event: Event) -> str:
        if event.kind != "attempt":
            return ""
        if self._open[event.client] > MOST_OPEN:
            return f"the client opened more than {MOST_OPEN} connections side by side; it was ended"
        if self._attempts[event.client] > MOST_ATTEMPTS:
            return f"the client made more than {MOST_ATTEMPTS} attempts to connect; it was ended"
        return ""

    def _look_at_clients(self) -> None:
        now, longest = self._loop.time(), min(LONGEST_SILENT, SILENT + STANDSTILLS * self._late)
        for client in self._clients:
            if client.failure and client.name in self._crashed:
                self._tell(crashed(client))
            elif client.failure:
                self._crashed.add(client.name)  # the script may just be about to say more
            asked_at = client.connecting_since
            # Where SYNs are not answered, and where refused ones cannot be told apart, nobody sees an attempt.
            unseen = not self._timeline.sees_refused
            if asked_at is not None and client.name not in self._stirred and not unseen and now - asked_at > longest:
                self._tell(f"the client was told to connect, and within {longest:.3g} s it did not try")
        self._timer = self._loop.call_later(LOOK_EVERY, self._look_at_clients)

    def _tell(self, words: str) -> None:
        if not self.found.done():
            self.found.set_result(words)


def crashed(client: Client) -> str:
    """What is to be said of a client whose process has ended by itself."""
    return f"the client's process {client.failure}, before the case was over"
