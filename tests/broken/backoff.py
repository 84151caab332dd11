"""Clients that come back too soon, too regularly, all at once, or for ever."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.backoff import Backoff
from pytest_wschaos.reference.close_policy import End
from pytest_wschaos.reference.link import Link

from .registry import OtherFigures, broken

# --- BACKOFF


@broken(
    "foss42/apidash#1759, braverhealth/phoenix-socket-dart#34",
    fails={
        "BACKOFF-01": "it hardly waits",
        "BACKOFF-02": "and no longer after ten failures than after one",
        "BACKOFF-04": "every retry comes before its delay",
        "JITTER-01": "delays that are far too short are no draws from the declared ones",
        "JITTER-03": "at the cap they pile up next to 0",
        "JITTER-04": "a herd comes back almost at the instant at which it lost its links",
    },
    bends={"BACKOFF-05": "what it adds to the server's bound is too little"},
)
class NoBackoff(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        short = declared.backoff.base / 5
        return declared.with_(backoff={"base": short, "factor": 1.0, "cap": short})


@broken(
    "setTimeout(connect, 1000) in onclose",
    fails={
        "BACKOFF-01": "each retry waits as long as the first",
        "BACKOFF-02": "so the delays do not grow",
        "BACKOFF-03": "where every attempt is accepted and closed, that is a count that starts anew each time",
        "BACKOFF-04": "and from the second on they are too short",
        "JITTER-01": "late delays are a fraction of the declared ones",
        "JITTER-03": "at the cap they pile up far below it",
        "CLOSE-01": "`later` is no later",
    },
)
class FixedDelay(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(backoff={"factor": 1.0, "cap": declared.backoff.base})


class _RelievedLink(Link):
    async def run(self, token: str | None, deadline: float) -> End:
        cast(ReferenceClient, self._owner)._backoff.reset()
        return await super().run(token, deadline)


@broken(
    "`async for` of python-websockets: a handshake clears the backoff",
    fails={"BACKOFF-03": "a server that accepts and closes at once is met with the first delay again and again"},
)
class BackoffResetByHandshake(ReferenceClient):
    link_type = _RelievedLink


@broken(
    "openclaw/openclaw#29484 cured half of it: the welcome clears the backoff",
    fails={"BACKOFF-03": "a connection that flaps is met with the first delay again and again"},
)
class BackoffResetByWelcome(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(backoff={"stable_after": 0.0})


class _Resentful(Backoff):
    def ready(self, now: float) -> None:
        pass


@broken(
    "made up",
    fails={"BACKOFF-03": "failures of long ago lengthen the delay after a connection that was stable"},
)
class BackoffNeverReset(ReferenceClient):
    backoff_type = _Resentful


@broken(
    "most clients: a Retry-After is not read",
    fails={},
    bends={"BACKOFF-05": "it comes back before the server wants it"},
)
class IgnoresRetryAfter(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(backoff={"honour_retry_after": False})


class _Punctual(Backoff):
    def failed(self, now: float, retry_after: float | None = None, *, later: bool = False) -> float | None:
        delay = super().failed(now, None, later=later)
        return delay if delay is None or retry_after is None else max(delay, retry_after)


@broken(
    "max(delay, retry_after), as HTTP clients do",
    fails={},
    bends={"BACKOFF-05": "all clients come back at the one instant that the server named"},
)
class RetryAfterWithoutSpread(ReferenceClient):
    backoff_type = _Punctual


# --- JITTER


@broken(
    "django/channels#568, phoenixframework/phoenix#4045",
    fails={
        "JITTER-01": "each delay is the nominal one",
        "JITTER-02": "nothing is drawn, so all clients have the same delays",
        "JITTER-03": "all delays of a step are one value",
        "JITTER-04": "a herd that lost its links at one instant comes back at one instant",
    },
)
class NoJitter(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(jitter={"shape": "none"})


class _DrawnOnce(Backoff):
    FACTOR = Random("this process").uniform(0.5, 1.5)

    def _draw(self, step: int) -> float:
        return self._figures.nominal(step) * self.FACTOR


@broken(
    "pladaria/reconnecting-websocket: one random number, drawn when the module is loaded",
    fails={
        "JITTER-01": "each delay is the nominal one times one and the same number",
        "JITTER-02": "it is not drawn anew, and all clients of the process share it",
        "JITTER-03": "all delays of a step are one value",
        "JITTER-04": "the clients of one process come back at one instant",
    },
)
class JitterOncePerProcess(ReferenceClient):
    backoff_type = _DrawnOnce


class _Clamped(Backoff):
    def _draw(self, step: int) -> float:
        return min(super()._draw(step), self._figures.cap)


@broken(
    "backo2 in socket.io-client: clamped after the jitter",
    fails={
        "JITTER-01": "at the cap half of the declared range is cut off",
        "JITTER-03": "half of the delays at the cap are the cap itself",
    },
)
class JitterClampedAtTheCap(ReferenceClient):
    backoff_type = _Clamped


@broken(
    "derived: a generator that is seeded alike in all workers",
    fails={
        "JITTER-01": "thirty clients bring no more draws than one, and so few of them are no uniform distribution",
        "JITTER-02": "at each step all clients draw the same number",
        "JITTER-03": "so their delays are one value at each step",
        "JITTER-04": "and they come back at one instant",
    },
)
class SameSeedInEveryClient(ReferenceClient):
    def __init__(self, url: str, *, seed: int, **options: Any) -> None:
        super().__init__(url, seed=0, **options)


# --- RECONNECT-06


@broken(
    "many: no limit, and nobody hears of it",
    fails={"RECONNECT-06": "it tries an eleventh time, and never tells anybody"},
)
class RetriesForEver(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"max_retries": None})


@broken(
    "made up: the default of a constant that nobody looked up",
    fails={
        "RECONNECT-06": "it stops after three retries of ten",
        "RECONNECT-02": "a link that breaks for the fourth time is not opened again",
        "CLOSE-01": "nor is one that the server closes with a code that asks to come back",
    },
)
class GivesUpTooEarly(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"max_retries": 3})


@broken(
    "pladaria/reconnecting-websocket#119: no terminal event",
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
