"""A clock that stands still while anything is ready to run, and then jumps to the next timer.

:class:`VirtualClock` is the part that both virtual loops share: the time, its guards, and what keeps two runs alike.
It is mixed into a loop on top of ``asyncio.BaseEventLoop``, which says before each turn whether it would have to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from .determinism import CountedTask, Determinism
from .errors import Deadlock, Livelock, TimeLimit

TIME_LIMIT = 24 * 3600.0
"""Virtual seconds that a run may take, unless another limit is given."""
TURNS = 100_000
"""Turns of the loop without any time passing, above which it is a livelock."""
CRAWL = 0.001
"""Seconds of which more should pass in that many turns and jumps, or in more where there is much to do."""
TURNS_PER_TASK = 1000
"""How many more, for each task and timer that there is: ten thousand clients may do much in an instant."""
AFTERWARDS = 600.0
"""Virtual seconds that are granted beyond the limit once it has been told, so that what is open can be closed."""
COLLECT_EVERY = 50_000
"""Turns and jumps between two collections of garbage, at least: its own schedule depends on what else the process does.
"""
COLLECT_PER_TASK = 100
"""Turns between two collections for each task that there is: what a collection costs grows with them."""

if TYPE_CHECKING:
    _Base = asyncio.BaseEventLoop
else:
    _Base = object


class VirtualClock(_Base):
    """The time of a loop on which it costs nothing to wait.

    Args:
        seed: where all randomness of the process comes from while the loop runs.
        time_limit: virtual seconds after which :class:`TimeLimit` is raised.
    """

    virtual = True
    """Whether its time is not the world's."""
    clock_name = "virtual"
    _scheduled: list[asyncio.TimerHandle]
    _ready: Any

    def _start_clock(self, seed: int, time_limit: float) -> None:
        self._finishers: list[Callable[[], Coroutine[Any, Any, None] | None]] = []
        if not time_limit > 0:
            self.close()
            raise ValueError(f"time_limit = {time_limit!r}: must be above 0 s")
        self._now = 0.0
        self._limit = self._told_limit = time_limit
        self._turns = 0
        self._all_turns = 0
        self._collected = 0
        self._crawled = (0.0, 0)  # since when less than a moment has passed, and the turns until then
        self.seed = seed
        self._numbers = itertools.count(1)
        self._determinism = Determinism(seed, self.time)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def next_number(self) -> int:
        """A number for each thing that needs a hash, in the order in which they are made."""
        return next(self._numbers)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """As on any loop, with a task that has the same hash in every run."""
        if self.get_task_factory() is not None:
            return super().create_task(coro, **options)
        self._check_closed()  # type: ignore[attr-defined]
        return CountedTask(coro, loop=self, **options)

    def run_forever(self) -> None:
        """Run until stopped; meanwhile chance and the time of day are the simulation's."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            with self._determinism:
                super().run_forever()
        finally:
            if collecting:
                gc.enable()

    def at_close(self, finish: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """Have something ended before the loop is closed, if nobody did; ``finish`` says None where somebody did."""
        self._finishers.append(finish)

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are set."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    @property
    def unfinished(self) -> bool:
        """Whether tasks, generators or threads are left that have to be ended, or anything is still to be done."""
        left = self._ready or self._asyncgens or self._default_executor  # type: ignore[attr-defined]
        return bool(left or asyncio.all_tasks(self))

    def close(self) -> None:
        """Close it. Tasks that would not end are ended, so that no later run hears of them."""
        with contextlib.ExitStack() as ending:  # whatever fails, the rest is done
            ending.callback(super().close)
            if not self.is_running() and not self.is_closed():
                ending.callback(self._end_tasks)
                for finish in self._finishers:
                    ending.callback(self._finish, finish)
                self._finishers = []

    def _finish(self, finish: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        if (ending := finish()) is not None:
            self.run_until_complete(ending)

    def _end_tasks(self) -> None:
        for task in sorted(asyncio.all_tasks(self), key=hash):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            if coroutine is not None:
                with contextlib.suppress(Exception):  # it may ignore this as well
                    coroutine.close()

    def _turn(self) -> None:
        """Something is ready, so no time passes."""
        self._turns += 1
        self._all_turns += 1
        if self._all_turns % COLLECT_EVERY == 0:
            self._look_after()
        if self._turns > TURNS:
            self._turns = 0
            raise Livelock(
                f"the loop turned {TURNS} times at {self._now:.3f} s, and no time passed: something waits for the "
                f"clock without letting it go on (a loop around sleep(0), or a timer that sets itself anew)\n"
                + pending(self)
            )

    def _look_after(self) -> None:
        """Collect the garbage, and see whether time goes on.

        Raises:
            Livelock: it does, in steps so small that it gets nowhere.
        """
        tasks = len(asyncio.all_tasks(self))
        if self._all_turns - self._collected >= COLLECT_PER_TASK * tasks:
            self._collected = self._all_turns
            gc.collect()
        since, turns = self._crawled
        if self._now - since >= CRAWL:
            self._crawled = self._now, self._all_turns
        elif (turned := self._all_turns - turns) > max(TURNS, TURNS_PER_TASK * (tasks + len(self._scheduled))):
            self._crawled = self._now, self._all_turns
            raise Livelock(
                f"the loop turned {turned} times at {self._now:.6f} s, and less than {CRAWL:g} s passed: something "
                f"lets the clock go on in steps too small to get anywhere\n" + pending(self)
            )

    def _jump(self, at: float | None) -> None:
        """Nothing is ready: go to the instant of the next timer; None: none is set."""
        self._turns = 0
        self._all_turns += 1
        if self._all_turns % COLLECT_EVERY == 0:
            self._look_after()
        if at is None:
            raise Deadlock(
                f"at {self._now:.3f} s nothing is ready and no timer is set: nothing will ever happen again "
                f"(a thread or another process cannot wake this clock; clock='real' can wait for them)\n"
                + pending(self)
            )
        if at > self._limit:
            told, self._limit = self._told_limit, self._now + AFTERWARDS
            raise TimeLimit(
                f"{told:g} s of virtual time have passed, which is the limit (time_limit=)\n" + pending(self)
            )
        self._now = max(self._now, at)


def pending(loop: asyncio.AbstractEventLoop) -> str:
    """The tasks that wait, each with the line where it does."""
    tasks = sorted(asyncio.all_tasks(loop), key=hash)
    if not tasks:
        return "no task is pending"
    return "\n".join(["pending tasks:", *(f"  {_waits(task)}" for task in tasks)])


def _waits(task: asyncio.Task[Any]) -> str:
    frames = []
    awaited: Any = task.get_coro()
    name = getattr(awaited, "__qualname__", None) or type(awaited).__qualname__
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        frames.append(frame)
        awaited = awaited.cr_await
    if not frames:  # no coroutine of Python's own: where it is cannot be told
        return name
    # The innermost frame is often a library's; the outermost one is the task's own.
    places = [f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in (frames[-1], frames[0])]
    return f"{name}: at {' < '.join(dict.fromkeys(places))}"
