"""What the toxics have in common that let a chunk go piece by piece."""

from __future__ import annotations

import random
from collections import deque

from .stage import Attributes, Item, Stage


class Pieces(Stage):
    """Queues each chunk as several pieces, and knows which of them are of the chunk that is on its way."""

    free_at = 0.0
    """When the piece after the last one may leave."""

    def __init__(self, attributes: Attributes, rng: random.Random) -> None:
        super().__init__(attributes, rng)
        self._left: deque[int] = deque()  # how many pieces of each chunk

    def put_pieces(self, pieces: list[tuple[float, bytes]]) -> None:
        """Queue a chunk, each piece with its due time."""
        for due, piece in pieces:
            self.put(due, piece)
        self._left.append(len(pieces))

    def pop(self) -> tuple[float, Item]:
        due, item = super().pop()
        if isinstance(item, bytes):
            self._left[0] -= 1
            if not self._left[0]:
                self._left.popleft()
        return due, item

    def on_update(self, at: float) -> None:
        """As in Toxiproxy: the rest of the chunk on its way is let go, what is behind it is treated anew."""
        waiting = [item for _, item in self.queue]
        first = self._left[0] if self._left else 0
        self.queue.clear()
        self._left.clear()
        self.held = 0
        self.free_at = at
        if first:
            self.put_pieces([(at, b"".join(item for item in waiting[:first] if isinstance(item, bytes)))])
        for item in waiting[first:]:
            self.on_data(item, at) if isinstance(item, bytes) else self.on_end(item, at)

    def on_interrupt(self, at: float) -> None:
        self.on_update(at)
