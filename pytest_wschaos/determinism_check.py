"""``--wschaos-check-determinism``: each test on virtual time twice, and what differs between the two runs.

PYTEST_DONT_REWRITE: nothing is asserted here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from .settings import clock_of

if TYPE_CHECKING:
    from .harness import ChaosProxy


def run_twice(
    item: pytest.Item, nextitem: pytest.Item | None, chaos: Callable[[pytest.Item], list[ChaosProxy]]
) -> bool:
    """Run a test twice, and report it once; whether it was concerned at all."""
    if not item.config.getoption("wschaos_check_determinism") or not _is_virtual(item):
        return False
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if all(report.passed for report in reports):
        first = [lines(one) for one in chaos(item)]
        chaos(item).clear()
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        second = [lines(one) for one in chaos(item)]
        told = difference(first, second) if all(report.passed for report in reports) else None
        for report in reports:
            if report.when == "call" and report.passed and told is not None:
                report.outcome, report.longrepr = "failed", told
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_virtual(item: pytest.Item) -> bool:
    try:
        return clock_of(item) != "real"
    except pytest.fail.Exception:  # told when it is set up
        return False


def lines(chaos: ChaosProxy) -> list[str]:
    """A timeline, an event a line."""
    return [json.dumps(event.to_dict(), default=repr) for event in chaos.freeze().events]


def difference(first: list[list[str]], second: list[list[str]]) -> str | None:
    """The first event that differs; None: the runs are alike."""
    if len(first) != len(second):
        return f"not deterministic: it made {len(first)} proxies in the first run and {len(second)} in the second"
    for one, other in zip(first, second, strict=True):
        for number in range(max(len(one), len(other))):
            ours, theirs = (run[number] if number < len(run) else "(no event)" for run in (one, other))
            if ours != theirs:
                return (
                    f"not deterministic: with the same seed, event {number + 1} differs between two runs\n"
                    f"  first:  {ours}\n  second: {theirs}"
                )
    return None
