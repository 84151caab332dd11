"""The client in Go, written from the documents alone, keeps the rules; with a bug planted it breaks that bug's rule."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_wschaos.cli import main

SOURCE = Path(__file__).parents[2] / "examples" / "subjects" / "go"
HOW = "no Go: put go 1.26 or newer on PATH to build examples/subjects/go"
REQUIRE = "WSCHAOS_REQUIRE_REAL"
RUNS = 6
"""How often what stays INCONCLUSIVE, which a busy machine makes of a case, is played again."""

BUGS = {
    "no-heartbeat": "HEARTBEAT-02/dead-both-ways",
    "reset-at-handshake": "BACKOFF-03/accept-then-close-1012",
    "flush-before-welcome": "AUTH-02/queued",
    "old-token": "AUTH-03/rotated-while-down",
    "forget-subscriptions": "REPLAY-07/unsubscribed",
}
KEPT = (
    *BUGS.values(),  # so that it is the bug that breaks them
    "RECONNECT-02/reset",
    "STATE-03/first-connection",
    "REPLAY-02/not-arrived",
    "REPLAY-08/gone",
    "AUTH-04/expired-once",
    "CLOSE-02/application",
    "MESSAGE-04/down",
)
"""Quick ones, of every area but JITTER, whose draws are many."""


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, built."""
    go = shutil.which("go")
    if go is None:
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(HOW, pytrace=False)
        pytest.skip(HOW)
    program = tmp_path_factory.mktemp("go") / "subject"
    built = subprocess.run([go, "build", "-o", str(program), "."], cwd=SOURCE, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return str(program)


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _verdicts(subject: str, report: Path, *cases: str) -> dict[str, str]:
    """Of each case, with its evidence; those that were INCONCLUSIVE are played again."""
    told: dict[str, str] = {}
    for _ in range(RUNS):
        left = [case for case in cases if told.get(case, "INCONCLUSIVE").startswith("INCONCLUSIVE")]
        if not left:
            break
        main(["check", *left, "--scale", "0.05", "-n", "4", "--json", str(report), "--", subject])
        told |= {c["id"]: f"{c['verdict']}: {c['evidence']}" for c in json.loads(report.read_text())["cases"]}
    return told


def test_it_keeps_the_rules(subject: str, tmp_path: Path) -> None:
    told = _verdicts(subject, tmp_path / "report.json", *KEPT)
    assert set(told) == set(KEPT)
    assert {case: verdict for case, verdict in told.items() if not verdict.startswith("PASS")} == {}


@pytest.mark.parametrize(("bug", "case"), BUGS.items())
def test_a_planted_bug_breaks_its_rule(
    bug: str, case: str, subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUG", bug)
    told = _verdicts(subject, tmp_path / "report.json", case)
    assert told[case].startswith("FAIL"), told
