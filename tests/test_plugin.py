"""The plugin as a project uses it: modes, settings and their precedence, what a failure says, and what stays behind."""

from __future__ import annotations

import re
import shlex

import pytest

# What is imported here, once, is not imported anew by each of the sessions in this process.
from pytest_wschaos.checks.rule import rules
from pytest_wschaos.engines import named
from pytest_wschaos.settings import ENGINES

rules()

BARE = """\
[pytest]
addopts = -p no:hypothesispytest -p no:cov -p no:cacheprovider
filterwarnings = error
"""
BASE = """\
[pytest]
addopts = -p no:hypothesispytest -p no:cov -p no:cacheprovider
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

LEFT_BEHIND = '''
"""Tells, after each test, of threads and sockets that were not there before it."""

import contextlib
import gc
import os
import threading

import pytest

found = []


def present():
    gc.collect()
    files = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            files.append(os.readlink("/proc/self/fd/" + name))
    return {thread.name for thread in threading.enumerate()}, {file for file in files if file.startswith("socket:")}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    before = present()
    result = yield
    if present() != before:
        found.append((item.name, before, present()))
    return result


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"LEFT BEHIND: {found}")
'''


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".ini", pytest=BASE)
    return pytester


ECHO = """
import pytest
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_sync
{mark}
async def test_async(wschaos):
    async with connect(wschaos.echo_url) as client:
        await wschaos.wait_for("ready")
        async with wschaos.latency(0.01):
            await client.send("hello")
            assert await client.recv() == "hello"

def test_sync(wschaos):
    with connect_sync(wschaos.echo_url) as client:
        wschaos.wait("ready")
        client.send("hello")
        assert client.recv(10) == "hello"
"""


# --- where it works ---


def test_strict_mode(project: pytest.Pytester) -> None:
    project.makepyfile(ECHO.format(mark="@pytest.mark.asyncio"))
    project.runpytest_inprocess("--asyncio-mode=strict").assert_outcomes(passed=2)


def test_auto_mode(project: pytest.Pytester) -> None:
    project.makepyfile(ECHO.format(mark=""))
    project.runpytest_inprocess("--asyncio-mode=auto").assert_outcomes(passed=2)


def test_xdist(project: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    project.makepyfile(
        ECHO.format(mark="@pytest.mark.asyncio")
        + """
@pytest.mark.parametrize("number", range(4))
def test_fails(wschaos, number):
    wschaos.abort()
    assert False
