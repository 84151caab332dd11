from __future__ import annotations

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def test_noop_passes_everything_at_once() -> None:
    track = Track(stage("noop"))
    track.feed(b"a", 1.0)
    track.feed(End.EOF, 2.0)
    assert track.out == [(1.0, b"a"), (2.0, End.EOF)]
