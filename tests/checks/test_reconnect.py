"""RECONNECT, judged on records written by hand. Detection 40 s, delays 0.5 to 1.5 s first, 10 retries, ceiling 45 s."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.story import Story
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record

from .script import Script, flapping, refusals

PASS, FAIL, INCONCLUSIVE, NON_STRICT = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NON_STRICT
UNSUPPORTED = Outcome.UNSUPPORTED
TEN = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0)


def verdict(rule: str, record: Record, profile: Profile | None = None) -> Verdict:
    return judge(record, profile or Profile(), rule)[0]


@pytest.mark.parametrize("rule", [f"RECONNECT-0{n}" for n in range(1, 10)])
def test_nothing_happened(rule: str) -> None:
    found = verdict(rule, Script().record(100))
    assert found.outcome is (UNSUPPORTED if rule[-1] in "789" else INCONCLUSIVE)
    assert "not provoked: " in found.seen or "on_event=wschaos.report" in found.seen


class TestDeadLink:
    """RECONNECT-01"""

    def dropped(
        self, abandoned: float | None = 55.0, back: float | None = 56.0, *, until: float = 80.0, **detail: object
    ) -> Script:
        s = Script()
        s.opened(0.0)
        s.fault(20.0, "silent_drop", until=until, **{"direction": "both", "resume": False, **detail})
        if abandoned is not None:
            s.end(abandoned, by="peer", how="reset")
        if back is not None:
            s.attempt(back)
        return s

    @pytest.mark.parametrize(
        ("abandoned", "back", "outcome"),
        [
            (55.0, 56.0, PASS),
            (60.04, 61.5, PASS),
            (61.0, 62.0, FAIL),
            (None, None, FAIL),
            (55.0, 58.0, FAIL),
            (55.0, None, FAIL),
        ],
    )
    def test_found_out(self, abandoned: float | None, back: float | None, outcome: Outcome) -> None:
        assert verdict("RECONNECT-01", self.dropped(abandoned, back).record(100)).outcome is outcome

    def test_what_met_the_drop_stays_dead_when_it_is_over(self) -> None:
        assert verdict("RECONNECT-01", self.dropped(until=30).record(100)).outcome is PASS
        assert verdict("RECONNECT-01", self.dropped(None, None, until=30).record(100)).outcome is FAIL

    def test_cannot_tell(self) -> None:
        assert verdict("RECONNECT-01", self.dropped(None, None).record(50)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-01", self.dropped(60.2, 61).lag(60.2, 0.1).record(100)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-01", self.dropped(resume=True).record(100)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-01", self.dropped(direction="up").record(100)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-01", self.dropped().app(30, "close").record(100)).outcome is INCONCLUSIVE
        one = Profile().with_(reconnect={"max_retries": 0})
        assert verdict("RECONNECT-01", self.dropped().record(100), one).outcome is INCONCLUSIVE

    def test_no_heartbeat_declared(self) -> None:
        profile = Profile().with_(heartbeat={"interval": None})
        assert verdict("RECONNECT-01", self.dropped().record(100), profile).outcome is UNSUPPORTED


class TestTls:
    """Nothing can be read of an encrypted connection."""

    def test_no_rule_of_the_client_can_be_judged(self) -> None:
        s = Script()
        s.attempt(0.0)
        s.event(0.1, "error", "proxy", conn=1, error="not WebSocket", encrypted=True)
        for rule in ("RECONNECT-04", "BACKOFF-01", "HEARTBEAT-01"):
            found = verdict(rule, s.record(100))
            assert found.outcome is Outcome.UNSUPPORTED
            assert found.seen.startswith("connection 1 is TLS")


class TestAbnormalEnd:
    """RECONNECT-02"""

    def cut(self, back: float | None) -> Script:
        s = Script()
        s.opened(0.0)
        s.end(20.0, how="reset")
        if back is not None:
            s.opened(back)
        return s

    def test_comes_back(self) -> None:
        assert verdict("RECONNECT-02", self.cut(21.0).record(100)).outcome is PASS
        assert verdict("RECONNECT-02", self.cut(None).record(100)).outcome is FAIL
        assert verdict("RECONNECT-02", self.cut(None).record(40)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-02", self.cut(90.0).app(90.0, "reconnect").record(100)).outcome is FAIL

    def test_what_began_before_the_end_is_no_answer_to_it(self) -> None:
        s = Script()
        first = s.opened(0.0)
        second = s.opened(10.0)
        s.end(20.0, how="reset", conn=first)
        found = verdict("RECONNECT-02", s.record(100))
        assert found.outcome is INCONCLUSIVE
        assert "when the client had connection 2 as well" in found.seen
        s.end(15.0, conn=second)
        assert verdict("RECONNECT-02", s.record(100)).outcome is FAIL

    def test_the_attempt_begins_with_the_fetch_of_the_token(self) -> None:
        assert verdict("RECONNECT-02", self.cut(70.0).record(100)).outcome is FAIL
        assert verdict("RECONNECT-02", self.cut(70.0).app(60.0, "connecting").record(100)).outcome is PASS
        assert verdict("RECONNECT-02", self.cut(70.0).app(69.0, "connecting").record(100)).outcome is FAIL

    def test_nothing_is_due_when_the_retries_are_used_up(self) -> None:
        none_left = Profile().with_(reconnect={"max_retries": 0})
        assert verdict("RECONNECT-02", self.cut(None).record(100), none_left).outcome is INCONCLUSIVE


class TestOneAtATime:
    """RECONNECT-03"""

    @pytest.mark.parametrize(("over", "outcome"), [(5.0, PASS), (6.04, PASS), (7.0, FAIL), (None, FAIL)])
    def test_overlap(self, over: float | None, outcome: Outcome) -> None:
        s = Script()
        first = s.opened(0.0)
        if over is not None:
            s.end(over, conn=first)
        s.opened(6.0)
        s.end(6.5)
        assert verdict("RECONNECT-03", s.record(50)).outcome is outcome

    def test_an_overlap_that_the_server_ended(self) -> None:
        s = Script()
        first = s.opened(0.0)
        s.opened(6.0)
        s.frame(6.01, "down", "close", conn=first, code=4409, reason="replaced")
        s.event(6.012, "close", conn=first, way="up", code=4409)
        s.end(6.015, conn=first)
        assert verdict("RECONNECT-03", s.record(50)).outcome is FAIL

    def test_a_long_one_beside_later_ones(self) -> None:
        s = Script()
        first = s.opened(0.0)
        s.refused(1.0)
        s.refused(2.0)
        s.end(3.0, conn=first)
        assert "connection 2 began while connection 1" in verdict("RECONNECT-03", s.record(50)).seen

    def test_cannot_tell(self) -> None:
        s = Script()
        first = s.opened(0.0)
        s.end(6.2, conn=first)
        s.opened(6.0)
        s.lag(6.1, 0.1)
        assert verdict("RECONNECT-03", s.record(50)).outcome is INCONCLUSIVE
        s.events.pop()
        s.fault(1.0, "bandwidth", until=10.0)
        assert verdict("RECONNECT-03", s.record(50)).outcome is INCONCLUSIVE


class TestOpenTimeout:
    """RECONNECT-04"""

    def unanswered(self, abandoned: float | None, back: float | None = None) -> Script:
        s = Script()
        s.attempt(0.0)
        if abandoned is not None:
            s.end(abandoned, by="peer")
        if back is not None:
            s.opened(back)
        return s

    @pytest.mark.parametrize(
        ("abandoned", "back", "outcome"),
        [(10.0, 11.0, PASS), (10.2, 11.0, FAIL), (None, None, FAIL), (10.0, None, FAIL), (6.0, 7.0, PASS)],
    )
    def test_given_up(self, abandoned: float | None, back: float | None, outcome: Outcome) -> None:
        assert verdict("RECONNECT-04", self.unanswered(abandoned, back).record(100)).outcome is outcome

    def test_a_close_ends_the_attempt_in_time(self) -> None:
        s = Script()
        s.opened(0.0, ready=False)
        s.event(10.0, "close", way="up", code=1000, reason="")
        s.end(14.9, by="peer")
        s.opened(16.0)
        assert verdict("RECONNECT-04", s.record(100)).outcome is PASS

    def test_given_up_long_before(self) -> None:
        s = self.unanswered(3.0, 4.0)
        assert verdict("RECONNECT-04", s.record(100)).outcome is INCONCLUSIVE  # for a reason of its own, perhaps
        assert verdict("RECONNECT-04", s.fault(0.0, "unanswered_handshake").record(100)).outcome is PASS

    def test_cannot_tell(self) -> None:
        assert verdict("RECONNECT-04", self.unanswered(None).record(9)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-04", self.unanswered(10.2, 11).lag(10.2, 0.1).record(99)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-04", self.unanswered(10, 11).app(5.0, "close").record(99)).outcome is INCONCLUSIVE

    def test_ended_by_others(self) -> None:
        for at, outcome in ((5.0, INCONCLUSIVE), (20.0, FAIL)):  # before its deadline, and long after it
            s = Script()
            s.attempt(0.0)
            s.end(at, by="proxy", how="reset")
            s.opened(at + 1)
            assert verdict("RECONNECT-04", s.record(100)).outcome is outcome

    @pytest.mark.parametrize(("lag", "outcome"), [(0.1, INCONCLUSIVE), (0.01, FAIL)])
    def test_the_proxy_was_too_late_to_see_who_ended_it_first(self, lag: float, outcome: Outcome) -> None:
        s = Script()
        s.opened(0.0, ready=False)
        s.lag(10.0, lag).end(10.2, by="proxy")
        assert verdict("RECONNECT-04", s.record(100)).outcome is outcome

    @pytest.mark.parametrize(("lag", "outcome"), [(0.1, INCONCLUSIVE), (0.01, FAIL)])
    def test_ready_late_on_a_busy_machine(self, lag: float, outcome: Outcome) -> None:
        s = Script()
        s.opened(0.0, ready=False)
        s.lag(5.0, lag).event(10.2, "ready")
        found = verdict("RECONNECT-04", s.record(100))
        assert found.outcome is outcome
        assert "was not ready within 10.000 s" in found.seen

    def test_the_last_retry(self) -> None:
        none_left = Profile().with_(reconnect={"max_retries": 0})
        assert verdict("RECONNECT-04", self.unanswered(10.0).record(100), none_left).outcome is PASS

    def test_a_timer_that_outlives_its_attempt(self) -> None:
        s = Script()
        s.refused(0.0)
        s.opened(1.0)
        s.end(10.01, by="peer")
        s.opened(11.0)
        found = verdict("RECONNECT-04", s.record(100))
        assert found.outcome is FAIL
        assert "10.010 s after attempt 1 began" in found.seen


class TestDeliberateClose:
    """RECONNECT-05"""

    def closed(self, again: float | None = None, *, code: int = 1000) -> Script:
        s = Script()
        s.opened(0.0)
        s.frame(20.0, "up", "close", code=code, reason="bye")
        s.frame(20.0, "down", "close", code=code, reason="bye")
        s.end(20.0)
        if again is not None:
            s.opened(again)
        return s

    def test_stays_closed(self) -> None:
        assert verdict("RECONNECT-05", self.closed().record(100)).outcome is PASS
        assert verdict("RECONNECT-05", self.closed(21.0).record(100)).outcome is FAIL
        assert verdict("RECONNECT-05", self.closed().record(70)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-05", self.closed(code=1011).record(100)).outcome is INCONCLUSIVE

    def test_asked_again(self) -> None:
        assert verdict("RECONNECT-05", self.closed(30.0).app(29.9, "reconnect").record(100)).outcome is INCONCLUSIVE
        by_reconnect = self.closed(20.1).app(19.9, "reconnect")
        assert verdict("RECONNECT-05", by_reconnect.record(100)).seen.startswith("not provoked")

    def test_in_the_middle_of_a_wait(self) -> None:
        s = Script()
        refusals(s, (1.0, 2.0))
        s.app(3.5, "close")
        assert verdict("RECONNECT-05", s.record(100)).outcome is PASS
        s.refused(7.0)
        assert verdict("RECONNECT-05", s.record(100)).outcome is FAIL

    def test_an_attempt_on_its_way(self) -> None:
        s = Script()
        refusals(s, (1.0, 2.0))
        s.app(2.98, "close")
        assert verdict("RECONNECT-05", s.record(100)).outcome is PASS

    def test_a_dead_link_may_be_ended_by_the_same_code(self) -> None:
        s = self.closed(21.0)
        s.fault(5.0, "silent_drop", until=30.0)
        assert verdict("RECONNECT-05", s.record(100)).seen.startswith("not provoked")


class TestGivesUp:
    """RECONNECT-06"""

    def exhausted(self, waits: tuple[float, ...] = TEN, *, told: int | None = None, error: str = "refused") -> Script:
        s = Script()
        if told is not None:
            s.app(0.0, "connecting")
        end = refusals(s, waits)
        for _ in range(told or 0):
            s.app(end + 0.01, "gave_up", error=error, undelivered=[])
        return s

    def test_ten_retries_and_then_quiet(self) -> None:
        assert verdict("RECONNECT-06", self.exhausted().record(400)).outcome is NON_STRICT
        assert verdict("RECONNECT-06", self.exhausted(told=1).record(400)).outcome is PASS
        assert verdict("RECONNECT-06", self.exhausted(told=0).record(400)).outcome is FAIL
        assert verdict("RECONNECT-06", self.exhausted(told=2).record(400)).outcome is FAIL
        assert verdict("RECONNECT-06", self.exhausted(told=1, error="").record(400)).outcome is FAIL
        assert verdict("RECONNECT-06", self.exhausted(told=1).record(182)).outcome is INCONCLUSIVE

    def test_for_ever(self) -> None:
        found = verdict("RECONNECT-06", self.exhausted((*TEN, 30.0)).record(400))
        assert found.outcome is FAIL
        assert "retry 11 came as connection 12" in found.seen

    def test_too_early(self) -> None:
        found = verdict("RECONNECT-06", self.exhausted(TEN[:4]).record(400))
        assert found.outcome is FAIL
        assert "4 of 10 retries" in found.seen
        assert verdict("RECONNECT-06", self.exhausted(()).record(400)).outcome is FAIL
        assert verdict("RECONNECT-06", self.exhausted(TEN[:4]).record(40)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-06", self.exhausted(TEN[:4]).app(18, "close").record(99)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(("delay", "outcome"), [(500.0, INCONCLUSIVE), (30.0, FAIL)])
    def test_one_that_says_that_it_waits_for_longer_has_not_stopped(self, delay: float, outcome: Outcome) -> None:
        s = self.exhausted(TEN[:4]).app(16, "waiting", attempt=5, delay=delay)
        assert verdict("RECONNECT-06", s.record(400)).outcome is outcome

    def test_started_again_by_somebody(self) -> None:
        s = self.exhausted()
        s.opened(300.0)
        assert verdict("RECONNECT-06", s.record(400)).outcome is NON_STRICT
        s = self.exhausted(told=1)
        s.app(300.0, "reconnect")
        s.opened(300.0)
        assert verdict("RECONNECT-06", s.record(400)).outcome is PASS

    def test_other_rules_have_their_own_ends(self) -> None:
        s = Script()
        flapping(s, TEN[:3], code=1008)
        assert verdict("RECONNECT-06", s.record(400)).outcome is INCONCLUSIVE
        s = Script()
        flapping(s, [1.0] * 20)  # the count starts anew with each handshake: BACKOFF-03
        assert verdict("RECONNECT-06", s.record(400)).outcome is INCONCLUSIVE

    def test_accept_then_close_counts(self) -> None:
        s = Script()
        flapping(s, (*TEN, 30.0))
        assert verdict("RECONNECT-06", s.record(400)).outcome is FAIL

    def test_no_limit(self) -> None:
        profile = Profile().with_(reconnect={"max_retries": None})
        assert verdict("RECONNECT-06", self.exhausted().record(400), profile).outcome is UNSUPPORTED


class TestReconnectWorks:
    """RECONNECT-07"""

    def restarted(self) -> Script:
        s = Script()
        s.app(0.0, "connecting")
        end = refusals(s, TEN)
        s.app(end, "gave_up", error="refused", undelivered=[])
        s.app(200.0, "reconnect")
        return s

    def test_works(self) -> None:
        s = self.restarted()
        assert verdict("RECONNECT-07", s.record(200.5)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-07", s.record(220)).outcome is FAIL
        s.attempt(200.1)
        assert verdict("RECONNECT-07", s.record(210)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-07", s.record(400)).outcome is FAIL
        s.event(200.2, "ready")
        assert verdict("RECONNECT-07", s.record(220)).outcome is PASS

    def test_not_provoked(self) -> None:
        assert verdict("RECONNECT-07", Script().app(0.0, "connecting").record(5)).outcome is INCONCLUSIVE


class TestProvider:
    """RECONNECT-08"""

    def failing(self) -> Script:
        s = Script()
        s.app(0.0, "connecting").app(0.0, "ready", recovered=False)
        s.opened(0.0)
        s.end(20.0)
        s.app(20.0, "closed", code=1006)
        s.app(21.0, "connecting").app(21.0, "closed", code=None)
        return s

    def test_goes_on(self) -> None:
        s = self.failing()
        assert verdict("RECONNECT-08", s.record(30)).outcome is INCONCLUSIVE
        assert verdict("RECONNECT-08", s.record(100)).outcome is FAIL
        s.app(23.0, "connecting")
        s.opened(23.0)
        assert verdict("RECONNECT-08", s.record(100)).outcome is PASS
        assert verdict("BACKOFF-01", s.record(100)).outcome is INCONCLUSIVE

    def test_gives_up(self) -> None:
        s = self.failing()
        s.app(21.0, "gave_up", error="no token", undelivered=[])
        assert verdict("RECONNECT-08", s.record(100)).outcome is FAIL
        assert verdict("RECONNECT-08", s.record(100), Profile().with_(reconnect={"max_retries": 1})).outcome is PASS

    def test_the_very_first_fetch_fails(self) -> None:
        s = Script()
        s.app(0.0, "connecting").app(0.0, "closed", code=None).app(0.0, "gave_up", error="no token", undelivered=[])
        for limit, outcome in ((0, PASS), (1, FAIL)):
            profile = Profile().with_(reconnect={"max_retries": limit})
            assert verdict("RECONNECT-08", s.record(100), profile).outcome is outcome

    def test_gives_up_though_no_limit_is_declared(self) -> None:
        s = self.failing().app(21.0, "gave_up", error="no token", undelivered=[])
        found = verdict("RECONNECT-08", s.record(100), Profile().with_(reconnect={"max_retries": None}))
        assert found.outcome is FAIL
        assert "no limit" in found.seen

    @pytest.mark.parametrize(("asked", "outcome"), [(None, FAIL), (21.5, INCONCLUSIVE), (40.0, INCONCLUSIVE)])
    def test_gives_up_after_it_was_asked_to_reconnect(self, asked: float | None, outcome: Outcome) -> None:
        """Asked amid an attempt (21.5 s) a client goes on counting; asked amid a wait (40 s) it starts anew."""
        s = Script()
        s.app(0.0, "connecting").app(0.0, "ready", recovered=False)
        s.opened(0.0)
        s.end(20.0).app(20.0, "closed", code=1006)
        s.app(21.0, "connecting").attempt(21.0)
        s.end(31.0, by="peer").app(31.0, "closed", code=None)
        s.app(33.0, "connecting").rejected(33.0, 503)
        s.app(33.0, "closed", code=None)
        s.app(41.0, "connecting").app(41.0, "closed", code=None).app(41.0, "gave_up", error="no token", undelivered=[])
        if asked is not None:
            s.app(asked, "reconnect")
        assert verdict("RECONNECT-08", s.record(200)).outcome is outcome
        three = Profile().with_(reconnect={"max_retries": 3})
        assert verdict("RECONNECT-08", s.record(200), three).outcome is (PASS if asked is None else INCONCLUSIVE)

    def again(self, *waits: float) -> Script:
        """Fetches that fail from 21 s on, with a wait after each, and then a connection."""
        s = self.failing()
        at = 21.0
        for number, wait in enumerate(waits):
            if number:
                s.app(at, "connecting").app(at, "closed", code=None)
            at += wait
        s.app(at, "connecting")
        s.opened(at)
        return s

    @pytest.mark.parametrize(
        ("waits", "outcome"),
        [((1.5,), PASS), ((0.06,), PASS), ((0.04,), FAIL), ((0.01,) * 8, FAIL), ((1.5, 0.01, 6.0), FAIL)],
    )
    def test_does_not_go_on_at_once(self, waits: tuple[float, ...], outcome: Outcome) -> None:
        assert verdict("RECONNECT-08", self.again(*waits).record(100)).outcome is outcome

    def test_told_a_little_late_of_attempts_among_which_fetches_failed(self) -> None:
        for wait in (0.06, 1.0):  # attempts that follow each other fast, and those that do not
            s = Script()
            for number in range(6):
                at = 10.0 + wait * number
                s.app(at + 0.04, "connecting")
                if number % 2:
                    s.rejected(at, 503)
                s.app(at + 0.041, "closed", code=None)
            client = Story(s.record(50.0)).clients[0]
            assert [e.at - 0.041 for e in client.failed_fetches(0.0, 50.0)] == pytest.approx(
                [10.0 + wait * number for number in (0, 2, 4)]
            )

    def test_the_wait_is_not_judged_where_it_cannot_be_told(self) -> None:
        assert verdict("RECONNECT-08", self.again(0.01).lag(21.0, 0.03).record(100)).outcome is PASS
        assert verdict("RECONNECT-08", self.again(0.01).app(20.5, "reconnect").record(100)).outcome is PASS
        at_once = Profile().with_(backoff={"first_low": 0.0, "first_high": 0.1, "stable_after": 30.0})
        assert verdict("RECONNECT-08", self.again(0.01).record(100), at_once).outcome is FAIL  # it is the second
        few = Profile().with_(backoff={"base": 0.1})
        assert verdict("RECONNECT-08", self.again(0.01).record(100), few).outcome is PASS

    def test_the_application_closed(self) -> None:
        assert verdict("RECONNECT-08", self.failing().app(21.5, "close").record(100)).outcome is INCONCLUSIVE

    def test_not_provoked(self) -> None:
        assert verdict("RECONNECT-08", Script().app(0.0, "gap").record(5)).outcome is INCONCLUSIVE

    def test_refusals_that_nobody_sees(self) -> None:
        s = self.failing()
        s.sees_refused = False
        s.fault(20.5, "refuse")
        assert verdict("RECONNECT-08", s.record(100)).outcome is INCONCLUSIVE


class TestLedger:
    """RECONNECT-09"""

    def drops(self, count: int = 10) -> Script:
        s = Script()
        for number in range(count):
            at = 22.0 * number
            s.app(at, "connecting").app(at, "ready", recovered=number > 0)
            s.opened(at)
            s.frame(at + 20, "down", "close", code=1011, reason="")
            s.end(at + 20)
            s.app(at + 20, "closed", code=1011, reason="")
            s.app(at + 20, "waiting", attempt=1, delay=2.0)
        s.app(22.0 * count, "connecting").app(22.0 * count, "ready", recovered=True)
        s.opened(22.0 * count)
        return s

    def without(self, name: str, which: int) -> Script:
        s = self.drops()
        s.events.remove([e for e in s.events if e.kind == f"app.{name}"][which])
        return s

    def test_told_once_each(self) -> None:
        assert verdict("RECONNECT-09", self.drops().record(230)).outcome is PASS
        assert "3 of 10 reconnects" in verdict("RECONNECT-09", self.drops(3).record(230)).seen

    @pytest.mark.parametrize("name", ["connecting", "ready", "closed", "waiting"])
    def test_one_is_missing(self, name: str) -> None:
        assert verdict("RECONNECT-09", self.without(name, 5).record(230)).outcome is FAIL

    def test_the_last_ones_are_missing(self) -> None:
        s = self.drops()
        s.events = [e for e in s.events if e.place != "app" or e.at < 100]
        assert "for 11 attempts" in verdict("RECONNECT-09", s.record(230)).seen

    @pytest.mark.parametrize(
        ("name", "detail"), [("closed", {"code": 1006}), ("waiting", {"attempt": 1, "delay": 1.0}), ("ready", {})]
    )
    def test_told_twice(self, name: str, detail: dict[str, object]) -> None:
        assert verdict("RECONNECT-09", self.drops().app(20.5, name, **detail).record(230)).outcome is FAIL

    def test_a_wait_without_its_number(self) -> None:
        s = self.without("waiting", 5).app(22.0 * 5 + 20.01, "waiting", delay=1.0)
        assert "without the attempt's number" in verdict("RECONNECT-09", s.record(230)).seen

    def test_another_code_than_came(self) -> None:
        s = self.without("closed", 9).app(22.0 * 9 + 19.999, "closed", code=1006, reason="")
        s.end(22.0 * 10 + 5).app(22.0 * 10 + 5, "closed", code=1006)
        assert "but the application was told 1006" in verdict("RECONNECT-09", s.record(230)).seen

    def cuts(self, code: int | None, *, close: bool = False, reset: float = 0.0, late: float = 0.0) -> Script:
        """Twelve connections that are reset, perhaps just after a Close; everything is told ``late`` seconds after."""
        s = Script()
        for number in range(12):
            at = 21.0 * number
            s.app(at + late, "connecting").app(at + late, "ready", recovered=number > 0)
            s.opened(at)
            if close:
                s.frame(at + 20, "down", "close", code=1001, reason="")
            s.end(at + 20 + reset, how="reset")
            s.app(at + 20 + reset + late, "closed", code=code)
            s.app(at + 20 + reset + late, "waiting", attempt=1, delay=1.0)
        return s

    @pytest.mark.parametrize(
        ("code", "outcome"), [(1006, PASS), (1005, PASS), (None, PASS), (1000, FAIL), (4000, FAIL)]
    )
    def test_a_cut_is_told_as_one(self, code: int | None, outcome: Outcome) -> None:
        assert verdict("RECONNECT-09", self.cuts(code).record(251.5)).outcome is outcome

    def test_what_was_never_ready_has_no_code_to_compare(self) -> None:
        s = self.cuts(1006).app(252.0, "connecting")
        s.opened(252.0, ready=False)
        s.end(253.0, how="reset").app(253.0, "closed", code=4000).app(253.0, "waiting", attempt=2, delay=2.0)
        assert verdict("RECONNECT-09", s.record(253.5)).outcome is PASS

    def test_a_code_of_the_clients_own(self) -> None:
        s = self.cuts(1006).app(252.0, "connecting").app(252.0, "ready", recovered=True)
        s.opened(252.0)
        s.ping(260.0, answered=None)
        s.end(270.0, how="reset").app(270.0, "closed", code=4000).app(270.0, "waiting", attempt=1, delay=1.0)
        assert verdict("RECONNECT-09", s.record(270.5)).outcome is PASS
        s = self.cuts(1006).app(252.0, "connecting").app(252.0, "ready", recovered=True)
        s.opened(252.0)
        s.app(270.0, "close").end(270.0, how="reset").app(270.0, "closed", code=1000)
        assert verdict("RECONNECT-09", s.record(270.5)).outcome is PASS

    @pytest.mark.parametrize(("reset", "outcome"), [(0.0005, PASS), (0.04, PASS), (0.06, FAIL)])
    def test_a_reset_just_after_a_close_may_be_all_that_was_seen(self, reset: float, outcome: Outcome) -> None:
        assert verdict("RECONNECT-09", self.cuts(1006, close=True, reset=reset).record(251.5)).outcome is outcome
        assert verdict("RECONNECT-09", self.cuts(1001, close=True, reset=reset).record(251.5)).outcome is PASS
        assert verdict("RECONNECT-09", self.cuts(1011, close=True, reset=reset).record(251.5)).outcome is FAIL

    def test_told_a_little_late(self) -> None:
        """On a busy machine what is told may be on record some time after what was done."""
        for code in (1006, None):
            s = self.cuts(code, late=0.04)
            assert verdict("RECONNECT-09", s.record(251.5)).outcome is PASS
            assert verdict("RECONNECT-08", s.record(251.5)).outcome is INCONCLUSIVE
        s = self.cuts(None, late=0.2)
        assert verdict("RECONNECT-09", s.record(251.5)).outcome is FAIL
        for number in range(13):
            s.lag(21.0 * number + 0.2, 0.18)
        assert verdict("RECONNECT-09", s.record(251.5)).outcome is PASS

    def test_what_happened_as_it_slept_may_not_be_told_yet(self) -> None:
        s = self.cuts(1006).app(252.0, "connecting").app(252.0, "ready", recovered=True)
        s.opened(252.0)
        s.end(290.0, how="reset")
        assert verdict("RECONNECT-09", s.record(320.0)).outcome is FAIL
        s.fault(280.0, "suspend", client="c", pid=1)
        assert verdict("RECONNECT-09", s.record(320.0)).outcome is PASS
        s.event(310.0, "healed", "proxy", client="", fault="suspend", id=1)
        assert verdict("RECONNECT-09", s.record(310.5)).outcome is PASS
        assert verdict("RECONNECT-09", s.record(320.0)).outcome is FAIL

    def test_a_close_that_came_just_as_the_client_had_found_the_link_dead(self) -> None:
        s = Script()
        s.app(0.0, "connecting").app(0.0, "ready", recovered=False)
        s.opened(0.0)
        s.ping(30.0, answered=None)
        s.frame(39.99, "down", "close", code=1011, reason="no pong")
        s.end(39.99)
        s.app(40.0, "closed", code=1006, reason="heartbeat").app(40.0, "waiting", attempt=1, delay=2.0)
        assert verdict("RECONNECT-09", s.record(41)).outcome is INCONCLUSIVE
        early = [
            replace(e, at=e.at - 5) if e.kind in ("app.closed", "app.waiting", "close", "end") else e for e in s.events
        ]
        s.events = early
        assert verdict("RECONNECT-09", s.record(41)).outcome is FAIL

    def test_what_the_application_asks(self) -> None:
        s = self.drops()
        at = 22.0 * 10 + 5
        s.app(at, "reconnect").end(at).app(at, "closed", code=1000)
        s.app(at, "connecting").app(at + 0.1, "ready", recovered=True)
        s.opened(at)
        s.end(at + 5).app(at + 5, "closed", code=1006).app(at + 5, "waiting", attempt=1, delay=1.0)
        s.app(at + 5.5, "close").app(at + 5.5, "closed", code=None)
        assert verdict("RECONNECT-09", s.record(300)).outcome is PASS

    def test_a_close_amid_an_attempt_is_known_before_the_connection_is_ready(self) -> None:
        s = self.drops(10)
        s.end(240.0).app(240.0, "closed", code=1006).app(240.0, "waiting", attempt=1, delay=2.0)
        s.app(242.0, "connecting")
        s.opened(242.0, ready=False)
        s.app(243.0, "close").event(244.0, "ready").end(246.0, by="peer").app(246.0, "closed", code=1000)
        assert verdict("RECONNECT-09", s.record(300)).outcome is PASS

    def test_a_close_amid_a_wait_ends_no_connection(self) -> None:
        s = self.drops(1)  # its second connection lasts from 22 s on
        s.frame(30.0, "down", "close", code=1014, reason="").end(30.0)
        s.app(30.0, "closed", code=1014, reason="").app(30.0, "waiting", attempt=1, delay=2.0)
        s.app(31.0, "close").app(31.0, "closed", code=None, reason="the client was closed")
        s.app(40.0, "reconnect").app(40.0, "connecting").app(40.0, "ready", recovered=True)
        s.opened(40.0)
        s.frame(50.0, "down", "close", code=1012, reason="").end(50.0)
        s.app(50.0, "closed", code=1012, reason="").app(50.0, "waiting", attempt=1, delay=2.0)
        s.app(52.0, "connecting").app(52.0, "ready", recovered=True)
        s.opened(52.0)
        assert verdict("RECONNECT-09", s.record(100)).outcome is INCONCLUSIVE
