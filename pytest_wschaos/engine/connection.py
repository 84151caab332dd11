"""One proxied connection over transports of either shell: two sides, and a chain of toxics in each direction."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from typing import Literal, Protocol

from .chain import Chain
from .descriptor import READ_SIZE, RelayTransport
from .listener import join_address
from .observer import Place, Tap, Way
from .stage import End, Item

EARLY = 64 * 1024
"""Bytes that are read from a client while the server is being dialled."""
LINGER = 1.0
"""Seconds for which what a peer still sends is thrown away after a fault's FIN. Closed with bytes unread, the kernel
would send a RST instead."""
HIDDEN = 120.0
"""Seconds for which a side is kept that must not see its end; then its socket is let go, as a kernel does too."""

How = Literal["fin", "reset"]


class Dialling(Protocol):
    """An attempt to connect to the server."""

    def cancel(self) -> object:
        """Give it up."""


def reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with a RST, now, whatever is buffered."""
    end_by_reset(transport)
    transport.abort()


def end_by_reset(transport: asyncio.Transport) -> None:
    """Let the kernel end a TCP connection with a RST whenever it is closed."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


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
        self._unmade: How | None = None  # how it was ended before it was made
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE
        if self._connection.ending == "reset":
            end_by_reset(transport)
        if not self.over:
            self._connection.side_made(self)
        elif self._unmade is None:
            transport.abort()
        else:
            self._connection.tap.ended(self.place, "proxy", self._unmade)
            self._close(self._unmade)

    def data_received(self, data: bytes) -> None:
        if not self.over:
            self.out.feed(data)

    def eof_received(self) -> bool:
        if self.over:  # both have ended
            return False
        self._end("peer", "fin")
        return True  # the other direction may go on: a blackhole hides this end

    def connection_lost(self, error: Exception | None) -> None:
        self._end("peer", "reset" if error is not None else "fin")
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._connection.side_lost()

    def pause_writing(self) -> None:
        self.into.hold(True)

    def resume_writing(self) -> None:
        self.into.hold(False)

    def write(self, data: bytes) -> None:
        """Send data to the peer, unless we have closed. A peer that has sent a FIN may still read."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def finish(self) -> None:
        """Close it, behind what is still to be sent."""
        how = self._connection.ending
        if self._transport is not None:
            if how == "reset" and not self._transport.get_write_buffer_size():
                reset(self._transport)  # a simulated one knows no other way
            else:
                self._transport.close()
        self._end("proxy", how)

    def cut(self, how: How) -> None:
        """End it for a fault: with a FIN behind what is still to be sent, or at once with a RST."""
        if self._transport is None and not self.over:
            self._unmade = how
        self._end("proxy", how)  # first: what is read from now on is thrown away
        if self._transport is not None:
            self._close(how)

    def _close(self, how: How) -> None:
        transport = self._transport
        assert transport is not None
        if how == "reset":
            reset(transport)
        elif not transport.is_closing():
            try:
                transport.write_eof()
            except OSError:  # the peer has reset it, which was not read yet
                transport.abort()
                return
            transport.resume_reading()
            self.keep(LINGER)

    def keep(self, seconds: float) -> None:
        """Hold the socket for a while, and longer while something is still to be sent; then let go of it."""
        if self._transport is not None:
            self._timer = self._connection.loop.call_later(seconds, self._let_go, seconds)

    def _let_go(self, seconds: float) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.keep(seconds)
        elif self._transport is not None:
            self._transport.abort()

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

    def pass_to(self, target: Side | None) -> None:
        """Have what comes handed straight to another side, where the shell can do that; None: to the pipe."""
        if isinstance(self._transport, RelayTransport):
            peer = None if target is None else target._transport
            self._transport.pass_to(peer if isinstance(peer, RelayTransport) else None)

    @property
    def passed(self) -> int:
        """Bytes that have come and were handed straight to another side."""
        return self._transport.passed if isinstance(self._transport, RelayTransport) else 0

    @property
    def socket(self) -> socket.socket | None:
        """Its socket, where there is one."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    @property
    def peer(self) -> str:
        """The peer's ``host:port``; empty where there is no transport."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return join_address(*name[:2]) if name else ""

    @property
    def connected(self) -> bool:
        """Whether there is a transport."""
        return self._transport is not None

    def _end(self, by: Literal["peer", "proxy"], how: How) -> None:
        if self.over:
            return
        self.over = True
        self._connection.route()
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
        self._received = 0
        self._connection = connection
        self._loop = connection.loop
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._reading = True
        source.out = self
        target.into = self

    @property
    def received(self) -> int:
        """Bytes that have come from the source."""
        return self._received + self.source.passed

    def feed(self, data: bytes) -> None:
        """Data has come from the source."""
        connection = self._connection
        self._received += len(data)
        if connection.watched:
            connection.tap.data(self.source.place, self.way, data)
        self._feed(data)
        if connection.watched and not connection.tap.watching:  # not before the data is on its way
            connection.watched = False

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
        self.route()

    def route(self) -> None:
        """Have data handed straight to the target, while nothing here has to see it."""
        self.source.pass_to(self.target if self._connection.straight and not self.chain.stages else None)

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
    def reading(self) -> bool:
        """Whether there is room for more from the source."""
        return self._reading

    @property
    def empty(self) -> bool:
        """Whether nothing is waiting in the toxics."""
        return all(stage.empty for stage in self.chain.stages)

    @property
    def silent(self) -> bool:
        """Whether what ends in it is hidden from its target."""
        return any(stage.silences and stage.active for stage in self.chain.stages)

    def _feed(self, item: Item) -> None:
        if self.way == "up" and self._connection.hold_early(item):
            return
        self.deliver(item)

    def deliver(self, item: Item) -> None:
        """Put something into the toxics."""
        if not self.chain.stages:
            self._out(item)  # the most common case by far: nothing holds it, and nothing is due later
            return
        self.chain.feed(item, self._loop.time())
        self._settle()

    def _out(self, item: Item) -> None:
        if self._connection.closed:
            return  # it was cut by what came through just before
        if isinstance(item, bytes):
            if self._connection.watched and not self.target.over:
                self._connection.tap.data(self.target.place, self.way, item)
            self.target.write(item)
        elif item is End.EOF:
            self.target.finish()
        else:
            culprit = next((stage.type for stage in self.chain.stages if stage.cuts), "")
            self._connection.cut(culprit, "reset" if item is End.RESET else "fin")

    def _settle(self) -> None:
        """Set the timer for what is due next, and read only while there is room."""
        if self._connection.closed:
            self.stop()
            return
        next_at = self.chain.next_at
        if next_at == math.inf:
            next_at = None
        if self._timer is not None and self._timer.when() != next_at:
            self.stop()
        if self._timer is None and next_at is not None:
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
        self.since = loop.time()
        """When the client came."""
        self.address = ""
        """The client's ``host:port``, once it is accepted."""
        self.closed = False
        """Whether nothing is passed on any more; what was passed on before may still be on its way out."""
        self.cutting = False
        """Whether a fault is ending both sides; neither end is then passed on as the other's."""
        self.ending: How = "fin"
        """How its sides are ended where nothing else is said."""
        self._early: list[Item] | None = []
        """What came from the client before there was a server; None: there is, or there will be none."""
        self._dial = dial
        self._gone = gone
        self.dialling: Dialling | None = None
        self.opened: asyncio.Future[None] | None = None
        """Done when the server may be dialled: when the TLS handshake with the client is over; None: at once."""
        self.client = Side("client", self)
        self.server = Side("server", self)
        self.up = Pipe("up", self.client, self.server, self)
        self.down = Pipe("down", self.server, self.client, self)
        self._watched = tap.watching
        self.straight = False
        """Whether data need not be seen, but by toxics."""

    @property
    def watched(self) -> bool:
        """Whether the tap is told of data. It may be switched at any time; what has passed by then is not told."""
        return self._watched

    @watched.setter
    def watched(self, watched: bool) -> None:
        self._watched = watched
        self.route()

    def route(self) -> None:
        """See anew whether data may be handed from side to side, as far as toxics leave that open."""
        held = self._watched or self.closed or self._early is not None
        straight = not (held or self.client.over or self.server.over)
        if straight or self.straight:
            self.straight = straight
            self.up.route()
            self.down.route()

    def cut(self, fault: str, how: How) -> None:
        """End both sides at once, for a fault."""
        if self.closed:
            return
        how = "reset" if self.ending == "reset" else how
        self.cutting = True
        if not (self.client.over and self.server.over):
            self.tap.cut(fault, how)
        self.client.cut(how)
        self.server.cut(how)
        self._close()

    def drop(self) -> None:
        """Let go of both sockets, at once and without a word."""
        self._close()
        self.client.drop()
        self.server.drop()
        self._gone(self)

    def side_made(self, side: Side) -> None:
        """A side is connected."""
        if side is self.client:
            self.address = side.peer
            self.tap.accepted(self.address)
            self._dial(self)
            return
        self.tap.connected()
        self.dialling = None
        early, self._early = self._early or [], None
        for item in early:
            self.up.deliver(item)
        self.client.read(self.up.reading)
        self.route()

    def hold_early(self, item: Item) -> bool:
        """Whether something from the client has to wait for the server, which is being dialled."""
        if self._early is None or self.closed:
            return False
        self._early.append(item)
        if self._early == [End.EOF]:
            self.drop()  # it has left without a word
        elif sum(len(item) for item in self._early if isinstance(item, bytes)) >= EARLY:
            self.client.read(False)
        return True

    def unreachable(self, text: str) -> None:
        """The server cannot be connected to: the client sees its connection end, unless a toxic hides that."""
        self.tap.error(text)
        unread, self._early = bool(self._early), None
        self.server.over = True
        if unread and not self.down.silent:
            self.client.cut("reset")  # as the kernel does for bytes that nobody will read
        else:
            self.down.deliver(End.EOF)

    def side_over(self) -> None:
        """A side has ended. When both have and nothing is on its way, the connection is over."""
        if self.closed or self.cutting:
            return
        if self.client.over and self.server.over and self.up.empty and self.down.empty:
            self._close()
            # Where a blackhole hid the ends from both, nobody else closes the sockets.
            for side in (self.client, self.server):
                if side.into.silent:
                    side.keep(HIDDEN)
                else:
                    side.drop(patient=True)

    def side_lost(self) -> None:
        """A side's socket is gone."""
        if not self.client.connected and not self.server.connected:
            self._close()
            self._gone(self)

    def _close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.route()
        self.up.stop()
        self.down.stop()
        if self.dialling is not None:
            self.dialling.cancel()
