import random

import pytest

from pytest_wschaos.reference.token_bucket import TokenBucket


def test_a_full_bucket_allows_a_burst_and_then_the_rate():
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.05)
    assert bucket.take(0.1)
    assert not bucket.take(0.1)


def test_it_says_how_long_to_wait():
    bucket = TokenBucket(rate=4, burst=1)
    assert bucket.wait(5.0) == 0
    bucket.take(5.0)
    assert bucket.wait(5.0) == pytest.approx(0.25)
    assert bucket.wait(5.25) == 0


def test_idle_time_fills_it_no_higher_than_the_burst():
    bucket = TokenBucket(rate=100, burst=2)
    bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


def test_who_sleeps_as_told_is_never_refused_and_keeps_the_rate():
    rng = random.Random(1)
    bucket, now, taken = TokenBucket(rate=50, burst=100), 0.1, 0
    while now < 20:
        now += bucket.wait(now)
        assert bucket.take(now)
        taken += 1
        now += rng.choice([0.0, 0.001])
    assert taken <= 100 + 50 * 20


@pytest.mark.parametrize(("rate", "burst", "figure"), [(0, 1, "rate"), (-1, 1, "rate"), (1, 0, "burst")])
def test_a_bucket_that_cannot_be_is_refused(rate, burst, figure):
    with pytest.raises(ValueError, match=figure):
        TokenBucket(rate, burst)
