"""BACKOFF: how long a client waits before each retry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from ..profile import Profile
from .rule import check
from .story import Client, Story
from .tolerance import GRACE, STANDSTILLS
from .verdict import Finding, failed, inconclusive, passed, unsupported, worst
from .waits import Wait, waits

_DELAYS = ("backoff.base", "backoff.factor", "backoff.cap", "jitter.shape", "jitter.low", "jitter.high")


def bounds(step: int, profile: Profile) -> tuple[float, float]:
    """Shortest and longest wait of a step, in seconds, without a bound that the server asks for."""
    backoff = profile.backoff
    if step == 1 and backoff.first_low is not None and backoff.first_high is not None:
        return backoff.first_low, backoff.first_high
    if profile.jitter.shape == "decorrelated":
        # Each wait depends on the one before; only the ends of the range are the same for all.
        return backoff.base, backoff.ceiling
    low, high = profile.jitter.bounds
    nominal = backoff.nominal(step)
    return low * nominal, high * nominal


def allowed(step: int, bound: float, profile: Profile) -> list[tuple[float, float]]:
    """The waits that are allowed: a drawn delay below the server's bound becomes bound + delay."""
    low, high = bounds(step, profile)
    if bound <= low:
        return [(low, high)]
    if bound > high:
        return [(bound + low, bound + high)]
    return [(bound, high), (bound + low, 2 * bound)]


def fits(wait: Wait, step: int, profile: Profile, *, lags: float = 0.0, bound: float = 0.0) -> bool:
    """Whether a wait may be one of ``step``; ``lags``: how many times the harness's lag is forgiven."""
    slack = lags * wait.lag
    return any(
        wait.high + wait.early + slack >= low and wait.low <= high + GRACE + slack
        for low, high in allowed(step, bound, profile)
    )


def counts_wrongly(found: Iterable[Wait], profile: Profile) -> bool:
    """Whether some wait is right only by another count of failures than the profile's."""
    return any(
        not wait.bound
        and not wait.doubtful
        and not fits(wait, wait.step, profile, lags=STANDSTILLS)
        and any(fits(wait, other, profile) for other in wait.others)
        for wait in found
    )


def counted(client: Client, profile: Profile) -> list[Wait]:
    """The waits whose step is certain.

    A client that counts failures wrongly (BACKOFF-03, CLOSE-01) is judged by the waits that are the same by every
    count: one mistake is to fail one rule.
    """
    found = [wait for wait in waits(client, profile) if not wait.doubtful]
    if not counts_wrongly(found, profile):
        return found
    return [w for w in found if all(bounds(other, profile) == bounds(w.step, profile) for other in w.others)]


def _retries(found: Sequence[Wait]) -> str:
    steps = sorted({wait.retry for wait in found})
    return f"{len(found)} wait{'s' if len(found) > 1 else ''} ({_span(steps[0], steps[-1])})"


def _span(first: int, last: int) -> str:
    return f"retry {first}" if first == last else f"retries {first} to {last}"


def _not_provoked(what: str) -> Finding:
    return inconclusive(f"not provoked: {what}")


@check(
    "BACKOFF-01", "The n-th consecutive retry waits min(cap, base * factor^(n-1)), times the jitter.", figures=_DELAYS
)
def nominal(story: Story, profile: Profile) -> Finding:
    found = [w for client in story.clients for w in counted(client, profile) if not w.bound]
    if not found:
        return _not_provoked("no retry whose number is certain was seen; inject refuse() and wait for some attempts")
    doubtful = []
    for wait in found:
        if fits(wait, wait.step, profile):
            continue
        low, high = bounds(wait.step, profile)
        told = f"{wait}, expected {low:.3f} to {high:.3f} s"
        if not fits(wait, wait.step, profile, lags=STANDSTILLS):
            return failed(told, at=wait.at, wait_s=wait.low, expected_s=(low, high))
        doubtful.append(f"{told}, but the harness was {wait.lag * 1000:.0f} ms late")
    if len(doubtful) == len(found):
        return inconclusive(doubtful[0])
    seen = [wait for wait in found if fits(wait, wait.step, profile)]
    longest = max(seen, key=lambda wait: wait.step)
    low, high = bounds(longest.step, profile)
    return passed(
        f"{_retries(seen)} within bounds; the last step: {longest}, expected {low:.3f} to {high:.3f} s",
        waits=len(seen),
        in_doubt=len(doubtful),
        waits_s=[round(wait.low, 4) for wait in seen[:40]],
    )


def runs_of_failures(found: Sequence[Wait]) -> Iterator[list[Wait]]:
    """The waits, cut into runs of consecutive failures."""
    run: list[Wait] = []
    for wait in found:
        if run and (wait.retry != run[-1].retry + 1 or wait.after.client != run[-1].after.client):
            yield run
            run = []
        run.append(wait)
    if run:
        yield run


