"""Chaos in front of a server of your own: ``wschaos_proxy`` stands between it and whoever connects.

The network's faults all work there. The server's own (``close``, ``reject_handshake`` ...) do not: it is not ours to
command.
"""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from pytest_wschaos import PeerFaultError, Profile

# The server pings every half second, and gives up on a client that does not answer for as long again.
MY_PROFILE = Profile().with_(heartbeat={"interval": None, "server_interval": 0.5, "server_deadline": 0.5})


async def my_server(websocket):
    async for message in websocket:
        await websocket.send(message.upper())


@pytest.mark.asyncio
async def test_my_server_answers_over_a_slow_link(wschaos_proxy):
    async with serve(my_server, "127.0.0.1", 0) as server:
        proxy = wschaos_proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with connect(proxy.url) as client:
            with proxy.latency(0.1):  # each way
                began = asyncio.get_running_loop().time()
                await client.send("hello")
                assert await client.recv() == "HELLO"
                assert asyncio.get_running_loop().time() - began > 0.15


@pytest.mark.asyncio
@pytest.mark.wschaos(profile=MY_PROFILE)
async def test_my_server_lets_go_of_a_dead_client(wschaos_proxy):
    left = asyncio.Event()

    async def remember(websocket):
        await websocket.wait_closed()
        left.set()

    async with serve(remember, "127.0.0.1", 0, ping_interval=0.5, ping_timeout=0.5, close_timeout=0) as server:
        proxy = wschaos_proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with connect(proxy.url, ping_interval=None, close_timeout=0):
            await proxy.wait_for("ready")
            with proxy.silent_drop():
                await proxy.wait_for("end", place="server")
            await asyncio.wait_for(left.wait(), 5)
    (verdict,) = proxy.check("HEARTBEAT-05")
    assert verdict.outcome != "FAIL", verdict.seen


@pytest.mark.asyncio
async def test_the_servers_own_faults_are_not_to_be_had(wschaos_proxy):
    async with serve(my_server, "127.0.0.1", 0) as server:
        proxy = wschaos_proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(PeerFaultError, match="not ours"):
            proxy.close(1012)
        async with connect(proxy.url) as client:
            proxy.abort()  # the network may always cut the line
            with pytest.raises(ConnectionClosed):
                await client.recv()
