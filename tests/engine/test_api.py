"""The HTTP API, where what is to be seen lies behind it; tests/compat has what a client sees."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from pytest_wschaos.engine import api as api_module
from pytest_wschaos.engine import descriptors, http_server
from pytest_wschaos.engine.api import Api

from .rig import PATIENCE, Rig, eventually

pytestmark = pytest.mark.asyncio


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection to the API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        assert first.startswith("HTTP/1.1 ")
        return Answer(int(first.split(" ")[1]), headers, body)

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(raw)}"]
        lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + raw)
        return await self.answer()


@pytest_asyncio.fixture
async def served(rig: Rig) -> AsyncIterator[int]:
    api = Api(rig.engine)
    yield await api.start()
    await api.stop()


@pytest_asyncio.fixture
async def wire(served: int) -> AsyncIterator[Wire]:
    opened = Wire(*await asyncio.open_connection("127.0.0.1", served))
    yield opened
    opened.writer.transport.abort()


@asynccontextmanager
async def taken_port() -> AsyncIterator[int]:
    """A port on which somebody else listens."""
    async with await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


PROXY = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}


async def test_attempts_at_a_disabled_proxy_are_told_of(wire: Wire, rig: Rig) -> None:
    await wire.ask("POST", "/proxies/client", {"enabled": False})
    with pytest.raises(ConnectionRefusedError):
        await rig.client()
    await eventually(lambda: rig.notes.refusals, "the observer is told of the attempt")
    assert (await wire.ask("POST", "/proxies/client", {"enabled": True})).json["enabled"]
    await rig.echo(*await rig.pair())


@pytest.mark.parametrize("number", [1, 2])
async def test_a_client_that_got_one_of_the_last_descriptors_is_reset(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    asked = itertools.count(1)  # the client's side, then the server's
    monkeypatch.setattr(descriptors, "reserved", lambda sock: sock is not None and next(asked) >= number)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await (await rig.client()).rest()
    assert [cut for tap in rig.notes.taps for cut in tap.cuts] == [("descriptors", "reset")] * 2
    assert len(caplog.records) == 1
    assert "no file descriptors are left" in caplog.text


@pytest.mark.parametrize(("kind", "attributes"), [("blackhole", {}), ("stall", {}), ("idle_timeout", {"timeout": 9})])
async def test_the_toxics_beyond_toxiproxys_are_there_too(wire: Wire, kind: str, attributes: dict[str, int]) -> None:
    answer = await wire.ask("POST", "/proxies/client/toxics", {"type": kind, "attributes": attributes})
    assert (answer.status, answer.json["attributes"]) == (200, attributes)


async def test_a_faults_attributes_are_shown_as_integers_where_they_are(wire: Wire, rig: Rig) -> None:
    rig.proxy.add_toxic("latency", attributes={"latency": 200.0, "jitter": 0.5})
    assert b'{"latency":200,"jitter":0.5}' in (await wire.ask("GET", "/proxies/client/toxics")).body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nExpect: more\r\n\r\n", 417),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: 8388609\r\n\r\n", 413),
        (b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000, 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_is_answered_once_and_closed(wire: Wire, raw: bytes, status: int) -> None:
    await wire.send(raw)
    answer = await wire.answer()
    assert answer.status == status
    assert answer.body.count(b"\n") == 1
    assert answer.headers["connection"] == "close"


async def test_a_client_that_vanishes_leaves_nothing(wire: Wire) -> None:
    await wire.send(b"POST /proxies HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    wire.writer.transport.abort()  # the rig checks that no task and no socket is left


async def test_a_silent_client_is_let_go(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "READ_TIMEOUT", 0.02)
    await wire.send(b"POST /proxies HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    async with asyncio.timeout(PATIENCE):
        assert await wire.reader.read() == b""


async def test_a_request_that_takes_too_long_is_given_up(wire: Wire, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "TIMEOUT", 0.02)
    await rig.engine._lock.acquire()
    answer = await wire.ask("POST", "/proxies", PROXY)
    rig.engine._lock.release()
    assert (answer.status, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert b"<title>Timeout</title>" in answer.body
    assert (await wire.ask("GET", "/version")).status == 200


async def test_a_defect_is_answered_and_named(wire: Wire, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.engine, "reset", None)
    answer = await wire.ask("POST", "/reset")
    assert answer.status == 500
    assert b"internal error: TypeError" in answer.body


async def test_stopping_ends_open_connections_and_a_second_start_is_the_same(rig: Rig) -> None:
    api = Api(rig.engine)
    port = await api.start()
    assert await api.start() == port
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    assert (await wire.ask("GET", "/version")).status == 200
    await api.stop()
    async with asyncio.timeout(PATIENCE):
        assert await wire.reader.read() == b""
    wire.writer.transport.abort()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await api.stop()


async def test_a_taken_port_is_an_error(rig: Rig) -> None:
    async with taken_port() as port:
        with pytest.raises(OSError, match="in use"):
            await Api(rig.engine).start(port=port)
