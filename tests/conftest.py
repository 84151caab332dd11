"""What all tests share."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping

import pytest
import trustme  # noqa: F401  # pytester takes back what a run in this process has imported; this cannot come twice
from compat import servers

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
"""Suites of which each test with a fixture of ours runs on each engine; the real one where there is one."""
NOT_BEHIND_A_REAL_ONE = {
    # A reset is passed on as an end, and an end may become a reset.
    "test_abort_is_a_reset_for_the_client",
    "test_a_client_that_has_just_connected_is_live",
    "test_disconnect_is_a_fin_though_the_client_has_bytes_under_way",
    "test_live_connections_end_at_once",
    # What a client gets is on record before the real one's toxics.
    "test_latency_in_one_direction_leaves_the_other",
    # Its upstream is the engine, which has the upward half of what it does.
    "test_the_proxy_of_the_test_is_there",
    "test_faults_and_the_api_work_on_the_same_proxy",
    # Its kernel answers SYNs.
    "test_unanswered_attempts_hang_until_removal",
}
"""Tests of what is otherwise, or not there, behind a real Toxiproxy: tests/test_engine_real.py has what is instead."""
OUR_FIXTURES = {"wschaos", "wschaos_proxy"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of the engine for each shell, and one of each fault for each engine."""
    chosen = any("engine" in mark.kwargs for mark in metafunc.definition.iter_markers("wschaos"))
    if metafunc.definition.path.name in ON_BOTH_ENGINES and OUR_FIXTURES & set(metafunc.fixturenames) and not chosen:
        metafunc.fixturenames.append("engine")
        engines = {"process": "process"}
        if (binary := servers.binary()) is not None and metafunc.function.__name__ not in NOT_BEHIND_A_REAL_ONE:
            engines["binary"] = f"binary:{binary}"
        others = (pytest.param(id, marks=pytest.mark.wschaos(engine=name)) for id, name in engines.items())
        metafunc.parametrize("engine", ["embedded", *others])
    if metafunc.definition.path.parent.name == "engine" and inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("shell")
        metafunc.parametrize("shell", SHELLS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only real time has a choice of shells, and of engines."""
    items[:] = [item for item in items if not _other_way(item) or clock_of(item) == "real"]


def _params(item: pytest.Item) -> Mapping[str, object]:
    return getattr(getattr(item, "callspec", None), "params", {})


def _other_way(item: pytest.Item) -> bool:
    return _shell(item) == "asyncio" or _params(item).get("engine") in ("process", "binary")


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
