from __future__ import annotations

import pytest

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_each_chunk_waits_since_it_came() -> None:
    track = Track(stage("latency", latency=100))
    track.feed(b"a", 0.0)
    track.feed(b"b", 0.03)
    track.until(1.0)
    assert track.out == [(0.1, b"a"), (0.13, b"b")]


def test_jitter_is_drawn_for_each_chunk_and_never_reorders() -> None:
    track = Track(stage("latency", latency=100, jitter=50))
    sent = [bytes([number]) for number in range(100)]
    for number, data in enumerate(sent):
        track.feed(data, number * 0.2)
    track.until(60.0)
    delays = [at - number * 0.2 for number, (at, _) in enumerate(track.out)]
    assert [item for _, item in track.out] == sent
    assert 0.05 <= min(delays) < 0.06
    assert 0.14 < max(delays) <= 0.15 + 1e-9


def test_a_burst_keeps_its_order_under_jitter() -> None:
    track = Track(stage("latency", latency=100, jitter=100))
    for number in range(100):
        track.feed(bytes([number]), 0.0)
    track.until(1.0)
    assert track.data == bytes(range(100))


def test_the_same_seed_gives_the_same_delays() -> None:
    def run(seed: int) -> list[float]:
        track = Track(stage("latency", seed=seed, latency=100, jitter=50))
        for number in range(10):
            track.feed(b"x", float(number))
        track.until(20.0)
        return [at for at, _ in track.out]

    assert run(1) == run(1) != run(2)


def test_the_end_is_not_delayed_itself() -> None:
    track = Track(stage("latency", latency=100))
    track.feed(End.EOF, 1.0)
    assert track.out == [(1.0, End.EOF)]


def test_the_end_follows_the_last_chunk() -> None:
    track = Track(stage("latency", latency=100))
    track.feed(b"a", 0.0)
    track.feed(End.EOF, 0.01)
    track.until(1.0)
    assert track.out == [(0.1, b"a"), (0.1, End.EOF)]


def test_update_lets_the_first_chunk_go_and_retimes_the_others_since_they_came() -> None:
    slow = stage("latency", latency=1000)
    track = Track(slow)
    for number, data in enumerate((b"a", b"b", b"c")):
        track.feed(data, number * 0.1)
    track.update(slow, 0.3, latency=400)
    track.feed(End.EOF, 0.3)
    track.until(2.0)
    assert track.out == [(0.3, b"a"), (0.5, b"b"), (0.6, b"c"), (0.6, End.EOF)]
    assert slow.held == 0


def test_update_to_more_makes_those_that_wait_wait_longer() -> None:
    slow = stage("latency", latency=200)
    track = Track(slow)
    track.feed(b"a", 0.0)
    track.feed(b"b", 0.1)
    track.update(slow, 0.15, latency=500)
    track.until(2.0)
    assert track.out == [(0.15, b"a"), (0.6, b"b")]


def test_removal_lets_everything_go_at_once() -> None:
    slow = stage("latency", latency=1000)
    track = Track(slow)
    track.feed(b"a", 0.0)
    track.feed(b"b", 0.1)
    track.feed(End.EOF, 0.1)
    track.remove(slow, 0.2)
    assert track.out == [(0.2, b"a"), (0.2, b"b"), (0.2, End.EOF)]


@pytest.mark.parametrize("latency", [0, -100])
def test_no_or_negative_latency_does_not_delay(latency: int) -> None:
    track = Track(stage("latency", latency=latency))
    track.feed(b"a", 1.0)
    assert track.out == [(1.0, b"a")]


def test_bandwidth_is_not_limited() -> None:
    track = Track(stage("latency", latency=100))
    for number in range(150):  # 64 KiB each millisecond: 64 MB/s
        track.feed(bytes(65536), number / 1000)
        assert not track.chain.full
    track.until(1.0)
    assert track.out[-1][0] == 0.249
