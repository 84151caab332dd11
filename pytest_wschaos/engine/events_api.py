"""What the API shows beyond Toxiproxy's: the events of the engine, and its live connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from . import go_json
from .connection import Connection
from .engine import Engine
from .errors import BadRequest
from .events import EventLog
from .http_server import Request, Response
from .proxy import Proxy

JSON = "application/json"
JSON_LINES = "application/x-ndjson"


class EventsApi:
    """Routes that are only read, with a query and without names in the path."""

    def __init__(self, engine: Engine, log: EventLog) -> None:
        self._engine = engine
        self._log = log
        self.routes: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "/events": self._events,
            "/connections": self._connections,
        }
        """What answers a GET, by path."""

    async def _events(self, request: Request) -> Response:
        since, frames, follow = read_query(request.query)
        return Response(200, self._log.read(since, frames=frames, follow=follow), JSON_LINES)

    async def _connections(self, request: Request) -> Response:
        shown = [
            show_connection(proxy, connection)
            for _, proxy in sorted(self._engine.proxies.items())
            for connection in proxy.connections
        ]
        now = asyncio.get_running_loop().time()
        return Response(200, go_json.write({"at": now, "connections": shown}), JSON)


def read_query(query: str) -> tuple[int | None, bool, bool]:
    """``since``, ``frames`` and ``follow`` of a request for events.

    Raises:
        BadRequest: what is given cannot be.
    """
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := given.keys() - {"since", "frames", "follow"}:
        raise BadRequest(f"unknown parameter {min(unknown)[:50]!r}: there are since, frames and follow")
    since = given.get("since")
    if since is not None and not (since.isascii() and since.isdecimal() and len(since) <= 18):
        raise BadRequest(f"since has to be the number of an event, n, and not {since[:50]!r}")
    frames, follow = _switch(given, "frames", False), _switch(given, "follow", True)
    if frames and not follow:
        raise BadRequest("frames are not kept, and have to be followed: leave out frames=1 or follow=0")
    return None if since is None else int(since), frames, follow


def _switch(given: Mapping[str, str], name: str, default: bool) -> bool:
    value = given.get(name, str(int(default)))
    if value not in ("0", "1"):
        raise BadRequest(f"{name} has to be 0 or 1, and not {value[:50]!r}")
    return value == "1"


def show_connection(proxy: Proxy, connection: Connection) -> dict[str, Any]:
    """A live connection, as the API shows it."""
    return {
        "proxy": proxy.name,
        "conn": connection.number,
        "client": connection.address,
        "since": connection.since,
        "up": connection.up.received,
        "down": connection.down.received,
        "toxics": [name for name, stage in proxy.connections[connection].items() if stage.active],
    }
