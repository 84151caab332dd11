"""What ``send`` gives back: the message, and the wait for its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from .outbox import Kind, Outgoing


class SendFailed(Exception):
    """A message was not delivered; the text says why."""


class Receipt(Outgoing):
    """An accepted request. Await it for the server's verdict; every receipt settles.

    Raises (when awaited):
        SendFailed: the server refused it, or the client stopped before it was acknowledged.
    """

    __slots__ = ("_done",)

    def __init__(
        self, kind: Kind, topic: str, data: Any = None, *, ref: str | None = None, size: int = 0, frames: int = 1
    ) -> None:
        super().__init__(kind, topic, data, ref=ref, size=size, frames=frames)
        self._done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """Whether it has settled."""
        return self._done.done()

    def settle(self, error: str | None) -> None:
        """It was acknowledged (None), or failed."""
        if not self._done.done():
            self._done.set_result(error)

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: who stops waiting does not stop the message.
        error = yield from asyncio.shield(self._done).__await__()
        if error is not None:
            raise SendFailed(error)
