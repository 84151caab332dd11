"""Toxiproxy's HTTP API in front of the engine."""

from __future__ import annotations

import asyncio
import logging
import posixpath
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from . import go_json
from .engine import VERSION, Engine
from .errors import EngineError
from .events import EventLog
from .events_api import EventsApi
from .go_json import Fields
from .http_server import HttpServer, Request, Response
from .proxy import NewToxic, Proxy, Toxic, check_toxic
from .targets import Targets
from .tls import Tls, read_tls
from .toxics import TOXICS

log = logging.getLogger(__name__)

TIMEOUT = 25.0
"""Seconds after which a request is given up, as in Toxiproxy."""

POPULATED = 'struct { toxiproxy.Proxy; Enabled *bool "json:\\"enabled\\"" }'
TOXIC_UPDATE = 'struct { Attributes interface {} "json:\\"attributes\\""; Toxicity float32 "json:\\"toxicity\\"" }'
"""What Go calls these where they are no objects."""

JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
NO_SNIFF = {"X-Content-Type-Options": "nosniff"}

Handler = Callable[["Api", bytes, list[str]], Awaitable[Response]]


class Api:
    """Serves an engine over HTTP.

    What Toxiproxy answers byte by byte is the aim; what it hangs or crashes on is answered.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._server = HttpServer(self._handle)
        self._log = EventLog(lambda: asyncio.get_running_loop().time(), show_toxic)
        self._events = EventsApi(engine, self._log)
        self._count = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port. From now on events are kept.

        Raises:
            OSError: the address is taken, or is none.
        """
        port = await self._server.start(host, port)
        self._engine.observe(self._log)
        return port

    async def stop(self) -> None:
        """Stop listening, and end every connection. The engine goes on."""
        self._engine.unobserve(self._log)
        await self._server.stop()

    async def _handle(self, request: Request) -> Response:
        response = await self._route(request)
        log.debug("%s %s: %d", request.method, request.path, response.status)
        return response

    async def _route(self, request: Request) -> Response:
        if (cleaned := clean(request.path)) != request.path:
            query = f"?{request.query}" if request.query else ""
            return Response(301, headers={"Location": quote(cleaned) + query})
        answers = self._answers(request)
        if answers is None:
            return Response(404, b"404 page not found\n", PLAIN, NO_SNIFF)
        answer = answers.get(request.method)
        if answer is None:
            return Response(405)
        response = await self._run(answer, request)
        self._count += 1
        headers = {**response.headers, "X-Toxiproxy-Request-Id": f"{self._count:020x}"}
        return Response(response.status, response.body, response.content_type, headers)

    def _answers(self, request: Request) -> Mapping[str, Callable[[], Awaitable[Response]]] | None:
        """What answers a request, by method; None: there is nothing at its path."""
        if (look := self._events.routes.get(request.path)) is not None:
            return {"GET": partial(look, request)}
        if (route := find(request.path)) is None:
            return None
        methods, names = route
        return {method: partial(handler, self, request.body, names) for method, handler in methods.items()}

    async def _run(self, answer: Callable[[], Awaitable[Response]], request: Request) -> Response:
        if request.headers.get("user-agent", "").startswith("Mozilla/"):
            # A web page must not control the engine through its reader's browser.
            return Response(403, b"User agent not allowed\n", PLAIN, NO_SNIFF)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await answer()
        except EngineError as error:
            return Response(error.status, go_json.write(_error(error)) + b"\n", PLAIN, NO_SNIFF)
        except TimeoutError:
            page = b"<html><head><title>Timeout</title></head><body><h1>Timeout</h1></body></html>"
            return Response(503, page, "text/html; charset=utf-8")

    # --- proxies ---

    async def _proxies(self, body: bytes, names: list[str]) -> Response:
        return _json(200, {name: show_proxy(proxy) for name, proxy in sorted(self._engine.proxies.items())})

    async def _create(self, body: bytes, names: list[str]) -> Response:
        new = read_proxy(go_json.read(body), "Proxy")
        proxy = await self._engine.create(
            new.name, new.listen, new.upstream, enabled=new.enabled, toxics=new.toxics, tls=new.tls
        )
        return _json(201, show_proxy(proxy))

    async def _proxy(self, body: bytes, names: list[str]) -> Response:
        return _json(200, show_proxy(self._engine.proxy(names[0])))

    async def _update(self, body: bytes, names: list[str]) -> Response:
        self._engine.proxy(names[0])
        fields = Fields(go_json.read(body), "Proxy", "toxiproxy.Proxy")
        proxy = await self._engine.update(
            names[0],
            listen=fields.text("listen"),
            upstream=fields.text("upstream"),
            enabled=fields.boolean("enabled"),
            tls=read_tls(fields),
            down=fields.text("down"),
        )
        return _json(200, show_proxy(proxy))

    async def _delete(self, body: bytes, names: list[str]) -> Response:
        await self._engine.delete(names[0])
        return Response(204)

    async def _populate(self, body: bytes, names: list[str]) -> Response:
        made: list[Proxy] = []
        try:
            for new in read_proxies(body):
                proxy = await self._engine.ensure(
                    new.name, new.listen, new.upstream, enabled=new.enabled, toxics=new.toxics, tls=new.tls
                )
                made.append(proxy)
        except EngineError as error:
            return _json(error.status, {**_error(error), "proxies": [show_proxy(proxy) for proxy in made] or None})
        return _json(201, {"proxies": [show_proxy(proxy) for proxy in made] or None})

    async def _reset(self, body: bytes, names: list[str]) -> Response:
        await self._engine.reset()
        return Response(204)

    async def _version(self, body: bytes, names: list[str]) -> Response:
        return Response(200, f'{{"version": "{VERSION}"}}\n'.encode(), "application/json;charset=utf-8")

    # --- toxics ---

    async def _toxics(self, body: bytes, names: list[str]) -> Response:
        return _json(200, show_toxics(self._engine.proxy(names[0])))

    async def _add(self, body: bytes, names: list[str]) -> Response:
        proxy = self._engine.proxy(names[0])
        new = read_toxic(go_json.read(body), [toxic.name for toxic in proxy.toxics])
        return _json(200, show_toxic(proxy.add(new)))

    async def _toxic(self, body: bytes, names: list[str]) -> Response:
        return _json(200, show_toxic(self._engine.proxy(names[0]).toxic(names[1])))

    async def _change(self, body: bytes, names: list[str]) -> Response:
        proxy = self._engine.proxy(names[0])
        toxic = proxy.toxic(names[1])
        fields = Fields(go_json.read(body), "", TOXIC_UPDATE)
        fields.fields("attributes", f"toxics.{_struct(toxic.type)}")
        toxicity = fields.float32("toxicity")
        attributes = read_attributes(fields, toxic.type)
        return _json(200, show_toxic(proxy.update_toxic(toxic.name, attributes=attributes, toxicity=toxicity)))

    async def _remove(self, body: bytes, names: list[str]) -> Response:
        self._engine.proxy(names[0]).remove_toxic(names[1])
        return Response(204)


