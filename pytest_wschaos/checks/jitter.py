"""JITTER: how a client's waits are spread.

An observed wait is the true one plus a latency that is known only as a range, so each sample is an interval
of ``wait / nominal``. The statistics say what holds wherever in its interval each sample lies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from statistics import fmean

from ..profile import Profile
from .backoff import bounds, counted
from .distribution import (
    Distribution,
    Sample,
    at_least,
    band,
    binomial_bound,
    blur,
    constant_probability,
    deviation,
    most_within,
    needed,
)
from .ending import FINAL, reaction
from .rule import check
from .runs_test import RunsTest, sides
from .story import Client, Fault, Story
from .tolerance import GRACE, STAMP_DELAY
from .verdict import Finding, failed, inconclusive, passed, unsupported, worst
from .waits import Course, Wait, longest_wait

_FIGURES = ("jitter.shape", "jitter.low", "jitter.high", "jitter.alpha", "backoff.base", "backoff.cap")
_USELESS = 0.25
"""Where the waits of a step are blurred by more than this share of the nominal one, on average, it is left out."""
_CONSTANT = 0.2
"""Draws that lie within this share of the declared spread may be one draw, repeated."""
_ALIKE = 0.01
"""Draws that lie within this share of the declared spread of each other may be the same."""
MOST_PAIRS = 20_000
"""Pairs of clients, or of rows, that are compared."""
TESTS = 5
"""Tests that make up the verdict on JITTER-02; each has its share of the error rate."""
_PILE_UP = 0.1
"""Share of the error rate of JITTER-03 that goes to delays on one value; the shape of each step has the rest."""
_NARROW = (0.01, 0.04, 0.16)
"""How wide a value may be, as shares of the declared spread: blurred draws of one value lie further apart."""
_HERD_FAULTS = ("abort", "disconnect", "close", "refuse")


@dataclass(frozen=True, slots=True)
class Draw:
    """One drawn delay, as a factor on its nominal delay."""

    wait: Wait
    factor: Sample

    @property
    def client(self) -> str:
        return self.wait.after.client

    @property
    def step(self) -> int:
        return self.wait.step


def true_wait(wait: Wait) -> Sample:
    """Between which bounds the client's own wait lay, in seconds."""
    return Sample(max(0.0, wait.low - STAMP_DELAY - wait.lag), wait.high + STAMP_DELAY)


def _fair(story: Story, profile: Profile) -> list[Wait]:
    """The waits whose steps are certain, without those that were seen only because they were short.

    Where the record ends while clients still wait, the waits that have ended are the shorter ones: only those count
    that began so early that they would be over whatever was drawn.
    """
    found = [wait for client in story.clients for wait in counted(client, profile)]
    if not any(_still_waits(story, client, profile) for client in story.clients):
        return found
    until = story.record.until - GRACE
    return [w for w in found if w.at - w.low + w.bound + bounds(w.step, profile)[1] <= until]


def _still_waits(story: Story, client: Client, profile: Profile) -> bool:
    """Whether a client may be about to come back when the record ends."""
    last = client.connections[-1] if client.connections else None
    if last is None or not last.signs or reaction(last, profile) in FINAL:
        return False
    due = last.signs[-1] + longest_wait(last, profile) + GRACE
    return due > story.record.until and not Course(client, profile).spent(last)


def draws(story: Story, profile: Profile) -> tuple[list[Draw], int]:
    """All usable draws, and how many were left out: blurred by latency, or narrowed by the ceiling.

    Whole steps are left out, never single draws for what became of them: whoever drops the waits that ended in a
    busy moment keeps those that did not, and these are no fair sample. A draw that the harness blurred stays, as
    wide as its blur.
    """
    steps: dict[float, list[Draw]] = {}
    left_out = 0
    for wait in _fair(story, profile):
        drawn_otherwise = wait.step == 1 and profile.backoff.first_high is not None
        if wait.bound or not wait.nominal or drawn_otherwise:
            continue
        # Under a ceiling below cap x high the range is narrowed, and the declared shape holds no longer.
        if profile.jitter.bounds[1] * wait.nominal > profile.backoff.ceiling * (1 + 1e-9):
            left_out += 1
            continue
        seconds = true_wait(wait)
        draw = Draw(wait, Sample(seconds.low / wait.nominal, seconds.high / wait.nominal))
        steps.setdefault(wait.nominal, []).append(draw)
    found: list[Draw] = []
    for step in steps.values():
        if fmean(draw.factor.high - draw.factor.low for draw in step) > _USELESS:
            left_out += len(step)
        else:
            found += step
    return found, left_out


