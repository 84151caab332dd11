"""Clients that do not come back, come back twice, or come back although nobody wants them to."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.profile import Backoff as Figures
from pytest_wschaos.profile import Jitter
from pytest_wschaos.reference.backoff import Backoff
from pytest_wschaos.reference.close_policy import End
from pytest_wschaos.reference.link import Link

from .registry import OtherFigures, mutant


class _PoliteLink(Link):
    def _end(self) -> End:
        return End(code=1000, reason=self._dead) if self._dead else super()._end()


@mutant(
    "M15, phoenixframework/phoenix#4944: a heartbeat timeout closes 1000, and 1000 means not to reconnect",
    fails={
        "RECONNECT-01": "it finds out that the link is dead, and stays away",
    },
)
class DeadLinkTakenForGoodbye(ReferenceClient):
    link_type = _PoliteLink


@mutant(
    "no timeout but the operating system's",
    fails={"RECONNECT-04": "an attempt that nobody answers is waited for"},
)
class NoOpenTimeout(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"open_timeout": declared.reconnect.open_timeout * 20})


@mutant(
    "M09, lukeed/sockette#46, pladaria/reconnecting-websocket#51: close() leaves the timer",
    fails={
        "RECONNECT-05": "closed while it waited, it comes back when the wait is over",
    },
)
class Zombie(ReferenceClient):
    async def close(self, *given: Any, **named: Any) -> None:
        if self._nudge is None:
            await super().close(*given, **named)


@mutant(
    "M10, Atmosphere/wasync#178: reopened while it waits, it has two lives",
    fails={
        "RECONNECT-03": "the timer of the wait opens a second connection beside the one that was asked for",
        "RECONNECT-09": "what is told of the two is mixed: it connects while it is ready",
    },
)
class TwoConnectionsAtOnce(ReferenceClient):
    def reconnect(self) -> None:
        if self._nudge is None:
            super().reconnect()
        else:
            self._second = asyncio.get_running_loop().create_task(self._live())


@mutant(
    "M06, pladaria/reconnecting-websocket#134: the provider rejects once, and nothing happens ever after",
    fails={
        "RECONNECT-08": "a failing token provider ends everything, in silence",
    },
)
class EndsWhenTheProviderFails(ReferenceClient):
    def _react(self, end: End) -> float | None:
        return None if end.reason.startswith("the token provider") else super()._react(end)


@mutant(
    "M67, websocket-client/websocket-client#970: handlers are lost with the first connection",
    fails={
        "RECONNECT-09": "that it is ready again is told no more",
    },
)
class TellsOfTheFirstConnectionOnly(ReferenceClient):
    def __init__(self, url: str, *, on_event: Any, **options: Any) -> None:
        def told(event: dict[str, object]) -> None:
            if event["event"] != "ready" or not self._was_ready:
                on_event(event)
            self._was_ready |= event["event"] == "ready"

        self._was_ready = False
        super().__init__(url, on_event=told, **options)


@mutant(
    "many: no limit, and nobody hears of it",
    fails={"RECONNECT-06": "it tries an eleventh time, and never tells anybody"},
)
class RetriesForEver(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"max_retries": None})


@mutant(
    "made up: the default of a constant that nobody looked up",
    fails={
        "RECONNECT-06": "it stops after three retries of ten",
        "RECONNECT-08": "three failures of the token provider are three retries, and it makes no fourth",
    },
)
class GivesUpTooEarly(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"max_retries": 3})


@mutant(
    "M07, pladaria/reconnecting-websocket#119: no terminal event",
    fails={
        "RECONNECT-06": "after the last retry the application hears nothing",
        "REPLAY-06": "nor that its message was not delivered",
        "AUTH-04": "nor that its token was refused for good",
        "CLOSE-01": "nor that the server closed with a code that ends everything",
        "CLOSE-05": "nor that there is no such page",
    },
)
class GivesUpInSilence(ReferenceClient):
    def __init__(self, url: str, *, on_event: Any, **options: Any) -> None:
        def told(event: dict[str, object]) -> None:
            if event["event"] != "gave_up":
                on_event(event)

        super().__init__(url, on_event=told, **options)


class _Unopened(Backoff):
    """Its limit counts the retries that came to no open connection."""

    def __init__(self, figures: Figures, jitter: Jitter, max_retries: int | None, rng: Random) -> None:
        super().__init__(figures, jitter, None, rng)
        self._limit = max_retries
        self._unopened = 0
        self.opened = False

    def failed(self, now: float, retry_after: float | None = None, *, later: bool = False) -> float | None:
        delay = super().failed(now, retry_after, later=later)
        if self.retry == 1:
            self._unopened = 0
        elif not self.opened:
            self._unopened += 1
        return None if self._limit is not None and self._unopened >= self._limit else delay


@mutant(
    "M03, pipecat-ai/pipecat#3711: the limit counts failed handshakes only",
    fails={"RECONNECT-06": "a server that accepts and closes is tried for ever"},
)
class LimitCountsFailedHandshakesOnly(ReferenceClient):
    backoff_type = _Unopened

    def _react(self, end: End) -> float | None:
        assert isinstance(self._backoff, _Unopened)
        self._backoff.opened = end.code is not None
        return super()._react(end)


class _SleepingLink(Link):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._woken = asyncio.Event()

    async def run(self, token: str | None, deadline: float) -> End:
        end = await super().run(token, deadline)
        if self._dead.startswith("heartbeat"):
            await self._woken.wait()
        return end

    def close(self, code: int, reason: str) -> None:
        super().close(code, reason)
        self._woken.set()


@mutant(
    "M32, aio-libs/aiohttp#4153, miguelgrinberg/simple-websocket#33: the timeout fires, and recv() never wakes",
    fails={"RECONNECT-01": "the dead link is ended, and nobody is told, so nobody replaces it"},
)
class DeadLinkNeverSurfaces(ReferenceClient):
    link_type = _SleepingLink


@mutant(
    "made up: 1006 is a code that is not on the list",
    fails={
        "RECONNECT-01": "it finds out that the link is dead, and stays away",
        "RECONNECT-02": "nor does it come back after a link that broke",
    },
)
class BrokenLinkIsFinal(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": {1006: "stop"}})


@mutant(
    "joewalnes/reconnecting-websocket: the limit is looked at after the attempt",
    fails={
        "RECONNECT-06": "it makes one retry too many",
    },
)
class OneRetryMore(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"max_retries": (declared.reconnect.max_retries or 0) + 1})


@mutant(
    "made up: who has given up cannot be started again",
    fails={
        "RECONNECT-07": "an explicit reconnect is not heard",
    },
)
class DeafAfterGivingUp(ReferenceClient):
    def reconnect(self) -> None:
        if self._task is not None:
            super().reconnect()


@mutant(
    "made up, after M10: whoever asks it to reconnect gets one connection more",
    fails={
        "RECONNECT-03": "the second connection begins while the first is held",
        "RECONNECT-09": "what is told of the two is mixed",
    },
)
class TwoLives(ReferenceClient):
    def reconnect(self) -> None:
        if self._task is None:
            self.start()
        else:
            self._second = asyncio.get_running_loop().create_task(self._live())


@mutant(
    "made up, after M04: an attempt that takes too long is left alone, and the next one begins",
    fails={
        "RECONNECT-03": "the slow attempt is still held when the next begins",
    },
)
class StartsBesideASlowAttempt(ReferenceClient):
    async def _connect(self) -> End:
        attempt = asyncio.get_running_loop().create_task(super()._connect())
        self._attempts = [*getattr(self, "_attempts", []), attempt]
        done, _ = await asyncio.wait([attempt], timeout=self._profile.reconnect.open_timeout / 2)
        return await attempt if done or self.is_ready else End(reason="it takes too long")


@mutant(
    "made up, after M09: close() is one more lost connection",
    fails={
        "RECONNECT-05": "closed by its application, it comes back",
        "STATE-01": "so it is not closed, and never will be",
        "STATE-02": "what is sent after close() is neither refused nor sent",
        "REPLAY-06": "nor does what is pending settle",
        "CLOSE-01": "and 1000 of the server is taken for its own",
    },
)
class ComesBackAfterItsClose(ReferenceClient):
    async def close(self, code: int = 1000, reason: str = "done") -> None:
        if self._link is not None:
            self._link.close(code, reason)

    def _react(self, end: End) -> float | None:
        return super()._react(end) if end.code != 1000 else self._profile.backoff.base


@mutant(
    "made up: a provider that fails is asked again at once",
    fails={
        "RECONNECT-08": "its failure is no failed attempt, after which to wait",
    },
)
class TriesTheProviderAtOnce(ReferenceClient):
    def _react(self, end: End) -> float | None:
        delay = super()._react(end)
        return 0.0 if delay is not None and end.reason.startswith("the token provider") else delay


@mutant(
    "made up: two handlers hang on one event",
    fails={
        "RECONNECT-09": "each wait is told twice",
    },
)
class CallsTwice(ReferenceClient):
    def __init__(self, url: str, *, on_event: Any, **options: Any) -> None:
        def told(event: dict[str, object]) -> None:
            on_event(event)
            if event["event"] == "waiting":
                on_event(event)

        super().__init__(url, on_event=told, **options)
