"""What a check answers: an outcome, what was expected, what was seen, and the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """The five verdicts, from the best to the worst."""

    PASS = "PASS"
    NON_STRICT = "NON-STRICT"
    """A SHOULD was not followed, or a MUST holds only as far as the wire shows."""
    UNSUPPORTED = "UNSUPPORTED"
    """What the rule needs is not there: a dialect that tells it, a client that reports."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """Not provoked, too little evidence, or the harness itself was too slow."""
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. Times in ``at`` point into the timeline, in seconds on its clock."""

    outcome: Outcome
    seen: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    at: float | None = None


def passed(seen: str, **measured: Any) -> Finding:
    """The rule was provoked and kept."""
    return Finding(Outcome.PASS, seen, measured)


def failed(seen: str, *, at: float | None = None, **measured: Any) -> Finding:
    """The rule was broken; ``at`` is the instant to look at."""
    return Finding(Outcome.FAIL, seen, measured, at)


def non_strict(seen: str, *, at: float | None = None, **measured: Any) -> Finding:
    """Kept only as far as the wire shows, or a SHOULD that was not followed."""
    return Finding(Outcome.NON_STRICT, seen, measured, at)


def inconclusive(seen: str, *, at: float | None = None, **measured: Any) -> Finding:
    """Nothing can be said: not provoked, too few samples, or the harness was too slow."""
    return Finding(Outcome.INCONCLUSIVE, seen, measured, at)


def unsupported(seen: str) -> Finding:
    """What the rule needs is not there."""
    return Finding(Outcome.UNSUPPORTED, seen)


_WEIGHT = {
    outcome: weight
    for weight, outcome in enumerate(
        (Outcome.UNSUPPORTED, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.NON_STRICT, Outcome.FAIL)
    )
}


def worst(findings: Iterable[Finding | None], *, otherwise: Finding) -> Finding:
    """The finding that decides: a FAIL, else a PASS or NON-STRICT (the worse one), else what could not be judged.

    Several clients or connections are judged one by one; one that could not be judged does not hide
    another that could; None says nothing at all.
    """
    decides = None
    for finding in findings:
        # Of equals the last one.
        if finding is not None and (decides is None or _WEIGHT[finding.outcome] >= _WEIGHT[decides.outcome]):
            decides = finding
    return otherwise if decides is None else decides


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding on one rule, with what the rule expects and the profile's figures in play."""

    rule: str
    outcome: Outcome
    expected: str
    seen: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    at: float | None = None

    def __str__(self) -> str:
        return f"{self.rule} {self.outcome}: {self.seen}"
