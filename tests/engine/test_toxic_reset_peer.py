from __future__ import annotations

from pytest_wschaos.engine.stage import End
from pytest_wschaos.engine.toxics.reset_peer import ResetPeer

from .track import Track, stage


def reset_peer(*, opened_with: bool = True, timeout: float = 0) -> ResetPeer:
    one = stage("reset_peer", timeout=timeout)
    assert isinstance(one, ResetPeer)
    one.opened_with = opened_with
    return one


def test_the_first_data_is_dropped_and_resets() -> None:
    track = Track(reset_peer())
    track.until(5.0)
    assert track.out == []
    track.feed(b"a", 5.0)
    assert track.out == [(5.0, End.RESET)]


def test_the_end_resets_too() -> None:
    track = Track(reset_peer())
    track.feed(End.EOF, 1.0)
    assert track.out == [(1.0, End.RESET)]


def test_a_connection_that_was_open_before_is_closed_instead() -> None:
    track = Track(reset_peer(opened_with=False))
    track.feed(b"a", 1.0)
    assert track.out == [(1.0, End.CUT)]


def test_the_timeout_counts_from_the_first_data() -> None:
    track = Track(reset_peer(timeout=300))
    track.feed(b"a", 1.0)
    track.feed(b"b", 1.2)
    track.until(5.0)
    assert track.out == [(1.3, End.RESET)]


def test_update_does_not_change_a_reset_that_has_begun() -> None:
    one = reset_peer(timeout=300)
    track = Track(one)
    track.feed(b"a", 1.0)
    track.update(one, 1.1, timeout=5000)
    track.until(5.0)
    assert track.out == [(1.3, End.RESET)]


def test_a_reset_that_has_begun_survives_removal_and_one_that_has_not_does_not() -> None:
    one = reset_peer(timeout=300)
    assert not one.sticky
    track = Track(one)
    track.feed(b"a", 1.0)
    assert one.sticky
