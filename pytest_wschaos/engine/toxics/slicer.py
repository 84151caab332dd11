"""slicer: cuts data into small pieces. ``average_size`` and ``size_variation`` in bytes, ``delay`` in microseconds."""

from __future__ import annotations

from ..pieces import Pieces
from ..stage import End


class Slicer(Pieces):
    """Data leaves in pieces of ``average_size`` plus or minus ``size_variation``, or smaller, ``delay`` apart.

    As in Toxiproxy a chunk is halved, not quite in the middle, until its parts are small enough. Where that would
    crash, the nearest sizes that make sense are taken: all of the chunk for an average of 0, and a variation below the
    average.
    """

    type = "slicer"
    defaults = {"average_size": 0, "size_variation": 0, "delay": 0}
    interrupts = True

    capacity = 32 * 1024  # little, so that the sender feels the delays

    def on_data(self, data: bytes, at: float) -> None:
        due = max(at, self.free_at)
        pieces = []
        for piece in self._slices(data):
            pieces.append((due, piece))
            due += max(0.0, self.attributes["delay"] / 1_000_000)
        self.put_pieces(pieces)
        self.free_at = due

    def on_end(self, end: End, at: float) -> None:
        # The delay comes after each piece, so after the last one too.
        self.put(max(at, self.free_at), end)

    def _slices(self, data: bytes) -> list[bytes]:
        average = int(self.attributes["average_size"])
        if average <= 0:
            return [data]
        variation = max(0, min(int(self.attributes["size_variation"]), average - 1))
        slices = []
        parts = [data]
        while parts:  # a stack, so that no size of a chunk is too deep
            part = parts.pop()
            if len(part) - average <= variation:
                slices.append(part)
                continue
            middle = len(part) // 2
            if variation:
                middle += self.rng.randrange(2 * variation) - variation
            middle = min(max(middle, 1), len(part) - 1)
            parts += [part[middle:], part[:middle]]
        return slices
