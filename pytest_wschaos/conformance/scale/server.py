"""Cases of SCALE, for servers."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from ...checks.tolerance import Timing, by, late_by
from ...checks.verdict import Finding, failed, inconclusive, passed
from ...engine.frames import Opcode
from ..subjects.subject import Unsupported
from ..suite.server_case import server_case
from ..suite.server_stage import ServerStage

CROWD = 50
"""Connections over which memory is measured."""
HOARDERS = 10
"""Connections that each leave a message unfinished."""


def _memory(pid: int) -> int:
    """Bytes that a process, and those that it has started, hold.

    Raises:
        Unsupported: this platform does not tell.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        raise Unsupported("this platform does not tell how much memory a process holds") from None
    own = next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS:")), 0)
    return own + sum(_memory(int(child)) for child in children)


@server_case(
    "SCALE-03/connections",
    "What an idle connection costs is known, and less than its largest message.",
    process=True,
)
async def idle_connections(stage: ServerStage) -> Finding | None:
    pid, count = stage.running.pid, min(CROWD, stage.profile.security.connections // 2)
    for guest in await stage.crowd(5, ready=True, name="first"):  # what it loads for its first clients is no client's
        guest.leave()
    await stage.pause(0.2)
    before = _memory(pid)
    crowd = await stage.crowd(count, ready=True)
    await stage.pause(0.2)
    each = max(0, _memory(pid) - before) // count
    if not all(guest.open for guest in crowd):
        return inconclusive(f"of {count} clients only {sum(guest.open for guest in crowd)} got in")
    limit = stage.profile.message.max_size
    seen = f"{count} idle connections cost {each} bytes of memory each"
    return passed(seen, bytes=each) if each <= limit else failed(f"{seen}; expected {limit} at most", bytes=each)


@server_case(
    "SCALE-03/unfinished",
    "A connection that leaves a message unfinished costs no more than the limit of a message.",
    process=True,
)
async def unfinished(stage: ServerStage) -> Finding | None:
    pid, limit = stage.running.pid, stage.profile.message.max_size
    crowd = await stage.crowd(HOARDERS, ready=True)
    await stage.pause(0.2)
    before = _memory(pid)
    for guest in crowd:
        guest.frame(Opcode.TEXT, b"h" * (limit // 2), fin=False)
        # Four times the limit, in fragments that never end; who keeps to the limit closes on the way.
        for _ in range(8):
            guest.frame(Opcode.CONTINUATION, b"h" * (limit // 2), fin=False)
            await guest.flushed(stage.patience)
    await stage.pause(0.5)
    each = max(0, _memory(pid) - before) // len(crowd)
    seen = (
        f"{len(crowd)} connections sent {4 * limit} bytes each of a message without an end, and cost {each} bytes each"
    )
    if each <= 2 * limit:
        return passed(seen, bytes=each)
    return failed(f"{seen}; expected the limit of {limit}, and as much for what lies between, at most", bytes=each)


@server_case("SCALE-05/stalled", "A client that takes nothing in delays nobody else.")
async def stalled(stage: ServerStage) -> Finding | None:
    witness = await stage.ready("witness")
    usual = await witness.alive()
    if usual is None:
        return failed(f"a well-behaved client was answered nothing: {stage.state(witness)}")
    ill = await stage.ready("stalled")
    if stage.speaks == "wschaos.v1":
        await ill.request("subscribe", 1, "flood")
        await witness.request("subscribe", 1, "flood")
    ill.pause_reading()
    flood = asyncio.create_task(_flood(stage, ill))
    slowest, bound, since = usual, stage.profile.heartbeat.server_deadline / 2, stage.now()
    doubt = ""
    try:
        while not flood.done():
            asked = stage.now()
            took = await witness.alive(2 * bound + stage.slack)
            slowest = max(slowest, stage.now() - asked)
            if took is None or took > bound + stage.slack:
                record = stage.chaos.freeze()
                if by(record, asked + bound + stage.slack, stage.now(), since=asked) is Timing.BROKEN:
                    told = "got no answer at all" if took is None else f"waited {took:.3f} s for an answer"
                    return failed(f"while another client was stalled, one {told}, {usual:.3f} s before", at=asked)
                doubt = late_by(record, asked, stage.now())
            await stage.pause(bound / 10)
    finally:
        flood.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await flood
    seen = f"another client was stalled for {stage.now() - since:.3f} s; the slowest answer took {slowest:.3f} s"
    return inconclusive(f"{seen}; {doubt}") if doubt else passed(seen, slowest_s=slowest)


async def _flood(stage: ServerStage, ill: object) -> None:
    """Have as much sent to a client as the rate limit allows, for as long as a server must bear it."""
    from ..suite.guest import Guest

    assert isinstance(ill, Guest)
    end = stage.now() + stage.patience
    sender = ill if stage.speaks == "raw" else await stage.ready("sender")
    id = 0
    while stage.now() < end and not sender.over:
        id += 1
        if stage.speaks == "raw":
            if not sender.full:
                sender.frame(Opcode.TEXT, b"x" * 32768)
        else:
            sender.say(type="send", id=id, topic="flood", data="x" * 32768)
        await stage.pause(1.2 / stage.profile.security.rate)
