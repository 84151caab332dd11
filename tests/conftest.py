"""What all tests share."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping

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


ON_BOTH_ENGINES = ("test_faults.py", "test_wss.py", "test_toxiproxy_fixture.py")
"""Suites of which each test with a fixture of ours runs on the engine of its process, and on that of another."""
OUR_FIXTURES = {"wschaos", "wschaos_proxy"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of the engine for each shell, and one of each fault for each engine."""
    chosen = any("engine" in mark.kwargs for mark in metafunc.definition.iter_markers("wschaos"))
    if metafunc.definition.path.name in ON_BOTH_ENGINES and OUR_FIXTURES & set(metafunc.fixturenames) and not chosen:
        metafunc.fixturenames.append("engine")
        other = pytest.param("process", marks=pytest.mark.wschaos(engine="process"))
        metafunc.parametrize("engine", ["embedded", other])
    if metafunc.definition.path.parent.name == "engine" and inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("shell")
        metafunc.parametrize("shell", SHELLS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only real time has a choice of shells, and of engines."""
    items[:] = [item for item in items if not _other_way(item) or clock_of(item) == "real"]


def _params(item: pytest.Item) -> Mapping[str, object]:
    return getattr(getattr(item, "callspec", None), "params", {})


def _other_way(item: pytest.Item) -> bool:
    return _shell(item) == "asyncio" or _params(item).get("engine") == "process"


def _shell(item: pytest.Item) -> object:
    return _params(item).get("shell")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _running[:] = [item]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of each test that runs in real time."""

    def make() -> asyncio.AbstractEventLoop:
        return new_loop() if _shell(_running[0]) == "relay" else asyncio.new_event_loop()

    return {"real": make}
