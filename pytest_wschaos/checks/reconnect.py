"""RECONNECT: whether a client comes back, when it gives up, and what it tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import dropwhile, groupby, pairwise

from ..profile import Profile
from ..timeline import Event, Record
from .backoff import bounds, counts_wrongly
from .ending import FINAL, asked, came_back, comes_first, describe_end, own_close, server_close, stayed_away
from .ending import reaction as reaction_to
from .links import abandoned_by, dead_pings, during
from .rule import check
from .story import Client, Connection, Fault, Story
from .tolerance import GRACE, STAMP_DELAY, STANDSTILLS, Timing, by, late_by, not_before
from .verdict import Finding, Outcome, failed, inconclusive, non_strict, passed, unsupported, worst
from .waits import Course, Wait, longest_wait

SILENCING = ("unanswered_handshake", "silent_drop")
"""The faults under which an attempt gets no answer."""

_REPORT = "the client does not tell its application's events: pass on_event=wschaos.report"
_TEN = 10


@check(
    "RECONNECT-01",
    "A client finds out by itself that its link died without a word, and reconnects.",
    figures=("heartbeat.interval", "heartbeat.deadline", "backoff.base", "jitter.high"),
)
def dead_link(story: Story, profile: Profile) -> Finding:
    if profile.heartbeat.interval is None:
        return unsupported(
            "the profile declares no heartbeat (heartbeat.interval), by which a dead link would be found"
        )
    findings = []
    drops = [f for f in story.injected("silent_drop") if f.event.get("direction", "both") == "both"]
    for client in story.clients:
        course = Course(client, profile)
        for fault in drops:
            if fault.event.get("resume", False):
                continue
            met = [connection for connection in client.connections if _met(connection, fault)]
            findings += [_found_out(story, course, connection, fault) for connection in met]
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no ready connection met a silent_drop() in both directions; "
            f"inject it for longer than interval + deadline ({profile.detection:.3f} s)"
        ),
    )


def _met(connection: Connection, fault: Fault) -> bool:
    """Whether a connection was in use when a fault began, and not being closed."""
    ready = connection.ready is not None and connection.ready <= fault.start
    ending = any(sign <= fault.start + STAMP_DELAY for sign in connection.signs)
    return ready and connection.alive_at(fault.start) and not ending


def _found_out(story: Story, course: Course, connection: Connection, fault: Fault) -> Finding:
    record, client, profile = story.record, course.client, course.profile
    death, detection = fault.start, profile.detection
    told = f"connection {connection.number} was dead from {death:.3f} s on"
    due = death + detection
    left = asked(client, "close", connection, due) or asked(client, "reconnect", connection, due)
    if left is not None or (connection.end is not None and connection.end["by"] == "proxy"):
        return inconclusive(f"{told}, but ended otherwise")
    match abandoned_by(story, connection, due, connection.abandoned, profile.heartbeat, since=death):
        case Timing.DOUBTFUL if connection.abandoned is None:
            return inconclusive(f"{told}; the record ended before it had to be found out ({detection:.3f} s)")
        case Timing.DOUBTFUL:
            return inconclusive(f"{told}; it was found out late, but {late_by(record, death, due)}")
        case Timing.BROKEN:
            took = "never" if connection.abandoned is None else f"after {connection.abandoned - death:.3f} s"
            return failed(
                f"{told}; the client abandoned it {took}, expected within interval + deadline, {detection:.3f} s",
                at=due,
            )
    abandoned = connection.abandoned or death
    step = course.retries(connection) + 1 if course.certain(connection) else 1000
    longest = max(bounds(step, profile)[1], profile.longest_first_delay)
    if course.spent(connection):
        return inconclusive(f"{told}, and the retries were used up")
    back = came_back(story, client, connection, longest)
    if back.outcome is not Outcome.PASS:
        return back
    return passed(
        f"{told}; abandoned {abandoned - death:.3f} s later (allowed {detection:.3f} s); {back.seen}",
        abandoned_s=abandoned - death,
        **back.measured,
    )


@check(
    "RECONNECT-02",
    "After an abnormal end the client reconnects without the application asking.",
    figures=("backoff.ceiling",),
)
def abnormal_end(story: Story, profile: Profile) -> Finding:
    findings = []
    for client in story.clients:
        course = Course(client, profile)
        for connection in client.connections:
            if _abnormal(connection):
                if course.spent(connection):
                    findings.append(inconclusive(f"the retries were used up at connection {connection.number}"))
                else:
                    findings.append(came_back(story, client, connection, longest_wait(connection, profile)))
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no open connection was cut without a Close; inject abort() or disconnect()"
        ),
    )


def _abnormal(connection: Connection) -> bool:
    cut = connection.end is not None and connection.end["by"] == "proxy"
    closes = connection.close_received is not None or connection.close_sent is not None
    return connection.opened is not None and cut and not closes


@check("RECONNECT-03", "A client has one connection at a time, attempts included.")
def one_at_a_time(story: Story, profile: Profile) -> Finding:
    record = story.record
    reconnects = 0
    doubtful = None
    for client in story.clients:
        for older, newer in _neighbours(client.connections):
            reconnects += 1
            over = record.until if older.over is None else older.over
            told = (
                f"connection {newer.number} began while connection {older.number} was still held, "
                f"for {over - newer.attempt:.3f} s more"
            )
            # Behind a narrow pipe the end of a connection waits its turn, and is seen late.
            narrow = any(f.start <= over and f.end >= newer.attempt for f in story.injected("bandwidth"))
            timing = by(record, newer.attempt, over, since=newer.attempt - GRACE)
            if (timing is Timing.BROKEN or _used(record, older, newer)) and not narrow:
                return failed(f"{told}; expected one at a time", at=newer.attempt, overlap_s=over - newer.attempt)
            if timing is not Timing.KEPT:
                why = "the bandwidth was limited" if narrow else late_by(record, newer.attempt, over)
                doubtful = inconclusive(f"{told}, but {why}")
    if doubtful is not None:
        return doubtful
    if not reconnects:
        return inconclusive("not provoked: no client connected twice; inject abort() and wait for the next attempt")
    return passed(f"{reconnects} reconnects, none while an earlier connection was held", reconnects=reconnects)


def _used(record: Record, older: Connection, newer: Connection) -> bool:
    """Whether the client answered a Close that came to it after a newer attempt: then it held the older one still."""
    close, answer = server_close(older), older.close_sent
    return close is not None and answer is not None and comes_first(record, newer.events[0], close)


def _neighbours(connections: Sequence[Connection]) -> Iterator[tuple[Connection, Connection]]:
    """Each connection with the one before it that lasted longest."""
    held: Connection | None = None
    for connection in connections:
        if held is not None:
            yield held, connection
        if held is None or (held.over is not None and (connection.over is None or connection.over >= held.over)):
            held = connection


@check(
    "RECONNECT-04",
    "An attempt that is not ready within the deadline has failed, and its timers end no later connection.",
    figures=("reconnect.open_timeout",),
)
def open_timeout(story: Story, profile: Profile) -> Finding:
    findings = []
    for client in story.clients:
        course = Course(client, profile)
        for connection in client.connections:
            if (finding := _given_up_in_time(story, course, connection)) is not None:
                findings.append(finding)
            findings.extend(_stray_timers(client, connection, profile))
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no attempt was left without an answer for "
            f"{profile.reconnect.open_timeout:.3f} s; inject unanswered_handshake()"
        ),
    )


def _given_up_in_time(story: Story, course: Course, connection: Connection) -> Finding | None:
    """What became of an attempt that nobody answered or ended."""
    client, timeout = course.client, course.profile.reconnect.open_timeout
    due = connection.attempt + timeout
    # Ready, refused, rejected, closed or cut by somebody else: that is no silence.
    close, end = server_close(connection), connection.end
    others = [close, end if end is not None and end["by"] == "proxy" else None]
    ended = min((event.at for event in others if event is not None), default=None)
    answered = connection.response is not None and connection.response["status"] != 101
    if (connection.ready is not None and connection.ready <= due + GRACE) or connection.refused or answered:
        return None
    if ended is not None and by(story.record, due, ended, since=connection.attempt) is not Timing.BROKEN:
        return None
    if asked(client, "close", connection, due) is not None:
        return None
    told = f"connection {connection.number} was not ready within {timeout:.3f} s"
    # How long it then waits for the answer to its Close is CLOSE-04's question.
    sent = connection.close_sent
    gave_up = (sent.at if sent is not None else None, connection.abandoned)
    # On a busy machine it may be on record as ready too late, and have been in time by its own clock.
    given_up = min((at for at in (*gave_up, connection.ready) if at is not None), default=None)
    match by(story.record, due, given_up, since=connection.attempt):
        case Timing.BROKEN:
            if given_up is None or given_up == connection.ready:
                return failed(f"{told}; the client did not give it up", at=due)
            return failed(f"{told}; the client gave it up after {given_up - connection.attempt:.3f} s", at=due)
        case Timing.DOUBTFUL:
            return None if given_up is None else inconclusive(f"{told}, but {late_by(story.record, due, due)}")
    took_s = (given_up or due) - connection.attempt
    if took_s < timeout / 2 and not during(story, connection.attempt, due, *SILENCING):
        return None  # it hung up for a reason of its own
    if course.spent(connection):
        return passed(f"{told}; given up after {took_s:.3f} s, the last retry", given_up_s=took_s)
    back = came_back(story, client, connection, longest_wait(connection, course.profile))
    if back.outcome is not Outcome.PASS:
        return back
    return passed(f"{told}; given up after {took_s:.3f} s; {back.seen}", given_up_s=took_s)


def _stray_timers(client: Client, connection: Connection, profile: Profile) -> Iterator[Finding]:
    """A healthy connection that the client ended, and replaced, just when some attempt's deadline was over."""
    ended = connection.abandoned
    if connection.ready is None or ended is None or connection.close_received is not None:
        return
    unanswered = any(p.answered is None for p in connection.pings)
    wanted = any(client.told(what) for what in ("close", "reconnect")) or own_close(connection) is not None
    # The welcome may have been on its way through a client that was too late to see it.
    unseen = GRACE + STANDSTILLS * client.record.lag(connection.ready - GRACE, ended)
    if unanswered or wanted or client.after(connection) is None or ended <= connection.ready + unseen:
        return
    for attempt in client.connections:
        fires = attempt.attempt + profile.reconnect.open_timeout
        if attempt.attempt <= connection.attempt and abs(ended - fires) <= GRACE:
            yield failed(
                f"the client ended connection {connection.number}, ready and healthy, {ended - attempt.attempt:.3f} s "
                f"after attempt {attempt.number} began: that attempt's timer ({profile.reconnect.open_timeout:.3f} s)",
                at=ended,
            )


