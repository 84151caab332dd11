"""Cases of HEARTBEAT, for servers."""

from __future__ import annotations

import asyncio

from ...checks.verdict import Finding, failed, inconclusive, passed
from ...engine.frames import Opcode
from ..suite.guest import Guest
from ..suite.server_case import server_case
from ..suite.server_stage import ServerStage

BIG = 32 * 1024
"""Bytes of each message that fills the buffers."""
HUGE = 256 * 1024
"""Bytes of each that fills those of two kernels, of which only so many messages are on the wire unacknowledged."""
HELD = 16 * 1024 * 1024
"""Bytes that two kernels hold at most between a server and a proxy that reads no more."""
FILLED = 64 * 1024 * 1024
"""Bytes that no buffers of two kernels and a proxy swallow."""


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
    sent, full = await (_echoes if stage.speaks == "raw" else _publish)(stage, stalled)
    await stage.pause(longest)
    pretence.cancel()
    # What is in the buffers by now comes first, then the end, if the server has made one.
    before = stalled.received
    stalled.resume_reading()
    gone = await stalled.until(lambda: stalled.over or stalled.close is not None, stage.patience)
    took = stalled.received - before
    what = f"a client took in nothing for {longest:.3f} s, while {sent} bytes were sent to it"
    if gone:
        return passed(f"{what}; it was given up ({stage.state(stalled)}), {took} bytes lay in the buffers", sent=sent)
    if not full:
        return inconclusive(f"not provoked: {what}, and the buffers between took them all in")
    return failed(f"{what}; it was not given up: after that it got {took} bytes, and the connection stands")


@server_case(
    "HEARTBEAT-05/slow-reader",
    "A client that takes nothing in for half the send deadline, again and again, is kept.",
)
async def slow_reader(stage: ServerStage) -> Finding | None:
    slow, half = await stage.ready("stalled"), stage.profile.heartbeat.server_deadline / 2
    sent = 0
    if stage.speaks == "wschaos.v1":
        await slow.request("subscribe", 1, "flood")
        sender = await stage.ready("sender")
    for turn in range(2):
        slow.pause_reading()
        since = stage.now()
        while stage.now() < since + half:
            sent += 1
            if stage.speaks == "wschaos.v1":
                sender.say(type="send", id=sent, topic="flood", data="x" * BIG)
            elif not slow.full:
                slow.frame(Opcode.TEXT, b"x" * BIG)
            await stage.pause(1.1 / stage.profile.security.rate)
        slow.resume_reading()
        if not await slow.until(lambda: bool(slow.over), half / 4) and await slow.alive() is None:
            return failed(f"a slow client was answered nothing any more: {stage.state(slow)}", at=stage.now())
        if slow.over:
            paused = f"a client that took in nothing for {half:.3f} s, {turn + 1} times,"
            return failed(f"{paused} was given up ({stage.state(slow)}); the send deadline is {2 * half:.3f} s")
    return passed(f"a client that took in nothing for {half:.3f} s, twice, was kept")


async def _publish(stage: ServerStage, stalled: Guest) -> tuple[int, bool]:
    """Send to a subscriber until its server is stuck with what it has for it.

    Returns how many bytes were sent, and whether it came to that.
    """
    sender = await stage.ready("sender")
    limits = stage.profile.security
    # Virtual time over real sockets has the kernel's buffers.
    simulated = getattr(asyncio.get_running_loop(), "clock_name", "") == "virtual"
    size, held = (BIG, 0) if simulated else (min(HUGE, stage.profile.message.max_size // 4), HELD)
    sent, id, quiet, stuck = 0, 0, 0, 0
    while sent < FILLED and sender.open:
        before, written = _passed(stage, "stalled"), 0
        for _ in range(max(1, limits.burst // 4)):
            id += 1
            sender.say(type="send", id=id, topic="flood", data="x" * size)
            written += size
            await sender.flushed(stage.patience)
            await stage.pause(1.1 / limits.rate)
        await sender.answer("ack", id=id)
        sent += written
        still = _passed(stage, "stalled") == before
        quiet, stuck = (quiet + 1, stuck + written) if still else (0, 0)
        if quiet >= 2 and stuck >= held:
            return sent, True
    return sent, False


def _passed(stage: ServerStage, name: str) -> int:
    """Messages that have left the server for a client."""
    events = stage.chaos.timeline.since(0)
    return sum(e.client == name and e.place == "server" and e.kind in ("message", "gap") for e in events)


async def _echoes(stage: ServerStage, stalled: Guest) -> tuple[int, bool]:
    """Have things sent back until the server takes in nothing more, or has more than all buffers between could hold."""
    sent = 0
    while sent < FILLED and not stalled.over:
        stalled.frame(Opcode.TEXT, b"x" * BIG)
        sent += BIG
        if stalled.full and not await stalled.flushed(stage.patience / 4):
            return sent, True
        await stage.pause(0)
    return sent, True


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
