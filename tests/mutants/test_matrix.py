"""Each mutant fails the rules that its bug breaks, and no other; the unbroken pair fails none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_wschaos import ReferenceClient
from pytest_wschaos.checks.rule import rules
from pytest_wschaos.checks.verdict import Outcome
from pytest_wschaos.conformance.suite.case import select
from pytest_wschaos.reference.server import ReferenceServer

from .matrix import row
from .page import PAGE, line, page
from .registry import Mutant, mutants

ENOUGH = 60
ROOT = Path(__file__).parent.parent.parent
PUBLISHED = (ROOT / PAGE).read_text(encoding="utf-8")
WRITE_IT = "write it anew: PYTHONPATH=tests python -m mutants.page"


def test_there_are_enough_and_each_says_where_it_is_from_and_why_it_fails() -> None:
    assert len(mutants()) >= ENOUGH
    for mutant in mutants().values():
        assert mutant.fails or mutant.bends, f"{mutant.name} breaks no rule"
        assert mutant.fails.keys() | mutant.bends.keys() <= rules().keys()
        assert all([mutant.seen_in, *mutant.fails.values(), *mutant.bends.values()]), f"{mutant.name}: no reason"


@pytest.mark.parametrize("kind", [ReferenceClient, ReferenceServer])
def test_the_unbroken_pass_every_case(kind: type[ReferenceClient | ReferenceServer], tmp_path: Path) -> None:
    played = row(Mutant(kind, "nowhere", {}), tmp_path)
    assert not played.differences, played.differences
    assert {result.outcome for result in played.results} == {Outcome.PASS}


def test_what_takes_a_process_is_known() -> None:
    assert {case.id for case in select() if case.process} == {
        "JITTER-02/two-processes",
        "HEARTBEAT-09/asleep",
        "HEARTBEAT-09/link-gone",
        "SCALE-03/connections",
        "SCALE-03/unfinished",
    }


@pytest.mark.parametrize("name", mutants())
def test_a_mutant_fails_its_rules_and_no_other(name: str, tmp_path: Path) -> None:
    played = row(mutants()[name], tmp_path)
    assert not played.differences, played.differences
    # Which of several cases is the first to show it hangs on the order of what happens at one instant: on the Python.
    published = {without_cases(row) for row in PUBLISHED.splitlines()}
    assert without_cases(line(played)) in published, WRITE_IT


def without_cases(row: str) -> str:
    return re.sub(r" \(`[^`]*`\)", "", row)


def test_the_published_page_has_these_mutants_and_no_other() -> None:
    lines = PUBLISHED.splitlines()
    rows = {name: next((line for line in lines if line.startswith(f"| {name} |")), "") for name in mutants()}
    assert page(rows) == PUBLISHED, WRITE_IT
