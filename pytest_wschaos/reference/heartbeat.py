"""Is the other end still there? Pings on one's own clock, and a deadline for each answer. Sans-I/O."""

from __future__ import annotations

from typing import Literal


class Heartbeat:
    """Says when to ping, and when a link is dead. Either side can use it. All times are seconds.

    Only the answer to a ping proves that both directions work. Other traffic shows that one does, so it
    counts only where ``proof_of_life`` is ``any``.

    Args:
        interval: seconds between pings; None: no pings.
        deadline: seconds that an answer may take.
        proof_of_life: ``pong``, or ``any`` for whatever comes in.
    """

    def __init__(self, interval: float | None, deadline: float, proof_of_life: Literal["pong", "any"] = "pong") -> None:
        self._interval = interval
        self._deadline = deadline
        self._any = proof_of_life == "any"
        self._next: float | None = None
        self._asked: list[tuple[object, float]] = []  # unanswered pings and when their deadline began, oldest first

    def start(self, now: float) -> None:
        """A connection is ready: the first ping is due one interval from now."""
        self._next = None if self._interval is None else now + self._interval
        self._asked.clear()

    def due(self, now: float) -> bool:
        """Whether a ping is to be sent now."""
        return self._next is not None and now >= self._next

    def sent(self, key: object, now: float) -> None:
        """A ping was sent. One sent before it was due does not move the clock."""
        self._asked.append((key, now))
        if self._interval is not None and self.due(now):
            self._next = now + self._interval

    def pong(self, key: object, now: float) -> bool:
        """An answer came: whether it proves life. A late one and one to no ping of ours do not."""
        for index, (asked, since) in enumerate(self._asked):
            if asked == key:
                if now > since + self._deadline:
                    return False
                del self._asked[: index + 1]  # the link keeps order: earlier pings came through as well
                return True
        return False

    def progress(self, now: float) -> None:
        """A piece of an unfinished inbound message came; the answer may be behind it, so deadlines start anew."""
        self._asked = [(key, now) for key, _ in self._asked]

    def traffic(self, now: float) -> None:
        """Something came in whole."""
        if self._any:
            self._asked.clear()

    def next_at(self) -> float | None:
        """The next instant at which there is something to do; None: never."""
        if not self._asked:
            return self._next
        deadline = self._asked[0][1] + self._deadline
        return deadline if self._next is None else min(self._next, deadline)

    def dead(self, now: float) -> bool:
        """Whether a ping has gone without its answer for the deadline."""
        return bool(self._asked) and now >= self._asked[0][1] + self._deadline

    def jumped(self, now: float) -> bool:
        """Whether the clock ran past :meth:`next_at` unnoticed: the process was suspended meanwhile."""
        at = self.next_at()
        return at is not None and now > at + self._deadline / 4

    def test(self, now: float) -> None:
        """Ask at once, and forget what was asked before: after a suspension its deadline says nothing."""
        self._asked.clear()
        if self._interval is not None:
            self._next = now
