"""The listeners of one test in front of one upstream, and the faults that are in force on all of them.

What it is asked for, and what it answers, is plain data: it may be in another process than whoever asks.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from . import unanswered
from .connection import How
from .engine import Engine
from .errors import NotFound
from .listener import is_at
from .observer import Observer
from .proxy import Down, Proxy, parse_address
from .refusals import Expected, Reservation
from .tls import PLAIN, Tls, presenting

if TYPE_CHECKING:
    from .api import Api

Tell = Callable[..., None]
"""``tell(kind, **detail)`` is told when a fault begins and when it is healed."""

LOCAL = "127.0.0.1"

Trust = ssl.SSLContext | Literal["system"] | None
"""What is trusted where the engine speaks TLS with the server; None: it does not."""


class Action:
    """What a fault does to a front, as plain data."""

    def details(self) -> Mapping[str, Any]:
        """What is told of the fault beside what was asked for."""
        return {}

    def begin(self, front: Front, id: int) -> None:
        """Put it in force under a number; it takes effect at once."""
        raise NotImplementedError

    async def heal(self, front: Front, id: int) -> None:
        """End it; nothing has to be done where nothing lasts."""


class Front:
    """It belongs to the loop on which it is used. Of :data:`Tell` and observer each instant is the loop's.

    Args:
        upstream: ``host:port`` of the server.
        seed: where the engine's randomness comes from.
        host: the address of this machine on which it listens.
    """

    def __init__(
        self, upstream: str, trust: Trust, *, seed: int, observer: Observer, tell: Tell, host: str = LOCAL
    ) -> None:
        self.engine = Engine(seed=seed, observer=observer)
        self.toxics: dict[int, Toxics] = {}
        self.down: dict[int, Down] = {}
        """Ways to be down, by the fault that asks for it; the first one has its way."""
        self.bad: dict[int, bytes] = {}
        """Bad certificates by the fault that has them presented; the last one has its way."""
        self._good = b""
        self._terminating: set[str] = set()  # the listeners that end TLS
        self._stopped: list[str] = []  # the listeners that refuse because of a fault
        self._upstream = upstream
        self._host = host
        self._trust = ssl.create_default_context() if trust == "system" else trust
        self._observer = observer
        self._tell = tell
        self._api: Api | None = None
        self._kept: dict[str, Reservation | None] = {}

    async def listen(self, name: str, certificate: bytes | None = None) -> str:
        """Open a listener, with the faults that are in force; returns its ``host:port``.

        Args:
            certificate: with which it ends TLS, with its key, in PEM; None: it does not.

        Raises:
            EngineError: there is a listener of that name.
        """
        tls = PLAIN
        if certificate is not None:
            self._good = certificate
            self._terminating.add(name)
            tls = Tls(presenting(self._certificate), self._trust)
        proxy = await self.engine.create(name, f"{self._host}:0", self._upstream, tls=tls)
        for toxics in self.toxics.values():
            toxics.add(proxy)
        if self.down:
            self.take_down(proxy)
        return proxy.listen

    def redirect(self, upstream: str) -> None:
        """Connect new clients to another server from now on."""
        self._upstream = upstream
        for proxy in self.engine.proxies.values():
            proxy.upstream = upstream

    @property
    def _certificate(self) -> bytes:
        return next(reversed(self.bad.values()), self._good)

    def present(self) -> None:
        """End TLS with the right certificate from now on."""
        if not self._terminating:
            return
        context = presenting(self._certificate)
        for name in self._terminating & self.engine.proxies.keys():
            proxy = self.engine.proxies[name]
            proxy.tls = replace(proxy.tls, client=context)

    def expect(self, name: str, address: str) -> None:
        """Tell of attempts on an address whose listener is not ours, and refuses, as of those on our own of a name.

        The address is kept meanwhile. Nobody but that listener connects to our own.
        """
        watching, (host, port) = self.engine.refusals, parse_address(address)
        if watching is None:
            self._observer.blind(name)
            return
        watching.forgive(self.engine.proxy(name).address[1])
        watching.expect(port, Elsewhere(self._observer, name, host))
        self._kept[address] = watching.reserve(host, port)

    def forgive(self, address: str) -> None:
        """That listener is about to be there again."""
        if self.engine.refusals is not None:
            self.engine.refusals.forgive(parse_address(address)[1])

    def release(self, address: str) -> None:
        """It is there again."""
        if (kept := self._kept.pop(address, None)) is not None:
            kept.close()

    async def serve_api(self) -> int:
        """Serve Toxiproxy's HTTP API for the engine; returns the port on 127.0.0.1."""
        from .api import Api  # only few tests need it

        self._api = self._api or Api(self.engine)
        return await self._api.start()

    async def stop(self) -> None:
        """Let go of every socket, at once."""
        if self._api is not None:
            await self._api.stop()
        for address in tuple(self._kept):
            self.release(address)
        self.engine.stop()

    def begin(self, id: int, fault: str, told: Mapping[str, Any], action: Action) -> None:
        """Put a fault in force."""
        with telling(self._tell, id, fault, {**told, **action.details()}):
            action.begin(self, id)

    async def heal(self, id: int, fault: str, action: Action) -> None:
        """Heal a fault."""
        await action.heal(self, id)
        self._tell("healed", fault=fault, id=id)

    def take_down(self, proxy: Proxy) -> None:
        """Have a proxy down as the fault in force has it."""
        if not proxy.refusing:
            self._stopped.append(proxy.name)
            proxy.take_down(next(iter(self.down.values())))

    async def bring_up(self) -> None:
        """Have those proxies listen again that a fault has taken down, and not those that somebody has disabled."""
        stopped, self._stopped = self._stopped, []
        for name in stopped:
            await self.engine.start(name)


