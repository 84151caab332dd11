"""Clients that do not come back, come back twice, or come back although nobody wants them to."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.close_policy import ClosePolicy, End
from pytest_wschaos.reference.link import Link

from .registry import OtherFigures, broken

# --- RECONNECT


class _PoliteLink(Link):
    def _end(self) -> End:
        return End(code=1000, reason=self._dead) if self._dead else super()._end()


@broken(
    "phoenixframework/phoenix#4944: a heartbeat timeout closes 1000, and 1000 means not to reconnect",
    fails={"RECONNECT-01": "it finds out that the link is dead, and stays away"},
)
class DeadLinkTakenForGoodbye(ReferenceClient):
    link_type = _PoliteLink


@broken(
    "no timeout but the operating system's",
    fails={"RECONNECT-04": "an attempt that nobody answers is waited for"},
)
class NoOpenTimeout(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(reconnect={"open_timeout": declared.reconnect.open_timeout * 20})


@broken(
    "lukeed/sockette#46, pladaria/reconnecting-websocket#51: close() leaves the timer",
    fails={"RECONNECT-05": "closed while it waited, it comes back when the wait is over"},
)
class Zombie(ReferenceClient):
    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._nudge is None:
            await super().close(code, reason)


@broken(
    "Atmosphere/wasync#178: reopened while it waits, it has two lives",
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


@broken(
    "pladaria/reconnecting-websocket#134: the provider rejects once, and nothing happens ever after",
    fails={"RECONNECT-08": "a failing token provider ends everything, in silence"},
)
class EndsWhenTheProviderFails(ReferenceClient):
    def _react(self, end: End) -> float | None:
        return None if end.reason.startswith("the token provider") else super()._react(end)


@broken(
    "websocket-client/websocket-client#970: handlers are lost with the first connection",
    fails={"RECONNECT-09": "that it is ready again is told no more"},
)
class TellsOfTheFirstConnectionOnly(ReferenceClient):
    def __init__(self, url: str, *, on_event: Any, **options: Any) -> None:
        def told(event: dict[str, object]) -> None:
            if event["event"] != "ready" or not self._was_ready:
                on_event(event)
            self._was_ready |= event["event"] == "ready"

        self._was_ready = False
        super().__init__(url, on_event=told, **options)


# --- CLOSE


@broken(
    "lukeed/sockette: 1001 is final",
    fails={"CLOSE-01": "a server that goes away is not gone for good"},
)
class StopsWhenTheServerGoesAway(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": {1001: "stop"}})


class _Deaf(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return super()._look_up(end) if end.code is None else "retry"


@broken(
    "giantmachines/redux-websocket#103: the code is not looked at",
    fails={
        "CLOSE-01": "it comes back after codes that say not to",
        "AUTH-04": "it comes back with a token that was refused twice",
        "REPLAY-08": "told that its session is gone, it asks for that session again",
    },
)
class CloseCodesIgnored(ReferenceClient):
    policy_type = _Deaf


class _Undeterred(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return super()._look_up(end) if end.status is None else "retry"


@broken(
    "phoenixframework/phoenix#5155: an HTTP answer looks like any other failure",
    fails={"CLOSE-05": "a page that is not there is asked for again and again"},
)
class HttpStatusIgnored(ReferenceClient):
    policy_type = _Undeterred


class _AbruptLink(Link):
    def close(self, code: int, reason: str) -> None:
        self._closing, self.ready = True, False
        self._stop_timers()
        self._wire.transport.abort()


@broken(
    "socket.destroy() instead of ws.close()",
    fails={"CLOSE-02": "it ends on purpose without a word"},
)
class EndsWithoutClose(ReferenceClient):
    link_type = _AbruptLink


@broken(
    "made up: the close handshake has no deadline to speak of",
    fails={"CLOSE-04": "a Close that is not answered is waited for"},
)
class WaitsForTheCloseHandshake(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"timeout": declared.close.timeout * 8})
