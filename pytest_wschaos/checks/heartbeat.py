"""HEARTBEAT: how soon a dead link is found out, and that a live one is not taken for dead."""

from __future__ import annotations

from collections.abc import Iterator

from ..profile import Heartbeat, Profile
from ..timeline import Event, Record
from .links import (
    MUTING,
    NO_FRAMES,
    Death,
    abandoned_by,
    dead_pings,
    deaths,
    during,
    first_reaction,
    muted,
    outstanding,
    proof,
    stopped,
    taken_away,
    traffic,
    wished,
)
from .rule import check
from .story import Client, Connection, Fault, Ping, Story
from .tolerance import GRACE, STAMP_DELAY, STANDSTILLS, Timing, by, late_by
from .verdict import Finding, Outcome, failed, inconclusive, non_strict, passed, unsupported, worst

LARGE = 64 * 1024
"""Bytes that a client writes ahead of a ping; a client that sends more may ping more often than its clock says."""
_OWN_FINDINGS = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""Codes of a client's own Close that say something else than that the link is dead."""
_HEARTBEATS = frozenset({"ping", "pong"})
_USE = ("message", "subscribe", "unsubscribe", "text", "binary")
"""Frames by which a client relies on a link."""
NONE_DECLARED = "the profile declares no heartbeat (heartbeat.interval is none)"
FIGURES = ("heartbeat.interval", "heartbeat.deadline")


def _each(story: Story) -> Iterator[tuple[Client, Connection]]:
    for client in story.clients:
        for connection in client.connections:
            if connection.ready is not None:
                yield client, connection


# --- HEARTBEAT-01 ---------------------------------------------------------------------------------------------


@check(
    "HEARTBEAT-01",
    "The client pings on its own clock, idle or busy, on every connection.",
    figures=("heartbeat.interval",),
)
def pings_on_its_clock(story: Story, profile: Profile) -> Finding:
    """Each ready connection's pings come at most an interval apart, the first within one of ready."""
    interval, deadline = profile.heartbeat.interval, profile.heartbeat.deadline
    if interval is None:
        return unsupported(NONE_DECLARED)
    findings = [_rhythm(story, connection, interval, deadline) for _, connection in _each(story)]
    return worst(
        findings,
        otherwise=inconclusive(
            f"not provoked: no connection was ready for longer than the interval of {interval:.3f} s; "
            "keep one up that long"
        ),
    )


def _rhythm(story: Story, connection: Connection, interval: float, deadline: float) -> Finding | None:
    """One connection's pings; None where there was no time for one."""
    ready, record = connection.ready, story.record
    assert ready is not None
    stop = stopped(story, connection)
    last, count, longest, doubt = ready, 0, 0.0, None
    which = f"connection {connection.number}"
    for ping in [*(p for p in connection.pings if p.at <= stop), None]:
        at = ping.at if ping is not None else stop
        timing = by(record, last + interval, at, since=last)
        if timing is not Timing.KEPT:
            slow = during(story, last, at, "bandwidth")
            if timing is Timing.BROKEN and not slow:
                what = "no ping" if ping is None else f"ping {count + 1} only"
                since = "ready" if count == 0 else f"ping {count}"
                seen = f"{which}: {what} {at - last:.3f} s after {since}; expected within {interval:.3f} s"
                if why := _unread(story, connection):
                    return unsupported(f"{seen}, unless it is {why}")
                return failed(seen, at=last + interval, pings=count, longest_s=at - last)
            why = "a slow link may have held one back" if slow else late_by(record, last, at)
            doubt = f"{which}: {at - last:.3f} s without a ping (expected {interval:.3f} s), but {why}"
        if ping is None:
            break
        longest, count = max(longest, at - last), count + 1
        answer = proof(connection, ping)
        if answer is None or answer > ping.at + min(interval, deadline):
            break  # from here on the link is not healthy: what the client does is for other rules to judge
        last = max(last, at)
    if doubt is not None:
        return inconclusive(doubt)
    if not count or stop - ready <= interval:
        return None
    return passed(
        f"{which}: {count} pings, the longest time without one {longest:.3f} s (expected at most {interval:.3f} s)",
        pings=count,
        longest_s=longest,
    )


