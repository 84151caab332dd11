"""Faults that met nothing: the test shows nothing then, and fails; of a sweep of seeds, where none met anything.

PYTEST_DONT_REWRITE: nothing is asserted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from .settings import seed_of, seeds_of, sweep_of

if TYPE_CHECKING:
    from .harness import ChaosProxy

NOTED = "wschaos_sweep"
_expected: pytest.StashKey[Counter[str]] = pytest.StashKey()


def require(item: pytest.Item, chaos: Iterable[ChaosProxy], report: pytest.TestReport) -> None:
    """Fail a test of which a fault met nothing; in a sweep, note it for :class:`Sweeps`."""
    try:
        missed = _missed(chaos)
    except RuntimeError as error:  # the engine's process has ended, or its loop is stuck, and the test did not notice
        report.outcome = "failed"
        report.longrepr = f"what was seen is not whole: {error}"
        return
    if seeds_of(item.config) > 1:
        # Tests that were deselected are not waited for.
        expected = item.session.stash.setdefault(_expected, Counter(map(sweep_of, item.session.items)))
        # What is in a report's own dict goes with it from a worker to the controller.
        vars(report)[NOTED] = (sweep_of(item), seed_of(item), expected[sweep_of(item)], missed)
    elif missed:
        _fail(report, missed)


def _missed(chaos: Iterable[ChaosProxy]) -> dict[str, str]:
    """The faults that met nothing, by what they are called in every run, in words."""
    used = [one for one in chaos if len(one.timeline)]
    if not used:
        return {}
    from .checks.bite import toothless

    return {f"{number}/{fault.id}": str(fault) for number, one in enumerate(used) for fault in toothless(one.freeze())}


def _fail(report: pytest.TestReport, missed: Mapping[str, str]) -> None:
    told = "\n".join(f"  {fault}" for fault in missed.values())
    report.outcome = "failed"
    report.longrepr = (
        f"the fault did not bite: nothing met it, so the test shows nothing\n{told}\n"
        "(must_bite=False where that is the point)"
    )


class Sweeps:
    """What the runs of each sweep came to, wherever they ran: workers of pytest-xdist report to one process."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[int, dict[str, str]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, Any, Any]:
        """Fail the last run of a sweep if a fault met nothing in any of them."""
        noted: tuple[str, int, int, dict[str, str]] | None = getattr(report, NOTED, None)
        if noted is not None and report.passed:
            sweep, seed, expected, missed = noted
            runs = self._runs.setdefault(sweep, {})
            runs[seed] = missed
            always = set.intersection(*map(set, runs.values()))
            if len(runs) >= expected and always:
                _fail(report, {fault: text for fault, text in missed.items() if fault in always})
        return (yield)
