"""A proxy: listens on one address, connects each client to the upstream, and holds the toxics of its connections."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import logging
import os
import random
import socket
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, get_args

from . import listener, open_files, unanswered
from .chain import Chain
from .connection import Connection, How, Pipe, reset
from .descriptor import ACCEPT_AT_ONCE, Dial, RelayServer, RelayTransport, connect
from .errors import BadRequest, CannotListen, Exists, NotFound
from .listener import WILDCARDS, is_at, join_address
from .observer import SILENT, SILENT_TAP, Observer, ProxyChange, ToxicChange
from .refusals import Refusals, Reservation
from .relay import relay_of
from .stage import Attributes, Stage
from .targets import Targets
from .tls import PLAIN
from .toxics import TOXICS

log = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections that may wait to be accepted: a herd must not lose SYNs, whose repetition takes the kernel a second."""
TELL_AGAIN = 10.0
"""Seconds for which a proxy does not tell again that there is no room for its clients."""

STREAMS = ("upstream", "downstream")

Down = Literal["refuse", "observe", "unanswered", "silent"]
"""How a proxy is down:

- ``refuse``: nobody listens; attempts are refused by the kernel, and the observer is told where it tells of them.
- ``observe``: each attempt is accepted, told to the observer, and reset.
- ``unanswered``: SYNs are not answered, and nobody is told.
- ``silent``: attempts are accepted, and nothing is ever answered.
"""


@dataclass
class Toxic:
    """A toxic of a proxy. ``attributes`` are shared with the stages that carry it out."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Attributes
    targets: Targets
    since: float
    """When it was made, in the loop's time."""

    @property
    def upstream(self) -> bool:
        """Whether it works on what the client sends."""
        return self.stream.lower() == "upstream"


@dataclass(frozen=True)
class NewToxic:
    """A toxic that is asked for; see :meth:`Proxy.add_toxic`."""

    type: str
    name: str
    stream: str
    toxicity: float
    attributes: Mapping[str, Any]
    connections: Any = None


def parse_address(address: str) -> tuple[str, int]:
    """Split ``host:port``; an empty host means all interfaces, and no port one that is free.

    Raises:
        CannotListen: it is no address, in the words of Toxiproxy.
    """
    host, colon, port = address.rpartition(":")
    if address.startswith("["):
        if "]" not in address:
            raise CannotListen(f"address {address}: missing ']' in address")
        host, _, port = address[1:].rpartition("]")
        colon, port = port[:1], port[1:]
        if colon != ":":
            raise CannotListen(f"address {address}: missing port in address")
    elif ":" in host:
        raise CannotListen(f"address {address}: too many colons in address")
    if not colon:
        raise CannotListen(f"address {address}: missing port in address")
    return host, _port(port)


def _port(text: str) -> int:
    if not text.removeprefix("-").isdecimal() or not text.isascii():
        try:
            return socket.getservbyname(text, "tcp") if text else 0
        except (OSError, ValueError):  # ValueError: a zero byte
            raise CannotListen(f"lookup tcp/{text}: unknown port") from None
    if not 0 <= int(text[:20]) <= 65535:
        raise CannotListen(f"address {text}: invalid port")
    return int(text)


