"""An engine between test clients and a test server, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from pytest_wschaos.engine import listener
from pytest_wschaos.engine.engine import Engine
from pytest_wschaos.engine.observer import Observer, Place, Tap, Way

PATIENCE = 10.0
"""Seconds after which a test gives up waiting; no passing test comes near it."""


async def eventually(true: Callable[[], object], what: str) -> None:
    """Wait until something has become true."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


class TapNotes(Tap):
    """What the engine told of one connection."""

    watching = True

    def __init__(self) -> None:
        self.seen: dict[tuple[Place, Way], bytearray] = {
            (place, way): bytearray() for place in ("client", "server") for way in ("up", "down")
        }
        self.ends: list[tuple[Place, str, str]] = []
        self.cuts: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self.acts: list[tuple[str, Way, dict[str, object]]] = []

    def data(self, place: Place, way: Way, data: bytes) -> None:
        self.seen[place, way] += data

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        self.ends.append((place, by, how))

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        self.cuts.append((fault, how))

    def acted(self, toxic: str, way: Way, **what: object) -> None:
        self.acts.append((toxic, way, what))

    def error(self, text: str) -> None:
        self.errors.append(text)


class Notes(Observer):
    """What the engine told; of data only if it is watched."""

    def __init__(self, watched: bool = True) -> None:
        self._watched = watched
        self.taps: list[TapNotes] = []
        self.refusals: list[str] = []
        self.blinded: list[str] = []

    def attempt(self, proxy: str, number: int) -> TapNotes | None:
        if not self._watched:
            return None
        self.taps.append(TapNotes())
        return self.taps[-1]

    def refused(self, proxy: str, at: float, late: float) -> None:
        self.refusals.append(proxy)

    def blind(self, proxy: str) -> None:
        self.blinded.append(proxy)


class Peer:
    """One end of a connection: a test's client, or what the test server accepted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write, and wait until it may write more."""
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def receive(self, size: int) -> bytes:
        """That many bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """All bytes until the peer's FIN; raises ConnectionResetError on a RST."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def reset(self) -> None:
        """End it with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        await asyncio.sleep(0)

    def close(self) -> None:
        """End it with a FIN."""
        self.writer.close()

    @property
    def silent(self) -> bool:
        """Whether nothing has come, neither data nor an end."""
        return not self.reader._buffer and not self.reader.at_eof() and self.reader.exception() is None  # type: ignore[attr-defined]


@dataclass
class Rig:
    """An engine with one proxy, a server behind it, and notes of what was told."""

    engine: Engine
    notes: Notes
    upstream: str
    accepted: asyncio.Queue[Peer]
    peers: list[Peer] = field(default_factory=list)

    @property
    def proxy(self):  # type: ignore[no-untyped-def]
        """The proxy that was made first."""
        return next(iter(self.engine.proxies.values()))

    async def client(self, limit: int = 65536) -> Peer:
        """A client of the first proxy."""
        host, port = self.proxy.address
        peer = Peer(*await asyncio.open_connection(host, port, limit=limit))
        self.peers.append(peer)
        return peer

    async def pair(self) -> tuple[Peer, Peer]:
        """A client, and the server's end of its connection."""
        client = await self.client()
        async with asyncio.timeout(PATIENCE):
            return client, await self.accepted.get()

    async def echo(self, client: Peer, server: Peer, data: bytes = b"ping") -> None:
        """Assert that data passes both ways."""
        await client.send(data)
        assert await server.receive(len(data)) == data
        await server.send(data)
        assert await client.receive(len(data)) == data


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        except FileNotFoundError:
            continue
    return count


@asynccontextmanager
async def open_rig(seed: int = 0, host: str = "127.0.0.1", *, watched: bool = True) -> AsyncIterator[Rig]:
    """A rig; nothing of it, and nothing of the engine, may be left when it ends.

    Unless ``watched``, the engine is told that nobody wants to know of its connections.
    """
    sockets_before, tasks_before = sockets(), asyncio.all_tasks()
    accepted: asyncio.Queue[Peer] = asyncio.Queue()
    peers: list[Peer] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(Peer(reader, writer))
        accepted.put_nowait(peers[-1])

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    notes = Notes(watched)
    engine = Engine(seed=seed, observer=notes)
    await engine.create("client", f"{host}:0", upstream)
    try:
        yield Rig(engine, notes, upstream, accepted, peers)
    finally:
        engine.stop()
        listener.close(server)

        def gone() -> bool:
            for peer in peers:  # the server may still be accepting some
                with contextlib.suppress(AttributeError):  # the TLS of Python 3.11, where it has ended already
                    peer.writer.transport.abort()
            return sockets() <= sockets_before  # fewer: what an earlier test left to the garbage has gone

        tasks_before.add(asyncio.current_task())  # type: ignore[arg-type]
        await eventually(lambda: asyncio.all_tasks() <= tasks_before, "no task is left")
        await eventually(gone, "no socket is left")
