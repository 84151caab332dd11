"""The embedded engine where it costs nothing: on the loop of the test's own thread, or on that of virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate

from ..engine.front import Front, Trust
from ..inline import Runner
from ..recorder import Recorder
from .link import Link, P, T


class Embedded(Link):
    """The link to a front in this process.

    Args:
        runner: runs it.
        recorder: is told of what it sees.
        upstream, trust, seed: as for the front.
    """

    def __init__(self, runner: Runner, recorder: Recorder, upstream: str, trust: Trust, *, seed: int) -> None:
        self._runner = runner
        self._front = Front(upstream, trust, seed=seed, observer=recorder, tell=recorder.timeline.tell)

    def call(self, method: Callable[Concatenate[Front, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._runner.call(lambda: method(self._front, *args, **kwargs))

    def run(
        self, method: Callable[Concatenate[Front, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return self._runner.run(method(self._front, *args, **kwargs))

    def effect(
        self, method: Callable[Concatenate[Front, P], Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        self._runner.effect(method(self._front, *args, **kwargs))

    def catch_up(self) -> None:
        self._runner.catch_up()

    def stop(self) -> None:
        self.run(Front.stop)