def check_toxic(type: str, stream: str, name: str | None, taken: Container[str]) -> tuple[str, Mapping[str, Any]]:
    """Name and attributes that a new toxic would get, unless others are given.

    Args:
        taken: the names of a proxy's toxics.

    Raises:
        BadRequest: no such type or stream.
        Exists: there is a toxic of that name.
    """
    if stream.lower() not in STREAMS:
        raise BadRequest("stream was invalid, can be either upstream or downstream")
    if type not in TOXICS:
        raise BadRequest("invalid toxic type")
    name = name or f"{type}_{stream}"
    if name in taken:
        raise Exists("toxic already exists")
    return name, TOXICS[type].defaults


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
        self.tls = PLAIN
        """How it speaks TLS with connections that are made from now on."""
        self.toxics: list[Toxic] = []
        self.connections: dict[Connection, dict[str, Stage]] = {}
        self._seed = seed
        self._observer = observer
        self._refusals = refusals
        self._server: asyncio.Server | RelayServer | None = None
        self._accepted = 0
        self._told_at = -TELL_AGAIN
        self._announced = False
        self._told_enabled = False
        self.down: Down | None = None
        """How it is down, where it is so in another way than not to listen."""
        self._refused_port: int | None = None
        self._reserved: Reservation | None = None
        self._unanswering: ExitStack | None = None

    @property
    def enabled(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def start(self) -> None:
        """Listen. ``listen`` then holds the address with the port that was found for port 0.

        Raises:
            CannotListen: the address is taken, or is none.
        """
        if self.down == "silent":
            for connection in list(self.connections):  # those that have left by now, too
                connection.cut("down", "reset")
        self._answer()
        if self.enabled:
            self._tell_enabled()
            return
        try:
            host, port = await resolve(self.listen)
        except CannotListen as error:
            raise CannotListen(f"listen tcp: {error}") from None
        try:
            self._server = await self._serve(host, port)
            self._watch(False)  # before it listens, so that no attempt is told of twice, as refused and as accepted
            await self._server.start_serving()
            listener.deepen(self._server, BACKLOG)
        except OSError as error:
            self._watch(True)
            self._close()
            # asyncio has no number for an address that is not of this machine.
            reason = os.strerror(error.errno or errno.EADDRNOTAVAIL).lower()
            raise CannotListen(f"listen tcp {join_address(host, port)}: bind: {reason}") from error
        self.listen = join_address(*self._server.sockets[0].getsockname()[:2])
        self._forgive()
        self._tell_enabled()

    async def _serve(self, host: str, port: int) -> asyncio.Server | RelayServer:
        loop = asyncio.get_running_loop()
        if (relay := relay_of(loop)) is not None:
            return RelayServer(loop, relay, listener.bind(host, port), self._accept, BACKLOG)
        if host in WILDCARDS:
            if socket.has_dualstack_ipv6():
                # asyncio would open a socket for each family, on ports of their own.
                family = socket.AF_INET6
                sock = socket.create_server(("", port), family=family, backlog=BACKLOG, dualstack_ipv6=True)
                return await loop.create_server(self._accept, sock=sock, backlog=ACCEPT_AT_ONCE, start_serving=False)
            host = "0.0.0.0"
        return await loop.create_server(self._accept, host, port, backlog=ACCEPT_AT_ONCE, start_serving=False)

    async def update(
        self,
        *,
        listen: str | None = None,
        upstream: str | None = None,
        enabled: bool | None = None,
        down: str | None = None,
    ) -> None:
        """Change what is given. A new address or upstream ends all connections; toxics stay.

        While it is disabled, the observer is told of refused attempts. ``down`` disables it in a way of :data:`Down`.

        Raises:
            BadRequest: ``down`` is no such way, or comes with ``enabled``.
            CannotListen: the address is none (nothing changes), or is taken (it is left disabled, with that address).
        """
        way = _way(down, enabled)
        listen = self.listen if listen is None else listen
        upstream = self.upstream if upstream is None else upstream
        enabled = (way is None and not self.refusing) if enabled is None else enabled
        if await self.differs(listen, upstream):
            self.retire()
            self.listen, self.upstream = listen, upstream
        if enabled:
            await self.start()
        elif way is not None:
            if self.down != way:
                await self.start()
            self.take_down(way)
        elif self.refusing:
            pass  # it stays down as it is
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
        self._tell_enabled()
        for connection in list(self.connections):
            connection.cut("down", how)

    def refuse(self, *, how: How = "fin") -> None:
        """End all connections and refuse new ones; the observer is told of each attempt.

        Where the kernel does not tell of refused attempts they are accepted and reset at once instead.
        Without effect on a proxy that does not listen.
        """
        self.take_down("refuse", how=how)

    def take_down(self, way: Down, *, how: How = "fin") -> None:
        """End all connections and be down from now on, in a way that ``down`` then tells.

        Where the machine can only do the next best, it is that: ``observe`` for ``refuse``, ``silent`` for
        ``unanswered``. Without effect on a proxy that does not listen.
        """
        if not self.enabled:
            return
        loop = asyncio.get_running_loop()
        if way == "refuse" and self._refusals is None:
            way = "observe"
        elif way == "unanswered" and not unanswered.supported(loop):
            way = "silent"
        self.down = None
        if way in ("observe", "silent"):
            self.down = way
            self._tell_enabled()
            self.cut("down", how)
            return
        if way == "unanswered":
            self.stop(how)
            self._unanswering = unanswered.leave_unanswered(loop, *self.address)
            self.down = way if self._unanswering is not None else None
            self.blind()
            return
        assert self._refusals is not None
        self._refused_port = self.address[1]
        self._refusals.expect(self._refused_port, self)
        self.stop(how)
        self._reserved = self._refusals.reserve(*self.address)

    def at(self, address: bytes) -> bool:
        """Whether it listens on an IP address, given in 4 or 16 bytes."""
        return is_at(address, self.address[0])

    def refused(self, at: float, late: float) -> None:
        """The kernel refused a client."""
        self._observer.refused(self.name, at, late)

    def blind(self) -> None:
        """Refused clients can no longer be told apart."""
        self._observer.blind(self.name)

    @property
    def refusing(self) -> bool:
        """Whether it turns clients away."""
        return self.down is not None or not self.enabled

    def retire(self) -> None:
        """Stop, and tell of no more attempts: the address is given up."""
        self._answer()
        self._forgive()
        self.stop()

    def drop(self) -> None:
        """Stop, and let go of every socket at once."""
        self._close()
        self._answer()
        self._forgive()
        self._tell_enabled()
        for connection in list(self.connections):
            connection.drop()

    def announce(self) -> None:
        """Tell the observer that it is there, and from now on of what changes."""
        self._announced, self._told_enabled = True, not self.refusing
        self.introduce(self._observer)

    def introduce(self, observer: Observer) -> None:
        """Tell an observer of it as it is now."""
        observer.proxy_changed(self.name, "proxy_created", self.listen, self.upstream)
        for toxic in self.toxics:
            observer.toxic_changed(self.name, "toxic_added", toxic)
        if not self.refusing:
            observer.proxy_changed(self.name, "proxy_enabled", self.listen, self.upstream)

    def _tell(self, change: ProxyChange) -> None:
        self._observer.proxy_changed(self.name, change, self.listen, self.upstream)

    def _tell_enabled(self) -> None:
        """Tell of whether it takes clients, if that has changed."""
        if self._announced and self._told_enabled is self.refusing:
            self._told_enabled = not self.refusing
            self._tell("proxy_enabled" if self._told_enabled else "proxy_disabled")

    def _tell_toxic(self, change: ToxicChange, toxic: Toxic) -> None:
        if self._announced:
            self._observer.toxic_changed(self.name, change, toxic)

    def forgotten(self) -> None:
        """The engine has forgotten it, or has put another in its place."""
        self._tell("proxy_deleted")

    def _answer(self) -> None:
        """Be down in no special way any more."""
        self.down = None
        if self._unanswering is not None:
            self._unanswering.close()
            self._unanswering = None

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

    def add(self, new: NewToxic) -> Toxic:
        """Add a toxic that was asked for; see :meth:`add_toxic`."""
        return self.add_toxic(
            new.type,
            name=new.name,
            stream=new.stream,
            toxicity=new.toxicity,
            attributes=new.attributes,
            connections=new.connections,
        )

    def add_toxic(
        self,
        type: str,
        *,
        name: str | None = None,
        stream: str = "downstream",
        toxicity: float = 1.0,
        attributes: Mapping[str, Any] | None = None,
        connections: Any = None,
    ) -> Toxic:
        """Add a toxic, to live connections and to new ones; ``connections`` names them as :class:`.Targets` says.

        Raises:
            BadRequest: no such type or stream; attributes or connections that make no sense.
            Exists: there is a toxic of that name.
        """
        name, known = check_toxic(type, stream, name, [toxic.name for toxic in self.toxics])
        values = {**known, **{key: value for key, value in (attributes or {}).items() if key in known}}
        TOXICS[type].check(values)
        since = asyncio.get_running_loop().time()
        toxic = Toxic(name, type, stream, toxicity, values, Targets(connections, self._accepted), since)
        self.toxics.append(toxic)
        self._tell_toxic("toxic_added", toxic)
        for connection, stages in list(self.connections.items()):
            self._install(toxic, connection, stages, opened_with=False)
        return toxic

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
        self, name: str, *, attributes: Mapping[str, Any] | None = None, toxicity: float | None = None
    ) -> Toxic:
        """Change attributes (those given) and toxicity; live connections see it at once.

        Raises:
            NotFound: there is no toxic of that name.
            BadRequest: attributes that make no sense; nothing changes.
        """
        toxic = self.toxic(name)
        changed = {key: value for key, value in (attributes or {}).items() if key in toxic.attributes}
        TOXICS[toxic.type].check({**toxic.attributes, **changed})
        toxic.toxicity = toxic.toxicity if toxicity is None else toxicity
        toxic.attributes.update(changed)
        self._tell_toxic("toxic_updated", toxic)
        for connection, stage in list(self._carrying(name)):
            stage.toxicity = toxic.toxicity
            self._pipe(toxic, connection).change(lambda chain, now, stage=stage: stage.rerun(now, stage.on_update))  # type: ignore[misc]
        return toxic

    def remove_toxic(self, name: str) -> None:
        """Take a toxic away; what it held goes on, unless connections that met it keep it.

        Raises:
            NotFound: there is no toxic of that name.
        """
        toxic = self.toxic(name)
        self.toxics.remove(toxic)
        self._tell_toxic("toxic_removed", toxic)
        for connection, stage in list(self._carrying(name)):
            del self.connections[connection][name]
            self._pipe(toxic, connection).change(lambda chain, now, stage=stage: chain.remove(stage, now))  # type: ignore[misc]

    def _carrying(self, name: str) -> Iterator[tuple[Connection, Stage]]:
        for connection, stages in self.connections.items():
            if name in stages:
                yield connection, stages[name]

    @staticmethod
    def _pipe(toxic: Toxic, connection: Connection) -> Pipe:
        return connection.up if toxic.upstream else connection.down

    def _install(self, toxic: Toxic, connection: Connection, stages: dict[str, Stage], *, opened_with: bool) -> None:
        if not toxic.targets.include(connection.number):
            return
        # A toxic's name is that of one direction.
        rng = random.Random(f"{self._seed}/{self.name}/{connection.number}/{toxic.name}")
        stage = TOXICS[toxic.type](toxic.attributes, rng)
        stage.toxicity = toxic.toxicity
        if opened_with and stage.resets:
            connection.ending = "reset"
        stage.upstream, stage.opened_with, stage.since = toxic.upstream, opened_with, toxic.since
        stage.tell = functools.partial(connection.tap.acted, toxic.name, "up" if toxic.upstream else "down")
        stages[toxic.name] = stage

        def add(chain: Chain, now: float) -> None:
            chain.add(stage, now)

        self._pipe(toxic, connection).change(add)

    def _accept(self) -> asyncio.Protocol:
        if self.down == "observe":
            self._observer.refused(self.name, asyncio.get_running_loop().time(), 0.0)
            return _Reset()
        self._accepted += 1
        loop = asyncio.get_running_loop()
        tap = self._observer.attempt(self.name, self._accepted) or SILENT_TAP
        dial = _never if self.down == "silent" else self._dial
        connection = Connection(loop, tap, dial, self._forget, self._accepted)
        stages: dict[str, Stage] = {}
        for toxic in self.toxics:
            self._install(toxic, connection, stages, opened_with=True)
        self.connections[connection] = stages
        if self._server is None:  # it connected just before the proxy stopped
            connection.cut("down", "fin")
        return self.tls.accept(connection)

    def _dial(self, connection: Connection) -> None:
        if self._turned_away(connection, connection.client.socket):
            return
        relay, known = relay_of(connection.loop), literal(self.upstream)
        if relay is None or known is None or self.tls is not PLAIN:
            connection.dialling = connection.loop.create_task(self._connect(connection))
            return
        upstream = self.upstream

        def failed(error: OSError) -> None:
            connection.dialling = None
            self._unreachable(connection, upstream, error)

        connection.tap.dialling(upstream)
        dial = Dial(connection.loop, relay, connection.server, failed)
        connection.dialling = dial
        dial.begin(*known)
        self._turned_away(connection, dial.socket)

    async def _connect(self, connection: Connection) -> None:
        if connection.opened is not None:
            await connection.opened
        loop, relay, upstream = connection.loop, relay_of(connection.loop), self.upstream
        connection.tap.dialling(upstream)
        try:
            host, port = parse_address(upstream)
            if relay is None or self.tls.server is not None:
                await self.tls.dial(connection, host or "localhost", port)
            else:
                sock = await connect(loop, host or "localhost", port)
                RelayTransport(loop, relay, sock).begin(connection.server)
        except (OSError, ValueError, CannotListen) as error:  # ValueError: a host name that cannot be
            self._unreachable(connection, upstream, error)
        else:
            self._turned_away(connection, connection.server.socket)
        connection.dialling = None

    @staticmethod
    def _unreachable(connection: Connection, upstream: str, error: Exception) -> None:
        connection.unreachable(f"upstream {upstream} cannot be reached: {error}")

    def _turned_away(self, connection: Connection, sock: socket.socket | None) -> bool:
        """Whether a connection is reset because a socket of it has got one of the last descriptors."""
        if not open_files.reserved(sock):
            return False
        now = connection.loop.time()
        if now - self._told_at >= TELL_AGAIN:
            self._told_at = now
            log.warning("proxy %s: no file descriptors are left for more clients; they are reset", self.name)
        connection.cut("descriptors", "reset")
        return True

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)


def _never(connection: Connection) -> None:
    """Leave the server alone."""


def _way(down: str | None, enabled: bool | None) -> Down | None:
    for way in get_args(Down):
        if down == way and not enabled:
            known: Down = way
            return known
    if down is not None:
        raise BadRequest(f"down = {down!r:.80}: must be one of {', '.join(get_args(Down))}, with enabled = false")
    return None


class _Reset(asyncio.Protocol):
    """Turns a client away as soon as it has connected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        reset(transport)
