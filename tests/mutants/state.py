"""Clients that say that they are what they are not, or do not take what they should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pytest_wschaos import ReferenceClient
from pytest_wschaos.reference.client import ReadyState
from pytest_wschaos.reference.close_policy import End
from pytest_wschaos.reference.link import Link
from pytest_wschaos.reference.outbox import Outgoing
from pytest_wschaos.reference.receipt import Receipt
from pytest_wschaos.reference.requests import Requests

from .registry import Event, Telling, mutant


@mutant(
    "made up: open is whoever has not been closed",
    fails={
        "STATE-01": "the ready state is 1 while it waits, and while it closes",
    },
)
class OpenWhileConnecting(ReferenceClient):
    @property
    def ready_state(self) -> ReadyState:
        return ReadyState.CLOSED if self._task is None else ReadyState.OPEN


@mutant(
    "made up: the ready state of a client that has ended is the one that it had",
    fails={
        "STATE-01": "the ready state is 1 after the end",
    },
)
class OpenAfterwards(ReferenceClient):
    @property
    def ready_state(self) -> ReadyState:
        return ReadyState.OPEN if self._task is None else super().ready_state


@mutant(
    "`if (ws.readyState === OPEN) ws.send(...)`: what is sent at another time is dropped",
    fails={
        "STATE-02": "a send vanishes",
        "STATE-03": "what is sent while it connects does not go out",
        "STATE-04": "what is sent while down is kept nowhere, so it does not count",
        "REPLAY-01": "nor is it delivered later",
        "REPLAY-05": "and a full queue refuses nothing",
        "REPLAY-06": "nor does it settle",
    },
)
class DropsWhenNotOpen(ReferenceClient):
    async def send(self, topic: str, data: Any, *, ref: str | None = None) -> Receipt:
        return await super().send(topic, data, ref=ref) if self.is_ready else None  # type: ignore[return-value]


@mutant(
    "M50, joewalnes/reconnecting-websocket#114, JSteunou/webstomp-client#44: send() in CONNECTING throws",
    fails={
        "STATE-03": "what is sent while it connects is refused",
        "REPLAY-01": "and so is what is sent while it is down",
    },
)
class ThrowsWhenNotOpen(ReferenceClient):
    async def send(self, topic: str, data: Any, *, ref: str | None = None) -> Receipt:
        if not self.is_ready:
            raise RuntimeError("still in CONNECTING state")
        return await super().send(topic, data, ref=ref)


@mutant(
    "M70, can1357/oh-my-pi#4248: nobody knows what waits",
    fails={
        "STATE-04": "what waits does not count",
    },
)
class BufferedIsZero(ReferenceClient):
    @property
    def buffered_amount(self) -> int:
        return 0


@mutant(
    "made up: the buffered amount goes down with the acks",
    fails={
        "STATE-04": "what is with the network counts still",
    },
)
class BufferedCountsTheUnacknowledged(ReferenceClient):
    @property
    def buffered_amount(self) -> int:
        return self._outbox._kept


class _Boundless(Requests):
    async def _room(self, request: Outgoing) -> None:
        self._client.require_running()


@mutant(
    "M70, can1357/oh-my-pi#4248: the buffered amount holds nobody up",
    fails={
        "STATE-04": "above the high mark it takes more",
    },
)
class NoHighMark(ReferenceClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._requests = _Boundless(self, self._outbox, self._profile, self._events)


class _EagerlyReadyLink(Link):
    async def run(self, token: str | None, deadline: float) -> End:
        cast(ReferenceClient, self._owner)._events.tell("ready", recovered=False)
        return await super().run(token, deadline)


@mutant(
    "M58, NVIDIA-AI-Blueprints/aiq#190: open is taken for ready, before the server has accepted the credentials",
    fails={
        "RECONNECT-09": "it tells that it is ready when the server has said nothing yet",
    },
)
class ReadyBeforeTheWelcome(Telling):
    link_type = _EagerlyReadyLink
    _told = False

    @property
    def ready_state(self) -> ReadyState:
        state = super().ready_state
        return ReadyState.OPEN if self._told and state is ReadyState.CONNECTING else state

    def changed(self, event: Event) -> Iterator[Event]:
        if event["event"] == "ready":
            if not self._told:
                yield event
            self._told = not self._told
        else:
            self._told = self._told and event["event"] != "closed"
            yield event
