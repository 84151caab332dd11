"""The loop of the fast shell (Linux): descriptors that its selector serves itself.

On asyncio's transports each event costs a handle and a turn of the loop, and timers come up to a millisecond late.
Here the selector calls whoever serves a descriptor before asyncio hears of anything, and waits for timers to the
microsecond. All else that asyncio does on such a loop is as on any other. :mod:`.descriptor` has the transports.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import sys
from collections.abc import Callable
from time import monotonic

SWITCH = "WSCHAOS_RELAY"
"""Environment variable: ``off`` has the engine run over asyncio's transports, as on other platforms."""

Serve = Callable[[], bool]
"""Does what a descriptor is ready for; returns whether the loop may have something to do now."""

READ_AT_ONCE = 256 * 1024
"""Bytes that are passed on at once, at most."""
FINE = 0.002
"""Seconds before a timer from which on the wait is one in microseconds; epoll's own is one in milliseconds."""
SELECTABLE = 1024
"""Descriptors below this number can be waited for in microseconds, by select(2)."""

if sys.platform == "linux":

    class RelaySelector(selectors.EpollSelector):
        """A selector that serves some descriptors itself, and tells its loop of the others alone."""

        def __init__(self) -> None:
            super().__init__()
            # A second descriptor of the same epoll instance, since the standard library's object is its own affair.
            self._epoll = select.epoll.fromfd(os.dup(self.fileno()))
            self._readers: dict[int, Serve] = {}
            self._writers: dict[int, Serve] = {}
            self._fine = self.fileno() < SELECTABLE
            self.buffer = memoryview(bytearray(READ_AT_ONCE))
            """Where everything is read that is passed on before anything else is read on this loop."""

        def close(self) -> None:
            """Serve nothing any more."""
            self._readers.clear()
            self._writers.clear()
            self._epoll.close()
            super().close()

        def serve(self, fd: int, read: Serve | None, write: Serve | None) -> None:
            """From now on call ``read`` and ``write`` whenever a descriptor is ready for it; None: do not look.

            One that is looked at for neither is not looked at for errors: the kernel would tell of them without end.
            """
            readers, writers = self._readers, self._writers
            before = (fd in readers and select.EPOLLIN) | (fd in writers and select.EPOLLOUT)
            after = (read is not None and select.EPOLLIN) | (write is not None and select.EPOLLOUT)
            if read is not None:
                readers[fd] = read
            else:
                readers.pop(fd, None)
            if write is not None:
                writers[fd] = write
            else:
                writers.pop(fd, None)
            if before == after:
                return
            if not before:
                self._epoll.register(fd, after)
            elif after:
                self._epoll.modify(fd, after)
            else:
                self._epoll.unregister(fd)

        def forget(self, fd: int) -> None:
            """Serve a descriptor no more: it is closed before the loop waits again, and the kernel forgets it then."""
            self._readers.pop(fd, None)
            self._writers.pop(fd, None)

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Serve what is ready, until ``timeout`` has passed (never less), or the loop has something to do."""
            poll, readers = self._epoll.poll, self._readers
            end = 0.0 if timeout is None or timeout <= 0 else monotonic() + timeout
            while True:
                events = self._poll_until(end) if end else poll(None if timeout is None else 0)
                busy = False
                others: list[tuple[int, int]] = []
                for fd, event in events:
                    # One that was served a moment ago may have closed this one: whoever is looked up is still there.
                    if event == 1 and fd in readers:  # EPOLLIN alone, the most common case by far
                        if readers[fd]():
                            busy = True
                    elif fd in readers or fd in self._writers:
                        if self._serve(fd, event):
                            busy = True
                    else:
                        others.append((fd, event))
                if busy or others or (monotonic() >= end if end else timeout is not None):
                    return self._keys(others)

        def _poll_until(self, end: float) -> list[tuple[int, int]]:
            left = end - monotonic()
            if left >= FINE:
                return self._epoll.poll(left - FINE)  # which rounds up to milliseconds
            if left <= 0:
                return self._epoll.poll(0)
            if not self._fine:
                return self._epoll.poll(left)
            select.select((self.fileno(),), (), (), left)
            return self._epoll.poll(0)

        def _serve(self, fd: int, event: int) -> bool:
            busy = False
            if event & ~select.EPOLLOUT and (read := self._readers.get(fd)) is not None:
                busy = read()
            if event & ~select.EPOLLIN and (write := self._writers.get(fd)) is not None:
                busy = write() or busy
            return busy

        def _keys(self, events: list[tuple[int, int]]) -> list[tuple[selectors.SelectorKey, int]]:
            keys = self.get_map()
            ready = []
            for fd, event in events:
                if fd in keys:
                    key = keys[fd]
                    mask = (selectors.EVENT_READ if event & ~select.EPOLLOUT else 0) | (
                        selectors.EVENT_WRITE if event & ~select.EPOLLIN else 0
                    )
                    ready.append((key, mask & key.events))
            return ready

    class RelayLoop(asyncio.SelectorEventLoop):
        """asyncio's loop on such a selector, which whoever wants the fast shell finds as ``relay``."""

        def __init__(self) -> None:
            self.relay = RelaySelector()
            super().__init__(self.relay)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop for an engine: the fast one where the platform has it and nobody has switched it off."""
    if sys.platform == "linux" and os.environ.get(SWITCH) != "off":
        return RelayLoop()
    return asyncio.new_event_loop()


def relay_of(loop: asyncio.AbstractEventLoop) -> RelaySelector | None:
    """The selector of a loop that serves descriptors itself; None: it has none, and asyncio's transports are used."""
    relay: RelaySelector | None = getattr(loop, "relay", None)
    return relay
