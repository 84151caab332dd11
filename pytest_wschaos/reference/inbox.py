"""What came down: the session, what was received, what was delivered, and what to acknowledge. Sans-I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACK_EVERY = 64
"""Deliveries after which to acknowledge at once: a quarter of what a server may have on the wire."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something for the application: a message, or a gap (``topic`` None) from ``seq`` to ``to``."""

    seq: int
    topic: str | None = None
    data: Any = None
    to: int | None = None
    """Last sequence of a gap; None: the old stream has ended and nobody knows how far it went."""


class Inbox:
    """Keeps the order of a session's messages, drops repetitions, and says gaps.

    A message is acknowledged when the application has taken it. A paused application so stops the server
    after a window of messages, while heartbeats go on.

    Args:
        ack_delay: seconds that an acknowledgement may wait for others to join it.
    """

    def __init__(self, ack_delay: float) -> None:
        self._ack_delay = ack_delay
        self._session: str | None = None
        self._resume_token = ""
        self._epoch = ""
        self._waiting: deque[Delivery] = deque()
        self._taken = 0
        self._acked = 0
        self._ack_at: float | None = None
        self.received = 0
        """The last sequence received; 0: none."""

    def resume_fields(self) -> dict[str, object]:
        """What ``auth`` carries to resume the session; nothing without one."""
        if self._session is None:
            return {}
        return {
            "session": self._session,
            "resume_token": self._resume_token,
            "epoch": self._epoch,
            "seq": self.received,
        }

    def forget(self) -> None:
        """The server does not know the session any more: start a fresh one, and say that continuity is lost."""
        if self._session is not None:
            self._break()
        self._session = None

    def on_welcome(self, welcome: Mapping[str, Any]) -> None:
        """The server accepted: take over its session."""
        if not welcome["recovered"]:
            if self._session is not None:
                self._break()
            self.received = self._taken = self._acked = welcome["seq"]
        else:
            self._acked = self.received  # resuming told the server
        self._session = welcome["session"]
        self._resume_token = welcome["resume_token"]
        self._epoch = welcome["epoch"]
        self._ack_at = None

    def on_message(self, seq: int, topic: str, data: Any) -> None:
        """A message came. A repetition is dropped; a hole before it, unannounced, is said all the same."""
        if seq <= self.received:
            return
        self.on_gap(self.received + 1, seq - 1)
        self.received = seq
        self._waiting.append(Delivery(seq, topic, data))

    def on_gap(self, first: int, last: int) -> None:
        """The server cannot replay ``first`` to ``last``."""
        first = max(first, self.received + 1)
        if first <= last:
            self.received = last
            self._waiting.append(Delivery(first, to=last))

    def _break(self) -> None:
        self._waiting.append(Delivery(self.received + 1, to=None))
        # What still waits for the application belongs to a stream that is over; its numbers mean nothing to the next.
        self._waiting = deque(Delivery(0, d.topic, d.data) if d.topic is not None else d for d in self._waiting)
        self.received = self._taken = self._acked = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, now: float) -> Delivery:
        """The next thing for the application, which has it from now on.

        Raises:
            IndexError: there is none.
        """
        delivery = self._waiting.popleft()
        if delivery.topic is not None and delivery.seq > self._taken:
            self._taken = delivery.seq
            if self._ack_at is None and self._taken > self._acked:
                self._ack_at = now + self._ack_delay
        return delivery

    def next_at(self) -> float | None:
        """When an acknowledgement is due; None: there is nothing to acknowledge."""
        return self._ack_at

    def ack(self, now: float) -> int | None:
        """The sequence to acknowledge now; None: nothing yet."""
        if self._ack_at is None or (now < self._ack_at and self._taken - self._acked < ACK_EVERY):
            return None
        return self._taken

    def ack_sent(self, seq: int) -> None:
        """The acknowledgement was written."""
        self._acked, self._ack_at = seq, None
