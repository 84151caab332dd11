"""The same coroutine on the kernel in real time, on the hybrid clock and on the simulated one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pytest_wschaos.simulation.run import run

T = TypeVar("T")

VIRTUAL = ("virtual", "hybrid")
PATIENCE = 10.0
"""Seconds after which something that should have happened did not: of the clock in use."""
MOMENT = 0.02
"""Seconds in which something that should not happen would have happened."""


def on(clock: str, main: Callable[[], Coroutine[Any, Any, T]], **options: Any) -> T:
    """Run a coroutine function on a clock: ``real``, ``hybrid`` or ``virtual``."""
    if clock == "real":
        return asyncio.run(main())
    return run(main, clock=clock, **options)  # type: ignore[arg-type]


def shown(error: BaseException | None) -> object:
    """What a program can tell an exception by: its type and number, and those of its causes."""
    if error is None:
        return None
    told: tuple[object, ...] = (type(error).__name__,)
    if isinstance(error, OSError) and error.errno is not None:
        told += (error.errno,)
    if error.__cause__ is not None:
        told += (shown(error.__cause__),)
    return told


async def outcome(awaitable: Any) -> object:
    """What it returns, or how it fails."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await awaitable
    except Exception as error:
        return shown(error)
