"""The Wald-Wolfowitz runs test: a permutation test for correlation between neighbours, with its exact distribution.

Each value is put above or below the median of its step; a run is a stretch on one side. Where order does not
matter, every arrangement of the sides within a step is equally likely, whatever the values' distribution and
however it changes from step to step: too few runs mean that neighbours resemble each other, too many that
they avoid each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise


def sides(values: Sequence[float]) -> list[bool]:
    """Which values lie above their median."""
    median = sorted(values)[(len(values) - 1) // 2]
    return [value > median for value in values]


@dataclass(frozen=True, slots=True)
class RunsTest:
    """A number of runs, and how probable each number is where neighbours are independent."""

    runs: int
    chances: Mapping[int, float]

    def rejects(self, alpha: float) -> bool:
        """Whether so few or so many runs have a probability of ``alpha`` at most, half of it for either side."""
        few, many = self.limits(alpha)
        return self.runs < few or self.runs > many

    def limits(self, alpha: float) -> tuple[int, int]:
        """The smallest and the largest number of runs that is not rejected."""
        return self._within(sorted(self.chances), alpha / 2), self._within(
            sorted(self.chances, reverse=True), alpha / 2
        )

    def _within(self, order: Iterable[int], alpha: float) -> int:
        tail = 0.0
        for runs in order:
            tail += self.chances[runs]
            if tail > alpha:
                return runs
        return self.runs

    @classmethod
    def between(cls, steps: Iterable[Sequence[bool]]) -> RunsTest:
        """The runs between clients: along the sides at each step, added up over the steps."""
        total, chances = 0, {0: 1.0}
        for step in steps:
            total += 1 + sum(a is not b for a, b in pairwise(step))
            chances = _added(chances, runs_chances(sum(step), len(step) - sum(step)))
        return cls(total, chances)

    @classmethod
    def along(cls, steps: Sequence[Mapping[str, bool]]) -> RunsTest:
        """The changes of side along each client's retries, added up; each step gives the sides by client.

        Whatever the sides at one step, all arrangements of those at the next are equally likely, so the number of
        clients above at both is hypergeometric.
        """
        total, chances = 0, {0: 1.0}
        for here, after in pairwise(steps):
            both = here.keys() & after.keys()
            total += sum(here[client] is not after[client] for client in both)
            above, above_next = sum(here[client] for client in both), sum(after[client] for client in both)
            chances = _added(chances, change_chances(len(both), above, above_next))
        return cls(total, chances)


@lru_cache(maxsize=256)
def runs_chances(above: int, below: int) -> dict[int, float]:
    """How probable each number of runs is in an arrangement of two sides."""
    if not above or not below:
        return {1: 1.0}
    ways: dict[int, int] = {}
    for half in range(1, min(above, below) + 1):
        a, b = math.comb(above - 1, half - 1), math.comb(below - 1, half - 1)
        ways[2 * half] = 2 * a * b
        # An odd number of runs starts and ends on one side, which then has one run more.
        if odd := math.comb(above - 1, half) * b + a * math.comb(below - 1, half):
            ways[2 * half + 1] = odd
    all_ways = math.comb(above + below, above)
    return {runs: count / all_ways for runs, count in ways.items()}


@lru_cache(maxsize=256)
def change_chances(clients: int, above: int, above_next: int) -> dict[int, float]:
    """How probable each number of clients is that change sides between two steps."""
    all_ways = math.comb(clients, above_next)
    return {
        above + above_next - 2 * both: math.comb(above, both) * math.comb(clients - above, above_next - both) / all_ways
        for both in range(max(0, above + above_next - clients), min(above, above_next) + 1)
    }


def _added(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    """The distribution of the sum of two independent numbers."""
    total: dict[int, float] = {}
    for a, chance in one.items():
        for b, other_chance in other.items():
            total[a + b] = total.get(a + b, 0.0) + chance * other_chance
    return total
