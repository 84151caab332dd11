from __future__ import annotations

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_the_first_data_is_dropped_and_resets() -> None:
    track = Track(stage("reset_peer"))
    track.until(5.0)
    assert track.out == []
    track.feed(b"a", 5.0)
    assert track.out == [(5.0, End.CUT)]


def test_the_end_resets_too() -> None:
    track = Track(stage("reset_peer"))
    track.feed(End.EOF, 1.0)
    assert track.out == [(1.0, End.CUT)]


def test_the_timeout_counts_from_the_first_data() -> None:
    track = Track(stage("reset_peer", timeout=300))
    track.feed(b"a", 1.0)
    track.feed(b"b", 1.2)
    track.until(5.0)
    assert track.out == [(1.3, End.CUT)]


def test_update_does_not_change_a_reset_that_has_begun() -> None:
    one = stage("reset_peer", timeout=300)
    track = Track(one)
    track.feed(b"a", 1.0)
    track.update(one, 1.1, timeout=5000)
    track.until(5.0)
    assert track.out == [(1.3, End.CUT)]


def test_a_reset_that_has_begun_survives_removal_and_one_that_has_not_does_not() -> None:
    one = stage("reset_peer", timeout=300)
    assert not one.sticky
    track = Track(one)
    track.feed(b"a", 1.0)
    assert one.sticky
