from __future__ import annotations

from typing import Any

import pytest

from pytest_wschaos.engine.errors import BadRequest
from pytest_wschaos.engine.targets import Targets


@pytest.mark.parametrize(
    ("given", "accepted", "included"),
    [
        (None, 3, [1, 2, 3, 4, 5, 6, 7, 8]),
        (2, 3, [2]),
        ([1, 7], 3, [1, 7]),
        ({"nth": 2}, 3, [5]),
        ({"every": 2}, 3, [5, 7]),
        ({"every": 1}, 3, [4, 5, 6, 7, 8]),
    ],
)
def test_which_are_meant(given: Any, accepted: int, included: list[int]) -> None:
    targets = Targets(given, accepted)
    assert [number for number in range(1, 9) if targets.include(number)] == included
    assert targets.given == given


@pytest.mark.parametrize("given", [0, -1, True, 1.5, "1", [], [0], [1, "2"], {}, {"nth": 0}, {"nth": 1, "every": 1}])
def test_what_makes_no_sense_is_named(given: Any) -> None:
    with pytest.raises(BadRequest, match=r"connections = .*: must be a number of 1 or more, a list of such"):
        Targets(given, 0)
