"""Three clients that others wrote, used as their documentation and a thousand answers on the web use them.

Each is a context manager: inside it the client runs, and nobody helps it. The tests beside this file say what each
of them really does when the link or the server misbehaves; ``figures.py`` measures it.
"""

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import websocket  # the package websocket-client
import websockets


@asynccontextmanager
async def websockets_client(url: str, **settings: Any) -> AsyncIterator[None]:
    """``websockets``: its endless iterator reconnects by itself."""

    async def listen() -> None:
        async for connection in websockets.connect(url, **settings):
            try:
                async for _message in connection:
                    pass
            except websockets.ConnectionClosed:
                continue

    async with _running(listen()):
        yield


@asynccontextmanager
async def aiohttp_client(url: str, **settings: Any) -> AsyncIterator[None]:
    """``aiohttp``: it does not reconnect, so people write this loop around it."""

    async def listen() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.ws_connect(url, **settings) as connection:
                        async for _message in connection:
                            pass
                except aiohttp.ClientError:
                    await asyncio.sleep(1)

    async with _running(listen()):
        yield


@asynccontextmanager
async def _running(client: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(client)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextmanager
def websocket_client(url: str, **settings: Any) -> Iterator[websocket.WebSocketApp]:
    """``websocket-client``: ``run_forever(reconnect=1)``, on a thread of its own."""
    app = websocket.WebSocketApp(url)
    # A daemon, because close() does not end an attempt that waits for its answer: see the tests.
    thread = threading.Thread(target=app.run_forever, kwargs={"reconnect": 1, **settings}, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it forgets to close a socket now and then
        thread.start()
        try:
            yield app
        finally:
            app.close()
            thread.join(timeout=10)
            gc.collect()
