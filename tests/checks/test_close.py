"""CLOSE, judged on records written by hand. Delays 0.5 to 1.5 s first, ceiling 45 s, close timeout 5 s."""

from __future__ import annotations

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record

from .script import Script, refusals

PASS, FAIL, INCONCLUSIVE, NON_STRICT = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NON_STRICT


def verdict(rule: str, record: Record, profile: Profile | None = None) -> Verdict:
    return judge(record, profile or Profile(), rule)[0]


@pytest.mark.parametrize("rule", [f"CLOSE-0{n}" for n in range(1, 6)])
def test_nothing_happened(rule: str) -> None:
    found = verdict(rule, Script().record(100))
    assert found.outcome is INCONCLUSIVE
    assert found.seen.startswith("not provoked: ")


def closed(code: int | None, wait: float | None = None, reason: str = "", *, reports: bool = False) -> Script:
    """A connection that the server closes at 20 s; the next attempt after ``wait`` seconds."""
    s = Script()
    s.opened(0.0)
    if reports:
        s.app(0.0, "connecting").app(0.0, "ready", recovered=False)
    s.frame(20.0, "down", "close", code=code, reason=reason)
    s.frame(20.0, "up", "close", code=code, reason="")
    s.end(20.0)
    if wait is not None:
        s.opened(20.0 + wait)
    return s


