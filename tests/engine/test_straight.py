"""Data that nobody looks at is handed straight from side to side; all holds that holds for the long way."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pytest_wschaos.engine.connection import Connection
from pytest_wschaos.engine.descriptor import HIGH, READ_SIZE, RelayTransport
from pytest_wschaos.engine.observer import SILENT_TAP
from pytest_wschaos.engine.relay import READ_AT_ONCE, relay_of
from pytest_wschaos.engine.toxics.stall import Stall

from .rig import PATIENCE, Peer, Rig, eventually, open_rig

pytestmark = pytest.mark.asyncio

BOTH = ("upstream", "downstream")
MIB = 1024 * 1024


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    """One whose connections nobody looks at."""
    async with open_rig(watched=False) as opened:
        yield opened


def connections(rig: Rig) -> list[Connection]:
    return list(rig.proxy.connections)


def passes(connection: Connection) -> list[bool]:
    """Whether each direction is handed straight on; on asyncio's transports none ever is."""
    transports = [side._transport for side in (connection.client, connection.server)]
    return [isinstance(one, RelayTransport) and one._peer is not None for one in transports]


def fast() -> bool:
    return relay_of(asyncio.get_running_loop()) is not None


async def send_all(peer: Peer, data: bytes, chunk: int = 100_000) -> None:
    for start in range(0, len(data), chunk):
        await peer.send(data[start : start + chunk])


async def receive_slowly(peer: Peer, size: int, rng: random.Random) -> str:
    """Read, with pauses in which all buffers fill up; returns the digest."""
    digest, left = hashlib.sha256(), size
    while left:
        async with asyncio.timeout(PATIENCE):
            part = await peer.reader.read(min(left, MIB))
        assert part, "the connection ended early"
        digest.update(part)
        left -= len(part)
        if rng.random() < 0.05:
            await asyncio.sleep(0.01)
    return digest.hexdigest()


async def fill(peer: Peer, size: int) -> None:
    """Send for as long as it is taken."""
    await send_all(peer, noise(size), 256 * 1024)


@functools.cache
def noise(size: int) -> bytes:
    """Data that shows any loss and any change of order."""
    return random.Random(0).randbytes(size)


async def stopped(rig: Rig, side: str) -> None:
    """Wait until the proxy reads no more from a side."""
    await eventually(lambda: not getattr(connections(rig)[0], side)._reading, "the proxy stops reading")


async def test_data_takes_the_short_way_while_nobody_looks(rig: Rig) -> None:
    client, server = await rig.pair()
    await rig.echo(client, server)
    (live,) = connections(rig)
    assert not live.watched
    assert passes(live) == [fast()] * 2
    rig.proxy.add_toxic("latency", stream="upstream", attributes={"latency": 1})
    assert passes(live) == [False, fast()]
    await rig.echo(client, server)
    rig.proxy.remove_toxic("latency_upstream")
    assert passes(live) == [fast()] * 2
    await rig.echo(client, server)
    client.close()
    assert await server.rest() == b""


async def test_a_tap_is_told_of_data_while_it_watches() -> None:
    async with open_rig() as rig:
        client, server = await rig.pair()
        (live,), (tap,) = connections(rig), rig.notes.taps
        assert live.watched
        await rig.echo(client, server, b"one")
        live.watched = False
        assert passes(live) == [fast()] * 2
        await rig.echo(client, server, b"two")
        live.watched = True
        assert passes(live) == [False] * 2
        await rig.echo(client, server, b"three")
        assert {bytes(seen) for seen in tap.seen.values()} == {b"onethree"}
        live.watched = False
        client.close()
        assert await server.rest() == b""
        assert tap.ends == [("client", "peer", "fin"), ("server", "proxy", "fin")]


@pytest.mark.parametrize("seed", range(3))
async def test_10_megabytes_each_way_arrive_intact_while_toxics_and_watchers_come_and_go(seed: int) -> None:
    size, rng = 10_000_000, random.Random(seed)
    data = {way: rng.randbytes(size) for way in ("up", "down")}
    choices: list[tuple[str, dict[str, float]]] = [
        ("noop", {}),
        ("latency", {"latency": 2, "jitter": 2}),
        ("stall", {}),
        ("slicer", {"average_size": 20_000, "size_variation": 5_000, "delay": 10}),
    ]
    async with open_rig(seed, watched=False) as rig:
        client, server = await rig.pair()
        (live,) = connections(rig)
        senders = asyncio.gather(send_all(client, data["up"]), send_all(server, data["down"]))
        receivers = asyncio.gather(
            receive_slowly(server, size, random.Random(seed)), receive_slowly(client, size, random.Random(-seed))
        )
        changes = 0
        while not receivers.done():
            names = [toxic.name for toxic in rig.proxy.toxics]
            changes += 1
            if not names:
                kind, attributes = rng.choice(choices)
                rig.proxy.add_toxic(kind, name=str(changes), stream=rng.choice(BOTH), attributes=attributes)
            else:
                rig.proxy.remove_toxic(rng.choice(names))
            live.watched = rng.random() < 0.2
            await asyncio.sleep(rng.random() * 0.002)
        await senders
        assert await receivers == [hashlib.sha256(data[way]).hexdigest() for way in ("up", "down")]
        assert changes >= 5


