"""pytest's entrance: options and fixtures. Nothing heavy is imported before a fixture is asked for.

PYTEST_DONT_REWRITE: nothing is asserted here, and rewriting costs 7 ms at each start without cached bytecode.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import virtual_time
from .settings import (
    MARKER,
    SWEEP,
    Given,
    add_options,
    asked,
    check,
    engine_of,
    engine_there_is,
    repeat_command,
    seed_of,
    seeds_of,
    session_engine,
    session_seed,
    setting,
    uses_chaos,
    wrong,
)
from .virtual_time import pytest_pyfunc_call, pytest_runtest_teardown

__all__ = ["pytest_pyfunc_call", "pytest_runtest_teardown"]

if TYPE_CHECKING:
    from .client_handle import ClientHandle
    from .conformance.suite.trial import Trial
    from .dialect import Dialect
    from .harness import Chaos, ChaosProxy
    from .peers import ServerHandle
    from .profile import Profile
    from .timeline import Record
    from .toxiproxy import Client

_asked_for: pytest.StashKey[bool] = pytest.StashKey()
_chaos: pytest.StashKey[list[ChaosProxy]] = pytest.StashKey()
_contained: pytest.StashKey[bool] = pytest.StashKey()
"""Whether a test's engine was in a container."""
_moved: pytest.StashKey[str] = pytest.StashKey()
"""The engine of tests for which nobody asked for one, where it is another than the default."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini values of the same names."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """The marker, and what cannot be among options and ini values."""
    config.addinivalue_line("markers", MARKER)
    check(config)
    if seeds_of(config) > 1:
        from .bites import Sweeps

        config.pluginmanager.register(Sweeps(), "wschaos-sweeps")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of pytest-xdist have one seed: they must collect the same tests in a sweep."""
    node.workerinput["wschaos_seed"] = session_seed(node.config)


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None, None, None]:
    """Before all others: choose the clocks of a test, and the seeds of a sweep."""
    virtual_time.prepare(metafunc)
    if (count := seeds_of(metafunc.config)) and uses_chaos(metafunc.definition):
        first = seed_of(metafunc.definition)
        seeds = range(first, first + count)
        metafunc.fixturenames.append(SWEEP)
        metafunc.parametrize(SWEEP, seeds, ids=[f"seed={seed}" for seed in seeds])
    yield


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What ``auto`` has come to."""
    asked_for = session_engine(config)
    return [f"wschaos: engine auto: {engine_there_is(config, 'auto')}"] if asked_for == "auto" else []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the engine's process while the first tests are made ready, where they need it."""
    config = session.config
    if session_engine(config) != "process" or config.option.collectonly or not any(map(uses_chaos, session.items)):
        return
    from .engines.process import shared  # it ends with this process

    shared.get()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the containers, when all fixtures have ended. Later pytest-xdist kills a worker that takes its time."""
    if _contained in session.config.stash:
        from .engines.docker import end

        end()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Where it was asked for, run a test twice."""
    if not item.config.getoption("wschaos_check_determinism"):
        return None
    from .determinism_check import run_twice

    return run_twice(item, nextitem, lambda item: item.stash.setdefault(_chaos, [])) or None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each run of a test begins anew, that of a rerun too."""
    if _chaos in item.stash:
        del item.stash[_chaos]
    if _asked_for in item.stash:
        del item.stash[_asked_for]
    virtual_time.set_up(item)


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    node, loop = request.node, virtual_time.loop_of(request)
    chosen = None if engine_of(node) or loop is not None else node.config.stash.get(_moved, None)
    engine = engine_there_is(node.config, engine_of(node) or chosen or "embedded")
    return {"seed": seed_of(node), "repeat": repeat_command(node, chosen), "loop": loop, "engine": engine}


@contextmanager
def _engine_required(request: pytest.FixtureRequest, engine: str) -> Iterator[None]:
    """Where the engine is not there, one line says so; or the test is skipped, if that was asked for."""
    capture, shown = request.config.pluginmanager.getplugin("capturemanager"), nullcontext()
    if engine.partition(":")[0] == "docker":
        request.config.stash[_contained] = True
        shown = shown if capture is None else capture.global_and_fixture_disabled()  # how far a pull is
    try:
        with shown:
            yield
    except RuntimeError as error:
        from .engines.link import EngineMissing

        if not isinstance(error, EngineMissing):
            raise
        if request.config.getoption("wschaos_skip_missing"):
            pytest.skip(str(error))
        wrong(str(error))


def _keep(request: pytest.FixtureRequest, chaos: ChaosProxy) -> None:
    request.node.stash.setdefault(_chaos, []).append(chaos)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what happened with any failure of a test that had chaos, unless its message shows it already."""
    report = yield
    if call.excinfo is not None and getattr(call.excinfo.value, "wschaos_says_it_all", False):
        report.longrepr = f"{call.excinfo.typename}: {call.excinfo.value}" + _place(call.excinfo)
    chaos = item.stash.get(_chaos, [])
    if chaos and report.when == "call" and report.passed:
        from .bites import require

        require(item, chaos, report)
    if report.when == "call" and any(one.held_up for one in chaos):
        item.config.stash[_moved] = "process"
    if not report.failed:
        return report
    if "what happened:" in report.longreprtext:  # of a rule, or of a conformance case
        _shorten(report)
    elif chaos:
        from .report import timeline_text

        for one in chaos:
            report.sections.append(("wschaos", timeline_text(_seen(one), repeat=one.repeat)))
    return report