@check(
    "BACKOFF-02",
    "Waits do not shrink on average while failures continue, and none is longer than the ceiling.",
    figures=(*_DELAYS, "backoff.ceiling"),
)
def growth(story: Story, profile: Profile) -> Finding:
    everything = [w for client in story.clients for w in waits(client, profile)]
    ceiling = profile.backoff.ceiling
    for wait in everything:
        if wait.low > ceiling + wait.bound + GRACE + STANDSTILLS * wait.lag:
            return failed(f"{wait}, expected {ceiling + wait.bound:.3f} s at most", at=wait.at, wait_s=wait.low)
    runs = [
        run
        for client in story.clients
        for run in runs_of_failures([w for w in counted(client, profile) if not w.bound])
        if len(run) >= 3
    ]
    if not runs:
        return _not_provoked("no 3 consecutive failures whose numbers are certain; inject refuse() for longer")
    longest = max(wait.low for wait in everything)
    kept = f"the longest wait was {longest:.3f} s (ceiling {ceiling:.3f} s)"
    if profile.jitter.shape == "decorrelated" or profile.backoff.factor == 1:
        return passed(f"{kept}; the profile declares no growth by steps", longest_s=longest)
    if profile.jitter.bounds[0] == 0:
        finding = _growth_on_average(runs, profile)
    else:
        nothing = inconclusive("no run of failures is long enough for growth to show; inject refuse() for longer")
        finding = worst((_growth_in(run, profile) for run in runs), otherwise=nothing)
    if finding.outcome != "PASS":
        return finding
    return passed(f"{finding.seen}; {kept}", longest_s=longest, runs=len(runs), **finding.measured)


def _growth_in(run: list[Wait], profile: Profile) -> Finding:
    """Growth by as much as the declared bounds guarantee, from the steps that cannot overlap the last one."""
    low, high = profile.jitter.bounds
    steps = [w for w in run if w.step > 1 or profile.backoff.first_high is None]
    top = max((w.nominal for w in steps), default=0.0)
    late = [w for w in steps if w.nominal == top]
    early = [w for w in steps if high * w.nominal < low * top]
    if not early:
        return inconclusive(f"{_retries(run)}: the declared delays of these steps overlap; inject refuse() for longer")
    least = low * top / (high * fmean(w.nominal for w in early))
    first, last = fmean(w.low for w in early), fmean(w.high for w in late)
    lag = max(w.lag for w in run)
    told = (
        f"{_span(early[0].retry, early[-1].retry)} waited {first:.3f} s on average, "
        f"{_span(late[0].retry, late[-1].retry)} {last:.3f} s"
    )
    # A client within the declared bounds is never blamed for lateness that spoils the ratio of short waits.
    shortest, tallest = low * top, high * fmean(w.nominal for w in early)
    if last >= least * first or (last + run[0].early >= shortest and first <= tallest + GRACE):
        return passed(told, early_s=first, late_s=last)
    if last + run[0].early + STANDSTILLS * lag >= shortest and first <= tallest + GRACE + STANDSTILLS * lag:
        return inconclusive(f"{told}, but the harness was {lag * 1000:.0f} ms late")
    return failed(f"{told}; expected {least:.2f} times as much at least", at=run[-1].at, early_s=first, late_s=last)


def _growth_on_average(runs: list[list[Wait]], profile: Profile) -> Finding:
    """Where single waits may be as short as 0: the mean over all runs, by Hoeffding's inequality."""
    alpha = profile.jitter.alpha
    low, high = profile.jitter.bounds
    grown = expected = spread = 0.0
    for run in runs:
        steps = [w for w in run if w.step > 1 or profile.backoff.first_high is None]
        half = len(steps) // 2
        for sign, part in ((-1, steps[:half]), (1, steps[-half:] if half else [])):
            for wait in part:
                grown += sign * wait.high / half
                expected += sign * wait.nominal * (low + high) / 2 / half
                spread += (wait.nominal * (high - low) / half) ** 2
    # Growth by half of what is declared tells it from none, both with this probability of error.
    error = math.exp(-2 * (expected / 2) ** 2 / spread) if expected > 0 and spread else 1.0
    told = (
        f"over {len(runs)} runs of failures the waits grew by {grown / len(runs):.3f} s, "
        f"declared {expected / len(runs):.3f} s"
    )
    if error > alpha:
        enough = math.ceil(len(runs) * math.log(alpha) / math.log(error)) if error < 1 else None
        return inconclusive(
            f"{told}: too few runs for waits that may be 0: {len(runs)}" + (f" of {enough}" if enough else "")
        )
    if grown < expected / 2:
        return failed(f"{told}; expected half of that at least", at=runs[-1][-1].at)
    return passed(told, grown_s=grown / len(runs))


