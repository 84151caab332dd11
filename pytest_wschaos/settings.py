"""What marker, option and ini value ask for. Light: read at each start of pytest.

PYTEST_DONT_REWRITE: nothing is asserted here.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, NoReturn

import pytest

MARKER = """\
wschaos(profile=None, seed=None, clock=None, time_limit=None): figures, randomness and time of a test that uses \
pytest-wschaos. profile: a Profile, a preset's name, or a path of a .toml or .json file. seed: a whole number. \
clock: real, virtual (simulated network) or hybrid (virtual time over real sockets), or several, with commas between \
them: one test each. time_limit: virtual seconds."""

NAMES = ("profile", "seed", "clock", "time_limit")
CLOCKS = ("real", "virtual", "hybrid")
SWEEP = "_wschaos_sweep"
"""The parameter by which a test is run with one seed after the other."""
CLOCK = "_wschaos_clock"
"""The parameter by which a test is run on one clock after the other."""

_session_seed: pytest.StashKey[int] = pytest.StashKey()


def add_options(parser: pytest.Parser) -> None:
    """Options and ini values of the same names."""
    group = parser.getgroup("wschaos", "chaos for WebSocket clients and servers")
    told = {
        "profile": "figures to judge by: a preset (default, rfc6455, websockets), or a .toml or .json file",
        "seed": "seed of all randomness (default: a new one each session, shown with each failure)",
        "clock": "real (default), virtual (simulated network), hybrid (virtual time, real sockets), or several: a,b",
        "time_limit": "virtual seconds that a test may take (default: a day)",
    }
    for name, text in told.items():
        group.addoption(f"--wschaos-{name.replace('_', '-')}", metavar=name.upper(), dest=f"wschaos_{name}", help=text)
        parser.addini(f"wschaos_{name}", text)
    group.addoption("--wschaos-seeds", metavar="N", help="run each chaos test with N seeds, one after the other")
    group.addoption(
        "--wschaos-check-determinism",
        action="store_true",
        help="run each test on virtual time twice, and name the first event that differs",
    )


def wrong(message: str) -> NoReturn:
    """Fail with one line: where in the plugin it was noticed is of no interest."""
    raise pytest.fail.Exception(message, pytrace=False) from None


def asked(node: pytest.Item, name: str) -> tuple[Any, Path]:
    """A setting by marker, else option (None where neither gives it), and the folder of who gave it."""
    for marker in node.iter_markers("wschaos"):
        unknown = set(marker.kwargs) - set(NAMES)
        if marker.args or unknown:
            what = ", ".join(sorted(unknown)) or "an argument without a name"
            known = ", ".join(f"{known}=" for known in NAMES)
            wrong(f"{node.nodeid}: marker wschaos does not take {what}: only {known}")
        if marker.kwargs.get(name) is not None:
            return marker.kwargs[name], node.path.parent
    return node.config.getoption(f"wschaos_{name}") or None, node.config.invocation_params.dir


def setting(node: pytest.Item, name: str) -> tuple[Any, Path]:
    """A setting by marker, else option, else ini value (None where nobody gave it), and the folder of who gave it."""
    config = node.config
    given, folder = asked(node, name)
    if given is not None:
        return given, folder
    return config.getini(f"wschaos_{name}") or None, config.inipath.parent if config.inipath else config.rootpath


def seed_of(node: pytest.Item) -> int:
    """The seed of a test; without one that was asked for, the session's."""
    callspec = getattr(node, "callspec", None)
    if callspec is not None and SWEEP in callspec.params:
        return int(callspec.params[SWEEP])
    given, _ = setting(node, "seed")
    if given is None:
        return node.config.stash.setdefault(_session_seed, int.from_bytes(os.urandom(4), "big"))
    try:
        if isinstance(given, int | str) and not isinstance(given, bool):
            return int(given)
    except ValueError:
        pass
    wrong(f"wschaos seed = {given!r}: must be a whole number")


def clock_of(node: pytest.Item) -> str:
    """The clock of a test; of one that asks for several, that of this run."""
    callspec = getattr(node, "callspec", None)
    if callspec is not None and CLOCK in callspec.params:
        return str(callspec.params[CLOCK])
    return clocks_of(node)[0]


def clocks_of(node: pytest.Item) -> list[str]:
    """The clocks of a test. Option and ini value hold for tests that use a fixture of ours, the marker for its own."""
    given, _ = setting(node, "clock")
    if given is None:
        return ["real"]
    clocks = [name.strip() for name in str(given).split(",")]
    if not set(clocks) <= set(CLOCKS) or len(set(clocks)) < len(clocks):
        wrong(f"wschaos clock = {given!r}: must be one of {', '.join(CLOCKS)}, or several with commas between them")
    marked = any(marker.kwargs.get("clock") for marker in node.iter_markers("wschaos"))
    return clocks if marked or uses_chaos(node) else ["real"]


def uses_chaos(node: pytest.Item) -> bool:
    """Whether a test uses a fixture of ours, or is marked."""
    names = getattr(node, "fixturenames", ())
    fixtures = any(name == "toxiproxy" or name.startswith("wschaos") for name in names)
    return fixtures or node.get_closest_marker("wschaos") is not None


def time_limit_of(node: pytest.Item) -> float | None:
    """Virtual seconds that a test may take; None: the default."""
    given, _ = setting(node, "time_limit")
    if given is None:
        return None
    try:
        limit = float(given)
        if limit > 0 and not isinstance(given, bool):
            return limit
    except (TypeError, ValueError):
        pass
    wrong(f"wschaos time_limit = {given!r}: must be a number of virtual seconds above 0")


def seeds_of(config: pytest.Config) -> int:
    """How many seeds each test is to be run with; 0: it is no sweep."""
    given = config.getoption("wschaos_seeds")
    if given is None:
        return 0
    if not str(given).isdecimal() or int(given) < 1:
        wrong(f"--wschaos-seeds = {given}: must be a whole number, 1 or more")
    return int(given)


def repeat_command(node: pytest.Item) -> str:
    """The command that runs one test again as it was."""
    words = ["pytest", sweep_of(node), f"--wschaos-seed={seed_of(node)}"]
    given = ((name, node.config.getoption(f"wschaos_{name}")) for name in ("profile", "clock", "time_limit"))
    words += [f"--wschaos-{name.replace('_', '-')}={value}" for name, value in given if value]
    return shlex.join(words)


def sweep_of(node: pytest.Item) -> str:
    """The id of a test, without the seed of a sweep."""
    id, seed = node.nodeid, seed_of(node)
    return id.replace(f"-seed={seed}]", "]").replace(f"[seed={seed}]", "").replace(f"[seed={seed}-", "[")
