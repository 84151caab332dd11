"""``wschaos check``: the conformance suite with one subject."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ..reports.progress import Bar, Lines
    from ..reports.report import Report
    from ..suite.case import Side
    from ..suite.plan import Plan
    from ..suite.session import Front

OF_THE_SERVER = {"command": "server_command", "health": "health", "token": "token", "bad-token": "bad_token"}
"""The options that say more of a server."""
EPILOG = """\
A command is started anew for each case, and driven by JSON lines on its standard input and output; one that says no
hello is judged by what the wire shows. exit status: 0 something was judged and nothing failed; 1 a case failed, or an
entry of --known-failing passes; 2 no case passed or failed, or the run could not be done; 130 Ctrl-C.
examples:
  wschaos check -- node client.js
  wschaos check 'BACKOFF-*' JITTER-01 --scale 0.05 -- ./client
  wschaos check --subject my_package.client:connect --clock virtual
  wschaos check --server ws://127.0.0.1:8000/ws --command 'python server.py'"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "check",
        help="run the conformance suite with a client or a server",
        usage="wschaos check [options] [CASE ...] (-- COMMAND ... | --subject FACTORY | --server URL)",
        description="Plays the cases of the conformance suite with a client or a server, side by side, and says which "
        "rules it breaks, with evidence.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="ids or globs of cases or rules (default: all)")
    parser.add_argument("--case", action="append", default=[], metavar="CASE", help="one more; may be repeated")
    subject = parser.add_argument_group("what is under test")
    subject.add_argument("--subject", metavar="FACTORY", help="a client in this process: package.module:factory")
    subject.add_argument(
        "--server",
        metavar="URL",
        help="a server: its ws:// URL (with port 0 and --command each case "
        "gets a free port), or package.module:class of one like the reference server",
    )
    subject.add_argument(
        "--command", dest="server_command", metavar="COMMAND", help="what starts the server (default: it runs already)"
    )
    subject.add_argument("--health", metavar="URL", help="where the server tells its health (default: /healthz there)")
    subject.add_argument("--token", metavar="TOKEN", help="one that the server accepts (default: WSCHAOS_TOKENS)")
    subject.add_argument("--bad-token", metavar="TOKEN", help="one that it does not accept")
    subject.add_argument(
        "--endpoint",
        choices=["ws", "echo"],
        default="ws",
        help="what a client connects to, or a server is: the protocol, or a plain echo (default: %(default)s)",
    )
    how = parser.add_argument_group("how it is played")
    how.add_argument("--profile", help="a preset (default, rfc6455, websockets), or a .toml or .json file")
    how.add_argument(
        "--scale",
        type=_above_0,
        default=1.0,
        metavar="FACTOR",
        help="what all times are multiplied by, for subjects that take a profile (default: %(default)g)",
    )
    how.add_argument(
        "--clock",
        choices=["real", "virtual"],
        default="real",
        help="virtual: an hour takes a moment, in this process only (default: %(default)s)",
    )
    how.add_argument("--seed", type=_whole, help="where all randomness comes from (default: a new one each time)")
    how.add_argument(
        "--engine",
        default="embedded",
        help="embedded, process, binary, auto, or the URL of a Toxiproxy's API (default: %(default)s)",
    )
    how.add_argument(
        "-n",
        "--side-by-side",
        type=_at_least_1,
        dest="limit",
        metavar="N",
        help="cases at a time (default: by cores and scale)",
    )
    how.add_argument("-k", metavar="EXPRESSION", dest="keyword", help="only cases that match, as for pytest")
    how.add_argument("--lf", action="store_true", help="only the cases that failed last time")
    how.add_argument("-x", action="store_true", dest="first", help="end at the first failure")
    how.add_argument(
        "--pytest-args",
        default="",
        metavar="ARGS",
        help="further arguments for pytest, such as --pytest-args='-n 2' for workers of pytest-xdist",
    )
    verdict = parser.add_argument_group("what counts, and what is written")
    verdict.add_argument("--strict", action="store_true", help="all but PASS is a failure")
    verdict.add_argument(
        "--known-failing",
        metavar="FILE",
        help="a list of cases that may fail: an id or glob a line; one that passes is an error",
    )
    verdict.add_argument("--json", metavar="FILE", help="write the report as JSON")
    verdict.add_argument("--junitxml", metavar="FILE", help="write JUnit's XML")
    verdict.add_argument("--html", metavar="FILE", help="write the report as one page")
    parser.set_defaults(run=run, parser=parser)


def _above_0(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number above 0")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number") from None


def _at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, 1 or more")
    return int(text)


class CannotRun(Exception):
    """The run cannot be done; one line that says why."""


