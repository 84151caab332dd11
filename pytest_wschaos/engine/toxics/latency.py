"""latency: delays data. ``latency`` and ``jitter`` in milliseconds, drawn anew for each chunk."""

from __future__ import annotations

import random
from collections import deque

from ..stage import Attributes, End, Item, Stage


class Latency(Stage):
    """Each chunk waits ``latency`` plus or minus ``jitter`` since it came. Order is kept, bandwidth is not limited."""

    type = "latency"
    defaults = {"latency": 0, "jitter": 0}
    interrupts = True
    capacity = 32 * 1024 * 1024  # much: a long link holds what is under way, it is not a slow one

    def __init__(self, attributes: Attributes, rng: random.Random) -> None:
        super().__init__(attributes, rng)
        self._came: deque[float] = deque()  # when each item of the queue did

    def pop(self) -> tuple[float, Item]:
        self._came.popleft()
        return super().pop()

    def on_data(self, data: bytes, at: float) -> None:
        self._came.append(at)
        self.put(at + self._delay(), data)

    def on_end(self, end: End, at: float) -> None:
        # The end itself is not delayed, but it follows the data.
        self._came.append(at)
        self.put(at, end)

    def on_update(self, at: float) -> None:
        """As in Toxiproxy: the first chunk is let go, the others get the new delay, counted from when they came."""
        waiting = list(zip(self._came, self.queue, strict=True))
        self._came.clear()
        self.queue.clear()
        self.held = 0
        for place, (came, (_, item)) in enumerate(waiting):
            self._came.append(came)
            delayed = place > 0 and isinstance(item, bytes)
            self.put(max(at, came + self._delay()) if delayed else at, item)

    def on_interrupt(self, at: float) -> None:
        self.on_update(at)

    def _delay(self) -> float:
        milliseconds: float = self.attributes["latency"]
        if self.attributes["jitter"] > 0:
            milliseconds += self.rng.uniform(-self.attributes["jitter"], self.attributes["jitter"])
        return max(0.0, milliseconds / 1000)
