"""Clients with one bug each in how they come back, stay away, or end, besides those of ``tests/broken``."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from broken.registry import OtherFigures
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.backoff import Backoff
from pytest_wschaos.reference.close_policy import ClosePolicy, End


class _Reacting(OtherFigures):
    """Reacts to some codes otherwise than it declares."""

    reactions: dict[int, str]

    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": self.reactions})


class BrokenLinkIsFinal(_Reacting):
    reactions = {1006: "stop"}


class RetriedCodesAreFinal(_Reacting):
    reactions = dict.fromkeys((1001, 1005, 1011, 1012, 3000, 4000, 4401, 4408, 4410), "fatal")


class FinalCodesAreRetried(_Reacting):
    reactions = dict.fromkeys((1000, 1002, 1003, 1007, 1008, 4400, 4403, 4409, 4500, 4999), "retry")


class LaterIsNoLater(_Reacting):
    reactions = {1013: "retry", 4429: "retry"}


class TooBigIsSentAgain(_Reacting):
    reactions = {1009: "retry"}


class _Reading(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        if end.code is None or end.reason in ("", "closed by the application"):
            return super()._look_up(end)
        return "fatal" if super()._look_up(end) == "retry" else "retry"


class ReadsTheReason(ReferenceClient):
    policy_type = _Reading


class _Contrary(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        if end.status is None:
            return super()._look_up(end)
        return "fatal" if super()._look_up(end) in ("retry", "refresh") else "retry"


class HttpStatusTurnedRound(ReferenceClient):
    policy_type = _Contrary


class _ZeroAfterHandshake(ReferenceClient):
    def _react(self, end: End) -> float | None:
        delay = super()._react(end)
        if delay is None or end.code is None:
            return delay
        self._backoff.reset()
        return 0.0


class NoWaitAfterAHandshake(_ZeroAfterHandshake):
    """As ``async for`` of websockets has it: it comes back at once."""


class _Impatient(Backoff):
    def failed(self, *arguments: Any, **named: Any) -> float | None:
        delay = super().failed(*arguments, **named)
        return 0.0 if delay is not None and self.retry == 1 else delay


class FirstRetryAtOnce(ReferenceClient):
    backoff_type = _Impatient


class NoCap(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(backoff={"cap": declared.backoff.cap * 10})


class OneRetryMore(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"max_retries": (declared.reconnect.max_retries or 0) + 1})


class DeafAfterGivingUp(ReferenceClient):
    def reconnect(self) -> None:
        if self._task is not None:
            super().reconnect()


class TwoLives(ReferenceClient):
    """Whoever asks it to reconnect gets one connection more."""

    def reconnect(self) -> None:
        if self._task is None:
            self.start()
        else:
            self._second = asyncio.get_running_loop().create_task(self._live())


class StartsBesideASlowAttempt(ReferenceClient):
    async def _connect(self) -> End:
        attempt = asyncio.get_running_loop().create_task(super()._connect())
        self._attempts = [*getattr(self, "_attempts", []), attempt]
        done, _ = await asyncio.wait([attempt], timeout=self._profile.reconnect.open_timeout / 2)
        return await attempt if done or self.is_ready else End(reason="it takes too long")


class ComesBackAfterItsClose(ReferenceClient):
    async def close(self, code: int = 1000, reason: str = "done") -> None:
        if self._link is not None:
            self._link.close(code, reason)

    def _react(self, end: End) -> float | None:
        return super()._react(end) if end.code != 1000 else self._profile.backoff.base


class TriesTheProviderAtOnce(ReferenceClient):
    def _react(self, end: End) -> float | None:
        delay = super()._react(end)
        return 0.0 if delay is not None and end.reason.startswith("the token provider") else delay


class CallsTwice(ReferenceClient):
    """What waits is told twice."""

    def __init__(self, url: str, *, on_event: Any, **options: Any) -> None:
        def told(event: dict[str, object]) -> None:
            on_event(event)
            if event["event"] == "waiting":
                on_event(event)

        super().__init__(url, on_event=told, **options)


class SeededAlike(ReferenceClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **{**options, "seed": 7})


class Raw:
    """``async for`` of websockets, as its documentation has it, without a protocol."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        async for websocket in connect(self._url, proxy=None):
            try:
                async for _ in websocket:
                    pass
            except ConnectionClosed:
                continue

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def raw(url: str, **_: object) -> Raw:
    """A factory without a hello: it makes clients that speak raw."""
    return Raw(url)


def seeded_alike(url: str, *, token: Any, profile: Profile, on_event: Any) -> ReferenceClient:
    """A factory of clients whose processes all draw the same delays."""
    client = SeededAlike(url, token=token, profile=profile, on_event=on_event)
    client.start()
    return client


seeded_alike.hello = {"speaks": "wschaos.v1", "can": []}  # type: ignore[attr-defined]


def seeds() -> Random:
    """Where the seeds of clients under test come from, so that a run can be repeated."""
    return Random("clients under test")
