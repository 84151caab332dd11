"""Playing many cases side by side: they mostly wait.

Who wants a result waits for it; meanwhile the cases after it are played, the longest first. A case begins only while
the machine is on time, so that what the suite itself costs does not blur what is judged.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future

from .case import Case
from .curtain import Curtain
from .result import Result

Play = Callable[[Case, Curtain], Result]

STAGGER = 0.05
"""Seconds between two starts, at least."""
LATE = 0.015
"""Seconds by which a start's own timer may be late; where it is later, the machine is too busy for one more case."""
PATIENCE = 1.0
"""Seconds for which a start waits for a machine that stays busy."""
PER_CORE = 24
"""Cases at a time for each core, at a scale of 1: so many take a small part of it, and the longest ends last."""
AT_LEAST = 6
"""And at any scale: at 0.05 so many gave as few INCONCLUSIVE as two did; of sixteen each twentieth case was."""
SWITCH = 0.001
"""Seconds after which a thread that computes gives way to one that has been waiting for its timer."""
END_TIMEOUT = 30.0
"""Seconds that cases have to end when nobody waits for them any more."""


class Stopped(Exception):
    """The case was not played to its end, since the run ends."""


def side_by_side(scale: float, clock: str) -> int:
    """How many cases are played at once, where nobody says so.

    A case is about the same work whatever its scale, so that at a twentieth of the time it is twenty times the load,
    and the figures leave a twentieth of the room for it. On virtual time it is nothing but work.
    """
    if clock != "real":
        return 1
    cores = os.cpu_count() or 1
    return cores * max(AT_LEAST, round(PER_CORE * min(1.0, scale)))


class Player:
    """Plays cases on threads, each once.

    Args:
        play: plays one.
        limit: how many at a time.
        finished: is told of each result, on the thread that played it.
        seconds: how long a case lasts, about.
    """

    def __init__(
        self,
        play: Play,
        *,
        limit: int,
        finished: Callable[[Result], object] = lambda result: None,
        seconds: Callable[[Case], float] = lambda case: 0.0,
    ) -> None:
        self._play = play
        self.limit = limit
        self._finished = finished
        self._seconds = seconds
        self._results: dict[str, Future[Result]] = {}
        self._waiting: deque[Case] = deque()
        self._playing: dict[str, tuple[threading.Thread, Curtain]] = {}
        self._change = threading.Condition()
        self._starter: threading.Thread | None = None
        self._stopped = False
        self._switch = 0.0

    @property
    def playing(self) -> Mapping[str, object]:
        """The cases that are played now, by id."""
        return dict(self._playing)

    def ahead(self, cases: Iterable[Case]) -> None:
        """Play these, whether anybody waits for them yet or not."""
        with self._change:
            new = [case for case in cases if case.id not in self._results]
            for case in new:
                self._results[case.id] = Future()
            self._waiting = deque(sorted([*self._waiting, *new], key=self._seconds, reverse=True))
            if new and self._starter is None and not self._stopped:
                self._switch = sys.getswitchinterval()
                sys.setswitchinterval(min(SWITCH, self._switch))
                self._starter = threading.Thread(target=self._start_all, name="wschaos-cases", daemon=True)
                self._starter.start()
            self._change.notify_all()

    def result(self, case: Case) -> Result:
        """Wait for the result of a case, and play it where nobody has asked for it before.

        Raises:
            Stopped: it is not played any more.
        """
        self.ahead([case])
        try:
            return self._results[case.id].result()
        except asyncio.CancelledError:
            raise Stopped(f"{case.id} was not played to its end") from None

    def done(self, case: Case) -> Result | None:
        """The result of a case, where there is one."""
        future = self._results.get(case.id)
        if future is None or not future.done() or future.exception() is not None:
            return None
        return future.result()

    def stop(self) -> None:
        """End what is being played; no thread and no process is left."""
        with self._change:
            self._stopped = True
            left, self._waiting = list(self._waiting), deque()
            playing = list(self._playing.values())
            self._change.notify_all()
        for case in left:
            self._results[case.id].set_exception(asyncio.CancelledError())
        for _, curtain in playing:
            curtain.fall()
        end = time.monotonic() + END_TIMEOUT
        if self._starter is not None:
            sys.setswitchinterval(self._switch)
        for thread in [thread for thread, _ in playing] + ([self._starter] if self._starter else []):
            thread.join(max(0.0, end - time.monotonic()))

    # --- on the starter's thread

    def _start_all(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._stopped or (self._waiting and len(self._playing) < self.limit))
                if self._stopped:
                    return
            _wait_until_calm()
            with self._change:
                if not self._waiting:
                    continue
                self._start(self._waiting.popleft())

    def _start(self, case: Case) -> None:
        curtain = Curtain()
        thread = threading.Thread(target=self._run, args=(case, curtain), name=f"wschaos-{case.id}", daemon=True)
        self._playing[case.id] = (thread, curtain)
        thread.start()

    # --- on the thread of a case

    def _run(self, case: Case, curtain: Curtain) -> None:
        future = self._results[case.id]
        try:
            result = self._play(case, curtain)
        except BaseException as error:  # whoever waits for it is told
            future.set_exception(error)
        else:
            self._finished(result)
            future.set_result(result)
        finally:
            with self._change:
                del self._playing[case.id]
                self._change.notify_all()


def _wait_until_calm() -> None:
    """Let the last case begin, and the machine come back to itself."""
    end = time.monotonic() + PATIENCE
    while (begun := time.monotonic()) < end:
        time.sleep(STAGGER)
        if time.monotonic() - begun - STAGGER < LATE:
            return
