"""The simulated network: hosts by name, listeners, and what lies between them.

network = loop.network
network.host("server")                               # a name, with an address of its own
network.link("server", latency=0.05, jitter=0.02)    # both ways, for live connections and new ones
with network.refuse("server"): ...                   # also unreachable(), unanswered(), partition(), hold()
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import itertools
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

from .pipe import Link, Mark, Pipe
from .sockets import Address, SimulatedSocket

if TYPE_CHECKING:
    from .loop import SimulatedLoop

FIRST_PORT = 20_000
"""The first port that is given to a listener that asks for any. None is given twice."""
CLIENT_PORTS = range(40_000, 65_536)
"""The ports of those who connect. They are given again once their connection is over."""
SYN_RETRY = 1.0
"""Seconds until a SYN is repeated, then 2, 4 ...; Linux's tcp_syn_retries of 6 ends it after 127 s."""
SYN_TIMEOUT = 127.0
LOCAL = ("127.0.0.1", "::1")
WILDCARDS = ("0.0.0.0", "::")

Way = Literal["both", "up", "down"]
Listener = tuple[Callable[[SimulatedSocket], None], Context]
Answer = Literal["refuse", "unreachable", "unanswered"]


class Connection:
    """A simulated TCP connection: ``up`` leads from who connected to who accepted."""

    def __init__(self, client: SimulatedSocket, server: SimulatedSocket, up: Pipe, down: Pipe) -> None:
        self.client, self.server = client, server
        self.up, self.down = up, down
        self.live = True

    @property
    def address(self) -> Address:
        """Where it leads."""
        return self.server.getsockname()[:2]  # type: ignore[no-any-return]

    def pipes(self, way: Way = "both") -> list[Pipe]:
        """Its directions."""
        return [pipe for name, pipe in (("up", self.up), ("down", self.down)) if way in ("both", name)]

    def reset(self) -> None:
        """A RST for both sides, from something in between."""
        for pipe in self.pipes():
            pipe.reset()

    def blackhole(self, way: Way = "both") -> None:
        """Swallow all that is sent from now on, ends too, and tell nobody."""
        for pipe in self.pipes(way):
            pipe.blackhole()

    def hold(self, way: Way = "both") -> None:
        """Let nothing arrive until :meth:`release`; nothing is lost."""
        for pipe in self.pipes(way):
            pipe.hold()

    def release(self, way: Way = "both") -> None:
        """Let go what was held, at once and in order."""
        for pipe in self.pipes(way):
            pipe.release()


class Handshake:
    """Reads a direction until a transport does, and takes one mark from it: the handshake's next part, or a RST."""

    max_size = 1

    def __init__(self, pipe: Pipe, then: Callable[[Mark], None], context: Context) -> None:
        self._pipe, self._then, self.context = pipe, then, context
        pipe.attach(self)

    def marked(self, mark: Mark) -> None:
        """It has come."""
        self._pipe.target = None
        self._then(mark)

    def arrived(self, data: bytes) -> None:
        """Never: no data comes before it."""


