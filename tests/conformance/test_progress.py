"""What a terminal shows while cases are played."""

from __future__ import annotations

import io
import re

import pytest

from pytest_wschaos import Profile
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.conformance.reports.progress import Bar, Lines, minutes
from pytest_wschaos.conformance.suite.case import Case
from pytest_wschaos.conformance.suite.player import Player
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.timeline import Record


async def script(stage: object) -> None:
    """Nothing."""


CASES = [Case(f"BACKOFF-0{number}", "", "client", script) for number in (1, 2, 3)]


def a_result(case: Case, outcome: Outcome = Outcome.PASS) -> Result:
    return Result(case, Verdict(case.rule, outcome, "", ""), Profile(), Record((), 0.0), duration=1.25)


def test_where_there_is_no_terminal_each_case_is_a_line() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.planned(CASES, None)
    lines.finished(a_result(CASES[0], Outcome.FAIL))
    lines.stop()
    assert stream.getvalue().split() == ["BACKOFF-01", "FAIL", "UNSUPPORTED", "1.2", "s"]


def test_on_a_terminal_one_line_tells_how_far_it_is() -> None:
    stream = io.StringIO()
    bar = Bar(stream, lambda case: 30.0)
    bar.planned(CASES, Player(lambda case, curtain: a_result(case), limit=2))
    bar.finished(a_result(CASES[0]))
    bar.finished(a_result(CASES[1], Outcome.FAIL))
    bar.stop()
    shown = re.split(r"\r\x1b\[K", stream.getvalue())
    assert any("1/3  about 30 s left" in line for line in shown)
    assert any(line.startswith("[####################..........] 2/3") and "1 FAIL" in line for line in shown)
    assert [line.split()[0] for line in shown if line.endswith("\n")] == ["BACKOFF-02"]  # a FAIL stays on the screen
    assert shown[-1] == ""


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.2, "nearly done"), (61, "about 61 s left"), (600, "about 10 min left")]
)
def test_how_long_it_will_take(seconds: float, told: str) -> None:
    assert minutes(seconds) == told