class Elsewhere(Expected):
    """A listener that is not ours, and refuses."""

    def __init__(self, observer: Observer, name: str, host: str) -> None:
        self._observer = observer
        self._name = name
        self._host = host

    def at(self, address: bytes) -> bool:
        return is_at(address, self._host)

    def refused(self, at: float, late: float) -> None:
        self._observer.refused(self._name, at, late)

    def blind(self) -> None:
        self._observer.blind(self._name)


@contextmanager
def telling(tell: Tell, id: int, fault: str, details: Mapping[str, Any]) -> Iterator[None]:
    """Tell of a fault that begins in the block, and that it is healed if it could not begin."""
    tell("fault", fault=fault, id=id, **details)
    try:
        yield
    except BaseException:
        tell("healed", fault=fault, id=id)
        raise


@dataclass(frozen=True)
class Toxics(Action):
    """Toxics on every listener, with their attributes in each stream."""

    name: str
    type: str
    streams: Mapping[str, Mapping[str, Any]]
    connections: Any

    def begin(self, front: Front, id: int) -> None:
        for proxy in front.engine.proxies.values():
            self.add(proxy)
        front.toxics[id] = self

    async def heal(self, front: Front, id: int) -> None:
        if front.toxics.pop(id, None) is not None:  # else two threads have removed it at once
            for proxy in front.engine.proxies.values():
                self._remove(proxy)

    def add(self, proxy: Proxy) -> None:
        """Put them on a listener."""
        for stream, attributes in self.streams.items():
            proxy.add_toxic(
                self.type,
                name=f"{self.name}-{stream}",
                stream=stream,
                attributes=attributes,
                connections=self.connections,
            )

    def _remove(self, proxy: Proxy) -> None:
        for stream in self.streams:
            with suppress(NotFound):  # somebody reset the engine over its API
                proxy.remove_toxic(f"{self.name}-{stream}")


@dataclass(frozen=True)
class Cut(Action):
    """Ends the connections that are live now."""

    fault: str
    how: How

    def begin(self, front: Front, id: int) -> None:
        for proxy in front.engine.proxies.values():
            proxy.cut(self.fault, self.how)


@dataclass(frozen=True)
class BeDown(Action):
    """Has every listener down."""

    way: Down

    def details(self) -> Mapping[str, Any]:
        return (
            {"silent": True}
            if self.way == "unanswered" and not unanswered.supported(asyncio.get_running_loop())
            else {}
        )

    def begin(self, front: Front, id: int) -> None:
        front.down[id] = self.way
        for proxy in front.engine.proxies.values():
            front.take_down(proxy)

    async def heal(self, front: Front, id: int) -> None:
        front.down.pop(id, None)
        if not front.down:
            await front.bring_up()


@dataclass(frozen=True)
class Present(Action):
    """Presents another certificate, with its key, in PEM."""

    certificate: bytes

    def begin(self, front: Front, id: int) -> None:
        front.bad[id] = self.certificate
        front.present()

    async def heal(self, front: Front, id: int) -> None:
        front.bad.pop(id, None)
        front.present()
