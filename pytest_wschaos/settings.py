"""What marker, option and ini value ask for. Light: read at each start of pytest.

PYTEST_DONT_REWRITE: nothing is asserted here.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

MARKER = """\
wschaos(profile=None, seed=None, clock=None, time_limit=None, engine=None): figures, randomness, time and engine of a \
test that uses \
pytest-wschaos. profile: a Profile, a preset's name, or a path of a .toml or .json file. seed: a whole number. \
clock: real, virtual (simulated network) or hybrid (virtual time over real sockets), or several, with commas between \
them: one test each. time_limit: virtual seconds. engine: as for the option."""

NAMES = ("profile", "seed", "clock", "time_limit", "engine")
CLOCKS = ("real", "virtual", "hybrid")
ENGINES = "embedded, process, binary, docker, auto, or the URL of a Toxiproxy's API (http://127.0.0.1:8474)"
DOCKER_NETWORKS = "host, ports, or ports:COUNT"
ENGINE_VARIABLE = "WSCHAOS_ENGINE"
"""Environment variable that names the engine; it goes before the ini value."""
SWEEP = "_wschaos_sweep"
"""The parameter by which a test is run with one seed after the other."""
CLOCK = "_wschaos_clock"
"""The parameter by which a test is run on one clock after the other."""

OF_THE_SUITE = frozenset(["wschaos_subject", "wschaos_under_test"])
"""The fixtures of conformance cases."""

_auto: pytest.StashKey[str] = pytest.StashKey()
"""What ``auto`` has come to, in this session."""
_session_seed: pytest.StashKey[int] = pytest.StashKey()


def add_options(parser: pytest.Parser) -> None:
    """Options and ini values of the same names."""
    group = parser.getgroup("wschaos", "chaos for WebSocket clients and servers")
    told = {
        "profile": "figures to judge by: a preset (default, rfc6455, websockets), or a .toml or .json file",
        "seed": "seed of all randomness (default: a new one each session, shown with each failure)",
        "clock": "real (default), virtual (simulated network), hybrid (virtual time, real sockets), or several: a,b",
        "time_limit": "virtual seconds that a test may take (default: a day)",
        "docker_network": f"of the engine 'docker': {DOCKER_NETWORKS} (default: host on Linux, else ports)",
        "engine": f"{ENGINES}; default: embedded, and process after a test that made it late",
    }
    for name, text in told.items():
        group.addoption(f"--wschaos-{name.replace('_', '-')}", metavar=name.upper(), dest=f"wschaos_{name}", help=text)
        parser.addini(f"wschaos_{name}", text)
    of_the_suite = {
        "client": "command of the client that conformance cases are played with (fixture wschaos_subject)",
        "scale": "what all times of conformance cases are multiplied by, for clients that take a profile (default: 1)",
    }
    for name, text in of_the_suite.items():
        group.addoption(f"--wschaos-{name}", metavar=name.upper(), dest=f"wschaos_{name}", help=text)
        parser.addini(f"wschaos_{name}", text)
    parser.addini("wschaos_toxiproxy_binary", "path of toxiproxy-server for the engine 'binary' (default: from PATH)")
    parser.addini(
        "wschaos_toxiproxy_image", "image for the engine 'docker' (default: Shopify's, pulled where it is not there)"
    )
    group.addoption("--wschaos-seeds", metavar="N", help="run each chaos test with N seeds, one after the other")
    group.addoption("--wschaos-skip-missing", action="store_true", help="skip tests whose engine is not there")
    group.addoption(
        "--wschaos-check-determinism",
        action="store_true",
        help="run each test on virtual time twice, and name the first event that differs",
    )


def wrong(message: str) -> NoReturn:
    """Fail with one line: where in the plugin it was noticed is of no interest."""
    raise pytest.fail.Exception(message, pytrace=False) from None


class Given(NamedTuple):
    """A setting that somebody gave."""

    value: Any
    source: str
    """Who gave it, as the user wrote it."""
    folder: Path
    """What the path of a file counts from."""


def asked(node: pytest.Item, name: str) -> Given | None:
    """A setting by marker, else option; None where neither gives it."""
    for marker in node.iter_markers("wschaos"):
        unknown = set(marker.kwargs) - set(NAMES)
        if marker.args or unknown:
            what = ", ".join(sorted(unknown)) or "an argument without a name"
            known = ", ".join(f"{known}=" for known in NAMES)
            wrong(f"{node.nodeid}: marker wschaos does not take {what}: only {known}")
        if marker.kwargs.get(name) is not None:
            return Given(marker.kwargs[name], f"marker wschaos({name})", node.path.parent)
    return _by_option(node.config, name)


