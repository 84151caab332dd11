"""``wschaos serve``: the embedded engine with its HTTP API, as a process of its own."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engine import open_files
from .engine.api import Api, NewProxy, read_proxies
from .engine.engine import Engine
from .engine.errors import EngineError
from .engine.proxy import Proxy
from .signals import on_signal

log = logging.getLogger(__name__)

AGAIN = 10.0
"""Seconds for which the same trouble is not told again."""


class CannotServe(Exception):
    """What is wrong, in one line."""


@dataclass(frozen=True)
class Settings:
    """What the command was asked for.

    Args:
        host: address of the API; port 0: a free one.
        config: a file with the proxies that are there from the start.
        seed: where all randomness comes from.
    """

    host: str
    port: int
    config: str | None
    seed: int


def read_config(path: str) -> list[NewProxy]:
    """The proxies of a configuration file: a JSON array, as Toxiproxy reads it, with ``toxics`` where one likes.

    Raises:
        CannotServe: it cannot be read, or something in it is wrong; the error says what.
    """
    try:
        return read_proxies(Path(path).read_bytes())
    except OSError as error:
        raise CannotServe(f"{path}: {error.strerror or error}") from None
    except EngineError as error:
        raise CannotServe(f"{path}: {str(error).removeprefix('bad request body: ')}") from None


async def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        say: is given each line for standard output: where the API listens, then one line for each proxy.

    Raises:
        CannotServe: the configuration is wrong, or an address cannot be listened on. Nothing is left.
    """
    open_files.raise_limit()
    stop = asyncio.Event()
    on_signal(stop.set)
    asyncio.get_running_loop().set_exception_handler(OneLine())
    proxies = read_config(settings.config) if settings.config is not None else []
    engine = Engine(seed=settings.seed)
    api = Api(engine)
    try:
        for proxy in proxies:
            await _make(engine, proxy, settings.config)
        port = await _listen(api, settings)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"listening on http://{host}:{port}")
        for name in dict.fromkeys(proxy.name for proxy in proxies):
            say(describe(engine.proxies[name]))
        await stop.wait()
    finally:
        await api.stop()
        engine.stop()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn


async def _make(engine: Engine, new: NewProxy, config: str | None) -> None:
    try:
        await engine.ensure(new.name, new.listen, new.upstream, enabled=new.enabled, toxics=new.toxics, tls=new.tls)
    except EngineError as error:
        raise CannotServe(f"{config}: proxy {new.name!r}: {error}") from None


async def _listen(api: Api, settings: Settings) -> int:
    try:
        return await api.start(settings.host, settings.port)
    except OSError as error:
        hint = " (--port 0 finds a free one)" if error.errno == errno.EADDRINUSE else ""
        told = f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}{hint}"
        raise CannotServe(told) from None


def describe(proxy: Proxy) -> str:
    """A proxy in one line."""
    state = "" if proxy.enabled else ", disabled"
    toxics = f", toxics: {', '.join(toxic.name for toxic in proxy.toxics)}" if proxy.toxics else ""
    return f"proxy {proxy.name}: {proxy.listen} -> {proxy.upstream}{state}{toxics}"


class OneLine:
    """Handles what asyncio would tell with a traceback, such as an accept() without descriptors: asyncio goes on."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Log it in one line, the same message not again for a while."""
        message = context["message"]
        if loop.time() - self._told.get(message, -AGAIN) >= AGAIN:
            self._told[message] = loop.time()
            error = context.get("exception")
            log.warning("%s%s", message, f": {error!r}" if error is not None else "")
