"""A run with all that could bring disorder into it; what it did, as one line."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import websockets

from pytest_wschaos.simulation.loop import SimulatedLoop
from pytest_wschaos.simulation.pipe import Pipe
from pytest_wschaos.simulation.run import run

CLIENTS = 30


def record(seed: int, clock: str) -> str:
    """The number of events, and a digest of them: on the simulated clock with all bytes."""
    events: list[object] = []

    def note(*what: object) -> None:
        events.append((asyncio.get_running_loop().time(), *what))

    if clock == "virtual":
        put = Pipe._put

        def noting(pipe: Pipe, item: Any, size: int) -> None:
            note(item)
            put(pipe, item, size)

        Pipe._put = noting  # type: ignore[method-assign]

    async def serve(ws: Any) -> None:
        async for message in ws:
            note("server", len(message))

    async def client(port: int, number: int) -> None:
        async for ws in websockets.connect(f"ws://127.0.0.1:{port}", proxy=None):
            try:
                await ws.send(f"hello {number}")
                async for message in ws:
                    note(number, message)
                    await asyncio.sleep(random.random())
                    await ws.send("thanks")
            except websockets.ConnectionClosed:
                note(number, "closed")
                await asyncio.sleep(random.expovariate(1))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            if isinstance(loop, SimulatedLoop):
                loop.network.link("127.0.0.1", latency=0.02, jitter=0.03)
            with_an_end = asyncio.timeout(60)
            try:
                async with with_an_end, asyncio.TaskGroup() as group:
                    for number in range(CLIENTS):
                        group.create_task(client(port, number))
                    for turn in range(100):
                        await asyncio.sleep(2)
                        websockets.broadcast(server.connections, f"news {turn}")
                        for ws in [ws for ws in server.connections if random.random() < 0.2]:
                            ws.transport.abort()
            except TimeoutError:
                pass

    run(main, seed=seed, clock=clock)  # type: ignore[arg-type]
    return f"{len(events)} {hashlib.sha256(repr(events).encode()).hexdigest()}"