@pytest.mark.parametrize("first", [0, 1])
async def test_a_peer_that_does_not_read_stops_the_sender_and_delays_no_other(rig: Rig, first: int) -> None:
    size = 32 * MIB
    pair = await rig.pair()
    sender, reader = pair[first], pair[1 - first]
    reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
    filling = asyncio.create_task(fill(sender, size))
    await stopped(rig, ("up", "down")[first])
    target = (connections(rig)[0].server, connections(rig)[0].client)[first]
    assert target._transport is not None
    assert target._transport.get_write_buffer_size() <= HIGH + max(READ_AT_ONCE, READ_SIZE)
    other = await rig.pair()
    await rig.echo(*other)
    assert not filling.done()
    reader.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert await reader.receive(size) == noise(size)
    await filling


async def test_what_comes_after_a_toxic_stays_behind_what_it_let_go(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stall, "capacity", 16 * MIB)  # more than the kernel takes at once
    size = 24 * MIB
    client, server = await rig.pair()
    (live,) = connections(rig)
    server.writer.transport.pause_reading()  # type: ignore[attr-defined]
    rig.proxy.add_toxic("stall", stream="upstream")
    filling = asyncio.create_task(fill(client, size))
    await eventually(lambda: live.up.chain.full, "the toxic holds all that it may")
    rig.proxy.remove_toxic("stall_upstream")
    assert live.server._transport is not None
    assert live.server._transport.get_write_buffer_size() > 0
    assert passes(live) == [fast()] * 2
    server.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert await server.receive(size) == noise(size)
    await filling


@pytest.mark.parametrize("first", [0, 1])
async def test_an_end_comes_behind_all_data(rig: Rig, first: int) -> None:
    size = 8 * MIB
    pair = await rig.pair()
    closing, other = pair[first], pair[1 - first]
    other.writer.transport.pause_reading()  # type: ignore[attr-defined]
    filling = asyncio.create_task(fill(closing, size))
    await stopped(rig, ("up", "down")[first])
    other.writer.transport.resume_reading()  # type: ignore[attr-defined]
    received = asyncio.create_task(other.rest())
    await filling
    closing.writer.write_eof()
    assert await received == noise(size)
    await eventually(lambda: not connections(rig), "the proxy has let go of it")


@pytest.mark.parametrize("first", [0, 1])
async def test_a_reset_is_passed_on_as_fin(rig: Rig, first: int) -> None:
    pair = await rig.pair()
    await pair[first].reset()
    assert await pair[1 - first].rest() == b""
    await eventually(lambda: not connections(rig), "the proxy has let go of it")


@pytest.mark.parametrize("first", [0, 1])
async def test_writing_to_a_peer_that_was_reset_ends_the_connection(rig: Rig, first: int) -> None:
    pair = await rig.pair()
    (live,) = connections(rig)
    (live.server, live.client)[first].read(False)  # so that only writing can tell
    await pair[1 - first].reset()
    await asyncio.sleep(0.02)
    await pair[first].send(b"to nobody")
    await pair[first].send(b"to nobody")
    assert await pair[first].rest() == b""
    await eventually(lambda: not connections(rig), "the proxy has let go of it")


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_live_connections_can_be_cut(rig: Rig, how: str) -> None:
    client, server = await rig.pair()
    await rig.echo(client, server)
    assert rig.proxy.cut("abort", how) == 1
    client.writer.write(b"too late")
    for peer in (client, server):
        if how == "reset":
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        else:
            assert await peer.rest() == b""
    await rig.echo(*await rig.pair())


async def test_a_stopped_proxy_lets_go_of_a_peer_that_never_reads(rig: Rig) -> None:
    client, server = await rig.pair()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    filling = asyncio.create_task(fill(server, 32 * MIB))
    await stopped(rig, "down")
    rig.engine.stop()
    with pytest.raises(OSError, match=r"(?i)reset|broken|lost"):
        await filling
    await eventually(lambda: not rig.engine.proxies, "nothing is left")
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]


async def test_nothing_is_told_where_the_observer_wants_to_know_nothing(rig: Rig) -> None:
    await rig.pair()
    assert connections(rig)[0].tap is SILENT_TAP