@check(
    "RECONNECT-05",
    "After a deliberate close there is no further attempt, in whatever state it came.",
    figures=("backoff.cap",),
)
def deliberate_close(story: Story, profile: Profile) -> Finding:
    quiet = 2 * profile.backoff.cap
    findings = []
    for client in story.clients:
        closes = [(e.at, f"the application closed at {e.at:.3f} s") for e in client.told("close")]
        for connection in client.connections:
            close = own_close(connection)
            if close is None or _maybe_dead(story, connection, close.at) or _by_reconnect(client, connection):
                continue
            if not any(abs(close.at - at) <= profile.close.timeout + GRACE for at, _ in closes):
                told = f"connection {connection.number} was closed by the client, Close {close['code']}"
                closes.append((close.at, told))
        # An attempt may just have been on its way when the application asked.
        findings += [stayed_away(story, client, at, quiet, told, underway=GRACE) for at, told in closes]
    return worst(findings, otherwise=inconclusive("not provoked: no client was closed; close yours, and wait 2 x cap"))


def _maybe_dead(story: Story, connection: Connection, at: float) -> bool:
    """Whether the close may be the client's way to end a dead link, or an attempt that took too long."""
    faults = story.injected("silent_drop", "mute_pongs", "unanswered_handshake")
    return connection.ready is None or any(f.start <= at and f.end >= connection.attempt for f in faults)


