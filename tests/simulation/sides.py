"""Two protocols that note all that they are told, joined by a TCP connection of whatever loop is running."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from .clocks import MOMENT, PATIENCE, shown


class Side(asyncio.Protocol):
    """Notes what it is told; data that comes in pieces is noted as one."""

    def __init__(self, *, stays: bool = False, made: Callable[[Side], None] | None = None) -> None:
        self.notes: list[Any] = []
        self.name = ""
        self.stays = stays
        """Whether it goes on after the peer's end: a half-closed connection."""
        self.made = made
        self.transport: Any = None
        self.when_data: Callable[[bytes], None] | None = None
        self._changed = asyncio.Event()

    def note(self, what: str, detail: object = None) -> None:
        if what == "data" and self.notes and self.notes[-1][0] == "data":
            self.notes[-1] = ("data", self.notes[-1][1] + detail)
        else:
            self.notes.append((what, detail))
        self._changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")
        if self.made is not None:
            self.made(self)

    def data_received(self, data: bytes) -> None:
        self.note("data", data)
        if self.when_data is not None:
            self.when_data(data)

    def eof_received(self) -> bool:
        self.note("eof")
        return self.stays

    def connection_lost(self, error: Exception | None) -> None:
        self.note("lost", shown(error))

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def has(self, what: str) -> bool:
        return any(note == what for note, _ in self.notes)

    @property
    def data(self) -> bytes:
        return b"".join(detail for note, detail in self.notes if note == "data")

    async def saw(self, what: str) -> None:
        """Wait until it was told something."""
        await self.until(lambda: self.has(what), what)

    async def got(self, size: int) -> None:
        """Wait for so many bytes."""
        await self.until(lambda: len(self.data) >= size, f"{size} bytes")

    async def until(self, done: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._changed.clear()
                await self._changed.wait()

    def reset(self) -> None:
        """End with a RST."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def fill(self) -> int:
        """Write until the connection takes no more; returns how many bytes that took."""
        written = 0
        while not self.has("pause"):
            self.transport.write(b"#" * 65536)
            written += 65536
            await asyncio.sleep(0)
        # What the kernel took may still be moving from one buffer into the other.
        await settle()
        self.transport.write(b"#" * 1_000_000)
        return written + 1_000_000


class BufferedSide(Side, asyncio.BufferedProtocol):
    """The same, with a buffer of its own."""

    def __init__(self, size: int = 65536, **options: Any) -> None:
        super().__init__(**options)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


async def settle() -> None:
    """Give what is on its way the time to come."""
    await asyncio.sleep(MOMENT)


@asynccontextmanager
async def joined(
    make_client: Callable[[], Side] = Side, make_server: Callable[[], Side] = Side, **options: Any
) -> AsyncIterator[tuple[Side, Side]]:
    """A client and a server; what is left of them at the end is cleared away."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Side] = loop.create_future()

    def accept() -> Side:
        side = make_server()
        accepted.set_result(side)
        return side

    listener = await loop.create_server(accept, "127.0.0.1", 0, **options)
    port = listener.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(make_client, "127.0.0.1", port)
    server = await accepted
    await server.saw("made")
    try:
        yield client, server
    finally:
        for side in (client, server):
            if not side.has("lost"):
                side.transport.abort()
        listener.close()
        await settle()
