"""Clients with bugs for which tests/broken has none: in their states, queues, messages and credentials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from broken.registry import OtherFigures

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.client import ReadyState
from pytest_wschaos.reference.close_policy import ClosePolicy, End
from pytest_wschaos.reference.heartbeat import Heartbeat
from pytest_wschaos.reference.inbox import Inbox
from pytest_wschaos.reference.link import Link, Piece
from pytest_wschaos.reference.outbox import Outbox, Outgoing
from pytest_wschaos.reference.pacer import Pacer
from pytest_wschaos.reference.receipt import Receipt
from pytest_wschaos.reference.requests import Requests
from pytest_wschaos.reference.subscriptions import Subscriptions

Event = dict[str, object]


class Telling(ReferenceClient):
    """Tells its application otherwise; a subclass says how."""

    def __init__(self, url: str, *, on_event: Callable[[Event], None], **options: Any) -> None:
        def told(event: Event) -> None:
            for changed in self.changed(event):
                on_event(changed)

        super().__init__(url, on_event=told, **options)

    def changed(self, event: Event) -> Iterator[Event]:
        """What is told in place of an event."""
        raise NotImplementedError


# --- HEARTBEAT


class _NoProgress(Heartbeat):
    def progress(self, now: float) -> None:
        pass


class _NoProgressLink(Link):
    heartbeat_type = _NoProgress


class LargeMessageIsNoLife(ReferenceClient):
    link_type = _NoProgressLink


class _AnyPong(Heartbeat):
    def pong(self, key: object, now: float) -> bool:
        self._asked.clear()
        return True


class _AnyPongLink(Link):
    heartbeat_type = _AnyPong


class AnyPongCounts(ReferenceClient):
    link_type = _AnyPongLink


class _WhenIdle(Heartbeat):
    def traffic(self, now: float) -> None:
        if self._interval is not None:
            self._next = now + self._interval


class _WhenIdleLink(Link):
    heartbeat_type = _WhenIdle


class PingsWhenIdleOnly(ReferenceClient):
    link_type = _WhenIdleLink


class _HastyLink(Link):
    def _pace(self, rate: float, burst: float) -> Pacer:
        return Pacer(rate, burst, None)


class WritesAheadOfPings(ReferenceClient):
    link_type = _HastyLink


class _DeafLink(Link):
    def _on_pong(self, frame: Event, now: float) -> None:
        pass

    def message(self, message: str | bytes) -> None:
        if not (getattr(self._owner, "paused", False) and '"pong"' in str(message)):
            super().message(message)


class PausedReaderHearsNoPong(ReferenceClient):
    link_type = _DeafLink
    paused = False

    def pause_reading(self) -> None:
        self.paused = True
        super().pause_reading()


# --- STATE


class OpenWhileConnecting(ReferenceClient):
    @property
    def ready_state(self) -> ReadyState:
        return ReadyState.CLOSED if self._task is None else ReadyState.OPEN


class OpenAfterwards(ReferenceClient):
    @property
    def ready_state(self) -> ReadyState:
        return ReadyState.OPEN if self._task is None else super().ready_state


class DropsWhenNotOpen(ReferenceClient):
    async def send(self, topic: str, data: Any, *, ref: str | None = None) -> Receipt:
        return await super().send(topic, data, ref=ref) if self.is_ready else None  # type: ignore[return-value]


class ThrowsWhenNotOpen(ReferenceClient):
    async def send(self, topic: str, data: Any, *, ref: str | None = None) -> Receipt:
        if not self.is_ready:
            raise RuntimeError("still in CONNECTING state")
        return await super().send(topic, data, ref=ref)


class BufferedIsZero(ReferenceClient):
    @property
    def buffered_amount(self) -> int:
        return 0


class BufferedCountsTheUnacknowledged(ReferenceClient):
    @property
    def buffered_amount(self) -> int:
        return self._outbox._kept


class _Boundless(Requests):
    async def _room(self, request: Outgoing) -> None:
        self._client.require_running()


class NoHighMark(ReferenceClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._requests = _Boundless(self, self._outbox, self._profile, self._events)


# --- REPLAY


class TellsNoGap(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        if event["event"] != "gap":
            yield event


class _Leaking(Outbox):
    def add(self, request: Outgoing) -> None:
        if self.fits(request):
            super().add(request)


class DropsWhenFull(ReferenceClient):
    outbox_type = _Leaking


class BoundlessQueue(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(replay={"queue_messages": 10**6, "queue_bytes": 10**9})


class NeverSettles(ReferenceClient):
    def settled(self, request: Outgoing, error: str | None) -> None:
        pass


class HandsNothingBack(ReferenceClient):
    def _abandon_requests(self, error: str) -> list[Outgoing]:
        super()._abandon_requests(error)
        return []


class _Unforgetting(Subscriptions):
    def confirmed(self, kind: str, topic: str) -> None:
        if kind == "subscribe":
            super().confirmed(kind, topic)


class UnsubscribedComesBack(ReferenceClient):
    subscriptions_type = _Unforgetting


class _OldEpoch(Inbox):
    def on_welcome(self, welcome: Mapping[str, Any]) -> None:
        before = self._epoch
        super().on_welcome(welcome)
        self._epoch = before or self._epoch


class KeepsTheOldEpoch(ReferenceClient):
    inbox_type = _OldEpoch


# --- AUTH


class _EarlyLink(Link):
    def _authenticate(self, token: str | None) -> None:
        super()._authenticate(token)
        self._write_frame({"type": "ping", "n": 0})


class PingsBeforeTheWelcome(ReferenceClient):
    link_type = _EarlyLink


class AlwaysByHeader(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(auth={"mode": "header"})


class OldTokenWhenTheProviderFails(ReferenceClient):
    def __init__(self, url: str, *, token: Callable[[], str], **options: Any) -> None:
        last: list[str] = []

        def kept() -> str:
            try:
                last.append(token())
            except Exception:
                if not last:
                    raise
            return last[-1]

        super().__init__(url, token=kept, **options)


class TellsItsToken(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        yield {**event, "reason": f"refused: {self._presented}"} if event["event"] == "closed" else event


class _FatalPolicy(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return "fatal" if end.status == 401 else super()._look_up(end)


class Http401IsFatal(ReferenceClient):
    policy_type = _FatalPolicy


class _EndlessPolicy(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return "retry" if end.status == 401 else super()._look_up(end)


class Http401ForEver(ReferenceClient):
    policy_type = _EndlessPolicy


class FollowsToTheNextPort(ReferenceClient):
    async def _connect(self) -> End:
        end = await super()._connect()
        if end.status == 302:  # the end does not say where to: that is known here
            host, _, rest = self._url.rpartition(":")
            port, _, path = rest.partition("/")
            self._url = f"{host}:{int(port) + 1}/{path}"
            end = await super()._connect()
        if end.status == 302:  # to where it is already
            end = await super()._connect()
        return end


# --- MESSAGE


class GuessesUpwards(ReferenceClient):
    async def send_binary(self, topic: str, data: bytes, *, ref: str | None = None) -> Receipt:
        try:
            return await self.send(topic, data.decode(), ref=ref)
        except UnicodeDecodeError:
            return await super().send_binary(topic, data, ref=ref)


class GuessesDownwards(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        data = event.get("data")
        yield {**event, "data": json.loads(data)} if isinstance(data, str) and data.startswith("{") else event


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


class CutsLargeOnes(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        data = event.get("data")
        yield {**event, "data": data[:65536]} if isinstance(data, str | bytes) else event


class TakesAll(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(message={"max_size": declared.message.max_size * 4})


class _LargeLink(Link):
    def _begin_next(self) -> Iterator[Piece] | None:
        self._max_message = 10**9
        return super()._begin_next()


class SendsTooLarge(BoundlessQueue):
    link_type = _LargeLink


class OneChunk(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(message={"chunk": declared.message.max_size})


class TakesNothingLarge(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(replay={"queue_bytes": 64 * 1024})
