"""The suite in a project's own suite: parameters, fixtures, and what a failure says."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from pytest_wschaos.conformance import client_cases, server_cases
from pytest_wschaos.conformance.suite.case import UnknownCase, cases

REFERENCE = "pytest_wschaos.conformance.subjects.reference"
SPEAKS = shlex.join([sys.executable, "-m", "pytest_wschaos.conformance.subjects.speak", f"{REFERENCE}:reference"])
TESTS = """
import pytest
from pytest_wschaos.conformance import client_cases

@pytest.mark.parametrize("case", client_cases({patterns}))
def test_conformance(case, wschaos_subject):
    wschaos_subject.check(case)
"""
VIRTUAL = """
import pytest
from {module} import {factory}

@pytest.fixture(scope="session")
def wschaos_subject(wschaos_under_test):
    return wschaos_under_test({factory}, clock="virtual", seed=3{more})
"""
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:randomly")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    return pytester


def write(project: pytest.Pytester, *patterns: str, factory: str = f"{REFERENCE}:reference", more: str = "") -> None:
    project.makepyfile(test_it=TESTS.format(patterns=", ".join(map(repr, patterns))))
    if factory:
        module, _, name = factory.partition(":")
        project.makeconftest(VIRTUAL.format(module=module, factory=name, more=more))


def test_a_client_of_ones_own_is_tested_by_a_fixture(project: pytest.Pytester) -> None:
    write(project, "RECONNECT-02/reset", "RECONNECT-02/fin")
    result = project.runpytest_inprocess(*OPTIONS, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_conformance[[]RECONNECT-02/fin[]] PASSED*"])


def test_a_failure_is_an_answer(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # outside CI pytest cuts its summary to the terminal's width
    write(project, "RECONNECT-06/refused", factory="conformance.subjects:soon_gives_up")
    result = project.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(failed=1)
    told = result.stdout.str()
    for part in ("case:", "expected:", "seen:     2 of 10 retries", "profile:", "what happened:", "seed: 3"):
        assert part in told
    assert "again: pytest 'test_it.py::test_conformance[RECONNECT-06/refused]' --wschaos-seed=" in told
    result.stdout.fnmatch_lines(["FAILED * - *CaseFailed: RECONNECT-06/refused FAIL: 2 of 10 retries*"])


def test_what_cannot_be_judged_is_skipped_and_fails_under_strict(project: pytest.Pytester) -> None:
    write(project, "REPLAY-06/given-up", factory="conformance.subjects:speaks_raw")
    result = project.runpytest_inprocess(*OPTIONS, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * UNSUPPORTED: the client cannot do it: send*"])
    write(project, "REPLAY-06/given-up", factory="conformance.subjects:speaks_raw", more=", strict=True")
    project.runpytest_inprocess(*OPTIONS).assert_outcomes(failed=1)


def test_a_client_is_named_by_an_option(project: pytest.Pytester) -> None:
    write(project, "RECONNECT-02/reset", "RECONNECT-02/fin", factory="")
    result = project.runpytest_inprocess(*OPTIONS, "--wschaos-client", SPEAKS, "--wschaos-scale=0.05")
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed", 0) + outcomes.get("skipped", 0) == 2  # the machine may be busy


def test_a_client_that_crashes_is_quoted_with_the_command_that_repeats_it(project: pytest.Pytester) -> None:
    write(project, "RECONNECT-02/fin", factory="")
    project.makeini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
        f"wschaos_client = {sys.executable} -c \"import sys; sys.exit('out of luck')\"\nwschaos_scale = 0.05\n"
    )
    result = project.runpytest_inprocess(*OPTIONS, "--wschaos-seed=5")
    result.assert_outcomes(failed=1)
    assert "out of luck" in result.stdout.str()
    assert "again: pytest 'test_it.py::test_conformance[RECONNECT-02/fin]' --wschaos-seed=5" in result.stdout.str()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which client? Give --wschaos-client COMMAND"),
        (["--wschaos-client", ""], "which client?"),
        (["--wschaos-client", "true", "--wschaos-scale", "x"], "--wschaos-scale = 'x': must be a number above 0"),
        (["--wschaos-client", "true", "--wschaos-clock", "hybrid"], "are played on one clock, real or virtual"),
        (["--wschaos-client", "true", "--wschaos-profile", "nope"], "--wschaos-profile: no preset named 'nope'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(project: pytest.Pytester, words: list[str], told: str) -> None:
    write(project, "RECONNECT-02/fin", factory="")
    result = project.runpytest_inprocess(*OPTIONS, *words)
    result.assert_outcomes(errors=1)
    assert told in result.stdout.str()


def test_the_clock_of_other_tests_does_not_concern_them(project: pytest.Pytester) -> None:
    write(project, "RECONNECT-02/fin")
    project.runpytest_inprocess(*OPTIONS, "--wschaos-clock=virtual", "--wschaos-seeds=2").assert_outcomes(passed=1)


def test_cases_are_parameters_with_their_ids() -> None:
    assert [parameter.id for parameter in client_cases()] == [
        case.id for case in cases().values() if case.side == "client"
    ]
    assert [parameter.id for parameter in client_cases("RECONNECT-02/fin")] == ["RECONNECT-02/fin"]
    with pytest.raises(UnknownCase, match="no case 'NOPE'"):
        client_cases("NOPE")
    with pytest.raises(UnknownCase):
        server_cases("RECONNECT-02")


def test_the_tests_of_the_docs_pass_as_they_are_written(project: pytest.Pytester) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "check.md").read_text(encoding="utf-8")
    test, fixture = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    project.makepyfile(test_it=test.replace('"BACKOFF-*", "RECONNECT-02"', '"RECONNECT-02"'))
    project.makeconftest(f"import pytest\nfrom {REFERENCE} import reference as my_factory\n\n{fixture}")
    outcomes = project.runpytest_inprocess(*OPTIONS).parseoutcomes()
    assert outcomes.keys() == {"passed"}