def setting(node: pytest.Item, name: str) -> Given | None:
    """A setting by marker, else option, else ini value; None where nobody gave it."""
    return asked(node, name) or _by_ini(node.config, name)


def session_setting(config: pytest.Config, name: str) -> Given | None:
    """A setting by option, else ini value, of what is not of one test."""
    return _by_option(config, name) or _by_ini(config, name)


def _by_variable() -> Given | None:
    value = os.environ.get(ENGINE_VARIABLE)
    return Given(value, f"environment variable {ENGINE_VARIABLE}", Path()) if value else None


def _by_option(config: pytest.Config, name: str) -> Given | None:
    value = config.getoption(f"wschaos_{name}")
    if value is None:
        return None
    return Given(value, f"--wschaos-{name.replace('_', '-')}", config.invocation_params.dir)


def _by_ini(config: pytest.Config, name: str) -> Given | None:
    value = config.getini(f"wschaos_{name}")
    if not value:
        return None
    return Given(value, f"ini value wschaos_{name}", config.inipath.parent if config.inipath else config.rootpath)


def check(config: pytest.Config) -> None:
    """Refuse options and ini values that cannot be, before any test.

    Raises:
        pytest.UsageError: one line for the first that is wrong.
    """
    try:
        seeds_of(config)
        readers = {
            "seed": _seed,
            "clock": _clocks,
            "time_limit": _time_limit,
            "engine": _engine,
            "docker_network": _docker_network,
        }
        for name, read in readers.items():
            for given in (_by_option(config, name), _by_ini(config, name)):
                if given is not None:
                    read(given)
        session_engine(config)
    except pytest.fail.Exception as error:
        raise pytest.UsageError(error.msg) from None


def session_seed(config: pytest.Config) -> int:
    """The seed of tests for which nobody asked for one; the same in all workers of pytest-xdist."""
    if _session_seed not in config.stash:
        drawn = int.from_bytes(os.urandom(4), "big")
        config.stash[_session_seed] = getattr(config, "workerinput", {}).get("wschaos_seed", drawn)
    return config.stash[_session_seed]


def seed_of(node: pytest.Item) -> int:
    """The seed of a test; without one that was asked for, the session's."""
    callspec = getattr(node, "callspec", None)
    if callspec is not None and SWEEP in callspec.params:
        return int(callspec.params[SWEEP])
    given = setting(node, "seed")
    return session_seed(node.config) if given is None else _seed(given)


def _seed(given: Given) -> int:
    try:
        if isinstance(given.value, int | str) and not isinstance(given.value, bool):
            return int(given.value)
    except ValueError:
        pass
    wrong(f"{given.source} = {given.value!r}: must be a whole number")


def clock_of(node: pytest.Item) -> str:
    """The clock of a test; of one that asks for several, that of this run."""
    callspec = getattr(node, "callspec", None)
    if callspec is not None and CLOCK in callspec.params:
        return str(callspec.params[CLOCK])
    return clocks_of(node)[0]


def clocks_of(node: pytest.Item) -> list[str]:
    """The clocks of a test. Option and ini value hold for tests that use a fixture of ours, or have the marker."""
    given = setting(node, "clock")
    return _clocks(given) if given is not None and uses_chaos(node) else ["real"]


def _clocks(given: Given) -> list[str]:
    clocks = [name.strip() for name in str(given.value).split(",")]
    if not set(clocks) <= set(CLOCKS):
        wrong(f"{given.source} = {given.value!r}: must be {', '.join(CLOCKS)}, or several with commas: 'real, virtual'")
    if len(set(clocks)) < len(clocks):
        wrong(f"{given.source} = {given.value!r}: names a clock twice")
    return clocks


def uses_chaos(node: pytest.Item) -> bool:
    """Whether a test uses a fixture of ours, or is marked. A conformance case is played beside its test, not in it."""
    names = getattr(node, "fixturenames", ())
    if OF_THE_SUITE & set(names):
        return False
    fixtures = any(name == "toxiproxy" or name.startswith("wschaos") for name in names)
    return fixtures or node.get_closest_marker("wschaos") is not None


def time_limit_of(node: pytest.Item) -> float | None:
    """Virtual seconds that a test may take; None: the default."""
    given = setting(node, "time_limit")
    return None if given is None else _time_limit(given)


def _time_limit(given: Given) -> float:
    try:
        limit = float(given.value)
        if limit > 0 and not isinstance(given.value, bool):
            return limit
    except (TypeError, ValueError):
        pass
    wrong(f"{given.source} = {given.value!r}: must be a number of virtual seconds above 0")


def engine_of(node: pytest.Item) -> str | None:
    """The engine of a test; None: nobody asked for one."""
    given = asked(node, "engine")
    return session_engine(node.config) if given is None else _engine(given)


