from __future__ import annotations

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_data_is_discarded_and_silence_closes() -> None:
    track = Track(stage("timeout", timeout=300))
    track.until(1.0)
    assert track.out == [(0.3, End.CUT)]


def test_each_discarded_chunk_starts_it_anew() -> None:
    track = Track(stage("timeout", timeout=300))
    for number in range(10):
        track.feed(b"x", number * 0.2)
    track.until(10.0)
    assert track.out == [(2.1, End.CUT)]


def test_0_never_closes_by_itself() -> None:
    track = Track(stage("timeout", timeout=0))
    track.feed(b"x", 1.0)
    track.until(10_000.0)
    assert track.out == []
    assert track.chain.next_at is None


def test_the_peers_own_end_passes() -> None:
    track = Track(stage("timeout", timeout=0))
    track.feed(b"x", 1.0)
    track.feed(End.EOF, 2.0)
    assert track.out == [(2.0, End.EOF)]


def test_removal_closes_because_bytes_are_missing() -> None:
    hole = stage("timeout", timeout=0)
    track = Track(hole)
    track.remove(hole, 1.0)
    assert track.out == [(1.0, End.CUT)]
    assert hole.cuts


def test_update_starts_it_anew() -> None:
    hole = stage("timeout", timeout=5000)
    track = Track(hole)
    track.update(hole, 1.0, timeout=300)
    track.until(10.0)
    assert track.out == [(1.3, End.CUT)]


def test_update_to_0_stops_it() -> None:
    hole = stage("timeout", timeout=5000)
    track = Track(hole)
    track.update(hole, 1.0, timeout=0)
    track.until(100.0)
    assert track.out == []


def test_a_latency_before_it_can_be_removed() -> None:
    slow = stage("latency", latency=1000)
    track = Track(slow, stage("timeout", timeout=0))
    track.feed(b"x", 0.0)
    track.remove(slow, 0.1)
    assert track.out == []
