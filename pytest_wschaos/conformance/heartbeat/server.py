"""Cases of HEARTBEAT, for servers."""

from __future__ import annotations

import asyncio

from ...checks.verdict import Finding, failed, inconclusive, passed
from ...engine.frames import Opcode
from ..suite.flood import Flood
from ..suite.guest import Guest
from ..suite.server_case import server_case
from ..suite.server_stage import ServerStage


@server_case("HEARTBEAT-05/mute", "A client that answers no ping is reaped in time, with Close 1011.")
async def mute(stage: ServerStage) -> Finding | None:
    guest = await stage.ready()
    guest.pongs = guest.closes = False
    since, longest = stage.now(), stage.reaping
    await guest.until(lambda: guest.ended is not None, longest + stage.patience)
    if guest.ended is None and not _pinged(guest):
        return failed(
            f"the server sent no ping in {stage.now() - since:.3f} s and kept a silent client; "
            f"expected Close 1011 within {longest:.3f} s",
            at=since + longest,
        )
    return None


@server_case("HEARTBEAT-05/dead-link", "A client that is gone without a word is reaped in time, with Close 1011.")
async def dead_link(stage: ServerStage) -> None:
    await stage.ready()
    longest = stage.reaping
    with stage.chaos.silent_drop():
        await stage.pause(longest + stage.patience)


@server_case("HEARTBEAT-05/alive", "A client that answers each ping is not reaped, idle as it may be.")
async def answers(stage: ServerStage) -> Finding | None:
    guest = await stage.ready()
    longest = 2 * stage.reaping
    await guest.until(lambda: not guest.open, longest)
    if not guest.open:
        return failed(f"a client that answered {_pinged(guest)} pings lost its connection: {stage.state(guest)}")
    if not _pinged(guest):
        return inconclusive(f"not provoked: the server sent no ping in {longest:.3f} s")
    return passed(f"a client that answered {_pinged(guest)} pings in {longest:.3f} s was kept")


def _pinged(guest: Guest) -> int:
    return sum(frame.opcode is Opcode.PING for frame in guest.frames) + len(guest.told("ping"))


@server_case(
    "HEARTBEAT-05/not-draining",
    "A client that takes nothing in is given up by the send deadline, alive as it may be.",
)
async def not_draining(stage: ServerStage) -> Finding | None:
    stalled = await stage.ready("stalled")
    longest = stage.reaping
    if stage.speaks == "raw":
        stalled.text("echo")
        if not await stalled.echoed(b"echo"):
            return inconclusive("not provoked: the server sends nothing back, so that nothing fills the buffers")
    else:
        await stalled.request("subscribe", 1, "flood")
    stalled.pause_reading()
    pretence = asyncio.create_task(_pretend(stage, stalled))
    flood = Flood(stage, stalled)
    await flood.fill()
    await stage.pause(longest)
    pretence.cancel()
    # What is in the buffers by now comes first, then the end, if the server has made one.
    before = stalled.received
    stalled.resume_reading()
    gone = await stalled.until(lambda: stalled.over or stalled.close is not None, stage.patience)
    took = stalled.received - before
    what = f"a client took in nothing for {longest:.3f} s, while {flood.sent} bytes were sent to it"
    if gone:
        seen = f"{what}; it was given up ({stage.state(stalled)}), {took} bytes lay in the buffers"
        return passed(seen, sent=flood.sent)
    if not flood.full:
        return inconclusive(f"not provoked: {what}, and the buffers between took them all in")
    return failed(f"{what}; it was not given up: after that it got {took} bytes, and the connection stands")


@server_case(
    "HEARTBEAT-05/slow-reader",
    "A client that takes nothing in for half the send deadline, again and again, is kept.",
)
async def slow_reader(stage: ServerStage) -> Finding | None:
    slow, half = await stage.ready("stalled"), stage.profile.heartbeat.server_deadline / 2
    if stage.speaks == "wschaos.v1":
        await slow.request("subscribe", 1, "flood")
    stuck = True
    for turn in range(2):
        slow.pause_reading()
        flood = Flood(stage, slow)
        filling = asyncio.create_task(flood.fill())
        await stage.pause(half)
        stuck = stuck and flood.stuck
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        slow.resume_reading()
        if not await slow.until(lambda: bool(slow.over), half / 4) and await slow.alive() is None:
            return failed(f"a slow client was answered nothing any more: {stage.state(slow)}", at=stage.now())
        if slow.over:
            paused = f"a client that took in nothing for {half:.3f} s, {turn + 1} times,"
            return failed(f"{paused} was given up ({stage.state(slow)}); the send deadline is {2 * half:.3f} s")
    seen = f"a client that took in nothing for {half:.3f} s, twice, was kept"
    return passed(seen) if stuck else inconclusive(f"not provoked: {seen}, but the buffers between took all in")


async def _pretend(stage: ServerStage, stalled: Guest) -> None:
    """Give signs of life, so that nobody can say that this client is dead; the pings that it answers it guesses."""
    beat, begun = stage.profile.heartbeat, stage.now()
    assert beat.server_interval is not None
    while True:
        await stage.pause(beat.server_deadline / 4)
        if stalled.full:
            continue
        last = int((stage.now() - begun) / beat.server_interval) + 2
        for guess in range(max(1, last - 3), last + 1):
            if stage.speaks == "raw":
                stalled.frame(Opcode.PONG, str(guess).encode())
            else:
                stalled.say(type="pong", n=guess)


@server_case(
    "HEARTBEAT-06/server-alone",
    "The server's heartbeat alone keeps an idle link behind a proxy that cuts idle ones.",
)
async def idle_proxy(stage: ServerStage) -> None:
    _ = stage.reaping
    interval = stage.profile.heartbeat.server_interval
    assert interval is not None
    limit = 2 * interval + stage.slack
    with stage.chaos.idle_timeout(limit):
        guest = await stage.ready()
        await guest.until(lambda: not guest.open, 3.2 * limit)
