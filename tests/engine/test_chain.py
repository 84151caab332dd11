"""What every chain of toxics keeps, whichever they are."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wschaos.engine.stage import OVERHEAD, End, Stage
from pytest_wschaos.engine.toxics import BEYOND, STANDARD, TOXICS

from .track import Track, stage

KEEPS: dict[str, dict[str, float]] = {
    "noop": {},
    "latency": {"latency": 40, "jitter": 30},
    "bandwidth": {"rate": 20},
    "slow_close": {"delay": 70},
    "slicer": {"average_size": 9, "size_variation": 4, "delay": 900},
    "stall": {},
}
"""The toxics that lose nothing."""


def test_an_empty_chain_passes_everything_at_once() -> None:
    track = Track()
    track.feed(b"a", 1.0)
    track.feed(End.EOF, 2.0)
    assert track.out == [(1.0, b"a"), (2.0, End.EOF)]
    assert track.chain.next_at is None
    assert not track.chain.full


def test_toxics_add_up_in_the_order_in_which_they_came() -> None:
    track = Track(stage("latency", latency=100), stage("latency", latency=50), stage("slow_close", delay=1000))
    track.feed(b"a", 0.0)
    track.feed(End.EOF, 0.01)
    track.until(5.0)
    assert track.out == [(0.15, b"a"), (1.15, End.EOF)]


def test_a_late_run_does_not_make_the_next_toxic_late() -> None:
    track = Track(stage("latency", latency=100), stage("latency", latency=100))
    track.chain.feed(b"a", 0.0)
    track.now = 0.15
    track.chain.run(0.15)
    assert track.chain.next_at == pytest.approx(0.2)


def test_what_a_removed_toxic_held_goes_on_before_anything_newer() -> None:
    slow = stage("latency", latency=1000)
    track = Track(slow, stage("latency", latency=100))
    track.feed(b"a", 0.0)
    track.feed(b"b", 0.1)
    track.remove(slow, 0.2)
    track.feed(b"c", 0.2)
    track.until(1.0)
    assert track.out == [(0.3, b"a"), (0.3, b"b"), (0.3, b"c")]


def test_a_toxic_comes_behind_those_that_are_there() -> None:
    track = Track(stage("latency", latency=100))
    track.feed(b"a", 0.0)
    track.chain.add(stage("stall"), 0.05)
    track.until(1.0)
    assert track.out == []


def test_a_toxic_of_toxiproxys_that_comes_or_goes_lets_the_chunk_before_it_go() -> None:
    for kind in ("latency", "bandwidth", "slicer"):
        held = stage(kind, latency=5000) if kind == "latency" else stage(kind)
        if kind == "slicer":
            held.attributes.update(average_size=2, delay=10_000_000)
        track = Track(held)
        track.feed(b"ab", 0.0)
        track.feed(b"cd", 0.0)
        behind = stage("noop")
        track.chain.add(behind, 1.0)
        before = track.data
        assert before in (b"ab", b"abcd")  # of the slicer's second chunk the first piece is due then
        track.chain.remove(behind, 2.0)
        assert track.data == b"abcd"


def test_a_slow_close_and_a_timeout_begin_anew_when_their_neighbour_comes() -> None:
    track = Track(stage("slow_close", delay=1000))
    track.feed(End.EOF, 0.0)
    track.until(0.5)
    track.chain.add(stage("noop"), 0.5)
    track.until(5.0)
    assert track.out == [(1.5, End.EOF)]
    track = Track(stage("timeout", timeout=1000))
    track.until(0.5)
    track.chain.add(stage("noop"), 0.5)
    track.until(5.0)
    assert track.out == [(1.5, End.CUT)]


def spared(one: Stage) -> Stage:
    """A toxic whose draw is lost."""
    one.toxicity = 0.0
    return one


def test_what_lost_its_draw_is_passed_over_until_it_wins_one() -> None:
    held = spared(stage("stall"))
    track = Track(held)
    track.feed(b"a", 0.0)
    held.toxicity = 1.0
    track.update(held, 1.0)
    track.feed(b"b", 1.0)
    assert track.data == b"a"
    held.toxicity = 0.0
    track.update(held, 2.0)
    track.feed(b"c", 2.0)
    assert track.out == [(0.0, b"a"), (2.0, b"b"), (2.0, b"c")]
    track.update(held, 3.0)  # lost again
    assert not held.active


def test_what_has_begun_is_not_drawn_again() -> None:
    for one in (stage("blackhole"), stage("reset_peer", timeout=5000)):
        track = Track(one)
        track.feed(b"a", 0.0)
        one.toxicity = 0.0
        track.update(one, 1.0)
        track.feed(b"b", 1.0)
        assert one.active
        assert track.out == []


def test_a_spared_timeout_has_no_deadline_and_closes_at_removal() -> None:
    one = stage("timeout", timeout=1000)
    track = Track(one)
    one.toxicity = 0.0
    track.update(one, 0.5)
    track.until(5.0)
    track.feed(b"a")
    assert track.out == [(5.0, b"a")]
    track.remove(one, 6.0)
    assert track.out[-1] == (6.0, End.CUT)


def test_removing_what_is_not_there_changes_nothing() -> None:
    track = Track(stage("stall"))
    track.feed(b"a")
    track.remove(stage("stall"), 1.0)
    assert track.out == []


def test_the_source_is_not_read_while_a_toxic_is_full() -> None:
    held = stage("stall")
    track = Track(held)
    track.feed(bytes(held.capacity - OVERHEAD - 1))
    assert not track.chain.full
    track.feed(b"x")
    assert track.chain.full
    assert track.chain.next_at == math.inf
    track.remove(held, 1.0)
    assert not track.chain.full
    assert len(track.data) == held.capacity - OVERHEAD


@pytest.mark.parametrize("late", [False, True])
def test_an_idle_timeout_hears_what_the_peer_sends_whenever_it_came(late: bool) -> None:
    held, idle = stage("stall"), stage("idle_timeout", timeout=1000)
    track = Track(*((held,) if late else (idle, held)))
    if late:
        track.chain.add(idle, 0.0)
    assert track.chain.stages == [idle, held]


def test_every_toxic_is_registered_under_its_own_name() -> None:
    assert all(TOXICS[name].type == name for name in TOXICS)
    assert {kind.type for kind in STANDARD} == {
        "noop", "latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data",
    }  # fmt: skip
    assert {kind.type for kind in BEYOND} == {
        "blackhole", "stall", "idle_timeout", "lifetime", "reset_now", "frame", "handshake", "schedule",
    }  # fmt: skip


@pytest.mark.parametrize("kind", sorted(kind.type for kind in STANDARD))
def test_no_toxic_breaks_on_attributes_that_make_no_sense(kind: str) -> None:
    for value in (-1, 0, 1, 2**62):
        one = stage(kind, **dict.fromkeys(TOXICS[kind].defaults, value))
        track = Track(one)
        track.feed(b"abcdef", 0.0)
        track.update(one, 0.5)
        track.feed(End.EOF, 1.0)
        track.until(10.0)
        assert b"abcdef".startswith(track.data)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from("faruw"), max_size=60))
def test_nothing_is_lost_or_reordered_while_toxics_come_and_go(seed: int, steps: list[str]) -> None:
    rng = random.Random(seed)
    track = Track()
    present: list[Stage] = []
    sent = bytearray()
    for step in steps:
        match step:
            case "f":
                data = rng.randbytes(rng.randint(1, 300))
                sent += data
                track.feed(data)
            case "a":
                kind = rng.choice(sorted(KEEPS))
                one = stage(kind, seed=rng.getrandbits(32), **KEEPS[kind])
                one.toxicity = rng.choice((0.5, 1.0))
                present.append(one)
                track.chain.add(one, track.now)
            case "r" if present:
                track.remove(present.pop(rng.randrange(len(present))), track.now)
            case "u" if present:
                one = rng.choice(present)
                track.update(one, track.now, **{key: value * rng.random() for key, value in KEEPS[one.type].items()})
            case _:
                track.until(track.now + rng.random() / 10)
        assert bytes(sent).startswith(track.data)
    track.feed(End.EOF)
    for one in present:
        track.remove(one, track.now)
    assert track.data == sent
    assert track.out[-1][1] is End.EOF
    assert [at for at, _ in track.out] == sorted(at for at, _ in track.out)
    assert not any(one.held for one in present)
