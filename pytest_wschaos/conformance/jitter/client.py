"""Cases of JITTER, for clients: as many copies of the client as the stated error rate needs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from ...checks.jitter import twins
from ...checks.rule import judge
from ...checks.story import Story
from ...checks.verdict import Finding
from ..suite.case import case
from ..suite.stage import Stage

LONGER: dict[str, Any] = {"backoff": {"base": 1.0}}
"""A longer base where figures are scaled: delays must dwarf what it costs to connect so many clients on one core."""

HERD = 20
"""Clients of JITTER-04: 8 tell a herd that comes back at one instant, more tell one that is a little spread."""


DRAWS = 6
"""Delays of two processes that are compared: 4 of equal ones tell, where latency does not blur them."""
AT_ONCE = 4
"""Clients that start side by side: processes that all start at once would make everybody late."""


async def crowd(stage: Stage, size: int) -> None:
    """So many clients more."""
    there, turns = len(stage.clients), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            await stage.client(f"client-{number}")

    await asyncio.gather(*(one(there + number) for number in range(1, size + 1)))


def counted(stage: Stage) -> Finding:
    """What the rule's check finds, and of how many clients."""
    size = len(stage.clients)
    verdict = judge(stage.chaos.freeze(), stage.profile, stage.case.rule)[0]
    seen = f"{size} clients were started; {verdict.seen}"
    return Finding(verdict.outcome, seen, {"clients": size, **verdict.measured}, verdict.at)


@case("JITTER-01/refused", "Each delay is the nominal one times a draw from the declared shape.", scaled=LONGER)
@case("JITTER-02/refused", "Delays are drawn anew for every retry, and for every client.", scaled=LONGER)
@case("JITTER-03/refused", "The delays of each step are spread, at the cap too, and pile up nowhere.", scaled=LONGER)
async def refused_for_long(stage: Stage) -> Finding:
    await crowd(stage, 1)
    size = stage.herd  # by the figures that the first one declares
    stage.chaos.server.allow_connections(size)
    await crowd(stage, size - 1)
    # What it costs to start so many is over before delays are measured.
    await stage.saw("ready", size)
    with stage.chaos.refuse():
        await stage.saw("attempt", size * stage.retries, timeout=stage.exhaustion)
    return counted(stage)


@case(
    "JITTER-02/two-processes",
    "Two processes that start at one instant do not draw the same delays.",
    process=True,
    scaled=LONGER,
)
async def two_processes(stage: Stage) -> Finding:
    await crowd(stage, 2)
    await stage.saw("ready", 2)
    with stage.chaos.refuse():
        await stage.saw("attempt", 2 * DRAWS, timeout=stage.waits(DRAWS))
    # Who still waits when the record ends has waits that are not known.
    await stage.saw("ready", 2, timeout=stage.waits(1) + stage.profile.backoff.ceiling)
    await stage.pause(stage.slack)
    finding = twins(Story(stage.chaos.freeze()), stage.profile)
    return dataclasses.replace(finding, seen=f"2 processes were started; {finding.seen}")


@case("JITTER-04/herd", "Clients that lose their links at one instant do not come back as a herd.", scaled=LONGER)
async def herd(stage: Stage) -> Finding:
    await crowd(stage, HERD)
    await stage.saw("ready", HERD)
    stage.chaos.abort()
    await stage.saw("attempt", HERD, timeout=stage.waits(1))
    await stage.pause(stage.profile.longest_first_delay)
    return counted(stage)