def run(options: argparse.Namespace) -> int:
    """Run it; returns the exit status."""
    try:
        with tempfile.TemporaryDirectory(prefix="wschaos-") as folder:
            plan = _plan(options, folder)
            _require_writable([options.json, options.junitxml, options.html])
            return _play(options, plan)
    except CannotRun as error:
        print(f"wschaos check: {error}", file=sys.stderr)  # noqa: T201
        return 2


# --- what is to be done


def _plan(options: argparse.Namespace, folder: str) -> Plan:
    from ...harness import load_profile
    from ..suite import known
    from ..suite.case import UnknownCase, cases, select
    from ..suite.plan import Plan

    side = _require_subject(options)
    _require_known_engine(options.engine)
    try:
        chosen = select(*options.cases, *options.case, side=side)
        profile = load_profile(options.profile)
        profile.scaled(options.scale)
        entries = known.read(options.known_failing, cases().values()) if options.known_failing else []
    except (UnknownCase, ValueError) as error:
        _cannot(str(error))
    plan = Plan(
        cases=[case.id for case in chosen],
        folder=folder,
        command=options.words,
        subject=options.subject or "",
        server=_server(options),
        profile=profile.to_dict(),
        scale=options.scale,
        clock=options.clock,
        seed=int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed,
        engine=_engine(options.engine),
        endpoint=options.endpoint,
        strict=options.strict,
        limit=options.limit,
        known=[(entry.pattern, entry.place) for entry in entries],
        words=_repeated(options),
        last=_durations(options),
    )
    _require_startable(plan)
    return plan


def _require_subject(options: argparse.Namespace) -> Side:
    """What is under test, a client or a server; exactly one of them."""
    given = [name for name in ("subject", "server") if getattr(options, name)] + (["--"] if options.words else [])
    if len(given) != 1:
        _cannot("say what is under test: -- COMMAND ..., --subject package.module:factory or --server URL, one of them")
    server = bool(options.server)
    for name, dest in OF_THE_SERVER.items():
        if getattr(options, dest) is not None and not server:
            _cannot(f"--{name}: goes with --server")
    here = options.subject or (server and "://" not in options.server)
    if options.clock == "virtual" and not here:
        _cannot("--clock virtual: a process has a clock of its own: it goes with --subject, or a server's class")
    return "server" if server else "client"


def _cannot(why: str) -> NoReturn:
    raise CannotRun(why) from None


def _require_known_engine(engine: str) -> None:
    from ...settings import ENGINES, is_engine

    if not is_engine(engine):
        _cannot(f"--engine {engine}: must be {ENGINES}")


def _engine(name: str) -> str:
    if name != "auto":
        return name
    from ...engines.named import first

    return first(None)


def _server(options: argparse.Namespace) -> dict[str, object]:
    if not options.server:
        return {}
    return {"url": options.server, **{dest: getattr(options, dest) for dest in OF_THE_SERVER.values()}}


def _repeated(options: argparse.Namespace) -> list[str]:
    """The words by which one of the cases is played again, but for its id and the seed."""
    names = {"subject": "subject", "server": "server", **OF_THE_SERVER, "profile": "profile"}
    words = [f"--{name}={getattr(options, dest)}" for name, dest in names.items() if getattr(options, dest)]
    defaults = {"endpoint": "ws", "clock": "real", "engine": "embedded"}
    words += [f"--{name}={getattr(options, name)}" for name in defaults if getattr(options, name) != defaults[name]]
    words += [f"--scale={options.scale:g}"] if options.scale != 1 else []
    words += ["--strict"] if options.strict else []
    return words + (["--", *options.words] if options.words else [])


def _require_writable(paths: Sequence[str | None]) -> None:
    """A run of minutes must not end in a report that cannot be written."""
    for path in filter(None, paths):
        try:
            with open(path, "a", encoding="utf-8"):
                pass
        except OSError as error:
            _cannot(f"{path}: cannot be written: {error.strerror}")


def _require_startable(plan: Plan) -> None:
    """What is under test, and the engine, are there."""
    import shutil

    from ..subjects.subject import SubjectError
    from ..suite.play import try_out

    if plan.engine != "embedded":
        _require_engine(plan.engine)
    if plan.command and shutil.which(plan.command[0]) is None:
        _cannot(f"{shlex.join(plan.command)}: cannot be started: there is no program {plan.command[0]!r}")
    try:
        subject = plan.make_subject()
        if plan.server and not subject.virtual:  # one in this process starts where the suite does
            try_out(subject, plan.settings())
    except SubjectError as error:
        _cannot(str(error))


def _require_engine(engine: str) -> None:
    from ...engines.link import EngineMissing
    from ...harness import Chaos

    try:
        with Chaos(engine=engine):
            pass
    except (EngineMissing, RuntimeError) as error:
        _cannot(str(error))


