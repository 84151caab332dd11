"""Schedules are carried out as they say, worlds are alike, promises are judged, and a failure can be pasted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pytest
from broken.backoff import BackoffResetByHandshake
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from planted import bugs

from pytest_wschaos import Outcome, Profile
from pytest_wschaos.harness import Chaos, RuleBroken
from pytest_wschaos.simulation import strategies
from pytest_wschaos.simulation.paste import as_test, differences
from pytest_wschaos.simulation.play import play, survive
from pytest_wschaos.simulation.run import run
from pytest_wschaos.simulation.schedule import KINDS, LASTING, Schedule, ScheduleError, Step, perform

BUSY: list[Step] = [
    (0.0, "subscribe", {"topic": "a"}),
    (0.2, "publish", {"topic": "a"}),
    (0.0, "send", {"topic": "b", "size": 100}),
    (0.1, "latency", {"seconds": 0.2, "lasts": 10.0}),
    (0.1, "send", {"topic": "a"}),
    (0.05, "abort", {}),
    (1.0, "pause", {"lasts": 3.0}),
    (0.5, "restart", {"lasts": 2.0, "forget": True}),
    (4.0, "rotate_token", {"revoke": True}),
    (0.0, "unsubscribe", {"topic": "a"}),
    (0.0, "reconnect", {}),
]
PROVOKED = (
    "RECONNECT-02",
    "BACKOFF-01",
    "HEARTBEAT-01",
    "REPLAY-02",
    "REPLAY-03",
    "REPLAY-06",
    "REPLAY-08",
    "AUTH-03",
)
"""Rules on which two of these say something."""


# --- schedules


def times(schedules: list[Schedule]) -> list[tuple[str, str, float]]:
    """When each fault began and ended."""

    async def main() -> list[tuple[str, str, float]]:
        async with Chaos() as chaos:
            await perform(chaos, *schedules)
            seen = [e for e in chaos.timeline if e.kind in ("fault", "healed")]
            return [(e["fault"] if e.kind == "fault" else "", e.kind, round(e.at, 6)) for e in seen]

    return run(main)


def test_steps_come_after_their_gaps_and_faults_overlap_and_end() -> None:
    schedule: Schedule = [(1.0, "latency", {"seconds": 0.1, "lasts": 5.0}), (2.0, "refuse", {"lasts": 1.0})]
    assert [(kind, at) for _, kind, at in times([schedule])] == [
        ("fault", 1.0),
        ("fault", 3.0),
        ("healed", 4.0),
        ("healed", 6.0),
    ]


def test_schedules_beside_each_other_have_clocks_of_their_own() -> None:
    one: Schedule = [(1.0, "abort", {}), (1.0, "abort", {})]
    other: Schedule = [(1.5, "disconnect", {})]
    assert times([one, other]) == [("abort", "fault", 1.0), ("disconnect", "fault", 1.5), ("abort", "fault", 2.0)]


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ((0.0, "flood", {}), "there are .*silent_drop"),
        ((-1.0, "abort", {}), "no time below 0"),
        ((0.0, "refuse", {"lasts": float("inf")}), "no time below 0"),
        ((0.0, "abort"), "must be"),
        ((0.0, "refuse", {}), "needs 'lasts'"),
        ((0.0, "abort", {"lasts": 1.0}), "over at once"),
        ((0.0, "latency", {"lasts": 1.0}), "missing"),
        ((0.0, "latency", {"lasts": 1.0, "seconds": -1.0}), "0 s or more"),
        ((0.0, "send", {"lasts": 1.0}), "over at once"),
        ((0.0, "send", {"topik": "a"}), r"topik = 'a': send takes topic \(str\), size \(int\)"),
        ((0.0, "publish", {"size": "big"}), "size = 'big': publish takes"),
        ((0.0, "subscribe", {"size": 1}), r"size = 1: subscribe takes topic \(str\)$"),
        ((0.0, "reconnect", {"topic": "a"}), "topic = 'a': reconnect takes nothing of that kind"),
    ],
)
def test_a_step_that_cannot_be_says_so(step: Any, what: str) -> None:
    with pytest.raises(ScheduleError, match=what):
        play([step])


def test_without_an_application_there_is_nobody_to_send() -> None:
    with pytest.raises(ScheduleError, match="no application here to send"):
        times([[(0.0, "send", {"topic": "a"})]])


def test_whatever_goes_wrong_no_fault_stays() -> None:
    async def main() -> list[str]:
        async with Chaos() as chaos:
            with pytest.raises(ScheduleError):
                await perform(chaos, [(0.0, "refuse", {"lasts": 60.0}), (1.0, "close", {"code": 1006})])
            return [e.kind for e in chaos.timeline if e.get("fault") == "refuse"]

    assert run(main) == ["fault", "healed"]


class Clumsy:
    """An application with a bug of its own."""

    def act(self, kind: str, arguments: Mapping[str, Any]) -> None:
        raise ValueError("mine")


def test_what_the_application_raises_is_not_put_down_to_the_schedule() -> None:
    async def main() -> None:
        async with Chaos() as chaos:
            await perform(chaos, [(0.0, "send", {"topic": "a"})], application=Clumsy())

    with pytest.raises(ValueError, match=r"^mine$") as raised:
        run(main)
    assert not isinstance(raised.value, ScheduleError)


def test_an_end_that_fails_leaves_no_other_fault_in_force() -> None:
    class Refuses(Clumsy):
        def act(self, kind: str, arguments: Mapping[str, Any]) -> Callable[[], object]:
            return super().act  # which takes arguments: it fails

    async def main() -> list[str]:
        async with Chaos() as chaos:
            lasting: list[Step] = [(0.0, "pause", {"lasts": 5.0}), (0.0, "refuse", {"lasts": 60.0})]
            late: list[Step] = [(0.0, "latency", {"seconds": 0.1, "lasts": 60.0}), (0.0, "pause", {"lasts": 6.0})]
            with pytest.raises(TypeError):
                await perform(chaos, lasting, late, application=Refuses())
            return [e["fault"] for e in chaos.timeline if e.kind == "healed"]

    assert sorted(run(main)) == ["latency", "refuse"]


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), strategies.arguments(kind))))
@settings(database=None, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
def test_every_kind_can_be_drawn_and_played(drawn: tuple[str, dict[str, Any]]) -> None:
    kind, arguments = drawn
    assert ("lasts" in arguments) == (kind in LASTING | {"pause", "restart"})
    assert play([(0.2, kind, arguments)], rules=()).broken == []


def test_without_hypothesis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "pytest_wschaos.simulation.strategies"
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=rf"{name} needs Hypothesis: pip install 'pytest-wschaos\[simulation\]'"):
        import_module(name)


def test_a_kind_that_there_is_not_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no kind of step 'flood': there are abort"):
        strategies.arguments("flood")


@given(strategies.gaps(5.0))
def test_gaps_are_milliseconds(gap: float) -> None:
    assert 0 <= gap <= 5
    assert gap == round(gap, 3)


# --- worlds


def test_the_same_seed_is_the_same_world_and_another_is_not() -> None:
    first, again, other = play(BUSY, seed=1), play(BUSY, seed=1), play(BUSY, seed=2)
    assert first.record == again.record
    assert first.record.events != other.record.events


def test_the_reference_client_survives() -> None:
    outcomes = {verdict.rule: verdict.outcome for verdict in survive(BUSY, BUSY).verdicts}
    assert {rule: outcomes[rule] for rule in PROVOKED} == dict.fromkeys(PROVOKED, Outcome.PASS)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_the_reference_client_survives_whatever_comes(number: int) -> None:
    @seed(number)
    @settings(
        max_examples=40,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategies.messages(max_size=5), strategies.faults(max_size=5), strategies.restarts(max_size=2))
    def lives(messages: list[Step], faults: list[Step], restarts: list[Step]) -> None:
        survive(messages, faults, restarts)

    lives()


def test_what_is_published_while_there_is_no_session_is_not_owed() -> None:
    steps = [
        (0.05, "subscribe", {"topic": "b"}),
        (11.5, "close", {"code": 4410}),  # the client says that continuity is lost, and starts afresh
        (0.13, "publish", {"topic": "b"}),
    ]
    assert play(steps).broken == []


def test_a_client_that_gave_up_is_asked_to_reconnect() -> None:
    tired = Profile().with_(reconnect={"max_retries": 1})
    played = survive([(0.5, "send", {"topic": "a"}), (0.0, "refuse", {"lasts": 60.0})], profile=tired)
    kinds = [event.kind for event in played.record.events]
    assert kinds.index("app.gave_up") < kinds.index("app.reconnect")


def test_on_a_running_loop_it_is_refused() -> None:
    async def main() -> None:
        play([])

    with pytest.raises(RuntimeError, match="call it from a plain def"):
        asyncio.run(main())


# --- what a failure says


def test_a_failure_is_a_test_to_paste() -> None:
    schedule: Schedule = [(0.2, "send", {"topic": "a"}), (0.005, "abort", {})]
    profile = Profile().with_(backoff={"base": 0.5}, security={"rate": 40.0})
    with pytest.raises(RuleBroken) as failure:
        survive(schedule, client=bugs.LostBetweenSendAndAck, profile=profile, seed=3, rules="CLOSE-*")
    text = str(failure.value)
    assert text.startswith("LostBetweenSendAndAck did not survive: delivery: 'send-1' was acknowledged")
    assert "what happened:" in text
    code = text.partition("the same as a test of its own:\n")[2]
    names: dict[str, Any] = {}
    exec(code, names)
    with pytest.raises(RuleBroken) as again:
        names["test_again"]()
    assert str(again.value) == text


def test_other_rules_than_those_by_default_are_pasted_too() -> None:
    assert "rules=('CLOSE-*',)," in play([], rules="CLOSE-*").explain()
    assert "rules=()," in play([], rules=()).explain()
    assert "rules" not in play([]).explain().partition("def test_again")[2]


def test_a_broken_rule_is_told_with_its_figures() -> None:
    played = play([(0.0, "accept_then_close", {"code": 1001, "lasts": 5.0})], client=BackoffResetByHandshake)
    assert not played.survived
    assert "BACKOFF-03 FAIL" in played.explain()
    assert "backoff.stable_after = 10" in played.explain()


def test_the_default_profile_is_not_spelled_out() -> None:
    assert differences(Profile()) is None
    text = as_test([[], [(0.5, "abort", {})]], bugs.GivesUpAndForgets, Profile(), 7)
    compile(text, "pasted", "exec")
    assert "Profile" not in text
    assert "from planted.bugs import GivesUpAndForgets" in text
    assert "(0.5, 'abort', {})," in text


def test_a_profile_is_spelled_out_as_what_it_changes() -> None:
    profile = Profile().scaled(0.5).with_(close={"reactions": {4401: "fatal"}}, security={"origins": ["http://a"]})
    source = differences(profile)
    assert source is not None
    assert eval(source, {"Profile": Profile}) == profile


# --- the trap


def test_given_on_an_async_def_is_refused_on_virtual_time(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        """
        import pytest
        from hypothesis import given, strategies as st

        @pytest.mark.asyncio
        @pytest.mark.wschaos(clock="virtual")
        @given(st.integers())
        async def test_all_on_one_loop(number):
            pass

        @given(st.integers())
        def test_a_loop_for_each(number):
            from pytest_wschaos.simulation.run import run

            async def main():
                return number

            assert run(main) == number
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--asyncio-mode=strict")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*runs all its examples on one loop*from pytest_wschaos.simulation.run import run*"])
