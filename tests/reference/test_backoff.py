"""The delays before retries: BACKOFF and JITTER, as pure arithmetic."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pytest_wschaos.profile import Backoff as Figures
from pytest_wschaos.profile import Jitter, JitterShape
from pytest_wschaos.reference.backoff import Backoff


def backoff(
    *, figures: Figures | None = None, shape: JitterShape = "uniform", max_retries: int | None = None, seed: int = 1
) -> Backoff:
    return Backoff(figures or Figures(), Jitter(shape=shape), max_retries, Random(seed))


def delays(policy: Backoff, count: int) -> list[float]:
    drawn = [policy.failed(0.0) for _ in range(count)]
    assert None not in drawn
    return [delay for delay in drawn if delay is not None]


def test_without_jitter_the_delays_are_the_nominal_ones() -> None:
    assert delays(backoff(shape="none"), 7) == [1, 2, 4, 8, 16, 30, 30]


def test_uniform_jitter_is_applied_after_the_cap_and_never_clamped() -> None:
    at_cap = delays(backoff(), 2000)[5:]
    assert all(15 <= delay <= 45 for delay in at_cap)
    assert min(at_cap) < 16
    assert max(at_cap) > 44
    assert len(set(at_cap)) == len(at_cap)


def test_two_clients_draw_different_delays() -> None:
    assert delays(backoff(seed=1), 5) != delays(backoff(seed=2), 5)


@given(st.sampled_from(["uniform", "full", "equal", "decorrelated"]), st.integers(0, 2**32))
def test_every_shape_stays_between_its_bounds_and_under_the_ceiling(shape: JitterShape, seed: int) -> None:
    figures, jitter = Figures(), Jitter(shape=shape)
    low, high = jitter.bounds
    for n, delay in enumerate(delays(Backoff(figures, jitter, None, Random(seed)), 12), 1):
        assert figures.nominal(n) * low <= delay <= min(figures.nominal(n) * high, figures.ceiling)


def test_a_ceiling_below_the_jitters_range_narrows_the_draw_without_a_pile_up() -> None:
    drawn = delays(backoff(figures=Figures(ceiling=40)), 500)
    assert max(drawn) <= 40
    assert len(set(drawn)) == len(drawn)


def test_decorrelated_jitter_builds_on_the_delay_before() -> None:
    policy = backoff(shape="decorrelated")
    previous = 1.0
    for delay in delays(policy, 50):
        assert 1.0 <= delay <= 3 * previous
        previous = delay


def test_the_first_delay_may_have_its_own_range() -> None:
    drawn = [delays(backoff(figures=Figures(first_low=3, first_high=4), seed=seed), 2) for seed in range(50)]
    assert all(3 <= first <= 4 and 1 <= second <= 3 for first, second in drawn)


def test_it_gives_up_after_exactly_max_retries() -> None:
    policy = backoff(max_retries=10)
    assert len(delays(policy, 10)) == 10
    assert policy.failed(0.0) is None
    assert policy.retry == 10


def test_no_retries_allowed_means_giving_up_at_the_first_failure() -> None:
    assert backoff(max_retries=0).failed(0.0) is None


def test_a_ready_connection_clears_the_count_only_when_it_was_stable() -> None:
    policy = backoff(shape="none")
    delays(policy, 3)
    policy.ready(100.0)
    assert policy.failed(109.9) == 8
    policy.ready(200.0)
    assert policy.failed(210.0) == 1


def test_a_handshake_that_never_got_ready_clears_nothing() -> None:
    policy = backoff(shape="none")
    policy.ready(0.0)
    assert policy.failed(5.0) == 1
    assert policy.failed(1000.0) == 2


def test_reset_forgets_all_failures() -> None:
    policy = backoff(shape="none", max_retries=2)
    delays(policy, 2)
    policy.reset()
    assert delays(policy, 2) == [1, 2]


def test_retry_after_is_a_lower_bound_that_keeps_the_spread() -> None:
    drawn = [backoff(seed=seed).failed(0.0, 5.0) for seed in range(100)]
    assert all(delay is not None and 5.5 <= delay <= 6.5 for delay in drawn)
    assert len(set(drawn)) == 100


def test_a_delay_above_retry_after_is_left_as_it_is() -> None:
    policy = backoff(shape="none")
    delays(policy, 3)
    assert policy.failed(0.0, 8.0) == 8


def test_a_profile_may_ignore_retry_after() -> None:
    assert backoff(figures=Figures(honour_retry_after=False), shape="none").failed(0.0, 60.0) == 1


def test_later_takes_the_next_step_once_and_is_charged_one_retry() -> None:
    policy = backoff(shape="none", max_retries=3)
    assert policy.failed(0.0, later=True) == 2
    assert policy.failed(0.0) == 2
    assert policy.failed(0.0) == 4
    assert policy.failed(0.0) is None
