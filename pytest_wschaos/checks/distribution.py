"""Judges samples against a distribution by the Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant.

``P(sup|F_n - F| > e) <= 2 exp(-2 n e^2)`` holds for every n, so a rejection has a stated error rate. To say
the contrary, that an alternative would have been rejected, Hoeffding's inequality at the point where the two
differ most has one as well: ``P(F_n(x) - G(x) > t) <= exp(-2 n t^2)``.

A sample is known only up to a latency: it lies somewhere in an interval. Every statement here holds
wherever in its interval each sample lies.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """Uniform on [low, high], with all that lies above ``clamp`` put on ``clamp``; low = high: one value."""

    low: float
    high: float
    clamp: float = math.inf

    def below(self, x: float) -> float:
        """P(X < x)."""
        return 1.0 if x > self.clamp else self._uniform(x, self.low < x)

    def up_to(self, x: float) -> float:
        """P(X <= x)."""
        return 1.0 if x >= self.clamp else self._uniform(x, self.low <= x)

    def _uniform(self, x: float, reached: bool) -> float:
        if self.low == self.high:
            return 1.0 if reached else 0.0
        return min(1.0, max(0.0, (x - self.low) / (self.high - self.low)))

    @property
    def corners(self) -> tuple[float, ...]:
        """Where the distribution function bends or jumps."""
        return tuple(x for x in (self.low, self.high, self.clamp) if math.isfinite(x))

    def distance(self, other: Distribution) -> float:
        """The largest difference of the two distribution functions."""
        # Between corners both are straight, so they differ most at one, seen from either side.
        return max(
            max(abs(self.below(x) - other.below(x)), abs(self.up_to(x) - other.up_to(x)))
            for x in (*self.corners, *other.corners)
        )


def band(samples: int, alpha: float) -> float:
    """How far ``samples`` samples may stray from their distribution function, at error rate ``alpha``."""
    return math.sqrt(math.log(2 / alpha) / (2 * samples))


def needed(distance: float, alpha: float, alpha_other: float) -> int | None:
    """The samples that it takes to tell two distributions apart that differ by ``distance``.

    ``alpha``: error rate of a rejection; ``alpha_other``: of the lack of one. None: they do not differ enough.
    """
    if distance <= 1e-9:
        return None
    spread = math.sqrt(math.log(2 / alpha)) + math.sqrt(math.log(1 / alpha_other))
    # Rounded first: binary fractions must not ask for one sample more.
    return max(1, math.ceil(round((spread / distance) ** 2 / 2, 6)))


@dataclass(frozen=True, slots=True)
class Sample:
    """A value that lies somewhere in [low, high]."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The best guess."""
        return (self.low + self.high) / 2


def deviation(samples: Sequence[Sample], declared: Distribution) -> float:
    """How far the samples lie from the declared distribution at least, wherever in their intervals they lie."""
    lows = sorted(sample.low for sample in samples)
    highs = sorted(sample.high for sample in samples)
    n = len(samples)
    # The samples' own function lies between that of the highs (everything as late as can be) and that of the lows.
    above = max(bisect_right(highs, x) / n - declared.up_to(x) for x in highs)
    below = max(declared.below(x) - bisect_left(lows, x) / n for x in lows)
    return max(above, below, 0.0)


def blur(samples: Sequence[Sample], declared: Distribution) -> float:
    """By how much the intervals may hide a difference of distributions, at most.

    A difference at x still shows at x + w, smaller by the declared probability of a stretch w, in all samples
    that are known up to w.
    """
    density = 1 / (declared.high - declared.low)
    widths = sorted(sample.high - sample.low for sample in samples)
    n = len(widths)
    return min(width * density + (n - known) / n for known, width in enumerate(widths, 1))


def most_within(samples: Iterable[Sample], width: float) -> int:
    """How many samples some stretch of this width holds at least, wherever in their intervals they lie."""
    # It holds a sample for certain if it begins between high - width and low.
    fitting = [sample for sample in samples if sample.high - sample.low <= width]
    first = sorted(sample.high - width for sample in fitting)
    last = sorted(sample.low for sample in fitting)
    return max((bisect_right(first, x) - bisect_left(last, x) for x in last), default=0)


def constant_probability(samples: Iterable[Sample], declared: Distribution) -> float:
    """The probability that so many draws of a continuous distribution lie as closely together as these may.

    That is exactly ``n w^(n-1) - (n-1) w^n`` for n uniform draws within a width w.
    """
    shares = [(declared.up_to(sample.low), declared.up_to(sample.high)) for sample in samples]
    width = max(high for _, high in shares) - min(low for low, _ in shares)
    n = len(shares)
    return float(n * width ** (n - 1) - (n - 1) * width**n) if n > 1 else 1.0


def binomial_bound(trials: int, probability: float, alpha: float) -> int:
    """The smallest number of successes that is exceeded with probability ``alpha`` at most."""
    if not 0 < probability < 1:
        return trials if probability >= 1 else 0
    yes, no = math.log(probability), math.log1p(-probability)
    tail = 0.0
    for successes in range(trials, 0, -1):
        # By logarithms: the binomial coefficients outgrow floats.
        ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
        tail += math.exp(ways + successes * yes + (trials - successes) * no)
        if tail > alpha:
            return successes
    return 0


def at_least(successes: int, trials: int, probability: float) -> float:
    """The probability of so many successes or more."""
    if successes <= 0 or probability >= 1:
        return 1.0
    yes, no = math.log(probability), math.log1p(-probability)
    tail = 0.0
    for number in range(successes, trials + 1):
        ways = math.lgamma(trials + 1) - math.lgamma(number + 1) - math.lgamma(trials - number + 1)
        tail += math.exp(ways + number * yes + (trials - number) * no)
    return min(1.0, tail)
