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
    fails={
        "MESSAGE-01": "a blob goes up as text",
    },
)
class GuessesUpwards(ReferenceClient):
    async def send_binary(self, topic: str, data: bytes, *, ref: str | None = None) -> Receipt:
        try:
            return await self.send(topic, data.decode(), ref=ref)
        except UnicodeDecodeError:
            return await super().send_binary(topic, data, ref=ref)


@mutant(
    "made up: what looks like JSON is parsed once more",
    fails={
        "MESSAGE-01": "a text that holds JSON is told as what it holds",
    },
)
class GuessesDownwards(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        data = event.get("data")
        yield {**event, "data": json.loads(data)} if isinstance(data, str) and data.startswith("{") else event


@mutant(
    "made up: two messages that come in a row are told by two tasks, the later first",
    fails={
        "MESSAGE-02": "what came first is told second",
        "MESSAGE-03": "of an odd number the last is not told",
        "MESSAGE-04": "blobs included",
        "REPLAY-03": "what was missed is told in another order, or not at all",
    },
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
    fails={
        "MESSAGE-03": "a large message is told in part",
    },
)
class CutsLargeOnes(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        data = event.get("data")
        yield {**event, "data": data[:65536]} if isinstance(data, str | bytes) else event


@mutant(
    "most clients at their defaults: no limit of what comes",
    fails={
        "MESSAGE-03": "no Close 1009 for what is over the limit",
    },
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
    fails={
        "MESSAGE-03": "a message over the limit is sent, and the link is lost",
        "REPLAY-05": "its queue has no bounds either",
    },
)
class SendsTooLarge(BoundlessQueue):
    link_type = _LargeLink


@mutant(
    "a blob in one frame",
    fails={
        "MESSAGE-04": "nothing goes out before the blob is through",
        "HEARTBEAT-04": "so its pings are late, and it takes the link for dead",
    },
)
class OneChunk(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(message={"chunk": declared.message.max_size})


@mutant(
    "made up: a queue of 64 KiB",
    fails={
        "MESSAGE-03": "a large message is refused though it is under the limit",
        "REPLAY-03": "and does not arrive",
    },
)
class TakesNothingLarge(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(replay={"queue_bytes": 64 * 1024})


@mutant(
    "M60, cube-js/cube#10246: a message that is too big for the server is sent again for ever",
    fails={
        "CLOSE-01": "after 1009 the same message goes out again",
        "MESSAGE-03": "what was sent behind it never arrives",
        "REPLAY-05": "its queue has no bounds either",
    },
)
class TooLargeSentForEver(SendsTooLarge):
    def practised(self, declared: Profile) -> Profile:
        return super().practised(declared).with_(close={"reactions": {1009: "retry"}})
