"""What the application hears of its client, and how it waits for what comes next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

EventHandler = Callable[[dict[str, object]], None]


class Events:
    """Hands events to the application's handler, whose faults must not become the client's.

    Args:
        handler: called with each event; None: nobody listens.
    """

    def __init__(self, handler: EventHandler | None) -> None:
        self._handler = handler
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def heard(self) -> bool:
        """Whether somebody listens."""
        return self._handler is not None

    def tell(self, event: str, **fields: object) -> dict[str, object]:
        """Tell of an event; returns it."""
        told: dict[str, object] = {"event": event, **fields}
        if self._handler is not None:
            try:
                self._handler(told)
            except Exception as error:
                report("on_event raised", error)
        return told

    async def changed(self) -> None:
        """Wait until something has changed; the caller then looks whether it is what it waits for."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        """Something has changed."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)


def report(message: str, error: BaseException) -> None:
    """Give an error that nobody awaits to the loop's exception handler."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
