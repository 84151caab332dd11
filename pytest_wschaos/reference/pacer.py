"""How fast, and how far ahead of what the peer has confirmed, a client may write. Sans-I/O."""

from __future__ import annotations

from .token_bucket import TokenBucket


class Pacer:
    """Keeps a client under its server's rate limit, and keeps little on the wire ahead of a ping.

    The server counts frames as they *arrive*. A stall on the way lets them arrive in one lump, so only half of
    the burst is used at once.

    Args:
        rate: frames per second that the server allows.
        burst: frames that it allows at once.
        ahead: bytes to write before a ping must be answered; None: no limit.
    """

    def __init__(self, rate: float, burst: float, ahead: int | None) -> None:
        self.window = max(1, int(burst // 2))
        """Frames to have unacknowledged at most."""
        self._bucket = TokenBucket(rate, self.window)
        self._limit = ahead
        self._ahead = 0
        self._held = False
        self._key: object = None

    def wait(self, now: float) -> float | None:
        """Seconds until the next frame may be written; None: not before a ping is answered."""
        if self._held:
            return None
        return self._bucket.wait(now)

    def wrote(self, size: int, now: float) -> None:
        """A frame of ``size`` bytes was written. Heartbeats are charged too, but never wait."""
        self._bucket.take(now)
        self._ahead += size
        if self._limit is not None and self._ahead >= self._limit:
            self.hold()

    def hold(self) -> None:
        """Write no more before a ping that is yet to be sent is answered."""
        self._held, self._key = True, None

    @property
    def wants_ping(self) -> bool:
        """Whether a ping must be sent to go on."""
        return self._held and self._key is None

    def asked(self, key: object) -> None:
        """A ping was sent; if one was wanted, its answer opens the way."""
        if self.wants_ping:
            self._key = key

    def answered(self, key: object) -> None:
        """A ping was answered."""
        if self._held and key == self._key:
            self._held, self._ahead = False, 0
