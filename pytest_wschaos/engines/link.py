"""How a test speaks with the front of its engine, wherever that runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ..engine.front import Front

P = ParamSpec("P")
T = TypeVar("T")


class Link(Protocol):
    """Asks a front for its methods, from any thread. What is asked for has taken effect when the answer is there.

    Raises (from each):
        LoopStuck: there was no answer in time.
        LoopEnded: the test has ended.
    """

    def call(self, method: Callable[Concatenate[Front, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What takes effect without waiting; on the engine's own loop too."""

    def run(
        self, method: Callable[Concatenate[Front, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What may have to wait."""

    def effect(
        self, method: Callable[Concatenate[Front, P], Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """What ends by itself; on the engine's own loop it may do so beside the caller."""

    def catch_up(self) -> None:
        """Return when everything is on record that the engine should have seen by now."""

    def stop(self) -> None:
        """End the front."""
