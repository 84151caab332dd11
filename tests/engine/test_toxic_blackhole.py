from __future__ import annotations

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_data_and_every_end_are_swallowed() -> None:
    hole = stage("blackhole")
    track = Track(hole)
    for item in (b"a", End.EOF, End.CUT, End.RESET):
        track.feed(item, 1.0)
    track.until(1e9)
    assert track.out == []
    assert track.chain.next_at is None
    assert hole.held == 0


def test_a_connection_that_met_it_keeps_it() -> None:
    assert stage("blackhole").sticky
    assert not stage("stall").sticky


def test_what_was_under_way_is_lost_with_the_link() -> None:
    track = Track(stage("latency", latency=100))
    track.feed(b"a", 0.0)
    track.chain.add(stage("blackhole"), 0.05)
    track.until(1.0)
    assert track.out == []
