"""A proxy: listens on one address, connects each client to the upstream, and holds the toxics of its connections."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import listener
from .chain import Chain
from .connection import Connection, How, Pipe, reset
from .descriptor import Dial, RelayServer, RelayTransport, connect
from .errors import BadRequest, CannotListen, Exists, NotFound
from .listener import WILDCARDS
from .observer import SILENT, Observer
from .refusals import Refusals, Reservation
from .relay import relay_of
from .stage import Attributes, Stage
from .toxics import TOXICS
from .toxics.reset_peer import ResetPeer

BACKLOG = 4096
"""Connections that may wait to be accepted: a herd must not lose SYNs, whose repetition takes the kernel a second."""

STREAMS = ("upstream", "downstream")


@dataclass
class Toxic:
    """A toxic of a proxy. ``attributes`` are shared with the stages that carry it out."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Attributes
    new_only: bool = False
    """Whether connections that were open when it came are spared."""

    @property
    def upstream(self) -> bool:
        """Whether it works on what the client sends."""
        return self.stream.lower() == "upstream"


def parse_address(address: str) -> tuple[str, int]:
    """Split ``host:port``; an empty host means all interfaces.

    Raises:
        CannotListen: it is no address, in the words of Toxiproxy.
    """
    host, colon, port = address.rpartition(":")
    if not colon:
        raise CannotListen(f"address {address}: missing port in address")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise CannotListen(f"address {port}: invalid port")
    return host.strip("[]"), int(port)


async def resolve(address: str) -> tuple[str, int]:
    """Host and port of a listen address, the host as an IP address; of several the first of IPv4, as in Go.

    Raises:
        CannotListen: it is no address, or its name is not known.
    """
    host, port = parse_address(address or ":0")
    try:
        return (str(ipaddress.ip_address(host)) if host else ""), port
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise CannotListen(f"lookup {host}: no such host") from None
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    return str(found[0][4][0]), port


@functools.lru_cache(maxsize=256)
def literal(upstream: str) -> tuple[socket.AddressFamily, tuple[str, int]] | None:
    """How to connect to an upstream that is given by its IP address; None: it has to be looked up, or is none."""
    try:
        host, port = parse_address(upstream)
        version = ipaddress.ip_address(host).version
    except (CannotListen, ValueError):
        return None
    if "%" in host:  # a zone, whose number has to be looked up
        return None
    return (socket.AF_INET if version == 4 else socket.AF_INET6), (host, port)


