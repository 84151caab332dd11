from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_wschaos.engine.errors import BadRequest
from pytest_wschaos.engine.stage import End

from .rig import Rig, eventually
from .track import Track, stage
from .wire import ANSWER, PING, TEXT, frame

ONCE = [{"at": 1000, "lasts": 500}]


def test_the_other_toxic_is_there_at_its_times_only() -> None:
    track = Track(
        stage("schedule", type="latency", attributes={"latency": 100}, times=[*ONCE, {"at": 3000, "lasts": 1}])
    )
    for at in (0.5, 1.2, 1.6, 2.9, 3.0, 3.5):
        track.feed(b"x", at)
    track.until(10.0)
    assert [at for at, _ in track.out] == [0.5, 1.3, 1.6, 2.9, 3.001, 3.5]
    assert track.chain.next_at is None


def test_it_goes_as_if_it_were_removed() -> None:
    track = Track(stage("schedule", type="stall", times=ONCE))
    track.feed(b"a", 1.1)
    track.feed(End.EOF, 1.2)
    track.until(10.0)
    assert track.out == [(1.5, b"a"), (1.5, End.EOF)]


def test_sums_of_floating_point_miss_no_instant() -> None:
    for number in range(1, 300):
        since = number * 0.1
        track = Track()
        track.now = since
        track.chain.add(stage("schedule", type="stall", times=ONCE, period=1700, since=since), since)
        track.feed(b"x", since + 1.2)
        track.feed(b"y", since + 1.7 + 1.2)
        track.until(since + 5)
        assert track.out == [(pytest.approx(since + 1.5), b"x"), (pytest.approx(since + 3.2), b"y")]


def test_times_may_overlap() -> None:
    track = Track(stage("schedule", type="stall", times=[{"at": 0, "lasts": 300}, {"at": 200, "lasts": 300}]))
    track.feed(b"x", 0.1)
    track.until(2.0)
    assert track.out == [(0.5, b"x")]


def test_a_period_repeats_it_for_ever() -> None:
    track = Track(stage("schedule", type="stall", times=[{"at": 0, "lasts": 300}], period=1000))
    for number in range(100):
        track.feed(b"x", number * 0.1)
    track.until(10.0)
    late = [round(at % 1, 6) for at, _ in track.out]
    assert late == [0.3, 0.3, 0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] * 10


def test_the_instants_are_those_of_the_schedule_and_not_of_the_connection() -> None:
    one = stage("schedule", type="stall", times=ONCE, since=-0.7)
    track = Track(one)
    track.feed(b"x", 0.4)
    track.until(5.0)
    assert track.out == [(0.8, b"x")]


def test_without_such_an_instant_they_count_from_the_connections_begin() -> None:
    one = stage("schedule", type="stall", times=ONCE)
    one.since = None
    track = Track()
    track.chain.add(one, 7.0)
    track.feed(b"x", 8.2)
    track.until(20.0)
    assert track.out == [(8.5, b"x")]


def test_data_that_comes_late_meets_what_was_due_before_it() -> None:
    one = stage("schedule", type="stall", times=ONCE)
    track = Track(one)
    track.now = 1.2  # the loop was held up
    track.chain.feed(b"x", 1.2)
    assert track.out == []
    track.until(3.0)
    assert track.out == [(1.5, b"x")]


def test_a_toxic_that_cuts_does_so_in_its_time() -> None:
    one = stage("schedule", type="reset_now", times=ONCE)
    track = Track(one)
    track.chain.add(stage("stall"), 0.0)
    track.until(5.0)
    assert track.out == [(1.0, End.RESET)]
    assert one.cuts


def test_what_met_a_blackhole_stays_dead() -> None:
    one = stage("schedule", type="blackhole", times=ONCE)
    track = Track(one)
    track.until(1.1)
    assert one.silences
    track.feed(b"x", 2.0)
    assert track.out == []
    track.remove(one, 3.0)
    track.feed(b"x", 4.0)
    assert track.out == []


def test_what_it_holds_counts() -> None:
    one = stage("schedule", type="bandwidth", attributes={"rate": 1}, times=[{"at": 0, "lasts": 60_000}])
    track = Track(one)
    assert (one.full, one.empty) == (False, True)
    track.feed(bytes(33 * 1024))
    assert (one.full, one.empty) == (True, False)
    track.remove(one, 1.0)
    assert len(track.data) == 33 * 1024