def _by_reconnect(client: Client, connection: Connection) -> bool:
    over = connection.over if connection.over is not None else client.record.until
    return asked(client, "reconnect", connection, over) is not None


@check(
    "RECONNECT-06",
    "After max_retries consecutive failures the client stops, and tells the application what failed.",
    figures=("reconnect.max_retries", "backoff.ceiling"),
)
def gives_up(story: Story, profile: Profile) -> Finding:
    limit = profile.reconnect.max_retries
    if limit is None:
        return unsupported("the profile declares no limit of retries (reconnect.max_retries)")
    findings = [finding for client in story.clients for finding in _endings(story, client, profile, limit)]
    return worst(
        findings,
        otherwise=inconclusive(
            f"not provoked: no client failed {limit + 1} times in a row; inject refuse() until it gives up"
        ),
    )


def _endings(story: Story, client: Client, profile: Profile, limit: int) -> Iterator[Finding]:
    """What a client did at the end of each row of failures."""
    course = Course(client, profile)
    for gap in course.gaps:
        if gap.cause == "asked":
            # Somebody started the client again: what was before is a row of its own.
            if not gap.doubtful and gap.retry - 1 >= limit and own_close(gap.before) is None:
                yield _stopped(story, course, gap.before, gap.retry - 1, limit)
        elif gap.retry > limit and gap.cause in ("backoff", "provider"):
            yield _one_too_many(course, gap, limit)
            return
    if client.connections:
        last = client.connections[-1]
        if last.over is not None and own_close(last) is None and course.certain(last):
            yield _stopped(story, course, last, course.retries(last), limit)


