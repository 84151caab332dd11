"""slicer: cuts data into small pieces. ``average_size`` and ``size_variation`` in bytes, ``delay`` in microseconds."""

from __future__ import annotations

from ..stage import End, Stage


class Slicer(Stage):
    """Data leaves in pieces of about ``average_size``, ``delay`` apart."""

    type = "slicer"
    defaults = {"average_size": 0, "size_variation": 0, "delay": 0}

    capacity = 32 * 1024  # little, so that the sender feels the delays

    free_at = 0.0

    def on_data(self, data: bytes, at: float) -> None:
        due = max(at, self.free_at)
        for piece in self._slices(data):
            self.put(due, piece)
            due += self.attributes["delay"] / 1_000_000
        self.free_at = due

    def on_end(self, end: End, at: float) -> None:
        # The delay comes after each piece, so after the last one too.
        self.put(max(at, self.free_at), end)

    def on_update(self, at: float) -> None:
        self.free_at = at
        self.requeue(at)

    def _slices(self, data: bytes) -> list[bytes]:
        average = int(self.attributes["average_size"])
        if average <= 0:  # Toxiproxy crashes here; one whole piece is the safe meaning
            return [data]
        variation = min(int(self.attributes["size_variation"]), average - 1)
        pieces = []
        start = 0
        while start < len(data):
            size = average + (self.rng.randint(-variation, variation) if variation > 0 else 0)
            pieces.append(data[start : start + size])
            start += size
        return pieces
