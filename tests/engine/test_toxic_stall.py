from __future__ import annotations

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_data_and_end_are_held_and_released_in_order() -> None:
    stall = stage("stall")
    track = Track(stall)
    track.feed(b"a", 0.0)
    track.feed(b"b", 1.0)
    track.feed(End.EOF, 2.0)
    track.until(1e9)
    assert track.out == []
    track.remove(stall, 1e9)
    assert track.out == [(1e9, b"a"), (1e9, b"b"), (1e9, End.EOF)]


def test_released_data_passes_through_what_comes_after() -> None:
    stall = stage("stall")
    track = Track(stall, stage("latency", latency=100))
    track.feed(b"a", 0.0)
    track.remove(stall, 5.0)
    track.until(10.0)
    assert track.out == [(5.1, b"a")]