def _one_too_many(course: Course, gap: Wait, limit: int) -> Finding:
    told = f"retry {gap.retry} came as connection {gap.after.number}, {gap.low:.3f} s after the last failure"
    if gap.doubtful:
        return inconclusive(f"{told}; whether the count had started anew is too close to call")
    if counts_wrongly((g for g in course.gaps if g.cause == "backoff"), course.profile):
        return inconclusive(f"{told}; but the client counts otherwise than declared: see BACKOFF-03")
    return failed(f"{told}; expected {limit} retries at most", at=gap.at, retries=gap.retry)


def _stopped(story: Story, course: Course, last: Connection, retries: int, limit: int) -> Finding:
    """Whether a client that made no further attempt stopped at the right time, and said so."""
    client = course.client
    retries += len(client.failed_fetches(last.attempt, story.record.until))
    if last.ready is not None and last.signs[0] - last.ready >= course.profile.backoff.stable_after:
        retries = 0
    told = f"{retries} of {limit} retries were made; the last connection, {last.number}, {describe_end(last)}"
    # After a Close or an HTTP answer CLOSE says whether to go on, after an open link RECONNECT-02.
    coded = server_close(last) is not None or (last.response is not None and last.response["status"] != 101)
    if retries < limit and (coded or last.opened is not None or reaction_to(last, course.profile) in FINAL):
        return inconclusive(f"not provoked: {told}; inject refuse() until the client gives up")
    finding = stayed_away(story, client, last.signs[-1], longest_wait(last, course.profile) + GRACE, told)
    if asked(client, "close", last, story.record.until) is not None:
        return inconclusive(f"{told}; then the application closed")
    # The last attempt may be seen as refused after the client has told of giving up, but no earlier one's end.
    since = max((c.signs[-1] for c in client.connections if c.attempt < last.attempt and c.signs), default=0.0)
    given_up = [e for e in client.told("gave_up") if e.at >= since]
    restart = asked(client, "reconnect", last.signs[-1], story.record.until)
    if restart is not None:
        given_up = [e for e in given_up if e.at <= restart]
    if finding.outcome is Outcome.INCONCLUSIVE:
        return finding
    if retries < limit and (delay := _waits_still(client, story.record.until)) is not None:
        return inconclusive(f"{told}; by what it tells it waits for {delay:.3f} s: see BACKOFF-02")
    if retries < limit:
        return failed(f"{told}; then it stopped, expected {limit} retries", at=last.signs[-1], retries=retries)
    if not client.reports:
        return non_strict(f"{finding.seen}; whether the application was told is not seen (on_event=wschaos.report)")
    if len(given_up) != 1:
        times = "was never told" if not given_up else f"was told {len(given_up)} times"
        return failed(f"{finding.seen}; the application {times} (gave_up), expected once", at=last.signs[-1])
    if not given_up[0].get("error"):
        return failed(f"{finding.seen}; the application was told, but not what failed", at=given_up[0].at)
    return passed(f"{finding.seen}; the application was told: {given_up[0]['error']}", retries=retries)


