"""The embedded engine of one test: its listeners in front of one upstream, and the network's faults in force."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .certificates import Authority, Certificate
from .engine.connection import How
from .engine.engine import Engine
from .engine.errors import BadRequest, NotFound
from .engine.proxy import Down, Proxy
from .engine.targets import Targets
from .engine.tls import PLAIN, Tls
from .engine.toxics import TOXICS
from .engine.unanswered import supported
from .faults import BadCertificate, Direction, Fault, FaultError
from .inline import Runner
from .recorder import Recorder
from .timeline import Timeline, toxic_name

if TYPE_CHECKING:
    from .engine.api import Api

STREAMS: Mapping[Direction, tuple[str, ...]] = {
    "both": ("upstream", "downstream"),
    "up": ("upstream",),
    "down": ("downstream",),
}


@dataclass(frozen=True)
class _Toxic:
    """A toxic that carries out a fault on every listener, with its attributes in each stream."""

    name: str
    type: str
    streams: Mapping[str, Mapping[str, Any]]
    connections: Any

    def add(self, proxy: Proxy) -> None:
        for stream, attributes in self.streams.items():
            proxy.add_toxic(
                self.type,
                name=f"{self.name}-{stream}",
                stream=stream,
                attributes=attributes,
                connections=self.connections,
            )

    def remove(self, proxy: Proxy) -> None:
        for stream in self.streams:
            with suppress(NotFound):  # somebody reset the engine over its API
                proxy.remove_toxic(f"{self.name}-{stream}")


class ChaosNetwork:
    """Every method may be called from any thread but the engine's own; each returns when it has taken effect.

    Args:
        upstream: ``host:port`` of the server.
        seed: where the engine's randomness comes from.
        upstream_tls: what is trusted where the engine speaks TLS with the server; None: it does not.
        passes_tls: whether client and server speak TLS with each other, through the engine.
    """

    def __init__(
        self,
        runner: Runner,
        timeline: Timeline,
        recorder: Recorder,
        upstream: str,
        *,
        seed: int,
        upstream_tls: ssl.SSLContext | None = None,
        passes_tls: bool = False,
    ) -> None:
        self._runner = runner
        self._timeline = timeline
        self._upstream = upstream
        self._recorder = recorder
        self._upstream_tls = upstream_tls
        self._passes_tls = passes_tls
        self._engine = Engine(seed=seed, observer=recorder)
        self._api: Api | None = None
        self._toxics: dict[int, _Toxic] = {}
        self._down: dict[int, Down] = {}  # by the fault that asks for it; the first one has its way
        self._stopped: list[str] = []  # the proxies that refuse because of a fault
        self._terminating: set[str] = set()
        self._bad: dict[int, BadCertificate] = {}
        self._count = 0

    @property
    def virtual(self) -> bool:
        """Whether it is on virtual time."""
        return bool(getattr(self._runner.loop, "virtual", False))

    def listen(self, name: str) -> str:
        """Open a listener for one client, with the faults that are in force; returns its ``host:port``.

        Raises:
            EngineError: there is a listener of that name.
        """
        return self._runner.run(self._listen(name))

    def listen_tls(self, name: str, client: str) -> str:
        """Open a listener that ends TLS, as another one of a client, or its only one."""
        tls = Tls(self.authority.server(self._presented), self._upstream_tls)

        async def listen() -> str:
            self._recorder.terminates(name, client)
            address = await self._listen(name, tls)
            self._terminating.add(name)
            return address

        return self._runner.run(listen())

    @cached_property
    def authority(self) -> Authority:
        """Of the certificates that the engine presents.

        Raises:
            FaultError: the engine presents none.
            TrustmeMissing: there can be none.
        """
        if self._passes_tls:
            raise FaultError(
                "the proxy passes the server's own TLS through: "
                "with wschaos_proxy(..., terminate=True) it has a certificate of its own"
            )
        return Authority()

    @property
    def _presented(self) -> Certificate:
        return next(reversed(self._bad.values()), "good")

    async def _listen(self, name: str, tls: Tls = PLAIN) -> str:
        proxy = await self._engine.create(name, "127.0.0.1:0", self._upstream, tls=tls)
        for toxic in self._toxics.values():
            toxic.add(proxy)
        if self._down:
            self._take_down(proxy)
        return proxy.listen

    def _take_down(self, proxy: Proxy) -> None:
        if not proxy.refusing:
            self._stopped.append(proxy.name)
            proxy.take_down(next(iter(self._down.values())))

    def redirect(self, upstream: str) -> None:
        """Connect new clients to another server from now on."""
        self._upstream = upstream

        def change() -> None:
            for proxy in self._engine.proxies.values():
                proxy.upstream = upstream

        self._runner.call(change)

    def serve_api(self) -> int:
        """Serve Toxiproxy's HTTP API for the engine; returns the port on 127.0.0.1."""

        from .engine.api import Api  # only few tests need it

        async def start() -> int:
            self._api = self._api or Api(self._engine)
            return await self._api.start()

        return self._runner.run(start())

    def stop(self) -> None:
        """Let go of every socket, at once."""

        async def stop() -> None:
            if self._api is not None:
                await self._api.stop()
            self._engine.stop()

        self._runner.run(stop())

    def inject(
        self,
        name: str,
        apply: Callable[[int], object],
        heal: Callable[[int], Awaitable[None] | None],
        details: Mapping[str, Any] | None = None,
        *,
        must_bite: bool = True,
    ) -> Fault:
        """Put a fault in force; ``apply`` and ``heal`` run on the engine's loop and are told its number."""
        self._count += 1
        id = self._count
        told = {**(details or {}), **({} if must_bite else {"must_bite": False})}

        def begin() -> None:
            self._timeline.record("fault", "proxy", fault=name, id=id, **told)
            try:
                apply(id)
            except BaseException:
                self._timeline.record("healed", "proxy", fault=name, id=id)
                raise

        async def end() -> None:
            if (healing := heal(id)) is not None:
                await healing
            self._timeline.record("healed", "proxy", fault=name, id=id)

        def remove() -> None:
            if not self._runner.stopped:  # a fault that outlives its test has nothing left to heal
                self._runner.effect(end())

        fault = Fault(name, id, remove)
        self._runner.call(begin)
        return fault

    def toxic(
        self,
        fault: str,
        type: str,
        direction: Direction = "both",
        attributes: Mapping[str, Any] | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        others: Mapping[str, Any] | None = None,
        connections: Any = None,
        must_bite: bool = True,
    ) -> Fault:
        """A fault that a toxic carries out; ``others`` are the attributes of one for the streams that are not named.

        Raises:
            FaultError: attributes or connections that make no sense. Nothing has happened then.
        """
        streams = {stream: dict(attributes or {}) for stream in STREAMS[direction]}
        if others is not None:
            streams = {stream: streams.get(stream, dict(others)) for stream in STREAMS["both"]}
        try:
            for given in streams.values():
                TOXICS[type].check({**TOXICS[type].defaults, **given})
            Targets(connections, 0)
        except BadRequest as error:
            raise FaultError(f"{fault}(): {error}") from None
        targeted = {} if connections is None else {"connections": connections}

        def apply(id: int) -> None:
            # Nobody who adds toxics over the API will think of such a name.
            toxic = _Toxic(toxic_name(fault, id), type, streams, connections)
            for proxy in self._engine.proxies.values():
                toxic.add(proxy)
            self._toxics[id] = toxic

        def heal(id: int) -> None:
            toxic = self._toxics.pop(id, None)
            if toxic is not None:  # else two threads have removed it at once
                for proxy in self._engine.proxies.values():
                    toxic.remove(proxy)

        told = {"direction": direction, **(details or {}), **targeted}
        return self.inject(fault, apply, heal, told, must_bite=must_bite)

    @staticmethod
    def unusual(type: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Those attributes of a toxic that are not what they would be anyway."""
        return {name: value for name, value in attributes.items() if value != TOXICS[type].defaults[name]}

    def cut(self, fault: str, how: How, *, must_bite: bool = True) -> Fault:
        """A fault that ends the connections that are live now."""
        self._runner.catch_up()  # the kernel has connected a client before the engine hears of it

        def apply(id: int) -> None:
            for proxy in self._engine.proxies.values():
                proxy.cut(fault, how)

        return self.inject(fault, apply, lambda _: None, must_bite=must_bite)

    def bad_certificate(self, which: BadCertificate, *, must_bite: bool = True) -> Fault:
        """The fault of a server that presents a bad certificate."""
        self.authority.server(which)  # made here, where nothing waits for it

        def present() -> None:
            certificate = self.authority.server(self._presented)
            for name in self._terminating & self._engine.proxies.keys():
                proxy = self._engine.proxies[name]
                proxy.tls = replace(proxy.tls, client=certificate)

        def apply(id: int) -> None:
            self._bad[id] = which
            present()

        def heal(id: int) -> None:
            self._bad.pop(id, None)
            present()

        return self.inject("bad_certificate", apply, heal, {"which": which}, must_bite=must_bite)

    def refuse(self, *, must_bite: bool = True) -> Fault:
        """The fault of a server that is down."""
        return self._be_down("refuse", must_bite=must_bite)

    def unanswered(self) -> Fault:
        """The fault of a firewall that drops SYNs."""
        return self._be_down("unanswered", {} if supported(self._runner.loop) else {"silent": True})

    def _be_down(self, way: Down, details: Mapping[str, Any] | None = None, *, must_bite: bool = True) -> Fault:
        def apply(id: int) -> None:
            self._down[id] = way
            for proxy in self._engine.proxies.values():
                self._take_down(proxy)

        async def heal(id: int) -> None:
            self._down.pop(id, None)
            if not self._down:
                # Not those that somebody has disabled over the API.
                stopped, self._stopped = self._stopped, []
                for name in stopped:
                    await self._engine.start(name)

        return self.inject(way, apply, heal, details, must_bite=must_bite)
