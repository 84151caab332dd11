"""BACKOFF, judged on records written by hand. Delays 1 2 4 8 16 30 30 ..., times 0.5 to 1.5, ceiling 45."""

from __future__ import annotations

from random import Random

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record

from .script import Script, flapping, refusals

PASS, FAIL, INCONCLUSIVE, NON_STRICT = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NON_STRICT
RIGHT = (1.2, 1.5, 4.4, 8.0, 20.0, 29.0, 16.0, 44.0)
FULL = Profile().with_(jitter={"shape": "full"}, backoff={"ceiling": 45})


def verdict(rule: str, record: Record, profile: Profile | None = None) -> Verdict:
    return judge(record, profile or Profile(), rule)[0]


def outcomes(record: Record, profile: Profile | None = None) -> list[Outcome]:
    """Those of BACKOFF-01 to 04."""
    return [verdict(f"BACKOFF-0{n}", record, profile).outcome for n in (1, 2, 3, 4)]


def refused(*waits: float) -> Record:
    s = Script()
    return s.record(refusals(s, waits))


@pytest.mark.parametrize("rule", [f"BACKOFF-0{n}" for n in range(1, 6)])
def test_nothing_happened(rule: str) -> None:
    found = verdict(rule, Script().record(100))
    assert found.outcome is INCONCLUSIVE
    assert found.seen.startswith("not provoked: ")


def test_a_conforming_client() -> None:
    assert outcomes(refused(*RIGHT)) == [PASS, PASS, INCONCLUSIVE, PASS]


def test_no_backoff() -> None:
    assert outcomes(refused(*[0.02] * 8)) == [FAIL, FAIL, INCONCLUSIVE, FAIL]


def test_fixed_delays_where_the_profile_grows() -> None:
    assert outcomes(refused(*[1.0] * 8)) == [FAIL, FAIL, INCONCLUSIVE, FAIL]
    assert outcomes(refused(*[30.0] * 8)) == [FAIL, FAIL, INCONCLUSIVE, PASS]


def test_fixed_delays_where_the_profile_declares_them() -> None:
    fixed = Profile().with_(backoff={"base": 3, "factor": 1}, jitter={"shape": "none"})
    assert outcomes(refused(*[3.0] * 8), fixed) == [PASS, PASS, INCONCLUSIVE, PASS]


def test_growth_slower_than_declared_is_growth() -> None:
    assert outcomes(refused(*(1.3**n for n in range(10))))[:2] == [FAIL, PASS]


def test_longer_than_the_ceiling() -> None:
    found = verdict("BACKOFF-02", refused(*RIGHT[:6], 46.0))
    assert found.outcome is FAIL
    assert "46.000 s before connection 8 of client c (retry 7), expected 45.000 s at most" in found.seen


def test_the_harness_was_late() -> None:
    s = Script()
    refusals(s, [1.7])
    assert verdict("BACKOFF-01", s.record(2)).outcome is FAIL
    s.lag(1.7, 0.2)
    assert verdict("BACKOFF-01", s.record(2)).outcome is INCONCLUSIVE
    s = Script()
    refusals(s, [0.4])
    assert verdict("BACKOFF-04", s.record(2)).outcome is FAIL
    s.lag(0.4, 0.1)
    assert verdict("BACKOFF-04", s.record(2)).outcome is INCONCLUSIVE


def test_the_first_retry_has_bounds_of_its_own() -> None:
    profile = Profile().with_(backoff={"first_low": 0, "first_high": 5}, jitter={"shape": "none"})
    assert verdict("BACKOFF-01", refused(4.9, 2.0, 4.0), profile).outcome is PASS
    assert verdict("BACKOFF-01", refused(5.2, 2.0, 4.0), profile).outcome is FAIL