def _waits_still(client: Client, until: float) -> float | None:
    """The delay that a client has told of, where it is not over."""
    told = [event for event in client.app if event.kind in ("app.waiting", "app.connecting", "app.gave_up")]
    delay = told[-1].get("delay") if told and told[-1].kind == "app.waiting" else None
    return delay if isinstance(delay, int | float) and told[-1].at + delay > until else None


@check(
    "RECONNECT-07",
    "After giving up, an explicit reconnect by the application works.",
    figures=("reconnect.max_retries",),
)
def reconnect_works(story: Story, profile: Profile) -> Finding:
    findings = []
    for client in story.clients:
        for event in client.told("reconnect"):
            over = [e for e in client.told("gave_up") if e.at <= event.at]
            # The last attempt itself may be seen after the client has told that it gave up.
            if over and not any(over[-1].at + c.late + STAMP_DELAY < c.attempt < event.at for c in client.connections):
                findings.append(_restarted(story, client, event.at, profile))
    if findings:
        return worst(findings, otherwise=findings[0])
    if not any(client.reports for client in story.clients):
        return unsupported(_REPORT)
    return inconclusive(
        "not provoked: refuse() until the client gives up, heal, and have the application reconnect (app.reconnect)"
    )


def _restarted(story: Story, client: Client, at: float, profile: Profile) -> Finding:
    told = f"the application reconnected at {at:.3f} s, after giving up"
    record = story.record
    attempts = [c for c in client.connections if c.attempt >= at - STAMP_DELAY]
    first = attempts[0].attempt if attempts else None
    due = at + profile.longest_first_delay
    timing = by(record, due, first, since=at)
    if timing is Timing.BROKEN:
        return failed(f"{told}; no attempt came within {profile.longest_first_delay:.3f} s", at=due)
    if timing is Timing.DOUBTFUL:
        return inconclusive(f"{told}; no attempt yet when the record ended, or {late_by(record, at, due)}")
    ready = next((c.ready for c in attempts if c.ready is not None), None)
    if ready is not None:
        return passed(f"{told}; ready {ready - at:.3f} s later", ready_s=ready - at)
    if record.until < due + profile.patience or any(f.end > at for f in story.faults):
        return inconclusive(f"{told}; it tried, but was not ready when the record ended; heal the fault first")
    return failed(f"{told}; it was not ready within {profile.patience:.3f} s, with no fault injected", at=due)


@check("RECONNECT-08", "A failing token provider counts as a failed attempt, and does not end reconnection in silence.")
def provider(story: Story, profile: Profile) -> Finding:
    findings = []
    for client in story.clients:
        course = Course(client, profile)
        for failure in client.failed_fetches(0.0, story.record.until):
            unseen = not story.record.sees_refused
            if not (unseen and any(f.start <= failure.at <= f.end for f in story.injected("refuse"))):
                findings.append(_went_on(story, course, failure))
    if findings:
        return worst(findings, otherwise=findings[0])
    if not any(client.reports for client in story.clients):
        return unsupported(_REPORT)
    return inconclusive("not provoked: no attempt failed before it reached the network; have the token provider raise")


def _went_on(story: Story, course: Course, failure: Event) -> Finding:
    client, profile = course.client, course.profile
    told = f"the attempt that ended at {failure.at:.3f} s failed before it reached the network"
    later = dropwhile(lambda e: e is not failure, client.app)
    again = next((e.at for e in later if e.kind == "app.connecting"), None)
    given_up = next((e for e in client.told("gave_up") if e.at >= failure.at), None)
    if given_up is not None and (again is None or again >= given_up.at):
        return _gave_up(course, failure, given_up, told)
    longest = max(profile.backoff.ceiling, profile.longest_first_delay)
    until = failure.at + longest if again is None else again
    if (
        asked(client, "close", failure.at, until) is not None
        or asked(client, "reconnect", failure.at, until) is not None
    ):
        return inconclusive(f"{told}; then the application closed or reconnected")
    match by(story.record, failure.at + longest, again, since=failure.at):
        case Timing.KEPT:
            return _waited(story, course, failure, until, told)
        case Timing.DOUBTFUL:
            return inconclusive(f"{told}; no further one yet when the record ended, or the harness was late")
        case _:
            return failed(f"{told}; no further attempt followed within {longest:.3f} s", at=failure.at + longest)


