"""What a failed assertion says."""

from __future__ import annotations

from pytest_wschaos import Event, Outcome, Record, Verdict
from pytest_wschaos.report import explain, summary, timeline_text, verdict_text

FAIL = Verdict(
    "BACKOFF-01",
    Outcome.FAIL,
    "waits grow",
    "the third wait was shorter than the second",
    {"backoff.base": 1.0, "reconnect.max_retries": None},
    {"wait": 0.123456},
    at=60.0,
)
PASS = Verdict("BACKOFF-02", Outcome.PASS, "", "kept")
RECORD = Record(
    tuple(Event(float(at), "fault", "proxy", detail={"fault": f"f{at}", "id": at}) for at in range(200)),
    until=200,
    seed=42,
)


def test_a_failure_says_verdict_figures_what_happened_seed_and_how_to_repeat_it() -> None:
    text = explain([FAIL], [FAIL, PASS, PASS], RECORD, "pytest test_it.py --wschaos-seed=42")
    lines = text.splitlines()
    assert lines[0] == "1 of 3 rules did not hold: BACKOFF-01 FAIL"
    assert "BACKOFF-01 FAIL" in lines
    assert "  expected: waits grow" in lines
    assert "  seen:     the third wait was shorter than the second" in lines
    assert "  profile:  backoff.base = 1, reconnect.max_retries = none" in lines
    assert "  measured: wait = 0.123456" in lines
    assert "the others: 2 PASS" in lines
    assert "what happened:" in lines
    assert lines[-2:] == ["seed: 42", "again: pytest test_it.py --wschaos-seed=42"]
    assert "f60()" in text
    assert "f199()" not in text


def test_the_first_line_names_some_of_many_broken_rules() -> None:
    first = explain([FAIL] * 6, [FAIL] * 6, RECORD).splitlines()[0]
    assert first == "6 of 6 rules did not hold: " + ", ".join(["BACKOFF-01 FAIL"] * 4) + ", and 2 more"


def test_long_text_is_wrapped_under_its_name() -> None:
    verdict = Verdict("A-01", Outcome.FAIL, "word " * 60, "")
    lines = verdict_text(verdict).splitlines()
    assert len(lines) > 4
    assert all(len(line) <= 110 for line in lines)
    assert lines[2].startswith(" " * 12 + "word")


def test_without_a_command_there_is_none() -> None:
    assert "again:" not in timeline_text(RECORD)
    assert "the others" not in explain([FAIL], [FAIL], RECORD)


def test_outcomes_are_counted_from_best_to_worst() -> None:
    assert summary([FAIL, PASS, FAIL]) == "1 PASS, 2 FAIL"
    assert summary([]) == ""
    assert str(FAIL) == "BACKOFF-01 FAIL: the third wait was shorter than the second"
