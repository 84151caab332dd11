"""Sending a client that takes nothing in more than all buffers between can hold."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ...engine.frames import Opcode
from .guest import Guest
from .server_stage import ServerStage

BIG = 32 * 1024
"""Bytes of each message that fills the buffers."""
HUGE = 256 * 1024
"""Bytes of each that fills those of two kernels, of which only so many messages are on the wire unacknowledged."""
HELD = 16 * 1024 * 1024
"""Bytes that two kernels hold at most between a server and a proxy that reads no more."""
FILLED = 64 * 1024 * 1024
"""Bytes that no buffers of two kernels and a proxy swallow."""


@dataclass
class Flood:
    """What is being sent to a client that has stopped reading.

    Where the protocol is spoken another client publishes, and the stalled one has to be subscribed to ``flood``;
    else the stalled one has things sent back to itself.
    """

    stage: ServerStage
    stalled: Guest
    sent: int = 0
    """Bytes."""
    full: bool = False
    """Whether no buffers between could hold it all, so that the server has to wait or to keep it."""

    _before: int = 0
    _sender: Guest | None = None

    async def fill(self) -> None:
        """Send until the server is stuck with what it has for the client, or no more can be sent."""
        self._before = self._passed()
        await (self._echoes if self.stage.speaks == "raw" else self._publish)()

    @property
    def published(self) -> int:
        """Messages that the server has acknowledged; they go to whoever is subscribed."""
        return 0 if self._sender is None else len(self._sender.told("ack"))

    @property
    def stuck(self) -> bool:
        """Whether the server, or its kernel, has something for the client that nobody takes in."""
        return self.full or self.stalled.full or self.published > self._passed() - self._before

    async def _publish(self) -> None:
        stage = self.stage
        sender, limits = await stage.ready("sender"), stage.profile.security
        self._sender = sender
        # Virtual time over real sockets has the kernel's buffers.
        simulated = getattr(asyncio.get_running_loop(), "clock_name", "") == "virtual"
        size, held = (BIG, 0) if simulated else (min(HUGE, stage.profile.message.max_size // 4), HELD)
        quiet, stuck = 0, 0
        while self.sent < FILLED and sender.open:
            before, begun = self._passed(), self.published
            for _ in range(max(1, limits.burst // 4)):
                self.sent += size
                sender.say(type="send", id=self.sent // size, topic="flood", data="x" * size)
                await sender.flushed(stage.patience)
                await stage.pause(1.1 / limits.rate)
            await sender.answer("ack", id=self.sent // size)
            still = self._passed() == before
            quiet, stuck = (quiet + 1, stuck + size * (self.published - begun)) if still else (0, 0)
            if quiet >= 2 and stuck >= held:
                self.full = True
                return

    def _passed(self) -> int:
        """Messages that have left the server for the client."""
        events = self.stage.chaos.timeline.since(0)
        return sum(
            e.client == self.stalled.name and e.place == "server" and e.kind in ("message", "gap") for e in events
        )

    async def _echoes(self) -> None:
        while self.sent < FILLED and not self.stalled.over:
            self.stalled.frame(Opcode.TEXT, b"x" * BIG)
            self.sent += BIG
            if self.stalled.full and not await self.stalled.flushed(self.stage.patience / 4):
                break  # the server takes in no more
            await self.stage.pause(0)
        self.full = True
