"""Cases side by side: the longest first, a bounded number at a time, each once, and none is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from pytest_wschaos import Profile
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.conformance.suite import player as module
from pytest_wschaos.conformance.suite.case import Case
from pytest_wschaos.conformance.suite.curtain import Curtain
from pytest_wschaos.conformance.suite.estimate import left, seconds_of
from pytest_wschaos.conformance.suite.player import Player, Stopped, side_by_side
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.timeline import Record

LATER = 20.0


async def script(stage: object) -> None:
    """Nothing."""


def a_case(name: str) -> Case:
    return Case(f"BACKOFF-01/{name}", "", "client", script)


def a_result(case: Case) -> Result:
    return Result(case, Verdict(case.rule, Outcome.PASS, "", ""), Profile(), Record((), 0.0))


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAGGER", 0.001)
    monkeypatch.setattr(module, "PATIENCE", 0.01)


class Hall:
    """Plays what it is told to, each until it may end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self.may_end = threading.Event()

    def play(self, case: Case, curtain: Curtain) -> Result:
        with self._lock:
            self.begun.append(case.id.partition("/")[2])
            self._now += 1
            self.most = max(self.most, self._now)
        assert self.may_end.wait(LATER)
        with self._lock:
            self._now -= 1
        return a_result(case)


def until(true: Callable[[], bool]) -> None:
    end = threading.Event()
    for _ in range(int(LATER * 100)):
        if true():
            return
        end.wait(0.01)
    raise AssertionError("it did not come to that")


def test_so_many_are_played_at_a_time_the_longest_first() -> None:
    hall, cases = Hall(), [a_case(name) for name in "abcd"]
    told: list[Result] = []
    seconds = dict(zip("abcd", (1.0, 4.0, 2.0, 3.0), strict=True))
    player = Player(hall.play, limit=2, finished=told.append, seconds=lambda case: seconds[case.id[-1]])
    player.ahead(cases)
    until(lambda: len(hall.begun) == 2)
    assert set(player.playing) == {cases[1].id, cases[3].id}
    assert player.done(cases[1]) is None
    hall.may_end.set()
    assert [player.result(case).case for case in cases] == cases
    assert player.done(cases[1]) is not None
    player.stop()
    assert (hall.begun, hall.most) == (["b", "d", "c", "a"], 2)
    assert sorted(result.case.id for result in told) == [case.id for case in cases]


def test_what_was_not_planned_is_played_when_it_is_asked_for_and_each_once() -> None:
    hall, case = Hall(), a_case("a")
    hall.may_end.set()
    player = Player(hall.play, limit=1)
    assert player.result(case) is player.result(case)
    player.stop()
    assert hall.begun == ["a"]


def test_an_error_goes_to_who_asks_for_the_result() -> None:
    def fails(case: Case, curtain: Curtain) -> Result:
        raise ZeroDivisionError

    player = Player(fails, limit=1)
    with pytest.raises(ZeroDivisionError):
        player.result(a_case("a"))
    assert player.done(a_case("a")) is None
    player.stop()


def test_stop_ends_what_is_played_and_what_waits() -> None:
    threads = set(threading.enumerate())
    begun = threading.Event()

    def plays_on(case: Case, curtain: Curtain) -> Result:
        begun.set()
        asyncio.run(curtain.over(asyncio.sleep(3600)))
        return a_result(case)

    player, cases = Player(plays_on, limit=1), [a_case("a"), a_case("b")]
    player.ahead(cases)
    assert begun.wait(LATER)
    player.stop()
    for case in cases:
        with pytest.raises(Stopped, match=case.id):
            player.result(case)
    assert set(threading.enumerate()) == threads


def test_a_curtain_that_has_fallen_lets_nothing_begin() -> None:
    curtain = Curtain()
    curtain.fall()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(curtain.over(asyncio.sleep(3600)))


def test_the_number_at_a_time_goes_with_the_scale() -> None:
    assert side_by_side(1, "virtual") == 1
    assert side_by_side(1, "real") > side_by_side(0.05, "real") >= 2
    assert side_by_side(100, "real") == side_by_side(1, "real")


def test_durations_of_the_last_run_go_before_estimates() -> None:
    case = a_case("a")
    assert seconds_of(lambda case: Profile(), "real", {case.id: 3.0})(case) == 3
    guessed = seconds_of(lambda case: Profile(), "real")
    scaled = seconds_of(lambda case: Profile().scaled(0.1), "real")
    assert guessed(case) == pytest.approx(10 * scaled(case))
    assert seconds_of(lambda case: Profile(), "virtual")(case) == 1


def test_what_is_left_is_at_least_the_longest_and_at_least_the_sum_side_by_side() -> None:
    cases = [a_case(name) for name in "abcd"]
    assert left(lambda case: 10.0, cases, [], 4) == 10
    assert left(lambda case: 10.0, cases, [], 1) == 40
    assert left(lambda case: 10.0, [], [3.0, -1.0], 2) == 3
    assert left(lambda case: 10.0, [], [], 2) == 0
