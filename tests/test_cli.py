"""The command ``wschaos``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pytest_wschaos import __version__
from pytest_wschaos.cli import main

LATER = 20.0


class Running:
    """The command in a process of its own."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-W", "error", "-c", "from pytest_wschaos.cli import main; raise SystemExit(main())"]
        self.process = subprocess.Popen(
            [*command, "reference-server", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "WSCHAOS_PORT": "0", **(environment or {})},
        )
        self.first = self.line()
        found = re.match(r"listening on (ws://127\.0\.0\.1:\d+/ws)(?:, token (\S+))?$", self.first)
        assert found, (self.first, self.process.communicate(timeout=LATER)[1])
        self.url, self.token = found[1], found[2]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    @contextlib.contextmanager
    def ready(self, token: str, **headers: str) -> Iterator[ClientConnection]:
        """A client that has been welcomed; ``welcome`` is what it was told."""
        with connect(self.url, close_timeout=0.1, additional_headers=headers) as client:
            client.send(json.dumps({"type": "auth", "token": token}))
            self.welcome = json.loads(client.recv(LATER))
            assert self.welcome["type"] == "welcome"
            yield client

    def end(self) -> tuple[int, str, str]:
        out, errors = self.process.communicate(timeout=LATER)
        return self.process.returncode, out, errors


@contextlib.contextmanager
def running(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    command = Running(*arguments, environment=environment)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_reference_server_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    with running() as command:
        with command.ready(command.token) as client:
            command.process.send_signal(number)
            assert json.loads(client.recv(LATER))["type"] == "going_away"
        status, out, errors = command.end()
    assert status == 0
    assert out.splitlines() == ["draining; a second signal ends it at once", "stopped"]
    assert "Traceback" not in errors


def test_a_signal_right_after_the_first_line_drains_too() -> None:
    with running() as command:
        command.process.send_signal(signal.SIGTERM)
        assert command.end()[0] == 0


def test_a_second_signal_ends_the_drain_at_once() -> None:
    with running() as command, contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(command.ready(command.token))
        command.process.send_signal(signal.SIGTERM)  # with three clients it would take seconds
        assert command.line() == "draining; a second signal ends it at once"
        command.process.send_signal(signal.SIGTERM)
        assert command.line() == "stopped"
        status, _, errors = command.end()
    assert status == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--token", "one", "--token", "mine"], {"WSCHAOS_TOKEN": "unused"}), ([], {"WSCHAOS_TOKEN": "mine"})],
)
def test_tokens_come_from_the_options_or_the_environment_and_are_not_printed(
    arguments: list[str], environment: dict[str, str]
) -> None:
    with running(*arguments, environment=environment) as command:
        assert command.token is None
        with command.ready("mine"):
            pass
        command.process.send_signal(signal.SIGTERM)
        status, out, errors = command.end()
    assert status == 0
    assert "mine" not in out + errors


def refused(command: Running, token: str) -> str:
    """How a client is turned away."""
    with connect(command.url, close_timeout=0.1) as client:
        client.send(json.dumps({"type": "auth", "token": token}))
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(LATER)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.reason


