"""What a fleet is measured by: how it comes back, how long a message takes to all of it, how it leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

BAR = 60
"""Columns of the longest bar in a herd's text."""


@dataclass(frozen=True, slots=True)
class Herd:
    """The arrivals after an instant, counted in windows. All times are in seconds."""

    since: float
    """The instant, on the engine's clock."""
    window: float
    counts: tuple[int, ...]
    """Arrivals in each window from ``since`` on, up to the last that has any."""

    @classmethod
    def of(cls, arrivals: Iterable[float], since: float, window: float) -> Herd:
        """Count arrivals, given by their instants; those before ``since`` are left out.

        Raises:
            ValueError: ``window`` is not above 0 s.
        """
        if not window > 0:
            raise ValueError(f"window = {window!r}: must be above 0 s")
        found = Counter(int((at - since) / window) for at in arrivals if at >= since)
        return cls(since, window, tuple(found[index] for index in range(max(found, default=-1) + 1)))

    @property
    def total(self) -> int:
        """How many came."""
        return sum(self.counts)

    @property
    def peak(self) -> int:
        """How many came in the window in which most did: what a server must stand."""
        return max(self.counts, default=0)

    @property
    def first(self) -> float | None:
        """Seconds until the window began in which the first came; None: none came."""
        return next((index * self.window for index, count in enumerate(self.counts) if count), None)

    @property
    def last(self) -> float | None:
        """Seconds until the window ended in which the last came; None: none came."""
        return len(self.counts) * self.window if self.counts else None

    def __str__(self) -> str:
        lines = [f"{self.total} arrivals, at most {self.peak} in {self.window:g} s"]
        for index, count in enumerate(self.counts):
            lines.append(f"{index * self.window:8g} s {count:6d} {'█' * round(BAR * count / self.peak)}".rstrip())
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class FanOut:
    """How long a published message took to each client that received it, in seconds, the fastest first."""

    clients: int
    """How many should have it."""
    delays: tuple[float, ...]

    @property
    def missing(self) -> int:
        """How many have not received it."""
        return self.clients - len(self.delays)

    @property
    def median(self) -> float | None:
        """Seconds until half of those had it that got it; None: none did."""
        return self.delays[(len(self.delays) - 1) // 2] if self.delays else None

    @property
    def last(self) -> float | None:
        """Seconds until the last of them had it."""
        return self.delays[-1] if self.delays else None


@dataclass(frozen=True, slots=True)
class Drained:
    """How a server sent its clients away."""

    seconds: float
    """Until all connections had ended."""
    left: int
    """Connections that ended meanwhile."""
    turned_away: int
    """Attempts that were made meanwhile; each is answered 503."""
    peak: int
    """Connections that ended in the second in which most did."""