def _unread(story: Story, connection: Connection) -> str:
    if connection.pings or "ping" in story.record.tells or connection.first("text", "binary", way="up") is None:
        return ""
    return "a ping that goes as a message, which a dialect must tell (fixture wschaos_dialect)"


# --- HEARTBEAT-02, 03, 07 -------------------------------------------------------------------------------------


@check(
    "HEARTBEAT-02",
    "Without proof of life by the deadline the client abandons the link at once: interval + deadline after its death.",
    figures=FIGURES,
)
def abandons_at_once(story: Story, profile: Profile) -> Finding:
    """The client itself ends TCP by the deadline of the first unanswered ping, and within detection of the death."""
    interval = profile.heartbeat.interval
    if interval is None:
        return unsupported(NONE_DECLARED)
    findings: list[Finding | None] = []
    for client, connection in _each(story):
        unanswered = _after_unanswered(story, client, connection, profile.heartbeat)
        died = [_after_death(story, client, connection, death, profile) for death in deaths(story, connection)]
        # The ping's own deadline is the sharper bound; only a breach of the other one adds to it.
        findings += [f for f in died if unanswered is None or (f is not None and f.outcome is Outcome.FAIL)]
        findings.append(unanswered)
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no ping went unanswered for the deadline; "
            f"inject silent_drop() for longer than interval + deadline ({profile.detection:.3f} s)"
        ),
    )


def _after_unanswered(story: Story, client: Client, connection: Connection, heartbeat: Heartbeat) -> Finding | None:
    """The first ping that went unanswered, without other traffic that HEARTBEAT-03 judges."""
    deadline = heartbeat.deadline
    for ping in dead_pings(story, connection, deadline):
        due = ping.at + deadline
        ends = [*connection.seen("close", way="up"), *connection.seen("end")]
        given_up = any(ping.at <= e.at <= due + GRACE and e.get("by") != "proxy" for e in ends)
        if not given_up and traffic(connection, ping.at, due):
            continue
        what = f"connection {connection.number}: its ping was not answered for {deadline:.3f} s"
        return _abandonment(story, client, connection, ping.at, due, what, GRACE, ping, heartbeat)
    return None


def _after_death(
    story: Story, client: Client, connection: Connection, death: Death, profile: Profile
) -> Finding | None:
    due = death.at + profile.detection
    if traffic(connection, death.at + STAMP_DELAY, min(due, death.until)) or during(story, death.at, due, "bandwidth"):
        return None  # a link dead in one direction is HEARTBEAT-03's, a slow one may show progress
    abandoned = connection.abandoned
    if death.until < min(due, story.record.until) and (abandoned is None or abandoned > death.until):
        return None  # it came back to life, or something else ended it
    what = f"connection {connection.number}: dead by {death.fault}"
    # Two waits of the client's add up here, so twice the grace.
    return _abandonment(story, client, connection, death.at, due, what, 2 * GRACE, None, profile.heartbeat)


def _abandonment(
    story: Story,
    client: Client,
    connection: Connection,
    since: float,
    due: float,
    what: str,
    grace: float,
    ping: Ping | None,
    heartbeat: Heartbeat,
) -> Finding | None:
    """Whether the client itself ended TCP by ``due``; None where something else came first."""
    record = story.record
    away, abandoned = taken_away(connection), connection.abandoned
    if away is not None and away <= due + grace and (abandoned is None or away <= abandoned):
        return None
    if wished(client, connection, _latest(record, since, due + grace - GRACE)):
        return None
    after = client.after(connection)
    if abandoned is not None and abandoned < due - GRACE and (after is None or not muted(story, connection, abandoned)):
        return None  # before the deadline: its process ended, or HEARTBEAT-04 asks why
    instants = {
        "first_unanswered_ping": ping.at
        if ping is not None
        else next((p.at for p in outstanding(connection, due)), None),
        "abandoned": abandoned,
        "new_attempt": after.attempt if after is not None else None,
    }
    took = (abandoned if abandoned is not None else away if away is not None else record.until) - since
    allowed = due - since
    given_up = abandoned if abandoned is not None else away
    match abandoned_by(story, connection, due + grace - GRACE, given_up, heartbeat, since=since):
        case Timing.KEPT:
            return passed(
                f"{what}; abandoned {took:.3f} s later (expected within {allowed:.3f} s)", abandoned_s=took, **instants
            )
        case Timing.DOUBTFUL if abandoned is None:
            return inconclusive(f"{what}; the record ends {took:.3f} s later (allowed: {allowed:.3f} s)", **instants)
        case Timing.DOUBTFUL:
            return inconclusive(f"{what}; abandoned {took:.3f} s later, but {late_by(record, since, due)}", **instants)
    close = connection.close_sent
    waiting = close is not None and since <= close.at < since + took - GRACE
    seen = f"abandoned only {took:.3f} s later" if abandoned is not None else f"not abandoned for {took:.3f} s"
    seen += " (it sent a Close and waited for the answer)" if waiting else ""
    return failed(f"{what}; {seen}; expected within {allowed:.3f} s", at=due, **instants)


