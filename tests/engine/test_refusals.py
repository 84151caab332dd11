"""Attempts that the kernel refuses are told, whichever way the client connects and whichever way we learn of it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress

import pytest
import pytest_asyncio

from pytest_wschaos.engine import freed_sockets
from pytest_wschaos.engine.freed_sockets import FreedSockets, attempted
from pytest_wschaos.engine.packets import Packets

from .rig import Rig, eventually, open_rig

# The kernel is watched: not on the simulated network.
pytestmark = [pytest.mark.asyncio, pytest.mark.wschaos(clock="real, hybrid")]

WAYS = [
    pytest.param(Packets, marks=pytest.mark.skipif(not Packets.supported(), reason="needs CAP_NET_RAW")),
    pytest.param(FreedSockets, marks=pytest.mark.skipif(not FreedSockets.supported(), reason="needs sock_diag")),
]


def only_for(host: str) -> Callable[[bytes], tuple[bytes, int] | None]:
    """What :func:`attempted` says, without the sockets of whoever else is busy on this machine meanwhile."""
    known = (socket.inet_aton(host), bytes(4))

    def mine(message: bytes) -> tuple[bytes, int] | None:
        return attempted(message) if message[40:44] in known else None  # the peer's address

    return mine


@pytest_asyncio.fixture(params=WAYS)
async def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    host = "127.0.0.1"
    if request.param is FreedSockets:
        host = "127." + ".".join(str(1 + byte % 250) for byte in os.urandom(3))
        monkeypatch.setattr(freed_sockets, "attempted", only_for(host))
        monkeypatch.setattr(freed_sockets, "_others", lambda: False)
    async with open_rig(host=host) as opened:
        watcher = request.param(asyncio.get_running_loop())
        opened.engine._refusals = watcher
        opened.proxy._refusals = watcher
        yield opened
        opened.engine.stop()
        await asyncio.sleep(0)


async def by_asyncio(address: tuple[str, int]) -> None:
    _, writer = await asyncio.open_connection(*address)
    writer.transport.abort()


async def by_blocking_socket(address: tuple[str, int]) -> None:
    with socket.socket() as client:
        client.connect(address)


async def by_socket_with_timeout(address: tuple[str, int]) -> None:
    socket.create_connection(address, timeout=5).close()


CLIENTS = {"asyncio": by_asyncio, "blocking": by_blocking_socket, "timeout": by_socket_with_timeout}
Connect = Callable[[tuple[str, int]], Coroutine[None, None, None]]


async def refused(connect: Connect, address: tuple[str, int], count: int = 1) -> None:
    for _ in range(count):
        with pytest.raises(ConnectionRefusedError):
            await connect(address)


@pytest.mark.parametrize("client", CLIENTS)
async def test_every_refused_attempt_is_told_once(rig: Rig, client: str) -> None:
    address = rig.proxy.address
    rig.proxy.refuse()
    await refused(CLIENTS[client], address, 5)
    await eventually(lambda: len(rig.notes.refusals) >= 5, "five attempts")
    await rig.proxy.start()
    await rig.echo(*await rig.pair())
    assert rig.notes.refusals == ["client"] * 5
    assert rig.notes.blinded == []


@pytest.mark.parametrize("client", CLIENTS)
async def test_after_healing_nothing_is_told(rig: Rig, client: str) -> None:
    address = rig.proxy.address
    rig.proxy.refuse()
    await rig.proxy.start()
    await CLIENTS[client](address)
    await eventually(lambda: rig.notes.taps, "it is accepted")
    assert rig.notes.refusals == []


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_the_connections_that_it_ends_are_not_attempts(rig: Rig, how: str) -> None:
    pairs = [await rig.pair() for _ in range(5)]
    address = rig.proxy.address
    rig.proxy.refuse(how=how)
    for client, server in pairs:
        with suppress(OSError):  # reset already
            await client.reset()
        server.close()
    await refused(by_asyncio, address)
    await eventually(lambda: rig.notes.refusals, "the attempt")
    await asyncio.sleep(0.05)  # what else the kernel has to tell
    assert rig.notes.refusals == ["client"]
    assert [tap.cuts for tap in rig.notes.taps] == [[("down", how)]] * 5


async def test_what_others_do_with_sockets_is_no_attempt(rig: Rig) -> None:
    host, _ = rig.proxy.address
    other = await rig.engine.create("other", f"{host}:0", rig.upstream)
    rig.proxy.refuse()
    socket.create_server((host, 0)).close()
    socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True).close()
    socket.socket().close()
    with socket.socket() as bound:
        bound.bind((host, 0))
    with socket.create_server((host, 0)) as server:  # and one that ends in a reset
        client = socket.create_connection(server.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    _, writer = await asyncio.open_connection(*other.address)
    await eventually(lambda: rig.notes.taps, "the other proxy accepts")
    other.cut("abort", "reset")
    writer.transport.abort()
    await asyncio.sleep(0.05)  # what the kernel has to tell
    assert rig.notes.refusals == []


async def test_an_attempt_as_it_starts_to_listen_is_refused_or_accepted_but_not_both(rig: Rig) -> None:
    rig.proxy.refuse()
    serve = rig.proxy._serve
    with socket.socket() as client:

        async def serve_and_dawdle(host: str, port: int) -> asyncio.Server:
            server: asyncio.Server = await serve(host, port)
            start = server.start_serving

            async def start_and_dawdle() -> None:
                await start()
                client.connect((host, port))
                await asyncio.sleep(0.02)

            server.start_serving = start_and_dawdle  # type: ignore[method-assign]
            return server

        rig.proxy._serve = serve_and_dawdle
        await rig.proxy.start()
    await eventually(lambda: rig.notes.taps, "it is accepted")
    assert rig.notes.refusals == []
    assert rig.notes.taps[0].cuts == []


@pytest.mark.parametrize("moment", ["bind", "listen"])
async def test_a_start_that_fails_goes_on_telling(rig: Rig, moment: str) -> None:
    address = rig.proxy.address
    rig.proxy.refuse()
    serve = rig.proxy._serve

    async def fail() -> None:
        raise OSError(98, "in use")

    async def serve_in_vain(host: str, port: int) -> asyncio.Server:
        if moment == "bind":
            await fail()
        server: asyncio.Server = await serve(host, port)
        server.start_serving = fail  # type: ignore[method-assign]
        return server

    rig.proxy._serve = serve_in_vain
    with pytest.raises(Exception, match=r"listen tcp 127\.[\d.]+:\d+: bind: address already in use"):
        await rig.proxy.start()
    assert not rig.proxy.enabled
    await refused(by_asyncio, address)
    await eventually(lambda: rig.notes.refusals, "the attempt")
    rig.proxy._serve = serve
    await rig.proxy.start()
    await rig.echo(*await rig.pair())


async def test_several_proxies_that_refuse_are_told_apart(rig: Rig) -> None:
    others = [await rig.engine.create(name, f"{rig.proxy.address[0]}:0", rig.upstream) for name in ("b", "c")]
    for other in others:
        other._refusals = rig.engine._refusals
    for proxy in (rig.proxy, *others):
        proxy.refuse()
    await refused(by_asyncio, others[0].address, 2)
    await refused(by_socket_with_timeout, others[1].address, 1)
    await eventually(lambda: len(rig.notes.refusals) >= 3, "three attempts")
    assert sorted(rig.notes.refusals) == ["b", "b", "c"]
    await others[0].start()
    await refused(by_asyncio, others[1].address)
    await eventually(lambda: len(rig.notes.refusals) >= 4, "the fourth")
    assert rig.notes.refusals[3:] == ["c"]


async def test_a_blocking_client_of_one_of_several_is_told_or_owned_up_to(rig: Rig) -> None:
    other = await rig.engine.create("b", f"{rig.proxy.address[0]}:0", rig.upstream)
    other._refusals = rig.engine._refusals
    rig.proxy.refuse()
    other.refuse()
    await refused(by_blocking_socket, other.address)
    await eventually(lambda: rig.notes.refusals or rig.notes.blinded, "it is told of, or that it cannot be told")
    assert rig.notes.refusals == ["b"] or sorted(rig.notes.blinded) == ["b", "client"]


async def test_attempts_from_another_process_are_told(rig: Rig) -> None:
    address = rig.proxy.address
    rig.proxy.refuse()
    attempt = f"import socket; socket.socket().connect_ex({address!r})"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-S", "-c", attempt], check=True)
    await eventually(lambda: rig.notes.refusals, "the attempt")
    await asyncio.sleep(0.02)
    assert rig.notes.refusals == ["client"]
    await asyncio.get_running_loop().shutdown_default_executor()


def known_port(message: bytes) -> tuple[bytes, int] | None:
    """What :func:`attempted` says, without those whose port the kernel has wiped: they may be anybody's."""
    target = attempted(message)
    return target if target is not None and target[1] else None