def session_engine(config: pytest.Config) -> str | None:
    """The engine of tests that do not say otherwise; None: nobody asked for one."""
    given = _by_option(config, "engine") or _by_variable() or _by_ini(config, "engine")
    return None if given is None else _engine(given)


def engine_there_is(config: pytest.Config, engine: str) -> str:
    """What the name of an engine means: ``auto`` is the first that is there, others may have their ini values."""
    if engine.partition(":")[0] == "docker":
        return _container_there_is(config, engine)
    binary = config.getini("wschaos_toxiproxy_binary")
    if os.sep in binary:
        binary = str((config.inipath.parent if config.inipath else config.rootpath) / binary)
    if engine == "auto":
        if _auto not in config.stash:
            from .engines.named import first

            config.stash[_auto] = first(binary or None)
        return config.stash[_auto]
    return f"binary:{binary}" if engine == "binary" and binary else engine


def _container_there_is(config: pytest.Config, engine: str) -> str:
    image, network = container_of(engine)
    image = image or config.getini("wschaos_toxiproxy_image")
    given = _by_option(config, "docker_network") or _by_ini(config, "docker_network")
    if network is None and given is not None:
        network = _docker_network(given)
    return "docker" + (f":{image}" if image else ":" if network else "") + (f"?network={network}" if network else "")


def container_of(engine: str) -> tuple[str | None, str | None]:
    """Image and network of an engine, ``docker:IMAGE?network=NETWORK``; None: it names none."""
    image, _, network = engine.partition(":")[2].partition("?network=")
    return image or None, network or None


def _docker_network(given: Given) -> str:
    if not _is_docker_network(given.value):
        wrong(f"{given.source} = {given.value!r}: must be {DOCKER_NETWORKS}")
    return str(given.value)


def _is_docker_network(value: str) -> bool:
    kind, colon, count = value.partition(":")
    if colon:
        return kind == "ports" and count.isdecimal() and 0 < int(count[:6]) <= 1000
    return kind in ("host", "ports")


def _engine(given: Given) -> str:
    if not is_engine(given.value):
        wrong(f"{given.source} = {given.value!r}: must be {ENGINES}")
    return str(given.value)


def is_engine(value: object) -> bool:
    """Whether it names an engine."""
    if not isinstance(value, str):
        return False
    if value in ("embedded", "process", "binary", "docker", "auto"):
        return True
    kind, _, rest = value.partition(":")
    if kind == "binary":
        return bool(rest)
    if kind == "docker":
        image, asks, network = rest.partition("?network=")
        return _is_docker_network(network) if asks else bool(image)
    host, _, port = rest.removeprefix("//").rstrip("/").rpartition(":")
    plain = bool(host) and not set(host) & set("/:@[]?#")  # of IPv6, toxiproxy-python knows nothing
    return kind == "http" and rest.startswith("//") and plain and port.isdecimal() and 0 < int(port[:6]) < 65536


def seeds_of(config: pytest.Config) -> int:
    """How many seeds each test is to be run with; 0: it is no sweep."""
    given = config.getoption("wschaos_seeds")
    if given is None:
        return 0
    if not str(given).isdecimal() or int(given) < 1:
        wrong(f"--wschaos-seeds = {given}: must be a whole number, 1 or more")
    return int(given)


def repeat_command(node: pytest.Item, engine: str | None = None) -> str:
    """The command that runs one test again as it was; ``engine``: on one that nobody asked for."""
    config, seeds = node.config, seeds_of(node.config)
    by_marker = any(marker.kwargs.get("seed") is not None for marker in node.iter_markers("wschaos"))
    if seeds and by_marker:  # which goes before the option: only the sweep comes to this seed
        words = ["pytest", node.nodeid, f"--wschaos-seeds={seeds}"]
    else:
        words = ["pytest", sweep_of(node), f"--wschaos-seed={seed_of(node)}"]
    given = {
        name: config.getoption(f"wschaos_{name}")
        for name in ("profile", "clock", "time_limit", "engine", "docker_network", "client", "scale")
    }
    given["engine"] = given["engine"] or engine or os.environ.get(ENGINE_VARIABLE)
    words += [f"--wschaos-{name.replace('_', '-')}={value}" for name, value in given.items() if value]
    return shlex.join(words)


def sweep_of(node: pytest.Item) -> str:
    """The id of a test, without the seed of a sweep."""
    callspec = getattr(node, "callspec", None)
    if callspec is None or SWEEP not in callspec.params:
        return node.nodeid
    name, _, ids = node.nodeid.partition("[")
    kept = [part for part in ids.removesuffix("]").split("-") if part != f"seed={seed_of(node)}"]
    return f"{name}[{'-'.join(kept)}]" if kept else name