def _latest(record: Record, since: float, due: float) -> float:
    """Until when the application's own wish for an end may have come before the client's deadline at ``due``."""
    return due + GRACE + STANDSTILLS * record.lag(since, due + GRACE)


@check(
    "HEARTBEAT-03",
    "Proof of life is the answer to the ping itself; other traffic does not stand in for it.",
    figures=("heartbeat.deadline", "heartbeat.proof_of_life"),
)
def only_its_own_pong_counts(story: Story, profile: Profile) -> Finding:
    """A ping went unanswered while other traffic came: the link is taken for dead all the same."""
    heartbeat = profile.heartbeat
    if heartbeat.interval is None:
        return unsupported(NONE_DECLARED)
    findings = []
    for client, connection in _each(story):
        for ping in dead_pings(story, connection, heartbeat.deadline):
            # What comes after the client has given up says nothing.
            if traffic(connection, ping.at, min(ping.at + heartbeat.deadline, stopped(story, connection))):
                findings.append(_despite_traffic(story, client, connection, ping, heartbeat))
                break
    finding = worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no ping went unanswered while other traffic reached the client; inject mute_pongs() "
            "or silent_drop('up') while the server sends"
        ),
    )
    if heartbeat.proof_of_life == "any" and finding.outcome is not Outcome.INCONCLUSIVE:
        return non_strict(
            f"the profile lets any traffic count as proof of life; {finding.seen}", at=finding.at, **finding.measured
        )
    return finding


def _despite_traffic(
    story: Story, client: Client, connection: Connection, ping: Ping, heartbeat: Heartbeat
) -> Finding | None:
    deadline = heartbeat.deadline
    due, record = ping.at + deadline, story.record
    away = taken_away(connection)
    reacted = first_reaction(client, connection, ping.at)
    if (away is not None and away <= due + GRACE and (reacted is None or away <= reacted)) or wished(
        client, connection, _latest(record, ping.at, due)
    ):
        return None
    if reacted is not None and reacted < due - GRACE:
        return None  # for another reason
    what = f"connection {connection.number}: a ping went unanswered while other traffic came"
    took = (reacted if reacted is not None else away if away is not None else record.until) - ping.at
    given_up = reacted if reacted is not None else away
    match abandoned_by(story, connection, due, given_up, heartbeat, since=ping.at):
        case Timing.KEPT:
            return passed(
                f"{what}; taken for dead {took:.3f} s after the ping (deadline {deadline:.3f} s)", dead_s=took
            )
        case Timing.DOUBTFUL:
            return inconclusive(
                f"{what}; {took:.3f} s after the ping nothing can be said yet, or {late_by(record, ping.at, due)}"
            )
    return failed(
        f"{what}; still in use {took:.3f} s after the ping; expected to be abandoned after {deadline:.3f} s",
        at=due,
        dead_s=took,
    )


