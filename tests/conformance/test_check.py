"""``wschaos check`` as its users meet it: what it prints, what it writes, and with which status it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from pytest_wschaos.cli import main
from pytest_wschaos.conformance.reports.report import Report, ReportError
from pytest_wschaos.conformance.suite.case import cases

REFERENCE = "pytest_wschaos.conformance.subjects.reference:reference"
BROKEN = "conformance.subjects:soon_gives_up"
BOTH = ("RECONNECT-02/fin", "RECONNECT-06/refused")
"""The broken one keeps the first and fails the second."""
VIRTUAL = ["--clock", "virtual", "--seed", "7"]
PLAIN = ("RECONNECT-01/silent-drop", "RECONNECT-02/reset", "RECONNECT-02/fin")
ECHO = Path(__file__).parents[2] / "examples" / "subjects" / "servers" / "websockets_server.py"
COMMAND = [sys.executable, "-m", "pytest_wschaos.conformance.subjects.speak", REFERENCE]


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Run:
    """One run in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str, subject: str = REFERENCE) -> None:
        self.status = main(["check", "--subject", subject, *VIRTUAL, *words])
        self.out, self.err = capsys.readouterr()


def test_a_client_that_keeps_the_rules_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, *BOTH)
    assert (run.status, run.err) == (0, "")
    lines = run.out.splitlines()
    assert sorted(line.split()[:3] for line in lines[:2]) == [[BOTH[0], "PASS", "OK"], [BOTH[1], "PASS", "UNSUPPORTED"]]
    assert "RECONNECT       2           .     .         .        .   1        .           ." in lines
    assert "2 PASS in" in lines[-1]
    assert max(map(len, lines)) <= 80


def test_one_that_breaks_a_rule_ends_with_1_and_is_told_all(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, *BOTH, subject=BROKEN)
    assert run.status == 1
    told = run.out.partition("RECONNECT-06/refused FAIL\n")[2]
    assert "  case:     After max_retries" in told
    assert "  expected: After max_retries consecutive failures the client stops" in told
    assert "  seen:     2 of 10 retries" in told
    assert "  profile:  reconnect.max_retries = 10" in told
    assert f"wschaos check RECONNECT-06/refused --seed=7 --subject={BROKEN} --clock=virtual" in told
    assert "1 PASS, 1 FAIL in" in told


def test_one_case_alone_is_told_with_its_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "RECONNECT-06/refused", subject=BROKEN)
    assert run.status == 1
    assert "what happened:" in run.out
    assert "seed: 7" in run.out


def test_what_is_printed_to_repeat_a_case_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    first = Run(capsys, *BOTH, subject=BROKEN)
    again = next(line for line in first.out.splitlines() if "again:" in line).partition("again:")[2]
    assert main(shlex.split(again)[1:]) == 1
    assert "RECONNECT-06/refused FAIL" in capsys.readouterr().out


def test_where_nothing_passed_or_failed_it_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, "REPLAY-06/given-up", subject="conformance.subjects:speaks_raw")
    assert run.status == 2
    assert "UNSUPPORTED" in run.out
    assert run.err == "wschaos check: no case passed or failed: nothing is known of the subject\n"


def test_what_is_unsupported_does_not_fail_but_under_strict(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("RECONNECT-02/fin", "REPLAY-06/given-up")
    subject = "conformance.subjects:speaks_raw"
    assert Run(capsys, *words, subject=subject).status == 0
    assert Run(capsys, *words, "--strict", subject=subject).status == 1


def test_a_server_that_only_echoes_is_judged_by_its_frames(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--server=ws://127.0.0.1:0/ws", f"--command={shlex.join([sys.executable, str(ECHO)])}"]
    assert main(["check", "MESSAGE-01/kinds", "MESSAGE-04/chunks", "--endpoint=echo", *command]) == 0
    out = capsys.readouterr().out
    assert re.search("MESSAGE-01/kinds +PASS", out)
    assert re.search("MESSAGE-04/chunks +UNSUPPORTED", out)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say what is under test"),
        (["--subject", REFERENCE, "--", "true"], "say what is under test"),
        (["--subject", "no.such:thing"], "--subject no.such:thing: No module named 'no'"),
        (["--subject", "conformance.subjects:nothing"], "must be package.module:name"),
        (["--subject", "conformance.subjects:NO_FUNCTION"], "is no function"),
        (["--clock", "virtual", "--", "true"], "--clock virtual"),
        (["--token", "x", "--", "true"], "--token: goes with --server"),
        (["NOPE-01", "--", "true"], "no case 'NOPE-01'"),
        (["--case", "NOPE-01", "--", "true"], "no case 'NOPE-01'"),
        (["--engine", "steam", "--", "true"], "--engine steam: must be embedded"),
        (["--engine", "binary:/no/such", "--", "true"], "/no/such"),
        (["--profile", "nope", "--", "true"], "no preset named 'nope'"),
        (["--json", "/no/such/file", "--", "true"], "/no/such/file: cannot be written: No such file"),
        (["--", "no-such-program", "x"], "no-such-program x: cannot be started: there is no program 'no-such-program'"),
        (["--server", "ws://127.0.0.1:9/ws"], "nothing listens on 127.0.0.1:9"),
        (["--server", "ws://127.0.0.1:0/ws", "--command", "false"], "false: ended with status 1 before it served"),
        (
            ["--server", "ws://127.0.0.1:0/ws", "--command", "no-such-program"],
            "no-such-program: cannot be started: No such file or directory",
        ),
    ],
)
def test_a_run_that_cannot_be_done_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("wschaos check: ")
    assert told in err


