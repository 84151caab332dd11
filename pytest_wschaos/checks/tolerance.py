"""When something came too late or too early, and when the harness is to blame: said once for all checks."""

from __future__ import annotations

from enum import Enum

from ..timeline import Record

STAMP_DELAY = 0.002
"""Seconds by which an event may be stamped late on an idle engine."""
GRACE = 0.05
"""Seconds that a client on a busy machine may be late without blame, on top of the harness's own measured lag."""

STANDSTILLS = 2
"""How many times the harness's own standstill is forgiven: once for the harness, once for the client beside it."""


class Timing(Enum):
    """How an instant lies to its bound."""

    KEPT = "kept"
    DOUBTFUL = "doubtful"
    """Broken by less than the harness itself may have been late, or the record ends too early to tell."""
    BROKEN = "broken"


def by(record: Record, due: float, at: float | None, *, since: float | None = None) -> Timing:
    """Whether something that was due by ``due`` came in time; ``at`` None: it never came.

    ``since`` is when the thing began (a second before ``due`` by default): the harness's lag counts from there.
    """
    excess = (record.until if at is None else at) - due
    if excess <= GRACE:
        return Timing.DOUBTFUL if at is None else Timing.KEPT
    lag = record.lag(due - 1.0 if since is None else since, due + excess)
    return Timing.DOUBTFUL if excess <= GRACE + STANDSTILLS * lag else Timing.BROKEN


def not_before(
    record: Record, due: float, at: float, *, early: float = STAMP_DELAY, since: float | None = None
) -> Timing:
    """Whether something that must not come before ``due`` kept to it; ``early``: by how much it may look earlier."""
    excess = due - at
    if excess <= early:
        return Timing.KEPT
    lag = record.lag(at - 1.0 if since is None else since, due)
    return Timing.DOUBTFUL if excess <= early + STANDSTILLS * lag else Timing.BROKEN


def late_by(record: Record, start: float, end: float) -> str:
    """The words for a verdict that the harness spoilt, or a client's own sleep."""
    if any(e.kind == "fault" and e.get("fault") == "suspend" and e.at <= end for e in record.events):
        return f"the client, or the harness, stood still for {record.lag(start, end):.3f} s"
    return f"the harness was {record.lag(start, end) * 1000:.0f} ms late"