@check(
    "HEARTBEAT-07",
    "Detection needs no help from TCP: it works through a proxy that acknowledges everything.",
    figures=FIGURES,
)
def needs_no_tcp_keepalive(story: Story, profile: Profile) -> Finding:
    """A client whose link was silently dropped found it out, though TCP looked healthy all the time."""
    if profile.heartbeat.interval is None:
        return unsupported(NONE_DECLARED)
    findings = (
        _unaided(story, client, connection, death, profile.detection)
        for client, connection in _each(story)
        for death in deaths(story, connection)
        if death.fault == "silent_drop" and not traffic(connection, death.at + STAMP_DELAY, death.until)
    )
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no ready connection lay silent for interval + deadline; inject silent_drop() for longer "
            f"than {profile.detection:.3f} s"
        ),
    )


def _unaided(story: Story, client: Client, connection: Connection, death: Death, detection: float) -> Finding | None:
    reacted = first_reaction(client, connection, death.at)
    if reacted is not None and reacted > death.until:
        reacted = None
    due, what = death.at + detection, f"connection {connection.number}: silently dropped, acknowledged at TCP level"
    if wished(client, connection, reacted + GRACE if reacted is not None else death.until):
        return None
    if reacted is not None:
        if client.after(connection) is None and reacted < due - GRACE:
            return None  # its process may simply have ended
        # How soon is HEARTBEAT-02's question.
        return passed(f"{what}; found out {reacted - death.at:.3f} s after the drop", found_s=reacted - death.at)
    if death.until < story.record.until and death.until <= due + 2 * GRACE:
        return None
    if by(story.record, due + GRACE, death.until, since=death.at) is not Timing.BROKEN:
        return inconclusive(
            f"{what}; the record ends {death.until - death.at:.3f} s after the drop (detection may take "
            f"{detection:.3f} s)"
        )
    return failed(
        f"{what}; not found out in {death.until - death.at:.3f} s (expected within {detection:.3f} s)", at=due
    )


# --- HEARTBEAT-04, 08 -----------------------------------------------------------------------------------------


def _alarm(story: Story, client: Client, connection: Connection, deadline: float) -> float | None:
    """When a client ended a ready connection as if it were dead, though nothing was wrong with it; None: it did not."""
    close = connection.close_sent
    instants = [at for at in (connection.abandoned, close.at if close is not None else None) if at is not None]
    if connection.ready is None or not instants or client.after(connection) is None:
        return None  # without a new attempt its process may simply have ended
    at = min(instants)
    if at <= connection.ready + GRACE + STANDSTILLS * story.record.lag(connection.ready - GRACE, at):
        return None  # it may not have seen yet that it was ready, and have ended an attempt that took too long
    away = taken_away(connection)
    if (away is not None and away <= at + GRACE) or wished(client, connection, at + GRACE):
        return None
    code = close.get("code") if close is not None else None
    farewell = connection.first("farewell", way="down")
    if farewell is not None and farewell.at <= at:
        return None
    if code in _OWN_FINDINGS or (code in (1000, 1001) and not outstanding(connection, at)):
        return None
    return None if muted(story, connection, at) or _overdue(story, connection, at, deadline) else at


def _overdue(story: Story, connection: Connection, at: float, deadline: float) -> bool:
    """Whether some ping's answer was late, or missing at an instant: then a client may well give up."""
    slack = GRACE + STANDSTILLS * story.record.lag(connection.attempt, at)
    for ping in connection.pings:
        if ping.at <= at:
            answer = proof(connection, ping)
            if min(at, answer if answer is not None else at) >= ping.at + deadline - slack:
                return not _message_under_way(story, connection, at)
    return False


def _message_under_way(story: Story, connection: Connection, at: float) -> bool:
    """Whether a message was on its way to the client over a slow link, so that it saw progress."""
    if not during(story, at, at, "bandwidth"):
        return False
    kinds = ("message", "text", "binary")
    sent = [e for e in connection.seen(*kinds, place="server", way="down") if e.at < at]
    came = [e for e in connection.seen(*kinds, way="down") if e.at <= at]
    return any((e.get("size") or 0) >= LARGE for e in sent[len(came) :])


def _died(story: Story, connection: Connection) -> bool:
    """Whether the client abandoned a connection that was dead."""
    at = connection.abandoned
    return at is not None and connection.ready is not None and muted(story, connection, at)


