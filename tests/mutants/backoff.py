"""Clients that come back too soon, or too late."""

from __future__ import annotations

from typing import cast

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.backoff import Backoff
from pytest_wschaos.reference.close_policy import End
from pytest_wschaos.reference.link import Link

from .registry import OtherFigures, mutant


@mutant(
    "M01, M18, foss42/apidash#1759, braverhealth/phoenix-socket-dart#34: it reconnects almost at once",
    fails={
        "RECONNECT-08": "a token provider that fails is asked again almost at once",
        "BACKOFF-01": "it hardly waits",
        "BACKOFF-02": "and no longer after ten failures than after one",
        "BACKOFF-04": "every retry comes before its delay",
        "JITTER-01": "delays that are far too short are no draws from the declared ones",
        "JITTER-03": "at the cap they pile up next to 0",
        "JITTER-04": "a herd comes back almost at the instant at which it lost its links",
    },
    bends={
        "BACKOFF-05": "what it adds to the server's bound is too little",
    },
)
class NoBackoff(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        short = declared.backoff.base / 20
        return declared.with_(backoff={"base": short, "factor": 1.0, "cap": short})


@mutant(
    "sockette, rpc-websockets: setTimeout(connect, 1000) in onclose",
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


@mutant(
    "M02, M14, `async for` of python-websockets, openclaw#29484: a handshake clears the backoff",
    fails={
        "BACKOFF-03": "a server that accepts and closes at once is met with the first delay again and again",
        "CLOSE-01": "`later` is the second delay for ever",
    },
)
class BackoffResetByHandshake(ReferenceClient):
    link_type = _RelievedLink


@mutant(
    "M02, the half of it that is left where only a welcome clears the backoff",
    fails={
        "BACKOFF-03": "a connection that flaps is met with the first delay again and again",
    },
)
class BackoffResetByWelcome(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(backoff={"stable_after": 0.0})


class _Resentful(Backoff):
    def ready(self, now: float) -> None:
        pass


@mutant(
    "made up: the count of failures is never cleared",
    fails={
        "BACKOFF-03": "failures of long ago lengthen the delay after a connection that was stable",
    },
)
class BackoffNeverReset(ReferenceClient):
    backoff_type = _Resentful


@mutant(
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


@mutant(
    "max(delay, retry_after), as HTTP clients do",
    fails={},
    bends={"BACKOFF-05": "all clients come back at the one instant that the server named"},
)
class RetryAfterWithoutSpread(ReferenceClient):
    backoff_type = _Punctual


class _AtOnce(Backoff):
    def _draw(self, step: int) -> float:
        return 0.0


@mutant(
    "M04, openshift/dynamic-plugin-sdk#330: a base of 0, which no factor makes grow",
    fails={
        "RECONNECT-08": "a token provider that fails is asked again at once",
        "BACKOFF-01": "it never waits",
        "BACKOFF-04": "so each retry comes before its delay",
        "JITTER-01": "no factor makes 0 a draw from the declared delays",
        "JITTER-03": "at each step all delays are 0",
        "JITTER-04": "a herd comes back at the instant at which it lost its links",
    },
    bends={
        "BACKOFF-05": "nothing is added to the bound of the server",
        "AUTH-03": "it is back before its token can be replaced, so nobody sees whether it is taken afresh",
    },
)
class BaseOfZero(ReferenceClient):
    backoff_type = _AtOnce


class _FirstAtOnce(Backoff):
    def _draw(self, step: int) -> float:
        return 0.0 if step == 1 else super()._draw(step)


@mutant(
    "recws-org/recws, gql, pysignalr: the first retry comes at once",
    fails={
        "RECONNECT-08": "where the token provider fails at first, it is asked again at once",
        "BACKOFF-01": "the first delay is none",
        "BACKOFF-04": "so the first retry comes before it",
        "JITTER-03": "at the first step all delays are 0",
        "JITTER-04": "a herd comes back at the instant at which it lost its links",
    },
    bends={
        "BACKOFF-05": "after a farewell nothing is added to the bound of the server",
    },
)
class FirstRetryAtOnce(ReferenceClient):
    backoff_type = _FirstAtOnce


@mutant(
    "enisdenjo/graphql-ws: 2^n s, without a cap",
    fails={
        "BACKOFF-01": "at the cap it waits longer than declared",
        "BACKOFF-02": "and longer than the ceiling",
        "JITTER-01": "delays beyond the cap are no draws from the declared ones",
        "JITTER-03": "nor are those at the cap",
    },
)
class NoCap(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(backoff={"cap": 3600.0, "ceiling": 5400.0})


@mutant(
    "M16, baking-bad/pysignalr#20: an HTTP error takes a way around the backoff",
    fails={
        "BACKOFF-01": "after an HTTP error each retry waits alike, and too short",
        "BACKOFF-04": "so it comes before its delay",
    },
    bends={
        "BACKOFF-05": "and before the server wants it",
    },
)
class HttpErrorsBypassTheBackoff(ReferenceClient):
    def _react(self, end: End) -> float | None:
        delay = super()._react(end)
        return delay if delay is None or end.status is None else self._profile.backoff.base * 0.3


@mutant(
    "joewalnes/reconnecting-websocket, stomp-js/stompjs as an option: the factor is 1.5 where 2 is declared",
    fails={
        "BACKOFF-01": "late retries wait a fraction of the declared delay",
        "BACKOFF-03": "where the server asks for a step more, it waits as if the count had started anew",
        "BACKOFF-04": "late retries come before their delay",
        "JITTER-01": "late delays are a fraction of the declared ones",
        "JITTER-03": "at the steps before the cap they pile up below it",
    },
)
class GrowsTooSlowly(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(backoff={"factor": 1.5})


@mutant(
    "M02, `async for` of python-websockets: after a connection that was accepted it comes back at once",
    fails={
        "RECONNECT-06": "where each attempt is accepted, the limit is never reached",
        "BACKOFF-01": "the first delay is none",
        "BACKOFF-03": "a server that accepts and closes at once is met without any delay, again and again",
        "BACKOFF-04": "so each of these retries comes before its delay",
        "JITTER-03": "at the first step all are 0",
        "JITTER-04": "a herd comes back at the instant at which it lost its links",
    },
    bends={
        "BACKOFF-05": "a farewell's bound is not kept",
    },
)
class NoWaitAfterAHandshake(ReferenceClient):
    def _react(self, end: End) -> float | None:
        delay = super()._react(end)
        if delay is None or end.code is None:
            return delay
        self._backoff.reset()
        self._backoff.retry = 1
        return 0.0
