"""Clients that lose what was on its way, send it twice, or out of order."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.inbox import Inbox
from pytest_wschaos.reference.link import Link
from pytest_wschaos.reference.outbox import Outbox, Outgoing, Settled
from pytest_wschaos.reference.pacer import Pacer
from pytest_wschaos.reference.protocol import Frame
from pytest_wschaos.reference.receipt import Receipt
from pytest_wschaos.reference.subscriptions import Subscriptions

from .registry import Event, OtherFigures, Telling, mutant


@mutant(
    "M43, robtaussig/react-use-websocket#90, snapview/tungstenite-rs#94: what was written counts as delivered",
    fails={
        "REPLAY-02": "what was written and not acknowledged when the link broke is not sent again",
        "REPLAY-03": "so it is lost, and effectively-once was declared",
    },
)
class NoReplay(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(replay={"delivery": "at-most-once"})


class _Forgetful(Outbox):
    def on_welcome(self, last_id: int, recovered: bool, rejected: Mapping[int, str]) -> list[Settled]:
        for request in list(self._queue):
            self.refuse()
            assert request.id is None
        return super().on_welcome(last_id, recovered, rejected)


@mutant(
    "what is sent while down goes nowhere",
    fails={
        "REPLAY-01": "what was sent while down is not delivered after the reconnect",
        "REPLAY-06": "nor is the application told that it was not",
        "REPLAY-05": "what the queue had taken is delivered no more",
        "STATE-02": "a send vanishes",
        "STATE-03": "what was sent while it connected does not go out",
    },
)
class QueueEmptiedOnReconnect(ReferenceClient):
    outbox_type = _Forgetful


class _Stack(Outbox):
    def _enqueue(self, requests: list[Outgoing], *, first: bool = False) -> None:
        super()._enqueue(requests, first=True)


@mutant(
    "M40, purplefish/factory-factory#1397: new messages bypass the backlog",
    fails={
        "REPLAY-01": "newer messages reach the server before those that wait since the link broke",
        "MESSAGE-02": "what is sent later arrives earlier",
        "STATE-03": "what was sent while it connected goes out the other way round",
    },
)
class NewestFirst(ReferenceClient):
    outbox_type = _Stack


class _Backwards(Outbox):
    def _enqueue(self, requests: list[Outgoing], *, first: bool = False) -> None:
        super()._enqueue(requests[::-1] if first else requests, first=first)


@mutant(
    "made up: each pending message is put back at the front, oldest first",
    fails={
        "REPLAY-02": "a message gets the id under which another one was sent before",
    },
)
class ReplayedBackwards(ReferenceClient):
    outbox_type = _Backwards


class _Renaming(Outbox):
    def on_welcome(self, last_id: int, recovered: bool, rejected: Mapping[int, str]) -> list[Settled]:
        return super().on_welcome(last_id, False, rejected)


@mutant(
    "M41, socketio/socket.io#5334: a message whose ack was lost is sent again as a new one",
    fails={
        "REPLAY-03": "the server has it already, and takes it for another one",
        "REPLAY-02": "the id that it had is not used again",
    },
)
class ReplayedUnderNewIds(ReferenceClient):
    outbox_type = _Renaming


class _Hoarding(Outbox):
    """Keeps what was acknowledged, and starts from the beginning whenever the session goes on."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._history: dict[int, Outgoing] = {}

    def begin(self) -> Outgoing:
        request = super().begin()
        assert request.id is not None
        self._history[request.id] = request
        return request

    def on_welcome(self, last_id: int, recovered: bool, rejected: Mapping[int, str]) -> list[Settled]:
        settled = super().on_welcome(last_id, recovered, rejected)
        again = [self._history[id] for id in range(1, last_id + 1)] if recovered else []
        if again:
            self._kept += sum(request.size for request in again)
            self._enqueue(again, first=True)
            self.next_id = 1
        return settled


@mutant(
    "made up: the journal is replayed from its beginning",
    fails={
        "REPLAY-03": "it sends again what was acknowledged",
        "REPLAY-07": "subscriptions included, though the session goes on",
        "REPLAY-09": "and messages that the server refused",
    },
)
class ReplaysWhatWasAcknowledged(ReferenceClient):
    outbox_type = _Hoarding