def test_decorrelated_delays_have_the_ends_of_the_range_only() -> None:
    profile = Profile().with_(jitter={"shape": "decorrelated"})
    assert outcomes(refused(1.0, 3.0, 2.0, 5.0, 30.0), profile)[:2] == [PASS, PASS]
    assert verdict("BACKOFF-01", refused(0.5), profile).outcome is FAIL


class TestReset:
    """BACKOFF-03"""

    def test_short_lived_connections_reset_nothing(self) -> None:
        s = Script()
        assert outcomes(s.record(flapping(s, RIGHT))) == [PASS, PASS, PASS, PASS]

    def test_a_reset_by_the_handshake_alone_fails_this_rule_and_no_other(self) -> None:
        s = Script()
        assert outcomes(s.record(flapping(s, (1.2, 0.8, 1.1, 0.6, 1.4)))) == [PASS, INCONCLUSIVE, FAIL, PASS]

    def test_a_reset_by_the_welcome_too(self) -> None:
        s = Script()
        end = refusals(s, (1.2, 2.4, 3.9, 8.0))
        s.opened(end + 16.0)
        s.end(end + 17.0)
        s.refused(end + 18.0)
        s.refused(end + 20.0)
        assert outcomes(s.record(end + 20)) == [PASS, PASS, FAIL, PASS]

    @pytest.mark.parametrize(("wait", "outcome"), [(1.0, PASS), (16.0, FAIL)])
    def test_after_a_stable_connection_the_count_starts_anew(self, wait: float, outcome: Outcome) -> None:
        s = Script()
        end = flapping(s, (1.2, 2.4, 3.9))
        s.opened(end + 8.0)
        s.end(end + 28.0)
        s.refused(end + 28.0 + wait)
        found = outcomes(s.record(end + 60))
        assert (found[0], found[2], found[3]) == (PASS, outcome, PASS)

    def test_only_the_other_half_was_provoked(self) -> None:
        s = Script()
        end = refusals(s, (1.2, 2.4, 3.9))
        s.opened(end + 8.0)
        s.end(end + 28.0)
        s.refused(end + 29.0)
        assert verdict("BACKOFF-03", s.record(end + 30)).outcome is INCONCLUSIVE
        at_once = Profile().with_(backoff={"stable_after": 0})
        assert verdict("BACKOFF-03", s.record(end + 30), at_once).outcome is PASS

    def test_too_close_to_call(self) -> None:
        s = Script()
        flapping(s, (1.2, 2.4, 3.9, 1.0), held=10.01)
        assert verdict("BACKOFF-03", s.record(100)).outcome is INCONCLUSIVE

    def test_a_client_that_never_grows_is_not_said_to_reset(self) -> None:
        s = Script()
        end = refusals(s, [1.0] * 5)
        flapping(s, [1.0] * 3, start=end + 1.0)
        assert outcomes(s.record(end + 20)) == [FAIL, FAIL, INCONCLUSIVE, FAIL]

    def test_a_client_that_hardly_waits_resets_nothing(self) -> None:
        s = Script()
        flapping(s, (0.02, 0.02, 0.02, 0.6, 0.02))
        found = verdict("BACKOFF-03", s.record(100))
        assert found.outcome is INCONCLUSIVE
        assert "too short from the first" in found.seen


class TestFullJitter:
    """Single waits may be 0, so only many tell."""

    def test_a_conforming_client(self) -> None:
        rng = Random(3)
        s = Script()
        for number in range(40):
            refusals(s, [rng.uniform(0, FULL.backoff.nominal(n)) for n in range(1, 11)], client=f"c{number}")
        assert outcomes(s.record(1000), FULL) == [PASS, PASS, INCONCLUSIVE, PASS]

    def test_no_backoff(self) -> None:
        s = Script()
        for number in range(40):
            refusals(s, [0.005] * 10, client=f"c{number}")
        assert outcomes(s.record(1000), FULL) == [PASS, FAIL, INCONCLUSIVE, FAIL]

    def test_too_few(self) -> None:
        assert outcomes(refused(0.0, 1.0), FULL) == [PASS, INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE]
        found = verdict("BACKOFF-02", refused(0.5, 1.0, 2.0, 4.0), FULL)
        assert found.outcome is INCONCLUSIVE
        assert "1 of " in found.seen


