"""Measure three popular clients under the same faults, and print a table: ``python examples/figures.py [seconds]``.

Each client runs alone, with its default settings except for the heartbeat: a ping every 2 s, 1 s for its answer
(aiohttp fixes the latter at half of the former). ``seconds`` is how long the server misbehaves in each way, 10 by
default; at that the whole takes three and a half minutes.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from typing import Any

from popular_clients import aiohttp_client, websocket_client, websockets_client

from pytest_wschaos import Chaos, EventTimeout, Profile

Client = Callable[..., AbstractAsyncContextManager[Any] | AbstractContextManager[Any]]

CLIENTS: dict[str, tuple[Client, dict[str, float]]] = {
    "websockets, `async for`": (websockets_client, {"ping_interval": 2, "ping_timeout": 1}),
    "websocket-client, `run_forever(reconnect=1)`": (websocket_client, {"ping_interval": 2, "ping_timeout": 1}),
    "aiohttp, a loop with `sleep(1)`": (aiohttp_client, {"heartbeat": 2}),
}
PROFILE = Profile().with_(heartbeat={"interval": 2, "deadline": 1})
CODES = (1011, 1001, 4403)
PATIENCE = 20
RULES = ("RECONNECT-0[1-4]", "BACKOFF-0[1-4]", "HEARTBEAT-0[127]", "CLOSE-01")


class Measurement:
    """One client's figures, and the verdicts on what it did."""

    def __init__(self, client: Client, settings: dict[str, float], seconds: float) -> None:
        self.client = client
        self.settings = settings
        self.seconds = seconds
        self.verdicts: dict[str, set[str]] = {}

    async def row(self) -> list[str]:
        return [
            *[f"{await self.attempts('accept_then_close', code) / self.seconds:.0f}" for code in CODES],
            str(await self.attempts("refuse")),
            await self.given_up(),
            *await self.silent_drop(),
            self.rules("PASS", without="FAIL"),
            self.rules("FAIL"),
        ]

    async def attempts(self, fault: str, *arguments: int) -> int:
        """How often it tries while a fault is in force."""
        with Chaos(profile=PROFILE) as wschaos, getattr(wschaos, fault)(*arguments):
            async with self.running(wschaos):
                await asyncio.sleep(self.seconds)
                self.judge(wschaos)
        return sum(event.kind == "attempt" for event in wschaos.freeze().events)

    async def given_up(self) -> str:
        """Seconds until it gives up an attempt that nobody answers."""
        with Chaos(profile=PROFILE) as wschaos:
            fault = wschaos.unanswered_handshake()
            async with self.running(wschaos):
                began = await wschaos.wait_for("attempt")
                try:
                    told = f"{(await wschaos.wait_for('end', timeout=PATIENCE)).at - began.at:.1f} s"
                    await wschaos.wait_for("attempt", timeout=PATIENCE)
                except EventTimeout:
                    told = f"not in {PATIENCE} s"
                self.judge(wschaos)
                fault.remove()
                wschaos.abort()  # wakes a client that still waits for the answer
        return told

    async def silent_drop(self) -> tuple[str, str]:
        """Seconds from the drop until the wire shows that it was found out, and until the connection is let go."""
        with Chaos(profile=PROFILE) as wschaos:
            async with self.running(wschaos):
                await wschaos.wait_for("pong")
                with wschaos.silent_drop():
                    began = wschaos.timeline.now()
                    end = await wschaos.wait_for("end", timeout=60)
                    with suppress(EventTimeout):  # it may have tried again before the end
                        await wschaos.wait_for("attempt", timeout=2)
                self.judge(wschaos)
                wschaos.abort()  # wakes a client that waits for an answer that the drop has swallowed
        signs = [e.at for e in wschaos.timeline if e.conn == end.conn and e.kind in ("close", "end")]
        return f"{min(signs) - began:.1f} s", f"{end.at - began:.1f} s"

    @asynccontextmanager
    async def running(self, wschaos: Chaos) -> Any:
        client = self.client(wschaos.echo_url, **self.settings)
        if isinstance(client, AbstractAsyncContextManager):
            async with client:
                yield
        else:
            with client:
                yield

    def judge(self, wschaos: Chaos) -> None:
        for verdict in wschaos.check(*RULES):
            self.verdicts.setdefault(verdict.rule, set()).add(verdict.outcome)

    def rules(self, outcome: str, without: str = "") -> str:
        """The rules that came out so at least once (and never as ``without``)."""
        found = [rule for rule, outcomes in self.verdicts.items() if outcome in outcomes and without not in outcomes]
        return ", ".join(sorted(found))


async def main(seconds: float) -> None:
    head = [
        "client",
        *[f"attempts/s, accepted then closed {code}" for code in CODES],
        f"attempts in {seconds:g} s, refused",
        "unanswered attempt given up after",
        "silent drop found out after",
        "and let go after",
        "keeps",
        "breaks",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, (client, settings) in CLIENTS.items():
        row = await Measurement(client, settings, seconds).row()
        lines.append(f"| {name} | {' | '.join(row)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