def _seen(chaos: ChaosProxy) -> Record:
    """The record up to now, or up to where there was an engine."""
    with suppress(RuntimeError):  # its process has ended, or its loop is stuck
        return chaos.freeze()
    return chaos.timeline.freeze()


def _place(caught: pytest.ExceptionInfo[BaseException]) -> str:
    """Where the user's own code, or a library of theirs, was last on the way to an error of virtual time."""
    for entry in reversed(caught.traceback):
        if not {"pytest_wschaos", "asyncio", "pytest_asyncio", "_pytest", "pluggy"} & set(Path(entry.path).parts):
            return f"\nat {entry.path}:{entry.lineno + 1}"
    return ""


def _shorten(report: pytest.TestReport) -> None:
    """pytest's summary repeats the message of each failure, in CI the whole of it: there its first line will do."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = crash.message.partition("\n")[0]


@pytest.fixture
def wschaos_profile(request: pytest.FixtureRequest) -> Profile:
    """The figures of the client under test. Override it in a conftest, or use the marker, option or ini value.

    Marker and option go before an override, which goes before the ini value. An override that builds upon this
    fixture has them all.
    """
    request.node.stash[_asked_for] = True
    return _load(setting(request.node, "profile"))


def _load(given: Given | None) -> Profile:
    from .harness import load_profile
    from .profile import ProfileError

    if given is None:
        return load_profile(None)
    try:
        return load_profile(given.value, given.folder)
    except ProfileError as error:
        wrong(f"{given.source}: {error}")


def _figures(request: pytest.FixtureRequest, fixture: Profile) -> Profile:
    """What the fixture says; where a conftest's does not look at marker and option, these."""
    given = asked(request.node, "profile")
    ignored = given is not None and _asked_for not in request.node.stash
    return _load(given if ignored else Given(fixture, "fixture wschaos_profile", request.node.path.parent))


@pytest.fixture
def wschaos_dialect() -> Dialect | None:
    """How messages are read: the reference protocol's. Override it in a conftest for a protocol of your own."""
    from .harness import REFERENCE

    return REFERENCE


def _readable(dialect: Dialect | None) -> Dialect | None:
    from .harness import dialect_instance

    try:
        return dialect_instance(dialect)
    except TypeError as error:
        wrong(f"wschaos_dialect: {error}")


