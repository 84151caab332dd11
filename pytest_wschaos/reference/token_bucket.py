"""A token bucket: what may be sent at once, and at what rate from then on. Sans-I/O."""

from __future__ import annotations


class TokenBucket:
    """Allows ``burst`` takes at once and ``rate`` takes a second in the long run.

    The server enforces its limit with one; the client paces itself with one. Time is passed in, in seconds.

    Args:
        rate: takes per second, above 0.
        burst: takes that a full bucket holds, 1 or more. The bucket is full at first.

    Raises:
        ValueError: a figure that cannot be.
    """

    def __init__(self, rate: float, burst: float) -> None:
        if not rate > 0:
            raise ValueError(f"rate = {rate!r}: must be above 0 per second")
        if not burst >= 1:
            raise ValueError(f"burst = {burst!r}: must be 1 or more")
        self._rate = rate
        self._burst = burst
        self._full_at: float | None = None  # the instant at which the bucket is (or was) full again

    def take(self, now: float) -> bool:
        """Take one if there is one; tells whether there was."""
        if self.wait(now) > 0:
            return False
        full_at = now if self._full_at is None else max(now, self._full_at)
        self._full_at = full_at + 1 / self._rate
        return True

    def wait(self, now: float) -> float:
        """Seconds from ``now`` until the next take succeeds; 0 when it would at once."""
        if self._full_at is None:
            return 0.0
        wait = self._full_at - now - (self._burst - 1) / self._rate
        # A caller that slept for exactly what it was told must not be sent to sleep again by a rounding error.
        return wait if wait > 1e-9 else 0.0
