"""The reference client and server keep every rule that a case can provoke, on every clock."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_wschaos import Outcome
from pytest_wschaos.conformance.subjects.factory import InProcess
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.conformance.subjects.server import InProcessServer, Server
from pytest_wschaos.conformance.subjects.subject import Subject
from pytest_wschaos.conformance.suite.case import Case, Side, select
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.conformance.suite.trial import Trial
from pytest_wschaos.report import timeline_text, verdict_text

REFERENCE: Mapping[Side, Subject | Server] = {"client": InProcess(reference), "server": InProcessServer()}
AT_A_TIME = 8
UNANSWERED = 0.05
"""The share of cases that may stay INCONCLUSIVE in real time, as the project promises of a busy machine."""


def mine(side: Side) -> list[Case]:
    """All cases but those that take a process of its own."""
    return [case for case in select(side=side) if not case.process]


def told(result: Result) -> str:
    return f"{result.case.id}\n{verdict_text(result.verdict)}\n{timeline_text(result.record, result.verdict.at)}"


def unproven(result: Result) -> bool:
    return result.outcome is not Outcome.PASS or str(result.closing) not in ("OK", "UNSUPPORTED")


@pytest.mark.parametrize("clock", ["virtual", "hybrid"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_on_virtual_time_it_passes_every_case_at_the_default_figures(side: Side, clock: str) -> None:
    results = [play(case, REFERENCE[side], Settings(clock=clock)) for case in mine(side)]
    missed = [told(result) for result in results if unproven(result)]
    assert not missed, "\n".join(missed)


@pytest.mark.parametrize("side", ["client", "server"])
def test_in_real_time_it_passes_every_case(side: Side) -> None:
    """A busy machine may leave a few without an answer; what is not passed at first is played again, by itself."""
    first = in_real_time(mine(side), REFERENCE[side])
    doubtful = [result.case for result in first if unproven(result)]
    again = [play(case, REFERENCE[side], Settings(scale=0.05)) for case in doubtful]
    left = [told(result) for result in again if unproven(result)]
    assert all(result.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE) for result in again), "\n".join(left)
    assert len(left) <= UNANSWERED * len(first), "\n".join(left)


def in_real_time(cases: list[Case], subject: Subject | Server) -> list[Result]:
    """Play cases side by side: they mostly wait."""
    trial = Trial(subject, Settings(scale=0.05), limit=AT_A_TIME)  # type: ignore[arg-type]
    try:
        trial.ahead(cases)
        return [trial.result(case) for case in cases]
    finally:
        trial.stop()