class TestRetryAfter:
    """BACKOFF-05"""

    def rejected(self, wait: float, retry_after: float) -> Record:
        s = Script()
        s.rejected(0.0, 503, retry_after=retry_after)
        s.refused(wait)
        return s.record(wait)

    @pytest.mark.parametrize(
        ("wait", "retry_after", "outcome"),
        [
            (6.0, 5.0, PASS),
            (6.6, 5.0, NON_STRICT),  # longer than bound + delay
            (5.1, 5.0, NON_STRICT),  # max(bound, delay): all at one instant
            (1.0, 5.0, NON_STRICT),  # ignored
            (1.2, 1.0, PASS),
            (0.6, 0.2, PASS),
        ],
    )
    def test_bound(self, wait: float, retry_after: float, outcome: Outcome) -> None:
        record = self.rejected(wait, retry_after)
        assert verdict("BACKOFF-05", record).outcome is outcome
        assert FAIL not in outcomes(record)

    def test_a_farewell_is_one_too(self) -> None:
        s = Script()
        s.opened(0.0)
        s.frame(3.0, "down", "farewell", retry_after=4.0)
        s.frame(5.0, "down", "close", code=1001, reason="")
        s.end(5.0)
        s.opened(8.0)
        assert verdict("BACKOFF-05", s.record(20)).outcome is INCONCLUSIVE  # 3 s after the end, 5 s after the farewell

    def test_the_harness_was_late(self) -> None:
        s = Script()
        s.rejected(0.0, 503, retry_after=5.0)
        s.refused(4.9)
        s.lag(4.9, 0.1)
        assert verdict("BACKOFF-05", s.record(5)).outcome is INCONCLUSIVE

    def test_not_declared(self) -> None:
        profile = Profile().with_(backoff={"honour_retry_after": False})
        assert verdict("BACKOFF-05", self.rejected(1.0, 5.0), profile).outcome is Outcome.UNSUPPORTED


class TestWhatIsNoBackoff:
    """Attempts that no backoff preceded are nobody's wait."""

    def test_asked_by_the_application(self) -> None:
        s = Script()
        end = refusals(s, (1.2, 2.4, 3.9))
        s.app(end + 0.5, "reconnect")
        refusals(s, (1.0, 2.0), start=end + 0.5)
        assert outcomes(s.record(100)) == [PASS, PASS, INCONCLUSIVE, PASS]

    def test_closed_by_the_application_and_going_on_all_the_same(self) -> None:
        s = Script()
        end = refusals(s, (1.2, 2.4, 3.9))
        s.app(end + 0.5, "close")
        refusals(s, (16.0, 30.0), start=end + 8.0)
        assert FAIL not in outcomes(s.record(100))

    def test_a_failing_provider_leaves_no_trace_but_counts(self) -> None:
        s = Script()
        for at, name in ((0, "connecting"), (0.0, "closed"), (1, "connecting"), (1, "closed"), (3, "connecting")):
            s.app(at, name, **({"code": None} if name == "closed" else {}))
        s.refused(0.0)
        s.refused(3.0)
        s.app(3.0, "closed", code=None)
        s.app(7.0, "connecting")
        s.refused(7.0)
        assert verdict("BACKOFF-01", s.record(8)).outcome is PASS

    def test_after_a_final_close(self) -> None:
        s = Script()
        flapping(s, (0.1,), code=1000)
        assert verdict("BACKOFF-04", s.record(8)).outcome is INCONCLUSIVE

    def test_connections_that_overlap(self) -> None:
        s = Script()
        s.opened(0.0)
        s.opened(5.0)
        assert verdict("BACKOFF-04", s.record(8)).outcome is INCONCLUSIVE

    def test_refused_and_not_seen(self) -> None:
        s = Script(sees_refused=False)
        s.opened(0.0)
        s.fault(2.0, "refuse", until=10.0)
        s.end(2.0)
        s.opened(12.0)
        assert verdict("BACKOFF-01", s.record(20)).outcome is INCONCLUSIVE