def alternatives(declared: Distribution) -> dict[str, float]:
    """How far each thing that a client may do instead is from what it declares; those that do not differ left out."""
    others = {
        "no jitter": Distribution(1, 1),
        "clamped at the cap": Distribution(declared.low, declared.high, clamp=1),
        "full": Distribution(0, 1),
        "equal": Distribution(0.5, 1),
    }
    distances = {name: declared.distance(other) for name, other in others.items()}
    # One value, whichever: the declared function at the value is 1/2 away from 0 or from 1, or more.
    distances["one draw per process"] = 0.5
    return {name: distance for name, distance in distances.items() if distance > 1e-9}


def _without_spread(profile: Profile) -> Finding | None:
    low, high = profile.jitter.bounds
    if low == high:
        return unsupported("the profile declares no jitter (jitter.shape)")
    if profile.jitter.shape == "decorrelated":
        return unsupported("decorrelated jitter depends on the wait before: only the bounds of BACKOFF judge it")
    return None


def _at_cap(draw: Draw, profile: Profile) -> bool:
    return draw.wait.nominal >= profile.backoff.cap


def _fit(
    found: Sequence[Draw],
    what: str,
    declared: Distribution,
    rivals: Mapping[str, float],
    alpha: float,
    profile: Profile,
) -> Finding:
    """Judge draws against the declared shape; the error rate of a FAIL is ``alpha``, that of a PASS the profile's."""
    n = len(found)
    if not n:
        least = needed(min(rivals.values()), alpha, profile.jitter.alpha)
        return inconclusive(f"{what}: 0 of {least} samples; inject refuse(), with several clients", needed=least)
    samples = [draw.factor for draw in found]
    off, allowed, vague = deviation(samples, declared), band(n, alpha), blur(samples, declared)
    measured = {"samples": n, "deviation": round(off, 4), "band": round(allowed, 4), "latency": round(vague, 4)}
    shape = f"{profile.jitter.shape}({declared.low:g}, {declared.high:g})"
    told = f"{what}: {n} samples differ from {shape} by {off:.3f}, allowed {allowed:.3f}"
    if off > allowed:
        return failed(f"{told}; factors from {_range(samples)}", at=found[-1].wait.at, **measured)
    nearest = min(rivals, key=lambda name: rivals[name])
    enough = needed(rivals[nearest] - vague, alpha, profile.jitter.alpha)
    if enough is None:
        return inconclusive(f"{what}: latencies blur the {n} samples too much to tell {nearest!r}", **measured)
    measured["needed"] = enough
    if n < enough:
        return inconclusive(f"{what}: {n} of {enough} samples that it takes to rule out {nearest!r}", **measured)
    return passed(told, **measured)


def _range(samples: Iterable[Sample]) -> str:
    middles = [sample.middle for sample in samples]
    return f"{min(middles):.3f} to {max(middles):.3f}"


def _judge(
    story: Story, profile: Profile, parts: Callable[[list[Draw], Distribution], Mapping[str, Finding]]
) -> Finding:
    """Combine the parts of a verdict: a FAIL of any, else what is not known of any, else a PASS of all."""
    if (nothing := _without_spread(profile)) is not None:
        return nothing
    declared = Distribution(*profile.jitter.bounds)
    found, left_out = draws(story, profile)
    findings = parts(found, declared)
    order = {"FAIL": 0, "INCONCLUSIVE": 1}
    first = min(findings.values(), key=lambda finding: order.get(finding.outcome, 2))
    said = "; ".join(f.seen for f in findings.values() if f.outcome == first.outcome)
    blurred = f" ({left_out} samples left out: blurred by latency, or under the ceiling)" if left_out else ""
    measured = {name: dict(finding.measured) for name, finding in findings.items()}
    measured["distances"] = {name: round(distance, 4) for name, distance in alternatives(declared).items()}
    measured["left_out"] = {"samples": left_out}
    return Finding(first.outcome, said + blurred, measured, first.at)


