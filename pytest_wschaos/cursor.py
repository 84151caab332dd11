"""Waiting for events, from asynchronous and from plain code: none is missed between two waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from typing import get_args

from . import dialect
from .background import LoopEnded
from .lag import LagMeter
from .timeline import Event, Place, Timeline

WIRE_KINDS = (
    "attempt",
    "handshake",
    "response",
    "ready",
    "end",
    "ping",
    "pong",
    "close",
    "text",
    "binary",
    "error",
    "fault",
    "healed",
    "cut",
    "acted",
    "token",
    "lag",
)
APP_KINDS = [
    f"app.{name}"
    for name in (
        "connecting",
        "ready",
        "closed",
        "waiting",
        "gave_up",
        "message",
        "settled",
        "gap",
        "send",
        "close",
        "reconnect",
        "subscribe",
        "unsubscribe",
    )
]
KINDS = frozenset([*WIRE_KINDS, *APP_KINDS, *(dialect.kind(meaning) for meaning in get_args(dialect.Meaning))])
"""All kinds of event that can be waited for."""


class EventTimeout(AssertionError):
    """The event did not come in time; the message says what came instead."""


class Cursor:
    """A place on a timeline; each wait moves it behind the event that it returns."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._position = 0

    async def wait_for(self, kind: str, count: int, timeout: float, client: str | None, place: Place | None) -> Event:
        """Wait on the running loop, and measure meanwhile how late that loop is."""
        __tracebackhide__ = True
        loop = asyncio.get_running_loop()
        search = _Search(self, kind, count, timeout, client, place)
        came = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the waiting loop may have been closed meanwhile
                loop.call_soon_threadsafe(came.set)

        stop = self._timeline.listen(wake)
        meter = LagMeter(loop, self._timeline.late)
        meter.start()
        try:
            async with asyncio.timeout(timeout):
                while not search.done:
                    search.require_open()
                    await came.wait()
                    came.clear()
        except TimeoutError:
            raise search.timed_out() from None
        finally:
            meter.stop()
            stop()
        return search.result()

    def wait(self, kind: str, count: int, timeout: float, client: str | None, place: Place | None) -> Event:
        """Wait by blocking the calling thread."""
        __tracebackhide__ = True
        search = _Search(self, kind, count, timeout, client, place)
        came = threading.Event()
        stop = self._timeline.listen(came.set)
        end = self._timeline.now() + timeout
        try:
            while not search.done:
                search.require_open()
                if not came.wait(min(max(0.0, end - self._timeline.now()), threading.TIMEOUT_MAX)):
                    raise search.timed_out()
                came.clear()
        finally:
            stop()
        return search.result()


class _Search:
    """One wait: looks through what has come since the cursor, a bit further each time."""

    def __init__(
        self, cursor: Cursor, kind: str, count: int, timeout: float, client: str | None, place: Place | None
    ) -> None:
        # Clients may report events of their own names.
        if kind not in KINDS and not (isinstance(kind, str) and kind.startswith("app.")):
            raise ValueError(f"no event is named {kind!r}: there are {', '.join(sorted(KINDS))}, and app.* of your own")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"count = {count!r}: must be a whole number, 1 or more")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
            raise ValueError(f"timeout = {timeout!r}: must be a number of seconds, 0 or more")
        if place is not None and place not in get_args(Place):
            raise ValueError(f"place = {place!r}: must be one of {', '.join(get_args(Place))}")
        self._cursor = cursor
        self._wanted = kind
        self._count = count
        self._timeout = timeout
        self._client = client
        self._place = place
        self._position = cursor._position
        self._found: list[Event] = []

    @property
    def done(self) -> bool:
        """Whether enough such events have come."""
        for event in self._cursor._timeline.since(self._position):
            self._position += 1
            if self._matches(event):
                self._found.append(event)
                if len(self._found) == self._count:
                    return True
        return False

    def require_open(self) -> None:
        """Raise :class:`LoopEnded` where it can never come."""
        if self._cursor._timeline.closed:
            raise self._cursor._timeline.reason or LoopEnded()

    def result(self) -> Event:
        """The last of them; the cursor stands behind it."""
        self._cursor._position = self._position
        return self._found[-1]

    def timed_out(self) -> EventTimeout:
        """What to say when they do not come."""
        seen = self._cursor._timeline.since(self._cursor._position)
        kinds = Counter(event.kind for event in seen if event.place != "server" and event.kind != "lag")
        listed = ", ".join(f"{kind} x{number}" if number > 1 else kind for kind, number in kinds.items())
        wanted = f"{self._wanted!r}" + (f" x{self._count}" if self._count > 1 else "")
        got = f" ({len(self._found)} came)" if self._found else ""
        return EventTimeout(
            f"waited {self._timeout:g} s for {wanted}{got}; "
            f"seen instead since the last wait: {listed or 'nothing at all'}"
        )

    def _matches(self, event: Event) -> bool:
        # A frame is on record at both sides; unless asked otherwise the client's side counts.
        here = event.place == self._place if self._place is not None else event.place != "server"
        return here and event.kind == self._wanted and self._client in (None, event.client)
