"""A real Toxiproxy in front of the embedded engine: it carries out what it can, the engine behind it the rest.

A client connects to the real one, that to the engine, and the engine to the server. The engine sees a client as the
real one lets it be seen: under the real one's latency, by so much later.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
from collections.abc import Mapping
from typing import Any

from toxiproxy.exceptions import NotFound

from ..engine.front import Action, BeDown, Toxics, telling
from ..timeline import Timeline, fingerprint
from ..toxiproxy import Client, Proxy, Server, ToxiproxyError
from .embedded import Embedded
from .link import Api, Link

OURS = "wschaos"
"""What the names of our proxies begin with; machine, process and a number follow."""
NATIVE = ("latency", "bandwidth")
"""Toxics of our faults that the real one carries out as ours does."""


_numbers = itertools.count(1)
_cleaned: set[tuple[str, int]] = set()


class Real(Link):
    """The link to both.

    Args:
        relay: to the engine.
        server: the API of the real one.

    Raises:
        ToxiproxyError: it does not answer.
    """

    def __init__(self, relay: Embedded, server: Server, timeline: Timeline) -> None:
        self._relay = relay
        prefix = f"{OURS}-{_machine()}-{os.getpid()}-{next(_numbers)}-"
        self._server = Server(server.host, server.port, prefix=prefix)
        self._client = Client(self._server)
        self._timeline = timeline
        if (server.host, server.port) not in _cleaned:
            _clean(Client(server))
            _cleaned.add((server.host, server.port))
        self._proxies: dict[str, Proxy] = {}
        self._toxics: dict[int, Toxics] = {}
        self._down: set[int] = set()
        self._stopped = False

    def listen(self, name: str, certificate: bytes | None = None) -> str:
        address = self._relay.listen(name, certificate)
        proxy = self._client.create(name=name, listen="127.0.0.1:0", upstream=address)
        self._proxies[name] = proxy
        for toxics in self._toxics.values():
            _add(proxy, toxics)
        if self._down:
            self._take_down(name, proxy)
        listen: str = proxy.listen
        return listen

    def redirect(self, upstream: str) -> None:
        self._relay.redirect(upstream)

    def serve_api(self) -> Api:
        return Api(self._server.host, self._server.port, self._server.prefix)

    def begin(self, id: int, fault: str, told: Mapping[str, Any], action: Action) -> None:
        if isinstance(action, Toxics) and _native(action):
            with telling(self._timeline.tell, id, fault, told):
                for proxy in self._proxies.values():
                    _add(proxy, action)
            self._toxics[id] = action
            return
        if action == BeDown("unanswered"):  # the listener is not ours: it accepts, and waits for the engine
            action, told = BeDown("silent"), {**told, "silent": True}
        self._relay.begin(id, fault, told, action)
        if action == BeDown("refuse"):
            # The engine is down already: it has ended its connections, and not their clients.
            for name, proxy in self._proxies.items():
                self._take_down(name, proxy)
            self._down.add(id)

    def heal(self, id: int, fault: str, action: Action) -> None:
        if id in self._toxics:
            toxics = self._toxics.pop(id)
            for proxy in self._proxies.values():
                _remove(proxy, toxics)
            self._timeline.tell("healed", fault=fault, id=id)
            return
        self._relay.heal(id, fault, action)
        if id in self._down:
            self._down.discard(id)
            if not self._down:
                for proxy in self._proxies.values():
                    self._relay.forgive(proxy.listen)
                    proxy.enable()

    def _take_down(self, name: str, proxy: Proxy) -> None:
        self._relay.expect(name, proxy.listen)
        proxy.disable()

    def catch_up(self) -> None:
        if self._stopped:
            return
        self._server.call("GET", "/version")  # its end must not be taken for the client's doing
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


def _machine() -> str:
    """A name of this machine that is one word."""
    return fingerprint(platform.node())


def _clean(client: Client) -> None:
    """Destroy the proxies that a process of ours has left there which was killed."""
    for name, proxy in client.proxies().items():
        words = name.split("-")
        if words[:2] == [OURS, _machine()] and not _lives(int(words[2])):
            with contextlib.suppress(NotFound):  # another process of ours was quicker
                proxy.destroy()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _native(toxics: Toxics) -> bool:
    """Whether the real one can do just that: for all connections, and in whole numbers."""
    if toxics.type not in NATIVE or toxics.connections is not None:
        return False
    return all(float(value).is_integer() for given in toxics.streams.values() for value in given.values())


def _add(proxy: Proxy, toxics: Toxics) -> None:
    for stream, attributes in toxics.streams.items():
        whole = {name: int(value) for name, value in attributes.items()}
        proxy.add_toxic(type=toxics.type, name=f"{toxics.name}-{stream}", stream=stream, attributes=whole)


def _remove(proxy: Proxy, toxics: Toxics) -> None:
    for stream in toxics.streams:
        with contextlib.suppress(NotFound):  # somebody reset it over its API
            proxy.destroy_toxic(f"{toxics.name}-{stream}")
