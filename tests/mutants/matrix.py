"""The matrix: each mutant plays all cases of its side, and what it fails is compared with what is written of it.

On virtual time a mutant takes some seconds of work. What takes a process of its own is played in real time, by those
whose bug shows only there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_wschaos import Profile
from pytest_wschaos.checks.verdict import Outcome
from pytest_wschaos.conformance.suite.case import Case, select
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.report import timeline_text, verdict_text

from .registry import Mutant
from .subjects import alone, here

VIRTUAL = Settings(clock="virtual")
REAL = (
    Settings(scale=0.05),
    Settings(scale=0.1),
    Settings(Profile().with_(backoff={"base": 5.0, "cap": 10.0, "ceiling": 15.0})),
)
"""One after the other until a case shows something: every check forgives what a busy machine may cause, and the longer
it takes, the less that matters."""


@dataclass(frozen=True)
class Row:
    """What came of one mutant."""

    mutant: Mutant
    results: list[Result]

    def of(self, outcome: Outcome) -> dict[str, list[Result]]:
        """The results with an outcome, by rule."""
        found: dict[str, list[Result]] = {}
        for result in self.results:
            if result.outcome is outcome:
                found.setdefault(result.case.rule, []).append(result)
        return found

    @property
    def differences(self) -> str:
        """Rules that were not to be failed, or not followed, and were; and the other way round. Empty: none."""
        broke = [f"{result.case.id}: {result.said['suite']}" for result in self.results if "suite" in result.said]
        return "\n".join([*broke, *self._difference(Outcome.FAIL), *self._difference(Outcome.NON_STRICT)])

    def _difference(self, outcome: Outcome) -> Iterator[str]:
        expected = set(self.mutant.fails if outcome is Outcome.FAIL else self.mutant.bends)
        seen = self.of(outcome)
        for rule in sorted(seen.keys() - expected):
            yield f"{self.mutant.name}: {rule} is {outcome}, and this is not written of it"
            yield from map(_told, seen[rule])
        for rule in sorted(expected - seen.keys()):
            yield f"{self.mutant.name}: {rule} should be {outcome}, and no case shows it"
            yield from (_told(result) for result in self.results if result.case.rule == rule)


def _told(result: Result) -> str:
    """A case, its verdict, and what happened."""
    return f"--- {result.case.id}\n{verdict_text(result.verdict)}\n{timeline_text(result.record, result.verdict.at)}"


def row(mutant: Mutant, folder: Path) -> Row:
    """Play a mutant; a process of its own leaves its files in a folder."""
    cases = select(side=mutant.side)  # type: ignore[arg-type]
    results = [play(case, here(mutant), VIRTUAL) for case in cases if not case.process]
    if mutant.alone:
        results += [_in_real_time(case, mutant, folder) for case in cases if case.process]
    return Row(mutant, results)


def _in_real_time(case: Case, mutant: Mutant, folder: Path) -> Result:
    shows = Outcome.FAIL if case.rule in mutant.fails else Outcome.NON_STRICT if case.rule in mutant.bends else None
    for settings in REAL:
        result = play(case, alone(mutant, folder), settings)
        if result.outcome is shows or (shows is None and result.outcome is not Outcome.INCONCLUSIVE):
            break
    return result
