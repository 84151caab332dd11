"""The steps of the workflow in examples/ci, one by one, as its host would run them, in a project that has one test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / "examples" / "ci" / "github-actions.yml"
JOBS: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
A_STEP_TAKES = 300.0


@pytest.fixture(scope="module")
def constraint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes ``pip install pytest-wschaos`` take this very version, which no index has."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, timeout=A_STEP_TAKES
    )
    (wheel,) = folder.glob("*.whl")
    path = folder / "constraint.txt"
    path.write_text(f"pytest-wschaos @ {wheel.as_uri()}\n")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the first step checks out."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("test_first.py", "my_client.py"):
        shutil.copy(ROOT / "examples" / name, folder)
    return folder


@pytest.fixture
def environment(tmp_path: Path, constraint: Path) -> dict[str, str]:
    """What the step after it sets up: a Python with nothing installed."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True, timeout=A_STEP_TAKES)
    path = f"{tmp_path / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PIP_CONSTRAINT": str(constraint)}


@pytest.mark.parametrize("name", JOBS)
def test_the_steps_of_a_job_work(name: str, project: Path, environment: dict[str, str]) -> None:
    steps = JOBS[name]["steps"]
    assert [step["uses"].partition("@")[0] for step in steps[:2]] == ["actions/checkout", "actions/setup-python"]
    failed: list[str] = []
    for step in steps[2:]:
        if failed and step.get("if") not in ("failure()", "always()"):
            continue
        if not failed and step.get("if") == "failure()":
            continue
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(shell, cwd=project, env=environment, stdin=subprocess.DEVNULL, timeout=A_STEP_TAKES)
        if done.returncode:
            failed.append(step["run"])
    assert not failed
