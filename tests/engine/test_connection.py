"""Connections through the proxy, on real sockets: what arrives, how ends arrive, and what is left."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from pytest_wschaos.engine import connection
from pytest_wschaos.engine.connection import READ_SIZE, Connection
from pytest_wschaos.engine.stage import OVERHEAD

from .rig import PATIENCE, Peer, Rig, eventually, open_rig

pytestmark = pytest.mark.asyncio

BOTH = ("upstream", "downstream")


def connections(rig: Rig) -> list[Connection]:
    return list(rig.proxy.connections)


def add_both(rig: Rig, type: str, **attributes: float) -> None:
    for stream in BOTH:
        rig.proxy.add_toxic(type, stream=stream, attributes=attributes)


def remove_both(rig: Rig, type: str) -> None:
    for stream in BOTH:
        rig.proxy.remove_toxic(f"{type}_{stream}")


@contextmanager
def full_queue() -> Iterator[str]:
    """An address whose queue is full: a further SYN is not answered."""
    network = getattr(asyncio.get_running_loop(), "network", None)
    with ExitStack() as stack:
        if network is not None:
            network.host("full")
            stack.enter_context(network.unanswered("full"))
            yield "full:1"
            return
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"127.0.0.1:{full.getsockname()[1]}"


async def fill(peer: Peer, size: int = 64 * 1024 * 1024) -> None:
    """Send for as long as the other side takes it."""
    chunk = bytes(256 * 1024)
    for _ in range(size // len(chunk)):
        peer.writer.write(chunk)
        await peer.writer.drain()


async def stuck(rig: Rig, filling: asyncio.Task[None], side: str) -> None:
    """Wait until the proxy reads no more, and the sender has noticed."""

    def still() -> bool:
        return any(not getattr(one, side)._reading for one in connections(rig))

    await eventually(still, "the proxy stops reading")
    # The kernel's buffers fill up meanwhile; then the sender waits.
    taken = -1
    tap = rig.notes.taps[0]
    place, way = ("client", "up") if side == "up" else ("server", "down")
    while taken != len(tap.seen[place, way]):  # type: ignore[index]
        taken = len(tap.seen[place, way])  # type: ignore[index]
        await asyncio.sleep(0.05)
    assert not filling.done()


# --- data ---


async def test_data_passes_both_ways(rig: Rig) -> None:
    client, server = await rig.pair()
    await rig.echo(client, server)
    (tap,) = rig.notes.taps
    assert {key: bytes(data) for key, data in tap.seen.items()} == {
        ("client", "up"): b"ping",
        ("server", "up"): b"ping",
        ("client", "down"): b"ping",
        ("server", "down"): b"ping",
    }


async def test_what_the_client_sends_before_the_server_is_there_arrives(rig: Rig) -> None:
    client = await rig.client()
    client.writer.write(b"early")
    server = await asyncio.wait_for(rig.accepted.get(), PATIENCE)
    assert await server.receive(5) == b"early"


@pytest.mark.parametrize("seed", range(3))
async def test_10_megabytes_each_way_arrive_intact_while_toxics_come_and_go(seed: int) -> None:
    size = 10_000_000
    rng = random.Random(seed)
    data = {"up": rng.randbytes(size), "down": rng.randbytes(size)}
    choices: list[tuple[str, dict[str, Any]]] = [
        ("noop", {}),
        ("latency", {"latency": 3, "jitter": 3}),
        ("bandwidth", {"rate": 50_000}),
        ("bandwidth", {"rate": 0}),
        ("slicer", {"average_size": 10_000, "size_variation": 5_000, "delay": 50}),
        ("slow_close", {"delay": 20}),
        ("stall", {}),
        ("idle_timeout", {"timeout": 60_000}),
        ("limit_data", {"bytes": 10 * size}),
        ("lifetime", {"timeout": 60_000}),
        ("frame", {"action": "delay"}),
        ("schedule", {"type": "stall", "times": [{"at": 0, "lasts": 5}], "period": 20}),
    ]

    async def send(peer: Peer, way: str) -> None:
        for start in range(0, size, 100_000):
            while changes < start // 300_000:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await peer.send(data[way][start : start + 100_000])

    async def receive(peer: Peer) -> str:
        digest = hashlib.sha256()
        left = size
        while left:
            async with asyncio.timeout(PATIENCE):
                part = await peer.reader.read(min(left, 1 << 20))
            assert part, "the connection ended early"
            digest.update(part)
            left -= len(part)
        return digest.hexdigest()

    changes = 0
    async with open_rig(seed) as rig:
        client, server = await rig.pair()
        senders = asyncio.gather(send(client, "up"), send(server, "down"))
        receivers = asyncio.gather(receive(server), receive(client))
        while not receivers.done():
            names = [toxic.name for toxic in rig.proxy.toxics]
            if len(names) < 5 and rng.random() < 0.6:
                kind, attributes = rng.choice(choices)
                changes += 1
                rig.proxy.add_toxic(kind, name=str(changes), stream=rng.choice(BOTH), attributes=attributes)
            elif names:
                rig.proxy.remove_toxic(rng.choice(names))
            await asyncio.sleep(rng.random() * 0.004)
        await senders
        assert await receivers == [hashlib.sha256(data[way]).hexdigest() for way in ("up", "down")]
        assert changes >= 33
        assert bytes(rig.notes.taps[0].seen["server", "up"]) == data["up"]


async def test_latency_delays_each_way(rig: Rig) -> None:
    client, server = await rig.pair()
    add_both(rig, "latency", latency=50)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await rig.echo(client, server)
    assert loop.time() - start >= 0.1


async def test_latency_does_not_limit_the_rate(rig: Rig) -> None:
    client, server = await rig.pair()
    rig.proxy.add_toxic("latency", stream="upstream", attributes={"latency": 200})
    loop = asyncio.get_running_loop()
    start = loop.time()
    filling = asyncio.create_task(fill(client, 8 * 1024 * 1024))
    await server.receive(8 * 1024 * 1024)
    await filling
    assert 0.2 <= loop.time() - start < 1.2  # held to 1 MiB in 200 ms it would take 1.6 s


# --- ends ---


async def test_a_fin_is_passed_on_behind_the_data(rig: Rig) -> None:
    for first in (0, 1):
        pair = await rig.pair()
        closing, other = pair[first], pair[1 - first]
        await closing.send(b"last words")
        closing.close()
        assert await other.rest() == b"last words"
        await eventually(lambda: not connections(rig), "the proxy has let go of it")
        assert rig.notes.taps[-1].ends == [
            (("client", "server")[first], "peer", "fin"),
            (("server", "client")[first], "proxy", "fin"),
        ]


@pytest.mark.parametrize("first", [0, 1])
async def test_a_peers_reset_is_passed_on_as_fin(rig: Rig, first: int) -> None:
    pair = await rig.pair()
    await pair[first].reset()
    assert await pair[1 - first].rest() == b""
    assert rig.notes.taps[0].ends[0] == (("client", "server")[first], "peer", "reset")


async def test_there_is_no_half_close(rig: Rig) -> None:
    client, server = await rig.pair()
    client.writer.write_eof()
    assert await server.rest() == b""
    assert await client.rest() == b""


async def test_a_client_that_has_sent_a_fin_still_reads_what_comes_before_it_is_passed_on(rig: Rig) -> None:
    rig.proxy.add_toxic("slow_close", stream="upstream", attributes={"delay": 60_000})
    client, server = await rig.pair()
    await client.send(b"question")
    client.writer.write_eof()
    assert await server.receive(8) == b"question"
    await eventually(lambda: rig.notes.taps[0].ends, "the FIN has come")
    await server.send(b"answer")
    assert await client.receive(6) == b"answer"


@pytest.mark.parametrize("live", [False, True])
async def test_abort_resets_both_sides_of_live_and_idle_connections(rig: Rig, live: bool) -> None:
    client, server = await rig.pair()
    if live:
        await rig.echo(client, server)
        client.writer.write(b"under way")
    assert rig.proxy.cut("abort", "reset") == 1
    for peer in (client, server):
        with pytest.raises(ConnectionResetError):
            await peer.rest()
    (tap,) = rig.notes.taps
    assert tap.cuts == [("abort", "reset")]
    assert sorted(tap.ends) == [("client", "proxy", "reset"), ("server", "proxy", "reset")]
    await rig.echo(*await rig.pair())


async def test_disconnect_ends_both_sides_with_a_fin(rig: Rig) -> None:
    client, server = await rig.pair()
    await rig.echo(client, server)
    assert rig.proxy.cut("disconnect", "fin") == 1
    assert await client.rest() == b""
    assert await server.rest() == b""
    assert rig.proxy.cut("disconnect", "fin") == 0
    assert rig.notes.taps[0].cuts == [("disconnect", "fin")]


async def test_stopping_ends_all_and_starting_again_keeps_the_port(rig: Rig) -> None:
    client, server = await rig.pair()
    listen = rig.proxy.listen
    rig.proxy.stop()
    assert await client.rest() == await server.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await rig.client()
    await rig.proxy.start()
    assert rig.proxy.listen == listen
    await rig.echo(*await rig.pair())


async def test_a_latency_may_be_removed_after_the_connections_that_it_holds_data_of_were_cut(rig: Rig) -> None:
    client, server = await rig.pair()
    rig.proxy.add_toxic("latency", name="slow", stream="downstream", attributes={"latency": 60_000})
    await server.send(b"held")
    await eventually(lambda: rig.notes.taps[0].seen["server", "down"], "the proxy has it")
    assert rig.proxy.cut("disconnect", "fin") == 1
    rig.proxy.remove_toxic("slow")
    assert await client.rest() == b""
    assert not rig.notes.taps[0].seen["client", "down"]


async def test_what_toxics_hold_is_lost_when_the_proxy_stops(rig: Rig) -> None:
    client, server = await rig.pair()
    rig.proxy.add_toxic("stall", stream="upstream")
    await client.send(b"held")
    client.close()
    await eventually(lambda: rig.notes.taps[0].ends, "the FIN is held too")
    rig.proxy.stop()
    assert await server.rest() == b""


async def test_a_connection_whose_ends_are_held_ends_when_the_proxy_stops(rig: Rig) -> None:
    client, server = await rig.pair()
    add_both(rig, "stall")
    client.writer.write_eof()
    server.writer.write_eof()
    await eventually(lambda: len(rig.notes.taps[0].ends) == 2, "both ends are held")
    rig.proxy.stop()
    assert await client.rest() == await server.rest() == b""
    await eventually(lambda: not connections(rig), "the connection is forgotten")
    assert rig.notes.taps[0].cuts == []


@pytest.mark.parametrize("live", [False, True])
async def test_reset_peer_resets_connections_that_open_with_it_once_data_comes(rig: Rig, live: bool) -> None:
    if live:
        client, server = await rig.pair()
    rig.proxy.add_toxic("reset_peer", stream="upstream")
    if not live:
        client, server = await rig.pair()
    await server.send(b"x")
    await client.receive(1)
    await client.send(b"y")
    if live:  # as in Toxiproxy
        assert await client.rest() == b""
    else:
        with pytest.raises(ConnectionResetError):
            await client.rest()
    assert rig.notes.taps[0].cuts == [("reset_peer", "fin" if live else "reset")]
    assert rig.notes.taps[0].seen["server", "up"] == b""


async def test_a_reset_that_has_begun_waits_its_time_though_the_toxic_is_removed(rig: Rig) -> None:
    rig.proxy.add_toxic("reset_peer", stream="upstream", attributes={"timeout": 100})
    client, _ = await rig.pair()
    loop = asyncio.get_running_loop()
    start = loop.time()
    await client.send(b"y")
    await eventually(lambda: rig.notes.taps[0].seen["client", "up"], "the data has come")
    rig.proxy.remove_toxic("reset_peer_upstream")
    with pytest.raises(ConnectionResetError):
        await client.rest()
    assert loop.time() - start >= 0.1


async def test_timeout_closes_a_silent_connection_and_tells_which_fault_it_was(rig: Rig) -> None:
    client, server = await rig.pair()
    rig.proxy.add_toxic("timeout", attributes={"timeout": 30})
    assert await client.rest() == b""
    assert await server.rest() == b""
    assert rig.notes.taps[0].cuts == [("timeout", "fin")]


async def test_limit_data_delivers_what_it_passes(rig: Rig) -> None:
    rig.proxy.add_toxic("limit_data", attributes={"bytes": 100_000})
    client, server = await rig.pair()
    server.writer.write(bytes(300_000))
    assert len(await client.rest()) == 100_000


# --- blackhole ---


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("first", [0, 1])
async def test_a_blackhole_hides_data_and_ends_and_outlives_its_removal(rig: Rig, end: str, first: int) -> None:
    pair = await rig.pair()
    dying, other = pair[first], pair[1 - first]
    await rig.echo(*pair)
    add_both(rig, "blackhole")
    await dying.send(b"into the void")
    await other.send(b"into the void")
    remove_both(rig, "blackhole")
    if end == "fin":
        dying.close()
    else:
        await dying.reset()
    await eventually(lambda: rig.notes.taps[0].ends, "the proxy has seen the end")
    await rig.echo(*await rig.pair())  # new connections work
    await other.send(b"still there?")
    await eventually(lambda: rig.notes.taps[0].seen[("server", "client")[first], ("down", "up")[first]], "it came")
    assert other.silent
    tap = rig.notes.taps[0]
    assert tap.ends == [(("client", "server")[first], "peer", end)]
    assert tap.seen["server", "up"] == tap.seen["client", "down"] == b"ping"


async def test_a_connection_whose_ends_were_hidden_is_let_go_when_both_have_come(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HIDDEN", 0.05)
    client, server = await rig.pair()
    add_both(rig, "blackhole")
    client.close()
    await eventually(lambda: rig.notes.taps[0].ends, "the client's end")
    assert connections(rig)
    server.close()
    await eventually(lambda: not connections(rig), "the connection is forgotten")


@pytest.mark.parametrize("dead", ["upstream", "downstream", "both"])
async def test_a_hidden_end_is_not_told_by_the_other_ones_half_close(rig: Rig, dead: str) -> None:
    client, server = await rig.pair()
    for stream in ("upstream", "downstream"):
        if dead in (stream, "both"):
            rig.proxy.add_toxic("blackhole", stream=stream)
    client.writer.write_eof()
    server.writer.write_eof()
    await eventually(lambda: len(rig.notes.taps[0].ends) >= 2, "both ends")
    await asyncio.sleep(0.05)  # nothing must come
    hidden = {"upstream": [server], "downstream": [client], "both": [client, server]}[dead]
    assert all(peer.silent for peer in hidden)


async def test_ends_that_a_latency_held_are_let_go_though_a_blackhole_swallows_them(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HIDDEN", 0.05)
    client, server = await rig.pair()
    add_both(rig, "latency", latency=60_000)
    await client.send(b"x")
    await server.send(b"x")
    client.close()
    server.close()
    await eventually(lambda: len(rig.notes.taps[0].ends) == 2, "both ends")
    add_both(rig, "blackhole")
    remove_both(rig, "latency")
    await eventually(lambda: not connections(rig), "the connection is forgotten")


async def test_a_blackhole_one_way_leaves_the_other(rig: Rig) -> None:
    client, server = await rig.pair()
    rig.proxy.add_toxic("blackhole", stream="upstream")
    await client.send(b"lost")
    await server.send(b"heard")
    assert await client.receive(5) == b"heard"
    server.close()
    assert await client.rest() == b""
    assert rig.notes.taps[0].seen["server", "up"] == b""


async def test_a_blackhole_for_new_connections_spares_the_live_ones(rig: Rig) -> None:
    old = await rig.pair()
    rig.proxy.add_toxic("blackhole", stream="upstream", connections={"every": 1})
    client, server = await rig.pair()
    await client.send(b"lost")
    await eventually(lambda: rig.notes.taps[1].seen["client", "up"], "it has come to the proxy")
    await rig.echo(*old)
    assert server.silent


async def test_abort_reaches_a_connection_that_a_blackhole_hides(rig: Rig) -> None:
    client, server = await rig.pair()
    add_both(rig, "blackhole")
    rig.proxy.cut("abort", "reset")
    for peer in (client, server):
        with pytest.raises(ConnectionResetError):
            await peer.rest()


# --- stall, back-pressure ---


async def test_a_stall_holds_data_and_ends_and_releases_them_in_order(rig: Rig) -> None:
    client, server = await rig.pair()
    add_both(rig, "stall")
    for number in range(10):
        await client.send(bytes([number]) * 1000)
        await server.send(bytes([100 + number]) * 1000)
    client.writer.write_eof()
    await eventually(lambda: rig.notes.taps[0].ends, "the FIN has come to the proxy")
    assert client.silent
    assert server.silent
    remove_both(rig, "stall")
    assert await server.rest() == b"".join(bytes([number]) * 1000 for number in range(10))
    assert (await client.rest()) in (b"", b"".join(bytes([100 + number]) * 1000 for number in range(10)))


async def test_a_stall_is_bounded_and_the_sender_waits(rig: Rig) -> None:
    client, server = await rig.pair()
    rig.proxy.add_toxic("stall", stream="upstream")
    filling = asyncio.create_task(fill(client))
    await stuck(rig, filling, "up")
    (stage,) = connections(rig)[0].up.chain.stages
    assert stage.capacity <= stage.held < stage.capacity + READ_SIZE + OVERHEAD
    assert server.silent
    rig.proxy.remove_toxic("stall_upstream")
    await server.receive(64 * 1024 * 1024)
    await filling


@pytest.mark.parametrize("first", [0, 1])
async def test_a_peer_that_does_not_read_stops_the_sender(rig: Rig, first: int) -> None:
    pair = await rig.pair()
    sender, reader = pair[first], pair[1 - first]
    reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
    filling = asyncio.create_task(fill(sender))
    await stuck(rig, filling, ("up", "down")[first])
    target = (connections(rig)[0].server, connections(rig)[0].client)[first]
    assert target._transport is not None
    assert target._transport.get_write_buffer_size() <= 64 * 1024 + READ_SIZE
    other = await rig.pair()
    loop = asyncio.get_running_loop()
    start = loop.time()
    await rig.echo(*other)
    assert loop.time() - start < 0.5  # one slow connection does not delay another
    reader.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await reader.receive(64 * 1024 * 1024)
    await filling


async def test_toxics_can_be_removed_while_a_peer_does_not_read(rig: Rig) -> None:
    client, server = await rig.pair()
    add_both(rig, "latency", latency=5)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    filling = asyncio.create_task(fill(server))
    await stuck(rig, filling, "down")
    remove_both(rig, "latency")
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await client.receive(64 * 1024 * 1024)
    await filling


@pytest.mark.parametrize("deleted", [False, True])
async def test_nothing_is_left_where_a_peer_never_reads(deleted: bool) -> None:
    async with open_rig() as rig:
        client, server = await rig.pair()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        filling = asyncio.create_task(fill(server))
        await stuck(rig, filling, "down")
        (connection,) = connections(rig)
        if deleted:
            await rig.engine.delete(rig.proxy.name)
        else:
            rig.proxy.stop()
        with suppress(OSError):
            await filling
        await eventually(lambda: not connection.server.connected, "the server's side is gone")
        # The client's may still take what is on its way; but not beyond the engine's end.
        assert connection.client.connected
        rig.engine.stop()
        await eventually(lambda: not connection.client.connected, "the client's side is gone")
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionResetError):
            await client.rest()


# --- idle_timeout ---


async def test_idle_timeout_cuts_only_idle_connections(rig: Rig) -> None:
    busy, idle = await rig.pair(), await rig.pair()
    add_both(rig, "idle_timeout", timeout=300)
    loop = asyncio.get_running_loop()
    start = loop.time()
    cut = asyncio.create_task(idle[0].rest())
    while not cut.done() or loop.time() - start < 0.6:
        await rig.echo(*busy)
        await asyncio.sleep(0.01)
    assert await cut == await idle[1].rest() == b""
    assert [tap.cuts for tap in rig.notes.taps] == [[], [("idle_timeout", "fin")]]
    remove_both(rig, "idle_timeout")
    await rig.echo(*busy)


@pytest.mark.parametrize("stream", BOTH)
async def test_idle_timeout_counts_its_own_direction(rig: Rig, stream: str) -> None:
    client, server = await rig.pair()
    talker, listener = (server, client) if stream == "upstream" else (client, server)
    loop = asyncio.get_running_loop()
    start = loop.time()
    rig.proxy.add_toxic("idle_timeout", stream=stream, attributes={"timeout": 150})
    while not rig.notes.taps[0].cuts:
        talker.writer.write(b"x")
        await asyncio.sleep(0.005)
        assert loop.time() - start < PATIENCE
    assert loop.time() - start >= 0.15
    assert (await listener.rest()).strip(b"x") == b""


# --- toxics of many connections ---


async def test_an_update_that_ends_connections_reaches_all_of_them(rig: Rig) -> None:
    rig.proxy.add_toxic("slow_close", stream="upstream", attributes={"delay": 60_000})
    pairs = [await rig.pair() for _ in range(5)]
    for client, _ in pairs:
        client.close()
    await eventually(lambda: all(tap.ends for tap in rig.notes.taps), "all FINs have come")
    rig.proxy.update_toxic("slow_close_upstream", attributes={"delay": 0})
    for _, server in pairs:
        assert await server.rest() == b""


async def test_removing_a_timeout_closes_every_connection(rig: Rig) -> None:
    pairs = [await rig.pair() for _ in range(5)]
    rig.proxy.add_toxic("timeout")
    rig.proxy.remove_toxic("timeout_downstream")
    for client, server in pairs:
        assert await client.rest() == await server.rest() == b""


async def test_toxicity_is_drawn_for_each_connection_and_is_the_same_for_a_seed() -> None:
    async def run(seed: int) -> list[bool]:
        async with open_rig(seed) as rig:
            for _ in range(20):
                await rig.pair()
            rig.proxy.add_toxic("noop", toxicity=0.5)
            for _ in range(20):
                await rig.pair()
            return [stage.active for stages in rig.proxy.connections.values() for stage in stages.values()]

    first, again, other = await run(1), await run(1), await run(2)
    assert 3 <= sum(first[:20]) <= 17
    assert 3 <= sum(first[20:]) <= 17
    assert first == again != other


async def test_toxicity_0_and_1_are_certain(rig: Rig) -> None:
    await rig.pair()
    rig.proxy.add_toxic("noop", toxicity=0)
    rig.proxy.add_toxic("latency", toxicity=1)
    await rig.pair()
    for stages in rig.proxy.connections.values():
        assert {name: stage.active for name, stage in stages.items()} == {
            "noop_downstream": False,
            "latency_downstream": True,
        }


async def test_a_cut_of_a_connection_that_was_just_reset_is_no_error(rig: Rig) -> None:
    client, server = await rig.pair()
    (live,) = connections(rig)
    live.client.read(False)
    await client.reset()
    await asyncio.sleep(0.02)  # the RST has come, and is not read
    rig.proxy.cut("disconnect", "fin")
    assert await server.rest() == b""
    await eventually(lambda: not connections(rig), "the connection is forgotten")


# --- the upstream ---


@pytest.mark.parametrize(
    "upstream", ["127.0.0.1:1", "no-port", "a..b:80", f"{'x' * 70}.example:80", "127.0.0.1:²", "127.0.0.1:65536"]
)
async def test_an_upstream_that_is_not_there_ends_the_clients_connection(rig: Rig, upstream: str) -> None:
    rig.proxy.upstream = upstream
    client = await rig.client()
    assert await client.rest() == b""
    (tap,) = rig.notes.taps
    assert len(tap.errors) == 1
    assert upstream in tap.errors[0]
    await eventually(lambda: not connections(rig), "the connection is forgotten")


async def test_a_client_that_has_sent_already_is_reset(rig: Rig) -> None:
    rig.proxy.upstream = "127.0.0.1:1"
    if hasattr(asyncio.get_running_loop(), "network"):
        client = await rig.client()
        client.writer.write(b"GET / HTTP/1.1\r\n")
    else:
        sock = socket.create_connection(rig.proxy.address)
        sock.sendall(b"GET / HTTP/1.1\r\n")  # before the loop can accept it
        client = Peer(*await asyncio.open_connection(sock=sock))
    with pytest.raises(ConnectionResetError):
        await client.rest()


@pytest.mark.parametrize("toxic", ["blackhole", None])
async def test_a_toxic_may_hide_that_the_upstream_is_not_there(rig: Rig, toxic: str | None) -> None:
    if toxic:
        rig.proxy.add_toxic(toxic)
    rig.proxy.upstream = "127.0.0.1:1"
    client = await rig.client()
    await eventually(lambda: rig.notes.taps and rig.notes.taps[0].errors, "the upstream was tried")
    await asyncio.sleep(0.05)  # nothing must come
    assert client.silent is bool(toxic)


@pytest.mark.deviation("a client that leaves before its upstream is connected")
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_while_the_upstream_is_dialled_is_gone(rig: Rig, reset: bool) -> None:
    with full_queue() as address:
        rig.proxy.upstream = address
        client = await rig.client()
        await eventually(lambda: connections(rig) and connections(rig)[0].dialling, "it is dialled")
        if reset:
            await client.reset()
        else:
            client.close()
        await eventually(lambda: not connections(rig), "the connection is forgotten")
        assert rig.notes.taps[0].ends == [("client", "peer", "reset" if reset else "fin")]


async def test_what_a_client_sends_early_is_bounded_and_arrives(rig: Rig) -> None:
    upstream = rig.proxy.upstream
    with full_queue() as address:
        rig.proxy.upstream = address
        early = await rig.client()
        filling = asyncio.create_task(fill(early))
        await eventually(lambda: rig.notes.taps, "it is accepted")
        seen = rig.notes.taps[0].seen["client", "up"]
        await eventually(lambda: len(seen) >= connection.EARLY, "something is read early")
        await asyncio.sleep(0.05)  # no more must be read
        assert len(seen) < connection.EARLY + READ_SIZE
        filling.cancel()
        rig.proxy.stop()
    await rig.proxy.start()
    rig.proxy.upstream = upstream
    client = await rig.client()
    client.writer.write(b"early")
    client.writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        server = await rig.accepted.get()
    assert await server.rest() == b"early"


async def test_what_a_client_sends_early_stops_it_where_a_toxic_holds_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.proxy.add_toxic("bandwidth", name="closed", stream="upstream")
    connect = rig.proxy._connect

    def seen() -> int:
        return len(rig.notes.taps[0].seen["client", "up"])

    async def late(one: connection.Connection) -> None:
        await eventually(lambda: seen() >= connection.EARLY, "something is read early")
        await connect(one)

    monkeypatch.setattr(rig.proxy, "_connect", late)
    client = await rig.client()
    filling = asyncio.create_task(fill(client, 8 * 1024 * 1024))
    async with asyncio.timeout(PATIENCE):
        server = await rig.accepted.get()
    await eventually(lambda: connections(rig)[0].server.connected, "the server is connected")
    await asyncio.sleep(0.05)  # no more must be read
    assert seen() < connection.EARLY + 2 * READ_SIZE
    rig.proxy.remove_toxic("closed")
    await server.receive(8 * 1024 * 1024)
    await filling


async def test_stopping_while_the_upstream_is_dialled_leaves_nothing(rig: Rig) -> None:
    with full_queue() as address:
        rig.proxy.upstream = address
        client = await rig.client()
        await eventually(lambda: connections(rig) and connections(rig)[0].dialling, "it is dialled")
        rig.proxy.stop()
        assert await client.rest() == b""
        await eventually(lambda: not connections(rig), "the connection is forgotten")
        assert rig.notes.taps[0].errors == []


@pytest.mark.wschaos(clock="real, hybrid")  # the kernel accepts before the proxy does
@pytest.mark.parametrize("turns", range(8))
async def test_a_client_that_connects_while_the_proxy_stops_does_not_slip_through(rig: Rig, turns: int) -> None:
    with socket.socket() as client:
        client.connect(rig.proxy.address)
        for _ in range(turns):
            await asyncio.sleep(0)
        rig.proxy.stop()
        client.setblocking(False)
        with suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    await eventually(lambda: not connections(rig), "it is not let through")