def _is_leftover(story: Story, client: Client, connection: Connection, alarm: float, detection: float) -> bool:
    """Whether a false alarm looks like a timer of an earlier, dead connection: none of its own pings waited."""
    assert connection.ready is not None
    earlier = [c for c in client.connections if c.attempt < connection.attempt and c.ready is not None]
    return (
        bool(earlier)
        and _died(story, earlier[-1])
        and alarm - connection.ready <= detection + GRACE
        and not outstanding(connection, alarm)
    )


@check(
    "HEARTBEAT-04",
    "No false alarm: while answers come within the deadline, or a large message makes progress, the link stays.",
    figures=("heartbeat.deadline",),
)
def no_false_alarm(story: Story, profile: Profile) -> Finding:
    """No ready connection was ended by the client though all its pings were answered in time or not yet due."""
    if profile.heartbeat.interval is None:
        return unsupported(NONE_DECLARED)
    deadline = profile.heartbeat.deadline
    findings = []
    for client, connection in _each(story):
        alarm = _alarm(story, client, connection, deadline)
        if alarm is not None and (why := _unread(story, connection)):
            findings.append(unsupported(f"connection {connection.number} was given up, for a reason that may be {why}"))
        elif alarm is not None and not _is_leftover(story, client, connection, alarm, profile.detection):
            findings.append(_false_alarm(connection, alarm, deadline))
        elif (slow := _survived(story, connection, deadline)) is not None:
            findings.append(slow)
    return worst(
        findings,
        otherwise=inconclusive(
            f"not provoked: no answer took {deadline / 4:.3f} s or more (a quarter of the deadline); inject "
            "latency() or bandwidth()"
        ),
    )


def _false_alarm(connection: Connection, alarm: float, deadline: float) -> Finding:
    waiting = outstanding(connection, alarm)
    if not waiting and connection.close_sent is None and connection.end is not None and connection.end["how"] == "fin":
        return inconclusive(
            f"connection {connection.number} was ended without a Close and with no ping waiting: the client's process "
            "may have ended, and have been started anew"
        )
    if waiting and alarm < waiting[0].at + deadline - GRACE:
        why = f"{alarm - waiting[0].at:.3f} s after a ping whose answer may take {deadline:.3f} s"
    elif waiting:
        why = "while a large message was on its way"
    else:
        why = "though every ping had been answered"
    close = connection.close_sent
    how = f"with Close {close.get('code')}" if close is not None else "without a Close"
    return failed(f"connection {connection.number} was ended by the client {how}, {why}", at=alarm)


def _survived(story: Story, connection: Connection, deadline: float) -> Finding | None:
    """The slowest answer that the client waited for, where it was slow enough to tempt it."""
    trips = [
        ping.answered - ping.at
        for ping in connection.pings
        if ping.answered is not None
        and (ping.answered <= ping.at + deadline or during(story, ping.at, ping.answered, "bandwidth"))
    ]
    slowest = max(trips, default=0.0)
    if slowest < deadline / 4:
        return None
    return passed(
        f"connection {connection.number} outlived an answer that took {slowest:.3f} s (deadline {deadline:.3f} s)",
        round_trip_s=slowest,
    )


@check(
    "HEARTBEAT-08",
    "Heartbeat state dies with its connection: the next healthy one stays up, and pings do not multiply.",
    figures=FIGURES,
)
def state_dies_with_its_connection(story: Story, profile: Profile) -> Finding:
    """After a dead link the next healthy connection stays for interval + deadline, at the same rate of pings."""
    if profile.heartbeat.interval is None:
        return unsupported(NONE_DECLARED)
    findings: list[Finding] = []
    for client in story.clients:
        findings.extend(_multiplied(story, client, profile.heartbeat.interval))
        for connection in client.connections:
            if _died(story, connection):
                findings.extend(_next_stays(story, client, connection, profile))
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: after a dead link no healthy connection was observed for interval + deadline; "
            f"silent_drop(), heal, and wait {profile.detection:.3f} s after the next ready"
        ),
    )


