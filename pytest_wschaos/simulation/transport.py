"""One side of a simulated TCP connection, as asyncio's own socket transport would behave on the kernel's."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from asyncio import constants, transports
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .pipe import Item, Mark, Pipe

if TYPE_CHECKING:
    from .loop import SimulatedLoop
    from .sockets import SimulatedSocket

_NOTHING: deque[Any] = deque()
"""What a transport has to keep, in most cases: an own empty deque takes 760 bytes."""
_BYTES = (bytes, bytearray, memoryview)
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
    _sendfile_compatible = constants._SendfileMode.FALLBACK
    max_size = 256 * 1024
    """Bytes that are read at once; asyncio's own has the same, and some lower it."""

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
        self._number: int = loop.next_number()
        self.context = copy_context()
        """What the protocol's calls run in: that of who made the transport."""
        self._buffer: deque[bytes | memoryview] = _NOTHING
        self._size = 0  # of the buffer
        self._unread: deque[Item] = _NOTHING
        self._closing = False
        self._lost = False  # connection_lost() is called, or about to be
        self._begun = False  # nothing is read before the protocol knows of the connection
        self._paused = False
        self._eof = False  # write_eof() was called
        self._fin_sent = False  # its FIN is on its way, behind all that was written
        self._peer_ended = False  # a FIN has come
        self._reset = False  # a RST has come
        self._deaf = False  # the protocol was told of the FIN and goes on: nobody reads, nor hears of a RST
        self._gone = False  # the socket is closed
        self.set_protocol(protocol)
        if server is not None:
            loop.attach(server, self)

    def begin(self, waiter: asyncio.Future[None] | None) -> None:
        """Tell the protocol, and then read."""
        self._loop.call_soon(self._protocol.connection_made, self)
        self._loop.call_soon(self._first_read)
        self._in.attach(self)
        if waiter is not None:
            self._loop.call_soon(_settle, waiter)

    def _first_read(self) -> None:
        self._begun = True
        if self._unread:
            self._loop.happen(self._read_on, context=self.context)

    def __hash__(self) -> int:
        return self._number  # servers keep sets of transports

    def __repr__(self) -> str:
        state = "closed" if self._gone else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {self._sock.getsockname()} -> {self._sock.getpeername()} {state}>"

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
        if self._deaf:  # asyncio's own reads again, and finds the end again
            self._deaf = False
            self._keep(Mark.FIN)
        if self._unread:
            self._loop.happen(self._read_on, context=self.context)

    def get_write_buffer_size(self) -> int:
        return self._size

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if not isinstance(data, _BYTES):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost:
            return
        if self._reset:
            self._fatal_error(self._what_a_reset_says(), "")
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
            if self._reset:
                raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
            self._send_fin()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        self._force_close(None)

    # --- what the pipes tell

    def room(self) -> None:
        """The pipe takes more."""
        if self._buffer and not self._lost:
            self._loop.happen(self._flush, context=self.context)

    def arrived(self, data: bytes) -> None:
        """Data has come."""
        if self._gone:
            self._out.mark(Mark.RST)  # nobody is there to take it
        elif self._waits:
            self._keep(data)
        else:
            self._deliver(data)
            if self._unread:
                self._loop.happen(self._read_on, context=self.context)

    def marked(self, mark: Mark) -> None:
        """The peer's end has come."""
        if mark is Mark.RST:
            self._reset = True
        else:
            self._peer_ended = True
        if self._gone or self._lost:
            return
        if self._reset and self._buffer:
            self._fatal_error(self._what_a_reset_says(), "")  # what is still to be sent cannot be
        elif self._deaf:
            pass  # the next write tells
        elif self._waits:
            self._keep(mark)
        else:
            self._end(mark)

    def _keep(self, item: Item, *, first: bool = False) -> None:
        if self._unread is _NOTHING:
            self._unread = deque()
        if first:
            self._unread.appendleft(item)
        else:
            self._unread.append(item)

    # --- reading

    @property
    def _waits(self) -> bool:
        """Whether what comes must wait for its turn, or for the protocol to want it."""
        return bool(self._closing or self._paused or self._unread or not self._begun)

    def _read_on(self) -> None:
        """One read in each turn, of what has waited."""
        if not self._unread or not self._begun or self._paused or self._closing:
            return
        item = self._unread.popleft()
        if isinstance(item, Mark):
            self._end(item)
        else:
            self._deliver(item)
        if self._unread:
            self._loop.happen(self._read_on, context=self.context)

    def _deliver(self, data: bytes) -> None:
        call = "get_buffer" if self._buffered else "data_received"
        try:
            if self._buffered:
                size = self._fill(data)
                call = "buffer_updated"
                self._protocol.buffer_updated(size)
            else:
                self._in.taken(len(data))
                self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, f"Fatal error: protocol.{call}() call failed.")

    def _fill(self, data: bytes) -> int:
        """Read into the protocol's buffer; what it has no room for waits for the next read."""
        buffer = self._protocol.get_buffer(-1)
        if not len(buffer):
            raise RuntimeError("get_buffer() returned an empty buffer")
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        self._in.taken(size)
        if size < len(data):
            self._keep(data[size:], first=True)
        return size

    def _end(self, mark: Mark) -> None:
        if mark is Mark.RST:
            if not self._deaf:
                self._fatal_error(self._what_a_reset_says(), "")
            return
        try:
            keep = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
            return
        if keep:
            self._deaf = True
        else:
            self.close()

    def _what_a_reset_says(self) -> OSError:
        return broken_pipe() if self._peer_ended else reset_error()

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
                self._send_fin()

    # --- the end

    def _send_fin(self) -> None:
        if not self._fin_sent:
            self._fin_sent = True
            self._out.mark(Mark.FIN)

    def _fatal_error(self, error: BaseException, message: str) -> None:
        """End it because of an error; one of the network is the protocol's affair alone."""
        if not isinstance(error, OSError):
            self._loop.call_exception_handler(
                {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
            )
        self._force_close(error)

    def _force_close(self, error: BaseException | None) -> None:
        """End it without sending what is buffered; asyncio's TLS calls it by this name."""
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
        unread = self._in.waits() or any(not isinstance(item, Mark) for item in self._unread)
        self._unread.clear()
        if not self._reset:
            if unread or self._sock.lingers_not:
                self._out.mark(Mark.RST)
            else:
                self._send_fin()
        self._sock.close()


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
