"""A chat of one's own: its protocol, its server and its client, as a team may have them.

Every message is a JSON object. Up: ``{"op": "login", "key": ...}``, then ``{"op": "say", "n": 1, "text": ...}`` and
``{"op": "ping", "t": 1}``. Down: ``{"op": "hello"}``, ``{"op": "got", "n": 1}`` and ``{"op": "pong", "t": 1}``.
"""

import asyncio
import json
import random
from collections.abc import Coroutine
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import WebSocketException

KEY = "let me in"


async def chat_server(websocket: ServerConnection) -> None:
    """One connection; the handler that ``websockets.serve`` would be given."""
    login = json.loads(await websocket.recv())
    if login.get("key") != KEY:
        await websocket.close(4403, "wrong key")
        return
    await websocket.send(json.dumps({"op": "hello"}))
    async for text in websocket:
        frame = json.loads(text)
        if frame["op"] == "say":
            await websocket.send(json.dumps({"op": "got", "n": frame["n"]}))
        elif frame["op"] == "ping":
            await websocket.send(json.dumps({"op": "pong", "t": frame["t"]}))


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all until one fails. (The first releases of Python 3.11 let a TaskGroup's end cancel what comes after it.)"""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class ChatClient:
    """Logs in first, pings every half second, keeps what is said while it is down. One thing it forgets."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._unsaid: asyncio.Queue[str] = asyncio.Queue()
        self._numbers = count(1)
        self._task = asyncio.create_task(self._run())

    def say(self, text: str) -> None:
        self._unsaid.put_nowait(json.dumps({"op": "say", "n": next(self._numbers), "text": text}))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with connect(self._url, open_timeout=2, ping_interval=None, close_timeout=0) as websocket:
                    await websocket.send(json.dumps({"op": "login", "key": KEY}))
                    await websocket.recv()  # hello
                    failures = 0
                    pongs: asyncio.Queue[int] = asyncio.Queue()
                    await together(self._listen(websocket, pongs), self._ping(websocket, pongs), self._talk(websocket))
            except (OSError, TimeoutError, WebSocketException):
                failures += 1
            await asyncio.sleep(min(8.0, 0.5 * 2 ** (failures - 1)) * random.uniform(0.5, 1.5))

    async def _listen(self, websocket: ClientConnection, pongs: asyncio.Queue[int]) -> None:
        while True:
            frame = json.loads(await websocket.recv())
            if frame["op"] == "pong":
                pongs.put_nowait(frame["t"])

    async def _ping(self, websocket: ClientConnection, pongs: asyncio.Queue[int]) -> None:
        for number in count(1):
            await asyncio.sleep(0.5)
            await websocket.send(json.dumps({"op": "ping", "t": number}))
            async with asyncio.timeout(0.5):  # without the answer the link is dead
                while await pongs.get() != number:
                    pass

    async def _talk(self, websocket: ClientConnection) -> None:
        while True:
            await websocket.send(await self._unsaid.get())