def _next_stays(story: Story, client: Client, dead: Connection, profile: Profile) -> Iterator[Finding]:
    following = next((c for c in client.connections if c.attempt > dead.attempt and c.ready is not None), None)
    if following is None or following.ready is None:
        return
    alarm = _alarm(story, client, following, profile.heartbeat.deadline)
    which = f"connection {following.number}, the next after the dead connection {dead.number},"
    if alarm is not None and _is_leftover(story, client, following, alarm, profile.detection):
        yield failed(
            f"{which} was ended by the client {alarm - following.ready:.3f} s after ready, though nothing was wrong "
            "with it",
            at=alarm,
        )
    held = stopped(story, following) - following.ready
    if held >= profile.detection and not during(story, following.ready, following.ready + profile.detection, *MUTING):
        yield passed(f"{which} stayed up for {held:.3f} s (expected at least {profile.detection:.3f} s)", held_s=held)


def _multiplied(story: Story, client: Client, interval: float) -> Iterator[Finding]:
    """A timer that outlives its connection makes more pings: three fit where two belong."""
    usual: float | None = None
    for connection in client.connections:
        pings = [p.at for p in connection.pings if not _on_waking(story, p)]
        if connection.ready is None or not pings or _sent(connection) >= LARGE:
            continue
        if usual is not None:
            for first, third in zip(pings, pings[2:], strict=False):
                span, lag = third - first, story.record.lag(first, third)
                if span + STANDSTILLS * lag < 1.25 * usual:
                    yield failed(
                        f"connection {connection.number}: 3 pings within {span:.3f} s, where an earlier connection "
                        f"pinged every {usual:.3f} s",
                        at=third,
                        span_s=span,
                        usual_s=usual,
                    )
                    return
            if len(pings) > 2:
                yield passed(
                    f"connection {connection.number}, after {client.connections.index(connection)} others: "
                    f"{len(pings)} pings, no closer than before (every {usual:.3f} s)",
                    usual_s=usual,
                )
        else:
            gaps = (b - a for a, b in zip([connection.ready, *pings], pings, strict=False))
            usual = min(interval, max(gaps))


def _on_waking(story: Story, ping: Ping) -> bool:
    """Whether a ping came right after a standstill: a client that noticed it tests the link out of turn."""
    return story.record.standstill(ping.at, GRACE) > GRACE


def _sent(connection: Connection) -> int:
    return sum(e.get("size") or 0 for e in connection.events if e.place == "client" and e.way == "up")


# --- HEARTBEAT-05, 06, 09 -------------------------------------------------------------------------------------


@check(
    "HEARTBEAT-05",
    "The server reaps a client that does not answer its pings: Close 1011 written, then TCP ended at once.",
    figures=("heartbeat.server_interval", "heartbeat.server_deadline"),
    side="server",
)
def server_reaps(story: Story, profile: Profile) -> Finding:
    """Within the server's interval + deadline of the last sign of life the server writes Close 1011 and ends TCP."""
    interval = profile.heartbeat.server_interval
    if interval is None:
        return unsupported("the profile declares no pings by the server (heartbeat.server_interval is none)")
    bound = interval + profile.heartbeat.server_deadline
    findings = [_reaped(story, connection, profile, bound) for connection in story.connections]
    return worst(
        findings,
        otherwise=inconclusive(
            f"not provoked: no ping of the server went unanswered; inject silent_drop() for longer than {bound:.3f} s"
        ),
    )


def _reaped(story: Story, connection: Connection, profile: Profile, bound: float) -> Finding | None:
    record = story.record
    end = connection.first("end", place="server")
    close = connection.first("close", place="server", way="down")
    stop = end.at if end is not None else record.until
    last = _last_sign(connection, stop)
    if last is None or connection.first("close", place="server", way="up") is not None:
        return None
    unanswered = any(ping.answered is None and ping.at > last for ping in connection.server_pings)
    dropped = any(d.fault == "silent_drop" for d in deaths(story, connection))
    if not (unanswered or dropped):
        return None
    due = last + bound
    if end is not None and end["by"] != "peer":
        if end.at <= due + 2 * GRACE:
            return None  # the client's end, or a fault, came first
        end = None
    if close is not None and close["code"] != 1011 and not _is_reaping(close, connection, profile):
        return None
    what = f"connection {connection.number}: silent towards the server for {bound:.3f} s"
    ended = end.at if end is not None else None
    timing = by(record, due + GRACE, ended if ended is not None else None if stop == record.until else stop, since=last)
    took = stop - last
    if timing is Timing.DOUBTFUL:
        return inconclusive(
            f"connection {connection.number}: silent towards the server for {took:.3f} s of {bound:.3f} s when the "
            f"record ended, or {late_by(record, last, due)}"
        )
    if timing is Timing.BROKEN:
        how = f"reaped only after {took:.3f} s" if ended is not None else f"not reaped in {took:.3f} s"
        return failed(f"{what}; {how}", at=due, reaped_s=took)
    if close is None or close["code"] != 1011:
        told = "no Close" if close is None else f"Close {close['code']}"
        return failed(f"{what}; ended with {told}, expected Close 1011", at=ended, reaped_s=took)
    return passed(
        f"{what}; Close 1011 and the end of TCP after {took:.3f} s (expected within {bound:.3f} s)", reaped_s=took
    )


