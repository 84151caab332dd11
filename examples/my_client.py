"""A small reconnecting client for ``wschaos.v1``, as somebody might write one on top of ``websockets``."""

import asyncio
import json
import random
import time

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException


class MyClient:
    """Connects, says who it is, listens; and comes back when the link is lost. Times are seconds."""

    def __init__(self, url: str, *, token: str) -> None:
        self.url = url
        self.token = token
        self.received: list[object] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        failures = 0
        while True:
            lasted = await self._connection()
            failures = 1 if lasted >= 10.0 else failures + 1  # a handshake alone proves nothing
            delay = min(8.0, 0.5 * 2 ** (failures - 1))
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # so that not all clients come back at once

    async def _connection(self) -> float:
        """One connection, from its beginning to its end; how long it was of use."""
        ready = None
        try:
            # close_timeout=0: from a link that is dead no answer to a Close is to be expected.
            async with connect(
                self.url, open_timeout=1, ping_interval=1, ping_timeout=0.5, close_timeout=0
            ) as websocket:
                await websocket.send(json.dumps({"type": "auth", "token": self.token}))
                async for text in websocket:
                    frame = json.loads(text)
                    if frame["type"] == "welcome":
                        ready = time.monotonic()
                    elif frame["type"] == "ping":
                        await websocket.send(json.dumps({"type": "pong", "n": frame["n"]}))
                    elif frame["type"] == "message":
                        self.received.append(frame["data"])
        except (OSError, TimeoutError, WebSocketException):
            pass  # whatever it was, the answer is the same
        return 0.0 if ready is None else time.monotonic() - ready

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
