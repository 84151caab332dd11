"""How WebSocket connections end: the same on the simulated network as on the kernel, as ``websockets`` tells it."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import logging
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets

from .clocks import PATIENCE, VIRTUAL, on, outcome, shown
from .sides import settle

CODES = (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999)
ENDS = ("fin", "reset", "abort")
BYTES = {
    "nothing": b"",
    "a message": b"\x81\x05hello",
    "two messages": b"\x81\x05hello\x81\x05world",
    "a truncated header": b"\x81",
    "a truncated message": b"\x81\x05hel",
    "a fragment": b"\x01\x05hello",
    "a ping": b"\x89\x00",
    "a close frame": b"\x88\x02\x03\xe8",
    "a close frame without a code": b"\x88\x00",
    "a truncated close frame": b"\x88\x02\x03",
    "nonsense": b"\xff\xff\xff\xff",
    "bytes that are no text": b"\x81\x02\xff\xff",
}
RESPONSES = {
    "nothing": b"",
    "half a response": b"HTTP/1.1 101 Switching Pro",
    "no websocket": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "busy": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
}

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def close_of(ws: Any) -> object:
    """The messages until the end, and the end."""
    messages: list[object] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                messages.append(await ws.recv())
    except websockets.ConnectionClosed as closed:
        ends = [end and (end.code, end.reason) for end in (closed.rcvd, closed.sent)]
        return messages, shown(closed), ends, closed.rcvd_then_sent, ws.close_code


def cut(writer: asyncio.StreamWriter, end: str) -> None:
    if end == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if end == "fin":
        writer.close()
    else:
        writer.transport.abort()


async def until_over(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65536):
            pass
    except OSError:
        pass


def compare(scenario: Callable[..., Any], clock: str, caplog: pytest.LogCaptureFixture, *args: object) -> None:
    caplog.set_level(logging.CRITICAL)
    assert on(clock, functools.partial(scenario, *args), time_limit=10 * PATIENCE) == on_the_kernel(scenario, *args)


@functools.cache
def on_the_kernel(scenario: Callable[..., Any], *args: object) -> object:
    return on("real", functools.partial(scenario, *args))


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("who", ["client", "server"])
def test_every_close_code(who: str, code: int, clock: str, caplog: pytest.LogCaptureFixture) -> None:
    compare(closed_with, clock, caplog, who, code)


async def closed_with(who: str, code: int) -> object:
    served: list[object] = []

    async def serve(ws: Any) -> None:
        await ws.send("hello")
        if who == "server":
            await ws.close(code, "so it goes")
        served.append(await close_of(ws))

    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}", proxy=None) as ws:
            assert await ws.recv() == "hello"
            if who == "client":
                await ws.close(code, "so it goes")
            seen = await close_of(ws)
    return seen, served


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("sent", BYTES)
def test_a_client_whose_connection_ends(sent: str, end: str, clock: str, caplog: pytest.LogCaptureFixture) -> None:
    compare(a_client_sees, clock, caplog, BYTES[sent], end)


async def a_client_sees(sent: bytes, end: str) -> object:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)[1]  # type: ignore[index]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        await reader.readexactly(8)  # the client's greeting: it is there, and has read the response
        writer.write(sent)
        cut(writer, end)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}", proxy=None) as ws:
            await ws.send("hi")
            return await close_of(ws)


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("sent", BYTES)
def test_a_server_whose_connection_ends(sent: str, end: str, clock: str, caplog: pytest.LogCaptureFixture) -> None:
    compare(a_server_sees, clock, caplog, BYTES[sent], end)


async def a_server_sees(sent: bytes, end: str) -> object:
    served: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def serve(ws: Any) -> None:
        served.set_result(await close_of(ws))

    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        if sent:
            masked = bytearray(sent)
            if len(sent) > 1:
                masked[1:2] = bytes([sent[1] | 0x80, 0, 0, 0, 0])  # masked with zeros
            writer.write(masked)
        cut(writer, end)
        return await served


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("response", RESPONSES)
def test_a_handshake_that_ends(response: str, end: str, clock: str, caplog: pytest.LogCaptureFixture) -> None:
    compare(a_handshake_ends, clock, caplog, RESPONSES[response], end)


async def a_handshake_ends(response: bytes, end: str) -> object:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        cut(writer, end)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await outcome(websockets.connect(f"ws://127.0.0.1:{port}", proxy=None))


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("mute", ["accepted", "upgraded"])
def test_a_server_that_falls_silent(mute: str, clock: str, caplog: pytest.LogCaptureFixture) -> None:
    compare(a_silent_server, clock, caplog, mute)


async def a_silent_server(mute: str) -> object:
    async def serve(ws: Any) -> None:
        ws.transport.pause_reading()
        await ws.wait_closed()

    async def stay_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_over(reader)
        writer.close()

    timeouts = {"open_timeout": 0.05, "ping_interval": 0.05, "ping_timeout": 0.05, "close_timeout": 0.05}
    if mute == "accepted":
        async with await asyncio.start_server(stay_mute, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            seen = await outcome(websockets.connect(f"ws://127.0.0.1:{port}", proxy=None, **timeouts))  # type: ignore[arg-type]
            await settle()
            return seen
    async with websockets.serve(serve, "127.0.0.1", 0, close_timeout=0.05, ping_interval=None) as listener:
        port = listener.sockets[0].getsockname()[1]
        timeouts["open_timeout"] = PATIENCE
        async with websockets.connect(f"ws://127.0.0.1:{port}", proxy=None, **timeouts) as ws:  # type: ignore[arg-type]
            return await close_of(ws)


@pytest.mark.parametrize("clock", VIRTUAL)
def test_sending_to_a_peer_that_has_gone(clock: str, caplog: pytest.LogCaptureFixture) -> None:
    compare(sending_to_nobody, clock, caplog)


async def sending_to_nobody() -> object:
    async def serve(ws: Any) -> None:
        ws.transport.abort()

    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}", proxy=None) as ws:
            told: list[object] = [await close_of(ws)]
            told.append(await outcome(ws.send("too late")))
            told.append(await outcome(ws.ping()))
            return told
