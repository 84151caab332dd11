"""The embedded engine where it costs nothing: on the loop of the test's own thread, or on that of virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.front import LOCAL, Action, Front, Trust
from ..inline import Runner
from ..recorder import Recorder
from .link import Api, Link


class Embedded(Link):
    """The link to a front in this process.

    Args:
        runner: runs it.
        recorder: is told of what it sees.
        upstream, trust, seed, host: as for the front.
    """

    def __init__(
        self, runner: Runner, recorder: Recorder, upstream: str, trust: Trust, *, seed: int, host: str = LOCAL
    ) -> None:
        self._runner = runner
        self._front = Front(upstream, trust, seed=seed, observer=recorder, tell=recorder.timeline.tell, host=host)

    def listen(self, name: str, certificate: bytes | None = None) -> str:
        return self._runner.run(self._front.listen(name, certificate))

    def redirect(self, upstream: str) -> None:
        self._runner.call(self._front.redirect, upstream)

    def serve_api(self) -> Api:
        return Api("127.0.0.1", self._runner.run(self._front.serve_api()))

    def begin(self, id: int, fault: str, told: Mapping[str, Any], action: Action) -> None:
        self._runner.call(self._front.begin, id, fault, told, action)

    def heal(self, id: int, fault: str, action: Action) -> None:
        self._runner.effect(self._front.heal(id, fault, action))

    def apply(self, id: int, action: Action) -> None:
        """Carry out what a fault does, and tell nobody."""
        self._runner.call(action.begin, self._front, id)

    def undo(self, id: int, action: Action) -> None:
        """End it, and tell nobody. What has been ended is ended."""
        self._runner.effect(action.heal(self._front, id))

    def expect(self, name: str, address: str) -> None:
        """Tell of attempts on the address of a listener that is not the engine's, and is down."""
        self._runner.call(self._front.expect, name, address)

    def forgive(self, address: str) -> None:
        """That listener is about to be there again."""
        self._runner.call(self._front.forgive, address)

    def release(self, address: str) -> None:
        """It is there again."""
        self._runner.call(self._front.release, address)

    def catch_up(self) -> None:
        self._runner.catch_up()

    def stop(self) -> None:
        self._runner.run(self._front.stop())
