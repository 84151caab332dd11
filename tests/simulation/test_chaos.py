"""The fixtures' object on virtual time: the same engine, server and client, the same every time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from pytest_wschaos import Chaos, ChaosProxy, FaultError, UpstreamError
from pytest_wschaos.background import LoopEnded
from pytest_wschaos.inline import MustWait
from pytest_wschaos.simulation.run import run

clocks = pytest.mark.parametrize("clock", ["virtual", "hybrid"])


@clocks
def test_an_hour_of_heartbeats(clock: Any) -> None:
    async def main() -> int:
        async with Chaos() as chaos, chaos.client():
            await chaos.wait_for("ready")
            await asyncio.sleep(3600)
            chaos.assert_rules("HEARTBEAT-01")
            return sum(event.kind == "ping" and event.place == "client" for event in chaos.timeline)

    assert run(main, clock=clock) >= 2 * 119  # each side's


@clocks
def test_chaos_in_front_of_a_server_of_ones_own(clock: Any) -> None:
    async def echo(websocket: ServerConnection) -> None:
        async for message in websocket:
            await websocket.send(message)

    async def main() -> float:
        async with serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with ChaosProxy(f"127.0.0.1:{port}") as proxy, connect(proxy.url) as client:
                with proxy.latency(0.25):
                    begun = asyncio.get_running_loop().time()
                    await client.send("hello")
                    assert await client.recv() == "hello"
                    return asyncio.get_running_loop().time() - begun

    assert run(main, clock=clock) == pytest.approx(0.5)


@clocks
def test_a_handler_and_a_listener_of_ones_own(clock: Any) -> None:
    async def shout(websocket: ServerConnection) -> None:
        async for message in websocket:
            await websocket.send(str(message).upper())

    async def main() -> None:
        async with Chaos() as chaos:
            chaos.serve(shout)
            for url in (chaos.url, chaos.url_for("second")):
                async with connect(url) as client:
                    await client.send("hello")
                    assert await client.recv() == "HELLO"

    run(main, clock=clock)


@clocks
def test_what_is_wrong_is_told_as_in_real_time(clock: Any) -> None:
    async def main() -> None:
        with pytest.raises(UpstreamError, match=r"nothing listens on 127.0.0.1:1 \(.*onnection refused\)"):
            ChaosProxy("127.0.0.1:1")
        with pytest.raises(UpstreamError, match=r"nosuch\.invalid cannot be resolved"):
            ChaosProxy("nosuch.invalid:1")
        async with Chaos() as chaos:
            with pytest.raises(FaultError, match="clock='real'"):
                chaos.suspend(1)
            with pytest.raises(MustWait, match=r"await wait_for\(\) instead"):
                chaos.wait("ready")
        with pytest.raises(LoopEnded):
            await chaos.wait_for("ready")

    run(main, clock=clock)


@clocks
def test_a_send_can_be_awaited_and_not_blocked_on(clock: Any) -> None:
    async def main() -> None:
        async with Chaos() as chaos, chaos.client() as client:
            sent = client.send("news", 1)
            with pytest.raises(MustWait):
                sent.result()
            await sent
            assert sent.done
            assert [one.data for one in chaos.server.received] == [1]

    run(main, clock=clock)


def test_chaos_that_is_not_awaited_to_its_end_leaves_nothing() -> None:
    async def main() -> None:
        with Chaos() as chaos:
            chaos.client()
            await chaos.wait_for("ready")

    for clock in ("virtual", "hybrid"):
        run(main, clock=clock)  # type: ignore[arg-type]