@check(
    "JITTER-01",
    "The delay is the nominal one times a draw from the declared shape, not clamped again.",
    figures=_FIGURES,
)
def shape(story: Story, profile: Profile) -> Finding:
    def parts(found: list[Draw], declared: Distribution) -> dict[str, Finding]:
        rivals = alternatives(declared)
        clamped = {name: rivals.pop(name) for name in ("clamped at the cap",) if name in rivals}
        half = profile.jitter.alpha / (2 if clamped else 1)
        findings = {"all": _fit(found, "all waits", declared, rivals, half, profile)}
        if clamped:
            at_cap = [draw for draw in found if _at_cap(draw, profile)]
            findings["at the cap"] = _fit(at_cap, "at the cap", declared, clamped, half, profile)
        return findings

    return _judge(story, profile, parts)


@check("JITTER-03", "The spread holds at every step, at the cap too: delays do not pile up.", figures=_FIGURES)
def spread(story: Story, profile: Profile) -> Finding:
    def parts(found: list[Draw], declared: Distribution) -> dict[str, Finding]:
        half = profile.jitter.alpha / 2
        at_cap = [draw for draw in found if _at_cap(draw, profile)]
        findings = {"at the cap": _spread_of(at_cap, "at the cap", declared, half, profile)}
        others = sorted({draw.step for draw in found if not _at_cap(draw, profile)})
        for step in others:
            at_step = [draw for draw in found if draw.step == step and not _at_cap(draw, profile)]
            finding = _spread_of(at_step, f"at step {step}", declared, half / len(others), profile)
            # The cap decides whether there is enough; any other step can only break the rule.
            if finding.outcome != "INCONCLUSIVE":
                findings[f"step {step}"] = finding
        return findings

    return _judge(story, profile, parts)


def _spread_of(found: Sequence[Draw], what: str, declared: Distribution, alpha: float, profile: Profile) -> Finding:
    """Judge the draws of one step by their shape, and by whether too many are one value: a shape hides a few."""
    finding = _fit(found, what, declared, alternatives(declared), (1 - _PILE_UP) * alpha, profile)
    if finding.outcome == "FAIL":
        return finding
    return _piled_up(found, what, declared, _PILE_UP * alpha) or finding


def _piled_up(found: Sequence[Draw], what: str, declared: Distribution, alpha: float) -> Finding | None:
    """Whether more draws lie on one value than fresh ones do.

    Of n fresh draws, k lie within a stretch only if k - 1 of the n - 1 others lie within one that begins at one of
    them: by a binomial tail for each of the n.
    """
    n, width = len(found), declared.high - declared.low
    samples = [draw.factor for draw in found]
    # A client that stood still for the grace wakes with all that was due meanwhile.
    late = max((GRACE / draw.wait.nominal for draw in found), default=0.0)
    for share in _NARROW:
        most = most_within(samples, share * width)
        chance = at_least(most - 1, n - 1, share + late / width)
        if n and n * chance <= alpha / len(_NARROW):
            return failed(
                f"{what}: {most} of {n} delays lie within {share * width:.3f} times the nominal one; so many fresh "
                f"draws pile up with a probability of {n * chance:.1g}",
                at=found[-1].wait.at,
                samples=n,
                piled_up=most,
            )
    return None


@check("JITTER-02", "Each delay is drawn anew, for every retry and for every client.", figures=_FIGURES)
def independence(story: Story, profile: Profile) -> Finding:
    def parts(found: list[Draw], declared: Distribution) -> dict[str, Finding]:
        findings = {"along a client": _along(found, declared, profile)}
        if (copied := _copied(found, declared, profile)) is not None:
            findings["rows"] = copied
        if len({draw.client for draw in found}) > 1:
            return {**findings, "between clients": _between(found, declared, profile)}
        alone = inconclusive("one client only says nothing of a correlation between clients; give others a url_for()")
        return {**findings, "between clients": alone}

    return _judge(story, profile, parts)


