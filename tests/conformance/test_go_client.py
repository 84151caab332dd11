"""The client in Go, written from the documents alone, keeps the rules; with a bug planted it breaks that bug's rule."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_wschaos.cli import main

SOURCE = Path(__file__).parents[2] / "examples" / "subjects" / "go"
HOW = "no Go: put go 1.26 or newer on PATH to build examples/subjects/go"
REQUIRE = "WSCHAOS_REQUIRE_REAL"
RUNS = 6
"""How often what stays INCONCLUSIVE, which a busy machine makes of a case, is played again."""

BUGS = {
    "no-heartbeat": ("HEARTBEAT-02/dead-both-ways", "HEARTBEAT-02/pongs-stop", "HEARTBEAT-01/idle"),
    "reset-at-handshake": ("BACKOFF-03/accept-then-close-1012", "BACKOFF-03/accept-then-fin"),
    "flush-before-welcome": ("AUTH-02/queued",),
    "old-token": ("AUTH-03/rotated-while-down",),
    "forget-subscriptions": ("REPLAY-07/unsubscribed",),
}
"""The cases that each breaks; where waits are judged more than one, since a busy machine blurs them."""
KEPT = (
    *(cases[0] for cases in BUGS.values()),  # so that it is the bug that breaks them
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


def _played(subject: str, report: Path, cases: Sequence[str]) -> dict[str, str]:
    """The verdict on each case, with its evidence."""
    main(["check", *cases, "--scale", "0.05", "-n", "4", "--json", str(report), "--", subject])
    return {case["id"]: f"{case['verdict']}: {case['evidence']}" for case in json.loads(report.read_text())["cases"]}


def test_it_keeps_the_rules(subject: str, tmp_path: Path) -> None:
    told: dict[str, str] = {}
    left: Sequence[str] = KEPT
    for _ in range(RUNS):
        told |= _played(subject, tmp_path / "report.json", left)
        left = [case for case, verdict in told.items() if verdict.startswith("INCONCLUSIVE")]
        if not left:
            break
    assert set(told) == set(KEPT)
    assert {case: verdict for case, verdict in told.items() if not verdict.startswith("PASS")} == {}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_breaks_its_rule(bug: str, subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUG", bug)
    for _ in range(RUNS):
        told = _played(subject, tmp_path / "report.json", BUGS[bug])
        if any(verdict.startswith("FAIL") for verdict in told.values()):
            break
    assert {case for case, verdict in told.items() if verdict.startswith("PASS")} == set()
    assert any(verdict.startswith("FAIL") for verdict in told.values()), told
