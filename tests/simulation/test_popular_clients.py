"""Clients that others wrote, at their own defaults: judged on virtual time as in real time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from pytest_wschaos import Chaos, Profile
from pytest_wschaos.simulation.run import run

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from popular_clients import aiohttp_client, websocket_client, websockets_client

Client = Callable[..., AbstractAsyncContextManager[Any]]
Verdicts = dict[str, str]

NO_HEARTBEAT = Profile().with_(heartbeat={"interval": None}, reconnect={"max_retries": None}, auth={"mode": "none"})
RULES = ("RECONNECT-0[1-5]", "BACKOFF-0[135]", "HEARTBEAT-0[1-47]", "CLOSE-0[1-5]")
"""Not BACKOFF-02 and 04: whether a first delay of 0 to 5 s is too short, and the next one shorter, is chance."""


async def after_a_dead_link(client: Client, profile: Profile) -> Verdicts:
    """The link dies without a word, and works again when that has been found out."""
    async with Chaos(profile=profile) as chaos, client(chaos.echo_url):
        await chaos.wait_for("ready")
        with chaos.silent_drop():
            await chaos.wait_for("attempt")
        await chaos.wait_for("ready")
        return {verdict.rule: verdict.outcome for verdict in chaos.check(*RULES)}


async def after_an_outage(client: Client, profile: Profile) -> Verdicts:
    """The server goes away, refuses four attempts, and is back."""
    async with Chaos(profile=profile) as chaos, client(chaos.echo_url):
        await chaos.wait_for("ready")
        with chaos.refuse():
            await chaos.wait_for("attempt", 4)
        await chaos.wait_for("ready")
        return {verdict.rule: verdict.outcome for verdict in chaos.check(*RULES)}


SCENARIOS = {
    "websockets: dead link": (after_a_dead_link, websockets_client, Profile.preset("websockets")),
    "websockets: outage": (after_an_outage, websockets_client, Profile.preset("websockets")),
    "aiohttp: outage": (after_an_outage, aiohttp_client, NO_HEARTBEAT),
}


async def all_of_them() -> dict[str, Verdicts]:
    found = await asyncio.gather(*(play(client, profile) for play, client, profile in SCENARIOS.values()))
    return dict(zip(SCENARIOS, found, strict=True))


@pytest.fixture(scope="module")
def in_real_time() -> dict[str, Verdicts]:
    """Fifty seconds: the library's own patience with a dead link."""
    return asyncio.run(all_of_them())


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("clock", ["virtual", "hybrid"])
def test_the_verdicts_are_those_of_real_time(in_real_time: dict[str, Verdicts], name: str, clock: Any) -> None:
    play, client, profile = SCENARIOS[name]
    # On a busy machine real time may leave some things open.
    sure = {rule: outcome for rule, outcome in in_real_time[name].items() if outcome != "INCONCLUSIVE"}
    virtual = run(lambda: play(client, profile), clock=clock)
    assert {rule: virtual[rule] for rule in sure} == sure
    assert {"PASS", "FAIL"} <= set(sure.values())


@pytest.mark.parametrize("clock", ["virtual", "hybrid"])
def test_a_client_on_a_thread_is_told_which_clock_can(clock: Any) -> None:
    async def main() -> None:
        async with Chaos() as chaos:
            with websocket_client(chaos.echo_url):
                chaos.wait("attempt")

    with pytest.raises(RuntimeError, match="clock='real'"):
        run(main, clock=clock)