@pytest.fixture
def wschaos(
    request: pytest.FixtureRequest, wschaos_profile: Profile, wschaos_dialect: Dialect | None
) -> Iterator[Chaos]:
    """Chaos in front of a reference server: connect the client under test to ``wschaos.url``."""
    from .harness import Chaos

    figures, dialect = _figures(request, wschaos_profile), _readable(wschaos_dialect)
    settings = _settings(request)
    with _engine_required(request, settings["engine"]):
        chaos = Chaos(profile=figures, dialect=dialect, **settings)
    with chaos:
        _keep(request, chaos)
        yield chaos


@pytest.fixture
def wschaos_server(wschaos: Chaos) -> ServerHandle:
    """The reference server of the test, without the proxy: ``wschaos.server``."""
    return wschaos.server


@pytest.fixture
def wschaos_client(wschaos: Chaos) -> Callable[..., ClientHandle]:
    """Makes reference clients that connect through the proxy: ``wschaos_client()``, ``wschaos_client("second")``."""
    return wschaos.client


@pytest.fixture
def wschaos_proxy(
    request: pytest.FixtureRequest, wschaos_profile: Profile, wschaos_dialect: Dialect | None
) -> Iterator[Callable[..., ChaosProxy]]:
    """Makes chaos in front of any server: ``wschaos_proxy("127.0.0.1:8000")``, or a ws:// URL."""
    from .harness import REFERENCE, ChaosProxy

    # A server of one's own speaks the reference protocol only where somebody says so.
    dialect = None if wschaos_dialect is REFERENCE else _readable(wschaos_dialect)
    figures = _figures(request, wschaos_profile)
    settings = _settings(request)  # now: a virtual loop that the test's own code asked for would go before this fixture

    def make(upstream: str, **options: Any) -> ChaosProxy:
        # Moved elsewhere by nobody's wish, the engine could not know that context.
        stays = "upstream_ssl" in options and engine_of(request.node) is None
        here = {"engine": "embedded", "repeat": repeat_command(request.node)} if stays else {}
        given = {"profile": figures, "dialect": dialect, **settings, **here, **options}
        given["engine"] = engine_there_is(request.config, str(given["engine"]))
        with _engine_required(request, given["engine"]):
            proxy = ChaosProxy(upstream, **given)
        made.callback(proxy.stop)
        _keep(request, proxy)
        return proxy

    with ExitStack() as made:
        yield make


@pytest.fixture
def toxiproxy(wschaos: Chaos) -> Iterator[Client]:
    """toxiproxy-python's client for the test's engine, with timeouts. The proxy of ``wschaos.url`` is ``client``."""
    from .toxiproxy import connected

    if wschaos.virtual:
        wrong("toxiproxy: its client blocks, which takes real time: use clock='real'")
    host, port, prefix = wschaos.api
    with connected(host, port, prefix=prefix) as client:
        yield client


@pytest.fixture(scope="session")
def wschaos_under_test(request: pytest.FixtureRequest) -> Iterator[Callable[..., Trial]]:
    """Puts a client before the conformance suite: ``wschaos_under_test("node client.js")``, or a factory's function.

    Takes ``profile``, ``scale``, ``clock``, ``seed``, ``engine``, ``endpoint``, ``strict`` and ``limit`` (cases at a
    time); what is not given is that of the options and ini values.
    """
    from .conformance.suite.face import Face

    with Face(request.session) as face:
        yield face.trial


@pytest.fixture(scope="session")
def wschaos_subject(request: pytest.FixtureRequest, wschaos_under_test: Callable[..., Trial]) -> Trial:
    """The client under test, of ``--wschaos-client COMMAND``; ``wschaos_subject.check(case)`` plays a case with it.

    Override it in a conftest, with the scope of a session: ``return wschaos_under_test(my_factory, clock="virtual")``.
    """
    from .settings import session_setting

    given = session_setting(request.config, "client")
    if given is None or not given.value:
        wrong("wschaos_subject: which client? Give --wschaos-client COMMAND, or override the fixture in a conftest")
    return wschaos_under_test(given.value)
