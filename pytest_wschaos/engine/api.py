"""Toxiproxy's HTTP API in front of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import go_json
from .engine import VERSION, Engine
from .errors import EngineError
from .go_json import Fields
from .http_server import HttpServer, Request, Response
from .proxy import Proxy, Toxic
from .toxics import TOXICS

TIMEOUT = 25.0
"""Seconds after which a request is given up, as in Toxiproxy."""

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
        self._count = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address is taken, or is none.
        """
        return await self._server.start(host, port)

    async def stop(self) -> None:
        """Stop listening, and end every connection. The engine goes on."""
        await self._server.stop()

    async def _handle(self, request: Request) -> Response:
        route = find(request.path)
        if route is None:
            return Response(404, b"404 page not found\n", PLAIN, NO_SNIFF)
        methods, names = route
        handler = methods.get(request.method)
        if handler is None:
            return Response(405)
        response = await self._run(handler, request, names)
        self._count += 1
        headers = {**response.headers, "X-Toxiproxy-Request-Id": f"{self._count:020x}"}
        return Response(response.status, response.body, response.content_type, headers)

    async def _run(self, handler: Handler, request: Request, names: list[str]) -> Response:
        if request.headers.get("user-agent", "").startswith("Mozilla/"):
            # A web page must not control the engine through its reader's browser.
            return Response(403, b"User agent not allowed\n", PLAIN, NO_SNIFF)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await handler(self, request.body, names)
        except EngineError as error:
            return Response(error.status, go_json.write(_error(error)) + b"\n", PLAIN, NO_SNIFF)
        except TimeoutError:
            page = b"<html><head><title>Timeout</title></head><body><h1>Timeout</h1></body></html>"
            return Response(503, page, "text/html; charset=utf-8")

    # --- proxies ---

    async def _proxies(self, body: bytes, names: list[str]) -> Response:
        return _json(200, {name: show_proxy(proxy) for name, proxy in sorted(self._engine.proxies.items())})

    async def _create(self, body: bytes, names: list[str]) -> Response:
        name, listen, upstream, enabled = new_proxy(Fields(go_json.read(body), "Proxy"))
        return _json(201, show_proxy(await self._engine.create(name, listen, upstream, enabled=enabled)))

    async def _proxy(self, body: bytes, names: list[str]) -> Response:
        return _json(200, show_proxy(self._engine.proxy(names[0])))

    async def _update(self, body: bytes, names: list[str]) -> Response:
        self._engine.proxy(names[0])
        fields = Fields(go_json.read(body), "Proxy")
        proxy = await self._engine.update(
            names[0],
            listen=fields.text("listen"),
            upstream=fields.text("upstream"),
            enabled=fields.boolean("enabled"),
            down=fields.text("down"),
        )
        return _json(200, show_proxy(proxy))

    async def _delete(self, body: bytes, names: list[str]) -> Response:
        await self._engine.delete(names[0])
        return Response(204)

    async def _populate(self, body: bytes, names: list[str]) -> Response:
        made: list[Proxy] = []
        try:
            for name, listen, upstream, enabled in self._entries(body):
                made.append(await self._engine.ensure(name, listen, upstream, enabled=enabled))
        except EngineError as error:
            return _json(error.status, {**_error(error), "proxies": [show_proxy(proxy) for proxy in made] or None})
        return _json(201, {"proxies": [show_proxy(proxy) for proxy in made] or None})

    def _entries(self, body: bytes) -> list[tuple[str, str, str, bool]]:
        """All entries, each of them complete."""
        value = go_json.read(body)
        if value is not None and not isinstance(value, list):
            raise go_json.bad_body(f"json: cannot unmarshal {go_json.kind(value)} into Go value of type []Proxy")
        entries = [new_proxy(Fields(entry, "Proxy")) for entry in value or []]
        for place, (name, _, upstream, _) in enumerate(entries, 1):
            self._engine.check_new(name, upstream, f" at proxy {place}")
        return entries

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
        fields = Fields(go_json.read(body), "Toxic")
        type = fields.text("type") or ""
        stream = fields.text("stream")
        stream = "downstream" if stream is None else stream
        toxicity = fields.float32("toxicity")
        name, known = proxy.check_toxic(type, stream, fields.text("name"))
        attributes = read_attributes(fields, known)
        toxicity = 1.0 if toxicity is None else toxicity
        connections = fields.any("connections")
        toxic = proxy.add_toxic(
            type, name=name, stream=stream, toxicity=toxicity, attributes=attributes, connections=connections
        )
        return _json(200, show_toxic(toxic))

    async def _toxic(self, body: bytes, names: list[str]) -> Response:
        return _json(200, show_toxic(self._engine.proxy(names[0]).toxic(names[1])))

    async def _change(self, body: bytes, names: list[str]) -> Response:
        proxy = self._engine.proxy(names[0])
        toxic = proxy.toxic(names[1])
        fields = Fields(go_json.read(body), "Toxic")
        attributes = read_attributes(fields, TOXICS[toxic.type].defaults)
        return _json(
            200, show_toxic(proxy.update_toxic(toxic.name, attributes=attributes, toxicity=fields.float32("toxicity")))
        )

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


def find(path: str) -> tuple[Mapping[str, Handler], list[str]] | None:
    """The methods of a path and the names in it; None: there is nothing."""
    parts = tuple(path.split("/")[1:])
    for route, methods in ROUTES.items():
        if len(route) == len(parts) and all(
            word == part or (word == "*" and part) for word, part in zip(route, parts, strict=True)
        ):
            return methods, [part for word, part in zip(route, parts, strict=True) if word == "*"]
    return None


def new_proxy(fields: Fields) -> tuple[str, str, str, bool]:
    """Name, listen, upstream and enabled of a proxy that is asked for."""
    enabled = fields.boolean("enabled")
    return (
        fields.text("name") or "",
        fields.text("listen") or "",
        fields.text("upstream") or "",
        True if enabled is None else enabled,
    )


def read_attributes(fields: Fields, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that are given, of those that the toxic has."""
    given = fields.fields("attributes")
    return {key: value for key, default in defaults.items() if (value := given.like(key, default)) is not None}


def show_proxy(proxy: Proxy) -> dict[str, Any]:
    """A proxy as the API shows it. ``Logger`` is there because Toxiproxy shows it."""
    shown = {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": not proxy.refusing,
        "Logger": {},
        "toxics": show_toxics(proxy),
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
