"""pytest's entrance: options and fixtures. Nothing heavy is imported before a fixture is asked for.

PYTEST_DONT_REWRITE: nothing is asserted here, and rewriting costs 7 ms at each start without cached bytecode.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from toxiproxy import Toxiproxy

    from .client_handle import ClientHandle
    from .dialect import Dialect
    from .harness import Chaos, ChaosProxy
    from .peers import ServerHandle
    from .profile import Profile

MARKER = """\
wschaos(profile=None, seed=None): figures and randomness of a test that uses pytest-wschaos. \
profile: a Profile, a preset's name, or a path of a .toml or .json file. seed: a whole number."""

_seed: pytest.StashKey[int] = pytest.StashKey()
_asked_for: pytest.StashKey[bool] = pytest.StashKey()
_chaos: pytest.StashKey[list[ChaosProxy]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini values of the same names."""
    group = parser.getgroup("wschaos", "chaos for WebSocket clients and servers")
    profile = "figures to judge by: a preset (default, rfc6455, websockets), or a .toml or .json file"
    seed = "seed of all randomness (default: a new one each session, shown with each failure)"
    group.addoption("--wschaos-profile", metavar="PROFILE", help=profile)
    group.addoption("--wschaos-seed", metavar="SEED", help=seed)
    parser.addini("wschaos_profile", profile)
    parser.addini("wschaos_seed", seed)


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", MARKER)


def _asked(request: pytest.FixtureRequest, name: str) -> tuple[Any, Path]:
    """A setting by marker, else option (None where neither gives it), and the folder of who gave it."""
    config = request.config
    for marker in request.node.iter_markers("wschaos"):
        unknown = set(marker.kwargs) - {"profile", "seed"}
        if marker.args or unknown:
            what = ", ".join(sorted(unknown)) or "an argument without a name"
            _wrong(f"{request.node.nodeid}: marker wschaos does not take {what}: only profile= and seed=")
        if marker.kwargs.get(name) is not None:
            return marker.kwargs[name], request.path.parent
    return config.getoption(f"wschaos_{name}") or None, config.invocation_params.dir


def _setting(request: pytest.FixtureRequest, name: str) -> tuple[Any, Path]:
    """A setting by marker, else option, else ini value (None where nobody gave it), and the folder of who gave it."""
    config = request.config
    given, folder = _asked(request, name)
    if given is not None:
        return given, folder
    return config.getini(f"wschaos_{name}") or None, config.inipath.parent if config.inipath else config.rootpath


def _wrong(message: str) -> NoReturn:
    """Fail with one line: where in the plugin it was noticed is of no interest."""
    raise pytest.fail.Exception(message, pytrace=False) from None


def _seed_of(request: pytest.FixtureRequest) -> int:
    given, _ = _setting(request, "seed")
    if given is None:
        stash = request.config.stash
        return stash.setdefault(_seed, int.from_bytes(os.urandom(4), "big"))
    try:
        if isinstance(given, int | str) and not isinstance(given, bool):
            return int(given)
    except ValueError:
        pass
    _wrong(f"wschaos seed = {given!r}: must be a whole number")


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    seed = _seed_of(request)
    words = ["pytest", request.node.nodeid, f"--wschaos-seed={seed}"]
    if profile := request.config.getoption("wschaos_profile"):
        words.append(f"--wschaos-profile={profile}")
    return {"seed": seed, "repeat": shlex.join(words)}


def _keep(request: pytest.FixtureRequest, chaos: ChaosProxy) -> None:
    request.node.stash.setdefault(_chaos, []).append(chaos)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what happened with any failure of a test that had chaos, unless its message shows it already."""
    report = yield
    chaos = item.stash.get(_chaos, [])
    if not (chaos and report.failed):
        return report
    if "what happened:" in report.longreprtext:
        _shorten(report)
    else:
        from .report import timeline_text

        for one in chaos:
            report.sections.append(("wschaos", timeline_text(one.freeze(), repeat=one.repeat)))
    return report


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
    return _load(*_setting(request, "profile"))


def _load(given: Any, folder: Path) -> Profile:
    from .harness import load_profile
    from .profile import ProfileError

    try:
        return load_profile(given, folder)
    except ProfileError as error:
        _wrong(f"wschaos profile: {error}")


def _figures(request: pytest.FixtureRequest, fixture: Profile) -> Profile:
    """What the fixture says; where a conftest's does not look at marker and option, these."""
    given, folder = _asked(request, "profile")
    ignored = given is not None and _asked_for not in request.node.stash
    return _load(given if ignored else fixture, folder)


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
        _wrong(f"wschaos_dialect: {error}")


@pytest.fixture
def wschaos(
    request: pytest.FixtureRequest, wschaos_profile: Profile, wschaos_dialect: Dialect | None
) -> Iterator[Chaos]:
    """Chaos in front of a reference server: connect the client under test to ``wschaos.url``."""
    from .harness import Chaos

    figures, dialect = _figures(request, wschaos_profile), _readable(wschaos_dialect)
    with Chaos(profile=figures, dialect=dialect, **_settings(request)) as chaos:
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

    def make(upstream: str, **options: Any) -> ChaosProxy:
        proxy = ChaosProxy(upstream, **{"profile": figures, "dialect": dialect, **_settings(request), **options})
        made.callback(proxy.stop)
        _keep(request, proxy)
        return proxy

    with ExitStack() as made:
        yield make


@pytest.fixture
def toxiproxy(wschaos: Chaos) -> Iterator[Toxiproxy]:
    """toxiproxy-python's client for the test's engine, with timeouts. The proxy of ``wschaos.url`` is ``client``."""
    from .toxiproxy import connected

    with connected("127.0.0.1", wschaos.serve_api()) as client:
        yield client
