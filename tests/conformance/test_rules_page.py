"""What is written of the rules: all of them, the same in all places, and cases for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_wschaos.checks.rule import rules
from pytest_wschaos.cli import main
from pytest_wschaos.conformance.reports import rules_page
from pytest_wschaos.conformance.suite.case import cases
from pytest_wschaos.conformance.suite.rulebook import AREAS, LATER, rulebook

ROOT = Path(__file__).parent.parent.parent
SIDES = {"client": {"client"}, "server": {"server"}, "both": {"client", "server"}}
RULES = 71
"""Of the spec."""


def test_all_rules_of_the_spec_are_told() -> None:
    assert len(rulebook()) == RULES
    for area in AREAS:
        numbers = [int(id.rpartition("-")[2]) for id, rule in rulebook().items() if rule.area == area]
        assert numbers == list(range(1, len(numbers) + 1)), area
    assert set(rulebook()) >= set(rules()) | LATER


@pytest.mark.parametrize("id", list(rulebook()))
def test_each_says_why_what_breaks_it_and_how_to_mend_it(id: str) -> None:
    rule = rulebook()[id]
    for text in (rule.requirement, rule.why, rule.field, rule.fix):
        assert text.endswith((".", '."'))
        assert 30 < len(text) < 600
    assert set(rule.sides) <= {"client", "server", "deployment"}


@pytest.mark.parametrize("id", list(rules()))
def test_it_is_the_rule_that_is_checked(id: str) -> None:
    told, checked = rulebook()[id], rules()[id]
    assert told.level == checked.level
    assert SIDES[checked.side] <= set(told.sides)


def test_the_published_page_is_that_of_the_code() -> None:
    told = "write it anew: python -m pytest_wschaos.conformance.reports.rules_page"
    assert (ROOT / rules_page.PAGE).read_text(encoding="utf-8") == rules_page.page(), told


def test_every_rule_has_cases_for_each_side_that_it_binds() -> None:
    assert rules_page.without_cases() == []


def test_every_case_is_for_a_rule_that_there_is() -> None:
    assert {case.rule for case in cases().values()} <= set(rulebook()) - LATER


def test_the_page_is_written_where_the_docs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert rules_page.main() == 2
    (tmp_path / "docs").mkdir()
    assert rules_page.main() == 0
    assert (tmp_path / "docs" / "rules.md").read_text(encoding="utf-8") == rules_page.page()


def test_a_rule_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "backoff-03", "RECONNECT-02/reset"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("RECONNECT-02  MUST, binds the client")
    assert "RECONNECT-02/reset (client)" in told
    assert "BACKOFF-03  MUST" in told
    for part in ("why:", "in the field:", "how to mend it:", "  backoff.stable_after = 10"):
        assert part in told
    assert max(map(len, told.splitlines())) < 80


def test_a_rule_is_explained_with_figures_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "HEARTBEAT-02", "--profile", "websockets"]) == 0
    assert "heartbeat.deadline = 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rule", "told"), [("BACKOFF-99", "there are BACKOFF-01"), ("NOPE", "the areas are RECONNECT, BACKOFF")]
)
def test_a_rule_that_there_is_not_is_one_line(rule: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", rule]) == 2
    assert told in capsys.readouterr().err


def test_cases_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(cases())
    assert main(["cases", "RECONNECT-02", "--side", "client", "--area", "RECONNECT", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told
    assert {(case["rule"], case["area"], case["side"]) for case in told} == {("RECONNECT-02", "reconnect", "client")}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["NOPE"], "no case 'NOPE': 'wschaos cases' lists them"),
        (["--area", "nope"], "no area 'nope': there are reconnect"),
    ],
)
def test_cases_that_there_are_not_are_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases", *words]) == 2
    assert told in capsys.readouterr().err