def test_an_update_is_a_new_schedule_from_the_same_begin() -> None:
    one = stage("schedule", type="stall", times=[{"at": 0, "lasts": 9000}])
    track = Track(one)
    track.feed(b"a", 0.5)
    track.update(one, 1.0, type="latency", attributes={"latency": 50}, times=[{"at": 2000, "lasts": 1000}])
    assert track.out == [(1.0, b"a")]
    track.feed(b"b", 1.5)
    track.feed(b"c", 2.5)
    track.until(9.0)
    assert track.out[1:] == [(1.5, b"b"), (2.55, b"c")]


def test_an_update_goes_on_with_what_is_there() -> None:
    one = stage("schedule", type="latency", attributes={"latency": 50}, times=[{"at": 0, "lasts": 9000}])
    track = Track(one)
    track.update(one, 1.0, attributes={"latency": 70})
    track.feed(b"x", 2.0)
    track.until(9.0)
    assert track.out == [(2.07, b"x")]


def test_frames_are_read_though_the_handshake_has_passed() -> None:
    one = stage("schedule", type="frame", attributes={"action": "drop", "opcodes": ["ping"]}, times=ONCE)
    track = Track(one)
    track.feed(ANSWER, 0.0)
    ping = frame(PING, b"1")
    track.feed(ping, 0.5)
    track.feed(ping + frame(TEXT, b"a"), 1.2)
    track.feed(ping, 2.0)
    assert track.data == ANSWER + ping + frame(TEXT, b"a") + ping
    assert one.acts == [("met", "frame"), ("drop", "ping")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"type": "latncy"}, "toxic schedule: type = 'latncy': must be one of bandwidth, blackhole"),
        ({"type": "schedule"}, "type = 'schedule': must be one of"),
        ({"attributes": {"latncy": 1}}, "attributes = .*: must be those of latency: latency, jitter; latncy is none"),
        ({"type": "noop", "attributes": {"a": 1}}, "must be those of noop: no attributes"),
        ({"attributes": {"latency": "1"}}, "field Toxic.attributes.attributes.latency of type int64"),
        ({"type": "frame", "attributes": {"action": "x"}}, "toxic schedule: toxic frame: action = 'x'"),
        ({"period": -1}, "period = -1: must be above 0 ms"),
        ({"times": []}, r"times = \[\]: must be a list of"),
        ({"times": [5]}, "times = 5: must be"),
        ({"times": [{"at": 1}]}, "times = {'at': 1}: must be"),
        ({"times": [{"at": 1, "lasts": "2"}]}, "times = .*: must be"),
        ({"times": [{"at": 1, "lasts": float("inf")}]}, "times = .*: must be"),
        ({"times": [{"at": -1, "lasts": 2}]}, "at 0 ms or later"),
        ({"times": [{"at": 1, "lasts": 0}]}, "last above 0 ms"),
        ({"times": [{"at": 600, "lasts": 500}], "period": 1000}, "end within the period"),
    ],
)
def test_what_makes_no_sense_is_named(attributes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        stage("schedule", **{"type": "latency", "times": ONCE, **attributes})


@pytest.mark.asyncio
async def test_flapping_on_live_and_new_connections(rig: Rig) -> None:
    loop = asyncio.get_running_loop()
    live, _ = await rig.pair()
    start = loop.time()
    attributes = {"type": "reset_now", "times": [{"at": 200, "lasts": 200}], "period": 400}
    rig.proxy.add_toxic("schedule", attributes=attributes)
    with pytest.raises(ConnectionResetError):
        await live.rest()
    assert loop.time() - start >= 0.19
    assert rig.notes.taps[0].cuts == [("schedule", "reset")]
    with pytest.raises(ConnectionResetError):  # as it comes, or at the next time
        await (await rig.client()).rest()
    rig.proxy.remove_toxic("schedule_downstream")
    while not rig.accepted.empty():
        rig.accepted.get_nowait()
    await rig.echo(*await rig.pair())
    await eventually(lambda: len(rig.proxy.connections) == 1, "the others are gone")
