from __future__ import annotations

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_it_closes_the_moment_the_count_is_reached() -> None:
    track = Track(stage("limit_data", bytes=5))
    track.feed(b"abc", 1.0)
    assert track.out == [(1.0, b"abc")]
    track.feed(b"de", 2.0)
    assert track.out[1:] == [(2.0, b"de"), (2.0, End.CUT)]


def test_a_chunk_that_is_too_long_is_truncated() -> None:
    track = Track(stage("limit_data", bytes=5))
    track.feed(b"abcdefgh", 1.0)
    assert track.out == [(1.0, b"abcde"), (1.0, End.CUT)]


def test_0_closes_on_the_first_data_and_spares_the_idle() -> None:
    track = Track(stage("limit_data", bytes=0))
    track.until(100.0)
    assert track.out == []
    track.feed(b"a", 100.0)
    assert track.out == [(100.0, End.CUT)]


def test_the_count_is_kept_over_updates() -> None:
    limit = stage("limit_data", bytes=5)
    track = Track(limit)
    track.feed(b"abcd", 1.0)
    track.update(limit, 2.0, bytes=6)
    track.feed(b"efgh", 3.0)
    assert track.out == [(1.0, b"abcd"), (3.0, b"ef"), (3.0, End.CUT)]


def test_lowered_below_the_count_it_sends_nothing_more() -> None:
    limit = stage("limit_data", bytes=50)
    track = Track(limit)
    track.feed(b"abcd", 1.0)
    track.update(limit, 2.0, bytes=2)
    assert track.out == [(1.0, b"abcd")]
    track.feed(b"efgh", 3.0)
    assert track.out == [(1.0, b"abcd"), (3.0, End.CUT)]


def test_removal_lets_the_connection_live() -> None:
    limit = stage("limit_data", bytes=5)
    track = Track(limit)
    track.feed(b"abcd", 1.0)
    track.remove(limit, 2.0)
    track.feed(b"efgh", 3.0)
    assert track.data == b"abcdefgh"
    assert track.out[-1] == (3.0, b"efgh")