async def test_an_attempt_on_another_address_is_not_ours(rig: Rig) -> None:
    host, port = rig.proxy.address
    rig.proxy.refuse()
    for other in ("127.0.0.99", "127.0.0.98"):
        await refused(by_asyncio, (other, port))
        await refused(by_blocking_socket, (other, port))
    await refused(by_asyncio, (host, port))
    await eventually(lambda: rig.notes.refusals, "the attempt on its own address")
    await asyncio.sleep(0.02)
    assert rig.notes.refusals == ["client"]


async def test_over_ipv6_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_sockets, "attempted", known_port)
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    both = await rig.engine.create("both", ":0", rig.upstream)
    both._refusals = rig.engine._refusals
    both.refuse()
    port = both.address[1]
    for family, host in (
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::ffff:127.0.0.1"),
        (socket.AF_INET, "127.0.0.1"),
    ):
        with socket.socket(family) as client:
            client.settimeout(5)
            with pytest.raises(ConnectionRefusedError):
                client.connect((host, port))
    await eventually(lambda: len(rig.notes.refusals) >= 3, "three attempts")
    assert rig.notes.refusals == ["both"] * 3


async def test_where_the_kernel_tells_nothing_attempts_are_accepted_and_reset(rig: Rig) -> None:
    rig.proxy._refusals = None
    client, server = await rig.pair()
    rig.proxy.refuse()
    assert await client.rest() == await server.rest() == b""
    assert rig.proxy.refusing
    with pytest.raises(ConnectionResetError):  # while it connects, or when it reads
        await (await rig.client()).rest()
    assert rig.notes.refusals == ["client"]
    assert len(rig.notes.taps) == 1
    await rig.proxy.start()
    assert not rig.proxy.refusing
    await rig.echo(*await rig.pair())
