"""One proxied connection over asyncio transports: two sides, and a chain of toxics in each direction."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Literal

from .chain import Chain
from .observer import Place, Tap, Way
from .stage import End, Item

READ_SIZE = 64 * 1024
"""Bytes read at once. asyncio's default of 256 KiB makes the allocator map and unmap memory for each read."""

How = Literal["fin", "reset"]


def reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with a RST, now, whatever is buffered."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Side(asyncio.Protocol):
    """The proxy's end of the TCP connection with the client, or with the server."""

    def __init__(self, place: Place, connection: Connection) -> None:
        self.place: Place = place
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self.out: Pipe
        """The pipe that carries what comes from this side."""
        self.into: Pipe
        """The pipe that ends here."""
        self.over = False
        """Whether its TCP has ended, or is being ended by us."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE
        if self.over:
            transport.abort()
            return
        self._connection.side_made(self)

    def data_received(self, data: bytes) -> None:
        self.out.feed(data)

    def eof_received(self) -> bool:
        self._end("peer", "fin")
        return True  # the other direction may go on: a blackhole hides this end

    def connection_lost(self, error: Exception | None) -> None:
        self._end("peer", "reset" if error is not None else "fin")
        self._transport = None
        self._connection.side_lost()

    def pause_writing(self) -> None:
        self.into.hold(True)

    def resume_writing(self) -> None:
        self.into.hold(False)

    def write(self, data: bytes) -> None:
        """Send data to the peer, unless we have closed. A peer that has sent a FIN may still read."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self, how: How = "fin") -> None:
        """End it: with a FIN behind what is still to be sent, or at once with a RST."""
        if self._transport is not None:
            if how == "reset":
                reset(self._transport)
            else:
                self._transport.close()
        self._end("proxy", how)

    def drop(self, *, patient: bool = False) -> None:
        """Let go of the socket without a word; if ``patient``, one being closed may still send what is left."""
        self.over = True
        if self._transport is not None and not (patient and self._transport.is_closing()):
            self._transport.abort()

    def read(self, on: bool) -> None:
        """Read from the peer, or let TCP's own back-pressure reach it."""
        if self._transport is not None and not self._transport.is_closing():
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    @property
    def connected(self) -> bool:
        """Whether there is a transport."""
        return self._transport is not None

    def _end(self, by: Literal["peer", "proxy"], how: How) -> None:
        if self.over:
            return
        self.over = True
        if self._transport is not None:
            self._connection.tap.ended(self.place, by, how)
        # Nothing more comes from this side: say so to whatever reads it.
        self.out.end()
        self._connection.side_over()


class Pipe:
    """One direction: from a side, through the toxics, to the other side."""

    def __init__(self, way: Way, source: Side, target: Side, connection: Connection) -> None:
        self.way: Way = way
        self.source = source
        self.target = target
        self.chain = Chain(self._out)
        self._connection = connection
        self._loop = connection.loop
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._reading = True
        source.out = self
        target.into = self

    def feed(self, data: bytes) -> None:
        """Data has come from the source."""
        self._connection.tap.data(self.source.place, self.way, data)
        self._feed(data)

    def end(self) -> None:
        """The source has ended."""
        if not self._connection.cutting:
            self._feed(End.EOF)

    def change(self, change: Callable[[Chain, float], None]) -> None:
        """Change the chain of toxics, then go on."""
        now = self._loop.time()
        change(self.chain, now)
        self.chain.run(now)
        self._settle()

    def hold(self, held: bool) -> None:
        """The target takes no more for now (or again)."""
        self._held = held
        self._settle()

    def stop(self) -> None:
        """No timer is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def empty(self) -> bool:
        """Whether nothing is waiting in the toxics."""
        return not any(stage.queue for stage in self.chain.stages)

    def _feed(self, item: Item) -> None:
        self.chain.feed(item, self._loop.time())
        self._settle()

    def _out(self, item: Item) -> None:
        if isinstance(item, bytes):
            if not self.target.over:
                self._connection.tap.data(self.target.place, self.way, item)
            self.target.write(item)
        elif item is End.EOF:
            self.target.finish()
        else:
            culprit = next((stage.type for stage in self.chain.stages if stage.cuts), "")
            self._connection.cut(culprit, "reset" if item is End.RESET else "fin")

    def _settle(self) -> None:
        """Set the timer for what is due next, and read only while there is room."""
        self.stop()
        if self._connection.closed:
            return
        next_at = self.chain.next_at
        if next_at is not None and next_at != float("inf"):
            self._timer = self._loop.call_at(next_at, self._run)
        reading = not (self._held or self.chain.full)
        if reading is not self._reading:
            self._reading = reading
            self.source.read(reading)
        self._connection.side_over()

    def _run(self) -> None:
        self._timer = None
        # The loop may be early by its clock's resolution; what the timer was set for is due.
        self.chain.run(max(self._loop.time(), self.chain.next_at or 0.0))
        self._settle()


class Connection:
    """A client's connection and the one to the server behind it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tap: Tap,
        dial: Callable[[Connection], None],
        gone: Callable[[Connection], None],
        number: int = 0,
    ) -> None:
        self.loop = loop
        self.tap = tap
        self.number = number
        self.closed = False
        """Whether nothing is passed on any more; what was passed on before may still be on its way out."""
        self.cutting = False
        """Whether a fault is ending both sides; neither end is then passed on as the other's."""
        self._dial = dial
        self._gone = gone
        self.dialling: asyncio.Task[None] | None = None
        self.client = Side("client", self)
        self.server = Side("server", self)
        self.up = Pipe("up", self.client, self.server, self)
        self.down = Pipe("down", self.server, self.client, self)

    def cut(self, fault: str, how: How) -> None:
        """End both sides at once, for a fault."""
        if self.closed:
            return
        self.cutting = True
        if not (self.client.over and self.server.over):
            self.tap.cut(fault, how)
        self.client.finish(how)
        self.server.finish(how)
        self._close()

    def drop(self) -> None:
        """Let go of both sockets, at once and without a word."""
        self._close()
        self.client.drop()
        self.server.drop()
        self._gone(self)

    def side_made(self, side: Side) -> None:
        """A side is connected: the client's is read only once the server's is there."""
        if side is self.client:
            side.read(False)
            self._dial(self)
        else:
            self.client.read(True)

    def unreachable(self, text: str) -> None:
        """The server cannot be connected to: the client sees its connection end."""
        self.tap.error(text)
        self.server.over = True
        self.client.finish()

    def side_over(self) -> None:
        """A side has ended. When both have and nothing is on its way, the connection is over."""
        if not self.closed and self.client.over and self.server.over and self.up.empty and self.down.empty:
            self._close()
            # Where a blackhole hid the ends from both, nobody else closes the sockets.
            self.client.drop(patient=True)
            self.server.drop(patient=True)

    def side_lost(self) -> None:
        """A side's socket is gone."""
        if not self.client.connected and not self.server.connected:
            self._close()
            self._gone(self)

    def _close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.up.stop()
        self.down.stop()
        if self.dialling is not None:
            self.dialling.cancel()
