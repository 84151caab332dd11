"""Servers as subjects: where they run, how they are started, and what is said of those that cannot be judged."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pytest_wschaos import Outcome, Profile
from pytest_wschaos.conformance.subjects.server import (
    CommandServer,
    FileTokens,
    GivenTokens,
    InProcessServer,
    RunningServer,
    Server,
)
from pytest_wschaos.conformance.subjects.subject import SubjectError, Unsupported
from pytest_wschaos.conformance.suite.case import select
from pytest_wschaos.conformance.suite.closing import Closing
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.raw_client import encode
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.reference.server import ReferenceServer
from pytest_wschaos.simulation.run import run

SCALED = Settings(scale=0.05)
REFERENCE = [sys.executable, "-c", "from pytest_wschaos.cli import main; main()", "reference-server"]
ECHO = Path(__file__).parents[2] / "examples" / "subjects" / "servers" / "websockets_server.py"
URL = "ws://127.0.0.1:0/ws"
AGAIN = 4


def _play(id: str, server: Server, settings: Settings = SCALED) -> Result:
    """Play a case; again where the machine was too busy for a verdict."""
    [case] = select(id, side="server")
    for _ in range(AGAIN):
        result = play(case, server, settings)
        if result.outcome is not Outcome.INCONCLUSIVE:
            break
    return result


@pytest.mark.parametrize(
    "id",
    [
        "HEARTBEAT-05/mute",
        "REPLAY-04/log-overflown",
        "AUTH-05/silent",
        "CLOSE-03/1006",
        "CLOSE-04/ignored",
        "SECURITY-01/null",
        "SECURITY-02/invalid",
        "SECURITY-04/slow-handshake",
    ],
)
def test_the_reference_server_passes_in_real_time(id: str) -> None:
    result = _play(id, InProcessServer())
    assert result.outcome is Outcome.PASS, result.verdict.seen
    assert result.closing is Closing.OK


@pytest.mark.parametrize("id", ["AUTH-01/revoked-token", "AUTH-07/log", "CLOSE-02/stopped", "SCALE-03/connections"])
def test_the_reference_server_passes_as_a_command(id: str, tmp_path: Path) -> None:
    result = _play(id, CommandServer(URL, REFERENCE, tmp_path))
    assert result.outcome is Outcome.PASS, result.verdict.seen


def test_a_server_that_speaks_something_else_is_judged_by_its_frames(tmp_path: Path) -> None:
    server = CommandServer(URL, [sys.executable, str(ECHO)], tmp_path, speaks="raw")
    assert _play("MESSAGE-01/kinds", server).outcome is Outcome.PASS
    assert _play("SECURITY-03/frame-unmasked", server).outcome is Outcome.PASS
    foreign = _play("SECURITY-01/foreign", server)
    assert foreign.outcome is Outcome.FAIL
    assert "'https://evil.test'" in foreign.verdict.seen
    assert "answered 101; expected 403" in foreign.verdict.seen
    for id in ("REPLAY-04/log-overflown", "AUTH-01/accepts-query", "SECURITY-03/not-json", "MESSAGE-04/chunks"):
        assert _play(id, server).outcome is Outcome.UNSUPPORTED


def test_what_was_started_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import os, subprocess, sys; from pytest_wschaos.cli import main; "
        f"child = subprocess.Popen(['sleep', '600']); open({str(pids)!r}, 'w').write(str(child.pid)); "
        "main(['reference-server'])"
    )
    result = _play("CLOSE-04/answered", CommandServer(URL, [sys.executable, "-c", script], tmp_path))
    assert result.outcome is Outcome.PASS, result.verdict.seen
    pid = int(pids.read_text())
    for _ in range(100):  # what was killed may take a moment to be gone
        if not _lives(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child of a server that was ended lives")


def _lives(pid: int) -> bool:
    """Whether a process does; one that has ended and whose parent is gone, too, may still be in the table."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_server_that_ends_before_it_serves_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such profile')"]
    seen = _play("CLOSE-04/answered", CommandServer(URL, command, tmp_path)).verdict.seen
    assert "ended with status 1 before it served" in seen
    assert "no such profile" in seen


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = _play("CLOSE-04/answered", CommandServer(URL, ["/no/such/server"], tmp_path))
    assert result.outcome is Outcome.FAIL
    assert "cannot be started: No such file or directory" in result.verdict.seen


def test_a_server_that_is_not_healthy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wschaos.conformance.subjects.server.START_TIMEOUT", 5.0)
    script = (
        "import http.server, os; port = int(os.environ['WSCHAOS_PORT']); "
        "http.server.HTTPServer(('127.0.0.1', port), http.server.BaseHTTPRequestHandler).serve_forever()"
    )
    server = CommandServer(URL, [sys.executable, "-c", script], tmp_path, health="http://127.0.0.1:0/ready")
    assert "/ready answers 501, must be 200 (--health URL)" in _play("CLOSE-04/answered", server).verdict.seen


