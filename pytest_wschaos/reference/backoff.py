"""When to try again: delays that grow, are capped, and are spread by chance. Sans-I/O."""

from __future__ import annotations

from random import Random

from ..profile import Backoff as Figures
from ..profile import Jitter


class Backoff:
    """Counts a client's consecutive failures and draws the delay before each retry.

    Only a connection that stayed ready for ``stable_after`` clears the count. A handshake alone does not:
    a server that accepts and closes at once would be stormed by clients that believe all is well.

    Args:
        figures: the nominal delays.
        jitter: the distribution of the actual ones around them.
        max_retries: retries before :meth:`failed` says to give up; None: never.
        rng: the client's own source of chance; two clients that share a seed share their delays.
    """

    def __init__(self, figures: Figures, jitter: Jitter, max_retries: int | None, rng: Random) -> None:
        self._figures = figures
        self._jitter = jitter
        self._max_retries = max_retries
        self._rng = rng
        self._ready_at: float | None = None
        self._previous: float | None = None  # the decorrelated shape builds on the last delay
        self.retry = 0
        """The number of the retry that is due or under way; 0 while nothing has failed."""

    def ready(self, now: float) -> None:
        """A connection has become ready at ``now`` (seconds on the loop's clock)."""
        self._ready_at = now

    def reset(self) -> None:
        """Forget all failures: the application asked for a connection by itself."""
        self.retry, self._previous, self._ready_at = 0, None, None

    def failed(self, now: float, retry_after: float | None = None, *, later: bool = False) -> float | None:
        """An attempt failed or a connection was lost: the seconds to wait, or None to give up.

        Args:
            now: seconds on the loop's clock.
            retry_after: the server's own lower bound, in seconds.
            later: the server is overloaded; wait as long as before the retry after this one.
        """
        if self._ready_at is not None and now - self._ready_at >= self._figures.stable_after:
            self.reset()
        self._ready_at = None
        if self._max_retries is not None and self.retry >= self._max_retries:
            return None
        self.retry += 1
        delay = self._draw(self.retry + 1 if later else self.retry)
        self._previous = delay
        if retry_after is not None and self._figures.honour_retry_after and delay < retry_after:
            # Not max(): that would bring everybody back at the same instant.
            return retry_after + delay
        return delay

    def _draw(self, step: int) -> float:
        figures = self._figures
        if step == 1 and figures.first_low is not None and figures.first_high is not None:
            return self._rng.uniform(figures.first_low, figures.first_high)
        nominal = figures.nominal(step)
        if self._jitter.shape == "decorrelated":
            return self._decorrelated(nominal)
        low, high = self._jitter.bounds
        # The range is narrowed to the ceiling before the draw. Clamping after it would pile clients up there.
        top = min(nominal * high, figures.ceiling)
        return self._rng.uniform(min(nominal * low, top), top)

    def _decorrelated(self, nominal: float) -> float:
        """Between the base and three times the delay before, whatever step this is."""
        base = self._figures.base
        previous = base if self._previous is None else self._previous
        top = min(3 * previous, 3 * nominal, self._figures.ceiling)
        return self._rng.uniform(base, max(base, top))
