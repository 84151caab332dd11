from __future__ import annotations

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_data_is_untouched_and_the_end_waits() -> None:
    track = Track(stage("slow_close", delay=500))
    track.feed(b"a", 0.0)
    track.feed(End.EOF, 1.0)
    track.until(2.0)
    assert track.out == [(0.0, b"a"), (1.5, End.EOF)]


def test_update_starts_the_wait_anew() -> None:
    slow = stage("slow_close", delay=500)
    track = Track(slow)
    track.feed(End.EOF, 0.0)
    track.update(slow, 0.4, delay=300)
    track.until(2.0)
    assert track.out == [(0.7, End.EOF)]


def test_update_before_the_end_holds_nothing() -> None:
    slow = stage("slow_close", delay=500)
    track = Track(slow)
    track.update(slow, 0.4, delay=300)
    assert track.chain.next_at is None


def test_removal_closes_now() -> None:
    slow = stage("slow_close", delay=500)
    track = Track(slow)
    track.feed(End.EOF, 0.0)
    track.remove(slow, 0.2)
    assert track.out == [(0.2, End.EOF)]


def test_it_delays_the_close_of_a_toxic_before_it_too() -> None:
    track = Track(stage("limit_data", bytes=1), stage("slow_close", delay=500))
    track.feed(b"ab", 0.0)
    track.until(2.0)
    assert track.out == [(0.0, b"a"), (0.5, End.CUT)]
