"""A real Toxiproxy in front of the embedded engine: it carries out what it can, the engine behind it the rest.

A client connects to the real one, that to the engine, and the engine to the server. What a client sends is seen as
ever; what it gets is on record when it leaves the engine, before the real one's toxics.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toxiproxy.exceptions import NotFound

from ..engine.front import Action, BeDown, Toxics, telling
from ..timeline import Timeline
from ..toxiproxy import Client, Proxy, Server, ToxiproxyError
from .embedded import Embedded
from .link import Api, EngineMissing, Link
from .owner import left_behind, owner
from .route import Route

OURS = "wschaos"
"""What the names of our proxies begin with; machine, process and a number follow."""
STREAM = "downstream"
"""What the real one's toxics may delay: what they do to what a client sends would be taken for the client's doing."""
REACH_TIMEOUT = 2.0
"""Seconds in which one of its listeners must be reached, and reach us."""

_numbers = itertools.count(1)
_known: set[Api] = set()
"""Servers that have been looked at."""


class Real(Link):
    """The link to both.

    Args:
        relay: to the engine.
        api: of the real one.
        route: how its proxies, their clients and the engine find each other.
        slowest: seconds of latency up to which it is the real one's: by more, what a client gets in time and what it
            does not would no longer be told apart.

    Raises:
        EngineMissing: its listeners cannot be reached from here, or do not reach us.
        ToxiproxyError: it does not answer.
    """

    def __init__(self, relay: Embedded, api: Api, route: Route, timeline: Timeline, *, slowest: float) -> None:
        self._relay = relay
        self._server = Server(api.host, api.port, prefix=f"{OURS}-{owner()}-{next(_numbers)}-")
        self._client = Client(self._server)
        self._route = route
        self._timeline = timeline
        self._slowest = slowest
        self._proxies: dict[str, Proxy] = {}
        self._toxics: dict[int, Toxics] = {}
        self._down: set[int] = set()
        self._stopped = False
        if api not in _known:
            try:
                _clean(api)
                _reach(self._client, route)
            except BaseException:
                self._server.close()
                raise
            _known.add(api)

    def listen(self, name: str, certificate: bytes | None = None) -> str:
        listen = self._route.listen(self._server)  # there may be no more room
        upstream = self._route.upstream(self._relay.listen(name, certificate))
        # A client's name may hold what has a meaning in a URL.
        proxy = self._client.create(name=re.sub(r"[^\w.+-]", "_", name), listen=listen, upstream=upstream)
        self._proxies[name] = proxy
        for toxics in self._toxics.values():
            _add(proxy, toxics)
        if self._down:
            self._take_down(name, proxy)
        return self._route.public(proxy.listen)

    def redirect(self, upstream: str) -> None:
        self._relay.redirect(upstream)

    def serve_api(self) -> Api:
        return Api(self._server.host, self._server.port, self._server.prefix)

    def begin(self, id: int, fault: str, told: Mapping[str, Any], action: Action) -> None:
        if action == BeDown("unanswered"):  # the listener is not ours: it accepts, and waits for the engine
            action, told = BeDown("silent"), {**told, "silent": True}
        elif action == BeDown("refuse") and not self._route.refuses:  # somebody accepts in its place
            action = BeDown("observe")
        elif isinstance(action, Toxics) and self._native(action):
            self._begin_natively(id, fault, told, action)
            return
        self._relay.begin(id, fault, told, action)
        if action == BeDown("refuse"):
            self._down.add(id)
            if len(self._down) == 1:
                # The engine is down already: it has ended its connections, and not their clients.
                for name, proxy in self._proxies.items():
                    self._take_down(name, proxy)

    def _begin_natively(self, id: int, fault: str, told: Mapping[str, Any], toxics: Toxics) -> None:
        """Have the real one do it to what a client gets, and the engine to what it sends."""
        own = replace(toxics, streams={stream: given for stream, given in toxics.streams.items() if stream != STREAM})
        theirs = replace(toxics, streams={STREAM: toxics.streams[STREAM]})
        self._toxics[id] = theirs
        with telling(self._timeline.tell, id, fault, told):
            try:
                self._relay.apply(id, own)
                for proxy in self._proxies.values():
                    _add(proxy, theirs)
            except BaseException:
                with contextlib.suppress(ToxiproxyError):
                    self._heal_natively(id, own)
                raise

    def _heal_natively(self, id: int, toxics: Toxics) -> None:
        for proxy in self._proxies.values():
            _remove(proxy, self._toxics[id])
        self._relay.undo(id, toxics)
        del self._toxics[id]

    def heal(self, id: int, fault: str, action: Action) -> None:
        if id in self._toxics and isinstance(action, Toxics):
            self._heal_natively(id, action)
        elif self._down == {id}:
            self._bring_up(id, action)
        else:
            self._down.discard(id)
            self._relay.heal(id, fault, action)
            return
        self._timeline.tell("healed", fault=fault, id=id)

    def _bring_up(self, id: int, action: Action) -> None:
        self._relay.undo(id, action)  # before clients come
        for proxy in self._proxies.values():
            self._relay.forgive(proxy.listen)
            proxy.enable()
            self._relay.release(proxy.listen)
        self._down.discard(id)

    def _take_down(self, name: str, proxy: Proxy) -> None:
        proxy.disable()
        self._relay.expect(name, proxy.listen)

    def _native(self, toxics: Toxics) -> bool:
        """Whether the real one can do just that to what a client gets: for all connections, in whole numbers."""
        given = toxics.streams.get(STREAM)
        if toxics.type not in ("latency", "bandwidth") or toxics.connections is not None or given is None:
            return False
        slow = (given.get("latency", 0) + given.get("jitter", 0)) / 1000
        return slow <= self._slowest and all(float(value).is_integer() for value in given.values())

    def catch_up(self) -> None:
        if self._stopped:
            return
        # Its end must not be taken for the client's doing.
        there = self._client.proxies()
        if self._proxies and not there:
            where = f"{self._server.host}:{self._server.port}"
            raise ToxiproxyError(f"the Toxiproxy at {where} has lost the test's proxies: was it started anew?")
        self._relay.catch_up()

    def stop(self) -> None:
        self._stopped = True
        with contextlib.ExitStack() as ended:
            ended.callback(self._server.close)
            ended.callback(self._relay.stop)
            with contextlib.suppress(ToxiproxyError):  # it has ended
                for proxy in self._client.proxies().values():  # those that the test has made, too
                    with contextlib.suppress(NotFound):
                        proxy.destroy()


def _clean(api: Api) -> None:
    """Destroy the proxies that a process of ours has left there which was killed."""
    with contextlib.closing(Server(api.host, api.port)) as server:
        for name, proxy in Client(server).proxies().items():
            ours, _, rest = name.partition("-")
            if ours == OURS and left_behind("-".join(rest.split("-")[:2])):
                with contextlib.suppress(NotFound):  # another process of ours was quicker
                    proxy.destroy()


def _reach(client: Client, route: Route) -> None:
    """Make sure that we reach its listeners, and that it reaches ours.

    Raises:
        EngineMissing: it is in a network of its own.
    """
    where = f"{client.server.host}:{client.server.port}"
    with socket.create_server((route.host, 0)) as upstream:
        upstream.settimeout(REACH_TIMEOUT)
        address = route.upstream(f"{route.host}:{upstream.getsockname()[1]}")
        proxy = client.create(name="reach", listen=route.listen(client.server), upstream=address)
        try:
            host, _, port = route.public(proxy.listen).rpartition(":")
            socket.create_connection((host, int(port)), REACH_TIMEOUT).close()
            upstream.accept()[0].close()
        except OSError as error:
            raise EngineMissing(
                f"engine: the Toxiproxy at {where} answers, but its proxies and this test do not reach each other on "
                f"{route.host} ({error}): {route.advice}"
            ) from None
        finally:
            proxy.destroy()


def _add(proxy: Proxy, toxics: Toxics) -> None:
    for stream, attributes in toxics.streams.items():
        whole = {name: int(value) for name, value in attributes.items()}
        proxy.add_toxic(type=toxics.type, name=f"{toxics.name}-{stream}", stream=stream, attributes=whole)


def _remove(proxy: Proxy, toxics: Toxics) -> None:
    for stream in toxics.streams:
        with contextlib.suppress(NotFound):  # somebody reset it over its API
            proxy.destroy_toxic(f"{toxics.name}-{stream}")
