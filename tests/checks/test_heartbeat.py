"""HEARTBEAT, judged on records written by hand. Interval 30 s, deadline 10 s, on both sides."""

from __future__ import annotations

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record

from .script import Script

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
CLIENT_RULES = tuple(f"HEARTBEAT-0{n}" for n in (1, 2, 3, 4, 7, 8))


def verdict(rule: str, record: Record, **heartbeat: object) -> Verdict:
    return judge(record, Profile().with_(heartbeat=heartbeat), rule)[0]


def outcomes(record: Record, **heartbeat: object) -> dict[str, Outcome]:
    """What is not PASS or INCONCLUSIVE, by rule."""
    found = judge(record, Profile().with_(heartbeat=heartbeat), "HEARTBEAT-*")
    return {v.rule: v.outcome for v in found if v.outcome not in (PASS, INCONCLUSIVE)}


def detected(*, drop: float = 65.0, ended: float = 100.0) -> Script:
    """A connection whose link dies after two pings; the third is not answered; the client ends TCP and reconnects."""
    s = Script()
    s.opened(0.0)
    s.pings(30.0, 89.0)
    s.fault(drop, "silent_drop", until=ended + 0.5, direction="both")
    s.ping(90.0, answered=None)
    s.end(ended, by="peer", how="reset")
    s.opened(ended + 1.0)
    return s


@pytest.mark.parametrize("rule", CLIENT_RULES)
def test_a_profile_without_heartbeat_leaves_nothing_to_judge(rule: str) -> None:
    assert verdict(rule, detected().record(300), interval=None).outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize("rule", [f"HEARTBEAT-0{n}" for n in range(1, 10)])
def test_nothing_happened(rule: str) -> None:
    found = verdict(rule, Script().record(100))
    assert found.outcome is INCONCLUSIVE
    assert found.seen.startswith("not provoked: ")


def test_a_conforming_client_keeps_all_rules() -> None:
    s = detected()
    s.pings(131.0, 300.0)
    assert outcomes(s.record(301)) == {}


class TestPings:
    """HEARTBEAT-01"""

    def test_on_time(self) -> None:
        s = Script()
        s.opened(0.0)
        s.pings(30.04, 300.0)
        found = verdict("HEARTBEAT-01", s.record(299))
        assert found.outcome is PASS
        assert found.measured["pings"] == 9

    def test_none_at_all(self) -> None:
        s = Script()
        s.opened(0.0)
        found = verdict("HEARTBEAT-01", s.record(40))
        assert found.outcome is FAIL
        assert "no ping 40.000 s after ready; expected within 30.000 s" in found.seen

    def test_none_that_can_be_read(self) -> None:
        s = Script()
        s.opened(0.0)
        s.frame(20.0, "up", "text", size=4)
        found = verdict("HEARTBEAT-01", s.record(40))
        assert found.outcome is Outcome.UNSUPPORTED
        assert "a dialect must tell" in found.seen

    def test_none_on_the_second_connection(self) -> None:
        s = Script()
        s.opened(0.0)
        s.pings(30.0, 60.0)
        s.end(65.0)
        s.opened(66.0)
        found = verdict("HEARTBEAT-01", s.record(120))
        assert found.outcome is FAIL
        assert "connection 2" in found.seen

    def test_only_when_idle(self) -> None:
        s = Script()
        s.opened(0.0)
        s.pings(30.0, 60.0)
        s.ping(80.0)
        found = verdict("HEARTBEAT-01", s.record(81))
        assert found.outcome is FAIL
        assert "ping 2 only 50.000 s after ping 1" in found.seen

    def test_the_harness_was_late(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.1)
        s.lag(30.1, 0.03)
        found = verdict("HEARTBEAT-01", s.record(50))
        assert found.outcome is INCONCLUSIVE
        assert "30 ms late" in found.seen

    def test_too_short(self) -> None:
        s = Script()
        s.opened(0.0)
        assert verdict("HEARTBEAT-01", s.record(29)).outcome is INCONCLUSIVE

    def test_a_slow_link_holds_pings_back(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "bandwidth", rate=10)
        s.ping(55.0)
        found = verdict("HEARTBEAT-01", s.record(56))
        assert found.outcome is INCONCLUSIVE
        assert "a slow link may have held one back" in found.seen

    def test_an_unanswered_ping_ends_the_judgement(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=None)
        assert verdict("HEARTBEAT-01", s.record(300)).outcome is PASS


