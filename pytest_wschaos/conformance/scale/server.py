"""Cases of SCALE, for servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ...checks.tolerance import Timing, by, late_by
from ...checks.verdict import Finding, failed, inconclusive, passed
from ...engine.frames import Opcode
from ..subjects.subject import Unsupported
from ..suite.flood import Flood
from ..suite.guest import Guest
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


async def _grown(stage: ServerStage, pid: int) -> int:
    """What a process holds when it holds no more than a moment before: by then all has come."""
    before, now = 0, _memory(pid)
    while now > before * 1.02:
        await stage.pause(0.5)
        before, now = now, _memory(pid)
    return now


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
    each = max(0, await _grown(stage, pid) - before) // len(crowd)
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
        await ill.request("subscribe", 1, "flood")  # first, so that a server that serves one by one comes to it first
        await witness.request("subscribe", 1, "flood")
    ill.pause_reading()
    flood, since = Flood(stage, ill), stage.now()
    filling = asyncio.create_task(flood.fill())
    slowest, bound = usual, stage.profile.heartbeat.server_deadline / 2
    doubt = ""
    try:
        while not (filling.done() and stage.now() >= since + stage.patience):
            asked = stage.now()
            told = await _served(witness, flood, 2 * bound + stage.slack)
            slowest = max(slowest, took := stage.now() - asked)
            if told or took > bound + stage.slack:
                record = stage.chaos.freeze()
                if by(record, asked + bound + stage.slack, stage.now(), since=asked) is Timing.BROKEN:
                    told = told or f"waited {took:.3f} s for an answer"
                    return failed(f"while another client was stalled, one {told}; before, {usual:.3f} s", at=asked)
                doubt = late_by(record, asked, stage.now())
            await stage.pause(bound / 10)
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
    seen = f"another client was stalled for {stage.now() - since:.3f} s, and {flood.sent} bytes were sent to it"
    if not (flood.full or ill.over):
        return inconclusive(f"not provoked: {seen}, which the buffers between took in")
    seen = f"{seen}; the slowest answer took {slowest:.3f} s"
    return inconclusive(f"{seen}; {doubt}") if doubt else passed(seen, slowest_s=slowest)


async def _served(witness: Guest, flood: Flood, longest: float) -> str:
    """Wait until a client has an answer and all that was published before; what is missing, in words."""
    due = flood.published
    if await witness.alive(longest) is None:
        return "got no answer at all"
    if not await witness.until(lambda: _heard(witness) >= due or not witness.open, longest) or not witness.open:
        return f"had {_heard(witness)} of {due} messages that were published"
    return ""


def _heard(witness: Guest) -> int:
    """How far a client's messages go; what a server has left out, and says so, is no delay."""
    last = [frame["seq"] for frame in witness.told("message")[-1:]]
    return int(max([0, *last, *(frame["to"] for frame in witness.told("gap"))]))
