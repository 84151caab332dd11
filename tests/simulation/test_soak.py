"""Soaks, short ones: minutes of virtual time."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from mutants.replay import ForgetsItsSequence, NewestFirst, SubscriptionsNotRestored

from pytest_wschaos import Chaos, Profile, ReferenceClient
from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome
from pytest_wschaos.cli import main
from pytest_wschaos.simulation.errors import TimeLimit
from pytest_wschaos.simulation.run import run
from pytest_wschaos.simulation.soak import Settings, soak
from pytest_wschaos.simulation.soak.application import TOPICS, Application
from pytest_wschaos.simulation.soak.progress import Progress
from pytest_wschaos.simulation.soak.storm import KINDS, draw
from pytest_wschaos.simulation.soak.window import carried
from pytest_wschaos.timeline import Event, Record

MINUTES = 1 / 60
LATER = 60.0
COMMAND = [sys.executable, "-W", "error", "-c", "from pytest_wschaos.cli import main; raise SystemExit(main())", "soak"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_reference_pair_survives(seed: int) -> None:
    summary = soak(Settings(10 * MINUTES, 3, seed))
    assert summary.violation is None
    assert not summary.interrupted
    assert summary.seconds >= 600
    assert summary.windows >= 2
    assert summary.faults.total() > 0
    assert summary.counts.acknowledged > 0
    assert summary.counts.heard > 0
    assert summary.verdicts[Outcome.FAIL] == 0
    assert summary.verdicts[Outcome.PASS] > 0


@pytest.mark.parametrize("preset", ["rfc6455", "websockets"])
def test_other_profiles(preset: str) -> None:
    summary = soak(Settings(10 * MINUTES, 2, 4, preset))
    assert summary.violation is None
    assert summary.faults["silent_drop"] == 0 or preset == "websockets"


def quiet(seed: int, hash_seed: str) -> list[str]:
    """The summary of a soak in a process of its own, but for what depends on the machine."""
    done = subprocess.run(
        [*COMMAND, "--hours", "0.17", "--clients", "3", "--seed", str(seed), "--quiet"],
        capture_output=True,
        text=True,
        timeout=LATER,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\d+\.\d\d virtual hours per wall minute", lines[-1])
    return [line for line in lines[:-1] if not line.startswith("  wall time")]


def test_the_same_seed_gives_the_same_summary() -> None:
    first = quiet(5, "1")
    assert quiet(5, "2") == first
    assert quiet(6, "1") != first


@pytest.mark.parametrize(
    ("kind", "seed", "told"),
    [
        (NewestFirst, 1, r"message \d+ reached the server after message \d+"),
        (
            SubscriptionsNotRestored,
            1,
            r"publication \d+ of news-\d has not come, the last one was \d+ within 60 s, in a calm",
        ),
        (ForgetsItsSequence, 1, "1 of 63 rules did not hold: REPLAY-04 FAIL"),
    ],
)
def test_a_broken_client_is_caught_and_shown(kind: type[ReferenceClient], seed: int, told: str) -> None:
    summary = soak(Settings(2.0, 3, seed, kind=kind))
    assert summary.violation is not None
    first, *_, last = summary.violation.splitlines()
    assert re.fullmatch(rf"BROKEN at [\d.]+ virtual seconds \([\d.]+ h\), window \d+, client c\d: .*{told}.*", first)
    assert "what happened:\n  seconds   client" in summary.violation
    assert f"seed: {seed}" in summary.violation
    assert last == f"again: wschaos soak --hours 2 --clients 3 --seed {seed}"
    assert "BROKEN" in summary.lines()[0]
    again = soak(Settings(2.0, 3, seed, kind=kind))
    assert again.violation == summary.violation


class Leaking(ReferenceClient):
    """Leaves a task behind for each link."""

    def welcomed(self, welcome: dict[str, object]) -> None:
        super().welcomed(welcome)
        self._left = [*getattr(self, "_left", ()), asyncio.get_running_loop().create_task(asyncio.sleep(1e6))]


def test_a_leak_of_tasks_is_caught() -> None:
    summary = soak(Settings(1.0, 2, 1, kind=Leaking))
    assert summary.violation is not None
    assert re.search(r"tasks were left over that were not there in the first calm: \d+ x sleep", summary.violation)


def heard(late: tuple[int, ...]) -> list[str]:
    """The breaches that an application tells of that subscribes anew while it does not read.

    Publication 1 waits for it; after 3 publications in all it is subscribed again; then ``late`` reach it.
    """
    told: list[str] = []
    published = dict.fromkeys(TOPICS, 0)

    async def main() -> None:
        async with Chaos() as chaos:
            application = Application(
                chaos, "c1", ReferenceClient, Random(1), lambda what, _: told.append(what), published
            )

            async def publish(topic: str, *numbers: int) -> None:
                for number in numbers:
                    published[topic] = number
                    chaos.server.publish(topic, {"n": number})
                await asyncio.sleep(1)
                application.look(chaos.timeline.now())

            topic = next(iter(application.topics))
            await publish(topic)
            application.handle.pause_reading()
            await publish(topic, 1)
            application._leave(topic)
            await publish(topic)
            assert topic not in application.topics
            await publish(topic, 2, 3)
            application.subscribe(topic)
            await publish(topic)
            await publish(topic, *late)
            application.resume()

    run(main)
    return told


def test_an_application_that_subscribes_anew_reads_what_waited_from_before_and_misses_what_came_between() -> None:
    assert heard((4, 5)) == []


def test_but_nothing_that_came_after() -> None:
    (told,) = heard((4, 6))
    assert re.fullmatch(r"publications 5 to 5 of news-\d are missing; no gap was told", told)


# --- the command


class CannotPause(ReferenceClient):
    def pause_reading(self) -> None:
        raise ValueError("mine")


def test_an_application_that_crashes_ends_it() -> None:
    summary = soak(Settings(2.0, 3, 1, kind=CannotPause))
    assert summary.violation is not None
    assert re.match(r"BROKEN at [\d.]+ virtual seconds .*: the traffic failed: Traceback", summary.violation)
    assert "ValueError: mine" in summary.violation


class Circling(ReferenceClient):
    """Runs in circles once it is ready."""

    def welcomed(self, welcome: dict[str, object]) -> None:
        super().welcomed(welcome)
        self._circle()

    def _circle(self) -> None:
        asyncio.get_running_loop().call_soon(self._circle)


def test_a_simulation_that_stops_is_no_interruption() -> None:
    summary = soak(Settings(1.0, 1, 1, kind=Circling))
    assert summary.violation is not None
    assert "the simulation stopped: the loop" in summary.violation.splitlines()[0]
    assert not summary.interrupted
    assert summary.lines()[0].endswith(": BROKEN")


def test_a_simulation_that_stops_before_it_has_begun_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def chaos(**_: object) -> None:
        raise TimeLimit("too early")

    monkeypatch.setattr("pytest_wschaos.simulation.soak.run.Chaos", chaos)
    assert soak(Settings(1.0, 1, 1)).violation == "the simulation stopped: too early"


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"hours": 0}, "hours = 0: must be a number above 0"),
        ({"hours": float("inf")}, "hours = inf"),
        ({"clients": 0}, "clients = 0: must be a number of clients, 1 or more"),
        ({"clients": True}, "clients = True"),
        ({"seed": "x"}, "seed = 'x': must be a whole number"),
    ],
)
def test_settings_that_cannot_be_are_refused(figures: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings(**{"hours": 1.0, "clients": 1, "seed": 1, **figures})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--hours", "0"], "argument --hours: '0': must be a number of hours above 0"),
        (["--hours", "nan"], "argument --hours: 'nan': must be a number of hours above 0"),
        (["--hours", "soon"], "argument --hours: 'soon': must be a number of hours above 0"),
        (["--hours", "1e9"], "argument --hours: '1e9': must be a number of hours above 0, 8784 at most"),
        (["--clients", "0"], "argument --clients: '0': must be a number of clients, 1 to 10000"),
        (["--clients", "two"], "argument --clients: 'two': must be a number of clients, 1 to 10000"),
        (["--seed", "x"], "argument --seed: 'x': must be a whole number"),
        (["--what"], "unrecognized arguments: --what"),
    ],
)
def test_bad_input_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["soak", *arguments])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_a_profile_that_is_none_is_one_clear_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["soak", "--profile", "nope"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("wschaos soak: no preset named 'nope': there are default")
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert main(["soak", "--profile", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: not a readable profile" in capsys.readouterr().err


def test_ctrl_c_ends_it_with_the_summary_so_far() -> None:
    command = [*COMMAND, "--hours", "5000", "--clients", "2", "--seed", "1"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit "ignored"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("wschaos soak --hours 5000 --clients 2 --seed 1: ")
        time.sleep(0.5)  # let it do something
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=LATER)
    finally:
        process.kill()
    assert process.returncode == 130, out + errors
    assert re.match(r"soak: [\d.]+ virtual hours, 2 clients, seed 1: interrupted", out)
    assert out.splitlines()[-1].endswith("virtual hours per wall minute")
    assert "Traceback" not in errors


def test_without_a_seed_a_new_one_is_taken_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak", "--hours", "0.001", "--clients", "1", "--quiet"]) == 0
    told = capsys.readouterr()
    assert re.match(r"soak: [\d.]+ virtual hours, 1 clients, seed \d+: nothing was broken", told.out)
    assert told.err == ""


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pytest_wschaos.simulation.soak.progress.perf_counter", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal()
    progress = Progress(terminal, 24)
    now[0] = 60.0
    progress.tick(6 * 3600, 12)
    progress.tick(6 * 3600, 12)  # too soon
    bar = "\r[######..................] 6.0 of 24 virtual hours, 12 faults, 6.00 virtual hours a minute, 3 min left"
    assert terminal.getvalue() == bar
    progress.clear()
    assert terminal.getvalue().endswith(" \r")


def test_plain_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pytest_wschaos.simulation.soak.progress.perf_counter", lambda: now[0])
    out = io.StringIO()
    progress = Progress(out, 2)
    for second in range(1, 31):
        now[0] = float(second)
        progress.tick(second * 120.0, second)
    told = out.getvalue().splitlines()
    assert len(told) == 3
    assert told[0] == "0.3 of 2 virtual hours, 10 faults, 2.00 virtual hours a minute, 50 s left"


# --- storms, and what is forgotten


def test_storms_are_drawn_from_the_seed_and_have_every_kind_of_fault() -> None:
    assert draw(Random(1), Profile()) == draw(Random(1), Profile())
    drawn = {spell.kind for seed in range(100) for spell in draw(Random(seed), Profile())}
    assert drawn == set(KINDS)


def test_links_do_not_die_silently_where_nobody_would_find_out() -> None:
    spells = [spell for seed in range(100) for spell in draw(Random(seed), Profile.preset("rfc6455"))]
    assert "silent_drop" not in {spell.kind for spell in spells}


def _connection(number: int, at: float, *, ended: float | None = None) -> list[Event]:
    events = [
        Event(at, "app.connecting", "app", "c"),
        Event(at, "attempt", "client", "c", number),
        Event(at + 0.1, "ready", "client", "c", number),
        Event(at + 0.1, "app.ready", "app", "c"),
    ]
    if ended is not None:
        events += [
            Event(ended, "end", "client", "c", number, detail={"by": "proxy", "how": "fin"}),
            Event(ended, "app.closed", "app", "c", detail={"code": 1006}),
            Event(ended, "app.waiting", "app", "c", detail={"attempt": 1, "delay": 1.0}),
        ]
    return events


def test_the_newest_connection_is_kept_whole_and_the_ended_ones_are_forgotten() -> None:
    over = [
        Event(5.0, "fault", "proxy", detail={"fault": "latency", "id": 1}),
        Event(9.0, "healed", "proxy", detail={"fault": "latency", "id": 1}),
    ]
    lasting = [
        Event(10.0, "fault", "proxy", detail={"fault": "latency", "id": 2}),
        Event(30.0, "healed", "proxy", detail={"fault": "latency", "id": 2}),
    ]
    tokens = [Event(at, "token", "harness", detail={"fingerprint": str(at)}) for at in (1.0, 2.0, 3.0, 4.0)]
    late = [
        Event(22.0, "end", "server", "c", 1),  # the server's side of what is over
        Event(23.0, "app.message", "app", "c", detail={"digest": "read late, by a paused application"}),
        Event(24.0, "message", "client", "c", 2, "down", {"digest": "d"}),
        Event(24.0, "app.message", "app", "c", detail={"digest": "d"}),
    ]
    newest = _connection(2, 21.0)
    events = sorted([*_connection(1, 0.0, ended=20.0), *over, *lasting, *tokens, *newest, *late], key=lambda e: e.at)
    expected = sorted([*lasting, *tokens[-2:], *newest, *late[2:]], key=lambda e: e.at)
    assert carried(events) == expected
    record = Record(tuple(carried(events)), 40.0)
    assert not [v for v in judge(record, Profile()) if v.outcome is Outcome.FAIL]


def test_nothing_to_forget() -> None:
    assert carried([]) == []
    events = _connection(1, 0.0)
    assert carried(events) == events
