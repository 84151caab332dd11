"""Ten planted bugs are found by random schedules, each with five seeds, and shrunk to a few faults."""

from __future__ import annotations

import pytest

from pytest_wschaos.simulation.play import survive

from .bugs import PLANTED, Planted
from .hunt import EXAMPLES, MOST_FAULTS, SEEDS, faults, hunt


@pytest.mark.parametrize("number", SEEDS)
@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_is_found_and_shrunk(bug: Planted, number: int) -> None:
    found = hunt(bug, number)
    assert found.smallest is not None, f"not found in {EXAMPLES} examples"
    (schedule,) = found.smallest.schedules
    assert faults(schedule) <= MOST_FAULTS, schedule
    shown = [*found.smallest.broken, *(verdict.rule for verdict in found.smallest.failed)]
    assert shown[0].startswith(bug.shows), shown
    survive(schedule, profile=bug.profile, rules=bug.rules)  # the reference client keeps what it breaks


def test_there_are_ten() -> None:
    assert len({bug.name for bug in PLANTED}) == 10
