"""CLOSE: what a client does after each way in which the server ends a connection, and how it closes itself."""

from __future__ import annotations

from collections.abc import Callable

from ..profile import Profile, Reaction
from .backoff import bounds, fits
from .ending import (
    FINAL,
    RESERVED,
    asked,
    came_back,
    client_close,
    close_reaction,
    describe_end,
    http_reaction,
    server_close,
    stayed_away,
)
from .refusals import refusals
from .rule import check
from .story import Client, Connection, Story
from .surfaced import surfaced
from .tolerance import GRACE, STANDSTILLS, Timing, by, late_by
from .verdict import Finding, Outcome, failed, inconclusive, non_strict, passed, worst
from .waits import Course, longest_wait

_LONGEST_REASON = 123


def _judge_reactions(
    story: Story, profile: Profile, expected: Callable[[Connection], Reaction | None], otherwise: str
) -> Finding:
    """Judge every connection whose end calls for a reaction; ``expected`` tells which."""
    findings = []
    for client in story.clients:
        course = Course(client, profile)
        again = {refusal.connection.number for refusal in refusals(story, course) if refusal.most > 1}
        for connection in client.connections:
            reaction = expected(connection)
            if reaction == "refresh" and connection.number in again:
                findings.append(inconclusive("credentials refused twice in a row: judged by AUTH-04"))
            elif reaction is not None:
                findings.append(_reacted(story, course, connection, reaction))
                if findings[-1].outcome is Outcome.FAIL:
                    return findings[-1]  # the first one tells most, and there may be thousands
    finding = worst(findings, otherwise=inconclusive(otherwise))
    judged = [f for f in findings if f.outcome in (Outcome.PASS, Outcome.NON_STRICT)]
    if finding.outcome is Outcome.PASS and len(judged) > 1:
        return passed(
            f"{len(judged)} ends, each with the profile's reaction; the last: {judged[-1].seen}", ends=len(judged)
        )
    return finding


def _reacted(story: Story, course: Course, connection: Connection, reaction: Reaction) -> Finding:
    """Whether a client did what an end calls for."""
    client, profile = course.client, course.profile
    what = f"connection {connection.number} {describe_end(connection)} ({reaction})"
    if reaction in FINAL:
        longest = longest_wait(connection, profile)
        finding = stayed_away(story, client, connection, longest + GRACE, what)
        return finding if reaction == "stop" else surfaced(client, connection, longest, finding)
    if course.spent(connection):
        return inconclusive(f"{what}, when the retries were used up")
    finding = came_back(story, client, connection, longest_wait(connection, profile))
    if reaction == "later" and finding.outcome is Outcome.PASS:
        return _one_step_later(course, connection, finding)
    return finding


def _one_step_later(course: Course, connection: Connection, finding: Finding) -> Finding:
    """Whether the wait is that of the next step; a wait that is wrong by either step is BACKOFF's matter."""
    gap, profile = course.next(connection), course.profile
    if gap is None or gap.doubtful or gap.bound or gap.cause != "backoff":
        return finding
    low, high = bounds(gap.step, profile)
    told = (
        f"connection {connection.number} {describe_end(connection)} (later): {gap}, expected {low:.3f} to {high:.3f} s"
    )
    if fits(gap, gap.step, profile):
        return passed(told)
    if fits(gap, gap.retry, profile) and not fits(gap, gap.step, profile, lags=STANDSTILLS):
        return failed(f"{told}, one step further", at=gap.at, wait_s=gap.low)
    return inconclusive(told)


@check(
    "CLOSE-01",
    "After a Close of the server the client reacts as the profile's table says, whatever the reason text.",
    figures=("close.reactions", "backoff.ceiling"),
)
def reaction(story: Story, profile: Profile) -> Finding:
    def expected(connection: Connection) -> Reaction | None:
        close = server_close(connection)
        return None if close is None else close_reaction(close.get("code"), profile)

    return _judge_reactions(
        story,
        profile,
        expected,
        "not provoked: the server began no close; inject close(code) or accept_then_close(code)",
    )


@check(
    "CLOSE-05",
    "After an HTTP answer to the handshake the client retries or stops, by the status.",
    figures=("backoff.ceiling",),
)
def http(story: Story, profile: Profile) -> Finding:
    return _judge_reactions(
        story, profile, http_reaction, "not provoked: no handshake was rejected; inject reject_handshake(status)"
    )


@check("CLOSE-02", "A side that ends on purpose sends a Close with a code and a reason of at most 123 bytes.")
def code_and_reason(story: Story, profile: Profile) -> Finding:
    findings = []
    for client in story.clients:
        for connection in client.connections:
            if (asked_at := _closed_by_application(client, connection)) is not None and connection.close_sent is None:
                if (
                    connection.end is not None
                    and connection.end["by"] == "proxy"
                    and connection.end.at <= asked_at + GRACE
                ):
                    continue  # somebody else was faster
                if by(story.record, asked_at + profile.close.timeout, connection.over) is Timing.DOUBTFUL:
                    findings.append(inconclusive(f"connection {connection.number}: closing when the record ended"))
                elif connection.close_received is None:
                    told = f"the application closed connection {connection.number}, but no Close frame was sent"
                    findings.append(failed(told, at=asked_at))
            elif (close := client_close(connection)) is not None:
                findings.append(_complete(connection, close.get("code"), close.get("reason") or "", close.at))
    return worst(findings, otherwise=inconclusive("not provoked: the client never began a close; let it close"))