class TestSeenLate:
    """On a busy machine a refused attempt may be on record long after it was made."""

    def seen(self, late: float, *, told: bool) -> Record:
        s = Script()
        for number, at in enumerate((0.0, 1.0, 3.0, 7.0)):
            s.app(at, "connecting").app(at, "closed", code=None)
            if number == 1:
                s.refused(at + late, late=late if told else 0.0)
            else:
                s.refused(at)
        return s.record(10)

    def test_what_the_engine_tells_of_is_not_the_clients_blame(self) -> None:
        assert verdict("BACKOFF-01", self.seen(1.5, told=False)).outcome is FAIL
        assert verdict("BACKOFF-01", self.seen(1.5, told=True)).outcome is PASS
        assert verdict("BACKOFF-04", self.seen(1.5, told=True)).outcome is PASS

    def test_no_attempt_is_missing_that_is_counted_with_the_next(self) -> None:
        assert verdict("RECONNECT-08", self.seen(2.5, told=False)).outcome is INCONCLUSIVE


def test_a_reconnect_at_the_instant_at_which_its_connection_begins_restarts_no_count_after_it() -> None:
    """On virtual time the request and the attempt that follows it have one instant: their order tells."""
    s = Script()
    s.opened(0.0)
    s.app(20.0, "reconnect").end(20.0, by="peer")
    s.opened(20.0)
    s.end(40.0, how="reset")
    for at in (41.0, 43.0, 47.0):  # retries 1, 2, 3
        s.refused(at)
    assert verdict("BACKOFF-01", s.record(60.0)).outcome is PASS


def test_a_reconnect_that_was_asked_for_while_it_connected_leaves_the_count_in_doubt() -> None:
    """A client may do nothing then, and go on counting."""
    s = Script()
    s.live(0.0)
    s.app(0.005, "reconnect")  # 5 ms before it is ready
    s.end(40.0, how="reset")
    for at in (41.0, 43.5, 48.0):  # retries 1, 2, 3
        s.refused(at)
    found = verdict("BACKOFF-01", s.record(60.0))
    assert found.outcome is INCONCLUSIVE
    assert "no retry whose number is certain" in found.seen


@pytest.mark.parametrize("status", [500, 101])
@pytest.mark.parametrize(("at", "outcome"), [(3.05, PASS), (3.15, FAIL)])
def test_so_does_one_that_was_asked_for_while_its_connection_ended(status: int, at: float, outcome: Outcome) -> None:
    """The answer has come, the end of TCP has not: a client may still take it for an attempt under way."""
    s = Script()
    s.refused(0.0)
    s.refused(1.0)
    s.attempt(3.0)
    s.event(3.0, "response", status=status, way="down")
    if status == 101:
        s.event(3.0, "ready").event(3.0, "close", code=1011, reason="", way="down")
    s.app(at, "reconnect").end(3.1)
    for retry in (7.1, 15.1, 31.1):  # retries 3, 4, 5 to such a client
        s.refused(retry)
    assert verdict("BACKOFF-01", s.record(60.0)).outcome is outcome


def test_an_attempt_that_left_no_trace_before_the_first_is_counted() -> None:
    s = Script()
    for at in (0.0, 1.0, 3.0):
        s.app(at, "connecting")
        if at:
            s.refused(at)
        s.app(at + 0.01, "closed", code=None)
    found = verdict("BACKOFF-01", s.record(9))
    assert found.outcome is PASS  # the second retry: 2 s
