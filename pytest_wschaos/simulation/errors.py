"""What a virtual clock refuses to do, and why it stops."""

from __future__ import annotations


class SimulationError(RuntimeError):
    """A run on virtual time cannot go on; its message says all there is to say, a traceback through asyncio nothing."""

    wschaos_says_it_all = True


class TimeLimit(SimulationError):
    """The run went past its limit of virtual time."""


class Livelock(SimulationError):
    """The loop turns and turns, and no time passes."""


class Deadlock(SimulationError):
    """Nothing is ready, no timer is set: nothing will ever happen again."""


class Unsupported(SimulationError, NotImplementedError):
    """Something that this clock cannot do; the message names the clock that can."""


def unsupported(what: str, *clocks: str) -> Unsupported:
    """The error for something that only other clocks can do."""
    return Unsupported(f"{what}: not on this clock; use clock={' or '.join(map(repr, clocks))}")