"""
    )
    result = project.runpytest_subprocess("-n", "2", "--asyncio-mode=strict", "--wschaos-seed=5")
    result.assert_outcomes(passed=2, failed=4)
    assert result.stdout.str().count("seed: 5") == 4
    assert result.stdout.str().count("▒ abort()") == 4


@pytest.mark.parametrize("asyncio_plugin", ["-pno:asyncio", "--asyncio-mode=strict"])
def test_anyio(project: pytest.Pytester, asyncio_plugin: str) -> None:
    pytest.importorskip("anyio")
    if asyncio_plugin == "-pno:asyncio":
        project.makefile(".ini", pytest=BARE)
    project.makeconftest('import pytest\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n')
    project.makepyfile(ECHO.format(mark="@pytest.mark.anyio"))
    # A process of its own: a plugin that this one has loaded can no longer be left out.
    project.runpytest_subprocess("-p", "anyio", asyncio_plugin).assert_outcomes(passed=2)


def test_every_fixture(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from pytest_wschaos import Chaos, ChaosProxy, Dialect, Profile

        def test_settings(wschaos, wschaos_profile, wschaos_dialect):
            assert isinstance(wschaos, Chaos)
            assert wschaos.profile is wschaos_profile
            assert isinstance(wschaos_profile, Profile)
            assert isinstance(wschaos_dialect, Dialect)

        def test_all(wschaos, wschaos_server, wschaos_client, wschaos_proxy, toxiproxy):
            assert wschaos_server is wschaos.server
            assert toxiproxy.get_proxy("client").name == "client"
            with wschaos_client(), wschaos_client("second"):
                wschaos.wait("ready", 2)
            proxy = wschaos_proxy(wschaos_server.url)
            assert isinstance(proxy, ChaosProxy)
            assert proxy.profile is wschaos.profile
            assert proxy.dialect is None
            assert proxy.seed == wschaos.seed
            assert wschaos_proxy(wschaos_server.url, dialect=wschaos.dialect, seed=9).seed == 9
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_profile_and_dialect_can_be_overridden(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_wschaos import Dialect, Profile

        class Mine(Dialect):
            name = "mine"
            def read(self, way, message):
                return None

        @pytest.fixture
        def wschaos_profile(wschaos_profile):
            return wschaos_profile.with_(backoff={"base": 2})

        @pytest.fixture
        def wschaos_dialect():
            return Mine()
        """
    )
    project.makepyfile(
        """
        def test_mine(wschaos, wschaos_proxy):
            proxy = wschaos_proxy(wschaos.server.url)
            for chaos in (wschaos, proxy):
                assert chaos.profile.backoff.base == 2
                assert chaos.dialect.name == "mine"
                assert chaos.freeze().dialect == "mine"
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=1)


def test_marker_and_option_go_before_an_override(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_wschaos import Profile

        @pytest.fixture
        def wschaos_profile():
            return Profile().with_(heartbeat={"interval": 7})
        """
    )
    project.makepyfile(
        """
        import pytest

        def test_override(wschaos, wschaos_proxy):
            proxy = wschaos_proxy(wschaos.server.url)
            for chaos in (wschaos, proxy):
                assert chaos.profile.heartbeat.interval == 7

        @pytest.mark.wschaos(profile="websockets")
        def test_marker(wschaos, wschaos_proxy):
            proxy = wschaos_proxy(wschaos.server.url)
            for chaos in (wschaos, proxy):
                assert chaos.profile.heartbeat.interval == 20
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)
    project.runpytest_inprocess("--wschaos-profile=rfc6455", "-k", "test_override").assert_outcomes(
        failed=1, deselected=1
    )


def test_a_dialect_that_is_none_is_one_clear_line(project: pytest.Pytester) -> None:
    project.makeconftest("import pytest\n@pytest.fixture\ndef wschaos_dialect(): return dict\n")
    project.makepyfile("def test_it(wschaos): pass\n")
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    (told,) = errors(result)
    assert told.startswith("wschaos_dialect: dialect = <class 'dict'>: must be an instance of a subclass of ")


# --- settings ---

SETTINGS = """
import pytest
from pytest_wschaos import Profile

def test_plain(wschaos):
    print("PLAIN", wschaos.profile.backoff.base, wschaos.seed)

@pytest.mark.wschaos(profile=Profile().with_(backoff={"base": 7}), seed=0)
def test_marked(wschaos):
    print("MARKED", wschaos.profile.backoff.base, wschaos.seed)

@pytest.mark.wschaos(seed=1)
class TestInner:
    @pytest.mark.wschaos(profile="rfc6455")
    def test_nested(self, wschaos):
        print("NESTED", wschaos.profile.backoff.base, wschaos.seed)
"""


def told(result: pytest.RunResult) -> dict[str, list[str]]:
    found = re.findall(r"(PLAIN|MARKED|NESTED) (\S+) (\S+)", result.stdout.str())
    return {name: figures for name, *figures in found}


def test_a_marker_goes_before_an_option_and_that_before_an_ini_value(project: pytest.Pytester) -> None:
    project.makefile(".ini", pytest=BASE + "wschaos_profile = mine.toml\nwschaos_seed = 11\n")
    project.makefile(".toml", mine="[backoff]\nbase = 3\n", other="[backoff]\nbase = 4\n")
    project.makepyfile(SETTINGS)
    by_ini = told(project.runpytest_inprocess("-s", "--strict-markers"))
    assert by_ini == {"PLAIN": ["3.0", "11"], "MARKED": ["7.0", "0"], "NESTED": ["5.0", "1"]}
    by_option = told(project.runpytest_inprocess("-s", "--wschaos-profile=other.toml", "--wschaos-seed=0"))
    assert by_option == {"PLAIN": ["4.0", "0"], "MARKED": ["7.0", "0"], "NESTED": ["5.0", "1"]}


WHERE = """
import os, time
import pytest

def test_plain(wschaos):
    print("plain:", wschaos.engine)

@pytest.mark.wschaos(engine="embedded")
def test_marked(wschaos):
    print("marked:", wschaos.engine)

def test_elsewhere(wschaos_proxy, wschaos):
    print("elsewhere:", wschaos_proxy(f"127.0.0.1:{wschaos.server.port}").engine)

@pytest.mark.wschaos(clock="virtual")
async def test_virtual(wschaos):
    print("virtual:", wschaos.engine)
"""


def test_the_engine_is_chosen_by_option_variable_or_ini_value(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(WHERE)
    always = {"marked": "embedded", "virtual": "embedded"}
    process = always | {"plain": "process", "elsewhere": "process"}
    embedded = always | {"plain": "embedded", "elsewhere": "embedded"}

    def engines(*options: str) -> dict[str, str]:
        result = project.runpytest_inprocess("-s", "--asyncio-mode=auto", *options)
        result.assert_outcomes(passed=4)
        return dict(re.findall(r"(\w+): (embedded|process)$", result.stdout.str(), re.MULTILINE))

    assert engines() == embedded
    assert engines("--wschaos-engine=process") == process
    assert engines("-o", "wschaos_engine=process") == process
    monkeypatch.setenv("WSCHAOS_ENGINE", "process")
    assert engines("-o", "wschaos_engine=embedded") == process
    assert engines("--wschaos-engine=embedded") == embedded
    monkeypatch.setenv("WSCHAOS_ENGINE", "podman")
    result = project.runpytest_inprocess()
    result.stderr.fnmatch_lines([f"ERROR: environment variable WSCHAOS_ENGINE = 'podman': must be {ENGINES}"])


HELD_UP = """
import ssl, time

def test_busy(wschaos):
    assert wschaos.engine == "embedded"
    for _ in range(3):
        wschaos._runner.call(time.sleep, 0.05)
        wschaos.freeze()  # the loop has had a turn

def test_after_it(wschaos, wschaos_proxy):
    wschaos.abort(must_bite=False)
    told = [wschaos.engine, wschaos_proxy(f"127.0.0.1:{wschaos.server.port}").engine]
    try:
        context = ssl.create_default_context()
        wschaos_proxy(f"wss://127.0.0.1:{wschaos.server.port}", terminate=True, upstream_ssl=context)
    finally:
        assert told == []
"""


def test_where_a_test_held_the_engine_up_those_after_it_have_it_in_a_process(project: pytest.Pytester) -> None:
    project.makepyfile(HELD_UP)
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=1)
    assert "assert ['process', 'process'] == []" in result.stdout.str()
    assert result.stdout.str().count(" --wschaos-engine=process\n") == 2


KILLED = """
import os, signal
import pytest
from pytest_wschaos.engines.process import shared

def kill():
    os.kill(shared.get().pid, signal.SIGKILL)
    shared._one._process.wait()

def test_waits(wschaos):
    kill()
    wschaos.wait("fault")

def test_fails(wschaos):
    kill()
    assert False

def test_passes(wschaos):
    wschaos.latency(0.01)
    kill()

def test_after_it(wschaos):
    wschaos.latency(0.01, must_bite=False)
"""


def test_an_engine_that_was_killed_is_told_by_the_test_alone(project: pytest.Pytester) -> None:
    project.makepyfile(KILLED)
    result = project.runpytest_inprocess("--wschaos-engine=process", "-W", "default")
    result.assert_outcomes(passed=1, failed=3)
    text = result.stdout.str().partition("short test summary")[0]  # which tells it again where CI is set
    assert text.count("EngineDied: the engine's process was ended by signal 9") == 1
    assert text.count("what was seen is not whole: the engine's process was ended by signal 9") == 1


def test_an_engine_that_is_not_there_is_one_line_or_a_skip(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project.path))
    project.makepyfile(
        "def test_it(wschaos): pass\n"
        "def test_factory(wschaos_proxy): wschaos_proxy('127.0.0.1:9')\n"
        "def test_other(): pass\n"
    )
    result = project.runpytest_inprocess("--wschaos-engine=binary")
    result.assert_outcomes(passed=1, errors=1, failed=1)
    assert errors(result)[0].startswith("engine 'binary': there is no toxiproxy-server on PATH: install")
    project.runpytest_inprocess("--wschaos-engine=binary", "--wschaos-skip-missing").assert_outcomes(
        passed=1, skipped=1, failed=1
    )


def test_auto_says_what_it_has_come_to(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project.path))
    monkeypatch.setattr(named, "DEFAULT", "http://127.0.0.1:9")
    project.makepyfile("def test_it(wschaos): assert wschaos.engine == 'embedded'\n")
    result = project.runpytest_inprocess("--wschaos-engine=auto")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["wschaos: engine auto: embedded"])


def test_auto_of_a_proxy_is_that_of_the_session(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "DEFAULT", "http://127.0.0.1:9")
    program = project.makefile("", program="#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    project.makepyfile(
        "def test_it(wschaos, wschaos_proxy):\n    wschaos_proxy(f'127.0.0.1:{wschaos.server.port}', engine='auto')\n"
    )
    result = project.runpytest_inprocess("-o", "wschaos_toxiproxy_binary=./program")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"engine 'binary': {program} does not answer; it said:"])


def test_without_a_seed_all_tests_of_a_session_share_a_new_one(project: pytest.Pytester) -> None:
    project.makepyfile("def test_a(wschaos):\n    print('PLAIN', wschaos.seed, '.')\n")
    first, second = (told(project.runpytest_inprocess("-s"))["PLAIN"] for _ in range(2))
    assert first != second
    project.makepyfile(
        """
        seeds = set()
        def test_a(wschaos): seeds.add(wschaos.seed)
        def test_b(wschaos): assert seeds == {wschaos.seed}
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)