ROUTES: Mapping[tuple[str, ...], Mapping[str, Handler]] = {
    ("proxies",): {"GET": Api._proxies, "POST": Api._create},
    ("proxies", "*"): {"GET": Api._proxy, "POST": Api._update, "PATCH": Api._update, "DELETE": Api._delete},
    ("proxies", "*", "toxics"): {"GET": Api._toxics, "POST": Api._add},
    ("proxies", "*", "toxics", "*"): {
        "GET": Api._toxic,
        "POST": Api._change,
        "PATCH": Api._change,
        "DELETE": Api._remove,
    },
    ("populate",): {"POST": Api._populate},
    ("reset",): {"POST": Api._reset},
    ("version",): {"GET": Api._version},
}
"""What is served; ``*`` stands for a name."""


def clean(path: str) -> str:
    """A path without empty parts, ``.`` and ``..``; a slash at its end stays."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def find(path: str) -> tuple[Mapping[str, Handler], list[str]] | None:
    """The methods of a path and the names in it; None: there is nothing."""
    parts = tuple(path.split("/")[1:])
    for route, methods in ROUTES.items():
        if len(route) == len(parts) and all(
            word == part or (word == "*" and part) for word, part in zip(route, parts, strict=True)
        ):
            return methods, [part for word, part in zip(route, parts, strict=True) if word == "*"]
    return None


@dataclass(frozen=True)
class NewProxy:
    """A proxy that is asked for."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: Sequence[NewToxic]
    tls: Tls