# --- the run


def _play(options: argparse.Namespace, plan: Plan) -> int:
    import time

    from ..reports import terminal
    from ..reports.report import Report, now
    from ..suite import known
    from ..suite.session import Front

    date, begun = now(), time.monotonic()
    progress = _progress(plan)
    front = Front(plan, progress.finished, progress.planned)
    try:
        status = _pytest(options, plan, front)
    finally:
        progress.stop()
    report = Report(
        subject=plan.name,
        results=[front.results[id] for id in plan.cases if id in front.results],
        profile=plan.settings().profile,
        profile_name=options.profile or "default",
        seed=plan.seed,
        clock=plan.clock,
        scale=plan.scale,
        engine=plan.engine,
        endpoint=plan.endpoint,
        side=plan.side,
        date=date,
        duration=time.monotonic() - begun,
    )
    stale = known.stale(plan.entries, report.results)
    _say("\n".join([terminal.text(report, plan.may_fail), *stale]))
    _write(options, report)
    _keep_durations(options, report)
    if status == 2:
        return 130
    return _status(plan, report, front, stale)


def _progress(plan: Plan) -> Bar | Lines:
    from ..reports.progress import Bar, Lines

    tells = sys.stderr.isatty() and not os.environ.get("CI")
    return Bar(sys.stderr, plan.seconds()) if tells else Lines(sys.stdout)


def _pytest(options: argparse.Namespace, plan: Plan, front: Front) -> int:
    """Run the cases as tests, without what the environment or a project would have pytest do; pytest's status."""
    import pytest

    from ..suite import session

    folder = Path(session.__file__).parent
    words = ["-c", os.devnull, f"--rootdir={folder}", "-p", "pytest_wschaos.plugin", "-p", session.__name__]
    words += ["-p", "no:cacheprovider"] if _cache(options) is None else ["-o", f"cache_dir={_cache(options)}"]
    words += ["-o", "junit_suite_name=wschaos", "-p", "no:faulthandler", "-s", f"{session.OPTION}={plan.to_json()}"]
    words += [f"--junitxml={os.path.abspath(options.junitxml)}"] if options.junitxml else []
    words += ["-k", options.keyword] if options.keyword else []
    words += [*(["--lf"] if options.lf else []), *(["-x"] if options.first else [])]
    words += shlex.split(options.pytest_args)
    if any(word.startswith(("-n", "--numprocesses")) for word in words):
        words += ["-p", "xdist", "-p", "xdist.looponfail"]
    back = session.without(("PYTEST_ADDOPTS", "PYTEST_PLUGINS"), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    try:
        return int(pytest.main([*words, str(folder / "test_conformance.py")], plugins=[front]))
    finally:
        back()


def _write(options: argparse.Namespace, report: Report) -> None:
    from .output import page

    if options.json:
        report.save(options.json)
    if options.html:
        page([report], options.html)


def _status(plan: Plan, report: Report, front: Front, stale: Sequence[str]) -> int:
    """Exit status of the run; with a line for each that is not told by the report."""
    from ...checks.verdict import Outcome

    if front.errors:
        _cannot(f"the suite itself failed:\n{front.errors[0]}")
    bad = [outcome for outcome in Outcome if outcome is not Outcome.PASS] if plan.strict else [Outcome.FAIL]
    failures = [result for result in report.results if result.outcome in bad and not plan.may_fail(result)]
    if failures or stale:
        return 1
    if not any(result.outcome in (Outcome.PASS, Outcome.NON_STRICT, Outcome.FAIL) for result in report.results):
        _cannot("no case passed or failed: nothing is known of the subject")
    return 0


# --- what is kept from run to run


def _cache(options: argparse.Namespace) -> Path | None:
    """Where a subject's last failures and durations are; None: nowhere."""
    from hashlib import sha256

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-wschaos"
    name = sha256(shlex.join(_repeated(options)).encode()).hexdigest()[:16]
    try:
        (home / name).mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return home / name


def _durations(options: argparse.Namespace) -> dict[str, float]:
    import json

    cache = _cache(options)
    try:
        told = json.loads((cache / "durations.json").read_text(encoding="utf-8")) if cache else {}
        return {str(id): float(seconds) for id, seconds in told.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _keep_durations(options: argparse.Namespace, report: Report) -> None:
    import json
    from contextlib import suppress

    if (cache := _cache(options)) is None:
        return
    told = {**_durations(options), **{result.case.id: round(result.duration, 1) for result in report.results}}
    with suppress(OSError):
        (cache / "durations.json").write_text(json.dumps(told), encoding="utf-8")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
