"""The reference client keeps every rule that a scenario can provoke, and every rule is provoked by one."""

from __future__ import annotations

import re

import pytest
from scenarios import SCENARIOS, Result, play_all, play_virtually

from pytest_wschaos import Outcome, Verdict
from pytest_wschaos.checks.rule import rules
from pytest_wschaos.report import timeline_text, verdict_text

LATE = 0.1
"""Seconds of the harness's own lag that may spoil what a scenario is for."""
AGAIN = 2


@pytest.fixture(scope="module")
def results() -> list[Result]:
    """Of each scenario what came of it; on a busy machine it may take several plays to provoke its rules."""
    played = play_all()
    for _ in range(AGAIN):
        spoilt = [r.scenario.name for r in played if r.late > LATE and not _proven(r) and not r.failed]
        if not spoilt:
            break
        again = {result.scenario.name: result for result in play_all(names=spoilt)}
        played = [again.get(result.scenario.name, result) for result in played]
    return played


def _proven(result: Result) -> bool:
    return all(verdict.outcome is Outcome.PASS for verdict in result.provoked)


def told(result: Result, verdict: Verdict) -> str:
    return f"{result.scenario.name}\n{verdict_text(verdict)}\n{timeline_text(result.record, verdict.at)}"


def excused(verdict: Verdict) -> bool:
    """Whether nothing could be said because the harness itself was too slow."""
    spoilt = re.search(r"the harness was|were? too close to call|blur", verdict.seen)
    return verdict.outcome is Outcome.INCONCLUSIVE and spoilt is not None


def test_it_breaks_no_rule(results: list[Result]) -> None:
    broken = [told(r, verdict) for r in results for verdict in r.verdicts if verdict.outcome is Outcome.FAIL]
    assert not broken, "\n".join(broken)


def test_it_passes_every_rule_in_the_scenarios_that_provoke_it(results: list[Result]) -> None:
    unproven = [
        told(result, verdict)
        for result in results
        for verdict in result.provoked
        if verdict.outcome is not Outcome.PASS and not excused(verdict)
    ]
    assert not unproven, "\n".join(unproven)


def test_every_rule_is_provoked_by_a_scenario() -> None:
    assert {rule for scenario in SCENARIOS.values() for rule in scenario.provokes} == set(rules())


@pytest.mark.parametrize("clock", ["virtual", "hybrid"])
def test_on_virtual_time_it_keeps_every_rule_at_the_default_figures(clock: str) -> None:
    results = play_virtually(clock=clock)
    broken = [told(r, verdict) for r in results for verdict in r.verdicts if verdict.outcome is Outcome.FAIL]
    assert not broken, "\n".join(broken)
    unproven = [told(r, verdict) for r in results for verdict in r.provoked if verdict.outcome is not Outcome.PASS]
    assert not unproven, "\n".join(unproven)


def test_what_needs_real_time_is_known() -> None:
    assert {one.name for one in SCENARIOS.values() if one.real_only} == {"asleep"}  # another process
