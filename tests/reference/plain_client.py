"""A plain ``websockets`` client for the reference server's tests: it speaks frames and knows no rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PATIENCE = 10.0
"""Seconds after which a test that waits for something fails; nothing takes that long."""


class Plain:
    """One connection."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def send(self, type: str, **fields: Any) -> None:
        await self.websocket.send(json.dumps({"type": type, **fields}, ensure_ascii=False))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            message = await self.websocket.recv()
        frame = json.loads(message)
        assert isinstance(frame, dict)
        return frame

    async def until(self, kind: str) -> dict[str, Any]:
        """The next frame of a kind; those before it are skipped."""
        while (frame := await self.receive())["type"] != kind:
            pass
        return frame

    async def sync(self) -> None:
        """Wait until the server has processed everything that was sent so far."""
        await self.send("ping", n="sync")
        while await self.until("pong") != {"type": "pong", "n": "sync"}:
            pass

    async def auth(self, token: str, **fields: Any) -> dict[str, Any]:
        await self.send("auth", token=token, **fields)
        return await self.until("welcome")

    async def resume(self, token: str, welcome: dict[str, Any], seq: int = 0) -> dict[str, Any]:
        fields = {name: welcome[name] for name in ("session", "resume_token", "epoch")}
        return await self.auth(token, **fields, seq=seq)

    async def closed(self) -> tuple[int | None, str | None]:
        """Read until the connection has ended; the close code and reason that came."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as ended:
            return (None, None) if ended.rcvd is None else (ended.rcvd.code, ended.rcvd.reason)


@asynccontextmanager
async def plain(url: str, **options: Any) -> AsyncIterator[Plain]:
    """A connection to ``url``; cut at the end, without ceremony."""
    websocket = await connect(url, compression=None, ping_interval=None, close_timeout=1, proxy=None, **options)
    try:
        yield Plain(websocket)
    finally:
        websocket.transport.abort()
        await websocket.wait_closed()