def test_the_tokens_of_a_file_stand_as_it_says_now(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text('{"good": ["mine", "both"], "expired": ["old", "both"]}')
    with running(environment={"WSCHAOS_TOKENS": str(path), "WSCHAOS_TOKEN": "unused"}) as command:
        assert command.token is None
        with command.ready("mine"):
            pass
        assert refused(command, "old") == "token expired"
        assert refused(command, "both") == "token expired"
        assert refused(command, "unused") == "token unknown"
        path.write_text('{"good": ["old"], "revoked": ["mine"]}')
        assert refused(command, "mine") == "token revoked"
        path.write_text('{"good": ["mine"')  # somebody is writing
        with command.ready("old"):
            pass
        path.unlink()
        assert refused(command, "mine") == "token revoked"
        command.process.send_signal(signal.SIGTERM)
        status, _, errors = command.end()
    assert status == 0
    assert f"{path}: not JSON; what it said last holds" in errors
    assert f"{path}: No such file or directory; what it said last holds" in errors
    assert "mine" not in errors


def test_options_go_before_the_environment(tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text("[heartbeat]\nserver_interval = 7\n")
    environment = {"WSCHAOS_PORT": "x", "WSCHAOS_PROFILE": "nope", "WSCHAOS_TOKENS": str(tmp_path / "none.json")}
    options = ["--port", "0", "--profile", str(profile), "--token", "mine"]
    with running(*options, environment=environment) as command, command.ready("mine"):
        assert command.welcome["ping_interval"] == 7


def test_profile_and_origins_come_from_the_environment(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"heartbeat": {"server_interval": 7}}')
    environment = {
        "WSCHAOS_PROFILE": str(profile),
        "WSCHAOS_ORIGINS": "https://app.example, http://localhost:3000",
        "WSCHAOS_TOKEN": "mine",
    }
    with running(environment=environment) as command:
        with command.ready("mine", Origin="http://localhost:3000"):
            assert command.welcome["ping_interval"] == 7
        with pytest.raises(InvalidStatus, match="403"), command.ready("mine", Origin="https://foreign.example"):
            pass


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WSCHAOS_PORT", "x", "'x': must be a port, 0 to 65535"),
        ("WSCHAOS_PROFILE", "nope", "no preset named 'nope': there are default, rfc6455, websockets"),
        ("WSCHAOS_ORIGINS", "https://a.example,,", "'': must be origins such as https://app.example:8443, "),
        ("WSCHAOS_ORIGINS", "a.example", "'a.example': must be origins such as "),
        ("WSCHAOS_ORIGINS", "https://a.example/", "'https://a.example/': must be origins such as "),
        ("WSCHAOS_TOKENS", "none.json", "none.json: No such file or directory"),
        ("WSCHAOS_TOKENS", '["secret"', "tokens.json: not JSON"),
        ("WSCHAOS_TOKENS", "[" * 100_000, "tokens.json: not JSON"),
        ("WSCHAOS_TOKENS", '["secret"]', "tokens.json: must be a JSON object of the lists good, expired, revoked"),
        ("WSCHAOS_TOKENS", '{"god": ["secret"]}', "tokens.json: must be a JSON object of the lists good, "),
        ("WSCHAOS_TOKENS", '{"good": "secret"}', "tokens.json: good: must be a list of strings that are not empty"),
        ("WSCHAOS_TOKENS", '{"expired": [""]}', "tokens.json: expired: must be a list of strings that are not empty"),
    ],
)
def test_a_variable_that_is_no_good_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    value: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if value.startswith(("[", "{")):
        Path("tokens.json").write_text(value)
        value = "tokens.json"
    monkeypatch.setenv(name, value)
    assert main(["reference-server"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"wschaos reference-server: {name}: {told}")
    assert line.count("\n") == 1
    assert "secret" not in line


def test_a_port_in_use_is_named_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["reference-server", "--port", str(port), "--log-level", "error"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(
        rf"^wschaos reference-server: .*127\.0\.0\.1:{port}: .*in use \(--port 0 finds a free one\)$",
        told.err,
        re.IGNORECASE | re.MULTILINE,
    )


def test_a_profile_that_is_none_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["reference-server", "--profile", "nope"]) == 2
    assert "wschaos reference-server: no preset named 'nope': there are default" in capsys.readouterr().err
    path = tmp_path / "bad.toml"
    path.write_text("[backoff]\nfactor = 0.1\n")
    assert main(["reference-server", "--profile", str(path)]) == 2
    assert f"{path}: backoff.factor = 0.1: must be 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["reference-server", "--port", "x"], "'x': must be a port, 0 to 65535"),
        (["reference-server", "--port", "65536"], "'65536': must be a port, 0 to 65535"),
        (["reference-server", "--port", "\u00b2"], "must be a port, 0 to 65535"),
        (["reference-server", "--log-level", "loud"], "invalid choice: 'loud'"),
    ],
)
def test_what_cannot_be_asked_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_the_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "BACKOFF-*", "close-01"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[:2]] == ["BACKOFF-01", "BACKOFF-02"]
    assert rows[-1].startswith("CLOSE-01")
    assert main(["rules"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(rows)
    assert main(["rules", "BACKOFF-99"]) == 2
    assert "wschaos rules: no rule 'BACKOFF-99': there are BACKOFF-01" in capsys.readouterr().err

    assert main(["rules", "x"]) == 2
    assert capsys.readouterr().err == "wschaos rules: no rule 'x': 'wschaos rules' lists them\n"


@pytest.mark.parametrize("command", ["soak", "reference-server", "serve"])
def test_ctrl_c_while_it_starts_ends_it_quietly(command: str) -> None:
    # The first import that takes time is where a person would hit it.
    code = (
        "import sys\n"
        "from pytest_wschaos.cli import main\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('asyncio', 'pytest_wschaos.harness'):\n"
        "            raise KeyboardInterrupt\n"
        "assert 'asyncio' not in sys.modules\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        f"raise SystemExit(main([{command!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LATER)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pytest-wschaos {__version__}\n"


def test_an_empty_token_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["reference-server", "--token", ""])
    assert caught.value.code == 2
    assert "--token: must not be empty" in capsys.readouterr().err


def test_an_address_of_another_machine_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference-server", "--host", "192.0.2.1", "--port", "0"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("wschaos reference-server: cannot listen on 192.0.2.1:0: ")
    assert told.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -c 'from pytest_wschaos.cli import main; raise SystemExit(main())' rules | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=LATER)
    assert done.stdout.startswith("RECONNECT-01")
    assert (done.returncode, done.stderr) == (0, "")
