from __future__ import annotations

import asyncio

import pytest

from pytest_wschaos.engine.stage import End

from .rig import Rig, eventually
from .track import Track, stage


@pytest.mark.parametrize(("reset", "end"), [(False, End.CUT), (True, End.RESET)])
def test_traffic_does_not_keep_it(reset: bool, end: End) -> None:
    track = Track(stage("lifetime", timeout=1000, reset=reset))
    for number in range(12):
        track.feed(b"x", number * 0.1)
    assert track.out[10:] == [(1.0, b"x"), (1.0, end), (1.1, b"x")] or track.out[10:12] == [(1.0, end), (1.0, b"x")]
    assert [item for _, item in track.out].count(end) == 1


def test_0_never_ends_it() -> None:
    track = Track(stage("lifetime"))
    track.feed(b"x", 1e6)
    track.until(1e7)
    assert track.out == [(1e6, b"x")]


def test_an_update_counts_from_the_same_begin() -> None:
    one = stage("lifetime", timeout=5000)
    track = Track(one)
    track.update(one, 1.0, timeout=2000)
    track.until(9.0)
    assert track.out == [(2.0, End.CUT)]


def test_removal_lets_the_connection_live() -> None:
    one = stage("lifetime", timeout=1000)
    track = Track(one)
    track.remove(one, 0.5)
    track.until(9.0)
    assert track.out == []


def test_what_holds_data_does_not_hold_the_cut() -> None:
    track = Track(stage("lifetime", timeout=1000))
    track.chain.add(stage("stall"), 0.0)
    track.feed(b"x", 0.5)
    track.until(2.0)
    assert track.out == [(1.0, End.CUT)]


@pytest.mark.asyncio
@pytest.mark.parametrize("reset", [False, True])
async def test_a_busy_connection_ends_in_its_time(rig: Rig, reset: bool) -> None:
    loop = asyncio.get_running_loop()
    rig.proxy.add_toxic("lifetime", attributes={"timeout": 200, "reset": reset})
    start = loop.time()
    client, server = await rig.pair()
    while not rig.notes.taps[0].cuts:
        client.writer.write(b"x")
        await asyncio.sleep(0.01)
    assert loop.time() - start >= 0.19
    assert rig.notes.taps[0].cuts == [("lifetime", "reset" if reset else "fin")]
    for peer in (client, server):
        if reset:
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        else:
            await peer.rest()


@pytest.mark.asyncio
async def test_it_comes_to_live_connections_and_each_has_a_life_of_its_own(rig: Rig) -> None:
    loop = asyncio.get_running_loop()
    old, _ = await rig.pair()
    rig.proxy.add_toxic("lifetime", attributes={"timeout": 200})
    await asyncio.sleep(0.1)
    start = loop.time()
    young, _ = await rig.pair()
    await old.rest()
    await young.rest()
    assert loop.time() - start >= 0.19
    await eventually(lambda: not rig.proxy.connections, "both are gone")
