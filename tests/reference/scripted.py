"""A server that does what a test says, one handler per connection, and a client whose events can be awaited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from pytest_wschaos.profile import Profile
from pytest_wschaos.reference.client import ReferenceClient

PROFILE = Profile().scaled(0.02)
Handler = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, ws: ServerConnection, number: int) -> None:
        self.ws = ws
        self.number = number

    async def read(self) -> dict[str, Any]:
        """The next text frame that is no heartbeat; pings are answered."""
        while True:
            frame: dict[str, Any] = json.loads(await self.ws.recv())
            if frame["type"] != "ping":
                return frame
            await self.say(type="pong", n=frame["n"])

    async def say(self, **frame: Any) -> None:
        await self.ws.send(json.dumps(frame))

    async def welcome(self, **fields: Any) -> dict[str, Any]:
        """Take the credentials, accept them, resume if asked; returns the frame that carried them."""
        auth = await self.read()
        standard = {"session": "s", "resume_token": f"r{self.number}", "epoch": "e", "seq": 0}
        await self.say(**{"type": "welcome", **standard, "recovered": "session" in auth, "last_id": 0, **fields})
        return auth

    async def stay(self) -> None:
        """Answer pings and acknowledge all else, until the client leaves."""
        async for text in self.ws:
            frame = json.loads(text)
            if frame["type"] == "ping":
                await self.say(type="pong", n=frame["n"])
            elif "id" in frame:
                await self.say(type="ack", id=frame["id"], ok=True)


class Scripted:
    """The running server: its URL, and the upgrade requests that came."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.faults: list[BaseException] = []


@asynccontextmanager
async def scripted(
    *handlers: Handler, answers: list[tuple[int, dict[str, str]] | None] | None = None
) -> AsyncIterator[Scripted]:
    """Serve each connection by the next handler, the last one for all further; HTTP ``answers`` come first."""
    server = Scripted()
    count = 0

    def answer(ws: ServerConnection, request: Request) -> Response | None:
        server.requests.append(request)
        if answers and (given := answers.pop(0)) is not None:
            response = ws.respond(given[0], "no\n")
            for name, value in given[1].items():
                if name in response.headers:
                    del response.headers[name]
                response.headers[name] = value
            return response
        return None

    async def handle(ws: ServerConnection) -> None:
        nonlocal count
        handler = handlers[min(count, len(handlers) - 1)]
        count += 1
        await handler(Peer(ws, count))

    async with serve(handle, "127.0.0.1", 0, process_request=answer, max_size=None, close_timeout=0.1) as listener:
        server.url = f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}/ws"
        yield server


class Ledger:
    """The events that a client told, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.times: list[float] = []
        self._more = asyncio.Event()
        self._seen = 0

    def __call__(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())
        self._more.set()

    async def wait(self, kind: str, *, timeout: float = 10.0) -> dict[str, Any]:
        """The next event of a kind, after the one that was last waited for."""
        async with asyncio.timeout(timeout):
            while True:
                while self._seen < len(self.events):
                    self._seen += 1
                    if self.events[self._seen - 1]["event"] == kind:
                        return self.events[self._seen - 1]
                self._more.clear()
                await self._more.wait()

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def client_for(
    server: Any, ledger: Ledger | None = None, *, profile: Profile = PROFILE, **options: Any
) -> ReferenceClient:
    """A client of a server, with the token ``secret-token`` unless the options say otherwise."""
    return ReferenceClient(server.url, **{"token": "secret-token", "profile": profile, "on_event": ledger, **options})
