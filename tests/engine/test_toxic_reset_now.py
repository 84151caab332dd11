from __future__ import annotations

import asyncio

import pytest

from pytest_wschaos.engine.stage import End

from .rig import Rig, eventually
from .track import Track, stage


def test_it_waits_for_nothing() -> None:
    track = Track(stage("stall"), stage("reset_now"))
    track.until(0.0)
    assert track.out == [(0.0, End.RESET)]


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_live_and_idle_connections_and_each_new_one_are_reset(rig: Rig, stream: str) -> None:
    pairs = [await rig.pair(), await rig.pair()]
    await rig.echo(*pairs[0])
    rig.proxy.add_toxic("stall", stream=stream)
    rig.proxy.add_toxic("reset_now", stream=stream)
    for peer in (peer for pair in pairs for peer in pair):
        with pytest.raises(ConnectionResetError):
            await peer.rest()
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await (await rig.client()).rest()
    assert rig.accepted.empty()
    assert [tap.cuts for tap in rig.notes.taps] == [[("reset_now", "reset")]] * 5
    await eventually(lambda: not rig.proxy.connections, "all are gone")
    rig.proxy.remove_toxic(f"reset_now_{stream}")
    rig.proxy.remove_toxic(f"stall_{stream}")
    await rig.echo(*await rig.pair())


@pytest.mark.asyncio
async def test_every_second_one_to_come(rig: Rig) -> None:
    live, server = await rig.pair()
    rig.proxy.add_toxic("reset_now", connections={"every": 2})
    await rig.echo(live, server)
    for number in range(1, 5):
        if number % 2 == 0:
            with pytest.raises(ConnectionResetError):  # which may come before connect() has returned
                await (await rig.client()).rest()
        else:
            client = await rig.client()
            async with asyncio.timeout(5):
                await rig.echo(client, await rig.accepted.get())