def _gave_up(course: Course, failure: Event, given_up: Event, told: str) -> Finding:
    """Whether a client that made no attempt after one that left no trace had used up its retries."""
    limit = course.profile.reconnect.max_retries
    if limit is None:
        return failed(f"{told}; the client gave up, and the profile declares no limit of retries", at=given_up.at)
    made = _retries_made(course, failure)
    if made is None:
        return inconclusive(f"{told}; the client gave up, and how many retries it had made is too close to call")
    if made < limit:
        return failed(f"{told}; the client gave up after {made} of {limit} retries", at=given_up.at)
    return passed(f"{told}; it was the last retry, and the application was told")


def _waited(story: Story, course: Course, failure: Event, again: float, told: str) -> Finding:
    """Whether a client waited at all after an attempt that left no trace; for how long is BACKOFF's question."""
    next_s, made = again - failure.at, _retries_made(course, failure)
    low = 0.0 if made is None else bounds(made + 1, course.profile)[0]
    at_once = not_before(story.record, failure.at + GRACE, again, early=0.0, since=failure.at - low) is Timing.BROKEN
    if at_once and low > 2 * GRACE:
        return failed(
            f"{told}; the next one came {next_s:.3f} s later, expected a delay of {low:.3f} s at least",
            at=again,
            next_s=next_s,
        )
    return passed(f"{told}; the next one came {next_s:.3f} s later", next_s=next_s)


def _retries_made(course: Course, failure: Event) -> int | None:
    """The retries made when an attempt that left no trace had failed, itself included; None: that is in doubt."""
    client = course.client
    before = next((c for c in reversed(client.connections) if c.attempt <= failure.at), None)
    if asked(client, "reconnect", 0.0 if before is None else before, failure.at) is not None:
        return None
    if before is None:
        return len(client.failed_fetches(0.0, failure.at)) - 1
    lost = len(client.failed_fetches(before.attempt, failure.at))
    return course.retries(before) + lost if course.certain(before) else None


@check("RECONNECT-09", "Observers are told of every transition, once each, also after the tenth reconnect.")
def ledger(story: Story, profile: Profile) -> Finding:
    telling = [client for client in story.clients if client.reports]
    if not telling:
        return unsupported(_REPORT)
    findings = [_ledger_of(story, client, profile) for client in telling]
    return worst(findings, otherwise=findings[0])


_LEDGER = ("connecting", "ready", "closed", "waiting", "gave_up", "close", "reconnect")
_FOLLOWS = {
    "connecting": {"", "waiting"},
    "ready": {"connecting"},
    "closed": {"connecting", "ready"},
    "waiting": {"closed"},
    "gave_up": {"closed"},
}
"""What may be told after what, but for what the application asks."""


def _ledger_of(story: Story, client: Client, profile: Profile) -> Finding:
    told = [e for e in client.app if e.kind.removeprefix("app.") in _LEDGER]
    last = ""
    wanted: str | None = None
    for event in told:
        name = event.kind.removeprefix("app.")
        if name in ("close", "reconnect"):
            wanted = name
            continue
        # What the application asks cuts waits short, and starts anew from anywhere but a live connection.
        freed = (name == "connecting" and wanted == "reconnect" and last in ("closed", "gave_up")) or (
            name == "closed" and wanted is not None and last == "waiting"
        )
        if last not in _FOLLOWS[name] and not freed:
            after = f"after {last!r}" if last else "first"
            return failed(f"the application was told {name!r} {after}; each transition is told once", at=event.at)
        if name == "waiting" and not _numbered(event):
            return failed("the application was told 'waiting' without the attempt's number and delay", at=event.at)
        if name == "connecting":
            wanted = None
        last = name
    return _ledger_against_wire(story, client, told, profile)


def _held(last: Event | None) -> bool:
    """Whether a client had a connection, or an attempt under way, by what it told last."""
    return last is not None and last.kind in ("app.connecting", "app.ready")


