"""One side of a simulated TCP connection, as asyncio's own socket transport would behave on the kernel's."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from asyncio import transports
from collections import deque
from typing import TYPE_CHECKING, Any

from .pipe import Item, Mark, Pipe

if TYPE_CHECKING:
    from .loop import SimulatedLoop
    from .sockets import SimulatedSocket

_NOTHING: deque[Any] = deque()
"""What a transport has to keep, in most cases: an own empty deque takes 760 bytes."""
LINGER_RESET = struct.pack("ii", 1, 0)


def reset_error() -> ConnectionResetError:
    """What a read says when the peer has sent a RST."""
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def broken_pipe() -> BrokenPipeError:
    """What a side learns from a RST after the peer's FIN, or from writing after that."""
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class SimulatedTransport(transports._FlowControlMixin, asyncio.Transport):
    """A stream transport without a socket.

    It keeps two lives apart, as the real ones do: that of the transport, which ends in ``connection_lost``, and that
    of the TCP connection under it, which goes on to send what was written, and answers what comes too late with a RST.
    """

    _start_tls_compatible = True

    def __init__(
        self, loop: SimulatedLoop, sock: SimulatedSocket, protocol: Any, extra: dict[str, Any] | None, server: Any
    ) -> None:
        super().__init__(
            {"socket": sock, "sockname": sock.getsockname(), "peername": sock.getpeername(), **(extra or {})}, loop
        )
        self._loop: Any = loop
        self._sock = sock
        self._out: Pipe = sock.out
        self._in: Pipe = sock.into
        self._out.source = self
        self._server = server
        self._buffer: deque[bytes | memoryview] = _NOTHING
        self._size = 0  # of the buffer
        self._unread: deque[Item] = _NOTHING
        self._closing = False
        self._lost = False  # connection_lost() is called, or about to be
        self._begun = False  # nothing is read before the protocol knows of the connection
        self._paused = False
        self._eof = False  # write_eof() was called
        self._peer_ended = False
        self._reset = False  # a RST has come
        self._gone = False  # the socket is closed
        self.set_protocol(protocol)
        if server is not None:
            loop.attach(server, self)

    def begin(self, waiter: asyncio.Future[None] | None) -> None:
        """Tell the protocol, and then read."""
        self._in.target = self
        self._loop.call_soon(self._begin, waiter)

    def _begin(self, waiter: asyncio.Future[None] | None) -> None:
        self._protocol.connection_made(self)
        self._loop.call_soon(self._first_read)
        if waiter is not None:
            self._loop.call_soon(_settle, waiter)

    def _first_read(self) -> None:
        self._begun = True
        self._read_on()

    def __repr__(self) -> str:
        state = "closed" if self._gone else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {self._extra.get('sockname')} -> {self._extra.get('peername')} {state}>"

    # --- what a protocol may ask

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if not self._closing:
            self._paused = True

    def resume_reading(self) -> None:
        if self._closing or not self._paused:
            return
        self._paused = False
        if self._unread:
            self._loop.call_soon(self._read_on)

    def get_write_buffer_size(self) -> int:
        return self._size

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost:
            return
        if self._reset:
            self._fatal(broken_pipe() if self._peer_ended else reset_error())
            return
        if not self._buffer:
            sent = self._out.send(data)
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        if self._buffer is _NOTHING:
            self._buffer = deque()
        self._buffer.append(bytes(data))
        self._size += len(data)
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if self._closing or self._eof:
            return
        self._eof = True
        if not self._buffer:
            self._out.mark(Mark.FIN)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        self._force(None)

    # --- what the pipes tell

    def room(self) -> None:
        """The pipe takes more."""
        if self._buffer and not self._lost:
            self._loop.call_soon(self._flush)

    def arrived(self, data: bytes) -> None:
        """Data has come."""
        if self._gone:
            self._out.mark(Mark.RST)  # nobody is there to take it
            self._in.taken(len(data))
        elif self._waits:
            self._keep(data)
        else:
            self._deliver(data)

    def marked(self, mark: Mark) -> None:
        """The peer's end has come."""
        if mark is Mark.RST:
            self._reset = True
        if self._gone:
            return
        if self._waits:
            self._keep(mark)
        else:
            self._end(mark)

    def _keep(self, item: Item) -> None:
        if self._unread is _NOTHING:
            self._unread = deque()
        self._unread.append(item)

    # --- reading

    @property
    def _waits(self) -> bool:
        """Whether what comes must wait for its turn, or for the protocol to want it."""
        return bool(self._closing or self._paused or self._unread or not self._begun)

    def _read_on(self) -> None:
        while self._unread and self._begun and not self._paused and not self._closing:
            item = self._unread.popleft()
            if isinstance(item, Mark):
                self._end(item)
            else:
                self._deliver(item)

    def _deliver(self, data: bytes) -> None:
        self._in.taken(len(data))
        try:
            if self._buffered:
                self._fill(data)
            else:
                self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._failed(error, "data_received")

    def _fill(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            buffer = self._protocol.get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            self._protocol.buffer_updated(size)
            view = view[size:]
            if self._lost:
                return

    def _end(self, mark: Mark) -> None:
        if mark is Mark.RST:
            self._fatal(broken_pipe() if self._peer_ended else reset_error())
            return
        self._peer_ended = True
        try:
            keep = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._failed(error, "eof_received")
            return
        if not keep:
            self.close()

    # --- writing

    def _flush(self) -> None:
        while self._buffer and not self._lost:
            data = self._buffer[0]
            sent = self._out.send(data)
            self._size -= sent
            if sent < len(data):
                self._buffer[0] = memoryview(data)[sent:]
                break
            self._buffer.popleft()
        if self._lost:
            return
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if not self._buffer:
            if self._closing:
                self._lose(None)
            elif self._eof:
                self._out.mark(Mark.FIN)

    # --- the end

    def _failed(self, error: BaseException, what: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"Fatal error: protocol.{what}() call failed.",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        self._force(error)

    def _fatal(self, error: OSError) -> None:
        self._force(error)

    def _force(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._buffer.clear()
        self._size = 0
        self._closing = True
        self._lose(error)

    def _lose(self, error: BaseException | None) -> None:
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._close_socket()
            self._protocol = None
            server, self._server = self._server, None
            if server is not None:
                self._loop.detach(server, self)

    def _close_socket(self) -> None:
        """As the kernel does at close(): FIN, or RST where something was left unread, or where linger is 0."""
        self._gone = True
        unread = [item for item in self._unread if not isinstance(item, Mark)]
        for item in unread:
            self._in.taken(len(item))
        self._unread.clear()
        self._sock.close()
        if self._reset:
            return
        if unread or self._sock.lingers_not:
            self._out.mark(Mark.RST)
        elif not self._eof:
            self._out.mark(Mark.FIN)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
