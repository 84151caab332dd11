"""Trouble as plain data, and how it is carried out.

A schedule is a list of steps ``(gap, kind, arguments)``: ``gap`` seconds after the step before (the first one: after
the beginning) something of a kind happens, with arguments by name::

    [(0.0, "subscribe", {"topic": "news"}),
     (0.5, "latency", {"seconds": 0.2, "lasts": 5.0}),
     (0.1, "abort", {})]

The kinds are the faults by their names in :mod:`pytest_wschaos.faults`, and those below. What goes on for a time
``lasts`` so many seconds, while the schedule goes on beside it; so several faults overlap, and each of them ends.

=============== ============================== ================================================================
kind            arguments                      what happens
=============== ============================== ================================================================
send            ``topic``, ``size``            the application sends a message, of about ``size`` bytes
publish         ``topic``, ``size``            the server publishes one
subscribe       ``topic``                      the application asks for a topic's messages
unsubscribe     ``topic``                      and for them no longer
pause           ``lasts``                      the application does not read
reconnect                                      the application asks for a new connection
rotate_token    ``revoke``                     the server's token changes; the old one has expired, or is revoked
new_epoch                                      the server starts the streams of all sessions anew
restart         ``lasts``, ``forget``          the server is down; with ``forget`` it has lost its sessions then
=============== ============================== ================================================================
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from ..faults import Fault
    from ..harness import Chaos, ChaosProxy

Step: TypeAlias = tuple[float, str, Mapping[str, Any]]
Schedule: TypeAlias = Sequence[Step]
End = Callable[[], object]

MOMENTARY = frozenset({"abort", "disconnect", "close"})
"""Faults that are over as soon as they have happened."""
LASTING = frozenset(
    {
        "latency",
        "bandwidth",
        "idle_timeout",
        "mute_pongs",
        "silent_drop",
        "unanswered_handshake",
        "reject_handshake",
        "accept_then_close",
        "refuse",
    }
)
"""Faults that are in force until they are removed."""
OF_THE_APPLICATION = frozenset({"send", "publish", "subscribe", "unsubscribe", "pause", "reconnect"})
OF_THE_SERVER = frozenset({"rotate_token", "new_epoch", "restart"})
KINDS = MOMENTARY | LASTING | OF_THE_APPLICATION | OF_THE_SERVER
SAYS: Mapping[str, Mapping[str, type]] = {
    "send": {"topic": str, "size": int},
    "publish": {"topic": str, "size": int},
    "subscribe": {"topic": str},
    "unsubscribe": {"topic": str},
}
"""The arguments of what the application does, but for ``lasts``; each may be left out."""


class ScheduleError(ValueError):
    """A step of a schedule cannot be; the message names it."""


class Application(Protocol):
    """Who uses the client, and carries out what the application does."""

    def act(self, kind: str, arguments: Mapping[str, Any]) -> End | None:
        """Do something of a kind; returns what ends it, where it lasts."""


async def perform(chaos: ChaosProxy, *schedules: Schedule, application: Application | None = None) -> None:
    """Carry schedules out beside each other, from now on; returns when all that they began has ended.

    Args:
        chaos: what the faults are injected into. A fault that meets nothing is no failure here.
        schedules: each with a clock of its own, so that a step more or less in one does not move the others.
        application: carries out what the application does; None: the schedules hold no such step.

    Raises:
        ScheduleError: a step cannot be. Nothing has happened then, unless it is a fault's argument that is wrong.

    What the application raises is raised as it is.
    """
    due: list[tuple[float, int, Step | End]] = []
    loop = asyncio.get_running_loop()
    number = 0
    for schedule in schedules:
        at = loop.time()
        for step in schedule:
            at += _checked(step, application)
            due.append((at, number, step))
            number += 1
    heapq.heapify(due)
    try:
        while due:
            at, _, action = heapq.heappop(due)
            await asyncio.sleep(max(0.0, at - loop.time()))
            if callable(action):
                action()
                continue
            if (end := _begin(chaos, action, application)) is not None:
                heapq.heappush(due, (loop.time() + action[2]["lasts"], number, end))
                number += 1
    finally:
        with ExitStack() as ends:  # whatever went wrong, even with one of them, nothing stays in force
            for _, _, action in due:
                if callable(action):
                    ends.callback(action)


def _checked(step: Step, application: Application | None) -> float:
    """A step's gap, in seconds.

    Raises:
        ScheduleError: the step cannot be.
    """
    try:
        gap, kind, arguments = step
        numbers = [gap, arguments.get("lasts", 0.0)]
        fine = all(isinstance(n, int | float) and 0 <= n < float("inf") for n in numbers)
    except (TypeError, ValueError, AttributeError):
        fine, kind, arguments = False, "", {}
    if not fine:
        raise ScheduleError(f"step {step!r}: must be (seconds, kind, {{arguments}}), with no time below 0")
    if kind not in KINDS:
        raise ScheduleError(f"step {step!r}: there are {', '.join(sorted(KINDS))}")
    if (kind in LASTING or kind in ("pause", "restart")) != ("lasts" in arguments):
        wants = "needs 'lasts', in seconds" if "lasts" not in arguments else "is over at once, and takes no 'lasts'"
        raise ScheduleError(f"step {step!r}: {kind} {wants}")
    if application is None and kind in OF_THE_APPLICATION:
        raise ScheduleError(f"step {step!r}: there is no application here to {kind}")
    if kind in OF_THE_APPLICATION:
        _check_sayings(step)
    return float(gap)


def _check_sayings(step: Step) -> None:
    says = SAYS.get(step[1], {})
    for name, value in step[2].items():
        if name != "lasts" and not (name in says and isinstance(value, says[name])):
            takes = ", ".join(f"{name} ({kind.__name__})" for name, kind in says.items()) or "nothing of that kind"
            raise ScheduleError(f"step {step!r}: {name} = {value!r}: {step[1]} takes {takes}")


def _begin(chaos: Any, step: Step, application: Application | None) -> End | None:
    """Do what a step says; returns what ends it, where it lasts."""
    _, kind, arguments = step
    if kind in OF_THE_APPLICATION:
        assert application is not None
        return application.act(kind, arguments)
    own = {name: value for name, value in arguments.items() if name != "lasts"}
    try:
        return _inject(chaos, kind, own)
    except (TypeError, ValueError) as error:
        raise ScheduleError(f"step {step!r}: {error}") from error


def _inject(chaos: Any, kind: str, own: dict[str, Any]) -> End | None:
    if kind in OF_THE_SERVER:
        return _server(chaos, kind, **own)
    if kind != "idle_timeout":  # which need not meet anything as it is
        own["must_bite"] = False
    fault: Fault = getattr(chaos, kind)(**own)
    return fault.remove if kind in LASTING else None


def _server(chaos: Chaos, kind: str, *, revoke: bool = False, forget: bool = False) -> End | None:
    if kind == "rotate_token":
        chaos.rotate_token(revoke=revoke)
    elif kind == "new_epoch":
        chaos.server.new_epoch()
    else:
        fault = chaos.refuse(must_bite=False)
        if forget:
            chaos.server.drop_sessions()
        return fault.remove
    return None
