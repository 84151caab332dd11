"""Whether a client that stopped for good has told its application, and why it did."""

from __future__ import annotations

from dataclasses import replace

from .ending import asked
from .story import Client, Connection
from .tolerance import GRACE, Timing, by, late_by
from .verdict import Finding, Outcome, failed, inconclusive, non_strict


def surfaced(client: Client, connection: Connection, within: float, quiet: Finding) -> Finding:
    """What to find of a client that must stop after a connection and say so; ``quiet``: whether it stopped.

    It has ``within`` seconds to say it.
    """
    if quiet.outcome is not Outcome.PASS:
        return quiet
    if not client.reports:
        return non_strict(f"{quiet.seen}; whether the application was told is not seen (on_event=wschaos.report)")
    since, record = connection.signs[0], client.record
    told = next((e for e in client.told("gave_up") if e.at >= since - GRACE), None)
    if told is None and asked(client, "close", connection, connection.signs[-1] + GRACE) is not None:
        return inconclusive(f"{quiet.seen}; the application had closed it, and may have been told nothing")
    if told is None:
        return failed(f"{quiet.seen}, but the application was not told (gave_up)", at=since)
    took = f"{quiet.seen}, but the application was told (gave_up) only {told.at - since:.3f} s later"
    match by(record, since + within, told.at, since=since):
        case Timing.BROKEN:
            return failed(took, at=told.at)
        case Timing.DOUBTFUL:
            return inconclusive(f"{took}, and {late_by(record, since, told.at)}")
    if not told.get("error"):
        return failed(f"{quiet.seen}; the application was told, but not what failed", at=told.at)
    return replace(quiet, seen=f"{quiet.seen}; the application was told")