class _Amnesiac(Subscriptions):
    def restore(self, pending: Container[str]) -> list[str]:
        super().restore(pending)
        return []


@mutant(
    "M47, SignalK/signalk-js-client#44, bybit-exchange/pybit#76, enisdenjo/graphql-ws#85",
    fails={
        "REPLAY-07": "in a fresh session nothing is subscribed to: connected, and silent",
    },
)
class SubscriptionsNotRestored(ReferenceClient):
    subscriptions_type = _Amnesiac


@mutant(
    "made up: subscribe() in onopen",
    fails={"REPLAY-07": "it subscribes again though the session goes on"},
)
class SubscribesOnEveryConnection(ReferenceClient):
    def welcomed(self, welcome: Frame) -> None:
        super().welcomed(welcome)
        if welcome["recovered"]:
            self._outbox.restore(self._subscriptions.restore(self._outbox.pending_topics()))


class _Clinging(Inbox):
    def forget(self) -> None:
        pass


@mutant(
    "M81, socketio/socket.io#1739: the node does not know the session, and is asked for it again and again",
    fails={
        "REPLAY-08": "told that the session is gone, it goes on to resume it",
    },
)
class ResumesForEver(ReferenceClient):
    inbox_type = _Clinging


class _Uncounting(Inbox):
    def resume_fields(self) -> dict[str, object]:
        fields = super().resume_fields()
        return {**fields, "seq": 0} if fields else fields


@mutant(
    "made up: the sequence is kept in the connection",
    fails={"REPLAY-04": "it asks for what it has acknowledged, and cannot get that any more"},
)
class ForgetsItsSequence(ReferenceClient):
    inbox_type = _Uncounting


class _FloodingLink(Link):
    def _pace(self, rate: float, burst: float) -> Pacer:
        return super()._pace(1e9, 1e9)


@mutant(
    "made up: the queue is flushed in one go",
    fails={"REPLAY-05": "more frames than the server's burst at once: it closes 4429"},
)
class FloodsOnReconnect(ReferenceClient):
    link_type = _FloodingLink


@mutant(
    "made up, after M60: a message that the server refuses is sent again for ever",
    fails={
        "REPLAY-09": "it was rejected for itself, so it will be again",
        "CLOSE-01": "after 1009 it sends the same message again",
    },
)
class PoisonForEver(ReferenceClient):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._poison: list[Outgoing] = []

    def settled(self, request: Outgoing, error: str | None) -> None:
        super().settled(request, error)
        if error is not None:
            self._poison.append(request)

    def welcomed(self, welcome: Frame) -> None:
        super().welcomed(welcome)
        poison, self._poison = self._poison, []
        self._resend(poison)

    def _resend(self, requests: Iterable[Outgoing]) -> None:
        for old in requests:
            self._outbox.add(Outgoing(old.kind, old.topic, old.data, ref=old.ref, size=old.size, frames=old.frames))


@mutant(
    "M49, socketio/socket.io#3152: the callback of what is sent while it reconnects is never called",
    fails={
        "REPLAY-06": "messages that were sent while down are delivered, and never settle",
    },
)
class SendsWhileDownNeverSettle(ReferenceClient):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unheard: set[str | None] = set()

    async def send(self, topic: str, data: Any, *, ref: str | None = None) -> Receipt:
        if not self.is_ready:
            self._unheard.add(ref)
        return await super().send(topic, data, ref=ref)

    def settled(self, request: Outgoing, error: str | None) -> None:
        if request.ref not in self._unheard:
            super().settled(request, error)


