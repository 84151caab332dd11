from __future__ import annotations

import pytest

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_silence_closes() -> None:
    track = Track(stage("idle_timeout", timeout=300))
    track.until(1.0)
    assert track.out == [(0.3, End.CUT)]


def test_traffic_passes_and_keeps_it_open() -> None:
    track = Track(stage("idle_timeout", timeout=300))
    for number in range(10):
        track.feed(b"x", number * 0.29)
    track.until(2.61 + 0.299)
    assert track.data == b"x" * 10
    assert End.CUT not in [item for _, item in track.out]
    track.until(5.0)
    assert track.out[-1] == (2.91, End.CUT)


@pytest.mark.parametrize("timeout", [0, -5])
def test_0_never_closes(timeout: int) -> None:
    track = Track(stage("idle_timeout", timeout=timeout))
    track.feed(b"x", 1.0)
    track.until(1e6)
    assert track.out == [(1.0, b"x")]


def test_a_stream_that_has_ended_is_not_idle() -> None:
    idle = stage("idle_timeout", timeout=300)
    track = Track(idle)
    track.feed(End.EOF, 0.1)
    track.update(idle, 0.2, timeout=100)
    track.until(5.0)
    assert track.out == [(0.1, End.EOF)]


def test_update_starts_it_anew() -> None:
    idle = stage("idle_timeout", timeout=5000)
    track = Track(idle)
    track.update(idle, 1.0, timeout=300)
    track.until(5.0)
    assert track.out == [(1.3, End.CUT)]


def test_removal_lets_the_connection_live() -> None:
    idle = stage("idle_timeout", timeout=300)
    track = Track(idle)
    track.feed(b"a", 0.1)
    track.remove(idle, 0.2)
    track.until(5.0)
    assert track.out == [(0.1, b"a")]