def _closed_by_application(client: Client, connection: Connection) -> float | None:
    if connection.ready is None:
        return None
    until = connection.over if connection.over is not None else client.record.until
    at = asked(client, "close", connection.ready, until)
    if at is None:
        return None
    # When it had only just become ready, the client may still have been connecting, with nothing to close.
    unaware = GRACE + STANDSTILLS * client.record.lag(connection.ready - GRACE, at)
    knew = at > connection.ready + unaware or any(connection.attempt <= e.at <= at for e in client.told("ready"))
    return at if knew else None


def _complete(connection: Connection, code: int | None, reason: str, at: float) -> Finding:
    told = f"connection {connection.number} sent Close {'without a code' if code is None else code} {reason!r}"
    size = len(reason.encode())
    if code is None or size > _LONGEST_REASON:
        return failed(f"{told} ({size} bytes); expected a code and {_LONGEST_REASON} bytes of reason at most", at=at)
    return passed(told, code=code) if reason else non_strict(f"{told}: a code, but no reason", at=at)


@check(
    "CLOSE-03",
    "1004, 1005, 1006 and 1015 are never sent, and are a protocol error (1002) when they come.",
    side="both",
)
def reserved(story: Story, profile: Profile) -> Finding:
    codes = []
    bare = 0
    for connection in story.connections:
        sent = connection.close_sent
        if sent is not None and sent.get("code") is not None:
            if sent["code"] in RESERVED or not 1000 <= sent["code"] < 5000:
                return failed(
                    f"connection {connection.number} sent Close {sent['code']}, which is never sent", at=sent.at
                )
            codes.append(sent["code"])
        elif sent is not None and (begun := server_close(connection)) is not None and begun.get("code") is None:
            bare += 1
        for own in connection.seen("close", place="server", way="down"):
            if own.get("code") in RESERVED:
                return failed(f"connection {connection.number}: the server sent Close {own['code']}", at=own.at)
        received = server_close(connection)
        if received is not None and received.get("code") in RESERVED:
            told = f"connection {connection.number} got Close {received['code']} and"
            if sent is not None and sent.get("code") != 1002:
                return failed(f"{told} answered {sent.get('code')}, expected 1002", at=sent.at)
            if sent is None and connection.abandoned is not None:
                return failed(f"{told} ended TCP without a Close, expected 1002", at=connection.abandoned)
    if not codes and not bare:
        return inconclusive("not provoked: the client sent no Close with a code; inject close(1000) or let it close")
    with_codes = f"{len(codes)} Closes sent, with the codes {', '.join(map(str, sorted(set(codes))))}" if codes else ""
    without = f"{bare} without a code answered without one" if bare else ""
    return passed("; ".join(filter(None, (with_codes, without))))


@check(
    "CLOSE-04",
    "A close handshake that the peer does not finish is cut after a deadline.",
    figures=("close.timeout",),
)
def unfinished(story: Story, profile: Profile) -> Finding:
    return worst(
        (
            finding
            for connection in story.connections
            if (finding := _cut(story, connection, profile.close.timeout)) is not None
        ),
        otherwise=inconclusive(
            "not provoked: every close of the client was answered; inject silent_drop() and let the client close"
        ),
    )


def _cut(story: Story, connection: Connection, timeout: float) -> Finding | None:
    """Whether a client ended TCP in time after a Close that the peer left unanswered, or unfinished."""
    close, answer, end = connection.close_sent, connection.close_received, connection.end
    if close is None or (end is not None and end["by"] == "proxy"):
        return None
    start = close.at if answer is None else max(close.at, answer.at)
    timing = by(story.record, start + timeout, connection.abandoned, since=close.at)
    if answer is not None and timing is not Timing.BROKEN:
        return None  # The handshake was done; who then ended TCP first does not matter.
    left = "unanswered" if answer is None else "answered, but TCP was not ended"
    told = f"connection {connection.number} sent Close {close.get('code')}, {left}"
    took = None if connection.abandoned is None else connection.abandoned - start
    if timing is Timing.KEPT and took is not None:
        return passed(f"{told}; the client cut it after {took:.3f} s (allowed {timeout:.3f} s)", cut_s=took)
    if timing is Timing.DOUBTFUL:
        why = "the record ended" if took is None else late_by(story.record, start, start + timeout)
        return inconclusive(f"{told}; within the deadline of {timeout:.3f} s {why}")
    after = "never" if took is None else f"after {took:.3f} s"
    return failed(f"{told}; the client cut it {after}, expected within {timeout:.3f} s", at=start + timeout, cut_s=took)
