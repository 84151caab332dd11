"""Clients that cut, convert, hold up or reorder messages."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.link import Link, Piece
from pytest_wschaos.reference.receipt import Receipt

from .registry import Event, OtherFigures, Telling, mutant
from .replay import BoundlessQueue


@mutant(
    "made up: bytes that are text go up as text",
    fails={},
)
class GuessesUpwards(ReferenceClient):
    async def send_binary(self, topic: str, data: bytes, *, ref: str | None = None) -> Receipt:
        try:
            return await self.send(topic, data.decode(), ref=ref)
        except UnicodeDecodeError:
            return await super().send_binary(topic, data, ref=ref)


@mutant(
    "made up: what looks like JSON is parsed once more",
    fails={},
)
class GuessesDownwards(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        data = event.get("data")
        yield {**event, "data": json.loads(data)} if isinstance(data, str) and data.startswith("{") else event


@mutant(
    "made up: two messages that come in a row are told by two tasks, the later first",
    fails={},
)
class TellsBackwards(Telling):
    held: Event | None = None

    def changed(self, event: Event) -> Iterator[Event]:
        if event["event"] != "message":
            yield event
        elif self.held is None:
            self.held = event
        else:
            before, self.held = self.held, None
            yield event
            yield before


@mutant(
    "made up: the buffer that a message is told from ends at 64 KiB",
    fails={},
)
class CutsLargeOnes(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        data = event.get("data")
        yield {**event, "data": data[:65536]} if isinstance(data, str | bytes) else event


@mutant(
    "most clients at their defaults: no limit of what comes",
    fails={},
)
class TakesAll(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(message={"max_size": declared.message.max_size * 4})


class _LargeLink(Link):
    def _begin_next(self) -> Iterator[Piece] | None:
        self._max_message = 10**9
        return super()._begin_next()


@mutant(
    "most clients: what the server takes is not looked at",
    fails={},
)
class SendsTooLarge(BoundlessQueue):
    link_type = _LargeLink


@mutant(
    "a blob in one frame",
    fails={},
)
class OneChunk(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(message={"chunk": declared.message.max_size})


@mutant(
    "made up: a queue of 64 KiB",
    fails={},
)
class TakesNothingLarge(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(replay={"queue_bytes": 64 * 1024})


@mutant(
    "M60, cube-js/cube#10246: a message that is too big for the server is sent again for ever",
    fails={},
)
class TooLargeSentForEver(SendsTooLarge):
    def practised(self, declared: Profile) -> Profile:
        return super().practised(declared).with_(close={"reactions": {1009: "retry"}})
