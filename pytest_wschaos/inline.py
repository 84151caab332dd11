"""An engine on the very loop that runs the test: the way of virtual time, where nothing can run beside it.

:class:`InlineLoop` is to a virtual loop what :class:`.background.LoopThread` is to real time. A call takes effect at
once and without a turn of the loop; what would have to wait says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .background import CALL_TIMEOUT, LoopEnded, LoopThread

T = TypeVar("T")


class MustWait(RuntimeError):
    """A plain call would have to wait for the loop that it is made on."""


class InlineLoop:
    """Calls on a loop from that loop itself, and from outside while it does not run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._finishing: set[asyncio.Task[Any]] = set()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = CALL_TIMEOUT) -> T:
        """The result of a coroutine.

        Raises:
            MustWait: it has to wait, and the loop is running.
            LoopEnded: the loop has been closed.
        """
        if self.stopped:
            coroutine.close()
            raise LoopEnded()
        if not self.loop.is_running():
            return self.loop.run_until_complete(coroutine)
        try:
            coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        name = getattr(coroutine, "__qualname__", "it")
        coroutine.close()
        raise MustWait(f"{name} would have to wait for the loop that the test itself runs on: await its async twin")

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function as if from the loop."""
        if self.loop.is_running():
            return function(*args)

        async def call() -> T:
            return function(*args)

        return self.run(call())

    def at_close(self, finish: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """Have something ended before the loop is closed, if nobody did; ``finish`` says None where somebody did."""
        if (at_close := getattr(self.loop, "at_close", None)) is not None:
            at_close(finish)

    def finish(self, coroutine: Coroutine[Any, Any, None], timeout: float = CALL_TIMEOUT) -> None:
        """Begin something that ends by itself; where the loop runs it goes on beside the caller."""
        if not self.loop.is_running():
            self.run(coroutine)
            return
        task = self.loop.create_task(coroutine)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    def effect(self, coroutine: Coroutine[Any, Any, None], timeout: float = CALL_TIMEOUT) -> None:
        """Carry something out that never has to wait."""
        self.run(coroutine)

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine."""
        return await coroutine

    async def settled(self) -> None:
        """Wait for what :meth:`finish` began."""
        while self._finishing:
            await asyncio.wait(self._finishing)

    def require_other_thread(self) -> None:
        """Refuse to block the loop itself.

        Raises:
            MustWait: always; there is only one loop.
        """
        raise MustWait(
            "a blocking call on virtual time would wait for itself: await wait_for() instead "
            "(for a client on a thread, clock='real')"
        )

    def catch_up(self) -> None:
        """Nothing is ever behind: no time passes while something is due."""

    @property
    def stopped(self) -> bool:
        """Whether the loop has been closed."""
        return self.loop.is_closed()

    def stop(self) -> None:
        """The loop is somebody else's."""


Runner = LoopThread | InlineLoop
"""Where an engine, a server and clients of a test run."""


def runner(loop: asyncio.AbstractEventLoop | None) -> Runner:
    """The way to run them: on ``loop``; without one on the virtual loop that is running, else on a thread."""
    if loop is None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return LoopThread()
        if not getattr(loop, "virtual", False):
            return LoopThread()
    return InlineLoop(loop)