@check(
    "BACKOFF-03",
    "The count of failures starts anew when a connection was ready for stable_after, and only then.",
    figures=("backoff.stable_after", *_DELAYS),
)
def reset(story: Story, profile: Profile) -> Finding:
    halves = [_reset_of(client, profile) for client in story.clients]
    findings = [finding for pair in halves for finding in pair if finding is not None]
    wrong = [finding for finding in findings if finding.outcome == "FAIL"]
    if wrong:
        return wrong[0]
    kept = [pair[0] for pair in halves if pair[0] is not None and pair[0].outcome == "PASS"]
    back = [pair[1] for pair in halves if pair[1] is not None and pair[1].outcome == "PASS"]
    if kept or (back and profile.backoff.stable_after == 0):
        seen = "; ".join(part[0].seen for part in (kept, back) if part)
        only = "" if back else "; a reset by a stable connection was not provoked"
        return passed(seen + only, short_lived=len(kept), stable=len(back))
    if findings:
        only = (
            "; a short-lived connection after 2 failures was not provoked: inject accept_then_close()" if back else ""
        )
        return inconclusive(findings[0].seen + only)
    return _not_provoked(
        "no connection opened and ended after 2 failures in a row or more; inject accept_then_close() for some attempts"
    )


def _reset_of(client: Client, profile: Profile) -> tuple[Finding | None, Finding | None]:
    """What one client did after short-lived connections, and after stable ones."""
    certain = [w for w in waits(client, profile) if not w.doubtful and not w.bound]
    short: list[Finding] = []
    stable: list[Finding] = []
    for wait in certain:
        # Which waits tell: those whose bounds by the right count and by the wrong one lie apart.
        first = 1 + wait.step - wait.retry  # the step that a count which started anew would be at
        wrong = [
            o
            for o in wait.others
            if (o <= first or o > wait.step) and o != wait.retry and _apart(o, wait.step, profile)
        ]
        if wait.before.opened is None or not wrong:
            continue
        if fits(wait, wait.step, profile):
            what = "a stable" if wait.reset else "a short-lived"
            (stable if wait.reset else short).append(
                passed(f"after {what} connection {wait.before.number}: {wait}, as declared for step {wait.step}")
            )
        elif _tells(wait, wrong, first, profile) and not fits(wait, wait.step, profile, lags=STANDSTILLS):
            (stable if wait.reset else short).append(_wrong_count(wait, profile))
    if any(finding.outcome == "FAIL" for finding in short) and _never_grows(certain, profile):
        return inconclusive("the waits of this client never grow, so a reset cannot be told"), None
    if any(finding.outcome == "FAIL" for finding in short) and _early_from_the_first(certain, profile):
        return inconclusive("the waits of this client are too short from the first, so a reset cannot be told"), None
    return _last(short), _last(stable)


def _tells(wait: Wait, wrong: Iterable[int], first: int, profile: Profile) -> bool:
    """Whether a wait is that of a wrong count; no wait at all is that of one which starts anew before the first."""
    if any(fits(wait, other, profile) for other in wrong):
        return True
    return first in wrong and wait.high + wait.early < bounds(1, profile)[0]


def _last(findings: list[Finding]) -> Finding | None:
    return next((f for f in findings if f.outcome == "FAIL"), findings[-1] if findings else None)


def _wrong_count(wait: Wait, profile: Profile) -> Finding:
    low, high = bounds(wait.step, profile)
    held = wait.before.signs[0] - wait.before.ready if wait.before.ready is not None else None
    lasted = "was never ready" if held is None else f"was ready for {held:.3f} s"
    done = "started anew" if wait.high < low else "had not started anew"
    return failed(
        f"connection {wait.before.number} {lasted} and the count {done}: {wait}, "
        f"expected {low:.3f} to {high:.3f} s (stable_after {profile.backoff.stable_after:g} s)",
        at=wait.at,
        wait_s=wait.low,
    )


def _apart(a: int, b: int, profile: Profile) -> bool:
    (_, highest), (lowest, _) = sorted((bounds(a, profile), bounds(b, profile)))
    return highest + GRACE < lowest


def _never_grows(found: Iterable[Wait], profile: Profile) -> bool:
    """Whether waits that are late ones by every count are as short as the first."""
    return any(
        not wait.others and wait.step >= 3 and not fits(wait, wait.step, profile) and fits(wait, 1, profile)
        for wait in found
    )


def _early_from_the_first(found: Iterable[Wait], profile: Profile) -> bool:
    """Whether a wait that is the first one by every count is too short even for that."""
    return any(
        not wait.others and wait.high + wait.early + STANDSTILLS * wait.lag < bounds(wait.step, profile)[0]
        for wait in found
    )


