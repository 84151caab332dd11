"""JITTER, judged on fleets of clients that draw as they declare, or do not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record

from .script import Script, refusals

PASS, FAIL, INCONCLUSIVE, UNSUPPORTED = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED
PROFILE = Profile()
Draw = Callable[[Random, float], float]


def uniform(rng: Random, nominal: float) -> float:
    return nominal * rng.uniform(0.5, 1.5)


def none(rng: Random, nominal: float) -> float:
    return nominal


def clamped(rng: Random, nominal: float) -> float:
    return min(30.0, uniform(rng, nominal))


def full(rng: Random, nominal: float) -> float:
    return nominal * rng.uniform(0, 1)


def equal(rng: Random, nominal: float) -> float:
    return nominal * rng.uniform(0.5, 1)


def fleet(draw: Draw, *, clients: int = 30, retries: int = 10, seed: int = 1, late: float = 0.0) -> Record:
    """Clients that are refused, each with its own retries; ``late``: attempts come up to so many seconds late."""
    rng, noise = Random(seed), Random(0)
    s = Script()
    for number in range(clients):
        waits = [draw(rng, PROFILE.backoff.nominal(n)) + noise.uniform(0, late) for n in range(1, retries + 1)]
        refusals(s, waits, client=f"c{number}", late=late)
    return s.record(1000)


def verdict(rule: str, record: Record, profile: Profile = PROFILE) -> Verdict:
    return judge(record, profile, rule)[0]


def outcomes(record: Record, profile: Profile = PROFILE) -> list[Outcome]:
    """Those of JITTER-01 to 03."""
    return [verdict(f"JITTER-0{n}", record, profile).outcome for n in (1, 2, 3)]


@pytest.mark.parametrize("rule", [f"JITTER-0{n}" for n in range(1, 5)])
@pytest.mark.parametrize("shape", ["none", "decorrelated"])
def test_nothing_to_judge(rule: str, shape: str) -> None:
    profile = PROFILE.with_(jitter={"shape": shape})
    assert verdict(rule, fleet(uniform), profile).outcome is UNSUPPORTED
    assert verdict(rule, Script().record(1)).outcome is INCONCLUSIVE


@pytest.mark.parametrize("seed", range(5))
def test_a_conforming_fleet(seed: int) -> None:
    record = fleet(uniform, seed=seed, late=0.012)
    assert outcomes(record) == [PASS, PASS, PASS]
    measured = verdict("JITTER-03", record).measured
    assert measured["at the cap"]["samples"] == 150
    assert measured["at the cap"]["needed"] == 117
    assert measured["distances"] == dict.fromkeys(
        ["no jitter", "clamped at the cap", "full", "equal", "one draw per process"], 0.5
    )


def test_a_conforming_fleet_with_short_delays() -> None:
    profile = PROFILE.scaled(0.05)
    s = Script()
    rng = Random(4)
    for number in range(40):
        waits = [profile.backoff.nominal(n) * rng.uniform(0.5, 1.5) + rng.uniform(0, 0.012) for n in range(1, 11)]
        refusals(s, waits, client=f"c{number}", late=0.012)
    record = s.record(1000)
    assert outcomes(record, profile) == [PASS, PASS, PASS]
    assert verdict("JITTER-01", record, profile).measured["left_out"]["samples"] == 80  # the steps of 50 and 100 ms


def test_waits_outside_the_declared_range_are_no_repeated_draws() -> None:
    s = Script()
    refusals(s, [0.096, 0.2], client="c")
    assert verdict("JITTER-02", s.record(1000)).outcome is INCONCLUSIVE


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (none, [FAIL, FAIL, FAIL]),
        (clamped, [FAIL, PASS, FAIL]),
        (full, [FAIL, PASS, FAIL]),
        (equal, [FAIL, PASS, FAIL]),
    ],
)
def test_another_shape_than_declared(draw: Draw, expected: list[Outcome]) -> None:
    assert outcomes(fleet(draw)) == expected


def first_retry_on_time(rng: Random, nominal: float) -> float:
    return nominal if nominal == PROFILE.backoff.base else uniform(rng, nominal)


def whole_seconds(rng: Random, nominal: float) -> float:
    return uniform(rng, nominal) if nominal == PROFILE.backoff.base else max(1.0, round(uniform(rng, nominal)))


def often_nominal(rng: Random, nominal: float) -> float:
    return nominal if rng.random() < 0.3 else uniform(rng, nominal)


@pytest.mark.parametrize(
    ("draw", "clients", "where"),
    [
        (first_retry_on_time, 24, "at step 1: 24 of 24 delays"),
        (whole_seconds, 40, "at step 2: "),
        (often_nominal, 24, "at the cap: 4"),
    ],
)
@pytest.mark.parametrize("late", [0.0, 0.004])
def test_delays_pile_up_on_values_though_their_shape_looks_right(
    draw: Draw, clients: int, where: str, late: float
) -> None:
    found = verdict("JITTER-03", fleet(draw, clients=clients, late=late))
    assert found.outcome is FAIL
    assert where in found.seen
    assert "pile up with a probability of" in found.seen


def test_a_client_that_stood_still_for_the_grace_piles_nothing_up() -> None:
    def stalled(rng: Random, nominal: float) -> float:
        drawn = uniform(rng, nominal)
        return 1.05 if nominal == 1.0 and 1.0 < drawn < 1.05 else drawn

    assert verdict("JITTER-03", fleet(stalled, clients=400, retries=6)).outcome is PASS


def test_the_error_rate_is_what_it_is_said_to_be() -> None:
    profile = PROFILE.with_(jitter={"alpha": 0.05})
    records = [fleet(uniform, clients=10, retries=7, seed=seed, late=0.01) for seed in range(200)]
    assert sum(verdict("JITTER-03", record, profile).outcome is FAIL for record in records) <= 10


def test_one_draw_for_the_whole_process() -> None:
    assert outcomes(fleet(lambda rng, nominal: nominal * 0.8)) == [FAIL, FAIL, FAIL]


def test_fresh_draws_around_too_short_a_delay() -> None:
    assert outcomes(fleet(lambda rng, nominal: nominal * rng.uniform(0.05, 0.15))) == [FAIL, PASS, FAIL]


def test_one_draw_per_client() -> None:
    s = Script()
    rng = Random(5)
    for number in range(30):
        factor = rng.uniform(0.5, 1.5)
        refusals(s, [PROFILE.backoff.nominal(n) * factor for n in range(1, 11)], client=f"c{number}")
    found = verdict("JITTER-02", s.record(1000))
    assert found.outcome is FAIL
    assert found.seen.startswith("along each client's retries: 10 draws lie between")


def test_the_same_draws_for_every_client() -> None:
    s = Script()
    for number in range(30):
        rng = Random(6)
        refusals(s, [uniform(rng, PROFILE.backoff.nominal(n)) for n in range(1, 11)], client=f"c{number}")
    found = verdict("JITTER-02", s.record(1000))
    assert found.outcome is FAIL
    assert "between clients at the same step: 30 draws lie between" in found.seen
    assert "10 of 10 draws of client c0 are those of client c1, step by step" in found.seen


def test_two_clients_with_one_seed() -> None:
    s = Script()
    for name in ("a", "b"):
        rng, at = Random(6), 0.0
        for _ in range(4):
            at = refusals(s, [uniform(rng, PROFILE.backoff.nominal(n)) for n in range(1, 11)], start=at, client=name)
            s.opened(at + 50.0, client=name)
            at += 100.0
            s.end(at, client=name, conn=s._connections)
            at += 1.0
    found = verdict("JITTER-02", s.record(5000))
    assert found.outcome is FAIL
    assert "draws of client a are those of client b, step by step" in found.seen


def test_each_client_keeps_to_one_half() -> None:
    s = Script()
    rng = Random(8)
    for number in range(30):
        low = 0.5 + number % 2 / 2
        refusals(
            s, [PROFILE.backoff.nominal(n) * rng.uniform(low, low + 0.5) for n in range(1, 11)], client=f"c{number}"
        )
    assert outcomes(s.record(1000)) == [PASS, FAIL, PASS]
    assert "0 changes of side in 300 draws" in verdict("JITTER-02", s.record(1000)).seen


def test_neighbours_resemble_each_other() -> None:
    s = Script()
    rng = Random(8)
    for number in range(30):
        low = 0.5 + number / 30
        waits = [
            PROFILE.backoff.nominal(n) * ((low + 0.1 * n + rng.uniform(0, 0.1) - 0.5) % 1 + 0.5) for n in range(1, 11)
        ]
        refusals(s, waits, client=f"c{number}")
    assert verdict("JITTER-02", s.record(1000)).outcome is FAIL


def test_one_client_tells_nothing_of_others() -> None:
    found = verdict("JITTER-02", fleet(uniform, clients=1, retries=40), PROFILE.with_(reconnect={"max_retries": 50}))
    assert found.outcome is INCONCLUSIVE
    assert "one client only" in found.seen


def test_too_few_samples() -> None:
    record = fleet(uniform, clients=2)
    assert outcomes(record) == [INCONCLUSIVE] * 3
    assert "all waits: 20 of " in verdict("JITTER-01", record).seen
    assert "at the cap: 10 of 117 samples" in verdict("JITTER-03", record).seen
    assert "10 of 27 samples" in verdict("JITTER-02", fleet(uniform, clients=1)).seen
    assert "2 draws at one step" in verdict("JITTER-02", record).seen


def test_a_late_harness_leaves_samples_out() -> None:
    record = fleet(uniform)
    lags = Script()
    for second in range(600):
        lags.lag(float(second), 1.0)
    blurred = Record(tuple(sorted((*record.events, *lags.events), key=lambda e: e.at)), 1000)
    found = verdict("JITTER-01", blurred)
    assert found.outcome is INCONCLUSIVE
    assert found.measured["left_out"]["samples"] >= 90


def test_a_range_narrowed_by_the_ceiling_is_left_out() -> None:
    profile = PROFILE.with_(backoff={"ceiling": 31})
    assert verdict("JITTER-03", fleet(uniform), profile).measured["left_out"]["samples"] == 150


def cut_short(until: float) -> Record:
    """1000 clients that are refused at one instant, watched until so many seconds later."""
    rng = Random(3)
    s = Script()
    for number in range(1000):
        refusals(s, [w for w in [rng.uniform(0.5, 1.5)] if w <= until], client=f"c{number}")
    return s.record(until)


@pytest.mark.parametrize("until", [0.53, 1.0, 1.5])
def test_a_record_that_ends_while_clients_wait_has_seen_the_short_waits_only(until: float) -> None:
    assert outcomes(cut_short(until)) == [INCONCLUSIVE] * 3


def test_waits_that_would_be_over_whatever_was_drawn_do_count() -> None:
    found = verdict("JITTER-01", cut_short(1.6))
    assert found.outcome is INCONCLUSIVE  # none at the cap
    assert found.measured["all"]["samples"] == 1000


class TestHerd:
    """JITTER-04"""

    def herd(self, delays: list[float], *, ends: float = 0.0, lag: float = 0.0) -> Record:
        s = Script()
        s.fault(20.0, "abort", until=20.0)
        for number, delay in enumerate(delays):
            end = 20.0 + ends * number / len(delays)
            s.opened(0.0, client=f"c{number}")
            s.end(end, how="reset", client=f"c{number}")
            s.opened(end + delay, client=f"c{number}")
        s.lag(20.02, lag)
        return s.record(60)

    def test_spread(self) -> None:
        rng = Random(7)
        assert verdict("JITTER-04", self.herd([rng.uniform(0.5, 1.5) for _ in range(60)])).outcome is PASS

    def test_all_at_once(self) -> None:
        found = verdict("JITTER-04", self.herd([1.0] * 60))
        assert found.outcome is FAIL
        assert "60 of them came back within 0.050 s" in found.seen

    def test_a_record_that_ends_while_most_are_away(self) -> None:
        rng = Random(7)
        s = Script()
        s.fault(20.0, "abort", until=20.0)
        for number in range(400):
            s.opened(0.0, client=f"c{number}")
            s.end(20.0, how="reset", client=f"c{number}")
            if (back := 20.0 + rng.uniform(0.5, 1.5)) <= 20.54:
                s.opened(back, client=f"c{number}")
        assert verdict("JITTER-04", s.record(20.54)).outcome is INCONCLUSIVE

    def test_in_two_waves(self) -> None:
        assert verdict("JITTER-04", self.herd([0.7, 1.3] * 30)).outcome is FAIL

    def behind(self, earliest: float, latest: float) -> Record:
        """31 clients at the first retry that come back as they should, and 29 at the second."""
        rng = Random(7)
        s = Script()
        s.fault(20.0, "abort", until=20.0)
        for number in range(60):
            name, early = f"c{number}", number < 31
            if not early:
                s.opened(0.0, client=name)
                s.end(17.0, how="reset", client=name)
            s.opened(0.0 if early else 18.0, client=name)
            s.end(20.0, how="reset", client=name)
            s.opened(20.0 + (rng.uniform(0.5, 1.5) if early else rng.uniform(earliest, latest)), client=name)
        return s.record(60)

    def test_every_step_is_judged_and_not_only_the_most_frequent_one(self) -> None:
        found = verdict("JITTER-04", self.behind(2.0, 2.0))
        assert found.outcome is FAIL
        assert found.seen.startswith("29 clients lost their links within 0.000 s; 29 of them came back within 0.100 s")
        assert verdict("JITTER-04", self.behind(1.0, 3.0)).outcome is PASS

    def test_clients_at_different_retries_with_the_same_delays_are_one_herd(self) -> None:
        profile = PROFILE.with_(backoff={"factor": 1.0})
        s = Script()
        s.fault(20.0, "abort", until=20.0)
        for number in range(12):
            name, at = f"c{number}", 20.0 - 1.5 * (number % 4)
            s.opened(at - 1.5, client=name)
            while at < 20.0:
                s.end(at - 0.5, how="reset", client=name)
                s.opened(at + 0.5, client=name)
                at += 1.5
            s.end(20.0, how="reset", client=name)
            s.opened(21.0, client=name)
        found = verdict("JITTER-04", s.record(60), profile)
        assert found.outcome is FAIL
        assert found.seen.startswith("12 clients")

    def test_too_few_clients(self) -> None:
        found = verdict("JITTER-04", self.herd([0.6, 0.9, 1.4]))
        assert found.outcome is INCONCLUSIVE
        assert found.seen.startswith("3 of 8 clients")

    def test_ends_too_far_apart(self) -> None:
        profile = PROFILE.with_(jitter={"low": 0.95, "high": 1.05})
        delays = [0.95 + n / 600 for n in range(60)]
        assert verdict("JITTER-04", self.herd(delays, ends=0.09), profile).outcome is INCONCLUSIVE

    def test_a_late_harness(self) -> None:
        # It may itself have piled up a fifth of them, but not all.
        rng = Random(7)
        assert verdict("JITTER-04", self.herd([rng.uniform(0.5, 1.5) for _ in range(60)], lag=0.2)).outcome is PASS
        assert verdict("JITTER-04", self.herd([1.0] * 60, lag=0.2)).outcome is FAIL
