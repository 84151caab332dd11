"""The tests that ``wschaos check`` runs: one for each case of its plan."""

from __future__ import annotations

import pytest

from pytest_wschaos.conformance.suite.case import Case
from pytest_wschaos.conformance.suite.session import plan_of, trial_of
from pytest_wschaos.conformance.suite.trial import Trial


@pytest.fixture(scope="session")
def wschaos_subject(request: pytest.FixtureRequest) -> Trial:
    """The subject of the plan."""
    return trial_of(request.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case."""
    metafunc.parametrize("case", [pytest.param(case, id=case.id) for case in plan_of(metafunc.config).chosen])


def test_conformance(case: Case, wschaos_subject: Trial) -> None:
    """The subject keeps the case's rule."""
    wschaos_subject.check(case)
