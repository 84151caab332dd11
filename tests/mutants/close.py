"""Clients that take no code for what it says, or end without a word."""

from __future__ import annotations

from typing import Any

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.close_policy import ClosePolicy, End
from pytest_wschaos.reference.link import Link

from .registry import OtherFigures, mutant


@mutant(
    "lukeed/sockette: 1001 is final",
    fails={"CLOSE-01": "a server that goes away is not gone for good"},
)
class StopsWhenTheServerGoesAway(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": {1001: "stop"}})


class _Deaf(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return super()._look_up(end) if end.code is None else "retry"


@mutant(
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


@mutant(
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


@mutant(
    "socket.destroy() instead of ws.close()",
    fails={"CLOSE-02": "it ends on purpose without a word"},
)
class EndsWithoutClose(ReferenceClient):
    link_type = _AbruptLink


@mutant(
    "made up: the close handshake has no deadline to speak of",
    fails={"CLOSE-04": "a Close that is not answered is waited for"},
)
class WaitsForTheCloseHandshake(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"timeout": declared.close.timeout * 8})
