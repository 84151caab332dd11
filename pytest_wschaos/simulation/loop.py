"""The simulated loop: no selector, no sockets, no threads; time and the network are its own.

Everything in it is deterministic: the same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from asyncio import base_events, sslproto
from collections.abc import Callable
from typing import Any

from .clock import TIME_LIMIT
from .determinism import counted
from .errors import unsupported
from .network import Network
from .pipe import Mark
from .refusals import Refusals, SimulatedRefusals
from .sockets import Address, SimulatedSocket, no_longer, when_closed
from .transport import SimulatedTransport
from .turns import QuickTurns
from .unsupported import Unsimulated

_ATTACH_TAKES_TRANSPORT = len(inspect.signature(base_events.Server._attach).parameters) == 2  # type: ignore[attr-defined]
"""Since 3.13 a server knows its transports; before, it counted them."""
_NO_SUCH_FAMILY = getattr(socket, "EAI_ADDRFAMILY", socket.EAI_FAMILY)


class _Server(base_events.Server):
    """asyncio's own server, which needs no turn of the loop to begin."""

    async def start_serving(self) -> None:
        self._start_serving()  # type: ignore[attr-defined]

    @property
    def sockets(self) -> Any:
        """The simulated ones, which have no descriptor to be shown."""
        return tuple(self._sockets or ())  # type: ignore[attr-defined]


