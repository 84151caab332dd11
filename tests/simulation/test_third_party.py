"""Clients and servers of other people, unmodified: a virtual hour of each, with heartbeats."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from typing import Any

import pytest

from .clocks import VIRTUAL, on
from .conftest import Contexts

pytestmark = [
    pytest.mark.parametrize("clock", VIRTUAL),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]

HOUR = 3600.0
ROUNDS = 60
Echoed = tuple[int, float]


def an_hour(clock: str, main: Any, *args: object) -> None:
    """Run it, and check that an echo each minute came at once, for an hour that took no time."""
    begun = time.monotonic()
    rounds, seconds = on(clock, functools.partial(main, *args), time_limit=2 * HOUR)
    assert rounds == ROUNDS
    assert seconds == pytest.approx(HOUR, abs=1)
    assert time.monotonic() - begun < 30


async def each_minute(send: Any, receive: Any) -> Echoed:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(ROUNDS):
        at = loop.time()
        await send(f"message {number}")
        assert await receive() == f"message {number}"
        assert loop.time() - at < 0.5
        await asyncio.sleep(60)
    return ROUNDS, loop.time() - begun


# --- websockets ---


async def with_websockets(contexts: Contexts | None) -> Echoed:
    import websockets

    own, theirs = contexts or (None, None)

    async def serve(ws: Any) -> None:
        async for message in ws:
            await ws.send(message)

    async with websockets.serve(serve, "127.0.0.1", 0, ssl=theirs) as server:
        port = server.sockets[0].getsockname()[1]
        scheme = "wss" if own else "ws"
        async for ws in websockets.connect(f"{scheme}://127.0.0.1:{port}", ssl=own, proxy=None):
            done = await each_minute(ws.send, ws.recv)
            await ws.close()
            break
    return done


def test_websockets(clock: str) -> None:
    an_hour(clock, with_websockets, None)


def test_websockets_over_tls(clock: str, contexts: Contexts) -> None:
    an_hour(clock, with_websockets, contexts)


# --- aiohttp ---


@contextlib.asynccontextmanager
async def aiohttp_server() -> Any:
    from aiohttp import WSMsgType, web

    async def serve(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(heartbeat=20)
        await ws.prepare(request)
        async for message in ws:
            if message.type == WSMsgType.TEXT:
                await ws.send_str(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def with_aiohttp(host: str) -> Echoed:
    import aiohttp

    async with (
        aiohttp_server() as port,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{host}:{port}/", heartbeat=20) as ws,
    ):
        received: asyncio.Queue[str] = asyncio.Queue()

        async def read() -> None:  # aiohttp answers pings only while somebody reads
            async for message in ws:
                received.put_nowait(message.data)

        reading = asyncio.create_task(read())
        done = await each_minute(ws.send_str, received.get)
        await ws.close()
        await reading
        return done


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_aiohttp(clock: str, host: str) -> None:
    an_hour(clock, with_aiohttp, host)


async def with_aiohttps_test_server() -> Echoed:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    async def serve(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestClient(TestServer(app)) as client, client.ws_connect("/") as ws:
        return await each_minute(ws.send_str, ws.receive_str)


def test_aiohttps_test_server(clock: str) -> None:
    an_hour(clock, with_aiohttps_test_server)


# --- python-socketio, uvicorn, httpx-ws ---


async def with_socketio() -> Echoed:
    import socketio
    from aiohttp import web

    server = socketio.AsyncServer(async_mode="aiohttp", ping_interval=25, ping_timeout=20)

    @server.on("message")  # type: ignore[untyped-decorator,unused-ignore]
    async def echo(sid: str, data: str) -> None:
        await server.emit("message", data, to=sid)

    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = socketio.AsyncClient(handle_sigint=False)
    received: asyncio.Queue[str] = asyncio.Queue()
    client.on("message", received.put)
    try:
        await client.connect(f"http://127.0.0.1:{runner.addresses[0][1]}", transports=["websocket"])
        done = await each_minute(lambda text: client.emit("message", text), received.get)
        await client.disconnect()
        return done
    finally:
        await server.shutdown()
        await runner.cleanup()


def test_python_socketio(clock: str) -> None:
    pytest.importorskip("socketio")
    an_hour(clock, with_socketio)


@contextlib.asynccontextmanager
async def uvicorn_server(protocol: str) -> Any:
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})

    config = uvicorn.Config(app, "127.0.0.1", 0, ws=protocol, lifespan="off", log_level="critical")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())  # serve() would take over the signals
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def with_uvicorn(protocol: str) -> Echoed:
    import websockets

    async with uvicorn_server(protocol) as port, websockets.connect(f"ws://127.0.0.1:{port}", proxy=None) as ws:
        return await each_minute(ws.send, ws.recv)


@pytest.mark.parametrize("protocol", ["websockets-sansio", "wsproto"])
def test_uvicorn(clock: str, protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("uvicorn")
    if protocol == "wsproto":
        pytest.importorskip("wsproto")
    caplog.set_level(logging.CRITICAL)
    an_hour(clock, with_uvicorn, protocol)


async def with_httpx_ws() -> Echoed:
    import httpx
    from httpx_ws import aconnect_ws

    async with (
        aiohttp_server() as port,
        httpx.AsyncClient(trust_env=False) as client,
        aconnect_ws(f"http://127.0.0.1:{port}/", client) as ws,
    ):
        return await each_minute(ws.send_text, ws.receive_text)


def test_httpx_ws(clock: str) -> None:
    pytest.importorskip("httpx_ws")
    an_hour(clock, with_httpx_ws)
