"""The peer's faults, in front of any handler."""

import asyncio
import json
import logging

import pytest
from plain_client import PATIENCE, plain
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pytest_wschaos.dialect import Dialect, Pong
from pytest_wschaos.profile import Profile
from pytest_wschaos.reference.peer import CloseOnAccept, HandlerServer, MutePongs, PeerFaults, Reject
from pytest_wschaos.reference.server import ReferenceServer


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


def test_of_faults_alike_the_last_counts_and_removing_one_leaves_the_other():
    faults = PeerFaults()
    first, second = faults.add(Reject(503)), faults.add(Reject(429, 2))
    assert faults.reject is second
    faults.remove(second)
    faults.remove(second)
    assert faults.reject is first
    faults.remove(first)
    assert faults.reject is None
    one, two = faults.add(MutePongs()), faults.add(MutePongs())
    faults.remove(one)
    assert faults.mute_pongs
    faults.remove(two)
    assert not faults.mute_pongs
    assert faults.close_on_accept is None


@pytest.mark.parametrize(
    ("make", "figure"),
    [
        (lambda: Reject(101), "status"),
        (lambda: Reject(799), "status"),
        (lambda: Reject(503, -1), "retry_after"),
        (lambda: Reject(503, float("nan")), "retry_after"),
        (lambda: CloseOnAccept(1006), "code"),
        (lambda: CloseOnAccept(4000, "x" * 124), "reason"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make, figure):
    with pytest.raises(ValueError, match=figure):
        make()


@pytest.mark.asyncio
@pytest.mark.parametrize(("retry_after", "header"), [(None, None), (3, "3"), (0.25, "0.25"), (120.0, "120"), (0, "0")])
async def test_a_rejected_handshake_gets_the_status_and_the_time(retry_after, header):
    async with HandlerServer(echo) as server:
        fault = server.faults.add(Reject(503, retry_after))
        with pytest.raises(InvalidStatus) as caught:
            async with plain(server.url):
                pass
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers.get("Retry-After") == header
        server.faults.remove(fault)
        async with plain(server.url) as client:
            await client.websocket.send("healed")
            assert await client.websocket.recv() == "healed"


@pytest.mark.asyncio
async def test_close_on_accept_closes_before_the_handler_is_called():
    called = []

    async def handler(websocket):
        called.append(websocket)

    async with HandlerServer(handler) as server:
        server.faults.add(CloseOnAccept(4499, "go away"))
        async with plain(server.url) as client:
            assert await client.closed() == (4499, "go away")
    assert not called


async def ponged(client):
    waiter = await client.websocket.ping()
    await client.websocket.send("after")
    while await client.websocket.recv() != "after":
        pass
    return waiter.done()


@pytest.mark.asyncio
async def test_muted_pongs_are_held_back_at_frame_level_on_live_connections_too():
    async with HandlerServer(echo) as server, plain(server.url) as client:
        assert await ponged(client)
        fault = server.faults.add(MutePongs())
        assert not await ponged(client)
        server.faults.remove(fault)
        assert await ponged(client)


class Chat(Dialect):
    name = "chat"
    tells = (Pong,)

    def read(self, way, message):
        if way == "down" and (message == b"pong" or json.loads(message) == "pong"):
            return Pong()
        return None


@pytest.mark.asyncio
async def test_muted_pongs_are_held_back_in_the_application_where_a_dialect_tells_them():
    async with HandlerServer(echo, dialect=Chat()) as server, plain(server.url) as client:
        server.faults.add(MutePongs())
        for message in ['"pong"', b"pong", "not json", '"hello"']:
            await client.websocket.send(message)
        assert await client.websocket.recv() == "not json"
        assert await client.websocket.recv() == '"hello"'


@pytest.mark.asyncio
async def test_the_reference_server_mutes_its_application_pongs_and_goes_on_otherwise():
    async with ReferenceServer() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        server.faults.add(MutePongs())
        await client.send("ping", n=1)
        await client.send("subscribe", id=1, topic="t")
        assert (await client.receive())["type"] == "ack"


@pytest.mark.asyncio
async def test_the_reference_server_stays_healthy_while_it_rejects_upgrades():
    async with ReferenceServer() as server:
        server.faults.add(Reject(401))
        with pytest.raises(InvalidStatus, match="401"):
            async with plain(server.url):
                pass
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()


@pytest.mark.asyncio
async def test_close_all_closes_any_handler_with_the_code():
    async with HandlerServer(echo) as server, plain(server.url) as one, plain(server.url) as two:
        closing = asyncio.create_task(server.close_all(4001, "bye"))
        assert [await one.closed(), await two.closed()] == [(4001, "bye")] * 2
        await closing


@pytest.mark.asyncio
async def test_a_handler_that_fails_is_logged_and_the_client_is_told(caplog):
    async def handler(websocket):
        raise LookupError("a bug")

    async with HandlerServer(handler) as server, plain(server.url) as client:
        assert await client.closed() == (1011, "internal error")
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.name == "pytest_wschaos.server"
    assert "a bug" in record.exc_text


@pytest.mark.asyncio
async def test_stopping_ends_a_handler_that_never_looks_at_its_connection():
    started, cancelled = asyncio.Event(), []

    async def handler(websocket):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    server = HandlerServer(handler, close_timeout=0.1)
    await server.start()
    async with plain(server.url) as client:
        await started.wait()
        await asyncio.wait_for(server.stop(), PATIENCE)
        assert cancelled
        assert (await client.closed())[0] in (1001, None)


@pytest.mark.asyncio
async def test_subprotocols_are_selected_for_any_handler():
    offered = ["chat.v1", "chat.v2"]
    async with (
        HandlerServer(echo, subprotocols=["chat.v2"]) as server,
        plain(server.url, subprotocols=offered) as client,
    ):
        assert client.websocket.subprotocol == "chat.v2"


@pytest.mark.asyncio
async def test_a_connection_that_ends_abruptly_is_no_error(caplog):
    ended = asyncio.Event()

    async def handler(websocket):
        try:
            await websocket.recv()
        except ConnectionClosed:
            ended.set()
            raise

    async with HandlerServer(handler) as server:
        async with plain(server.url):
            pass
        await asyncio.wait_for(ended.wait(), PATIENCE)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.asyncio
async def test_a_scaled_profile_is_served_as_it_is():
    async with ReferenceServer(profile=Profile().scaled(0.02)) as server, plain(server.url) as client:
        welcome = await client.auth(server.tokens.issue())
        assert (welcome["ping_interval"], welcome["rate"]) == (pytest.approx(0.6), pytest.approx(2500))
