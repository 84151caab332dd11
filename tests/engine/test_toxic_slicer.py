from __future__ import annotations

import pytest

from pytest_wschaos.engine.stage import End

from .track import Track, stage


def sizes(track: Track) -> list[int]:
    return [len(item) for _, item in track.out if isinstance(item, bytes)]


def test_average_1_writes_each_byte() -> None:
    track = Track(stage("slicer", average_size=1))
    track.feed(bytes(range(24)), 0.0)
    assert sizes(track) == [1] * 24
    assert track.data == bytes(range(24))


def test_sizes_stay_within_the_variation() -> None:
    track = Track(stage("slicer", average_size=1024, size_variation=512))
    track.feed(bytes(480_000), 0.0)
    assert 240 <= len(sizes(track)) <= 720
    assert all(1 <= size <= 1536 for size in sizes(track))
    assert len(set(sizes(track))) > 10
    assert sum(sizes(track)) == 480_000


def test_pieces_leave_the_delay_apart_and_the_end_one_later() -> None:
    track = Track(stage("slicer", average_size=2, delay=10_000))
    track.feed(b"abcdefgh", 0.0)
    track.feed(End.EOF, 0.0)
    track.until(1.0)
    assert track.out == [(0.0, b"ab"), (0.01, b"cd"), (0.02, b"ef"), (0.03, b"gh"), (0.04, End.EOF)]


def test_the_delay_counts_between_chunks_too() -> None:
    track = Track(stage("slicer", average_size=2, delay=10_000))
    track.feed(b"ab", 0.0)
    track.feed(b"cd", 0.001)
    track.feed(b"ef", 1.0)
    track.until(2.0)
    assert [at for at, _ in track.out] == [0.0, 0.01, 1.0]


def test_a_chunk_is_halved_until_its_parts_are_small_enough() -> None:
    track = Track(stage("slicer", average_size=10))
    track.feed(bytes(100), 0.0)
    assert sizes(track) == [6, 6, 6, 7] * 4


def test_update_lets_the_chunk_on_its_way_go_and_counts_for_what_waits() -> None:
    slicer = stage("slicer", average_size=1, delay=1_000_000)
    track = Track(slicer)
    track.feed(b"abcd", 0.0)
    track.feed(b"efg", 0.0)
    track.feed(End.EOF, 0.0)
    track.update(slicer, 0.5, delay=100_000)
    track.until(5.0)
    assert [(at, item) for at, item in track.out if at < 0.55] == [(0.0, b"a"), (0.5, b"bcd"), (0.5, b"e")]
    assert track.out[-2:] == [(0.7, b"g"), (0.8, End.EOF)]


def test_removal_sends_the_rest() -> None:
    slicer = stage("slicer", average_size=1, delay=1_000_000)
    track = Track(slicer)
    track.feed(b"abcd", 0.0)
    track.remove(slicer, 0.5)
    assert track.data == b"abcd"
    assert track.out[-1][0] == 0.5


@pytest.mark.parametrize("average", [0, -3])
def test_no_average_size_leaves_the_data_whole(average: int) -> None:
    track = Track(stage("slicer", average_size=average))
    track.feed(b"abcd", 0.0)
    assert track.out == [(0.0, b"abcd")]


def test_a_variation_above_the_average_is_clamped() -> None:
    track = Track(stage("slicer", average_size=4, size_variation=100))
    track.feed(bytes(1000), 0.0)
    assert all(1 <= size <= 7 for size in sizes(track))
    assert sum(sizes(track)) == 1000


def test_the_sender_feels_the_delays() -> None:
    track = Track(stage("slicer", average_size=100, delay=1000))
    track.feed(bytes(33 * 1024), 0.0)
    assert track.chain.full
