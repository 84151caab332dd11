"""What all tests share."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Container, Mapping

import engines
import pytest
import trustme  # noqa: F401  # pytester takes back what a run in this process has imported; this cannot come twice

from pytest_wschaos.engine.relay import new_loop
from pytest_wschaos.settings import clock_of

pytest_plugins = ["pytester"]

ON_ALL_CLOCKS = ("engine", "reference")
"""Suites of which each coroutine runs in real time, on the simulated network and on virtual time over real sockets."""


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module, name: str, obj: object) -> None:
    """Put the marker on their coroutines; one that has a marker of its own, or whose module has one, keeps that."""
    if collector.path.parent.name not in ON_ALL_CLOCKS or not inspect.iscoroutinefunction(obj):
        return
    marks = (*getattr(obj, "pytestmark", ()), *collector.iter_markers())
    if not any(mark.name == "wschaos" for mark in marks):
        pytest.mark.wschaos(clock="real, virtual, hybrid")(obj)


SHELLS = ("relay", "asyncio")
"""What carries the engine in real time: its own descriptors where the platform has them, and asyncio's transports."""
_running: list[pytest.Item] = []


FAULTS = ("test_faults.py", "test_wss.py", "test_toxiproxy_fixture.py")
"""Suites of which each test with a fixture of ours runs on each engine, as all of ``compat`` does."""
OUR_FIXTURES = {"wschaos", "wschaos_proxy"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engines", type=engines.some, default=engines.USUAL, help=engines.HELP)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "engine: runs on each engine, in real time")
    config.addinivalue_line("markers", "deviation(where): where our engine is not as Toxiproxy; docs/engine.md has it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of the engine for each shell, and one of what the engines have in common for each of them."""
    there = metafunc.config.getoption("engines")
    if "engine" in metafunc.fixturenames and metafunc.definition.path.parent.name == "compat":
        metafunc.parametrize("engine", there, scope="session")
    elif _is_of_faults(metafunc):
        metafunc.fixturenames.append("engine")
        here = metafunc.function.__name__ in engines.NOT_BEHIND_A_REAL_ONE
        others = [name for name in there if name != "embedded" and not (here and name in engines.REAL)]
        metafunc.parametrize("engine", ["embedded", *others])
    if metafunc.definition.path.parent.name == "engine" and inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("shell")
        metafunc.parametrize("shell", SHELLS)


def _is_of_faults(metafunc: pytest.Metafunc) -> bool:
    chosen = any("engine" in mark.kwargs for mark in metafunc.definition.iter_markers("wschaos"))
    return metafunc.definition.path.name in FAULTS and bool(OUR_FIXTURES & set(metafunc.fixturenames)) and not chosen


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only real time has a choice of shells, and of engines."""
    there = config.getoption("engines")
    items[:] = [item for item in items if _is_there(item, there)]
    for item in items:
        if _engine(item) and clock_of(item) == "real":
            item.add_marker(pytest.mark.engine)


def _is_there(item: pytest.Item, there: Container[str]) -> bool:
    if clock_of(item) == "real":
        return _engine(item) is None or _engine(item) in there
    return _engine(item) in (None, "embedded") and _shell(item) != "asyncio"


def _params(item: pytest.Item) -> Mapping[str, object]:
    return getattr(getattr(item, "callspec", None), "params", {})


def _engine(item: pytest.Item) -> str | None:
    """The engine that a test runs on, where it is one of those that run on each."""
    engine = _params(item).get("engine")
    ours = item.path.parent.name == "compat" or item.path.name in FAULTS
    return engine if ours and isinstance(engine, str) else None


def _shell(item: pytest.Item) -> object:
    return _params(item).get("shell")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _running[:] = [item]
    if (engine := _engine(item)) not in (None, "embedded") and item.path.name in FAULTS:
        item.add_marker(pytest.mark.wschaos(engine=engines.required(engine)), append=False)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of each test that runs in real time."""

    def make() -> asyncio.AbstractEventLoop:
        return new_loop() if _shell(_running[0]) == "relay" else asyncio.new_event_loop()

    return {"real": make}
