"""What ``async for connection in websockets.connect(...)`` does when things go wrong.

It comes back after whatever happens, which is more than most clients do. But it waits only where the *handshake* fails:
a server that accepts and closes is asked again at once, a hundred times a second and more.
"""

import pytest
from popular_clients import websockets_client

from pytest_wschaos import Profile

# The settings of the keepalive in the tests below, as the rules want to know them.
HEARTBEAT = Profile().with_(heartbeat={"interval": 0.5, "deadline": 0.5})


@pytest.mark.asyncio
async def test_a_server_that_accepts_and_closes_is_asked_again_without_any_wait(wschaos, verdict):
    with wschaos.accept_then_close(1011):
        async with websockets_client(wschaos.echo_url):
            first = await wschaos.wait_for("attempt")
            last = await wschaos.wait_for("attempt", 100)
    assert 100 / (last.at - first.at) > 20  # per second; alone on a machine it is several hundred
    assert verdict("BACKOFF-04").outcome != "PASS"  # the first retry waits too
    assert verdict("BACKOFF-01").outcome != "PASS"
    assert verdict("RECONNECT-03").outcome == "PASS"  # still: one connection at a time


@pytest.mark.asyncio
async def test_it_comes_back_whatever_the_server_says(wschaos, verdict):
    with wschaos.accept_then_close(1008, "you are banned"):
        async with websockets_client(wschaos.echo_url):
            await wschaos.wait_for("attempt", 10)
    assert verdict("CLOSE-01").outcome != "PASS"


@pytest.mark.asyncio
async def test_it_waits_as_it_declares_while_it_is_refused(wschaos, verdict):
    with wschaos.refuse():
        async with websockets_client(wschaos.echo_url):
            await wschaos.wait_for("attempt", 3)
    # Its own figures, not this project's: 0 to 5 s at random, then 3.1 s.
    assert verdict("BACKOFF-01", "websockets").outcome != "FAIL"
    assert verdict("BACKOFF-04", "websockets").outcome != "FAIL"


@pytest.mark.asyncio
@pytest.mark.parametrize(("close_timeout", "never"), [(1, "PASS"), (0, "FAIL")])
async def test_a_dead_link_is_found_out_in_time_and_held_for_the_close_timeout(wschaos, verdict, close_timeout, never):
    """It sends a Close into the dead link and waits for the answer: 10 s by default, on top of the heartbeat's."""
    settings = {"ping_interval": 0.5, "ping_timeout": 0.5, "close_timeout": close_timeout}
    async with websockets_client(wschaos.echo_url, **settings):
        await wschaos.wait_for("pong")
        with wschaos.silent_drop():
            dead = await wschaos.wait_for("close")
            abandoned = await wschaos.wait_for("end")
    assert abandoned.at - dead.at > close_timeout - 0.1
    assert verdict("HEARTBEAT-02", HEARTBEAT).outcome != never  # abandoned at once?
    assert verdict("HEARTBEAT-01", HEARTBEAT).outcome != "FAIL"  # pings on its own clock
    assert verdict("HEARTBEAT-07", HEARTBEAT).outcome == "PASS"  # TCP said that all was well