def _numbered(event: Event) -> bool:
    attempt, delay = event.get("attempt"), event.get("delay")
    return isinstance(attempt, int) and attempt >= 1 and isinstance(delay, int | float) and delay >= 0


def _lasted(story: Story, client: Client, connection: Connection, ready: float) -> bool:
    """Whether a connection was wanted and alive for long enough after it was ready."""
    ends = [connection.over, asked(client, "close", connection, story.record.until)]
    end = min((at for at in ends if at is not None), default=None)
    return end is None or end > ready + GRACE + STANDSTILLS * story.record.lag(ready - GRACE, end)


def _ledger_against_wire(story: Story, client: Client, told: Sequence[Event], profile: Profile) -> Finding:
    """Compare what was told with what the wire shows, but for what happened as the record ended."""
    until = story.record.until - GRACE - STANDSTILLS * story.record.lag(story.record.until - 1.0, story.record.until)
    # What befell a client that slept until just then it may not have had time to tell.
    until = min([until, *(sleep.start - GRACE for sleep in story.injected("suspend") if sleep.end > until)])
    lost = len(client.failed_fetches(0.0, story.record.until))
    connections = [c for c in client.connections if c.attempt < until]
    # A connection that broke, or was to be closed, as soon as it was ready may have been over before the client knew.
    ready = [c for c in connections if c.ready is not None and c.ready < until and _lasted(story, client, c, c.ready)]
    over = [c for c in connections if c.over is not None and c.over < until]
    for name, seen, what in (
        ("connecting", len(connections) + lost, "attempts"),
        ("ready", len(ready), "ready connections"),
        ("closed", len(over) + lost, "ended connections"),
    ):
        count = sum(1 for e in told if e.kind == f"app.{name}")
        if count < seen:
            return failed(f"the application was told {name!r} {count} times for {seen} {what}", told=count, wire=seen)
    # A close that the application asked for amid a wait is told, too, and ends no connection.
    states = [e for e in told if e.kind not in ("app.close", "app.reconnect")]
    closed = [e for last, e in pairwise([None, *states]) if e is not None and e.kind == "app.closed" and _held(last)]
    ended = [c for c in client.connections if c.over is not None]
    if not lost and len(ended) == len(closed):
        for connection, event in zip(ended, closed, strict=True):
            if not _told_rightly(story, client, connection, event, profile):
                return failed(
                    f"connection {connection.number} {describe_end(connection)}, "
                    f"but the application was told {event.get('code')}",
                    at=event.at,
                )
    reconnects = len(connections) - 1
    if reconnects < _TEN:
        return inconclusive(
            f"told of each transition once, but {max(reconnects, 0)} of {_TEN} reconnects were provoked"
        )
    counts = {name: len(list(found)) for name, found in groupby(sorted(e.kind.removeprefix("app.") for e in told))}
    return passed(f"{reconnects} reconnects, every transition told once", **counts)


def _told_rightly(story: Story, client: Client, connection: Connection, event: Event, profile: Profile) -> bool:
    """Whether the code by which a connection was told to be closed may be the one by which it was."""
    if connection.ready is None:
        return True
    close, code = server_close(connection), event.get("code")
    found_dead = _found_dead(story, connection, event.at, profile)
    if close is not None:
        return close.get("code") in (None, code) or (
            code == 1006 and (found_dead or _unread(story.record, close, connection.end))
        )
    # Cut without a Close it has no code but those that say so; where the client ended it, the code is its own.
    wanted = any(asked(client, what, connection, event.at) is not None for what in ("close", "reconnect"))
    return not _abnormal(connection) or wanted or found_dead or code in (None, 1005, 1006)


def _unread(record: Record, close: Event, end: Event | None) -> bool:
    """Whether a reset came so soon after a Close that the client may have seen nothing but the reset."""
    if end is None or end["by"] != "proxy" or end.get("how") != "reset":
        return False
    return by(record, close.at, end.at, since=close.at) is not Timing.BROKEN


def _found_dead(story: Story, connection: Connection, at: float, profile: Profile) -> bool:
    """Whether the client had found the link dead by itself, and so did not read the Close that came just then."""
    deadline = profile.heartbeat.deadline
    return any(ping.at + deadline <= at + GRACE for ping in dead_pings(story, connection, deadline))
