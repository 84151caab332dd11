"""The fast shell's transports, listeners and dials: descriptors that a :class:`.RelaySelector` serves.

PYTEST_DONT_REWRITE: what is asserted here is told to the type checker, many times a second.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .relay import RelaySelector

READ_SIZE = 64 * 1024
"""Bytes read at once, where they do not go straight to a peer. asyncio's own 256 KiB make the allocator map and unmap
memory for each read."""
HIGH, LOW = 64 * 1024, 16 * 1024
"""Bytes waiting to be sent above which the protocol is asked to pause, and down to which to go on: asyncio's own."""
ACCEPT_AT_ONCE = 16
"""Clients accepted in one turn of the loop. Few: there must be a chance to say no before the descriptors run out. Then
asyncio tells its exception handler for each one that it would have accepted, and pauses for a second."""
ACCEPT_AGAIN = 0.1
"""Seconds after which accepting is tried again, when it failed for want of descriptors or memory."""

logger = logging.getLogger(__name__)


class RelayTransport(asyncio.Transport):
    """What asyncio's own transport is to a protocol, over a descriptor that the selector serves.

    In addition, what is read can be passed straight to another such transport (:meth:`pass_to`): the protocol then
    sees only ends, and the other's protocol is asked to pause as ever.
    """

    __slots__ = (
        "_closing",
        "_ended",
        "_eof",
        "_fd",
        "_held",
        "_loop",
        "_lost",
        "_paused",
        "_peer",
        "_protocol",
        "_relay",
        "_sock",
        "_unsent",
        "passed",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, relay: RelaySelector, sock: socket.socket) -> None:
        self._loop = loop
        self._relay = relay
        self._sock = sock
        self._fd = sock.fileno()
        self._protocol: asyncio.Protocol
        self._peer: RelayTransport | None = None
        self._unsent: bytearray | None = None
        """What waits until the peer takes more. While there is any, all that is written goes behind it."""
        self._held = False  # whether the protocol has been asked to pause
        self._paused = False
        self._ended = False  # whether the peer has sent a FIN
        self._eof = False  # whether we have, or will behind what waits
        self._closing = False
        self._lost = False  # whether connection_lost() is on its way
        self.passed = 0
        """Bytes that were read and handed straight to another transport."""

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Tell the protocol of its connection, and serve it."""
        self._protocol = protocol
        try:
            protocol.connection_made(self)
        except Exception as error:
            self._fail(error)
        self._serve()

    # --- what asyncio's transports have ---

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The ``socket``, and the ``peername``; nothing else is known."""
        if name == "socket":
            return self._sock
        return _peername(self._sock) if name == "peername" else default

    def is_closing(self) -> bool:
        """Whether it is closed, or will be behind what waits to be sent."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return 0 if self._unsent is None else len(self._unsent)

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self._paused:
            self._paused = True
            self._serve()

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            self._serve()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send now what the kernel takes, and the rest later.

        Raises:
            RuntimeError: after :meth:`write_eof`.
        """
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._lost or not data:
            return
        sent = 0
        if self._unsent is None:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._lose(error)
                return
        if sent < len(data):
            self._keep(memoryview(data)[sent:])

    def can_write_eof(self) -> bool:
        """Yes."""
        return True

    def write_eof(self) -> None:
        """Send a FIN behind what waits, and go on reading.

        Raises:
            OSError: the peer has reset the connection.
        """
        if not self._closing and not self._eof:
            self._eof = True
            if self._unsent is None:
                self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Read no more, and close behind what waits to be sent."""
        if self._closing:
            return
        self._closing = True
        if self._unsent is None:
            self._lose(None)
        else:
            self._serve()

    def abort(self) -> None:
        """Close now, whatever waits."""
        self._lose(None)

    # --- the way past the protocol ---

    def pass_to(self, peer: RelayTransport | None) -> None:
        """Write all that is read to ``peer``, and do not show it to the protocol; None: show it."""
        self._peer = peer

    # --- what the selector calls ---

    def _read(self) -> bool:
        peer = self._peer
        if peer is None:
            return self._show()
        # Read and written at once, so that one buffer does for all connections; only what the peer does not take is
        # copied. Once for each turn, so that no connection has to wait for another's stream to end.
        buffer = self._relay.buffer
        try:
            size = self._sock.recv_into(buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error)
            return True
        if not size:
            self._read_eof()
            return True
        self.passed += size
        sent = 0
        if peer._unsent is None:
            try:
                sent = peer._sock.send(buffer[:size])
            except BlockingIOError:
                pass
            except OSError as error:
                peer._lose(error)
                return True
            if sent == size:
                return False
        peer._keep(buffer[sent:size])
        return True

    def _show(self) -> bool:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error)
            return True
        if not data:
            self._read_eof()
            return True
        try:
            self._protocol.data_received(data)
        except Exception as error:
            self._fail(error)
        return True

    def _read_eof(self) -> None:
        try:
            keep_open = self._protocol.eof_received()
        except Exception as error:
            self._fail(error)
            return
        if keep_open:
            self._ended = True
            self._serve()
        else:
            self.close()

    def _write(self) -> bool:
        assert self._unsent is not None
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error)
            return True
        if sent < len(self._unsent):
            del self._unsent[:sent]
        else:
            self._unsent = None
        if self._held and self.get_write_buffer_size() <= LOW:
            self._held = False
            self._ask(self._protocol.resume_writing)
        if self._unsent is None and not self._lost:
            self._drained()
        return True

    def _drained(self) -> None:
        if self._closing:
            self._lose(None)
            return
        self._serve()
        if self._eof:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:  # the peer has reset it meanwhile
                self._lose(error)

    def _keep(self, data: memoryview) -> None:
        """Send it later."""
        if self._unsent is None:
            self._unsent = bytearray(data)
            self._serve()
        else:
            self._unsent += data
        if not self._held and len(self._unsent) > HIGH:
            self._held = True
            self._ask(self._protocol.pause_writing)

    def _serve(self) -> None:
        """Be called for what there is to do."""
        if not self._lost:
            reading = not (self._paused or self._ended or self._closing)
            self._relay.serve(self._fd, self._read if reading else None, self._write if self._unsent else None)

    def _ask(self, pause: Callable[[], None]) -> None:
        try:
            pause()
        except Exception as error:
            self._fail(error)

    # --- its end ---

    def _fail(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {
                "message": "the engine failed on a connection, which is closed",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._unsent = None
        self._relay.forget(self._fd)
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()
            self._peer = None
            del self._protocol


def _peername(sock: socket.socket) -> Any:
    """The peer's address; None: it has left."""
    try:
        return sock.getpeername()
    except OSError:
        return None


