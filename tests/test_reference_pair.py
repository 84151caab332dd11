"""The reference client and server keep every rule that a case can provoke, on every clock."""

from __future__ import annotations

import re
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
LATE = 0.1
"""Seconds, in all, from which on a harness that was late may have spoilt a case in which nothing takes that long."""
AGAIN = 1
"""How often a case is played again on which a busy machine left nothing to say."""


def mine(side: Side) -> list[Case]:
    """All cases but those that take a process of its own."""
    return [case for case in select(side=side) if not case.process]


def told(result: Result) -> str:
    return f"{result.case.id}\n{verdict_text(result.verdict)}\n{timeline_text(result.record, result.verdict.at)}"


def unproven(result: Result) -> bool:
    return result.outcome is not Outcome.PASS or str(result.closing) not in ("OK", "UNSUPPORTED")


def excused(result: Result) -> bool:
    """Whether nothing could be said because the harness itself was too slow."""
    spoilt = r"the harness|were? too close to call|too far for|too few to tell|blur|too slow|in which the limit allows"
    late = result.record.lag(0.0, result.record.until) > LATE
    doubtful = result.outcome in (Outcome.INCONCLUSIVE, Outcome.NON_STRICT, Outcome.PASS)
    return doubtful and (late or re.search(spoilt, result.verdict.seen) is not None)


@pytest.mark.parametrize("clock", ["virtual", "hybrid"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_on_virtual_time_it_passes_every_case_at_the_default_figures(side: Side, clock: str) -> None:
    results = [play(case, REFERENCE[side], Settings(clock=clock)) for case in mine(side)]
    missed = [told(result) for result in results if unproven(result)]
    assert not missed, "\n".join(missed)


@pytest.mark.parametrize("side", ["client", "server"])
def test_in_real_time_it_passes_every_case(side: Side) -> None:
    again = mine(side)
    for _ in range(1 + AGAIN):
        results = in_real_time(again, REFERENCE[side])
        broken = [told(result) for result in results if result.outcome is Outcome.FAIL]
        assert not broken, "\n".join(broken)
        again = [result.case for result in results if unproven(result)]
    missed = [told(result) for result in results if unproven(result) and not excused(result)]
    assert not missed, "\n".join(missed)


def in_real_time(cases: list[Case], subject: Subject | Server) -> list[Result]:
    """Play cases side by side: they mostly wait."""
    trial = Trial(subject, Settings(scale=0.05), limit=AT_A_TIME)  # type: ignore[arg-type]
    try:
        trial.ahead(cases)
        return [trial.result(case) for case in cases]
    finally:
        trial.stop()
