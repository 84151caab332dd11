"""The embedded engine: its proxies by name. No API of its own; :mod:`.api` serves it over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .errors import BadRequest, CannotListen, Exists, NotFound
from .observer import SILENT, Observer, Observers
from .proxy import NewToxic, Proxy
from .refusals import Refusals, watch
from .tls import PLAIN, Tls

VERSION = "2.12.0"
"""The version of Toxiproxy that the engine is compatible with, as ``/version`` reports it."""


class Engine:
    """Holds proxies. It belongs to the loop on which it is used.

    Args:
        seed: where all randomness comes from.
        observer: is told of every connection; :meth:`observe` adds others.
    """

    def __init__(self, *, seed: int = 0, observer: Observer = SILENT) -> None:
        self.proxies: dict[str, Proxy] = {}
        self._leaving: list[Proxy] = []
        """Those that were deleted or replaced, and have connections whose last bytes are on their way."""
        self._seed = seed
        self._observers = Observers(observer)
        self._refusals: Refusals | None = None
        self._lock = asyncio.Lock()
        """Held while a proxy is started: of two requests for one name, the second finds the first's."""

    def observe(self, observer: Observer) -> None:
        """Tell an observer too, from now on, and of the proxies that there are."""
        if self._observers.add(observer):
            for proxy in self.proxies.values():
                proxy.introduce(observer)

    def unobserve(self, observer: Observer) -> None:
        """Tell an observer no longer; it hears of connections that it knows until these end."""
        self._observers.remove(observer)

    async def create(
        self,
        name: str,
        listen: str,
        upstream: str,
        *,
        enabled: bool = True,
        toxics: Iterable[NewToxic] = (),
        tls: Tls = PLAIN,
    ) -> Proxy:
        """Add a proxy, and start it; ``toxics`` are there from its first connection on.

        Raises:
            BadRequest: a name or an upstream is missing.
            Exists: there is a proxy of that name.
            CannotListen: the address is taken, or is none; nothing is added.
        """
        self.check_new(name, upstream)
        async with self._lock:
            if name in self.proxies:
                raise Exists("proxy already exists")
            return await self._add(name, listen, upstream, enabled, toxics, tls)

    async def ensure(
        self,
        name: str,
        listen: str,
        upstream: str,
        *,
        enabled: bool = True,
        toxics: Iterable[NewToxic] = (),
        tls: Tls = PLAIN,
    ) -> Proxy:
        """The proxy of that name, address, upstream and TLS: as it is, or made, or put in the place of another.

        Raises:
            CannotListen: the address is taken, or is none; a proxy that was to be replaced is left disabled.
        """
        async with self._lock:
            existing = self.proxies.get(name)
            if existing is not None:
                if existing.tls.shown == tls.shown and not await existing.differs(listen, upstream):
                    return existing
                existing.retire()
            return await self._add(name, listen, upstream, enabled, toxics, tls)

    async def update(
        self,
        name: str,
        *,
        listen: str | None = None,
        upstream: str | None = None,
        enabled: bool | None = None,
        tls: Tls = PLAIN,
        down: str | None = None,
    ) -> Proxy:
        """Change what is given of a proxy; see :meth:`.Proxy.update`. TLS changes for new connections.

        Raises:
            NotFound: there is none of that name.
            BadRequest: no such way to be down.
            CannotListen: the address is none, or is taken.
        """
        async with self._lock:
            proxy = self.proxy(name)
            if tls is not PLAIN:
                proxy.tls = tls
            await proxy.update(listen=listen, upstream=upstream, enabled=enabled, down=down)
            return proxy

    async def _add(
        self, name: str, listen: str, upstream: str, enabled: bool, toxics: Iterable[NewToxic], tls: Tls
    ) -> Proxy:
        proxy = Proxy(name, listen, upstream, seed=self._seed, observer=self._observers, refusals=self.refusals)
        proxy.tls = tls
        for toxic in toxics:
            proxy.add(toxic)
        if enabled:
            await proxy.start()
        if (replaced := self.proxies.get(name)) is not None:
            self._forget(replaced)
        self.proxies[name] = proxy
        proxy.announce()
        return proxy

    @property
    def refusals(self) -> Refusals | None:
        """How attempts are seen while a proxy refuses them; None: they are not."""
        if self._refusals is None:
            self._refusals = watch(asyncio.get_running_loop())
        return self._refusals

    @staticmethod
    def check_new(name: str, upstream: str, where: str = "") -> None:
        """Refuse a proxy without a name or an upstream.

        Raises:
            BadRequest: which of them is missing.
        """
        for field, value in (("name", name), ("upstream", upstream)):
            if not value:
                raise BadRequest(f"missing required field: {field}{where}")

    def proxy(self, name: str) -> Proxy:
        """The proxy of a name.

        Raises:
            NotFound: there is none.
        """
        try:
            return self.proxies[name]
        except KeyError:
            raise NotFound("proxy not found") from None

    async def delete(self, name: str) -> None:
        """Stop a proxy and forget it.

        Raises:
            NotFound: there is none of that name.
        """
        async with self._lock:
            proxy = self.proxy(name)
            proxy.retire()
            del self.proxies[name]
            self._forget(proxy)

    def _forget(self, proxy: Proxy) -> None:
        proxy.forgotten()
        self._leaving = [one for one in (*self._leaving, proxy) if one.connections]

    async def start(self, name: str) -> None:
        """Let a proxy listen again; nothing happens where it does, or where there is none.

        Raises:
            CannotListen: its address has been taken meanwhile.
        """
        async with self._lock:
            if (proxy := self.proxies.get(name)) is not None:
                await proxy.start()

    async def reset(self) -> None:
        """Start every proxy that is stopped, and remove all toxics: of every proxy, whatever befalls another.

        Raises:
            CannotListen: an address has been taken meanwhile; the first of several.
        """
        refused: list[CannotListen] = []
        async with self._lock:
            for proxy in list(self.proxies.values()):
                try:
                    await proxy.start()
                except CannotListen as error:
                    refused.append(error)
                for toxic in list(proxy.toxics):
                    proxy.remove_toxic(toxic.name)
        if refused:
            raise refused[0]

    def stop(self) -> None:
        """Let go of every socket, at once."""
        for proxy in (*self.proxies.values(), *self._leaving):
            proxy.drop()
        self.proxies.clear()
        self._leaving.clear()
        if self._refusals is not None:
            self._refusals.stop()
