from __future__ import annotations

import pytest

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_a_large_chunk_leaves_in_pieces_of_a_tenth_of_a_second() -> None:
    track = Track(stage("bandwidth", rate=10))
    track.feed(bytes(5000), 0.0)
    track.until(1.0)
    assert [(at, len(item)) for at, item in track.out if isinstance(item, bytes)] == [
        (pytest.approx(0.1 * (number + 1)), 1000) for number in range(5)
    ]


def test_a_small_chunk_waits_for_its_share() -> None:
    track = Track(stage("bandwidth", rate=10))
    track.feed(bytes(200), 1.0)
    track.until(2.0)
    assert track.out == [(1.02, bytes(200))]


def test_the_rate_is_kept_over_many_chunks() -> None:
    track = Track(stage("bandwidth", rate=1000))
    for _ in range(480):
        track.feed(bytes(1000), 0.0)
    track.feed(End.EOF, 0.0)
    track.until(5.0)
    assert len(track.data) == 480_000
    assert track.out[-1] == (pytest.approx(0.48), End.EOF)


def test_time_without_traffic_is_not_saved_up() -> None:
    track = Track(stage("bandwidth", rate=10))
    track.feed(bytes(100), 0.0)
    track.feed(bytes(1000), 10.0)
    track.until(20.0)
    assert [at for at, _ in track.out] == [0.01, 10.1]


@pytest.mark.parametrize("rate", [0, -5])
def test_rate_0_holds_everything_and_loses_nothing(rate: int) -> None:
    closed = stage("bandwidth", rate=rate)
    track = Track(closed)
    track.feed(b"abc", 0.0)
    track.feed(End.EOF, 1.0)
    track.until(1000.0)
    assert track.out == []
    track.remove(closed, 1000.0)
    assert track.out == [(1000.0, b"abc"), (1000.0, End.EOF)]


def test_rate_0_lets_the_end_pass_while_nothing_is_held() -> None:
    track = Track(stage("bandwidth", rate=0))
    track.feed(End.EOF, 1.0)
    assert track.out == [(1.0, End.EOF)]


def test_update_lets_the_chunk_on_its_way_go_and_counts_for_what_waits() -> None:
    slow = stage("bandwidth", rate=1)
    track = Track(slow)
    track.feed(b"a" * 300, 0.0)
    track.feed(b"b" * 900, 0.0)
    track.update(slow, 0.1, rate=9)
    track.feed(End.EOF, 0.1)
    track.until(5.0)
    assert track.out[:2] == [(0.1, b"a" * 100), (0.1, b"a" * 200)]
    assert track.data == b"a" * 300 + b"b" * 900
    assert track.out[-1] == (pytest.approx(0.2), End.EOF)


def test_update_from_0_lets_it_flow_and_the_end_stays_last() -> None:
    closed = stage("bandwidth", rate=0)
    track = Track(closed)
    track.feed(b"first", 0.0)
    track.feed(b"abc", 0.0)
    track.feed(End.EOF, 0.0)
    track.update(closed, 1.0, rate=3)
    track.until(5.0)
    assert track.out == [(1.0, b"first"), (1.001, b"abc"), (1.001, End.EOF)]


def test_the_sender_feels_it_soon() -> None:
    track = Track(stage("bandwidth", rate=10))
    track.feed(bytes(32 * 1024), 0.0)
    assert track.chain.full