class Network:
    """All hosts, listeners and connections of one simulated loop."""

    def __init__(self, loop: SimulatedLoop, seed: int) -> None:
        self._loop = loop
        self._random = random.Random(f"network/{seed}")
        self._hosts: dict[str, str] = {"localhost": LOCAL[0]}
        self._addresses = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(1, 1 << 24))
        self._listeners: dict[Address, Listener] = {}
        self._taken: dict[Address, SimulatedSocket] = {}
        self._links: dict[str, tuple[Link, Link]] = {}
        self._answers: list[tuple[str, int | None, Answer]] = []
        self._partitioned: list[str] = []
        self._holds: list[tuple[str, asyncio.Future[None]]] = []
        self._ports = iter(range(FIRST_PORT, CLIENT_PORTS.start))
        self._client_ports = itertools.cycle(CLIENT_PORTS)
        self._used_ports: set[int] = set()
        self.connections: dict[Connection, None] = {}
        """Those of which a side is open, in the order in which they were made."""
        self.refused: list[Callable[[Address], None]] = []
        """Told of each attempt that is refused, with the address that was tried."""

    # --- names

    def host(self, name: str) -> str:
        """The address of a name; a new name is given one."""
        if name not in self._hosts:
            self._hosts[name] = next(ip for ip in self._addresses if not self._known(ip))
        return self._hosts[name]

    def resolve(self, host: str | None, port: Any, *, passive: bool = False) -> list[Address]:
        """The addresses of a host.

        Raises:
            socket.gaierror: there is no such name.
        """
        number = _port(port)
        if not host:
            return [(ip, number) for ip in (WILDCARDS if passive else LOCAL[:1])]
        host = host.decode() if isinstance(host, bytes) else host
        if (ip := _as_ip(host)) is not None:
            return [(ip, number)]
        if host not in self._hosts and not passive:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(self.host(host), number)]

    # --- listening

    def bind(self, address: Address, *, dual: bool = False) -> SimulatedSocket:
        """A socket that holds an address, and does not listen yet.

        Args:
            address: the address.
            dual: whether ``::`` means all addresses of IPv4, too. asyncio's own listeners are not so.

        Raises:
            OSError: the address is taken.
        """
        ip, port = address
        if ip not in WILDCARDS and not self._known(ip):
            self._hosts[ip] = ip
        if port == 0:
            port = next((port for port in self._ports if not self._is_taken((ip, port), dual)), 0)
        if not port or self._is_taken((ip, port), dual):
            raise OSError(
                errno.EADDRINUSE,
                f"error while attempting to bind on address {(ip, port)!r}: {os.strerror(errno.EADDRINUSE).lower()}",
            )
        sock = SimulatedSocket((ip, port))
        if dual:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._taken[ip, port] = sock
        sock.on_close = sock.on_shutdown = lambda: self.give_up(sock)
        return sock

    def _local(self, target: Address, wanted: Address | None) -> Address:
        """The address of who connects."""
        ip, port = wanted or (LOCAL[":" in target[0]], 0)
        if not port:
            many = len(self._used_ports) >= len(CLIENT_PORTS)  # then they are shared, to different targets as a rule
            port = next(port for port in self._client_ports if many or port not in self._used_ports)
        return ip, port

    def _is_taken(self, address: Address, dual: bool) -> bool:
        ip, port = address
        return any(
            other[1] == port and (_covers(other[0], ip, sock.dual) or _covers(ip, other[0], dual))
            for other, sock in self._taken.items()
        )

    def listen(self, sock: SimulatedSocket, accept: Callable[[SimulatedSocket], None]) -> None:
        """Accept what comes to a socket's address."""
        self._listeners[sock.getsockname()[:2]] = accept, copy_context()

    def give_up(self, sock: SimulatedSocket) -> None:
        """Accept nothing more at its address, which is free again: for a shut down listener too, by SO_REUSEADDR."""
        address = sock.getsockname()[:2]
        if self._taken.get(address) is sock:
            del self._taken[address]
            self._listeners.pop(address, None)

    def _listener(self, address: Address) -> Listener | None:
        ip, port = address
        for own in (ip, *WILDCARDS):
            sock = self._taken.get((own, port))
            if sock is not None and _covers(own, ip, sock.dual) and (own, port) in self._listeners:
                return self._listeners[own, port]
        return None

    def listens(self, host: str, port: int) -> bool:
        """Whether somebody accepts at an address."""
        return self._listener(self.resolve(host, port)[0]) is not None

    # --- connecting

    async def connect(self, address: Address, local: Address | None = None) -> SimulatedSocket:
        """A connection to an address; returns the client's end.

        Raises:
            OSError: as the kernel says: refused, no route, timed out.
        """
        if address[0] in WILDCARDS:  # to "any address" means to this machine
            address = (LOCAL[":" in address[0]], address[1])
        up, down = self._link(address[0])
        begun = await self._pass(address, up.latency)
        answer = self._answer(address)
        if answer == "unreachable" or not self._known(address[0]):
            raise _failed(errno.EHOSTUNREACH, address)
        listener = self._listener(address) if answer is None else None
        if listener is None:
            for told in tuple(self.refused):
                told(address)
            await self._pause(down.latency)
            raise _failed(errno.ECONNREFUSED, address)
        client = SimulatedSocket(self._local(address, local), address)
        server = SimulatedSocket(address, client.getsockname()[:2])
        self._join(client, server, up, down)
        _, context = listener
        try:
            if up.latency or down.latency:
                await self._handshake(client, server, context, begun + SYN_TIMEOUT)
            else:
                self._loop.happen(self._accept, server, context=context)
                await self._pause(0)
        except BaseException:
            client.give_up(Mark.FIN)
            raise
        return client

    async def _handshake(
        self, client: SimulatedSocket, server: SimulatedSocket, context: Context, until: float
    ) -> None:
        """The rest of it, after the SYN: each part travels as data does, and may be lost and held as data is.

        Raises:
            OSError: refused by a RST in between, or timed out.
        """
        answered = self._loop.create_future()

        def confirmed(mark: Mark) -> None:
            if mark is Mark.SYN:
                self._accept(server)
            else:
                server.give_up(Mark.RST)

        def answer(mark: Mark) -> None:
            if mark is Mark.SYN:
                client.out.mark(Mark.SYN)  # on its way with the client's first data, and before it
            if not answered.done():
                answered.set_result(mark)

        Handshake(server.into, confirmed, context)
        Handshake(client.into, answer, copy_context())
        server.out.mark(Mark.SYN)
        try:
            async with asyncio.timeout_at(until):
                mark = await answered
        except BaseException as error:  # given up: a server that answers later is told so by a RST, and never accepts
            server.give_up(Mark.RST)
            if isinstance(error, TimeoutError):
                raise _failed(errno.ETIMEDOUT, client.getpeername()[:2]) from None
            raise
        if mark is not Mark.SYN:
            server.give_up(Mark.RST)
            raise _failed(errno.ECONNREFUSED, client.getpeername()[:2])

    def _accept(self, server: SimulatedSocket) -> None:
        listener = self._listener(server.getsockname()[:2])
        if listener is None:  # it was closed with this connection in its queue
            server.give_up(Mark.RST)
        else:
            listener[0](server)

    async def _pass(self, address: Address, latency: float) -> float:
        """Wait until a SYN gets through; returns since when its sender's patience counts, which a hold puts off.

        Raises:
            TimeoutError: none ever does.
        """
        begun = self._loop.time()
        if latency:
            await self._pause(latency)
        retry = SYN_RETRY
        while held := next((future for ip, future in self._holds if ip == address[0]), None):
            await asyncio.shield(held)
            begun = self._loop.time()
        at = begun
        while self._answer(address) == "unanswered" or address[0] in self._partitioned:
            at += retry
            retry *= 2
            if at - begun >= SYN_TIMEOUT:
                await self._pause(begun + SYN_TIMEOUT - self._loop.time())
                raise _failed(errno.ETIMEDOUT, address)
            await self._pause(at + latency - self._loop.time())
        return begun

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def _join(self, client: SimulatedSocket, server: SimulatedSocket, up: Link, down: Link) -> None:
        one, other = Pipe(self._loop, up, self._random), Pipe(self._loop, down, self._random)
        client.out = server.into = one
        client.into = server.out = other
        connection = Connection(client, server, one, other)
        self.connections[connection] = None
        port = client.getsockname()[1]
        self._used_ports.add(port)
        left = 2

        def closed() -> None:
            nonlocal left
            left -= 1
            if not left:
                self.connections.pop(connection, None)
                self._used_ports.discard(port)
                for pipe in connection.pipes():
                    pipe.detach()

        client.on_close = server.on_close = closed

    def _known(self, ip: str) -> bool:
        return ip in self._hosts.values() or ipaddress.ip_address(ip).is_loopback

    def _answer(self, address: Address) -> Answer | None:
        for ip, port, answer in reversed(self._answers):
            if ip == address[0] and port in (None, address[1]):
                return answer
        return None

    # --- links and faults

    def _link(self, ip: str) -> tuple[Link, Link]:
        if ip not in self._links:
            self._links[ip] = Link(), Link()
        return self._links[ip]

    def link(self, host: str, way: Way = "both", **figures: Any) -> None:
        """Change the way to a host (see :class:`Link` for the figures), for live connections and for new ones.

        Raises:
            ValueError: a figure that there is not, or that cannot be.
        """
        known = {field.name for field in fields(Link)}
        if unknown := set(figures) - known:
            raise ValueError(f"no figure {', '.join(sorted(unknown))} of a link: there are {', '.join(sorted(known))}")
        for name, link in zip(("up", "down"), self._link(self._ip(host)), strict=True):
            if way in ("both", name):
                checked = replace(link, **figures)
                for field in known:
                    setattr(link, field, getattr(checked, field))
        for connection in self.to(host):
            for pipe in connection.pipes(way):
                pipe.room()

    def _ip(self, host: str) -> str:
        return self.resolve(host, 0)[0][0]

    def to(self, host: str, port: int | None = None) -> Iterator[Connection]:
        """The open connections to a host."""
        ip = self._ip(host)
        return (c for c in list(self.connections) if c.address[0] == ip and port in (None, c.address[1]))

    @contextmanager
    def _answering(self, host: str, port: int | None, answer: Answer) -> Iterator[None]:
        entry = (self._ip(host), port, answer)
        self._answers.append(entry)
        try:
            yield
        finally:
            self._answers.remove(entry)

    def refuse(self, host: str, port: int | None = None) -> Any:
        """Refuse new connections, while the block lasts."""
        return self._answering(host, port, "refuse")

    def unreachable(self, host: str, port: int | None = None) -> Any:
        """Have no route to a host for new connections, while the block lasts."""
        return self._answering(host, port, "unreachable")

    def unanswered(self, host: str, port: int | None = None) -> Any:
        """Leave SYNs unanswered, while the block lasts."""
        return self._answering(host, port, "unanswered")

    @contextmanager
    def partition(self, host: str) -> Iterator[None]:
        """Lose all that goes to and comes from a host, while the block lasts; then TCP repeats it."""
        ip = self._ip(host)
        self._partitioned.append(ip)
        cut = list(self.to(host))
        for connection in cut:
            for pipe in connection.pipes():
                pipe.lose()
        try:
            yield
        finally:
            self._partitioned.remove(ip)
            for connection in cut:
                for pipe in connection.pipes():
                    pipe.repair()

    @contextmanager
    def hold(self, host: str, way: Way = "both") -> Iterator[None]:
        """Hold all that is on its way to and from a host, while the block lasts; then let it go in order.

        New connections are held as well, whichever way is given.
        """
        held = list(self.to(host))
        entry = (self._ip(host), self._loop.create_future())
        self._holds.append(entry)
        for connection in held:
            connection.hold(way)
        try:
            yield
        finally:
            self._holds.remove(entry)
            entry[1].set_result(None)
            for connection in held:
                connection.release(way)


def _covers(own: str, ip: str, dual: bool) -> bool:
    """Whether a socket that is bound to an address accepts what comes to another."""
    return own == ip or (own in WILDCARDS and (dual or (":" in own) == (":" in ip)))


@functools.lru_cache(1024)
def _as_ip(host: str) -> str | None:
    """An IP address in its usual form, without a scope; None: it is a name."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def _port(port: Any) -> int:
    if port is None or port == "":
        return 0
    try:
        number = int(port)
    except ValueError:
        return socket.getservbyname(port)
    if not 0 <= number <= 65535:
        raise OverflowError("port must be 0-65535")
    return number


def _failed(number: int, address: Address) -> OSError:
    return OSError(number, f"Connect call failed {address}")
