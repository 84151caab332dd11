"""What an ``aiohttp`` client in the loop that people write around it does when things go wrong.

``except aiohttp.ClientError: sleep(1)`` looks like a backoff. But a connection that was accepted ends without an
exception, so after each of those the loop goes round at full speed.
"""

import asyncio

import pytest
from popular_clients import aiohttp_client

from pytest_wschaos import Profile

# heartbeat=0.5 asks for a ping every half second; how long aiohttp waits for the pong is fixed: half of that.
HEARTBEAT = Profile().with_(heartbeat={"interval": 0.5, "deadline": 0.25})


@pytest.mark.asyncio
async def test_a_server_that_restarts_is_asked_again_without_any_wait(wschaos, verdict):
    with wschaos.accept_then_close(1001, "restarting"):
        async with aiohttp_client(wschaos.echo_url):
            first = await wschaos.wait_for("attempt")
            last = await wschaos.wait_for("attempt", 100)
    assert 100 / (last.at - first.at) > 20  # per second; alone on a machine it is several hundred
    assert verdict("BACKOFF-04").outcome != "PASS"


@pytest.mark.asyncio
async def test_its_wait_while_it_is_refused_never_grows(wschaos, verdict):
    with wschaos.refuse():
        async with aiohttp_client(wschaos.echo_url):
            await wschaos.wait_for("attempt", 5)
    assert verdict("BACKOFF-04").outcome != "PASS"  # the fourth retry is due after 4 to 12 s


@pytest.mark.asyncio
async def test_a_dead_link_is_found_out_and_abandoned_at_once(wschaos, verdict):
    """Better than clients that send a Close into a dead link, and wait for the answer."""
    async with aiohttp_client(wschaos.echo_url, heartbeat=0.5):
        await wschaos.wait_for("pong")
        with wschaos.silent_drop():
            await wschaos.wait_for("end")
    assert verdict("HEARTBEAT-02", HEARTBEAT).outcome != "FAIL"
    assert verdict("HEARTBEAT-07", HEARTBEAT).outcome == "PASS"


@pytest.mark.asyncio
async def test_a_link_that_is_dead_in_one_direction_stays_unseen(wschaos, verdict):
    """It pings only when nothing has come in for a while. What it sends itself may go nowhere, and it never learns."""

    async def talk(websocket):
        while True:
            await websocket.send("news")
            await asyncio.sleep(0.1)

    async with aiohttp_client(wschaos.serve(talk), heartbeat=0.5):
        await wschaos.wait_for("ready")
        with wschaos.silent_drop("up", must_bite=False):  # nothing goes up that could meet it: that is the point
            await wschaos.wait_for("text", 20)  # two seconds of news
    assert not any(event.kind == "ping" and event.way == "up" for event in wschaos.timeline)
    assert verdict("HEARTBEAT-01", HEARTBEAT).outcome != "PASS"  # pings on its own clock, idle or busy