def test_a_server_that_crashes_fails_with_what_became_of_it(tmp_path: Path) -> None:
    script = (
        "import os; from pytest_wschaos.reference.conversation import Conversation; "
        "Conversation._answer = lambda *given: os._exit(3); from pytest_wschaos.cli import main; "
        "main(['reference-server'])"
    )
    result = _play("SECURITY-03/not-json", CommandServer(URL, [sys.executable, "-c", script], tmp_path))
    assert result.outcome is Outcome.FAIL
    assert "the server's process ended with status 3" in result.verdict.seen


def test_nothing_there_is_told() -> None:
    result = _play("CLOSE-04/answered", RunningServer("ws://127.0.0.1:9/ws"))
    assert result.outcome is Outcome.FAIL
    assert "nothing listens on 127.0.0.1:9" in result.verdict.seen


def test_a_server_that_runs_already_is_judged_by_what_it_has() -> None:
    async def main() -> list[Result]:
        async with ReferenceServer() as server:
            token = server.tokens.issue()
            tokens = GivenTokens([token], ["wrong"])
            there = RunningServer(server.url, tokens=tokens)
            return [
                await _inside(id, there)
                for id in ("AUTH-01/accepts-query", "AUTH-01/revoked-token", "CLOSE-02/stopped")
            ]

    query, revoked, stopped = run(main)
    assert query.outcome is Outcome.PASS, query.verdict.seen
    assert revoked.outcome is Outcome.UNSUPPORTED
    assert "WSCHAOS_TOKENS" in revoked.verdict.seen
    assert stopped.outcome is Outcome.UNSUPPORTED
    assert "--command" in stopped.verdict.seen


async def _inside(id: str, server: Server) -> Result:
    """Play a case on the loop that is running."""
    from pytest_wschaos.conformance.suite import play as playing

    [case] = select(id, side="server")
    settings = Settings(clock="virtual")
    played = await playing._serve(case, server, settings, 0.0)
    verdict = playing._verdict(case, played)
    assert played.record is not None
    return Result(case, verdict, played.profile, played.record, played.closing)


def test_without_a_token_nothing_of_the_protocol_can_be_judged() -> None:
    with pytest.raises(Unsupported, match=r"--token"):
        GivenTokens(()).good()


def test_a_process_has_no_virtual_time(tmp_path: Path) -> None:
    result = _play("CLOSE-04/answered", CommandServer(URL, REFERENCE, tmp_path), Settings(clock="virtual"))
    assert result.outcome is Outcome.UNSUPPORTED


def test_memory_needs_a_process() -> None:
    result = _play("SCALE-03/connections", InProcessServer(), Settings(clock="virtual"))
    assert result.outcome is Outcome.UNSUPPORTED
    assert "the server must be a process of its own" in result.verdict.seen


@pytest.mark.parametrize(
    ("url", "health", "told"),
    [
        ("http://127.0.0.1/", "", "--server 'http://127.0.0.1/': must be a ws:// or wss:// URL"),
        ("ws://127.0.0.1:x/", "", "--server 'ws://127.0.0.1:x/'"),
        ("ws://127.0.0.1/", "ws://127.0.0.1/", "--health 'ws://127.0.0.1/': must be a http:// or https:// URL"),
    ],
)
def test_a_url_that_is_none_is_told(url: str, health: str, told: str) -> None:
    with pytest.raises(SubjectError) as error:
        RunningServer(url, health=health)
    assert told in str(error.value)


def test_the_file_of_tokens_is_as_the_contract_says(tmp_path: Path) -> None:
    tokens = FileTokens(tmp_path / "tokens.json")
    one, two = tokens.good(), tokens.good()
    tokens.expire(one)
    tokens.revoke(two)
    told = json.loads((tmp_path / "tokens.json").read_text())
    assert (told["expired"], told["revoked"]) == ([one], [two])
    assert not {one, two} & set(told["good"])


def test_the_figures_of_a_case_reach_a_server_that_takes_them(tmp_path: Path) -> None:
    settings = Settings(profile=Profile().with_(auth={"timeout": 1}))
    result = _play("AUTH-05/silent", CommandServer(URL, REFERENCE, tmp_path), settings)
    assert result.outcome is Outcome.PASS, result.verdict.seen
    assert result.profile.auth.timeout == 1
    assert result.verdict.measured["closed_s"] > 0.9


def test_a_frame_is_as_rfc_6455_has_it() -> None:
    assert encode(1, b"Hello", masked=False) == b"\x81\x05Hello"
    assert encode(9, b"", fin=False, reserved=4, masked=False) == b"\x49\x00"
    assert encode(2, b"x" * 300)[:4] == b"\x82\xfe\x01\x2c"
