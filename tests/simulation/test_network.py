"""The simulated network: what it refuses, loses, holds and delays, in exact virtual time."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from pytest_wschaos.simulation.loop import SimulatedLoop
from pytest_wschaos.simulation.network import Network
from pytest_wschaos.simulation.run import run

from .clocks import shown
from .sides import Side

T = TypeVar("T")
ADDRESS = ("server", 9000)


def network() -> Network:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop.network


def now() -> float:
    return asyncio.get_running_loop().time()


class Timed(Side):
    """Notes when, too."""

    def note(self, what: str, detail: object = None) -> None:
        self.notes.append((round(now(), 6), what, detail))
        self._changed.set()

    def has(self, what: str) -> bool:
        return any(note == what for _, note, _ in self.notes)

    @property
    def data(self) -> bytes:
        return b"".join(detail for _, note, detail in self.notes if note == "data")


class World:
    """A server by a name, and clients of it."""

    def __init__(self) -> None:
        self.network = network()
        self.network.host("server")
        self.accepted: list[Timed] = []
        self.came = asyncio.Event()

    def accept(self) -> Timed:
        self.accepted.append(Timed())
        self.came.set()
        return self.accepted[-1]

    async def listen(self) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(self.accept, *ADDRESS)

    async def connect(self) -> Timed:
        _, side = await asyncio.get_running_loop().create_connection(Timed, *ADDRESS)
        return side

    async def pair(self) -> tuple[Timed, Timed]:
        client = await self.connect()
        await self.came.wait()
        await self.accepted[-1].saw("made")
        return client, self.accepted[-1]

    async def attempt(self) -> object:
        """How long it takes to connect, and what comes of it."""
        begun = now()
        try:
            side = await self.connect()
        except OSError as error:
            return round(now() - begun, 6), shown(error)
        side.transport.close()
        return round(now() - begun, 6), "connected"


def simulate(main: Callable[[World], Coroutine[Any, Any, T]], seed: int = 0, **options: Any) -> T:
    async def whole() -> T:
        world = World()
        server = await world.listen()
        try:
            return await main(world)
        finally:
            server.close()

    return run(whole, seed=seed, **options)


# --- attempts ---


def test_ways_in_which_an_attempt_fails() -> None:
    async def main(world: World) -> list[object]:
        net = world.network
        told = [await world.attempt()]
        with net.refuse("server"):
            told.append(await world.attempt())
        with net.unreachable("server"):
            told.append(await world.attempt())
        with net.unanswered("server"):
            told.append(await world.attempt())
        with net.refuse("server", 9001):
            told.append(await world.attempt())
        return told

    assert simulate(main) == [
        (0, "connected"),
        (0, ("ConnectionRefusedError", 111)),
        (0, ("OSError", 113)),
        (127, ("TimeoutError", 110)),
        (0, "connected"),
    ]


def test_who_watches_refused_attempts_can_stop() -> None:
    async def main(world: World) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        refusals = loop.refusals()
        assert len(world.network.refused) == 1
        refusals.stop()
        refusals.stop()
        assert world.network.refused == []

    simulate(main)


def test_a_syn_is_repeated_until_it_is_answered() -> None:
    async def main(world: World) -> object:
        attempting = asyncio.create_task(world.attempt())
        with world.network.unanswered("server"):
            await asyncio.sleep(4)
        return await attempting

    assert simulate(main) == (7, "connected")


def test_an_address_without_a_host_is_unreachable_and_a_name_without_one_unknown() -> None:
    async def main(world: World) -> object:
        loop = asyncio.get_running_loop()
        told = []
        for host in ("10.99.99.99", "nobody"):
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await loop.create_connection(Timed, host, 80)
            told.append(shown(caught.value))
        return told

    assert simulate(main) == [("OSError", 113), ("gaierror", -2)]


def test_names_are_addresses() -> None:
    async def main(world: World) -> object:
        loop = asyncio.get_running_loop()
        client, server = await world.pair()
        ip = world.network.host("server")
        assert world.network.host("server") == ip != world.network.host("other")
        assert (await loop.getaddrinfo("server", 9000))[0][4] == (ip, 9000)
        assert await loop.getnameinfo((ip, 9000)) == (ip, "9000")
        names = [client.transport.get_extra_info(name) for name in ("peername", "sockname")]
        assert names == [server.transport.get_extra_info(name) for name in ("sockname", "peername")]
        assert names[0] == (ip, 9000)
        _, by_number = await loop.create_connection(Timed, ip, 9000)
        return len(world.accepted), by_number.has("made")

    assert simulate(main) == (2, True)


def test_a_listener_on_all_addresses_answers_on_each() -> None:
    async def main(world: World) -> object:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Timed, None, 8080)
        names = []
        for host in ("127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "localhost", "server", None):
            transport, _ = await loop.create_connection(Timed, host, 8080)
            names.append((transport.get_extra_info("peername")[0], transport.get_extra_info("sockname")[0]))
        server.close()
        return names

    assert simulate(main) == [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1"),
        ("::1", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
    ]


def test_ports() -> None:
    async def main(world: World) -> None:
        loop = asyncio.get_running_loop()
        one = await loop.create_server(Timed, "127.0.0.1", 0)
        two = await loop.create_server(Timed, "127.0.0.1", 0)
        ports = [server.sockets[0].getsockname()[1] for server in (one, two)]
        assert ports[0] != ports[1]
        for host in ("127.0.0.1", None):
            with pytest.raises(OSError, match=r"error while attempting to bind on address \(.*address already in use"):
                await loop.create_server(Timed, host, ports[0])
        # One of many that fails takes the others with it.
        with pytest.raises(OSError, match="already in use"):
            await loop.create_server(Timed, ["127.0.0.2", "127.0.0.1"], ports[0])
        await loop.create_server(Timed, "127.0.0.2", ports[0])
        one.close()
        await loop.create_server(Timed, "127.0.0.1", ports[0])
        third = await loop.create_server(Timed, "127.0.0.1", 0)
        assert third.sockets[0].getsockname()[1] not in ports

    simulate(main)


def test_clients_never_run_out_of_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wschaos.simulation.network.CLIENT_PORTS", range(65_500, 65_536))

    async def main(world: World) -> None:
        client, _ = await world.pair()
        world.accepted.clear()
        kept = client.transport.get_extra_info("sockname")[1]
        ports = set()
        for _ in range(100):
            sock = await world.network.connect((world.network.host("server"), 9000))
            ports.add(sock.getsockname()[1])
            sock.close()
            await asyncio.sleep(1)
            world.accepted.pop().transport.abort()
            await asyncio.sleep(1)
        assert kept not in ports
        assert ports == set(range(65_500, 65_536)) - {kept}

    simulate(main)


def test_a_real_socket_stands_for_a_listener() -> None:
    async def main(world: World) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
            server = await loop.create_server(Timed, sock=sock)
            assert server.sockets[0].getsockname() == address
            assert "SimulatedSocket" in repr(server)
            _, client = await loop.create_connection(Timed, *address)
            assert client.has("made")
            server.close()
            assert sock.fileno() == -1

    simulate(main)


def test_a_connected_socket_stands_for_a_connection() -> None:
    """As aiohttp does: it makes a socket, connects it with sock_connect(), and gives it to create_connection()."""

    async def main(world: World) -> object:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (world.network.host("server"), 9000))
        await asyncio.sleep(1)
        # What has come before the transport is there has waited.
        world.accepted[-1].transport.write(b"early")
        await asyncio.sleep(1)
        transport, client = await loop.create_connection(Timed, sock=sock)
        await client.saw("data")
        transport.close()
        await client.saw("lost")
        assert sock.fileno() == -1
        return client.notes

    assert simulate(main) == [(2, "made", None), (2, "data", b"early"), (2, "lost", None)]


def test_a_connected_socket_may_be_closed_after_the_run() -> None:
    loops = []

    async def main(world: World) -> socket.socket:
        loop = asyncio.get_running_loop()
        loops.append(weakref.ref(loop))
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (world.network.host("server"), 9000))
        return sock

    with simulate(main):
        gc.collect()
    with simulate(main) as sock:
        pass
    assert sock.fileno() == -1
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


def test_a_server_that_closes_resets_those_in_its_queue() -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=1)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Timed, "server", 9001)
        _, client = await loop.create_connection(Timed, "server", 9001)
        server.close()
        await client.saw("lost")
        return client.notes

    assert simulate(main) == [(2, "made", None), (4, "lost", ("ConnectionResetError", 104))]


def test_an_attempt_that_is_given_up_is_never_accepted() -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await world.connect()
        await asyncio.sleep(10)
        return len(world.accepted), len(world.network.connections)

    assert simulate(main) == (0, 0)


# --- links ---


def test_latency() -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=0.05)
        world.network.link("server", "down", latency=0.2)
        client, server = await world.pair()
        client.transport.write(b"one")
        await server.saw("data")
        server.transport.write(b"two")
        await client.saw("data")
        client.transport.close()
        await server.saw("lost")
        return client.notes, server.notes

    client, server = simulate(main)
    assert client == [(0.25, "made", None), (0.55, "data", b"two"), (0.55, "lost", None)]
    assert server == [(0.3, "made", None), (0.35, "data", b"one"), (0.6, "eof", None), (0.6, "lost", None)]


def test_jitter_keeps_the_order_and_depends_on_the_seed() -> None:
    async def main(world: World) -> list[float]:
        client, server = await world.pair()
        world.network.link("server", latency=0.1, jitter=0.1)
        for number in range(50):
            client.transport.write(bytes([number]))
            await asyncio.sleep(0.01)
        await server.got(50)
        assert server.data == bytes(range(50))
        return [at for at, what, _ in server.notes if what == "data"]

    times = simulate(main, seed=1)
    assert 0.1 <= times[0] <= 0.2
    assert max(times) <= 0.7
    assert len(set(times)) > 5
    assert simulate(main, seed=1) == times != simulate(main, seed=2)


def test_bandwidth() -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        world.network.link("server", "up", bandwidth=1000)
        client.transport.write(bytes(3000))
        client.transport.write(bytes(3000))
        await server.got(6000)
        return now()

    assert simulate(main) == 6


def test_what_a_bandwidth_lets_through_arrives_bit_by_bit() -> None:
    async def main(world: World) -> list[tuple[float, int]]:
        client, server = await world.pair()
        world.network.link("server", bandwidth=1000, latency=0.5)
        client.transport.write(bytes(200))
        client.transport.close()
        await server.saw("lost")
        return [(at, len(data)) for at, what, data in server.notes if what == "data"]

    assert simulate(main) == [(0.55, 50), (0.6, 50), (0.65, 50), (0.7, 50)]


@pytest.mark.parametrize(
    ("bandwidth", "takes", "pieces"), [(1, 100_000, 10_000), (1e9, 0.0001, 1), (float("inf"), 0, 1)]
)
def test_a_write_has_not_too_many_pieces(bandwidth: float, takes: float, pieces: int) -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        world.network.link("server", bandwidth=bandwidth)
        begun = now()
        client.transport.write(bytes(100_000))
        client.transport.close()
        await asyncio.sleep(2 * takes + 1)
        times = [at for at, what, _ in server.notes if what == "data"]
        assert len(server.data) == 100_000
        return round(times[-1] - begun, 6), len(times)

    assert simulate(main, time_limit=1e6) == (takes, pieces)


def test_a_full_connection_stops_its_writer_and_a_larger_one_lets_it_go_on() -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        world.network.link("server", capacity=1000)
        server.transport.pause_reading()
        client.transport.write(bytes(101_000))
        await asyncio.sleep(60)
        told: list[object] = [client.transport.get_write_buffer_size(), client.has("pause")]
        world.network.link("server", capacity=51_000)
        await asyncio.sleep(1)
        told.append(client.transport.get_write_buffer_size())
        server.transport.resume_reading()
        await client.saw("resume")
        await server.got(101_000)
        return told

    assert simulate(main) == [100_000, True, 50_000]


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"latency": -1}, "latency = -1: must be 0 s or more"),
        ({"jitter": float("inf")}, "jitter = inf"),
        ({"bandwidth": 0}, "bandwidth = 0: must be above 0 bytes per second, or None"),
        ({"capacity": 0}, "capacity = 0: must be above 0 bytes"),
        ({"lag": 1}, "no figure lag of a link: there are bandwidth, capacity, jitter, latency"),
    ],
)
def test_figures_that_cannot_be(figures: dict[str, Any], told: str) -> None:
    async def main(world: World) -> None:
        with pytest.raises(ValueError, match=told):
            world.network.link("server", **figures)

    simulate(main)


# --- faults ---


@pytest.mark.parametrize("way", ["up", "down", "both"])
def test_a_black_hole_swallows_one_way_and_its_ends(way: Any) -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        (connection,) = world.network.to("server")
        connection.blackhole(way)
        client.transport.write(b"up")
        server.transport.write(b"down")
        await asyncio.sleep(60)
        told = server.data, client.data
        client.transport.close()
        await asyncio.sleep(60)
        return told, server.has("lost")

    data = {"up": (b"", b"down"), "down": (b"up", b""), "both": (b"", b"")}
    assert simulate(main) == (data[way], way == "down")


def test_a_reset_from_in_between_ends_both_sides() -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        client.transport.write(b"lost with it")
        (connection,) = world.network.to("server", 9000)
        connection.reset()
        await client.saw("lost")
        await server.saw("lost")
        await asyncio.sleep(1)
        return client.notes[1:], server.notes[1:], list(world.network.to("server"))

    reset = [(0, "lost", ("ConnectionResetError", 104))]
    assert simulate(main) == (reset, reset, [])


def test_a_reset_waits_behind_nothing() -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        world.network.link("server", bandwidth=10_000, latency=0.1)
        client.transport.write(bytes(1_000_000))
        await asyncio.sleep(1)
        (connection,) = world.network.to("server")
        connection.reset()
        await client.saw("lost")
        await server.saw("lost")
        return client.notes[-1], server.notes[-1]

    reset = (1.1, "lost", ("ConnectionResetError", 104))
    assert simulate(main) == (reset, reset)


def test_what_is_held_arrives_at_once_and_in_order() -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        with world.network.hold("server"):
            client.transport.write(b"one ")
            late = asyncio.create_task(world.attempt())
            await asyncio.sleep(10)
            client.transport.write(b"two")
            client.transport.close()
            await asyncio.sleep(10)
            assert server.notes == [(0, "made", None)]
        await server.saw("lost")
        return server.notes[1:], await late

    assert simulate(main) == (
        [(20, "data", b"one two"), (20, "eof", None), (20, "lost", None)],
        (20, "connected"),
    )


def test_what_a_partition_loses_comes_with_tcps_next_repetition() -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        with world.network.partition("server"):
            client.transport.write(b"one")
            late = asyncio.create_task(world.attempt())
            await asyncio.sleep(10)
        client.transport.write(b" two")
        await server.got(7)
        return server.notes[1:], await late

    # Repeated 0.2, 0.4, 0.8 ... s apart: at 12.6 s; the SYN 1, 2, 4 ... s apart: at 15 s.
    assert simulate(main) == ([(12.6, "data", b"one two")], (15, "connected"))


@pytest.mark.parametrize(
    ("fault", "seconds", "connected", "made"),
    [
        # Who answers repeats it 1, 2, 4 ... s after it was lost at 1.5 s.
        ("partition", 60, 64.5, 65.5),
        ("partition", 200, ("TimeoutError", 110), None),
        ("hold", 60, 61.5, 62.5),
    ],
)
def test_a_fault_catches_a_handshake_that_is_under_way(fault: str, seconds: float, connected: Any, made: Any) -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=1)
        connecting = asyncio.create_task(world.connect())
        await asyncio.sleep(1.5)
        with getattr(world.network, fault)("server"):
            await asyncio.sleep(seconds)
        try:
            side = await connecting
        except OSError as error:
            assert now() == 201.5
            await asyncio.sleep(60)
            assert not world.network.connections
            return shown(error), (world.accepted[0].notes[0][0] if world.accepted else None)
        await asyncio.sleep(10)
        return side.notes[0][0], world.accepted[0].notes[0][0]

    assert simulate(main) == (connected, made)


def test_a_hold_costs_a_handshake_no_patience() -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=1)
        with world.network.hold("server"):
            attempting = asyncio.create_task(world.attempt())
            await asyncio.sleep(200)
        return await attempting

    assert simulate(main) == (201, "connected")


def test_a_handshake_that_is_swallowed_times_out() -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=1)
        attempting = asyncio.create_task(world.attempt())
        await asyncio.sleep(1.5)
        for connection in world.network.to("server"):
            connection.blackhole()
        return await attempting, len(world.accepted), len(world.network.connections)

    assert simulate(main) == ((127, ("TimeoutError", 110)), 0, 0)


def test_a_fault_catches_the_last_part_of_a_handshake() -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=1)
        connecting = asyncio.create_task(world.connect())
        await asyncio.sleep(2.5)
        with world.network.hold("server"):
            (await connecting).transport.write(b"behind it")
            await asyncio.sleep(60)
            assert not world.accepted
        await asyncio.sleep(10)
        return world.accepted[0].notes

    assert simulate(main) == [(62.5, "made", None), (62.5, "data", b"behind it")]


@pytest.mark.parametrize("at", [1.5, 2.5])
def test_a_reset_catches_a_handshake_that_is_under_way(at: float) -> None:
    async def main(world: World) -> object:
        world.network.link("server", latency=1)
        attempting = asyncio.create_task(world.attempt())
        connecting = asyncio.create_task(world.connect())
        await asyncio.sleep(at)
        for connection in world.network.to("server"):
            connection.reset()
        await asyncio.sleep(10)
        told = await attempting
        if at == 1.5:
            assert shown(connecting.exception()) == ("ConnectionRefusedError", 111)
        else:
            assert connecting.result().notes[1:] == [(3.5, "lost", ("ConnectionResetError", 104))]
        return told, len(world.accepted), len(world.network.connections)

    assert simulate(main) == ((2.5, ("ConnectionRefusedError", 111)) if at == 1.5 else (2, "connected"), 0, 0)


def test_faults_that_overlap_end_one_by_one() -> None:
    async def main(world: World) -> object:
        client, server = await world.pair()
        net = world.network
        with net.hold("server"):
            with net.partition("server"), net.partition("server"):
                client.transport.write(b"one")
                await asyncio.sleep(1)
            await asyncio.sleep(9)
            assert server.data == b""
        await server.saw("data")
        return server.notes[1:]

    assert simulate(main) == [(10, "data", b"one")]
