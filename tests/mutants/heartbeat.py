"""Clients that do not find out that a link is dead, find out too late, or take a live one for dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.heartbeat import Heartbeat
from pytest_wschaos.reference.link import Link
from pytest_wschaos.reference.pacer import Pacer

from .registry import Event, OtherFigures, mutant

if TYPE_CHECKING:
    from pytest_wschaos.reference.close_policy import End


@mutant(
    "M26, juspay/kolu#1235, chalie-ai/chalie#1841: no heartbeat, so a half-open link stays for ever",
    fails={
        "RECONNECT-01": "a link that dies without a word is never missed",
        "HEARTBEAT-01": "it never pings",
        "HEARTBEAT-06": "a proxy that looks at each direction cuts the one that is silent",
        "HEARTBEAT-02": "so nothing tells it that the link is dead, and it keeps it for ever",
        "HEARTBEAT-07": "only the end of TCP could tell it, and a proxy that acknowledges everything hides that",
    },
    bends={
        "HEARTBEAT-09": "nor does it test the link after a sleep",
    },
    alone=True,
)
class NoHeartbeat(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(heartbeat={"interval": None})


class _Trusting(Heartbeat):
    def sent(self, key: object, now: float) -> None:
        super().sent(key, now)
        self._asked.clear()

    def pong(self, key: object, now: float) -> bool:
        return True


class _TrustingLink(Link):
    heartbeat_type = _Trusting


@mutant(
    "M38, the keepalive of the ws README, and of graphql-ws: pings are sent, and pongs are not waited for",
    fails={
        "RECONNECT-01": "it asks and does not wait for the answer, so a dead link is never missed",
        "HEARTBEAT-02": "no ping has a deadline",
        "HEARTBEAT-03": "a link that is dead in one direction is not noticed either",
        "HEARTBEAT-07": "only the end of TCP could tell it",
    },
)
class PongsNeverChecked(ReferenceClient):
    link_type = _TrustingLink


@mutant(
    "most libraries with an idle timer: whatever comes in proves life",
    fails={
        "HEARTBEAT-03": "messages of the server stand in for the pongs that do not come",
    },
)
class AnyTrafficCountsAsPong(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(heartbeat={"proof_of_life": "any"})


class _WaitingLink(Link):
    def _abandon(self, code: int, reason: str) -> None:
        self._closing, self.ready = True, False
        self._dead = reason
        self._wire.close_timeout = 4 * self._profile.close.timeout
        self._wire.begin_close(code, reason)


@mutant(
    "M27, nodetool-ai/nodetool#4592, robtaussig/react-use-websocket#238: the watchdog calls close(), waits for onclose",
    fails={
        "RECONNECT-01": "a link that dies just after a ping is found out at the deadline, and kept for longer",
        "HEARTBEAT-02": "it waits for the close handshake of a peer that it knows to be dead",
        "CLOSE-04": "and that much longer than any close handshake may take",
    },
)
class WaitsForOnclose(ReferenceClient):
    link_type = _WaitingLink


class _LateHeartbeat(Heartbeat):
    def start(self, now: float) -> None:
        super().start(now)
        if self._next is not None and self._interval is not None:
            self._next += self._interval


class _LateLink(Link):
    heartbeat_type = _LateHeartbeat


@mutant(
    "M35, websocket-client 1.9.0: the first ping comes after two intervals",
    fails={
        "RECONNECT-01": "a link that dies before its first ping is found out an interval too late",
        "HEARTBEAT-01": "no ping within an interval of ready",
        "HEARTBEAT-02": "from the death to its end the link lasts two intervals and a deadline",
        "HEARTBEAT-06": "a proxy that cuts a direction in which nothing came for less than that has cut by then",
    },
    bends={
        "HEARTBEAT-09": "where it sleeps before its first ping, nothing is overdue when it wakes",
    },
    alone=True,
)
class FirstPingTooLate(ReferenceClient):
    link_type = _LateLink


@mutant(
    "made up: a quarter of the declared deadline",
    fails={
        "HEARTBEAT-04": "answers within the declared deadline are too slow for it",
        "MESSAGE-04": "amid a blob it takes its link for dead",
        "REPLAY-03": "over a slow link a large message never gets through before it gives the link up",
    },
)
class ImpatientHeartbeat(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(heartbeat={"deadline": declared.heartbeat.deadline / 4})


class _HauntedLink(Link):
    """Its watchdog was never cleared: it fires once more, at whatever connection is current by then."""

    def _tick(self) -> None:
        super()._tick()
        if self._dead:
            self._loop.call_later(self._profile.heartbeat.interval or 0.0, self._fire)

    def _fire(self) -> None:
        current = cast(ReferenceClient, self._owner)._link
        if current is not None and current.ready:
            current._abandon(1011, "no pong")


@mutant(
    "made up after the timers of many wrappers, which mean `this.ws` and not the socket that they were started for",
    fails={"HEARTBEAT-08": "the watchdog of the dead connection ends the next one, which is healthy"},
)
class HeartbeatTimerSurvivesItsConnection(ReferenceClient):
    link_type = _HauntedLink


class _ChattyLink(Link):
    """Its ping clock was never cleared: it goes on, on whatever connection is current."""

    async def run(self, token: str | None, deadline: float) -> End:
        try:
            return await super().run(token, deadline)
        finally:
            self._again()

    def _again(self) -> None:
        current = cast(ReferenceClient, self._owner)._link
        if current is not None and current.ready:
            current._ping(self._loop.time())
        self._loop.call_later(self._profile.heartbeat.interval or 0.0, self._again)


@mutant(
    "setInterval() in onopen without clearInterval() in onclose",
    fails={"HEARTBEAT-08": "each reconnect adds a clock, and so a ping an interval"},
)
class PingsMultiply(ReferenceClient):
    link_type = _ChattyLink


class _SleepyHeartbeat(Heartbeat):
    def jumped(self, now: float) -> bool:
        return False


class _SleepyLink(Link):
    heartbeat_type = _SleepyHeartbeat


@mutant(
    "M36, robtaussig/react-use-websocket#269, socketio/socket.io#5135: after a sleep it sends into a dead link",
    fails={},
    bends={
        "HEARTBEAT-09": "it does not notice that it slept",
    },
    alone=True,
)
class SendsAfterSleep(ReferenceClient):
    link_type = _SleepyLink


class _NoProgress(Heartbeat):
    def progress(self, now: float) -> None:
        pass


class _NoProgressLink(Link):
    heartbeat_type = _NoProgress


@mutant(
    "M30, aio-libs/aiohttp#12029: the pong that waits behind a large message counts as missing",
    fails={
        "HEARTBEAT-04": "while a large message trickles in it takes the link for dead",
    },
)
class LargeMessageIsNoLife(ReferenceClient):
    link_type = _NoProgressLink


class _AnyPong(Heartbeat):
    def pong(self, key: object, now: float) -> bool:
        self._asked.clear()
        return True


class _AnyPongLink(Link):
    heartbeat_type = _AnyPong


@mutant(
    "made up: whatever pong comes, it is the answer",
    fails={
        "HEARTBEAT-03": "a pong to a ping that was never sent is taken for the answer",
    },
)
class AnyPongCounts(ReferenceClient):
    link_type = _AnyPongLink


class _WhenIdle(Heartbeat):
    def traffic(self, now: float) -> None:
        if self._interval is not None:
            self._next = now + self._interval


class _WhenIdleLink(Link):
    heartbeat_type = _WhenIdle


@mutant(
    "picows and aiohttp: pings are sent after a time without traffic",
    fails={
        "HEARTBEAT-01": "while there is traffic it does not ping",
    },
)
class PingsWhenIdleOnly(ReferenceClient):
    link_type = _WhenIdleLink


class _HastyLink(Link):
    def _pace(self, rate: float, burst: float) -> Pacer:
        return Pacer(rate, burst, None)


@mutant(
    "M30, aio-libs/aiohttp#12029: the pong waits behind a large message that is written ahead",
    fails={
        "HEARTBEAT-04": "its pings wait behind what it has written ahead, and so do the answers",
        "MESSAGE-04": "a blob leaves no room for heartbeats",
    },
)
class WritesAheadOfPings(ReferenceClient):
    link_type = _HastyLink


class _DeafLink(Link):
    def _on_pong(self, frame: Event, now: float) -> None:
        pass

    def message(self, message: str | bytes) -> None:
        if not (getattr(self._owner, "paused", False) and '"pong"' in str(message)):
            super().message(message)


@mutant(
    "made up, as of any client whose application reads the frames itself: who does not read hears no pong",
    fails={
        "HEARTBEAT-04": "the pong is there, and nobody reads it",
    },
)
class PausedReaderHearsNoPong(ReferenceClient):
    link_type = _DeafLink
    paused = False

    def pause_reading(self) -> None:
        self.paused = True
        super().pause_reading()


class _Impatient(Heartbeat):
    """Dead is what has said nothing for a deadline, asked or not."""

    _heard = 0.0

    def start(self, now: float) -> None:
        super().start(now)
        self._heard = now

    def traffic(self, now: float) -> None:
        self._heard = now

    def dead(self, now: float) -> bool:
        return now >= self._heard + self._deadline

    def next_at(self) -> float | None:
        deadline = self._heard + self._deadline
        return deadline if self._next is None else min(self._next, deadline)


class _ImpatientLink(Link):
    heartbeat_type = _Impatient


@mutant(
    "M33, robtaussig/react-use-websocket#270: the deadline runs from the last data, not from the ping",
    fails={
        "HEARTBEAT-03": "messages stand in for the pongs that do not come",
        "HEARTBEAT-04": "a live link that is idle is given up",
        "HEARTBEAT-08": "the next one, too",
        "MESSAGE-04": "and one on which a blob goes out slowly",
        "RECONNECT-04": "it ends a healthy link as long after its attempt as an attempt's own timer would",
        "REPLAY-03": "a large message never gets through a slow link before it is given up",
    },
    bends={
        "AUTH-04": "the link is lost before its token is refused: what it presents then is the one from before",
    },
)
class DeadlineFromTheLastData(ReferenceClient):
    link_type = _ImpatientLink


@mutant(
    "phoenixframework/phoenix, supabase/realtime-js: the next interval is the deadline",
    fails={
        "RECONNECT-01": "a dead link is found out two intervals after its death",
        "HEARTBEAT-02": "a ping may go unanswered for an interval",
        "HEARTBEAT-03": "while messages come, too",
    },
)
class DeadlineIsTheNextInterval(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(heartbeat={"deadline": declared.heartbeat.interval})