def _last_sign(connection: Connection, stop: float) -> float | None:
    """The last frame of the client's that reached the server; its 101 before the first."""
    opened = connection.first("response", place="server")
    signs = [
        e.at
        for e in connection.events
        if e.place == "server" and e.way == "up" and e.at <= stop and e.kind != "handshake"
    ]
    if opened is None or opened["status"] != 101:
        return None
    return max([opened.at, *signs])


def _is_reaping(close: Event, connection: Connection, profile: Profile) -> bool:
    """Whether a Close with another code than 1011 came where the reaping was due, and says nothing else."""
    waited = [p for p in connection.server_pings if p.answered is None and p.at < close.at]
    overdue = bool(waited) and close.at >= waited[0].at + profile.heartbeat.server_deadline - GRACE
    return overdue and close["code"] in (None, 1000, 1002, 1006, 1008)


@check(
    "HEARTBEAT-06",
    "The heartbeat keeps an idle link alive behind a proxy that cuts idle ones, as long as its timeout is longer "
    "than the interval.",
    figures=("heartbeat.interval", "heartbeat.server_interval"),
    side="both",
)
def idle_links_survive(story: Story, profile: Profile) -> Finding:
    """An idle, ready connection outlives three times the idle timeout."""
    intervals = [i for i in (profile.heartbeat.interval, profile.heartbeat.server_interval) if i is not None]
    if not intervals:
        return unsupported(
            "the profile declares no heartbeat on either side (heartbeat.interval, heartbeat.server_interval)"
        )
    findings = [
        _idle(story, connection, fault, min(intervals))
        for fault in story.injected("idle_timeout")
        for _, connection in _each(story)
    ]
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no connection lay idle for 3 times an idle timeout; inject idle_timeout() with more "
            f"seconds than the interval of {min(intervals):.3f} s, and wait"
        ),
    )


def _idle(story: Story, connection: Connection, fault: Fault, interval: float) -> Finding | None:
    limit = float(fault.event["seconds"])
    ready, cut = connection.ready, connection.cut
    assert ready is not None
    start, stop = max(fault.start, ready), min(fault.end, stopped(story, connection))
    which = f"connection {connection.number}"
    if stop <= start or during(story, start, stop, *MUTING) or muted(story, connection, stop):
        return None
    if cut is not None and cut.get("fault") == "idle_timeout" and start <= cut.at <= fault.end + GRACE:
        if any(float(f.event["seconds"]) < limit for f in during(story, cut.at - GRACE, cut.at, "idle_timeout")):
            return None  # by another one, which is shorter
        slack = GRACE + STANDSTILLS * story.record.lag(start, cut.at)
        if limit <= interval + slack:
            return inconclusive(
                f"{which} was cut after {limit:.3f} s of silence, but the profile's interval of {interval:.3f} s is "
                "no shorter: choose a longer idle timeout"
            )
        if limit <= interval + slack + _delay(story, start, cut.at):
            return inconclusive(
                f"{which} was cut after {limit:.3f} s of silence, while another fault delayed what is sent every "
                f"{interval:.3f} s: choose a longer idle timeout, or inject it alone"
            )
        if cut.at - ready <= interval + slack:
            return inconclusive(
                f"{which} was cut after {limit:.3f} s of silence, {cut.at - ready:.3f} s after ready, when no ping was "
                f"due yet: the interval is {interval:.3f} s"
            )
        return failed(
            f"{which} was cut after {limit:.3f} s of silence, {cut.at - ready:.3f} s after ready; expected frames "
            f"every {interval:.3f} s",
            at=cut.at,
        )
    quiet = _longest_quiet(connection, start, stop)
    if quiet < 3 * limit:
        return None
    return passed(
        f"{which} outlived {quiet:.3f} s without messages behind an idle timeout of {limit:.3f} s", idle_s=quiet
    )


