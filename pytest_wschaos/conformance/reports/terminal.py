"""The report that people read first: plain text, 80 columns, no colour."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from ...checks.verdict import Outcome
from ..suite.answer import answer, evidence, said
from ..suite.closing import Closing
from ..suite.result import Result
from .report import Report

WIDTH = 79
VERDICTS = {
    Outcome.PASS: "PASS",
    Outcome.NON_STRICT: "NON-STRICT",
    Outcome.FAIL: "FAIL",
    Outcome.INCONCLUSIVE: "INCONCL.",
    Outcome.UNSUPPORTED: "UNSUPP.",
}
CLOSES = {Closing.OK: "OK", Closing.UNCLEAN: "UNCLEAN", Closing.WRONG_CODE: "WRONG CODE"}


def text(report: Report, may_fail: Callable[[Result], bool] = lambda result: False) -> str:
    """The table by area, then each verdict that is not PASS, with what it rests on.

    Args:
        may_fail: whether a FAIL is known already.
    """
    if len(report.results) == 1 and report.results[0].outcome is not Outcome.PASS:
        return answer(report.results[0])
    parts = [_head(report), "", *_table(report.results), ""]
    for result in report.results:
        if result.outcome is Outcome.FAIL and not may_fail(result):
            parts += _broken(result)
    if known := [result.case.id for result in report.results if may_fail(result)]:
        parts += [*_wrapped(f"known to fail: {', '.join(known)}"), ""]
    parts += _reasons(report.results, Outcome.NON_STRICT)
    parts += _reasons(report.results, Outcome.INCONCLUSIVE)
    parts += _reasons(report.results, Outcome.UNSUPPORTED)
    parts.append(_last(report))
    return "\n".join(parts)


def _head(report: Report) -> str:
    how = f"clock {report.clock}, scale {report.scale:g}, engine {report.engine}, seed {report.seed}"
    return "\n".join([*_wrapped(f"subject: {report.subject}"), how])


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield f"{'':11} {'verdict':<45}close"
    heads = [*VERDICTS.values(), *CLOSES.values()]
    widths = [len(name) + 2 for name in heads]
    yield f"{'area':11}" + "".join(f"{name:>{width}}" for name, width in zip(heads, widths, strict=True))
    areas: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        areas[result.case.area.upper()].append(result)
    for area, here in [*areas.items(), ("all", list(results))]:
        counts = [sum(result.outcome is outcome for result in here) for outcome in VERDICTS]
        counts += [sum(result.closing is closing for result in here) for closing in CLOSES]
        yield f"{area:11}" + "".join(f"{n or '.':>{width}}" for n, width in zip(counts, widths, strict=True))


def _broken(result: Result) -> Iterator[str]:
    _, *rest = evidence(result, WIDTH)
    yield f"{result.case.id} {result.outcome}"
    yield from rest[:-1]
    if result.repeat:
        yield f"  again:    {result.repeat}"
    yield ""
    yield from said(result, lines=8)


def _reasons(results: Sequence[Result], outcome: Outcome) -> Iterator[str]:
    """The cases of one verdict, by reason."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result.outcome is outcome:
            reasons[result.verdict.seen].append(result.case.id)
    for reason, ids in reasons.items():
        yield from _wrapped(f"{outcome}: {reason}")
        yield from _wrapped(", ".join(ids), first="  ")
        yield ""


def _wrapped(text: str, first: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent="  ", break_on_hyphens=False)


def _last(report: Report) -> str:
    counts = ", ".join(f"{number} {outcome}" for outcome, number in report.summary.items()) or "nothing was played"
    longest = max((result.duration for result in report.results), default=0.0)
    return f"{counts} in {report.duration:.1f} s (the longest case: {longest:.1f} s)"