def test_paths_count_from_who_names_them(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makefile(".ini", pytest=BASE + "wschaos_profile = root.toml\n")
    project.makefile(".toml", root="[backoff]\nbase = 3\n")
    inner = project.mkdir("inner")
    (inner / "inner.toml").write_text("[backoff]\nbase = 6\n")
    (inner / "test_paths.py").write_text(
        "import pytest\n"
        "def test_ini(wschaos): assert wschaos.profile.backoff.base == 3\n"
        "@pytest.mark.wschaos(profile='inner.toml')\n"
        "def test_marker(wschaos): assert wschaos.profile.backoff.base == 6\n"
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)
    monkeypatch.chdir(inner)
    project.runpytest_inprocess("test_paths.py").assert_outcomes(passed=2)
    project.runpytest_inprocess("--wschaos-profile=inner.toml", "-k", "ini").assert_outcomes(failed=1, deselected=1)


def errors(result: pytest.RunResult) -> list[str]:
    """The whole text of each error at setup."""
    text = result.stdout.str().partition("short test summary")[0]
    parts = re.split(r"^_+ ERROR at setup of \w+ _+$", text, flags=re.MULTILINE)[1:]
    return [re.sub(r"\n=+ $", "", part).strip() for part in parts]


NO_PRESET = "{}: no preset named 'nope': there are default, rfc6455, websockets (a file ends in .toml or .json)"


def test_a_marker_that_cannot_be_is_one_clear_line(project: pytest.Pytester) -> None:
    wrong = {
        "seed='x'": "marker wschaos(seed) = 'x': must be a whole number",
        "seed=1.5": "marker wschaos(seed) = 1.5: must be a whole number",
        "seed=True": "marker wschaos(seed) = True: must be a whole number",
        "profile='nope'": NO_PRESET.format("marker wschaos(profile)"),
        "profile=3": "marker wschaos(profile): profile = 3: must be a Profile, a preset's name, or a .toml or .json "
        "file",
        "profile='bad.toml'": "marker wschaos(profile): {}/bad.toml: backoff.factor = 0.5: must be 1 or more "
        "(delays must not shrink)",
        "profile='none.json'": "marker wschaos(profile): {}/none.json: not a readable profile: No such file or "
        "directory",
        "sed=1": "test_bad.py::test_7: marker wschaos does not take sed: only profile=, seed=, clock=, time_limit=, "
        "engine=",
        "1": "test_bad.py::test_8: marker wschaos does not take an argument without a name: only "
        "profile=, seed=, clock=, time_limit=, engine=",
        "engine='podman'": f"marker wschaos(engine) = 'podman': must be {ENGINES}",
    }
    project.makefile(".toml", bad="[backoff]\nfactor = 0.5\n")
    tests = [f"@pytest.mark.wschaos({mark})\ndef test_{n}(wschaos): pass\n" for n, mark in enumerate(wrong)]
    project.makepyfile(test_bad="import pytest\n" + "".join(tests))
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=len(wrong))
    assert errors(result) == [message.format(project.path) for message in wrong.values()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--wschaos-seed=abc"], "--wschaos-seed = 'abc': must be a whole number"),
        (["--wschaos-seed="], "--wschaos-seed = '': must be a whole number"),
        (["-o", "wschaos_seed=abc"], "ini value wschaos_seed = 'abc': must be a whole number"),
        (["--wschaos-engine=podman"], f"--wschaos-engine = 'podman': must be {ENGINES}"),
        (["-o", "wschaos_engine=podman"], f"ini value wschaos_engine = 'podman': must be {ENGINES}"),
        (["--wschaos-seeds=0"], "--wschaos-seeds = 0: must be a whole number, 1 or more"),
        (
            ["--wschaos-clock=fast"],
            "--wschaos-clock = 'fast': must be real, virtual, hybrid, or several with commas: 'real, virtual'",
        ),
        (["--wschaos-clock=real,real"], "--wschaos-clock = 'real,real': names a clock twice"),
        (["--wschaos-time-limit=0"], "--wschaos-time-limit = '0': must be a number of virtual seconds above 0"),
    ],
)
def test_an_option_that_cannot_be_is_told_before_any_test(
    project: pytest.Pytester, options: list[str], message: str
) -> None:
    project.makepyfile("def test_it(): pass\n")
    result = project.runpytest_subprocess(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [f"ERROR: {message}"]


def test_a_profile_that_cannot_be_is_told_by_the_tests_that_use_it(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(wschaos): pass\ndef test_other(): pass\n")
    result = project.runpytest_inprocess("--wschaos-profile=nope")
    result.assert_outcomes(errors=1, passed=1)
    assert errors(result) == [NO_PRESET.format("--wschaos-profile")]


# --- what a failure says ---


@pytest.mark.parametrize("ci", ["", "true"], ids=["at home", "in CI"])
def test_a_broken_rule_says_all_that_is_needed(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)  # there pytest's summary shows messages in full
    project.makepyfile(
        test_mine="""
        import pytest
        from pytest_wschaos import Profile

        @pytest.mark.parametrize("name", ["it's", "b"])
        def test_rule(wschaos, name):
            with wschaos.client():
                wschaos.wait("ready")
                wschaos.assert_rules("BACKOFF-01")
        """
    )
    result = project.runpytest_inprocess("--wschaos-seed=77", "--wschaos-profile=default")
    result.assert_outcomes(failed=2)
    output = result.stdout.str()
    for part in (
        "1 of 1 rules did not hold",
        "BACKOFF-01 INCONCLUSIVE",
        "expected:",
        "seen:",
        "profile:  backoff.",
        "what happened:",
        "client                          proxy                          server",
        "connect ────",
        "101",
        "seed: 77",
    ):
        assert part in output, part
    assert output.count("what happened:") == 2  # once each
    _, _, summary = output.partition("short test summary info")
    assert [line.partition(" ")[0] for line in summary.splitlines()[1:-1]] == ["FAILED", "FAILED"]  # a line each
    assert "harness.py" not in output  # the traceback ends in the test
    commands = re.findall(r"again: (.*)", output)
    assert [shlex.split(command) for command in commands] == [
        ["pytest", f"test_mine.py::test_rule[{name}]", "--wschaos-seed=77", "--wschaos-profile=default"]
        for name in ("it's", "b")
    ]
    again = project.runpytest_inprocess(*shlex.split(commands[0])[1:])
    again.assert_outcomes(failed=1)
    assert "seed: 77" in again.stdout.str()


@pytest.mark.parametrize(
    "code",
    [
        "def test_it(wschaos):\n    wschaos.abort()\n    assert 0",
        "def test_it(wschaos):\n    wschaos.abort()\n    wschaos.wait('ready', timeout=0)",
        "@pytest.fixture\ndef mine(wschaos):\n    wschaos.abort()\n    assert 0\ndef test_it(mine): pass",
        "@pytest.fixture\ndef mine(wschaos):\n    yield\n    wschaos.abort()\n    assert 0\ndef test_it(mine): pass",
        "def test_it(wschaos_server, wschaos_proxy):\n    wschaos_proxy(wschaos_server.url).abort()\n    assert 0",
    ],
    ids=["assert", "wait", "setup", "teardown", "proxy"],
)
def test_any_failure_shows_what_happened(project: pytest.Pytester, code: str) -> None:
    project.makepyfile(f"import pytest\n{code}")
    output = project.runpytest_inprocess("--wschaos-seed=8").stdout.str()
    assert "▒ abort()" in output
    assert "seed: 8" in output
    assert "--wschaos-seed=8" in output


def test_what_passes_or_has_no_chaos_shows_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        def test_other(): assert 0
        def test_fine(wschaos): wschaos.abort(must_bite=False)
        def test_skipped(wschaos): pytest.skip("no need")
        @pytest.mark.xfail(strict=True)
        def test_expected(wschaos): assert 0
        """
    )
    result = project.runpytest_inprocess("-rA")
    result.assert_outcomes(failed=1, passed=1, skipped=1, xfailed=1)
    assert "what happened:" not in result.stdout.str()


# --- what stays behind ---


def test_nothing_stays_behind_whatever_fails(project: pytest.Pytester) -> None:
    project.makeconftest(LEFT_BEHIND)
    project.makepyfile(
        """
        import asyncio
        import socket
        import threading

        import pytest
        from websockets.asyncio.client import connect
        from websockets.sync.client import connect as connect_sync

        from pytest_wschaos import Dialect, Profile

        class Bad(Dialect):
            name = "bad"
            def speaks(self, path, subprotocols): return True
            def read(self, way, message): raise LookupError("no idea")

        async def fails(websocket):
            raise LookupError("no luck")

        def test_body(wschaos):
            wschaos.silent_drop()
            assert 0

        def test_block(wschaos):
            with wschaos.refuse(), connect_sync(wschaos.echo_url):
                pass

        def test_argument(wschaos):
            wschaos.latency(-1)

        def test_client(wschaos_client, wschaos):
            wschaos_client().send("topic", "never settled")
            wschaos.wait("ready")
            wschaos.silent_drop()
            wschaos_client("second")
            wschaos.mute_pongs()
            assert 0

        def test_api(toxiproxy):
            toxiproxy.create(name="other", upstream="127.0.0.1:9", listen="127.0.0.1:0")
            assert 0

        def test_upstream(wschaos_proxy, wschaos_server):
            wschaos_proxy(wschaos_server.url)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                wschaos_proxy("127.0.0.1:%d" % free.getsockname()[1])

        @pytest.fixture
        def broken(wschaos):
            wschaos.unanswered_handshake()
            raise LookupError("no luck")

        def test_setup(broken): pass

        @pytest.fixture
        def late(wschaos):
            yield
            wschaos.refuse()
            raise LookupError("no luck")

        def test_teardown(late): pass

        @pytest.mark.wschaos(seed="x")
        def test_setting(wschaos): pass

        def test_handler(wschaos):
            with connect_sync(wschaos.serve(fails)) as client:
                client.recv(10)

        class TestDialect:
            @pytest.fixture
            def wschaos_dialect(self): return Bad()

            def test_read(self, wschaos):
                with connect_sync(wschaos.echo_url) as client:
                    client.send("hello")
                    assert client.recv(10) == "bye"

        class TestProfile:
            @pytest.fixture
            def wschaos_profile(self): return {"backoff": {}}

            def test_type(self, wschaos): pass

        @pytest.mark.asyncio
        async def test_cancelled(wschaos):
            async with asyncio.timeout(0.05):
                await wschaos.wait_for("ready", timeout=60)

        @pytest.mark.asyncio
        async def test_open(wschaos):
            async with connect(wschaos.echo_url, close_timeout=0.1) as client:
                async with wschaos.silent_drop():
                    await client.send("lost")
                    await wschaos.wait_for("pong", timeout=0)

        def test_raw(wschaos):
            with socket.create_connection((wschaos.host, wschaos.port)) as client:
                client.sendall(b"\\x16\\x03\\x01 no HTTP\\r\\n\\r\\n\\xff\\xff\\xff")
                wschaos.wait("attempt")
                assert 0

        def test_thread(wschaos):
            caught = []
            def work():
                try:
                    wschaos.wait("ready", timeout=60)
                except BaseException as error:
                    caught.append(error)
            waiting = threading.Thread(target=work)
            waiting.start()
            wschaos.report({"event": "odd"})
            with connect_sync(wschaos.echo_url):
                waiting.join()
            assert caught
        """
    )
    result = project.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", "-rA", timeout=60)
    output = result.stdout.str() + result.stderr.str()
    assert result.parseoutcomes().get("passed", 0) == 1  # test_teardown's body
    assert "LEFT BEHIND: []" in output
    for noise in ("Warning:", "was never retrieved", "was destroyed but it is pending", "Event loop is closed"):
        assert not [line for line in output.splitlines() if noise in line]
