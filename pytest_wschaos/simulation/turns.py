"""How the simulated loop turns: as asyncio's own does, at less cost for each callback and timer.

A fleet makes millions of both. Timers are kept in tuples, which the heap compares without calling Python, and in order
of their making where they are due at the same instant. What the network has to tell needs no selector. The rest of a
loop stays asyncio's.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .clock import VirtualClock

if TYPE_CHECKING:
    from contextvars import Context

FEW_CANCELLED = 100
"""Cancelled timers that are left where they are until their time comes; above it, unless they are less than half."""

Entry = tuple[float, int, asyncio.TimerHandle]
"""When, the number of the timer, and the timer."""


class QuickTurns(VirtualClock):
    """The turn of a loop to which nothing comes from outside."""

    # asyncio's own, read here without a call.
    _debug: bool
    _closed: bool
    _timer_cancelled_count: int
    _stopping: bool
    _entries: list[Entry]
    _ready: deque[asyncio.Handle]

    def _start_turns(self) -> None:
        # Under the name by which asyncio clears it; nothing else of asyncio's own looks at it any more.
        self._scheduled = self._entries = []  # type: ignore[assignment]
        self._timers = 0
        self._happened: list[asyncio.Handle] = []

    def happen(self, callback: Callable[..., object], *args: Any, context: Context) -> asyncio.Handle:
        """Call something as the kernel's news are: in the next turn, after all that is already to be done in it.

        It runs in the context of who waits for the news, and not in that of who causes it.
        """
        handle = asyncio.Handle(callback, args, self, context)
        self._happened.append(handle)
        return handle

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As on any loop."""
        if self._debug:
            return super().call_soon(callback, *args, context=context)
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As on any loop."""
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed:
            raise RuntimeError("Event loop is closed")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers += 1
        heapq.heappush(self._entries, (when, self._timers, timer))
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are set."""
        return [timer for _, _, timer in self._entries if not timer.cancelled()]

    def _run_once(self) -> None:
        ready, entries = self._ready, self._entries
        if self._timer_cancelled_count:
            self._drop_cancelled()
        if ready or self._happened or self._stopping or (entries and entries[0][0] <= self._now):
            self._turn()
        else:
            self._jump(entries[0][0] if entries else None)
        if self._happened:
            ready.extend(self._happened)
            self._happened.clear()
        now = self._now
        while entries and entries[0][0] <= now:
            timer = heapq.heappop(entries)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if self._debug:
                handle._run()
                continue
            try:
                handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                told = {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
                self.call_exception_handler(told)

    def _drop_cancelled(self) -> None:
        """Forget the cancelled timers that come next; all of them where they are many."""
        entries, count = self._entries, self._timer_cancelled_count
        if count > FEW_CANCELLED and 2 * count > len(entries):
            for entry in entries:
                if entry[2]._cancelled:
                    entry[2]._scheduled = False  # type: ignore[attr-defined]
            entries[:] = [entry for entry in entries if not entry[2]._cancelled]
            heapq.heapify(entries)
            self._timer_cancelled_count = 0
        while entries and entries[0][2]._cancelled:
            heapq.heappop(entries)[2]._scheduled = False  # type: ignore[attr-defined]
            self._timer_cancelled_count -= 1
