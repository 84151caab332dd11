"""When a server gives up a client that takes nothing in. Sans-I/O."""

from __future__ import annotations


class SendDeadline:
    """Tells a client that takes nothing in from one that is merely slow.

    Fed with the bytes that wait to be sent, at intervals; given up is who took none of them in ``deadline``.
    It is no business of the heartbeat: such a client may well answer pings.

    Args:
        deadline: seconds.
        now: the time at which bytes began to wait.
        waiting: how many.
    """

    def __init__(self, deadline: float, now: float, waiting: int) -> None:
        self._deadline = deadline
        self._moved_at = now
        self._waiting = waiting

    def stalled(self, now: float, waiting: int) -> bool:
        """Whether nothing has moved for the deadline."""
        if waiting < self._waiting:
            self._moved_at = now
        self._waiting = waiting
        return now - self._moved_at >= self._deadline
