"""What a failing rule says: the verdict, the figures, what happened, and how to see it again."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from .checks.rule import describe
from .checks.verdict import Outcome, Verdict
from .swimlane import draw
from .timeline import Record

WIDTH = 110
NAMED = 4
"""Broken rules that are named in the first line."""


def explain(broken: Sequence[Verdict], verdicts: Sequence[Verdict], record: Record, repeat: str = "") -> str:
    """The text of a failed assertion about rules."""
    parts = [f"{len(broken)} of {len(verdicts)} rules did not hold: {_named(broken)}", ""]
    parts += [verdict_text(verdict) for verdict in broken]
    others = [verdict for verdict in verdicts if verdict not in broken]
    if others:
        parts += [f"the others: {summary(others)}", ""]
    decisive = next((v.at for v in broken if v.outcome is Outcome.FAIL and v.at is not None), None)
    parts += [timeline_text(record, decisive, repeat)]
    return "\n".join(parts)


def _named(broken: Sequence[Verdict]) -> str:
    """The broken rules in one line, for pytest's summary."""
    first = ", ".join(f"{verdict.rule} {verdict.outcome}" for verdict in broken[:NAMED])
    return first if len(broken) <= NAMED else f"{first}, and {len(broken) - NAMED} more"


def verdict_text(verdict: Verdict, width: int = WIDTH) -> str:
    """One verdict: what was expected, what was seen, with the numbers."""
    lines = [f"{verdict.rule} {verdict.outcome}"]
    lines += [*item("expected", verdict.expected, width), *item("seen", verdict.seen, width)]
    if verdict.figures:
        lines += item("profile", _listed(verdict.figures), width)
    if verdict.measured:
        lines += item("measured", _listed(verdict.measured), width)
    return "\n".join([*lines, ""])


def timeline_text(record: Record, at: float | None = None, repeat: str = "") -> str:
    """What happened, the seed, and the command that repeats it."""
    lines = ["what happened:", draw(record, at), "", f"seed: {record.seed}"]
    if repeat:
        lines.append(f"again: {repeat}")
    return "\n".join(lines)


def summary(verdicts: Iterable[Verdict]) -> str:
    """How many of each outcome."""
    found = list(verdicts)
    counts = [(outcome, sum(v.outcome is outcome for v in found)) for outcome in Outcome]
    return ", ".join(f"{number} {outcome}" for outcome, number in counts if number)


def item(name: str, text: str, width: int = WIDTH) -> list[str]:
    """A named text, wrapped."""
    return textwrap.wrap(f"{name + ':':<10}{text}", width, initial_indent="  ", subsequent_indent=" " * 12)


def _listed(figures: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {describe(value)}" for name, value in figures.items())
