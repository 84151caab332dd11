"""Clients that take no code for what it says, or end without a word."""

from __future__ import annotations

from typing import Any, cast

from websockets.frames import Frame, Opcode

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.close_policy import ClosePolicy, End
from pytest_wschaos.reference.link import Link
from pytest_wschaos.reference.wire import Wire

from .registry import OtherFigures, mutant


@mutant(
    "M61, lukeed/sockette: 1001 is final",
    fails={
        "CLOSE-01": "a server that goes away is not gone for good",
    },
)
class StopsWhenTheServerGoesAway(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": {1001: "stop"}})


class _Deaf(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return super()._look_up(end) if end.code is None else "retry"


@mutant(
    "M64, giantmachines/redux-websocket#103: the code is not looked at",
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
    "M68, phoenixframework/phoenix#5155: an HTTP answer looks like any other failure",
    fails={
        "CLOSE-05": "a page that is not there is asked for again and again",
        "AUTH-04": "and so is a 401 that comes again",
    },
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
    fails={
        "CLOSE-04": "a Close that is not answered is waited for",
        "REPLAY-06": "what is pending does not settle until then",
    },
)
class WaitsForTheCloseHandshake(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"timeout": declared.close.timeout * 8})


class _Clean(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return "stop" if end.code not in (None, 1006) and not end.own else super()._look_up(end)


@mutant(
    "M62, insidewhy/rxjs-websockets#34, rxjs: a clean close is the end of the stream, whatever the code",
    fails={
        "CLOSE-01": "it stops after codes that ask to come back",
        "AUTH-04": "nor does it come back with a fresh token after 4401",
    },
)
class CleanCloseIsFinal(ReferenceClient):
    policy_type = _Clean


class _LenientLink(Link):
    """Takes a reserved code for one like others, as its library would not."""

    def __init__(self, wire: Wire, *given: Any) -> None:
        super().__init__(wire, *given)
        fail = wire.protocol.fail
        wire.protocol.fail = lambda code, reason="": fail(  # type: ignore[method-assign]
            1000 if reason == "invalid status code" else code, reason
        )


@mutant(
    "M65, moltworker#260: 1005 and 1006 are codes like others",
    fails={
        "CLOSE-03": "they are answered like any other, and not as a protocol error",
    },
)
class ReservedCodesTaken(ReferenceClient):
    link_type = _LenientLink


class _ForwardingLink(Link):
    """Closes with the code of the end before it, as a relay does."""

    def close(self, code: int, reason: str) -> None:
        before = cast(Forwarding1006, self._owner).last
        if before in (1005, 1006) and self._wire.open:
            payload = before.to_bytes(2, "big") + reason.encode()
            self._wire.protocol.send_frame(Frame(Opcode.CLOSE, payload))
            self._wire.send_data()
        super().close(code, reason)


@mutant(
    "M65, EtienneLescot/n8n-as-code#318, theturtle32/WebSocket-Node#254: a relay forwards 1006 on the wire",
    fails={
        "CLOSE-03": "after a reset it closes with 1006",
    },
)
class Forwarding1006(ReferenceClient):
    link_type = _ForwardingLink
    last: int | None = None

    def _react(self, end: End) -> float | None:
        self.last = end.code
        return super()._react(end)


class _Reacting(OtherFigures):
    """Reacts to some codes otherwise than it declares."""

    reactions: dict[int, str]

    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": self.reactions})


@mutant(
    "M63, elastic/beats#42218, graphql-ws: too few codes are retried",
    fails={
        "CLOSE-01": "it stops after codes that ask to come back",
        "AUTH-04": "nor does it come back with a fresh token after 4401",
    },
)
class RetriedCodesAreFinal(_Reacting):
    reactions = dict.fromkeys((1001, 1005, 1011, 1012, 3000, 4000, 4401, 4408, 4410), "fatal")


@mutant(
    "most clients: 1013 is a code like others",
    fails={
        "CLOSE-01": "it comes back as soon as after any other code",
    },
)
class LaterIsNoLater(_Reacting):
    reactions = {1013: "retry", 4429: "retry"}


class _Reading(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        if end.code in (None, 1006) or not end.reason:
            return super()._look_up(end)
        return "fatal" if super()._look_up(end) == "retry" else "retry"


@mutant(
    "centrifugal/centrifuge-js, which stops on a reason that is a number: the reaction goes by the reason",
    fails={
        "CLOSE-01": "with a reason text it does something else than without",
        "AUTH-04": "4401 comes with one, so it stops",
        "REPLAY-08": "and so does 4410",
    },
)
class ReadsTheReason(ReferenceClient):
    policy_type = _Reading


class _Contrary(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        if end.status is None:
            return super()._look_up(end)
        return "fatal" if super()._look_up(end) in ("retry", "refresh") else "retry"


@mutant(
    "made up: the classes of HTTP statuses are mixed up",
    fails={
        "CLOSE-05": "it stops where it should try again, and tries again where it should stop",
        "AUTH-04": "401 is final",
    },
)
class HttpStatusTurnedRound(ReferenceClient):
    policy_type = _Contrary