def _delay(story: Story, start: float, end: float) -> float:
    """Seconds by which faults between two instants may delay the answer to a ping, at most."""
    if during(story, start, end, "bandwidth"):
        return float("inf")
    latencies = (fault.event for fault in during(story, start, end, "latency"))
    return sum(2.0 * (float(e.get("seconds", 0.0)) + float(e.get("jitter", 0.0))) for e in latencies)


def _longest_quiet(connection: Connection, start: float, stop: float) -> float:
    """The longest time without any frame but heartbeats."""
    busy = [
        e.at
        for e in connection.events
        if e.way and e.place == "client" and e.kind not in _HEARTBEATS | NO_FRAMES and start < e.at < stop
    ]
    return max(b - a for a, b in zip([start, *busy], [*busy, stop], strict=True))


# --- HEARTBEAT-09 ---------------------------------------------------------------------------------------------


@check(
    "HEARTBEAT-09",
    "After a jump of the clock (suspend, SIGSTOP) the client tests the link at once, and before it uses it.",
    figures=("heartbeat.interval",),
    level="SHOULD",
)
def tests_the_link_after_a_jump(story: Story, profile: Profile) -> Finding:
    """On waking a ping goes out first, and nothing of the application's before it is answered."""
    interval = profile.heartbeat.interval
    if interval is None:
        return unsupported(NONE_DECLARED)
    findings = [
        _awake(story, client, connection, fault, interval)
        for fault in story.injected("suspend")
        for client, connection in _each(story)
        if client.name == fault.event.client
    ]
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no client slept on a ready connection; suspend(pid) it for longer than the interval of "
            f"{interval:.3f} s"
        ),
    )


def _awake(story: Story, client: Client, connection: Connection, fault: Fault, interval: float) -> Finding | None:
    record, woke, ready = story.record, fault.end, connection.ready
    if woke >= record.until or ready is None or ready >= fault.start or not connection.alive_at(fault.start):
        return None
    which = f"connection {connection.number}, {woke - fault.start:.3f} s asleep"
    if woke - fault.start <= interval:
        return inconclusive(f"{which}: a sleep within the interval of {interval:.3f} s need not be noticed")
    if stopped(story, connection) <= woke:
        return None  # it was ended meanwhile: there was no link left to test
    used = next((e for e in connection.seen(*_USE, way="up") if e.at >= woke), None)
    reacted = first_reaction(client, connection, woke)
    if reacted is not None and (used is None or reacted <= used.at):
        return passed(f"{which}: given up {reacted - woke:.3f} s after waking, and not used again")
    ping = next((p for p in connection.pings if p.at >= woke), None)
    answer = proof(connection, ping) if ping is not None else None
    if used is not None and (answer is None or used.at < answer):
        tested = "no ping was sent" if ping is None or used.at < ping.at else "its ping was not answered yet"
        return failed(f"{which}: it sent a {used.kind} {used.at - woke:.3f} s after waking, when {tested}", at=used.at)
    match by(record, woke, None if ping is None else ping.at, since=woke):
        case Timing.BROKEN:
            when = "no ping" if ping is None else f"its first ping only {ping.at - woke:.3f} s"
            return failed(f"{which}: {when} after waking; expected one at once", at=woke)
        case Timing.DOUBTFUL:
            return inconclusive(
                f"{which}: no ping at once, but the record ends, or {late_by(record, woke, woke + 1.0)}"
            )
    if used is None:
        return inconclusive(f"{which}: it tested the link, and sent nothing after it; let it have something to send")
    assert ping is not None
    return passed(
        f"{which}: a ping {ping.at - woke:.3f} s after waking, and a {used.kind} only once it was answered",
        ping_s=ping.at - woke,
    )