@mutant(
    "M82, django/channels#1717: a gap is skipped over",
    fails={
        "REPLAY-04": "the application is not told what is lost",
    },
)
class TellsNoGap(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        if event["event"] != "gap":
            yield event


class _Leaking(Outbox):
    def add(self, request: Outgoing) -> None:
        if self.fits(request):
            super().add(request)


@mutant(
    "M44, pladaria/reconnecting-websocket, partysocket: a full queue drops the newest without a word",
    fails={
        "REPLAY-05": "what the queue has no room for is gone without an error",
        "MESSAGE-03": "and so is what will never fit",
    },
)
class DropsWhenFull(ReferenceClient):
    outbox_type = _Leaking


@mutant(
    "M75, pladaria/reconnecting-websocket: the queue has no bound",
    fails={
        "REPLAY-05": "a queue that should be full takes more",
    },
)
class BoundlessQueue(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(replay={"queue_messages": 10**6, "queue_bytes": 10**9})


@mutant(
    "made up: the promise of a send is never kept",
    fails={
        "REPLAY-06": "acknowledged or not, nothing settles",
        "REPLAY-07": "the ack of a subscription is lost on it, so it is not restored",
        "REPLAY-09": "a refusal is told to nobody",
        "CLOSE-01": "nor is the message that was too big (1009)",
        "STATE-04": "and who waits for the low mark hears nothing",
    },
)
class NeverSettles(ReferenceClient):
    def settled(self, request: Outgoing, error: str | None) -> None:
        pass


@mutant(
    "made up: what is pending at the end is forgotten",
    fails={
        "REPLAY-06": "what is pending at the end does not settle",
    },
)
class HandsNothingBack(ReferenceClient):
    def _abandon_requests(self, error: str) -> list[Outgoing]:
        super()._abandon_requests(error)
        return []


class _Unforgetting(Subscriptions):
    def confirmed(self, kind: str, topic: str) -> None:
        if kind == "subscribe":
            super().confirmed(kind, topic)


@mutant(
    "made up: the list of topics to restore only grows",
    fails={
        "REPLAY-07": "it subscribes to what it had unsubscribed from",
    },
)
class UnsubscribedComesBack(ReferenceClient):
    subscriptions_type = _Unforgetting


class _OldEpoch(Inbox):
    def on_welcome(self, welcome: Mapping[str, Any]) -> None:
        before = self._epoch
        super().on_welcome(welcome)
        self._epoch = before or self._epoch


@mutant(
    "made up: the epoch is taken from the first welcome",
    fails={
        "REPLAY-08": "it asks for a stream that there is no more",
    },
)
class KeepsTheOldEpoch(ReferenceClient):
    inbox_type = _OldEpoch


class _Batching(Outbox):
    """Sends so many of what waited again; the rest waits for the next connection."""

    BATCH = 2

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._rest: list[Outgoing] = []

    def on_welcome(self, last_id: int, recovered: bool, rejected: Mapping[int, str]) -> list[Settled]:
        self._queue.extendleft(reversed(self._rest))
        settled = super().on_welcome(last_id, recovered, rejected)
        waiting = list(self._queue)
        self._rest = waiting[self.BATCH :]
        self._queue = deque(waiting[: self.BATCH])
        return settled

    def give_up(self) -> list[Outgoing]:
        rest, self._rest = self._rest, []
        return [*super().give_up(), *rest]


@mutant(
    "M40, purplefish/factory-factory#1397: the first batch is flushed, and the rest is overtaken by what is new",
    fails={
        "STATE-02": "what is not in the first batch goes nowhere",
        "STATE-03": "nor does what was sent while it connected",
        "REPLAY-01": "what was sent while down is not delivered after the reconnect",
        "REPLAY-02": "what was not acknowledged is not sent again",
        "REPLAY-03": "so it is lost",
        "REPLAY-05": "what a full queue had taken is delivered no more",
        "REPLAY-06": "and it does not settle",
    },
)
class OneBatchFlushed(ReferenceClient):
    outbox_type = _Batching


class _Doubling(Outbox):
    def on_welcome(self, last_id: int, recovered: bool, rejected: Mapping[int, str]) -> list[Settled]:
        unacked = [request for id, request in self._unacked.items() if id > last_id or not recovered]
        settled = super().on_welcome(last_id, recovered, rejected)
        for old in unacked:
            if old.kind == "send":
                self._kept += old.size
                self._enqueue([Outgoing("send", old.topic, old.data, size=old.size, frames=old.frames)])
        return settled


@mutant(
    "M41, lichess-org/mobile#3387: the resend timer and the flush both send what was not acknowledged",
    fails={
        "REPLAY-03": "the server gets it twice, under two ids",
    },
)
class ResentAndFlushed(ReferenceClient):
    outbox_type = _Doubling