def join_address(host: str, port: int) -> str:
    """``host:port``, the host in brackets where it has colons."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Proxy:
    """One listener, its upstream, its connections and its toxics.

    Everything but :meth:`start` takes effect at once and without waiting; all of it belongs to the loop's thread.

    Args:
        seed: where the randomness of toxics comes from, drawn per connection, toxic and direction.
    """

    def __init__(
        self,
        name: str,
        listen: str,
        upstream: str,
        *,
        seed: int = 0,
        observer: Observer = SILENT,
        refusals: Refusals | None = None,
    ) -> None:
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.toxics: list[Toxic] = []
        self.connections: dict[Connection, dict[str, Stage]] = {}
        self._seed = seed
        self._observer = observer
        self._refusals = refusals
        self._server: asyncio.Server | RelayServer | None = None
        self._accepted = 0
        self._resetting = False
        self._refused_port: int | None = None
        self._reserved: Reservation | None = None

    @property
    def enabled(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def start(self) -> None:
        """Listen. ``listen`` then holds the address with the port that was found for port 0.

        Raises:
            CannotListen: the address is taken, or is none.
        """
        self._resetting = False
        if self.enabled:
            return
        try:
            host, port = await resolve(self.listen)
        except CannotListen as error:
            raise CannotListen(f"listen tcp: {error}") from None
        try:
            self._server = await self._serve(host, port)
            self._watch(False)  # before it listens, so that no attempt is told of twice, as refused and as accepted
            await self._server.start_serving()
        except OSError as error:
            self._watch(True)
            self._close()
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise CannotListen(f"listen tcp {join_address(host, port)}: bind: {reason}") from error
        self.listen = join_address(*self._server.sockets[0].getsockname()[:2])
        self._forgive()

    async def _serve(self, host: str, port: int) -> asyncio.Server | RelayServer:
        loop = asyncio.get_running_loop()
        if (relay := relay_of(loop)) is not None:
            return RelayServer(loop, relay, listener.bind(host, port), self._accept, BACKLOG)
        if host in WILDCARDS:
            if socket.has_dualstack_ipv6():
                # asyncio would open a socket for each family, on ports of their own.
                family = socket.AF_INET6
                sock = socket.create_server(("", port), family=family, backlog=BACKLOG, dualstack_ipv6=True)
                return await loop.create_server(self._accept, sock=sock, backlog=BACKLOG, start_serving=False)
            host = "0.0.0.0"
        return await loop.create_server(self._accept, host, port, backlog=BACKLOG, start_serving=False)

    async def update(
        self, *, listen: str | None = None, upstream: str | None = None, enabled: bool | None = None
    ) -> None:
        """Change what is given. A new address or upstream ends all connections; toxics stay.

        While it is disabled, the observer is told of refused attempts.

        Raises:
            CannotListen: the address is none (nothing changes), or is taken (it is left disabled, with that address).
        """
        listen = self.listen if listen is None else listen
        upstream = self.upstream if upstream is None else upstream
        enabled = not self.refusing if enabled is None else enabled
        if await self.differs(listen, upstream):
            self.retire()
            self.listen, self.upstream = listen, upstream
        if enabled:
            await self.start()
        elif self._refusals is not None:
            self.refuse()
        else:
            self.stop()

    async def differs(self, listen: str, upstream: str) -> bool:
        """Whether these are another address or upstream than its own.

        Raises:
            CannotListen: ``listen`` is no address.
        """
        return join_address(*await resolve(listen)) != self.listen or upstream != self.upstream

    def stop(self, how: How = "fin") -> None:
        """Stop listening and end all connections, as when a server goes down. ``listen`` stays what it was."""
        self._close()
        for connection in list(self.connections):
            connection.cut("down", how)

    def refuse(self, *, how: How = "fin") -> None:
        """End all connections and refuse new ones; the observer is told of each attempt.

        Where the kernel does not tell of refused attempts they are accepted and reset at once instead.
        Without effect on a proxy that does not listen.
        """
        if not self.enabled:
            return
        if self._refusals is None:
            self._resetting = True
            self.cut("down", how)
            return
        self._refused_port = self.address[1]
        self._refusals.expect(self._refused_port, self)
        self.stop(how)
        self._reserved = self._refusals.reserve(*self.address)

    def at(self, address: bytes) -> bool:
        """Whether it listens on an IP address, given in 4 or 16 bytes."""
        host, told = self.address[0], ipaddress.ip_address(address)
        if isinstance(told, ipaddress.IPv6Address) and told.ipv4_mapped is not None:
            told = told.ipv4_mapped
        return host in WILDCARDS or ipaddress.ip_address(host) == told

    def refused(self, at: float, late: float) -> None:
        """The kernel refused a client."""
        self._observer.refused(self.name, at, late)

    def blind(self) -> None:
        """Refused clients can no longer be told apart."""
        self._observer.blind(self.name)

    @property
    def refusing(self) -> bool:
        """Whether it turns clients away."""
        return self._resetting or not self.enabled

    def retire(self) -> None:
        """Stop, and tell of no more attempts: the address is given up."""
        self._forgive()
        self.stop()

    def drop(self) -> None:
        """Stop, and let go of every socket at once."""
        self._close()
        self._forgive()
        for connection in list(self.connections):
            connection.drop()

    def _watch(self, on: bool) -> None:
        """Be told of attempts while it refuses, or no more."""
        if self._refusals is not None and self._refused_port is not None:
            if on:
                self._refusals.expect(self._refused_port, self)
            else:
                self._refusals.forgive(self._refused_port)

    def _forgive(self) -> None:
        self._watch(False)
        self._refused_port = None
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _close(self) -> None:
        if self._server is not None:
            listener.close(self._server)
            self._server = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        return parse_address(self.listen)

    def cut(self, fault: str, how: How) -> int:
        """End all live connections now; returns how many there were."""
        live = [connection for connection in self.connections if not connection.client.over]
        for connection in live:
            connection.cut(fault, how)
        return len(live)

    def add_toxic(
        self,
        type: str,
        *,
        name: str | None = None,
        stream: str = "downstream",
        toxicity: float = 1.0,
        attributes: Mapping[str, float] | None = None,
        new_only: bool = False,
    ) -> Toxic:
        """Add a toxic, to live connections and to new ones (``new_only``: to new ones alone).

        Raises:
            BadRequest: no such type or stream.
            Exists: there is a toxic of that name.
        """
        name, known = self.check_toxic(type, stream, name)
        values = {**known, **{key: value for key, value in (attributes or {}).items() if key in known}}
        toxic = Toxic(name, type, stream, toxicity, values, new_only)
        self.toxics.append(toxic)
        if not new_only:
            for connection, stages in list(self.connections.items()):
                self._install(toxic, connection, stages, opened_with=False)
        return toxic

    def check_toxic(self, type: str, stream: str, name: str | None) -> tuple[str, Mapping[str, float]]:
        """Name and attributes that a new toxic would get, unless others are given.

        Raises:
            BadRequest: no such type or stream.
            Exists: there is a toxic of that name.
        """
        if stream.lower() not in STREAMS:
            raise BadRequest("stream was invalid, can be either upstream or downstream")
        if type not in TOXICS:
            raise BadRequest("invalid toxic type")
        name = name or f"{type}_{stream}"
        if any(toxic.name == name for toxic in self.toxics):
            raise Exists("toxic already exists")
        return name, TOXICS[type].defaults

    def toxic(self, name: str) -> Toxic:
        """The toxic of a name.

        Raises:
            NotFound: there is none.
        """
        for toxic in self.toxics:
            if toxic.name == name:
                return toxic
        raise NotFound("toxic not found")

    def update_toxic(
        self, name: str, *, attributes: Mapping[str, float] | None = None, toxicity: float | None = None
    ) -> Toxic:
        """Change attributes (those given) and toxicity; live connections see it at once.

        Raises:
            NotFound: there is no toxic of that name.
        """
        toxic = self.toxic(name)
        toxic.toxicity = toxic.toxicity if toxicity is None else toxicity
        toxic.attributes.update({key: value for key, value in (attributes or {}).items() if key in toxic.attributes})
        for connection, stage in list(self._carrying(name)):
            self._pipe(toxic, connection).change(lambda chain, now, stage=stage: stage.on_update(now))  # type: ignore[misc]
        return toxic

    def remove_toxic(self, name: str) -> None:
        """Take a toxic away; what it held goes on, unless connections that met it keep it.

        Raises:
            NotFound: there is no toxic of that name.
        """
        toxic = self.toxic(name)
        self.toxics.remove(toxic)
        for connection, stage in list(self._carrying(name)):
            del self.connections[connection][name]
            if not stage.sticky:
                self._pipe(toxic, connection).change(lambda chain, now, stage=stage: chain.remove(stage, now))  # type: ignore[misc]

    def _carrying(self, name: str) -> Iterator[tuple[Connection, Stage]]:
        for connection, stages in self.connections.items():
            if name in stages:
                yield connection, stages[name]

    @staticmethod
    def _pipe(toxic: Toxic, connection: Connection) -> Pipe:
        return connection.up if toxic.upstream else connection.down

    def _install(self, toxic: Toxic, connection: Connection, stages: dict[str, Stage], *, opened_with: bool) -> None:
        rng = random.Random(f"{self._seed}/{self.name}/{connection.number}/{toxic.name}")
        if rng.random() >= toxic.toxicity:
            return
        stage = TOXICS[toxic.type](toxic.attributes, rng)
        if isinstance(stage, ResetPeer):
            stage.opened_with = opened_with
        stages[toxic.name] = stage

        def add(chain: Chain, now: float) -> None:
            chain.add(stage, now)

        self._pipe(toxic, connection).change(add)

    def _accept(self) -> asyncio.Protocol:
        if self._resetting:
            self._observer.refused(self.name, asyncio.get_running_loop().time(), 0.0)
            return _Reset()
        self._accepted += 1
        loop = asyncio.get_running_loop()
        tap = self._observer.attempt(self.name) or SILENT
        connection = Connection(loop, tap, self._dial, self._forget, self._accepted)
        stages: dict[str, Stage] = {}
        for toxic in self.toxics:
            self._install(toxic, connection, stages, opened_with=True)
        self.connections[connection] = stages
        if self._server is None:  # it connected just before the proxy stopped
            connection.cut("down", "fin")
        return connection.client

    def _dial(self, connection: Connection) -> None:
        relay, known = relay_of(connection.loop), literal(self.upstream)
        if relay is None or known is None:
            connection.dialling = connection.loop.create_task(self._connect(connection))
            return
        upstream = self.upstream

        def failed(error: OSError) -> None:
            connection.dialling = None
            self._unreachable(connection, upstream, error)

        dial = Dial(connection.loop, relay, connection.server, failed)
        connection.dialling = dial
        dial.begin(*known)

    async def _connect(self, connection: Connection) -> None:
        loop, relay, upstream = connection.loop, relay_of(connection.loop), self.upstream
        try:
            host, port = parse_address(upstream)
            if relay is None:
                await loop.create_connection(lambda: connection.server, host or "localhost", port)
            else:
                sock = await connect(loop, host or "localhost", port)
                RelayTransport(loop, relay, sock).begin(connection.server)
        except (OSError, ValueError, CannotListen) as error:  # ValueError: a host name that cannot be
            self._unreachable(connection, upstream, error)
        connection.dialling = None

    @staticmethod
    def _unreachable(connection: Connection, upstream: str, error: Exception) -> None:
        connection.unreachable(f"upstream {upstream} cannot be reached: {error}")

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)


class _Reset(asyncio.Protocol):
    """Turns a client away as soon as it has connected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        reset(transport)