class SimulatedLoop(Unsimulated, QuickTurns, asyncio.BaseEventLoop):
    """An event loop for which an hour costs nothing but what happens in it.

    Args:
        seed: where all randomness of the process comes from while the loop runs.
        time_limit: virtual seconds after which :class:`.TimeLimit` is raised.
    """

    def __init__(self, seed: int = 0, time_limit: float = TIME_LIMIT) -> None:
        super().__init__()
        self._start_clock(seed, time_limit)
        self._start_turns()
        self.network = Network(self, seed)
        self._sockets: dict[socket.socket, SimulatedSocket] = {}
        self._in_executor = 0

    # --- what BaseEventLoop asks of a loop

    def _write_to_self(self) -> None:
        """It never waits, so nothing needs to wake it."""

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As on any loop, from its own thread.

        Raises:
            Unsupported: another thread called, or what would be one.
        """
        if self._in_executor:
            raise unsupported("a call in an executor called the loop, which would have to go on meanwhile", "real")
        if self._thread_id not in (None, threading.get_ident()):  # type: ignore[attr-defined]
            raise unsupported("another thread called the loop, and threads live in real time", "real")
        return self.call_soon(callback, *args, context=context)

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> asyncio.Transport:
        transport = SimulatedTransport(self, sock, counted(protocol, self.next_number()), extra, server)
        transport.begin(waiter)
        return transport

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: Any = None,
        ssl_shutdown_timeout: float | None = None,
        **_: Any,
    ) -> Any:
        tls = sslproto.SSLProtocol(
            self,
            counted(protocol, self.next_number()),
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return tls._app_transport

    def attach(self, server: Any, transport: asyncio.Transport) -> None:
        """A server has one connection more."""
        server._attach(transport) if _ATTACH_TAKES_TRANSPORT else server._attach()

    def detach(self, server: Any, transport: asyncio.Transport) -> None:
        """A server has one connection less."""
        server._detach(transport) if _ATTACH_TAKES_TRANSPORT else server._detach()

    def refusals(self) -> Refusals:
        """Tells of refused attempts: the simulated network knows them."""
        return SimulatedRefusals(self)

    # --- names

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """The simulated network's names; no thread is asked."""
        return [_info(address) for address in self._addresses(host, port, family, passive=flags & socket.AI_PASSIVE)]

    def _addresses(self, host: Any, port: Any, family: int, *, passive: int = 0) -> list[Address]:
        """The addresses of a host in a family.

        Raises:
            socket.gaierror: there is none.
        """
        if family == socket.AF_INET6 and not passive and host in (None, "", "localhost"):
            host = "::1"
        found = self.network.resolve(host, port, passive=bool(passive))
        if not (fitting := [address for address in found if family in (0, _family(address))]):
            raise socket.gaierror(_NO_SUCH_FAMILY, "Address family for hostname not supported")
        return fitting

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """Numbers are not looked up."""
        return str(sockaddr[0]), str(sockaddr[1])

    # --- connections

    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        family: int = 0,
        sock: Any = None,
        local_addr: Any = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        **_: Any,
    ) -> Any:
        """As on any loop, over the simulated network."""
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        _check(host, port, sock, "host and port was not specified and no sock specified")
        if server_hostname is None and ssl:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host
        if sock is not None:
            simulated = self._adopted(sock)
        else:
            (address,) = self._addresses(host, port, family)
            simulated = await self.network.connect(address, local_addr)
        return await self._create_connection_transport(  # type: ignore[attr-defined]
            simulated,
            protocol_factory,
            ssl,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket that a library has made: it stays unconnected, and stands for the simulated one."""
        (target,) = self.network.resolve(address[0], address[1])
        simulated = await self.network.connect(target)
        self._sockets[sock] = simulated
        when_closed(sock, self._unused)

    def _unused(self, sock: socket.socket) -> None:
        """It was closed without ever getting a transport; the kernel tells the peer."""
        simulated = self._sockets.pop(sock)
        if not self.is_closed():
            simulated.give_up(Mark.RST if simulated.into.waits() else Mark.FIN)

    def _adopted(self, sock: socket.socket) -> SimulatedSocket:
        if sock not in self._sockets:
            raise unsupported("a connection over a socket that is connected for real", "hybrid", "real")
        no_longer(sock)
        simulated = self._sockets.pop(sock)
        simulated.adopted = sock
        return simulated

    async def create_server(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        family: int = 0,
        sock: Any = None,
        backlog: int = 100,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        **_: Any,
    ) -> asyncio.Server:
        """As on any loop, on the simulated network; it never has to wait."""
        _check(host, port, sock, "Neither host/port nor sock were specified")
        if sock is not None:
            sockets = [self._listener_like(sock)]
        else:
            hosts = [host] if host is None or isinstance(host, str) else list(host)
            sockets = self._bound(hosts, port, family)
        server = _Server(
            self,
            sockets,  # type: ignore[arg-type]
            protocol_factory,
            ssl,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        if start_serving:
            server._start_serving()  # type: ignore[attr-defined]
        return server

    def _bound(self, hosts: list[Any], port: Any, family: int) -> list[SimulatedSocket]:
        sockets: list[SimulatedSocket] = []
        try:
            for host in hosts:
                addresses = self._addresses(host, port, family, passive=True)
                sockets.extend(map(self.network.bind, addresses))  # which keeps those before one that fails
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    def _listener_like(self, sock: socket.socket) -> SimulatedSocket:
        """A simulated listener at the address of a real socket, which never listens."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise unsupported(f"a listener of the family {sock.family.name}", "hybrid", "real")
        dual = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        simulated = self.network.bind(sock.getsockname()[:2], dual=dual)
        simulated.adopted = sock
        return simulated

    def _start_serving(
        self,
        protocol_factory: Callable[[], Any],
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        def accept(connection: SimulatedSocket) -> None:
            try:
                protocol = protocol_factory()
            except Exception as error:
                connection.give_up(Mark.FIN)
                if self.get_debug():
                    message = "Error on transport creation for incoming connection"
                    self.call_exception_handler({"message": message, "exception": error})
                return
            extra = {"peername": connection.getpeername()}
            if sslcontext is None:
                self._make_socket_transport(connection, protocol, extra=extra, server=server)
                return
            waiter = self.create_future()
            self._make_ssl_transport(
                connection,
                protocol,
                sslcontext,
                waiter,
                server_side=True,
                extra=extra,
                server=server,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
            waiter.add_done_callback(_looked_at)

        self.network.listen(sock, accept)

    def _stop_serving(self, sock: Any) -> None:
        sock.close()

    # --- what would need a thread

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Call the function here and now: in a thread it would take real time."""
        future = self.create_future()
        self._in_executor += 1
        try:
            future.set_result(func(*args))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            future.set_exception(error)
        finally:
            self._in_executor -= 1
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., Any], *args: Any
    ) -> None:
        """Signals come in real time: none is ever handled here."""

    def remove_signal_handler(self, sig: int) -> bool:
        """None is handled."""
        return False


def _looked_at(waiter: asyncio.Future[Any]) -> None:
    """A TLS handshake that fails is the peer's affair; asyncio logs it in debug mode only."""
    if not waiter.cancelled():
        waiter.exception()


def _check(host: Any, port: Any, sock: Any, neither: str) -> None:
    """What asyncio demands of an address or a socket.

    Raises:
        ValueError: both are given, or none.
    """
    addressed = host is not None or port is not None
    if addressed and sock is not None:
        raise ValueError("host/port and sock can not be specified at the same time")
    if not addressed and sock is None:
        raise ValueError(neither)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _info(address: Address) -> Any:
    """An entry of getaddrinfo()."""
    family = _family(address)
    shown = (*address, 0, 0) if family == socket.AF_INET6 else address
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", shown
