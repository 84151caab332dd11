"""How the application's requests are accepted: checked, named, and held back while there is no room."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ..profile import Profile
from .events import Events
from .outbox import Kind, Outbox, Outgoing, QueueFull
from .protocol import MAX_TOPIC, decode_text, encode_text, is_topic
from .receipt import Receipt


class ClientClosed(Exception):
    """The client is not started, was closed, or has given up; the text says which, and why."""


class Client(Protocol):
    """The client, as its requests see it."""

    @property
    def is_ready(self) -> bool:
        """Whether there is a link that drains the queue."""

    @property
    def buffered_amount(self) -> int:
        """Bytes accepted and not yet handed to the network."""

    def require_running(self) -> None:
        """Raise :class:`ClientClosed` where nothing will ever be sent."""


class Requests:
    """Accepts requests into the outbox, in the order in which they were made."""

    def __init__(self, client: Client, outbox: Outbox, profile: Profile, events: Events) -> None:
        self._client = client
        self._outbox = outbox
        self._profile = profile
        self._events = events
        self._turn = asyncio.Lock()
        self._refs = 0

    async def send(self, topic: str, data: Any, ref: str | None) -> Receipt:
        """Accept a message: JSON, or bytes for a blob."""
        if isinstance(data, bytes):
            size = len(data)
        else:
            text = encode_text({"type": "send", "id": 1, "topic": topic, "data": data})
            decode_text(text)  # what the server would not take is refused here, where it can be told
            size = len(text.encode())
        if ref is None:
            self._refs += 1
            ref = f"#{self._refs}"
        return await self.accept("send", topic, data, ref, size)

    async def accept(self, kind: Kind, topic: str, data: Any, ref: str | None, size: int) -> Receipt:
        """Accept a request, when there is room; a refusal is told like any other end of a request."""
        if not is_topic(topic):
            raise ValueError(f"topic = {topic!r:.80}: must be a string of 1 to {MAX_TOPIC} characters")
        frames = max(1, -(-size // self._profile.message.chunk))
        receipt = Receipt(kind, topic, data, ref=ref, size=size, frames=frames)
        try:
            async with self._turn:  # nobody overtakes who waits
                await self._room(receipt)
                self._outbox.add(receipt)
        except (QueueFull, ClientClosed) as error:
            self.tell(receipt, str(error))
            raise
        return receipt

    async def _room(self, request: Outgoing) -> None:
        """Wait above the high mark until below the low one; only a live link makes it worth waiting."""
        client, outbox, marks = self._client, self._outbox, self._profile.state
        client.require_running()
        if not client.is_ready or not outbox.possible(request):
            return
        if client.buffered_amount <= marks.high_water and outbox.fits(request):
            return
        while client.buffered_amount > marks.low_water or not outbox.fits(request):
            await self._events.changed()
            client.require_running()

    def tell(self, request: Outgoing, error: str | None) -> None:
        """Tell how a request ended, where the application gave it a name."""
        if request.ref is not None:
            self._events.tell("settled", ref=request.ref, ok=error is None, error=error or "")
