"""TLS over the simulated network: asyncio's own, so that it works, fails and ends as it does over the kernel's."""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import websockets

from .clocks import PATIENCE, VIRTUAL, on, outcome, shown
from .conftest import Contexts
from .sides import Side, settle
from .test_parity_websockets import close_of

SCENARIOS: list[Callable[[Contexts], Any]] = []


def same(scenario: Callable[[Contexts], Any]) -> Callable[[Contexts], Any]:
    SCENARIOS.append(scenario)
    return scenario


def raw(side: Side) -> Any:
    """The TCP transport under a TLS one."""
    return side.transport._ssl_protocol._transport


async def over_tls(contexts: Contexts, do: Callable[[Side, Side], Any], **options: Any) -> object:
    """What both sides are told of something that is done to a TLS connection."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Side] = loop.create_future()
    own, theirs = contexts
    async with await loop.create_server(
        lambda: Side(made=accepted.set_result), "127.0.0.1", 0, ssl=theirs, **options
    ) as listener:
        _, client = await loop.create_connection(Side, *listener.sockets[0].getsockname(), ssl=own)
        server = await accepted
        told = await do(client, server)
        await settle()
        seen = [told, list(client.notes), list(server.notes)]
        for side in (client, server):
            side.transport.abort()
        await settle()
        return seen


@same
async def data_and_a_close(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> object:
        client.transport.write(b"question")
        await server.saw("data")
        server.transport.write(b"answer")
        await client.saw("data")
        client.transport.close()
        await client.saw("lost")
        await server.saw("lost")
        told = client.transport.can_write_eof(), client.transport.get_extra_info("peercert")["subjectAltName"]
        return *told, client.transport.get_extra_info("cipher")[1]

    return await over_tls(contexts, do)


@same
async def the_server_closes(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> None:
        server.transport.write(b"last words")
        server.transport.close()
        await client.saw("lost")
        await server.saw("lost")

    return await over_tls(contexts, do)


@same
async def the_client_aborts(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> None:
        client.transport.abort()
        await client.saw("lost")
        await server.saw("lost")

    return await over_tls(contexts, do)


@same
async def it_ends_without_a_farewell(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> None:
        raw(client).close()
        await server.saw("lost")

    return await over_tls(contexts, do)


@same
async def a_reset(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> None:
        client.reset()
        await client.saw("lost")
        await server.saw("lost")

    return await over_tls(contexts, do)


@same
async def data_and_a_reset(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> None:
        client.transport.write(b"last words")
        await server.saw("data")
        client.reset()
        await server.saw("lost")

    return await over_tls(contexts, do)


@same
async def a_peer_that_never_says_farewell(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> None:
        raw(server).pause_reading()
        client.transport.close()
        await client.saw("lost")

    async def main() -> object:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Side] = loop.create_future()
        own, theirs = contexts
        async with await loop.create_server(
            lambda: Side(made=accepted.set_result), "127.0.0.1", 0, ssl=theirs
        ) as listener:
            address = listener.sockets[0].getsockname()
            _, client = await loop.create_connection(Side, *address, ssl=own, ssl_shutdown_timeout=0.05)
            server = await accepted
            await do(client, server)
            server.transport.abort()
            await settle()
            return list(client.notes), list(server.notes)

    return await main()


@same
async def much_data_and_back_pressure(contexts: Contexts) -> object:
    async def do(client: Side, server: Side) -> object:
        server.transport.pause_reading()
        client.transport.write(b"#" * 10_000_000)
        await settle()
        server.transport.resume_reading()
        await server.got(10_000_000)
        size, server.notes, client.notes = len(server.data), [], []
        return size

    return await over_tls(contexts, do)


@same
async def a_certificate_that_is_not_trusted(contexts: Contexts) -> object:
    loop = asyncio.get_running_loop()
    served: list[Side] = []
    _, theirs = contexts

    def accept() -> Side:
        served.append(Side())
        return served[-1]

    async with await loop.create_server(accept, "127.0.0.1", 0, ssl=theirs) as listener:
        address = listener.sockets[0].getsockname()
        try:
            await loop.create_connection(Side, *address, ssl=ssl.create_default_context())
        except ssl.SSLCertVerificationError as error:
            told = type(error).__name__, error.reason, error.verify_message
        await settle()
        return told, [side.notes for side in served]


@same
async def a_name_that_is_not_the_certificates(contexts: Contexts) -> object:
    loop = asyncio.get_running_loop()
    own, theirs = contexts
    async with await loop.create_server(Side, "127.0.0.1", 0, ssl=theirs) as listener:
        address = listener.sockets[0].getsockname()
        told = await outcome(loop.create_connection(Side, *address, ssl=own, server_hostname="example.org"))
        await settle()
        return told


@same
async def a_server_that_speaks_no_tls(contexts: Contexts) -> object:
    loop = asyncio.get_running_loop()

    def greet(side: Side) -> None:
        side.transport.write(b"220 hello, this is no TLS\r\n")

    async with await loop.create_server(lambda: Side(made=greet), "127.0.0.1", 0) as listener:
        told = await outcome(loop.create_connection(Side, *listener.sockets[0].getsockname(), ssl=contexts[0]))
        await settle()
        return told[0] if isinstance(told, tuple) else told


@same
async def a_client_that_speaks_no_tls(contexts: Contexts) -> object:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, "127.0.0.1", 0, ssl=contexts[1]) as listener:
        _, client = await loop.create_connection(Side, *listener.sockets[0].getsockname())
        client.transport.write(b"GET / HTTP/1.1\r\n\r\n")
        await client.saw("lost")
        return [what for what, _ in client.notes if what != "data"], client.notes[-1]


@same
async def a_handshake_that_is_never_answered(contexts: Contexts) -> object:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, "127.0.0.1", 0) as listener:
        address = listener.sockets[0].getsockname()
        try:
            await loop.create_connection(Side, *address, ssl=contexts[0], ssl_handshake_timeout=0.05)
        except ConnectionAbortedError as error:
            await settle()
            return shown(error), str(error)


@same
async def a_client_that_never_begins_the_handshake(contexts: Contexts) -> object:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, "127.0.0.1", 0, ssl=contexts[1], ssl_handshake_timeout=0.05) as listener:
        _, client = await loop.create_connection(Side, *listener.sockets[0].getsockname())
        await client.saw("lost")
        return client.notes


def a_handshake_cut_by(end: str) -> None:
    async def scenario(contexts: Contexts) -> object:
        loop = asyncio.get_running_loop()

        def cut(side: Side) -> None:
            side.when_data = lambda _: getattr(side, end)()

        async with await loop.create_server(lambda: _Closing(made=cut), "127.0.0.1", 0) as listener:
            told = await outcome(loop.create_connection(Side, *listener.sockets[0].getsockname(), ssl=contexts[0]))
            await settle()
            return told

    scenario.__name__ = f"a_handshake_cut_by_{end}"
    same(scenario)


class _Closing(Side):
    def close(self) -> None:
        self.transport.close()


a_handshake_cut_by("reset")
a_handshake_cut_by("close")


@same
async def start_tls_on_both_sides(contexts: Contexts) -> object:
    loop = asyncio.get_running_loop()
    own, theirs = contexts
    told: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.readline())
        writer.write(b"go on\n")
        await writer.drain()
        await writer.start_tls(theirs)
        told.append(await reader.readline())
        writer.write(b"secret answer\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        told.append(await reader.readline())
        await writer.start_tls(own, server_hostname="localhost")
        writer.write(b"secret question\n")
        told.append(await reader.readline())
        told.append(await reader.read())
        told.append(writer.get_extra_info("ssl_object") is not None)
        writer.close()
        told.append(await outcome(writer.wait_closed()))
        await settle()
    assert loop is asyncio.get_running_loop()
    return told


@same
async def wss(contexts: Contexts) -> object:
    own, theirs = contexts

    async def serve(ws: Any) -> None:
        async for message in ws:
            await ws.send(message)

    async with websockets.serve(serve, "127.0.0.1", 0, ssl=theirs, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.connect(f"wss://127.0.0.1:{port}", ssl=own, proxy=None, max_size=None) as ws:
            told: list[object] = []
            for message in ("small", "large" * 200_000):
                await ws.send(message)
                told.append(await ws.recv() == message)
            await ws.close(4000, "enough")
            told.append(await close_of(ws))
            return told


@same
async def wss_that_is_reset(contexts: Contexts) -> object:
    own, theirs = contexts

    async def serve(ws: Any) -> None:
        await ws.recv()
        side = Side()
        side.transport = ws.transport
        side.reset()

    async with websockets.serve(serve, "127.0.0.1", 0, ssl=theirs) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.connect(f"wss://127.0.0.1:{port}", ssl=own, proxy=None) as ws:
            await ws.send("hello")
            return await close_of(ws)


_kernel: dict[Any, object] = {}


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_tls_is_the_same_as_on_the_kernel(
    scenario: Callable[[Contexts], Any], clock: str, contexts: Contexts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    if scenario not in _kernel:
        _kernel[scenario] = on("real", functools.partial(scenario, contexts))
    assert on(clock, functools.partial(scenario, contexts), time_limit=10 * PATIENCE) == _kernel[scenario]
