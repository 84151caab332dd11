"""An event loop on a thread of its own, for tests that are not asynchronous and for those that are busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from .engine.relay import new_loop

T = TypeVar("T")

CALL_TIMEOUT = 10.0
"""Seconds after which a call to the loop is given up."""
CANCEL_TIMEOUT = 5.0
"""Seconds that tasks have to end when they are cancelled."""


class LoopStuck(RuntimeError):
    """The loop did not answer a call in time."""


class LoopEnded(RuntimeError):
    """The loop has been stopped: nothing can be asked of it any more."""

    def __init__(self) -> None:
        super().__init__("the chaos of this test has ended; what came from its fixtures works no more")


class LoopThread:
    """Runs an event loop on a daemon thread; every call to it is thread-safe and bounded."""

    def __init__(self, name: str = "wschaos") -> None:
        self.loop = new_loop()
        self._finishing: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def require_other_thread(self) -> None:
        """Refuse to block the loop itself.

        Raises:
            RuntimeError: it is the loop's own thread.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a blocking call from the engine's own loop would wait for itself")

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = CALL_TIMEOUT) -> T:
        """Run a coroutine on the loop and wait for its result.

        Raises:
            LoopStuck: it took longer than ``timeout`` seconds; it is cancelled.
            LoopEnded: the loop has been stopped.
        """
        try:
            self.require_other_thread()
        except RuntimeError:
            coroutine.close()
            raise
        if self.stopped:
            coroutine.close()
            raise LoopEnded()
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout)
        except FutureTimeout:
            if future.done():  # the coroutine itself raised it
                raise
            future.cancel()
            raise LoopStuck(f"the engine's loop did not answer within {timeout:g} s") from None

    def finish(self, coroutine: Coroutine[Any, Any, None], timeout: float = CALL_TIMEOUT) -> None:
        """Run something to its end; on the loop's own thread it goes on beside the caller.

        Raises:
            LoopStuck: it did not end in time.
            LoopEnded: the loop has been stopped.
        """
        if threading.current_thread() is not self._thread:
            self.run(coroutine, timeout)
            return
        task = self.loop.create_task(coroutine)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function on the loop's thread and wait for its result.

        Raises:
            LoopStuck: the loop did not get to it in time.
            LoopEnded: the loop has been stopped.
        """
        if threading.current_thread() is self._thread:
            return function(*args)

        async def call() -> T:
            return function(*args)

        return self.run(call())

    def at_close(self, finish: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """Nothing: this loop is closed only by :meth:`stop`, before which all has ended."""

    effect = finish
    """Carry something out; in a plain call it has taken effect when this returns."""

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this loop, and await it on another."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    async def settled(self) -> None:
        """What :meth:`finish` began has ended."""

    def catch_up(self) -> None:
        """Return when the loop has done all that was due by now; at once on its own thread, or when it has ended.

        Raises:
            LoopStuck: it does not get that far.
        """
        if threading.current_thread() is not self._thread and not self.stopped:
            self.run(_two_turns())

    @property
    def stopped(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End every task, close the loop, and join the thread.

        Raises:
            LoopStuck: a task did not let itself be cancelled, or something blocks the loop.
        """
        if self.stopped:
            return
        try:
            stubborn = self.run(self._cancel_all())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(CALL_TIMEOUT)
            if self._thread.is_alive():
                raise LoopStuck(f"the engine's thread did not end within {CALL_TIMEOUT:g} s")
            self.loop.close()
        if stubborn:
            names = ", ".join(sorted(getattr(task.get_coro(), "__qualname__", "?") for task in stubborn))
            raise LoopStuck(f"would not be cancelled within {CANCEL_TIMEOUT:g} s: {names}")

    async def _cancel_all(self) -> set[asyncio.Task[Any]]:
        """Returns the tasks that did not end; they must not keep the thread alive."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        stubborn: set[asyncio.Task[Any]] = set()
        if others:
            ended, stubborn = await asyncio.wait(others, timeout=CANCEL_TIMEOUT)
            for task in ended:
                if not task.cancelled():
                    task.exception()  # it was ended on purpose; whoever cared for it has heard of it
        # Transports that were aborted close their sockets in the next turns of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()
        return stubborn


async def _two_turns() -> None:
    """What asks for this comes before the timers that are due and the data that has arrived: they take a turn each."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
