"""Each broken server fails the rules that its bug breaks, and no other; the unbroken one fails none."""

from __future__ import annotations

import pytest

from pytest_wschaos import Outcome
from pytest_wschaos.conformance.subjects.server import InProcessServer
from pytest_wschaos.conformance.suite.case import select
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.reference.server import ReferenceServer

from .server_mutants import MUTANTS, Kind, Mutant

NEEDS_A_PROCESS = {"SCALE-03/connections", "SCALE-03/unfinished"}


def _results(kind: Kind) -> list[Result]:
    return [play(case, InProcessServer(kind), Settings(clock="virtual")) for case in select(side="server")]


def _told(results: list[Result]) -> str:
    return "\n".join(f"{result.case.id} {result.outcome}: {result.verdict.seen}" for result in results)


def test_the_unbroken_server_passes_every_case() -> None:
    results = _results(ReferenceServer)
    others = [result for result in results if result.outcome is not Outcome.PASS]
    assert {result.case.id for result in others} == NEEDS_A_PROCESS, _told(others)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_server_fails_its_rules_and_no_other(mutant: Mutant) -> None:
    failed = [result for result in _results(mutant.kind) if result.outcome is Outcome.FAIL]
    assert {result.case.rule for result in failed} == set(mutant.fails), _told(failed)
