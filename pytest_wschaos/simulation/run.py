"""The entrance without pytest: run a coroutine on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar, get_args

from .clock import TIME_LIMIT
from .hybrid import HybridLoop
from .loop import SimulatedLoop

T = TypeVar("T")
VirtualClockName = Literal["virtual", "hybrid"]


def make_loop(clock: str = "virtual", *, seed: int = 0, time_limit: float = TIME_LIMIT) -> SimulatedLoop | HybridLoop:
    """A new loop with a virtual clock: ``virtual`` (simulated network) or ``hybrid`` (real loopback sockets).

    Raises:
        ValueError: there is no such clock, or the limit is not above 0 s.
    """
    if clock not in get_args(VirtualClockName):
        raise ValueError(f"clock = {clock!r}: must be one of {', '.join(map(repr, get_args(VirtualClockName)))}")
    kind = SimulatedLoop if clock == "virtual" else HybridLoop
    return kind(seed, time_limit)


def run(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    clock: VirtualClockName = "virtual",
    seed: int = 0,
    time_limit: float = TIME_LIMIT,
) -> T:
    """Run ``main()`` on a fresh loop with a virtual clock, to its end, and return its result.

    Every call is a world of its own: time begins at 0, and the same seed gives the same run.

    Args:
        main: an ``async def`` without arguments.
        clock: ``virtual`` or ``hybrid``.
        seed: where all randomness comes from.
        time_limit: virtual seconds after which :class:`.TimeLimit` is raised.

    Raises:
        SimulationError: it ran into its limit of time, a deadlock or a livelock.
        ValueError: see :func:`make_loop`.
    """
    loop = make_loop(clock, seed=seed, time_limit=time_limit)
    runner = asyncio.Runner(loop_factory=lambda: loop)
    try:
        return runner.run(main())
    finally:
        if loop.unfinished:
            runner.close()
        else:  # without the three runs of the loop in which a runner ends what there is not
            loop.close()