@pytest.mark.parametrize(
    "words", [["--scale", "0"], ["--scale", "x"], ["-n", "0"], ["--seed", "x"], ["--clock", "sun"]]
)
def test_options_that_cannot_be_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", *words, "--", "true"])
    assert caught.value.code == 2
    assert f"argument {words[0]}" in capsys.readouterr().err


def test_only_check_takes_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cases", "--", "true"])
    assert "only 'check' takes a command" in capsys.readouterr().err


def test_known_failures_do_not_fail_and_one_that_passes_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    known = tmp_path / "known.txt"
    known.write_text("# of this client\nRECONNECT-06/ref*  # too soon\n\n")
    run = Run(capsys, *BOTH, "--known-failing", str(known), subject=BROKEN)
    assert run.status == 0
    assert "known to fail: RECONNECT-06/refused\n" in run.out
    run = Run(capsys, *BOTH, "--known-failing", str(known))
    assert run.status == 1
    assert f"{known}, line 2: RECONNECT-06/ref* does not fail any more: remove the line" in run.out
    assert Run(capsys, "RECONNECT-02/fin", "--known-failing", str(known)).status == 0  # the entry was not played


@pytest.mark.parametrize(("text", "told"), [("RECONNECT-02/x\n", "line 1: no case"), (None, "cannot be read: No such")])
def test_a_list_of_known_failures_must_name_cases(
    text: str | None, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    known = tmp_path / "known.txt"
    if text is not None:
        known.write_text(text)
    run = Run(capsys, "--known-failing", str(known))
    assert (run.status, told in run.err) == (2, True)


def test_the_json_report_is_that_of_the_contract(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    Run(capsys, *BOTH, "--json", str(path), subject=BROKEN)
    told = json.loads(path.read_text())
    assert (told["subject"], told["seed"], told["clock"], told["engine"]) == (BROKEN, 7, "virtual", "embedded")
    assert told["summary"] == {"PASS": 1, "FAIL": 1}
    assert [(case["id"], case["verdict"], case["close"]) for case in told["cases"]] == [
        ("RECONNECT-02/fin", "PASS", "OK"),
        ("RECONNECT-06/refused", "FAIL", "UNSUPPORTED"),
    ]
    case = told["cases"][1]
    assert case["evidence"]
    assert case["timeline"]["events"]
    assert {"measured", "duration", "repeat"} <= case.keys()


def test_a_report_can_be_read_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, again = tmp_path / "report.json", tmp_path / "again.json"
    Run(capsys, "RECONNECT-0*", "--json", str(path))
    report = Report.load(path)
    assert [result.case.id for result in report.results] == [id for id in cases() if id.startswith("RECONNECT")]
    assert len(report.results[0].record.events) > 10
    report.save(again)
    assert json.loads(again.read_text()) == json.loads(path.read_text())


def test_reports_are_shown_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    first = Run(capsys, *BOTH, "--json", str(path), subject=BROKEN)
    assert main(["report", str(path), str(path)]) == 0
    told = capsys.readouterr().out
    assert told.count("RECONNECT-06/refused FAIL") == 2
    assert told.splitlines()[-1] == first.out.splitlines()[-1]
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "none: cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"format": "wschaos-report-1"}'])
def test_what_is_no_report_is_told(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ReportError, match=r"report\.json"):
        Report.load(path)


def test_junits_xml_has_verdicts_and_durations(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    Run(capsys, *BOTH, "--junitxml", str(path), subject=BROKEN)
    suite = ElementTree.parse(path).getroot()[0]
    assert suite.attrib["name"] == "wschaos"
    assert [case.attrib["name"] for case in suite] == [f"test_conformance[{id}]" for id in BOTH]
    failed = suite[1]
    assert {one.attrib["name"]: one.attrib["value"] for one in failed.iter("property")} == {
        "verdict": "FAIL",
        "close": "UNSUPPORTED",
    }
    failure = failed.find("failure")
    assert failure is not None
    assert "what happened:" in (failure.text or "")


def test_cases_are_chosen_by_keyword_and_end_at_the_first_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 PASS" in Run(capsys, "-k", "RECONNECT-02 and fin").out
    assert Run(capsys, *BOTH, "-x", "-n", "1", subject=BROKEN).status == 1


def test_those_that_failed_last_time_are_played_again(capsys: pytest.CaptureFixture[str]) -> None:
    Run(capsys, *BOTH, subject=BROKEN)
    run = Run(capsys, *BOTH, "--lf", subject=BROKEN)
    assert "RECONNECT-02" not in run.out
    assert "RECONNECT-06/refused FAIL" in run.out


def test_the_longest_of_last_time_is_played_and_told_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Run(capsys, *BOTH)
    (kept,) = (tmp_path / "cache").rglob("durations.json")
    assert set(json.loads(kept.read_text())) == set(BOTH)
    for longest in BOTH:
        kept.write_text(json.dumps({longest: 100.0}))
        assert Run(capsys, *BOTH).out.split()[0] == longest


@pytest.mark.parametrize("kept", ["", "[]", '{"RECONNECT-02/fin": "x"}'])
def test_durations_that_cannot_be_read_do_not_matter(
    kept: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Run(capsys, *BOTH)
    (path,) = (tmp_path / "cache").rglob("durations.json")
    path.write_text(kept)
    assert Run(capsys, *BOTH).status == 0


def test_where_nothing_can_be_kept_it_runs_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such/folder")
    assert Run(capsys, *BOTH).status == 0


def test_what_the_environment_would_have_pytest_do_does_not_matter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    assert Run(capsys, "RECONNECT-02/fin").status == 0
    assert os.environ["PYTEST_ADDOPTS"] == "--no-such-option"


def test_workers_of_xdist_tell_their_results(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run = Run(capsys, *BOTH, "--pytest-args=-n 2", "--json", str(path))
    assert (run.status, run.err) == (0, "")
    assert "2 PASS" in run.out
    assert all(case["timeline"]["events"] for case in json.loads(path.read_text())["cases"])


def test_a_command_is_played_side_by_side_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    threads = set(threading.enumerate())
    begun = time.monotonic()
    assert main(["check", *PLAIN, "--scale", "0.05", "--json", str(tmp_path / "r"), "--", *COMMAND]) == 0
    took = time.monotonic() - begun
    report = Report.load(tmp_path / "r")
    assert took < sum(result.duration for result in report.results) + 5
    assert set(threading.enumerate()) <= threads
    assert {str(result.outcome) for result in report.results} <= {"PASS", "INCONCLUSIVE"}  # the machine may be busy


def interrupted(run: subprocess.Popen[str]) -> tuple[str, str]:
    """What it says when it is interrupted; again where the first came amid a finaliser, which eats it."""
    for _ in range(3):
        run.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return run.communicate(timeout=15)
    raise AssertionError("it goes on")


def test_ctrl_c_ends_it_with_what_there_is(tmp_path: Path) -> None:
    words = ["check", *PLAIN, "RECONNECT-06/refused", "--scale", "0.2", "--", *COMMAND]
    code = "import sys; from pytest_wschaos.cli import main; raise SystemExit(main())"
    run = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    first = run.stdout.readline()  # while others are still played
    out, err = interrupted(run)
    assert (run.returncode, "Traceback" in err) == (130, False), err
    assert first.split()[0] in PLAIN  # told as soon as it was played
    assert "PASS in" in out


def test_on_a_terminal_a_bar_tells_how_far_it_is(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ["check", "RECONNECT-02", "--subject", REFERENCE, "--scale", "0.1"]
    code = "import sys; from pytest_wschaos.cli import main; raise SystemExit(main())"
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    run = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # of a terminal whose other end is closed
        while some := os.read(ours, 4096):
            seen += some
    out, _ = run.communicate(timeout=60)
    os.close(ours)
    assert re.search(rb"\[[#.]{30}\] \d+/\d+  about \d+ s left", seen)
    assert seen.endswith(b"\r\x1b[K")
    assert "RECONNECT" in out
