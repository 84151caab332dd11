"""What all tests share."""

from __future__ import annotations

import inspect

import pytest
import trustme  # noqa: F401  # pytester takes back what a run in this process has imported; this cannot come twice

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
