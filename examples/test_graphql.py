"""A protocol that many speak: ``graphql-transport-ws``, with the ``gql`` client, and a server of a few lines.

The server is a handler as for ``websockets.serve``; ``wschaos.serve`` puts it behind the proxy, and the faults of a
server (``close``, ``accept_then_close`` ...) work on it. The fixture ``wschaos_dialect`` says how its messages are to
be read, and with that the rules on credentials, heartbeats and subscriptions can be judged.
"""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportError
from gql.transport.websockets import WebsocketsTransport
from graphql_dialect import GraphQLDialect
from websockets.exceptions import ConnectionClosed

from pytest_wschaos import Profile

TOKEN = "a secret"
MY_PROFILE = Profile().with_(heartbeat={"interval": 0.5, "deadline": 0.5})

pytestmark = [pytest.mark.asyncio, pytest.mark.wschaos(profile=MY_PROFILE)]


@pytest.fixture
def wschaos_dialect():
    return GraphQLDialect()


async def clock_server(websocket):
    """Speaks as much of the protocol as a subscription needs."""
    ticking = {}
    async for text in websocket:
        frame = json.loads(text)
        match frame["type"]:
            case "connection_init":
                if frame["payload"].get("token") != TOKEN:
                    await websocket.close(4403, "Forbidden")
                await websocket.send(json.dumps({"type": "connection_ack"}))
            case "ping":
                await websocket.send(json.dumps({"type": "pong"}))
            case "subscribe":
                ticking[frame["id"]] = asyncio.create_task(tick(websocket, frame["id"]))
            case "complete":
                ticking.pop(frame["id"]).cancel()


async def tick(websocket, id):
    with suppress(ConnectionClosed):
        while True:
            await websocket.send(json.dumps({"type": "next", "id": id, "payload": {"data": {"tick": "tock"}}}))
            await asyncio.sleep(0.2)


@asynccontextmanager
async def subscriber(url):
    """gql's own reconnection, and around it the loop that it leaves to its user: subscribe again after an error."""
    transport = WebsocketsTransport(
        url=url,
        init_payload={"token": TOKEN},
        ping_interval=0.5,
        pong_timeout=0.5,
        connect_args={"ping_interval": None, "close_timeout": 1},
    )
    client = Client(transport=transport)
    session = await client.connect_async(reconnecting=True)

    async def listen():
        while True:
            try:
                async for _result in session.subscribe(gql("subscription { tick }")):
                    pass
            except TransportError:
                await asyncio.sleep(0.1)

    task = asyncio.create_task(listen())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await client.close_async()


async def test_after_a_lost_connection_it_subscribes_again(wschaos, verdict):
    url = wschaos.serve(clock_server, subprotocols=("graphql-transport-ws",))
    async with subscriber(url):
        await wschaos.wait_for("message")
        wschaos.abort()
        await wschaos.wait_for("ready")
        await wschaos.wait_for("message", 10)
    # What it keeps ...
    wschaos.assert_rules("RECONNECT-02", "REPLAY-07", "AUTH-01", "AUTH-02", "AUTH-03")
    # ... and what it breaks, or rather tenacity's wait_exponential: the first retry does not wait.
    assert verdict("BACKOFF-04").outcome != "PASS"


async def test_a_dead_link_is_found_out_in_time_and_held_for_the_close_timeout(wschaos, verdict):
    url = wschaos.serve(clock_server, subprotocols=("graphql-transport-ws",))
    async with subscriber(url):
        await wschaos.wait_for("pong")
        with wschaos.silent_drop():
            await wschaos.wait_for("end")
    assert verdict("HEARTBEAT-01").outcome != "FAIL"  # pings by messages of the protocol, on its own clock
    assert verdict("HEARTBEAT-07").outcome == "PASS"
    assert verdict("HEARTBEAT-02").outcome != "PASS"  # a second more, for the answer to its Close


async def test_it_comes_back_though_it_is_forbidden(wschaos, verdict):
    url = wschaos.serve(clock_server, subprotocols=("graphql-transport-ws",))
    async with subscriber(url):
        await wschaos.wait_for("message")
        wschaos.close(4403, "Forbidden")
        await wschaos.wait_for("ready")
    assert verdict("CLOSE-01").outcome != "PASS"
