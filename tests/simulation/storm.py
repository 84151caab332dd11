"""A storm over the whole of it, engine, server and clients; its timeline, as one line."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from pytest_wschaos import Chaos
from pytest_wschaos.simulation.run import run

CLIENTS = 12


def record(seed: int, clock: str) -> str:
    """The number of events, and the events: on the simulated clock with all that they tell."""

    async def main() -> list[dict[str, Any]]:
        async with Chaos(seed=5) as chaos:
            clients = [chaos.client(f"c{number}") for number in range(CLIENTS)]
            await chaos.wait_for("ready", CLIENTS)
            for client in clients:
                client.subscribe("news")
            with chaos.latency(0.05, 0.02):
                for number in range(20):
                    clients[number % CLIENTS].send("news", number)
                    await asyncio.sleep(random.random())
            chaos.abort()
            await chaos.wait_for("ready", CLIENTS)
            with chaos.silent_drop():
                await chaos.wait_for("attempt", CLIENTS)
            with chaos.refuse():
                await chaos.wait_for("attempt", 30)
            await chaos.wait_for("ready", CLIENTS)
            await asyncio.sleep(120)
            return [event.to_dict() for event in chaos.freeze().events]

    events = run(main, seed=seed, clock=clock)  # type: ignore[arg-type]
    if clock == "hybrid":
        for event in events:
            event.get("detail", {}).pop("host", None)  # its port is the kernel's choice
    return f"{len(events)} {json.dumps(events)}"