class TestAbandons:
    """HEARTBEAT-02"""

    def test_at_the_deadline(self) -> None:
        found = verdict("HEARTBEAT-02", detected().record(200))
        assert found.outcome is PASS
        assert found.measured["first_unanswered_ping"] == 90.0
        assert found.measured["abandoned"] == 100.0
        assert found.measured["new_attempt"] == 101.0

    @pytest.mark.parametrize("ended", [100.2, 105.0])
    def test_too_late(self, ended: float) -> None:
        found = verdict("HEARTBEAT-02", detected(ended=ended).record(200))
        assert found.outcome is FAIL
        assert found.at == 100.0

    def test_a_close_is_not_an_end(self) -> None:
        s = detected(ended=105.0)
        s.frame(100.0, "up", "close", conn=1, lost=True, code=1000, reason="")
        found = verdict("HEARTBEAT-02", s.record(200))
        assert found.outcome is FAIL
        assert "sent a Close and waited" in found.seen

    def test_late_with_a_late_harness(self) -> None:
        s = detected(ended=100.1)
        s.lag(100.1, 0.05)
        assert verdict("HEARTBEAT-02", s.record(200)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("rule", ["HEARTBEAT-02", "RECONNECT-01"])
    @pytest.mark.parametrize(("asked", "ended", "outcome"), [(112.03, 122.1, INCONCLUSIVE), (119.0, 130.0, FAIL)])
    def test_a_link_that_is_tested_anew_after_a_standstill(
        self, rule: str, asked: float, ended: float, outcome: Outcome
    ) -> None:
        s = detected(drop=60.1, ended=ended)
        s.ping(asked, answered=None, conn=1)
        s.lag(112.0, 2.0)
        assert verdict(rule, s.record(200)).outcome is outcome

    def test_the_record_ends_too_early(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "silent_drop", direction="both")
        s.ping(30.0, answered=None)
        found = verdict("HEARTBEAT-02", s.record(39))
        assert found.outcome is INCONCLUSIVE
        assert "record ends" in found.seen

    def test_a_client_without_pings_notices_nothing(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", direction="both")
        found = verdict("HEARTBEAT-02", s.record(60))
        assert found.outcome is FAIL
        assert "dead by silent_drop; not abandoned for 55.000 s; expected within 40.000 s" in found.seen

    def test_a_dead_link_that_came_back_to_life(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", until=20.0, direction="both", resume=True)
        assert verdict("HEARTBEAT-02", s.record(60)).outcome is INCONCLUSIVE

    def test_a_removed_drop_leaves_the_link_dead(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", until=20.0, direction="both")
        assert verdict("HEARTBEAT-02", s.record(60)).outcome is FAIL

    def test_something_else_ended_it_before(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=None)
        s.event(35.0, "cut", "proxy", conn=1, fault="abort", how="reset")
        s.end(35.0)
        assert verdict("HEARTBEAT-02", s.record(200)).outcome is INCONCLUSIVE

    def test_something_else_ended_it_long_after(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=None)
        s.end(60.0)
        assert verdict("HEARTBEAT-02", s.record(200)).outcome is FAIL

    def test_the_application_closed(self) -> None:
        s = detected(ended=105.0)
        s.app(95.0, "close")
        assert verdict("HEARTBEAT-02", s.record(200)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("name", ["close", "reconnect"])
    @pytest.mark.parametrize(("at", "outcome"), [(99.98, INCONCLUSIVE), (100.03, INCONCLUSIVE), (100.06, FAIL)])
    def test_the_application_wished_so_just_before_the_deadline(self, name: str, at: float, outcome: Outcome) -> None:
        """Nobody knew yet that the link was dead: the closing handshake has its own deadline."""
        s = detected(ended=at + 5.0)
        s.app(at, name).frame(at, "up", "close", conn=1, lost=True, code=1001, reason="")
        assert verdict("HEARTBEAT-02", s.record(200)).outcome is outcome
        s.frame(95.0, "down", "message", conn=1)
        assert verdict("HEARTBEAT-03", s.record(200)).outcome is outcome

    def test_or_before_a_deadline_that_a_standstill_delayed(self) -> None:
        s = detected(ended=105.2)
        s.app(100.2, "close").lag(100.1, 0.1)
        assert verdict("HEARTBEAT-02", s.record(200)).outcome is INCONCLUSIVE

    def test_the_process_ended(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", direction="both")
        s.end(20.0, by="peer")
        assert verdict("HEARTBEAT-02", s.record(200)).outcome is INCONCLUSIVE

    def test_a_late_answer_is_none(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=12.0)
        assert verdict("HEARTBEAT-02", s.record(100)).outcome is FAIL

    def test_an_answer_at_the_deadline_is_too_close_to_call(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=10.02)
        assert verdict("HEARTBEAT-02", s.record(50)).outcome is INCONCLUSIVE

    def test_an_answer_to_a_later_ping_proves_life(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=None)
        s.ping(35.0)
        assert verdict("HEARTBEAT-02", s.record(64)).outcome is INCONCLUSIVE

    def test_a_slow_link_shows_progress(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(20.0, "bandwidth", rate=1000)
        s.ping(30.0, answered=25.0)
        assert verdict("HEARTBEAT-02", s.record(80)).outcome is INCONCLUSIVE


def deaf(*, ended: float | None, late_traffic: bool = True) -> Script:
    """Pongs are muted while the server goes on sending; the client may end TCP."""
    s = Script(tells=("message",))
    s.opened(0.0)
    s.pings(30.0, 60.0)
    s.fault(40.0, "mute_pongs")
    s.ping(60.0, answered=None)
    if late_traffic:
        s.frame(65.0, "down", "message", seq=1)
    if ended is not None:
        s.end(ended, by="peer")
        s.attempt(ended + 1)
    return s


class TestProofOfLife:
    """HEARTBEAT-03"""

    def test_other_traffic_does_not_count(self) -> None:
        assert verdict("HEARTBEAT-03", deaf(ended=70.0).record(100)).outcome is PASS

    def test_any_traffic_counts(self) -> None:
        s = deaf(ended=None)
        found = verdict("HEARTBEAT-03", s.record(89))
        assert found.outcome is FAIL
        assert "still in use 29.000 s after the ping" in found.seen
        assert outcomes(s.record(89)) == {"HEARTBEAT-03": FAIL}

    def test_any_traffic_counts_until_it_stops(self) -> None:
        s = deaf(ended=None)
        s.ping(90.0, answered=None)
        s.end(100.0, by="peer")
        s.attempt(101.0)
        assert outcomes(s.record(110)) == {"HEARTBEAT-03": FAIL}

    @pytest.mark.parametrize("ended", [70.0, None])
    def test_declared(self, ended: float | None) -> None:
        assert verdict("HEARTBEAT-03", deaf(ended=ended).record(89), proof_of_life="any").outcome is Outcome.NON_STRICT

    def test_declared_and_not_provoked(self) -> None:
        assert verdict("HEARTBEAT-03", Script().record(9), proof_of_life="any").outcome is INCONCLUSIVE

    def test_no_other_traffic(self) -> None:
        assert verdict("HEARTBEAT-03", deaf(ended=70.0, late_traffic=False).record(100)).outcome is INCONCLUSIVE

    def test_a_client_that_waits_for_its_close_breaks_another_rule(self) -> None:
        s = deaf(ended=75.0)
        s.frame(70.0, "up", "close", conn=1, code=1011, reason="")
        assert outcomes(s.record(100)) == {"HEARTBEAT-02": FAIL}

    def test_the_record_ends_too_early(self) -> None:
        assert verdict("HEARTBEAT-03", deaf(ended=None).record(69)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("by", ["server", "application", "client"])
    def test_ended_for_another_reason(self, by: str) -> None:
        s = deaf(ended=66.0 if by == "client" else None)
        if by == "server":
            s.frame(66.0, "down", "close", code=1001, reason="")
        elif by == "application":
            s.app(66.0, "close")
        assert verdict("HEARTBEAT-03", s.record(89)).outcome is INCONCLUSIVE


class TestFalseAlarm:
    """HEARTBEAT-04"""

    def slow(self) -> Script:
        s = Script()
        s.opened(0.0)
        s.fault(0.0, "latency", seconds=4)
        s.ping(30.0, answered=8.0)
        return s

    def test_a_slow_answer_is_waited_for(self) -> None:
        found = verdict("HEARTBEAT-04", self.slow().record(59))
        assert found.outcome is PASS
        assert found.measured["round_trip_s"] == pytest.approx(8.0)

    def test_a_slow_answer_is_not_waited_for(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=None)
        s.end(35.0, by="peer")
        s.opened(36.0)
        found = verdict("HEARTBEAT-04", s.record(50))
        assert found.outcome is FAIL
        assert "5.000 s after a ping whose answer may take 10.000 s" in found.seen
        assert outcomes(s.record(50)) == {"HEARTBEAT-04": FAIL}

    def test_nothing_was_waited_for(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0)
        s.frame(45.0, "up", "close", code=1011, reason="")
        s.end(45.0, by="peer")
        s.opened(46.0)
        found = verdict("HEARTBEAT-04", s.record(50))
        assert found.outcome is FAIL
        assert "with Close 1011, though every ping had been answered" in found.seen

    @pytest.mark.parametrize("code", [1000, 1002])
    def test_a_close_for_a_reason(self, code: int) -> None:
        s = Script()
        s.opened(0.0)
        s.frame(45.0, "up", "close", code=code, reason="")
        s.end(45.0, by="peer")
        s.opened(46.0)
        assert verdict("HEARTBEAT-04", s.record(50)).outcome is INCONCLUSIVE

    def test_the_process_ended(self) -> None:
        s = Script()
        s.opened(0.0)
        s.end(45.0, by="peer")
        assert verdict("HEARTBEAT-04", s.record(50)).outcome is INCONCLUSIVE
        s.opened(46.0)
        assert "have been started anew" in verdict("HEARTBEAT-04", s.record(60)).seen

    def test_pings_that_cannot_be_read(self) -> None:
        s = Script()
        s.opened(0.0)
        s.frame(20.0, "up", "text", size=4)
        s.end(45.0, by="peer", how="reset")
        s.opened(46.0)
        assert verdict("HEARTBEAT-04", s.record(60)).outcome is Outcome.UNSUPPORTED

    def test_it_leaves_when_the_server_says_farewell(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=None)
        s.frame(30.1, "down", "farewell", retry_after=1)
        s.frame(30.2, "up", "close", code=1000, reason="")
        s.end(30.3, by="peer")
        s.opened(32.0)
        assert verdict("HEARTBEAT-04", s.record(35)).outcome is INCONCLUSIVE

    def test_a_dead_link_is_no_false_alarm(self) -> None:
        assert verdict("HEARTBEAT-04", detected(ended=95.0).record(120)).outcome is INCONCLUSIVE

    def test_an_overdue_answer_is_no_false_alarm(self) -> None:
        s = Script()
        s.opened(0.0)
        s.ping(30.0, answered=12.0)
        s.end(40.0, by="peer")
        s.opened(41.0)
        assert verdict("HEARTBEAT-04", s.record(50)).outcome is INCONCLUSIVE

    def test_a_close_by_the_server_is_no_false_alarm(self) -> None:
        s = Script()
        s.opened(0.0)
        s.frame(5.0, "down", "close", code=1001, reason="")
        s.end(5.0, by="peer")
        s.opened(6.0)
        assert verdict("HEARTBEAT-04", s.record(50)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(("size", "outcome"), [(500_000, FAIL), (100, INCONCLUSIVE)])
    def test_a_message_makes_progress(self, size: int, outcome: Outcome) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "bandwidth", rate=10_000)
        s.frame(29.0, "down", "binary", lost=True, size=size)
        s.ping(30.0, answered=None)
        s.end(40.0, by="peer")
        s.opened(41.0)
        assert verdict("HEARTBEAT-04", s.record(50)).outcome is outcome

    def test_a_message_made_progress(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "bandwidth", rate=10_000)
        s.ping(30.0, answered=25.0)
        assert verdict("HEARTBEAT-04", s.record(59)).outcome is PASS


class TestServer:
    """HEARTBEAT-05"""

    def reaped(self, *, at: float | None, code: int | None = 1011, by: str = "peer") -> Script:
        s = Script()
        s.opened(0.0)
        s.event(0.0, "response", "server", way="down", status=101)
        s.server_ping(30.0)
        s.fault(31.0, "silent_drop", direction="both")
        s.server_ping(60.0, answered=None)
        if at is not None:
            if code is not None:
                s.frame(at, "down", "close", lost=True, code=code, reason="")
            s.event(at, "end", "server", by=by, how="reset")
        return s

    def test_in_time(self) -> None:
        found = verdict("HEARTBEAT-05", self.reaped(at=70.0).record(100))
        assert found.outcome is PASS
        assert found.measured["reaped_s"] == pytest.approx(39.999)

    def test_too_late(self) -> None:
        assert verdict("HEARTBEAT-05", self.reaped(at=75.0).record(100)).outcome is FAIL

    def test_never(self) -> None:
        found = verdict("HEARTBEAT-05", self.reaped(at=None).record(100))
        assert found.outcome is FAIL
        assert "not reaped" in found.seen

    @pytest.mark.parametrize("code", [None, 1000])
    def test_without_1011(self, code: int | None) -> None:
        found = verdict("HEARTBEAT-05", self.reaped(at=70.0, code=code).record(100))
        assert found.outcome is FAIL
        assert "expected Close 1011" in found.seen

    def test_replaced_by_a_newer_connection(self) -> None:
        assert verdict("HEARTBEAT-05", self.reaped(at=65.0, code=4409).record(100)).outcome is INCONCLUSIVE

    def test_the_client_went_first(self) -> None:
        assert verdict("HEARTBEAT-05", self.reaped(at=65.0, code=None, by="proxy").record(100)).outcome is INCONCLUSIVE

    def test_the_client_went_long_after(self) -> None:
        assert verdict("HEARTBEAT-05", self.reaped(at=95.0, code=None, by="proxy").record(100)).outcome is FAIL

    def test_the_client_closed(self) -> None:
        s = self.reaped(at=None)
        s.frame(61.0, "up", "close", code=1000, reason="")
        assert verdict("HEARTBEAT-05", s.record(100)).outcome is INCONCLUSIVE

    def test_a_handshake_that_failed(self) -> None:
        s = Script()
        s.rejected(0.0, 503)
        assert verdict("HEARTBEAT-05", s.record(100)).outcome is INCONCLUSIVE

    def test_the_record_ends_too_early(self) -> None:
        assert verdict("HEARTBEAT-05", self.reaped(at=None).record(69)).outcome is INCONCLUSIVE

    def test_a_server_that_declares_no_pings(self) -> None:
        found = verdict("HEARTBEAT-05", self.reaped(at=None).record(69), server_interval=None)
        assert found.outcome is Outcome.UNSUPPORTED


class TestIdle:
    """HEARTBEAT-06"""

    def idle(self, limit: float = 60.0) -> Script:
        s = Script(tells=("message",))
        s.opened(0.0)
        s.fault(1.0, "idle_timeout", seconds=limit)
        s.pings(30.0, 250.0)
        return s

    def test_survives(self) -> None:
        found = verdict("HEARTBEAT-06", self.idle().record(200))
        assert found.outcome is PASS
        assert found.measured["idle_s"] == 199.0

    def test_was_cut(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "idle_timeout", seconds=60)
        s.event(60.0, "cut", "proxy", conn=1, fault="idle_timeout", how="fin")
        s.end(60.0)
        found = verdict("HEARTBEAT-06", s.record(100))
        assert found.outcome is FAIL
        assert "cut after 60.000 s of silence" in found.seen

    @pytest.mark.parametrize(
        ("fault", "detail", "expected"),
        [
            ("latency", {"seconds": 15.0, "jitter": 1.0}, INCONCLUSIVE),
            ("latency", {"seconds": 1.0, "jitter": 1.0}, FAIL),
            ("bandwidth", {"bytes_per_second": 1.0}, INCONCLUSIVE),
        ],
    )
    def test_what_a_fault_delayed_was_not_silence(
        self, fault: str, detail: dict[str, float], expected: Outcome
    ) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "idle_timeout", seconds=60)
        s.fault(20.0, fault, **detail)
        s.event(60.0, "cut", "proxy", conn=1, fault="idle_timeout", how="fin")
        s.end(60.0)
        assert verdict("HEARTBEAT-06", s.record(100)).outcome is expected

    @pytest.mark.parametrize(("ready", "cut", "expected"), [(8.0, 10.0, INCONCLUSIVE), (4.0, 14.0, FAIL)])
    def test_the_silence_before_ready_is_not_the_heartbeats(self, ready: float, cut: float, expected: Outcome) -> None:
        s = Script()
        s.fault(0.0, "idle_timeout", seconds=10)
        s.opened(0.0, ready=False)
        s.frame(ready, "down", "welcome", last_id=0, recovered=False)
        s.event(ready, "ready")
        s.event(cut, "cut", "proxy", conn=1, fault="idle_timeout", how="fin")
        s.end(cut)
        assert verdict("HEARTBEAT-06", s.record(60), interval=5, server_interval=None).outcome is expected

    def test_of_two_idle_timeouts_the_shorter_one_has_cut(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "idle_timeout", seconds=60)
        s.fault(2.0, "idle_timeout", seconds=20)
        s.event(40.0, "cut", "proxy", conn=1, fault="idle_timeout", how="fin")
        s.end(40.0)
        assert verdict("HEARTBEAT-06", s.record(100)).outcome is INCONCLUSIVE

    def test_a_timeout_shorter_than_the_interval_proves_nothing(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(1.0, "idle_timeout", seconds=20)
        s.event(20.0, "cut", "proxy", conn=1, fault="idle_timeout", how="fin")
        s.end(20.0)
        assert "choose a longer idle timeout" in verdict("HEARTBEAT-06", s.record(100)).seen

    def test_too_short(self) -> None:
        assert verdict("HEARTBEAT-06", self.idle().record(150)).outcome is INCONCLUSIVE

    def test_not_idle(self) -> None:
        s = self.idle()
        s.frame(100.0, "down", "message", seq=1)
        assert verdict("HEARTBEAT-06", s.record(200)).outcome is INCONCLUSIVE

    def test_a_dead_link_is_cut_rightly(self) -> None:
        s = self.idle()
        s.fault(70.0, "silent_drop", direction="both")
        assert verdict("HEARTBEAT-06", s.record(240)).outcome is INCONCLUSIVE

    def test_the_servers_pings_suffice(self) -> None:
        assert verdict("HEARTBEAT-06", self.idle().record(200), interval=None).outcome is PASS

    def test_no_heartbeat_on_either_side(self) -> None:
        found = verdict("HEARTBEAT-06", self.idle().record(200), interval=None, server_interval=None)
        assert found.outcome is Outcome.UNSUPPORTED


class TestUnaided:
    """HEARTBEAT-07"""

    def test_found_out(self) -> None:
        found = verdict("HEARTBEAT-07", detected().record(200))
        assert found.outcome is PASS
        assert found.measured["found_s"] == pytest.approx(35.0)

    def test_found_out_late_is_another_rules_matter(self) -> None:
        assert verdict("HEARTBEAT-07", detected(ended=150.0).record(200)).outcome is PASS

    def test_not_found_out(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", direction="both")
        assert outcomes(s.record(60)) == dict.fromkeys(["HEARTBEAT-01", "HEARTBEAT-02", "HEARTBEAT-07"], FAIL)

    def test_the_record_ends_too_early(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", direction="both")
        assert verdict("HEARTBEAT-07", s.record(30)).outcome is INCONCLUSIVE

    def test_cut_by_something_else(self) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", direction="both")
        s.end(30.0)
        s.opened(31.0)
        assert verdict("HEARTBEAT-07", s.record(50)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("closed", [True, False])
    def test_the_client_was_ended(self, closed: bool) -> None:
        s = Script()
        s.opened(0.0)
        s.fault(5.0, "silent_drop", direction="both")
        if closed:
            s.app(20.0, "close")
        s.end(20.0, by="peer")
        assert verdict("HEARTBEAT-07", s.record(100)).outcome is INCONCLUSIVE


class TestLeftovers:
    """HEARTBEAT-08"""

    def test_the_next_one_stays(self) -> None:
        s = detected()
        s.pings(131.0, 300.0)
        found = verdict("HEARTBEAT-08", s.record(160))
        assert found.outcome is PASS
        assert found.measured["held_s"] == pytest.approx(59.0)

    def test_an_old_timer_ends_the_next_one(self) -> None:
        s = detected()
        s.end(110.5, by="peer")
        s.opened(112.0)
        assert outcomes(s.record(113)) == {"HEARTBEAT-08": FAIL}

    def test_the_next_one_was_not_watched_for_long(self) -> None:
        assert verdict("HEARTBEAT-08", detected().record(120)).outcome is INCONCLUSIVE

    def test_pings_multiply(self) -> None:
        s = detected()
        s.pings(131.0, 250.0)
        s.pings(115.0, 250.0)
        found = verdict("HEARTBEAT-08", s.record(250))
        assert found.outcome is FAIL
        assert "3 pings within 30.000 s, where an earlier connection pinged every 30.000 s" in found.seen

    @pytest.mark.parametrize("why", ["suspend", "lag", None])
    def test_a_ping_on_waking_is_out_of_turn(self, why: str | None) -> None:
        s = detected()
        if why == "suspend":
            s.fault(140.0, "suspend", until=143.0, client="c", pid=1)
        elif why == "lag":
            s.lag(143.0, 3.0)
        for at in (131.0, 143.01, 161.0, 191.0):
            s.ping(at)
        assert verdict("HEARTBEAT-08", s.record(250)).outcome is (PASS if why else FAIL)

    def test_pings_multiply_around_a_sleep_too(self) -> None:
        s = detected()
        s.pings(131.0, 250.0)
        s.pings(115.0, 250.0)
        s.fault(140.0, "suspend", until=143.0, client="c", pid=1)
        assert verdict("HEARTBEAT-08", s.record(250)).outcome is FAIL

    def test_pings_between_large_messages_are_for_flow(self) -> None:
        s = detected()
        s.pings(131.0, 250.0)
        s.pings(115.0, 250.0)
        s.frame(140.0, "up", "binary", size=70_000)
        assert verdict("HEARTBEAT-08", s.record(250)).outcome is PASS


def test_a_clock_cannot_be_made_to_jump() -> None:
    assert verdict("HEARTBEAT-09", detected().record(300)).outcome is INCONCLUSIVE


class TestSleep:
    """HEARTBEAT-09"""

    def asleep(self, until: float = 165.0, client: str = "c") -> Script:
        """A client that sleeps from 100 s on."""
        s = Script()
        s.opened(0.0)
        s.pings(30.0, 91.0)
        s.fault(100.0, "suspend", until=until, client=client, pid=1)
        return s

    def verdict(self, s: Script, until: float = 200.0) -> Verdict:
        return verdict("HEARTBEAT-09", s.record(until))

    def test_it_tests_the_link_before_it_uses_it(self) -> None:
        s = self.asleep().ping(165.01, answered=0.5)
        assert self.verdict(s).outcome is INCONCLUSIVE  # whether it would have waited is not known
        s.frame(165.6, "up", "message", id=1)
        found = self.verdict(s)
        assert found.outcome is PASS
        assert "a ping 0.010 s after waking, and a message only once it was answered" in found.seen

    def test_it_uses_the_link_untested(self) -> None:
        s = self.asleep().frame(165.01, "up", "message", id=1).ping(165.02)
        found = self.verdict(s)
        assert found.outcome is Outcome.NON_STRICT
        assert "it sent a message 0.010 s after waking, when no ping was sent" in found.seen

    def test_it_does_not_wait_for_the_answer(self) -> None:
        s = self.asleep().ping(165.01, answered=0.5).frame(165.02, "up", "message", id=1)
        assert "when its ping was not answered yet" in self.verdict(s).seen

    def test_it_tests_the_link_only_at_its_usual_time(self) -> None:
        s = self.asleep().ping(180.0)
        found = self.verdict(s)
        assert found.outcome is Outcome.NON_STRICT
        assert "its first ping only 15.000 s after waking" in found.seen
        assert self.verdict(self.asleep().lag(180.0, 14.0).ping(180.0)).outcome is INCONCLUSIVE

    def test_it_gives_the_link_up(self) -> None:
        s = self.asleep().end(165.2, by="peer")
        s.opened(167.0)
        s.frame(168.0, "up", "message", id=1)
        assert self.verdict(s).outcome is PASS

    def test_nothing_to_judge(self) -> None:
        assert "need not be noticed" in self.verdict(self.asleep(until=120.0)).seen
        assert self.verdict(self.asleep(), until=160.0).seen.startswith("not provoked")  # it still sleeps
        assert self.verdict(self.asleep().end(150.0)).seen.startswith("not provoked")  # ended meanwhile
        assert "the record ends" in self.verdict(self.asleep(), until=165.01).seen
        assert self.verdict(self.asleep(client="another")).seen.startswith("not provoked")