def read_proxies(body: bytes) -> list[NewProxy]:
    """The proxies of ``/populate`` and of a configuration file: a list, each of them complete.

    Raises:
        EngineError: one of them is not; the error says which.
    """
    value = go_json.read(body)
    if value is not None and not isinstance(value, list):
        raise go_json.bad_body(f"json: cannot unmarshal {go_json.kind(value)} into Go value of type []{POPULATED}")
    return [read_proxy(entry, ".Proxy", POPULATED, f" at proxy {place}") for place, entry in enumerate(value or [], 1)]


def read_proxy(value: Any, struct: str, whole: str = "toxiproxy.Proxy", where: str = "") -> NewProxy:
    """A proxy that is asked for, with its toxics.

    Args:
        struct: what Go calls it where a field is wrong.
        whole: what Go calls it where it is no object.
        where: which of several it is, for errors.

    Raises:
        EngineError: something of it is missing or cannot be.
    """
    fields = Fields(value, struct, whole)
    name, listen, upstream = (fields.text(key) or "" for key in ("name", "listen", "upstream"))
    enabled = fields.boolean("enabled")
    Engine.check_new(name, upstream, where)
    toxics: list[NewToxic] = []
    for place, toxic in enumerate(fields.array("toxics", "[]toxics.ToxicWrapper"), 1):
        try:
            toxics.append(read_toxic(toxic, [other.name for other in toxics]))
        except EngineError as error:
            raise type(error)(f"{error} at toxic {place}{where}") from None
    return NewProxy(name, listen, upstream, True if enabled is None else enabled, toxics, read_tls(fields))


def read_toxic(value: Any, taken: Container[str]) -> NewToxic:
    """A toxic that is asked for.

    Args:
        taken: the names that it must not have.

    Raises:
        EngineError: something of it cannot be.
    """
    fields = Fields(value, "ToxicWrapper", "toxics.ToxicWrapper")
    fields.fields("attributes", "toxics.NoopToxic")
    name, type, stream = (fields.text(key) for key in ("name", "type", "stream"))
    toxicity = fields.float32("toxicity")
    type = type or ""
    stream = "downstream" if stream is None else stream
    name, known = check_toxic(type, stream, name, taken)
    attributes = read_attributes(fields, type)
    TOXICS[type].check({**known, **attributes})
    connections = fields.any("connections")
    Targets(connections, 0)
    return NewToxic(type, name, stream, 1.0 if toxicity is None else toxicity, attributes, connections)


def _struct(type: str) -> str:
    """What Go calls a toxic of a type."""
    return "ResetToxic" if type == "reset_peer" else f"{TOXICS[type].__name__}Toxic"


def read_attributes(fields: Fields, type: str) -> dict[str, Any]:
    """The attributes that are given, of those that a toxic of a type has."""
    given = fields.called(_struct(type)).fields("attributes")
    given.integers = "int" if type == "slicer" else "int64"
    known = TOXICS[type].defaults
    return {key: value for key, default in known.items() if (value := given.like(key, default)) is not None}


def show_proxy(proxy: Proxy) -> dict[str, Any]:
    """A proxy as the API shows it. ``Logger`` is there because Toxiproxy shows it."""
    shown = {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": not proxy.refusing,
        "Logger": {},
        "toxics": show_toxics(proxy),
        **proxy.tls.shown,
    }
    return shown if proxy.down is None else {**shown, "down": proxy.down}


def show_toxics(proxy: Proxy) -> list[dict[str, Any]]:
    """A proxy's toxics, those of the upstream first."""
    return [show_toxic(toxic) for toxic in sorted(proxy.toxics, key=lambda toxic: not toxic.upstream)]


def show_toxic(toxic: Toxic) -> dict[str, Any]:
    """A toxic as the API shows it."""
    shown = {
        "attributes": {key: go_json.shortest(value) for key, value in toxic.attributes.items()},
        "name": toxic.name,
        "type": toxic.type,
        "stream": toxic.stream,
        "toxicity": go_json.number(toxic.toxicity),
    }
    return shown if toxic.targets.given is None else {**shown, "connections": toxic.targets.given}


def _json(status: int, value: Any) -> Response:
    return Response(status, go_json.write(value), JSON)


def _error(error: EngineError) -> dict[str, Any]:
    return {"error": str(error), "status": error.status}