class TestReactions:
    """CLOSE-01"""

    @pytest.mark.parametrize("code", [1001, 1011, 1012, None, 4000, 3000, 1009, 4410, 4401])
    @pytest.mark.parametrize("reason", ["", "1000", '{"code": 1000}'])
    def test_come_back(self, code: int | None, reason: str) -> None:
        assert verdict("CLOSE-01", closed(code, 1.0, reason).record(100)).outcome is PASS
        assert verdict("CLOSE-01", closed(code, None, reason).record(100)).outcome is FAIL
        assert verdict("CLOSE-01", closed(code, None, reason).record(30)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(("code", "stays"), [(1000, PASS), (4409, PASS), (1008, NON_STRICT), (4500, NON_STRICT)])
    def test_stay_away(self, code: int, stays: Outcome) -> None:
        assert verdict("CLOSE-01", closed(code).record(100)).outcome is stays
        assert verdict("CLOSE-01", closed(code, 1.0).record(100)).outcome is FAIL
        assert verdict("CLOSE-01", closed(code, 45.2).record(100)).outcome is FAIL  # a moment late
        assert verdict("CLOSE-01", closed(code).record(60)).outcome is INCONCLUSIVE

    def test_a_fatal_code_is_told(self) -> None:
        silent = closed(1008, reports=True)
        assert verdict("CLOSE-01", silent.record(100)).outcome is FAIL
        silent.app(20.1, "gave_up", error="policy", undelivered=[])
        assert verdict("CLOSE-01", silent.record(100)).outcome is PASS

    @pytest.mark.parametrize("status", [None, 404])
    @pytest.mark.parametrize(
        ("said", "outcome"),
        [
            (("gave_up", 0.1, "policy"), PASS),
            (("gave_up", 44.0, "policy"), PASS),
            (("gave_up", 300.0, "policy"), FAIL),
            (("gave_up", 0.1, None), FAIL),
            (("close", 0.01, None), INCONCLUSIVE),
            (("close", 60.0, None), FAIL),
        ],
    )
    def test_a_fatal_end_is_told_in_time_and_with_its_reason(
        self, status: int | None, said: tuple[str, float, str | None], outcome: Outcome
    ) -> None:
        s = closed(1008, reports=True)
        if status is not None:
            s = Script()
            s.app(20.0, "connecting")
            s.rejected(20.0, status)
        what, after, error = said
        s.app(20.0 + after, what, **({} if error is None else {"error": error}))
        found = verdict("CLOSE-01" if status is None else "CLOSE-05", s.record(400))
        assert found.outcome is outcome

    def test_the_harness_was_late_to_hear_that_it_was_told(self) -> None:
        s = closed(1008, reports=True)
        s.app(65.2, "gave_up", error="policy")
        assert verdict("CLOSE-01", s.record(100)).outcome is FAIL
        assert verdict("CLOSE-01", s.lag(65.1, 0.1).record(100)).outcome is INCONCLUSIVE

    def test_one_step_later(self) -> None:
        assert verdict("CLOSE-01", closed(1013, 2.0).record(100)).outcome is PASS
        assert verdict("CLOSE-01", closed(1013, 0.7).record(100)).outcome is FAIL
        assert verdict("BACKOFF-01", closed(1013, 0.7).record(100)).outcome is INCONCLUSIVE
        assert verdict("CLOSE-01", closed(1013, 0.1).record(100)).outcome is INCONCLUSIVE
        assert verdict("BACKOFF-01", closed(1013, 0.1).record(100)).outcome is FAIL
        in_doubt = Script()
        in_doubt.refused(0.0)
        in_doubt.opened(1.0)
        in_doubt.frame(11.0, "down", "close", code=1013, reason="")
        in_doubt.end(11.0)
        in_doubt.opened(11.7)
        assert verdict("CLOSE-01", in_doubt.record(60)).outcome is PASS

    def test_the_profile_decides(self) -> None:
        final = Profile().with_(close={"reactions": {4401: "fatal"}})
        assert verdict("CLOSE-01", closed(4401).record(100), final).outcome is NON_STRICT

    def test_refused_twice_is_for_auth(self) -> None:
        s = closed(4401)
        s.opened(21.0, ready=False)
        s.frame(21.1, "down", "close", code=4401, reason="")
        s.end(21.1)
        found = verdict("CLOSE-01", s.record(100))
        assert found.outcome is PASS

    @pytest.mark.parametrize("first", [4401, 401])
    @pytest.mark.parametrize("second", [4401, 401])
    @pytest.mark.parametrize("between", ["nothing", "refused", "ready"])
    def test_refused_twice_in_whatever_way_is_for_auth(self, first: int, second: int, between: str) -> None:
        s = Script()
        for at, how in ((0.0, first), (10.0, second)):
            if how == 401:
                s.rejected(at, 401)
            else:
                s.opened(at, ready=False)
                s.frame(at, "down", "close", code=how, reason="")
                s.end(at)
            if at == 0.0 and between == "refused":
                s.refused(1.0)
            if at == 0.0 and between == "ready":
                s.opened(1.0)
                s.end(9.0)
        last = verdict("CLOSE-05" if second == 401 else "CLOSE-01", s.record(100))
        if between == "ready":
            assert "no attempt followed, expected within 45.000 s" in last.seen
        else:
            assert last.outcome is (PASS if first == second else INCONCLUSIVE)

    def test_a_reserved_code_is_a_protocol_error(self) -> None:
        assert verdict("CLOSE-01", closed(1006).record(100)).outcome is NON_STRICT

    def test_nothing_is_due_when_the_retries_are_used_up(self) -> None:
        s = closed(1011)
        assert verdict("CLOSE-01", s.record(100), Profile().with_(reconnect={"max_retries": 0})).outcome is INCONCLUSIVE

    def test_what_the_application_wants_comes_first(self) -> None:
        assert verdict("CLOSE-01", closed(1011).app(20.5, "close").record(100)).outcome is INCONCLUSIVE
        assert verdict("CLOSE-01", closed(1011, 60).app(30, "reconnect").record(100)).outcome is INCONCLUSIVE
        assert verdict("CLOSE-01", closed(1000, 10).app(30, "reconnect").record(100)).outcome is INCONCLUSIVE

    def test_the_harness_was_late(self) -> None:
        assert verdict("CLOSE-01", closed(1011, 45.2).record(100)).outcome is FAIL
        assert verdict("CLOSE-01", closed(1011, 45.2).lag(65.2, 0.1).record(100)).outcome is INCONCLUSIVE
        assert verdict("CLOSE-01", closed(1000, 0.1).lag(20.1, 0.06).record(100)).outcome is INCONCLUSIVE

    def test_attempts_that_nobody_sees(self) -> None:
        for code in (1000, 1011):
            s = closed(code)
            s.sees_refused = False
            s.fault(20.0, "refuse")
            assert verdict("CLOSE-01", s.record(100)).outcome is INCONCLUSIVE

    def test_many_ends(self) -> None:
        s = closed(1011, 1.0)
        s.frame(40.0, "down", "close", code=1012, reason="restart")
        s.end(40.0)
        s.opened(41.0)
        found = verdict("CLOSE-01", s.record(100))
        assert found.seen.startswith(
            "2 ends, each with the profile's reaction; the last: connection 2 got Close 1012 'restart'"
        )


class TestHttp:
    """CLOSE-05"""

    def rejected(self, status: int, wait: float | None = None) -> Record:
        s = Script()
        s.rejected(0.0, status)
        if wait is not None:
            s.opened(wait)
        return s.record(100)

    @pytest.mark.parametrize("status", [200, 408, 425, 429, 500, 503, 401])
    def test_retried(self, status: int) -> None:
        assert verdict("CLOSE-05", self.rejected(status, 1.0)).outcome is PASS
        assert verdict("CLOSE-05", self.rejected(status)).outcome is FAIL

    @pytest.mark.parametrize("status", [400, 403, 404])
    def test_final(self, status: int) -> None:
        assert verdict("CLOSE-05", self.rejected(status)).outcome is NON_STRICT
        assert verdict("CLOSE-05", self.rejected(status, 1.0)).outcome is FAIL

    def test_a_redirect_is_left_open(self) -> None:
        assert verdict("CLOSE-05", self.rejected(302, 1.0)).outcome is INCONCLUSIVE


def own_close(code: int | None = 1000, reason: str = "bye", *, ended: float | None = 2.0, by: str = "peer") -> Script:
    """A connection that the client closes at 1 s, and that nobody answers."""
    s = Script()
    s.opened(0.0)
    s.frame(1.0, "up", "close", code=code, reason=reason, lost=True)
    if ended is not None:
        s.end(ended, by=by)
    return s


class TestCodeAndReason:
    """CLOSE-02"""

    @pytest.mark.parametrize(
        ("code", "reason", "outcome"),
        [(1000, "bye", PASS), (1000, "", NON_STRICT), (None, "", FAIL), (1000, "é" * 62, FAIL), (1000, "é" * 61, PASS)],
    )
    def test_sent(self, code: int | None, reason: str, outcome: Outcome) -> None:
        assert verdict("CLOSE-02", own_close(code, reason).record(100)).outcome is outcome

    def test_no_close_at_all(self) -> None:
        s = Script()
        s.opened(0.0)
        s.app(1.0, "close")
        assert verdict("CLOSE-02", s.record(2)).outcome is INCONCLUSIVE
        s.end(1.0, by="peer")
        assert verdict("CLOSE-02", s.record(100)).outcome is FAIL


class TestCutInTheMiddle:
    """CLOSE-02"""

    def test_somebody_else_was_faster(self) -> None:
        s = Script()
        s.opened(0.0)
        s.app(10.0, "close")
        s.end(10.001, how="reset")
        assert verdict("CLOSE-02", s.record(30)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(
        ("asked", "lag", "outcome"), [(0.001, 0, INCONCLUSIVE), (0.1, 0, FAIL), (0.1, 0.05, INCONCLUSIVE)]
    )
    def test_asked_before_the_client_knew_that_it_was_ready(self, asked: float, lag: float, outcome: Outcome) -> None:
        s = Script()
        s.opened(0.0)
        s.app(asked, "close")
        s.end(asked, by="peer")
        if lag:
            s.lag(asked - 0.001, lag)
        assert verdict("CLOSE-02", s.record(100)).outcome is outcome
        s.app(0.0, "ready", recovered=False)
        assert verdict("CLOSE-02", s.record(100)).outcome is FAIL


class TestReserved:
    """CLOSE-03"""

    def test_sent(self) -> None:
        assert verdict("CLOSE-03", own_close(1006).record(100)).outcome is FAIL
        assert verdict("CLOSE-03", own_close(1000).record(100)).outcome is PASS

    @pytest.mark.parametrize(("answer", "outcome"), [(1002, PASS), (1000, FAIL), (1005, FAIL)])
    def test_received(self, answer: int, outcome: Outcome) -> None:
        s = Script()
        s.opened(0.0)
        s.event(1.0, "close", way="down", code=1005, reason="")
        s.frame(1.1, "up", "close", code=answer, reason="")
        assert verdict("CLOSE-03", s.record(100)).outcome is outcome

    def test_sent_by_the_server(self) -> None:
        s = Script()
        s.opened(0.0)
        s.frame(1.0, "down", "close", code=1006, reason="")
        s.frame(1.1, "up", "close", code=1002, reason="")
        assert "the server sent Close 1006" in verdict("CLOSE-03", s.record(100)).seen


class TestUnfinished:
    """CLOSE-04"""

    @pytest.mark.parametrize(("ended", "outcome"), [(5.9, PASS), (6.04, PASS), (6.2, FAIL), (None, FAIL)])
    def test_unanswered(self, ended: float | None, outcome: Outcome) -> None:
        assert verdict("CLOSE-04", own_close(ended=ended).record(100)).outcome is outcome

    def test_cannot_tell(self) -> None:
        assert verdict("CLOSE-04", own_close(ended=None).record(5)).outcome is INCONCLUSIVE
        assert verdict("CLOSE-04", own_close(ended=6.2).lag(6.2, 0.1).record(9)).outcome is INCONCLUSIVE
        assert verdict("CLOSE-04", own_close(ended=2.0, by="proxy").record(9)).outcome is INCONCLUSIVE

    def test_answered_and_never_ended(self) -> None:
        s = own_close(ended=None)
        s.frame(1.1, "down", "close", code=1000, reason="")
        assert verdict("CLOSE-04", s.record(5)).outcome is INCONCLUSIVE
        assert verdict("CLOSE-04", s.record(50)).outcome is FAIL


def test_a_client_that_finds_an_error_itself_follows_the_row_of_its_code() -> None:
    s = Script()
    s.opened(0.0)
    s.frame(1.0, "up", "close", code=1007, reason="no JSON")
    s.end(1.0, by="peer")
    refusals(s, [], start=2.0)
    assert verdict("BACKOFF-01", s.record(50)).outcome is INCONCLUSIVE
