"""The network of one test: its listeners in front of one upstream, and the faults of the network."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any

from .certificates import Authority
from .engine.connection import How
from .engine.errors import BadRequest
from .engine.front import Action, BeDown, Cut, Present, Toxics, telling
from .engine.targets import Targets
from .engine.toxics import TOXICS
from .engines.link import Api, Link
from .faults import BadCertificate, Direction, Fault, FaultError
from .inline import Runner
from .recorder import Recorder
from .timeline import Timeline, toxic_name

STREAMS: Mapping[Direction, tuple[str, ...]] = {
    "both": ("upstream", "downstream"),
    "up": ("upstream",),
    "down": ("downstream",),
}


class ChaosNetwork:
    """Every method may be called from any thread; each returns when it has taken effect.

    Args:
        link: to the engine.
        runner: runs the server.
        passes_tls: whether client and server speak TLS with each other, through the engine.
    """

    def __init__(
        self, link: Link, runner: Runner, timeline: Timeline, recorder: Recorder, *, passes_tls: bool = False
    ) -> None:
        self._link = link
        self._runner = runner
        self._timeline = timeline
        self._recorder = recorder
        self._passes_tls = passes_tls
        self._ids = itertools.count(1)

    @property
    def virtual(self) -> bool:
        """Whether it is on virtual time."""
        return bool(getattr(self._runner.loop, "virtual", False))

    def listen(self, name: str) -> str:
        """Open a listener for one client, with the faults that are in force; returns its ``host:port``.

        Raises:
            EngineError: there is a listener of that name.
        """
        return self._link.listen(name)

    def listen_tls(self, name: str, client: str) -> str:
        """Open a listener that ends TLS, as another one of a client, or its only one."""
        certificate = self.authority.certificate()
        self._runner.call(self._recorder.terminates, name, client)
        return self._link.listen(name, certificate)

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

    def redirect(self, upstream: str) -> None:
        """Connect new clients to another server from now on."""
        self._link.redirect(upstream)

    def serve_api(self) -> Api:
        """Serve Toxiproxy's HTTP API for the engine."""
        return self._link.serve_api()

    def catch_up(self) -> None:
        """Return when everything is on record that engine and server should have seen by now."""
        self._link.catch_up()

    def stop(self) -> None:
        """Let go of every socket, at once."""
        self._link.stop()

    def inject(
        self,
        name: str,
        apply: Callable[[], object],
        heal: Callable[[], Awaitable[None] | None],
        details: Mapping[str, Any] | None = None,
        *,
        must_bite: bool = True,
    ) -> Fault:
        """Put a fault in force that is no fault of the engine's; both run on the server's loop."""
        id, told, tell = next(self._ids), _told(details, must_bite), self._timeline.tell

        def begin() -> None:
            with telling(tell, id, name, told):
                apply()

        async def end() -> None:
            if (healing := heal()) is not None:
                await healing
            tell("healed", fault=name, id=id)

        self._runner.call(begin)
        return self._fault(name, id, lambda: self._runner.effect(end()))

    def _act(
        self,
        name: str,
        action: Action,
        details: Mapping[str, Any] | None = None,
        *,
        must_bite: bool = True,
        id: int | None = None,
    ) -> Fault:
        """Put a fault in force that the engine carries out; ``id`` is its number, where it has one already."""
        number = next(self._ids) if id is None else id
        self._link.begin(number, name, _told(details, must_bite), action)
        return self._fault(name, number, lambda: self._link.heal(number, name, action))

    def _fault(self, name: str, id: int, heal: Callable[[], None]) -> Fault:
        def remove() -> None:
            if not self._runner.stopped:  # a fault that outlives its test has nothing left to heal
                heal()

        return Fault(name, id, remove)

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
        told = {"direction": direction, **(details or {}), **targeted}
        id = next(self._ids)
        # Nobody who adds toxics over the API will think of such a name.
        toxics = Toxics(toxic_name(fault, id), type, streams, connections)
        return self._act(fault, toxics, told, must_bite=must_bite, id=id)

    @staticmethod
    def unusual(type: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Those attributes of a toxic that are not what they would be anyway."""
        return {name: value for name, value in attributes.items() if value != TOXICS[type].defaults[name]}

    def cut(self, fault: str, how: How, *, must_bite: bool = True) -> Fault:
        """A fault that ends the connections that are live now."""
        self.catch_up()  # the kernel has connected a client before the engine hears of it
        return self._act(fault, Cut(fault, how), must_bite=must_bite)

    def bad_certificate(self, which: BadCertificate, *, must_bite: bool = True) -> Fault:
        """The fault of a server that presents a bad certificate."""
        present = Present(self.authority.certificate(which))
        return self._act("bad_certificate", present, {"which": which}, must_bite=must_bite)

    def refuse(self, *, must_bite: bool = True) -> Fault:
        """The fault of a server that is down."""
        return self._act("refuse", BeDown("refuse"), must_bite=must_bite)

    def unanswered(self) -> Fault:
        """The fault of a firewall that drops SYNs."""
        return self._act("unanswered", BeDown("unanswered"))


def _told(details: Mapping[str, Any] | None, must_bite: bool) -> dict[str, Any]:
    return {**(details or {}), **({} if must_bite else {"must_bite": False})}