def _along(found: Sequence[Draw], declared: Distribution, profile: Profile) -> Finding:
    """Whether a client's draws are fresh along its retries. Two tests of five, each at a fifth of the error rate."""
    what, alpha = "along each client's retries", profile.jitter.alpha / TESTS
    clients = _grouped(found, lambda draw: draw.client)
    if (repeated := _repeated(clients, what, declared, alpha)) is not None:
        return repeated
    rows = [{draw.step: draw for draw in run} for run in _rows(found)]
    if len(rows) == 1:
        # One row has no other client's draws to compare its own with: its order alone tells.
        test = RunsTest.between([sides([draw.factor.middle for draw in rows[0].values()])])
        able = next(n for n in range(2, 1000) if RunsTest.between([[i < n // 2 for i in range(n)]]).rejects(alpha))
        return _by_runs(test, what, len(found), len(found) >= able, f"{len(found)} of {able} samples", alpha)
    columns: list[dict[str, bool]] = []
    for step in sorted({draw.step for draw in found}):
        here = [(str(number), row[step].factor.middle) for number, row in enumerate(rows) if step in row]
        columns.append(dict(zip([number for number, _ in here], sides([value for _, value in here]), strict=True)))
    test = RunsTest.along(columns)
    # A draw repeated along each row hardly ever changes sides: a tenth of the time, if latency blurs it.
    same = RunsTest(int(0.1 * max(test.chances)), test.chances)
    return _by_runs(test, what, len(found), same.rejects(alpha), f"{len(found)} samples are too few", alpha)


def _between(found: Sequence[Draw], declared: Distribution, profile: Profile) -> Finding:
    """Whether clients draw differently at the same step: the other two tests."""
    what, alpha = "between clients at the same step", profile.jitter.alpha / TESTS
    steps = _grouped(found, lambda draw: draw.step)
    if (repeated := _repeated(steps, what, declared, alpha)) is not None:
        return repeated
    test = RunsTest.between([sides([draw.factor.middle for draw in members]) for members in steps])
    alike = [members for members in steps if len(members) > 1]
    able = any(_would_notice(members, declared, alpha / len(alike)) for members in alike)
    most = max(map(len, steps))
    return _by_runs(test, what, len(found), able, f"{most} draws at one step are too few", alpha)


def _copied(found: Sequence[Draw], declared: Distribution, profile: Profile) -> Finding | None:
    """Whether two rows of failures hold the same draws, step by step, as those of equally seeded generators do.

    Rows of one client are compared with each other, and those of two clients in their order, all taken together.
    Two fresh draws lie within t of each other, of a spread w, with a probability of 1 - (1 - t/w)^2.
    """
    pairs = list(islice(_couples(_grouped_rows(_inside(found, declared))), MOST_PAIRS))
    width = declared.high - declared.low
    for one, other in pairs:
        steps = _in_step(one, other)
        if not steps:
            continue
        within = [_blurred(both, width) for both in steps]
        same = sum(abs(a.factor.middle - b.factor.middle) <= far for far, (a, b) in zip(within, steps, strict=True))
        chance = _agreement(same, within, width)
        if chance <= profile.jitter.alpha / TESTS / len(pairs):
            first, second = steps[0]
            whose = f"of client {second.client}" if second.client != first.client else "of another row of its own"
            return failed(
                f"{same} of {len(steps)} draws of client {first.client} are those {whose}, step by step, to within "
                f"{max(within):.3f}; fresh draws agree so often with a probability of {chance:.1g}",
                at=second.wait.at,
                draws=len(steps),
                same=same,
            )
    return None


def _in_step(one: Rows, other: Rows) -> list[tuple[Draw, Draw]]:
    """The draws of two that belong together: of their rows in order, those of one step."""
    return [(a[step], b[step]) for a, b in zip(one, other, strict=False) for step in sorted(a.keys() & b.keys())]


def _blurred(both: tuple[Draw, Draw], width: float) -> float:
    """How far two draws that are the same may seem to lie apart, as a factor."""
    return max(_ALIKE * width, sum(draw.factor.high - draw.factor.low for draw in both))


def _agreement(same: int, within: Sequence[float], width: float) -> float:
    """The probability that of fresh draws so many agree, or more; each to within its own blur."""
    numbers = [1.0]  # how many agree, with the probability of each number
    for far in within:
        chance = 1 - (1 - min(1.0, far / width)) ** 2
        numbers = [a * (1 - chance) + b * chance for a, b in zip([*numbers, 0.0], [0.0, *numbers], strict=True)]
    return math.fsum(numbers[same:])


def twins(story: Story, profile: Profile) -> Finding:
    """Whether two clients draw alike, as those of equally seeded processes do: JITTER-02 with only two of them.

    Their draws are compared step by step. The other tests of JITTER-02 need more clients.
    """
    if (nothing := _without_spread(profile)) is not None:
        return nothing
    declared = Distribution(*profile.jitter.bounds)
    found, _ = draws(story, profile)
    if (copied := _copied(found, declared, profile)) is not None:
        return copied
    width = declared.high - declared.low
    pairs = [_in_step(one, other) for one, other in combinations(_grouped_rows(found), 2)]
    steps = max(pairs, key=len, default=[])
    least = _agreement(len(steps), [_blurred(both, width) for both in steps], width)
    if least > profile.jitter.alpha / TESTS / max(1, len(pairs)):
        return inconclusive(f"{len(steps)} draws of two clients at the same steps are too few to tell repeated ones")
    nearest = min(abs(a.factor.middle - b.factor.middle) for a, b in steps)
    return passed(
        f"{len(steps)} draws of two clients, step by step, are not the same; the nearest lie {nearest:.3f} times the "
        "nominal delay apart",
        draws=len(steps),
    )


def _grouped_rows(found: Sequence[Draw]) -> list[Rows]:
    """Each client's rows of failures, by step."""
    rows: dict[str, list[Mapping[int, Draw]]] = {}
    for run in _rows(found):
        rows.setdefault(run[0].client, []).append({draw.step: draw for draw in run})
    return list(rows.values())


Rows = Sequence[Mapping[int, Draw]]


def _couples(clients: Sequence[Rows]) -> Iterator[tuple[Rows, Rows]]:
    """What is compared: each two clients, and each two rows of one."""
    yield from combinations(clients, 2)
    for rows in clients:
        yield from (([one], [other]) for one, other in combinations(rows, 2))


def _grouped(found: Iterable[Draw], key: Callable[[Draw], str | int]) -> list[list[Draw]]:
    groups: dict[str | int, list[Draw]] = {}
    for draw in found:
        groups.setdefault(key(draw), []).append(draw)
    return list(groups.values())


def _rows(found: Iterable[Draw]) -> Iterator[list[Draw]]:
    """The draws of each client's rows of failures."""
    row: list[Draw] = []
    for draw in found:
        if row and (draw.client != row[-1].client or draw.step <= row[-1].step):
            yield row
            row = []
        row.append(draw)
    if row:
        yield row


def _inside(group: Iterable[Draw], declared: Distribution) -> list[Draw]:
    """What lies outside the declared range is no draw from it at all: JITTER-01 judges that."""
    return [d for d in group if d.factor.low <= declared.high and d.factor.high >= declared.low]


def _repeated(groups: Iterable[Sequence[Draw]], what: str, declared: Distribution, alpha: float) -> Finding | None:
    """A group whose draws lie too closely together to be fresh ones."""
    alike = [members for members in (_inside(group, declared) for group in groups) if len(members) > 1]
    for members in alike:
        samples = [draw.factor for draw in members]
        spread = max(s.high for s in samples) - min(s.low for s in samples)
        chance = constant_probability(samples, declared)
        if chance <= alpha / len(alike) and spread <= _CONSTANT * (declared.high - declared.low):
            return failed(
                f"{what}: {len(members)} draws lie between {_range(samples)} times the nominal delay; "
                f"fresh draws lie so closely with a probability of {chance:.1g}",
                at=members[-1].wait.at,
                draws=len(members),
            )
    return None


def _by_runs(test: RunsTest, what: str, samples: int, able: bool, too_few: str, alpha: float) -> Finding:
    least, most = test.limits(alpha)
    told = f"{what}: {test.runs} changes of side in {samples} draws, expected {least} to {most} (runs test)"
    measured = {"samples": samples, "runs": test.runs, "least": least, "most": most}
    if test.rejects(alpha):
        return failed(told, **measured)
    if not able:
        return inconclusive(f"{what}: {too_few} to tell repeated draws", **measured)
    return passed(told, **measured)


def _would_notice(members: Sequence[Draw], declared: Distribution, alpha: float) -> bool:
    """Whether repetitions of one draw would be told from fresh ones, given how well these are known."""
    widest = max(draw.factor.high - draw.factor.low for draw in members)
    # Intervals that share a value lie within twice the widest.
    same = [Sample(declared.low, declared.low + 2 * widest)] * len(members)
    return 2 * widest <= _CONSTANT * (declared.high - declared.low) and constant_probability(same, declared) <= alpha


@check(
    "JITTER-04",
    "When many clients lose their links at one instant, no window sees more of them return than the shape predicts.",
    figures=_FIGURES,
)
def herd(story: Story, profile: Profile) -> Finding:
    if (nothing := _without_spread(profile)) is not None:
        return nothing
    found = [wait for wait in _fair(story, profile) if not wait.bound]
    herds = [members for fault in story.injected(*_HERD_FAULTS) for members in _herds(fault, found, profile)]
    return worst(
        (_arrivals(members, profile, profile.jitter.alpha / len(herds)) for members in herds),
        otherwise=inconclusive(
            "not provoked: no two clients lost their links by one fault at once and had the time to come back; inject "
            "abort() with many clients, and wait for them"
        ),
    )


def _herds(fault: Fault, found: Iterable[Wait], profile: Profile) -> list[list[Wait]]:
    """The clients that lost an open link by a fault, at one instant; those that draw from one range together."""
    within = max(0.1 * profile.backoff.base, GRACE)
    hit = [
        w
        for w in found
        if w.before.opened is not None
        and w.before.opened <= fault.start
        and fault.start - STAMP_DELAY <= w.before.signs[0] <= fault.start + within
    ]
    ranges: dict[tuple[float, float], list[Wait]] = {}
    for wait in hit:
        ranges.setdefault(bounds(wait.step, profile), []).append(wait)
    return [members for members in ranges.values() if len(members) > 1]


def _arrivals(members: Sequence[Wait], profile: Profile, alpha: float) -> Finding:
    """Count the arrivals in windows of several widths; every window that may hold one lies in one of a grid."""
    low, high = bounds(members[0].step, profile)
    n, span = len(members), high - low
    if not span:
        return unsupported("the profile declares no spread of these delays")
    latency = max(seconds.high - seconds.low for seconds in map(true_wait, members))
    ends = [w.before.signs[0] for w in members]
    arrivals = sorted(w.after.attempt for w in members)
    apart = max(ends) - min(ends)
    widths = [span * share for share in (0.05, 0.1, 0.2, 0.4)]
    fewest: list[int] = []
    told = []
    for width in widths:
        # Any window lies within a window 5/4 as wide that starts on a grid of quarters.
        cells = math.ceil((span + apart + latency) / (width / 4)) + 5
        share = alpha / (len(widths) * cells)
        chance = min(1.0, (1.25 * width + latency) / span)
        most = binomial_bound(n, chance, share)
        seen = max(sum(start <= at <= start + width for at in arrivals) for start in arrivals)
        told.append(f"{seen} in {width:.3f} s (at most {most})")
        if seen > most:
            return failed(
                f"{n} clients lost their links within {apart:.3f} s; {seen} of them came back within {width:.3f} s, "
                f"expected {most} at most",
                at=arrivals[0],
                clients=n,
                window_s=width,
                arrivals=seen,
                allowed=most,
            )
        if width >= apart + latency and chance < 1:
            fewest.append(math.ceil(math.log(share) / math.log(chance)))
    if not fewest:
        return inconclusive(f"{n} clients: their ends lie {apart:.3f} s apart, too far for these delays", clients=n)
    if n < min(fewest):
        return inconclusive(f"{n} of {min(fewest)} clients that it takes to tell a herd", clients=n, needed=min(fewest))
    return passed(f"{n} clients lost their links within {apart:.3f} s; back at once were {', '.join(told)}", clients=n)