class RelayServer:
    """Accepts clients; what :class:`asyncio.Server` is to asyncio's transports.

    Args:
        sock: bound, and not yet listening; it is closed with the server.
        factory: makes the protocol of each client.
        backlog: clients that may wait to be accepted.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        relay: RelaySelector,
        sock: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        backlog: int,
    ) -> None:
        self.sockets = (sock,)
        self._loop = loop
        self._relay = relay
        self._sock = sock
        self._factory = factory
        self._backlog = backlog
        self._again: asyncio.TimerHandle | None = None
        self._closed = False

    async def start_serving(self) -> None:
        """Listen.

        Raises:
            OSError: somebody else does.
        """
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # those that are accepted inherit it
        self._sock.listen(self._backlog)
        self._serve()

    def close(self) -> None:
        """Refuse clients from now on."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        self._relay.forget(self._sock.fileno())
        self._sock.close()

    def _serve(self) -> None:
        self._again = None
        self._relay.serve(self._sock.fileno(), self._accept, None)

    def _accept(self) -> bool:
        for _ in range(ACCEPT_AT_ONCE):
            if self._closed:  # by what was told of a client
                break
            try:
                client, _ = self._sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._rest(error)
                    break
                continue  # it has left again
            self._begin(client)
        return True

    def _begin(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            protocol = self._factory()
        except Exception as error:
            client.close()
            self._loop.call_exception_handler({"message": "the engine failed on a new client", "exception": error})
            return
        RelayTransport(self._loop, self._relay, client).begin(protocol)

    def _rest(self, error: OSError) -> None:
        """Clients wait, as they do in a full queue; those that are served must not."""
        logger.warning("no client can be accepted for now: %s", error.strerror)
        self._relay.serve(self._sock.fileno(), None, None)
        self._again = self._loop.call_later(ACCEPT_AGAIN, self._serve)


class Dial:
    """Connects to an address, and makes a transport for it; whoever asks for it does not wait.

    Args:
        failed: called with the reason when it cannot; never before :meth:`begin` has returned.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        relay: RelaySelector,
        protocol: asyncio.Protocol,
        failed: Callable[[OSError], None],
    ) -> None:
        self.pending = True
        """Whether it is still being tried."""
        self._loop = loop
        self._relay = relay
        self._protocol = protocol
        self._failed = failed
        self._address: tuple[str, int]
        self._sock: socket.socket | None = None

    @property
    def socket(self) -> socket.socket | None:
        """What it connects with, once it has begun."""
        return self._sock

    def begin(self, family: int, address: tuple[str, int]) -> None:
        """Connect; where the kernel has an answer at once, the protocol has its transport when this returns."""
        self._address = address
        try:
            self._sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.connect_ex(address)
        except OSError as error:
            self._loop.call_soon(self._fail, error)
            return
        self._look()

    def cancel(self) -> None:
        """Give it up, without a word."""
        self.pending = False
        if self._sock is not None:
            self._relay.forget(self._sock.fileno())
            self._sock.close()

    def _look(self) -> bool:
        # Asked again, connect() tells how far it is: on this machine it is done by now.
        sock = self._sock
        assert sock is not None
        code = sock.connect_ex(self._address)
        if code in (errno.EALREADY, errno.EINPROGRESS):
            self._relay.serve(sock.fileno(), None, self._look)
            return False
        if code in (0, errno.EISCONN):
            self.pending = False
            RelayTransport(self._loop, self._relay, sock).begin(self._protocol)
        else:
            self._loop.call_soon(self._fail, OSError(code, f"{os.strerror(code)} {self._address}"))
        return True

    def _fail(self, error: OSError) -> None:
        if self.pending:
            self.cancel()
            self._failed(error)


async def connect(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket connected to a host by its name: to the first of its addresses that can be.

    Raises:
        OSError: the name is not known, or none of its addresses can be connected to.
    """
    failed: OSError | None = None
    for family, kind, number, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, number)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failed = failed or error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed or OSError(f"{host} has no address")
