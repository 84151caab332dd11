"""Commands that misbehave: each gets a clear verdict in bounded time, and nothing of them is left."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wschaos.conformance.subjects import command, left_over
from pytest_wschaos.conformance.subjects.command import Command
from pytest_wschaos.conformance.suite import curtain
from pytest_wschaos.conformance.suite.case import Case, cases
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.conformance.suite.stage import Stage

SCALE = 0.05
HELLO = """print('{"event": "hello", "speaks": "raw", "can": []}', flush=True)
"""
CONNECT = """
import os, socket
def connect():
    host, port = os.environ["WSCHAOS_URL"].split("/")[2].split(":")
    return socket.create_connection((host, int(port)))
"""
FOR_EVER = """
import time
time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curtain, "SILENT", 1.0)
    monkeypatch.setattr(curtain, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(command, "HELLO_TIMEOUT", 1.0)
    monkeypatch.setattr(command, "EXIT_TIMEOUT", 0.3)


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "profiles").mkdir()
    files, threads = os.listdir("/proc/self/fd"), set(threading.enumerate())
    yield
    assert not [process for process in _processes() if str(tmp_path / "profiles") in process]
    assert os.listdir(tmp_path / "profiles") == []
    assert {thread.name for thread in set(threading.enumerate()) - threads if "asyncio_" not in thread.name} == set()
    assert len(os.listdir("/proc/self/fd")) <= len(files) + 2  # those of a thread that may be used again


def _processes() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue


def played(
    tmp_path: Path, script: str, case: Case | str = "RECONNECT-02/fin", words: list[str] | None = None
) -> Result:
    """The case with a Python script as the subject."""
    path, folder = tmp_path / "subject.py", tmp_path / "profiles"
    path.write_text(script, encoding="utf-8")
    chosen = case if isinstance(case, Case) else cases()[case]
    return play(chosen, Command(words or [sys.executable, str(path)], folder), Settings(scale=SCALE))


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    result = played(tmp_path, "", words=["no-such-program"])
    assert (result.outcome, result.verdict.seen) == (
        "FAIL",
        "no-such-program: cannot be started: No such file or directory",
    )


def test_one_that_crashes_at_once_is_quoted(tmp_path: Path) -> None:
    result = played(tmp_path, "raise SystemExit('out of luck')")
    assert result.outcome == "FAIL"
    assert "ended with status 1; its last words:\nout of luck" in result.verdict.seen


def test_one_that_crashes_at_once_and_leaves_a_child_is_heard(tmp_path: Path) -> None:
    begun = time.monotonic()
    result = played(tmp_path, "import os, time\nif os.fork() == 0: time.sleep(3600)\nos._exit(3)\n")
    assert (result.outcome, "ended with status 3" in result.verdict.seen) == ("FAIL", True)
    assert time.monotonic() - begun < 60


def test_status_127_before_anything_else_is_unsupported(tmp_path: Path) -> None:
    result = played(tmp_path, "raise SystemExit(127)")
    assert (result.outcome, "exit status 127" in result.verdict.seen) == ("UNSUPPORTED", True)


def test_one_that_crashes_in_the_middle(tmp_path: Path) -> None:
    script = (
        HELLO + CONNECT + "import sys, time\nconnect(); time.sleep(0.2); print('oh no', file=sys.stderr); os._exit(7)\n"
    )
    result = played(tmp_path, script)
    assert result.outcome == "FAIL"
    assert result.verdict.seen == "the client's process ended with status 7, before the case was over"
    assert "oh no" in result.said["client"]
    assert [event.get("status") for event in result.record.events if event.kind == "app.exited"] == [7]


def test_one_that_prints_garbage_and_never_connects(tmp_path: Path) -> None:
    result = played(tmp_path, "print('hello, world', flush=True)" + FOR_EVER)
    assert result.outcome == "FAIL"
    assert "it did not try" in result.verdict.seen
    assert result.said["client"] == "hello, world"


@pytest.mark.parametrize("line", ["[1]", "{}", '{"event": 3}', "[" * 100_000, "\\xff\\xfe", '{"event": "hello"}'])
def test_lines_that_are_no_events_break_nothing(tmp_path: Path, line: str) -> None:
    script = f"import sys\nsys.stdout.buffer.write(b'{line}' + b'\\n'); sys.stdout.flush()"
    assert played(tmp_path, script + FOR_EVER).outcome == "FAIL"


def test_one_that_prints_nothing_and_never_connects(tmp_path: Path) -> None:
    result = played(tmp_path, FOR_EVER)
    assert (result.outcome, "it did not try" in result.verdict.seen) == ("FAIL", True)


@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("sys.stdout.write('x\\n' * 1000)", "standard output"),
        ("sys.stdout.write('x' * 1_000_000)", "standard output"),
        ("print(json.dumps({'event': 'ready'}))", "standard output"),
        ("sys.stderr.write('x' * 1_000_000)", "standard error"),
    ],
)
def test_one_that_floods_is_ended(tmp_path: Path, what: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MOST_BYTES", 2 * 1024 * 1024)
    monkeypatch.setattr(command, "LONGEST_LINE", 1024 * 1024)
    result = played(tmp_path, HELLO + CONNECT + f"import json, sys\nconnect()\nwhile True: {what}\n")
    assert result.outcome == "FAIL"
    assert f"wrote without end on {where}" in result.verdict.seen


def test_one_that_ignores_what_it_is_told(tmp_path: Path) -> None:
    result = played(tmp_path, HELLO + FOR_EVER)
    assert (result.outcome, "it did not try" in result.verdict.seen) == ("FAIL", True)


async def says_much(stage: Stage) -> None:
    client = await stage.client()
    await client.send("x" * 1_000_000)


def test_one_that_does_not_read_a_full_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "TELL_TIMEOUT", 0.3)
    script = HELLO.replace("[]", '["send"]') + CONNECT + "connect()" + FOR_EVER
    result = played(tmp_path, script, Case("REPLAY-01/much", "", "client", says_much))
    assert (result.outcome, "has not read its standard input" in result.verdict.seen) == ("FAIL", True)
    assert result.closing == "UNCLEAN"


@pytest.mark.parametrize("session", ["", "os.setsid()"])
def test_children_that_live_on_are_ended(tmp_path: Path, session: str) -> None:
    script = f"""
import os, time
if os.fork() == 0:
    {session or "pass"}
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
"""
    assert played(tmp_path, HELLO + script + "print('bye', flush=True)").outcome == "FAIL"  # that none is left: above


def test_one_that_refuses_to_die_is_ended(tmp_path: Path) -> None:
    script = "import signal\nfor number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)\n"
    assert played(tmp_path, script + FOR_EVER).outcome == "FAIL"


def test_one_that_opens_connections_without_end_is_ended(tmp_path: Path) -> None:
    script = HELLO + CONNECT + "import resource, time\nkept = []\n"
    script += "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
    script += "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
    script += "for _ in range(10_000): kept.append(connect())\ntime.sleep(3600)\n"
    result = played(tmp_path, script)
    assert result.outcome == "FAIL"
    assert f"more than {curtain.MOST_OPEN} connections side by side" in result.verdict.seen


def test_one_that_connects_without_a_wait_is_ended_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curtain, "MOST_ATTEMPTS", 100)
    result = played(tmp_path, HELLO + CONNECT + "while True: connect().close()\n")
    assert result.outcome == "FAIL"
    assert len([event for event in result.record.events if event.kind == "attempt"]) < 2000


def test_a_process_of_somebody_elses_is_left_alone() -> None:
    assert list(left_over.having("WSCHAOS_PROFILE", "/no/such/profile.json")) == []
