"""What a record tells of links: which pings went unanswered, when a link was dead, and who ended it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..profile import Heartbeat
from .ending import asked, own_close
from .story import Client, Connection, Fault, Ping, Story
from .tolerance import GRACE, Timing, by

MUTING = ("silent_drop", "mute_pongs")
"""The faults under which answers do not come."""
NO_FRAMES = frozenset({"handshake", "response", "close"})
"""What passes in a direction and is no sign of a working link."""


def proof(connection: Connection, ping: Ping) -> float | None:
    """When a ping's answer reached the client; the answer to a later ping proves as much."""
    return min((p.answered for p in connection.pings if p.at >= ping.at and p.answered is not None), default=None)


def outstanding(connection: Connection, instant: float) -> list[Ping]:
    """The pings that waited for their answer at an instant."""
    return [
        p
        for p in connection.pings
        if p.at < instant and ((answer := proof(connection, p)) is None or answer >= instant)
    ]


def dead_pings(story: Story, connection: Connection, deadline: float) -> list[Ping]:
    """The client's pings whose answer did not come by the deadline, without those that are too close to call."""
    dead = []
    for ping in connection.pings:
        answer = proof(connection, ping)
        if answer is not None and by(story.record, ping.at + deadline, answer, since=ping.at) is not Timing.BROKEN:
            continue
        if not during(story, ping.at, ping.at + deadline, "bandwidth"):
            # On a slow link the answer may wait behind a large message, whose progress counts as life.
            dead.append(ping)
    return dead


def during(story: Story, start: float, end: float, *names: str) -> list[Fault]:
    """The faults of some names that were on at some time between two instants."""
    return [fault for fault in story.injected(*names) if fault.start <= end and fault.end >= start]


def muted(story: Story, connection: Connection, at: float) -> bool:
    """Whether answers were being kept from the client at an instant, or had been until just before."""
    return any(
        fault.start <= at and fault.end >= connection.attempt and (lasting(fault) or fault.end >= at - GRACE)
        for fault in story.injected(*MUTING)
    )


def lasting(fault: Fault) -> bool:
    """Whether what met the fault stays dead after its removal, as behind a NAT that forgot it."""
    return fault.name == "silent_drop" and not fault.event.get("resume", False)


def traffic(connection: Connection, start: float, end: float) -> bool:
    """Whether anything reached the client between two instants."""
    return any(
        e.place == "client" and e.way == "down" and e.kind not in NO_FRAMES and start < e.at <= end
        for e in connection.events
    )


def stopped(story: Story, connection: Connection) -> float:
    """Until when a connection can be judged: its first sign of an end, or the record's end."""
    instants = [*connection.signs, story.record.until]
    if connection.cut is not None:
        instants.append(connection.cut.at)
    return min(instants)


def taken_away(connection: Connection) -> float | None:
    """When somebody else than the client ended a connection, as far as the client can know."""
    ends = [e.at for e in (connection.close_received, connection.cut) if e is not None]
    if connection.end is not None and connection.end["by"] != "peer":
        ends.append(connection.end.at)
    return min(ends, default=None)


def wished(client: Client, connection: Connection, end: float) -> bool:
    """Whether the application wanted a connection to end before an instant."""
    own = own_close(connection)
    return (
        (own is not None and own.at < end)
        or asked(client, "close", connection, end) is not None
        or asked(client, "reconnect", connection, end) is not None
    )


def first_reaction(client: Client, connection: Connection, since: float) -> float | None:
    """When the client first showed that it took a connection for dead: TCP ended, a Close, a new attempt."""
    after = client.after(connection)
    instants = [e.at for e in connection.seen("close", way="up")]
    instants += [at for at in (connection.abandoned, after.attempt if after is not None else None) if at is not None]
    return min((at for at in instants if at >= since), default=None)


def abandoned_by(
    story: Story, connection: Connection, due: float, at: float | None, heartbeat: Heartbeat, *, since: float
) -> Timing:
    """Whether a client gave up a dead link in time, where a standstill may have made it test the link anew.

    It cannot tell a standstill of the harness, on the same machine, from one of its own (HEARTBEAT-09).
    """
    timing = by(story.record, due, at, since=since)
    later = _tested_anew(story, connection, heartbeat)
    if timing is not Timing.BROKEN or later <= due or by(story.record, later, at, since=since) is Timing.BROKEN:
        return timing
    return Timing.DOUBTFUL


def _tested_anew(story: Story, connection: Connection, heartbeat: Heartbeat) -> float:
    """The deadline of the last ping that came ahead of its time, right after a standstill; 0 where there was none."""
    standstills = [e for e in story.record.events if e.kind == "lag" and e["lag"] >= heartbeat.deadline / 8]
    pings = [
        ping.at
        for earlier, ping in pairwise(connection.pings)
        if (earlier.answered is None or earlier.answered > ping.at)
        and ping.at < earlier.at + (heartbeat.interval or 0.0) - GRACE
        and any(e.at - e["lag"] <= ping.at <= e.at + GRACE for e in standstills)
    ]
    return max(pings, default=-heartbeat.deadline) + heartbeat.deadline


@dataclass(frozen=True, slots=True)
class Death:
    """A link that died without a word: nothing more came through to the client."""

    at: float
    until: float
    """Until when it stayed dead."""
    fault: str


def deaths(story: Story, connection: Connection) -> Iterator[Death]:
    """The times at which a ready connection was dead, by the faults."""
    if connection.ready is None:
        return
    stop = min(story.record.until, connection.over if connection.over is not None else story.record.until)
    for fault in story.injected(*MUTING):
        met = fault.start < stop and fault.end > connection.ready
        # What becomes ready under a drop is none of its victims; pongs can be muted before that.
        if met and (fault.name == "mute_pongs" or fault.start >= connection.ready):
            start = max(fault.start, connection.ready)
            yield Death(start, stop if lasting(fault) else min(stop, fault.end), fault.name)