@check("BACKOFF-04", "No retry comes before its delay, the first one neither.", figures=_DELAYS)
def not_early(story: Story, profile: Profile) -> Finding:
    found = [w for client in story.clients for w in counted(client, profile)]
    if not found:
        return _not_provoked("no retry whose number is certain was seen; inject refuse() and wait for some attempts")
    kept: list[Wait] = []
    doubtful = None
    for wait in found:
        low, _ = bounds(wait.step, profile)
        missing = low - wait.high - wait.early
        told = f"{wait}, expected {low:.3f} s at least"
        if missing > STANDSTILLS * wait.lag:
            return failed(told, at=wait.at, wait_s=wait.high, expected_s=low)
        if missing > 0:
            doubtful = inconclusive(f"{told}, but the harness was {wait.lag * 1000:.0f} ms late")
        else:
            kept.append(wait)
    if doubtful is not None and not kept:
        return doubtful
    if profile.jitter.bounds[0] > 0 or profile.jitter.shape == "decorrelated":
        shortest = min(kept, key=lambda wait: wait.high)
        return passed(f"{_retries(kept)}, none early; the shortest: {shortest}", waits=len(kept))
    return _too_many(kept, profile)


def _too_many(found: list[Wait], profile: Profile) -> Finding:
    """Where a single wait may be 0: whether the schedule allows so many attempts in so short a time.

    m waits, each drawn from [0, d], add up to s or less with a probability of s^m / (m! d1 d2 ...) at most.
    """
    runs = list(
        runs_of_failures([w for w in found if not w.bound and (w.step > 1 or profile.backoff.first_high is None)])
    )
    windows = sum(len(run) * (len(run) + 1) // 2 for run in runs)
    for run in runs:
        for start in range(len(run)):
            total = chance = 0.0
            for count, wait in enumerate(run[start:], 1):
                total += wait.high + wait.early + STANDSTILLS * wait.lag
                chance += -math.log(count) - math.log(wait.nominal * profile.jitter.bounds[1] or math.inf)
                if chance + count * math.log(total) < math.log(profile.jitter.alpha / windows):
                    return failed(
                        f"{count} retries in a row ({run[start].retry} to {wait.retry}) waited {total:.3f} s "
                        f"altogether; the declared delays allow that with a probability below {profile.jitter.alpha:g}",
                        at=wait.at,
                        attempts=count,
                        window_s=total,
                    )
    enough = max((len(run) for run in runs), default=0) >= 3
    if not enough:
        return inconclusive(
            f"{_retries(found)}: a declared delay may be 0, so 3 failures in a row are needed; inject refuse()"
        )
    return passed(f"{_retries(found)}, no more attempts in any window than the schedule allows", waits=len(found))


@check(
    "BACKOFF-05",
    "A Retry-After, or the retry_after of a farewell, is a lower bound to which a shorter delay is added.",
    figures=("backoff.honour_retry_after", *_DELAYS, "backoff.ceiling"),
    level="SHOULD",
)
def lower_bound(story: Story, profile: Profile) -> Finding:
    if not profile.backoff.honour_retry_after:
        return unsupported("the profile declares that Retry-After is not honoured (backoff.honour_retry_after)")
    found = [w for client in story.clients for w in waits(client, profile) if w.bound]
    if not found:
        return _not_provoked("no server asked for a delay; inject reject_handshake(503, retry_after=...)")
    return worst((_kept_bound(wait, profile) for wait in found), otherwise=_not_provoked(""))


def _kept_bound(wait: Wait, profile: Profile) -> Finding:
    told = f"asked for {wait.bound:.3f} s: {wait}"
    # A farewell comes before the end, and some count from it.
    since = max(wait.high, wait.at - wait.asked_at if wait.asked_at is not None else 0.0)
    missing = wait.bound - since - wait.early
    if missing > STANDSTILLS * wait.lag:
        return failed(f"{told}, {missing:.3f} s too early", at=wait.at, wait_s=wait.high, bound_s=wait.bound)
    ranges = " or ".join(f"{low:.3f} to {high:.3f} s" for low, high in allowed(wait.step, wait.bound, profile))
    if wait.doubtful:
        return inconclusive(f"{told}; the bound was kept, but which retry it was is too close to call")
    if missing > 0 or not fits(wait, wait.step, profile, bound=wait.bound):
        counted_from_farewell = since > wait.high and since >= wait.bound
        if missing > 0 or fits(wait, wait.step, profile, lags=STANDSTILLS, bound=wait.bound) or counted_from_farewell:
            return inconclusive(f"{told}, expected {ranges}, but the harness was {wait.lag * 1000:.0f} ms late")
        return failed(f"{told}, expected {ranges}", at=wait.at, wait_s=wait.high, bound_s=wait.bound)
    return passed(f"{told}, expected {ranges}", wait_s=wait.low, bound_s=wait.bound)
