"""What is to go up: queued, or written and not yet acknowledged. Sans-I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ..profile import Delivery

Kind = Literal["send", "subscribe", "unsubscribe"]


class QueueFull(Exception):
    """The outbox takes no more; the message was refused and will not be sent."""


class Outgoing:
    """One request to the server. ``data`` is JSON, or bytes for a blob; ``size`` is in bytes.

    ``frames`` is the number of frames that it takes. ``ref`` is the application's name for it; None: the
    client asks on its own account. ``id`` is given when it is first written.
    """

    __slots__ = ("data", "frames", "id", "kind", "ref", "size", "topic")

    def __init__(
        self, kind: Kind, topic: str, data: Any = None, *, ref: str | None = None, size: int = 0, frames: int = 1
    ) -> None:
        self.kind = kind
        self.topic = topic
        self.data = data
        self.ref = ref
        self.size = size
        self.frames = frames
        self.id: int | None = None


Settled = tuple[Outgoing, str | None]
"""A request and how it ended: None where the server accepted it, else the error."""


class Outbox:
    """Keeps every accepted request, in order, until it is settled. That is what makes a lost link harmless.

    Ids are given at the first write, so they rise by 1 without holes. After a reconnect the server says the
    highest id that it processed. What lies above is written again, numbered from there: the same ids in the
    same session, new ones in a fresh session or where an earlier request was given up.

    Args:
        max_messages: requests kept at most, written ones included.
        max_bytes: bytes kept at most, written ones included.
        delivery: at-most-once never writes a message twice.
    """

    def __init__(self, max_messages: int, max_bytes: int, delivery: Delivery) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._delivery = delivery
        self._queue: deque[Outgoing] = deque()
        self._unacked: dict[int, Outgoing] = {}
        self._kept = 0
        self._frames = 0
        self.next_id = 1
        """The id that the next request gets."""
        self.queued_bytes = 0
        """Bytes accepted and not begun to be written."""

    def __len__(self) -> int:
        return len(self._queue) + len(self._unacked)

    # --- from the application

    def possible(self, request: Outgoing) -> bool:
        """Whether there can ever be room."""
        return request.size <= self._max_bytes

    def fits(self, request: Outgoing) -> bool:
        """Whether there is room now."""
        return len(self) < self._max_messages and self._kept + request.size <= self._max_bytes

    def add(self, request: Outgoing) -> None:
        """Accept a request.

        Raises:
            QueueFull: there is no room; the text says how much there is.
        """
        if not self.fits(request):
            raise QueueFull(
                f"the queue is full: it holds {len(self)} of {self._max_messages} messages and "
                f"{self._kept} of {self._max_bytes} bytes, and this one has {request.size}"
            )
        self._kept += request.size
        self._enqueue([request])

    # --- to the network

    def to_send(self, window: int) -> Outgoing | None:
        """The request to write next; None: there is none, or ``window`` frames wait for acknowledgement."""
        if not self._queue or (self._unacked and self._frames + self._queue[0].frames > window):
            return None
        return self._queue[0]

    def begin(self) -> Outgoing:
        """The first queued request is being written: it gets its id, and waits for its acknowledgement."""
        request = self._dequeue()
        request.id = self.next_id
        self._unacked[self.next_id] = request
        self._frames += request.frames
        self.next_id += 1
        return request

    def refuse(self) -> Outgoing:
        """The first queued request cannot be written (it is too big for the server): drop it, unnumbered."""
        request = self._dequeue()
        self._kept -= request.size
        return request

    # --- from the server

    def acked(self, id: int) -> Outgoing | None:
        """The server's verdict on an id has come; None for an id that is settled already."""
        request = self._unacked.pop(id, None)
        if request is not None:
            self._kept -= request.size
            self._frames -= request.frames
        return request

    def on_welcome(self, last_id: int, recovered: bool, rejected: Mapping[int, str]) -> list[Settled]:
        """A connection is ready: settle what the server has processed, queue the rest again, in order.

        Args:
            last_id: the highest id that the server has processed.
            recovered: whether it goes on with the session.
            rejected: what it refused, with the reasons.
        """
        settled: list[Settled] = []
        again: list[Outgoing] = []
        for id, request in self._unacked.items():
            if recovered and id <= last_id:
                settled.append((request, rejected.get(id)))
            elif request.kind == "send" and self._delivery == "at-most-once":
                settled.append((request, "it was lost with the connection, and at-most-once sends nothing twice"))
            else:
                again.append(request)
        self._unacked.clear()
        self._frames = 0
        self._kept -= sum(request.size for request, _ in settled)
        self._enqueue(again, first=True)
        self.next_id = last_id + 1
        if not recovered:
            self._subscriptions_first()
        return settled

    def _subscriptions_first(self) -> None:
        self._queue = deque(sorted(self._queue, key=lambda request: request.kind == "send"))

    def restore(self, topics: Iterable[str]) -> None:
        """Subscribe to these before all else; the bounds do not apply."""
        self._enqueue([Outgoing("subscribe", topic) for topic in topics], first=True)

    def pending_topics(self) -> set[str]:
        """Topics that queued requests subscribe to or unsubscribe from."""
        return {request.topic for request in self._queue if request.kind != "send"}

    # --- to give up

    def drop_largest_unacked(self) -> Outgoing | None:
        """The server found a message too big and did not say which: give up the largest that it may mean."""
        sends = [request for request in self._unacked.values() if request.kind == "send"]
        if not sends:
            return None
        largest = max(sends, key=lambda request: request.size)
        assert largest.id is not None
        return self.acked(largest.id)

    def give_up(self) -> list[Outgoing]:
        """Hand back all that is not settled, in order, and be empty."""
        undelivered = [*self._unacked.values(), *self._queue]
        self._unacked.clear()
        self._queue.clear()
        self._kept = self._frames = self.queued_bytes = 0
        return undelivered

    # --- the queue

    def _enqueue(self, requests: list[Outgoing], *, first: bool = False) -> None:
        if first:
            self._queue.extendleft(reversed(requests))
        else:
            self._queue.extend(requests)
        self.queued_bytes += sum(request.size for request in requests)

    def _dequeue(self) -> Outgoing:
        request = self._queue.popleft()
        self.queued_bytes -= request.size
        return request
