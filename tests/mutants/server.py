"""Reference servers with one bug each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from pytest_wschaos import Profile
from pytest_wschaos.reference.conversation import Conversation, Ended, Hub
from pytest_wschaos.reference.heartbeat import Heartbeat
from pytest_wschaos.reference.peer import logger
from pytest_wschaos.reference.server import ReferenceServer
from pytest_wschaos.reference.server_connection import ReferenceConnection
from pytest_wschaos.reference.session import Logged, Lost, Publication, Session, Sessions

from .registry import mutant


class OtherFigures(ReferenceServer):
    """A server that goes by other figures than it declares; a subclass says which."""

    practised: Mapping[str, Mapping[str, Any]] = {}

    def __init__(self, *, profile: Profile, **options: Any) -> None:
        super().__init__(profile=profile.with_(**self.practised), **options)


class OtherOptions(ReferenceServer):
    """A server that asks its library for something else; a subclass says what."""

    def options(self) -> Mapping[str, Any]:
        """What it asks for."""
        raise NotImplementedError

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._listener._options.update(self.options())


def speaking(kind: type[Conversation]) -> type[Hub]:
    """A hub whose connections converse in a way of their own."""
    return type("OtherHub", (Hub,), {"conversation_type": kind})


def remembering(kind: type[Session]) -> type[Hub]:
    """A hub whose sessions are of another kind."""

    class OtherSessions(Sessions):
        def create(self) -> Session:
            session = kind(self._rng, self._figures, self._waits)
            self._sessions[session.id] = session
            return session

    class OtherHub(Hub):
        def __init__(self, profile: Profile, rng: Any, **options: Any) -> None:
            super().__init__(profile, rng, **options)
            self.sessions = OtherSessions(rng, profile.replay)

    return OtherHub


# --- heartbeat


class _NeverDead(ReferenceConnection):
    class Beat(Heartbeat):
        def dead(self, now: float) -> bool:
            return False

        def next_at(self) -> float | None:
            return self._next

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        figures = self.profile.heartbeat
        self.heartbeat = self.Beat(figures.server_interval, figures.server_deadline)


@mutant(
    "M37, aiohttp#2368, #1814: the missing pong is noticed, the client is kept",
    fails={"HEARTBEAT-05": "a mute client and a dead link are never reaped"},
)
class UnansweredPingsIgnored(ReferenceServer):
    connection_type = _NeverDead


@mutant(
    "aiohttp and Node's ws at their defaults: no heartbeat",
    fails={
        "HEARTBEAT-05": "without pings nobody is reaped",
        "HEARTBEAT-06": "a proxy cuts the silent link",
    },
)
class NoServerHeartbeat(OtherFigures):
    practised = {"heartbeat": {"server_interval": None}}


class _DeafToPongs(ReferenceConnection):
    class Beat(Heartbeat):
        def pong(self, key: object, now: float) -> bool:
            return False

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        figures = self.profile.heartbeat
        self.heartbeat = self.Beat(figures.server_interval, figures.server_deadline)


@mutant(
    "made up: the pong is compared with something else",
    fails={"HEARTBEAT-05": "who answers is reaped, before any proxy could cut an idle link"},
)
class PongsNotRecognised(ReferenceServer):
    connection_type = _DeafToPongs


class _Wordless(ReferenceConnection):
    def give_up(self, code: int, reason: str) -> None:
        self.transport.abort()


@mutant("made up: a dead client is cut without a Close", fails={"HEARTBEAT-05": "no Close 1011 is written"})
class ReapedWithoutAWord(ReferenceServer):
    connection_type = _Wordless


class _Patient(ReferenceConnection):
    def _check_sending(self) -> None:
        pass


@mutant(
    "M71, open-science#1854: a client that pongs but never drains is kept for ever",
    fails={"HEARTBEAT-05": "there is no send deadline"},
)
class NeverDrainingClientKept(ReferenceServer):
    connection_type = _Patient


class _Hoarding(ReferenceConnection):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=2**40)


@mutant(
    "M69, ws#1830, Fleck#265: the send buffer of a slow reader has no bound",
    fails={"HEARTBEAT-05": "what is never full is never stalled"},
)
class UnboundedSendBuffer(ReferenceServer):
    connection_type = _Hoarding


class _Hasty(ReferenceConnection):
    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_timer()
        self._timer = self.loop.call_later(self.profile.heartbeat.server_deadline / 10, self.transport.abort)


@mutant(
    "M74, gorilla/websocket#885: the write deadline kills merely slow clients",
    fails={"HEARTBEAT-05": "a client that pauses for half the send deadline is cut"},
)
class WriteDeadlineKillsSlowClients(ReferenceServer):
    connection_type = _Hasty


# --- shutdown


@mutant("M76, Kludex/uvicorn#1344: 1006 at SIGTERM", fails={"CLOSE-02": "TCP is ended without a Close"})
class AbortsAtStop(ReferenceServer):
    async def drain(self, *given: Any, **options: Any) -> None:
        for connection in tuple(self._listener.connections):
            connection.transport.abort()


class _Waiting(ReferenceConnection):
    async def finish(self, code: int, reason: str = "", *, last: str | None = None, discard: bool = False) -> None:
        self.close_timeout = 3600.0
        await super().finish(code, reason, last=last, discard=discard)


@mutant(
    "M77, uvloop#180, fastapi#709: shutdown hangs on open sockets; a close handshake has no deadline",
    fails={"CLOSE-04": "a client that does not answer a Close keeps its connection"},
)
class CloseHandshakeWithoutDeadline(ReferenceServer):
    connection_type = _Waiting


class _Lenient(ReferenceConnection):
    def __init__(self, protocol: Any, server: Any, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        fail = protocol.fail
        protocol.fail = lambda code, reason="": fail(1000 if reason == "invalid status code" else code, reason)


@mutant("aiohttp's reader: 1006 is taken for a code like others", fails={"CLOSE-03": "Close 1006 is answered 1000"})
class ReservedCodesAccepted(ReferenceServer):
    connection_type = _Lenient


# --- security


@mutant(
    "M84, python-engineio#128, awx#2467, keryx#83: Origin unchecked on upgrade",
    fails={"SECURITY-01": "every page is let in"},
)
class OriginUnchecked(OtherFigures):
    practised = {"security": {"origins": None}}


class _Trusting(ReferenceServer):
    """A server that takes some origins for good."""

    def trusts(self, origin: str, allowed: str) -> bool:
        """Whether an origin is good enough."""
        raise NotImplementedError

    def _answer_request(self, connection: Any, request: Request) -> Response | None:
        allowed = self.profile.security.origins
        origins = request.headers.get_all("Origin")
        if allowed and len(origins) == 1 and self.trusts(origins[0], allowed[0]):
            del request.headers["Origin"]
        return super()._answer_request(connection, request)


@mutant(
    "M84: the allowed origin is looked for at the beginning", fails={"SECURITY-01": "app.example.evil.test is let in"}
)
class OriginByPrefix(_Trusting):
    def trusts(self, origin: str, allowed: str) -> bool:
        return origin.startswith(allowed)


@mutant("M84: the allowed host is looked for at the end", fails={"SECURITY-01": "evil-app.example is let in"})
class OriginBySuffix(_Trusting):
    def trusts(self, origin: str, allowed: str) -> bool:
        return origin.endswith(allowed.partition("://")[2])


@mutant("M84: a sandboxed page has the Origin null", fails={"SECURITY-01": "null is let in"})
class NullOriginAllowed(_Trusting):
    def trusts(self, origin: str, allowed: str) -> bool:
        return origin == "null"


class _Crashing(Conversation):
    def receive(self, message: str | bytes, now: float) -> list[dict[str, Any]]:
        frames = super().receive(message, now)
        if any(frame["type"] == "error" for frame in frames):
            asyncio.get_running_loop().create_task(self._hub.server.stop(grace=0))
        return frames


@mutant(
    "M85, grist-core#826, uppy#5920, playwright#40121: one malformed JSON frame kills the process",
    fails={
        "SECURITY-02": "what is sent invalid in a flood ends the server",
        "SECURITY-03": "every client is gone after one bad frame",
    },
)
class BadFrameKillsTheServer(ReferenceServer):
    hub_type = speaking(_Crashing)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._hub.server = self


class _Throwing(Conversation):
    def receive(self, message: str | bytes, now: float) -> list[dict[str, Any]]:
        frames = super().receive(message, now)
        if any(frame["type"] == "error" for frame in frames):
            raise ValueError("nobody has thought of this")
        return frames


@mutant(
    "made up, as of any handler without a try: a bad frame ends its connection with 1011",
    fails={
        "SECURITY-02": "a flood of bad frames gets 1011, not 4429",
        "SECURITY-03": "bad input is a server error",
    },
)
class BadFrameIsAServerError(ReferenceServer):
    hub_type = speaking(_Throwing)


class _Careless(Conversation):
    @staticmethod
    def _plain(number: Any) -> Any:
        """What the parser behind it takes."""
        odd = number != number or number in (float("inf"), "\ud800")
        return 1 if odd else number

    def receive(self, message: str | bytes, now: float) -> list[dict[str, Any]]:
        if isinstance(message, str) and self.session is not None:
            try:
                frame = json.loads(message)
                if frame.get("n") and frame["type"] == "ping":
                    frame["n"] = self._plain(frame["n"])
                message = json.dumps(frame)
            except (ValueError, RecursionError, AttributeError, KeyError):
                pass
        return super().receive(message, now)


@mutant(
    "made up, as of any server with its language's own JSON parser",
    fails={"SECURITY-03": "NaN, repeated keys and numbers beyond a double go through"},
)
class LaxJson(ReferenceServer):
    hub_type = speaking(_Careless)


class _Silent(Conversation):
    def receive(self, message: str | bytes, now: float) -> list[dict[str, Any]]:
        return [frame for frame in super().receive(message, now) if frame["type"] != "error"]


@mutant("made up: bad frames are dropped without a word", fails={"SECURITY-03": "bad input is answered nothing"})
class BadFramesIgnored(ReferenceServer):
    hub_type = speaking(_Silent)


class _Unlimited(ReferenceConnection):
    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.bucket = None


@mutant("every framework at its defaults: no rate limit", fails={"SECURITY-02": "any flood is served"})
class NoRateLimit(ReferenceServer):
    connection_type = _Unlimited


class _ValidOnly(ReferenceConnection):
    def process_event(self, event: Any) -> None:
        bucket = self.bucket
        if isinstance(event, Frame) and (event.opcode is not Opcode.TEXT or not bytes(event.data).startswith(b"{")):
            self.bucket = None
        super().process_event(event)
        self.bucket = bucket


@mutant(
    "made up: the rate limit sits behind the parser",
    fails={"SECURITY-02": "floods of bad messages, pings and fragments cost nothing"},
)
class OnlyValidFramesCharged(ReferenceServer):
    connection_type = _ValidOnly


class _Policy(ReferenceConnection):
    def end(self, reason: Exception) -> None:
        super().end(Ended(1008, "policy") if isinstance(reason, Ended) and reason.code == 4429 else reason)


@mutant("made up: over the rate limit the code is 1008", fails={"SECURITY-02": "a client takes it for final"})
class RateLimitWithAnotherCode(ReferenceServer):
    connection_type = _Policy


@mutant(
    "made up: the burst is half of what is declared",
    fails={"SECURITY-02": "a client within the limit is closed"},
)
class RateLimitTooStrict(OtherFigures):
    practised = {"security": {"burst": 50}}


@mutant("every framework at its defaults: no limit of connections", fails={"SECURITY-04": "a peer has any number"})
class NoConnectionLimit(OtherFigures):
    practised = {"security": {"connections": 100_000}}


@mutant(
    "aiq PR 190, the half of it that is behind a proxy: X-Forwarded-For is not looked at",
    fails={"SECURITY-04": "all clients of a proxy count as one"},
)
class ForwardedForIgnored(OtherFigures):
    practised = {"security": {"trusted_proxies": None}}


@mutant(
    "uvicorn --forwarded-allow-ips='*': X-Forwarded-For is believed, whoever sends it",
    fails={"SECURITY-04": "who invents an address for each connection has any number"},
)
class ForwardedForBelieved(OtherFigures):
    practised = {"security": {"trusted_proxies": ["127.0.0.1"]}}


@mutant("Node's http, uvicorn: a handshake may take for ever", fails={"SECURITY-04": "silent and slow ones are kept"})
class HandshakeWithoutDeadline(OtherOptions):
    def options(self) -> Mapping[str, Any]:
        return {"open_timeout": None}


# --- credentials


@mutant("made up: no deadline for the credentials", fails={"AUTH-05": "who says nothing stays"})
class AuthWithoutDeadline(OtherFigures):
    practised = {"auth": {"timeout": 3600.0}}


class _Forgiving(Conversation):
    def _authenticate(self, message: str | bytes, now: float) -> dict[str, Any]:
        if isinstance(message, str) and '"send"' in message:
            frame = json.loads(message)
            self._hub.broker.publish(self._hub.publication(frame["topic"], frame["data"]))
        return super()._authenticate(message, now)


@mutant("made up: a message before the credentials is published", fails={"AUTH-05": "strangers can publish"})
class PublishesBeforeAuth(ReferenceServer):
    hub_type = speaking(_Forgiving)


class _ResumesAnybody(Conversation):
    def _check_token(self, frame: dict[str, Any]) -> None:
        if "session" not in frame:
            super()._check_token(frame)


@mutant(
    "made up: the resume token is taken for a credential",
    fails={"AUTH-06": "a revoked token resumes"},
)
class ResumeWithoutCredentials(ReferenceServer):
    hub_type = speaking(_ResumesAnybody)


class _Expired(Conversation):
    def _check_token(self, frame: dict[str, Any]) -> None:
        try:
            super()._check_token(frame)
        except Ended as end:
            if end.reason != "token expired":
                raise


@mutant("made up: the expiry of a token is not looked at", fails={"AUTH-01": "an expired token is welcomed"})
class ExpiredTokenAccepted(ReferenceServer):
    hub_type = speaking(_Expired)


@mutant("every access log: the URL is logged with its query", fails={"AUTH-07": "the token is in the log"})
class TokenInTheLog(ReferenceServer):
    def _answer_request(self, connection: Any, request: Request) -> Response | None:
        logger.info("GET %s", request.path)
        return super()._answer_request(connection, request)


class _Quoting(Conversation):
    def _check_token(self, frame: dict[str, Any]) -> None:
        try:
            super()._check_token(frame)
        except Ended as end:
            raise Ended(end.code, f"{end.reason}: {frame.get('token')}") from None


@mutant("made up: the refused token is quoted in the reason", fails={"AUTH-07": "the token is in a Close"})
class TokenInTheReason(ReferenceServer):
    hub_type = speaking(_Quoting)


@mutant("cross-site WebSocket hijacking: a cookie is taken from any page", fails={"AUTH-01": "no Origin check"})
class CookieFromAnyOrigin(ReferenceServer):
    def _answer_request(self, connection: Any, request: Request) -> Response | None:
        if self.profile.security.origins is None and "Origin" in request.headers:
            del request.headers["Origin"]
        return super()._answer_request(connection, request)


# --- sessions


class _Skipping(Session):
    def resume(self, epoch: str, seq: int) -> bool:
        recovered = super().resume(epoch, seq)
        self._sent = self.seq
        return recovered


@mutant(
    "made up: a resumed session goes on with what is new",
    fails={
        "REPLAY-04": "what was missed is neither replayed nor said",
        "REPLAY-03": "so it is lost",
    },
)
class NothingReplayed(ReferenceServer):
    hub_type = remembering(_Skipping)


class _Hushing(Session):
    def next(self) -> Logged | Lost | None:
        item = super().next()
        return super().next() if isinstance(item, Lost) else item


@mutant("M82: the gap is skipped over in silence", fails={"REPLAY-04": "nobody is told of what is lost"})
class GapUnsaid(ReferenceServer):
    hub_type = remembering(_Hushing)


class _Repeating(Session):
    def resume(self, epoch: str, seq: int) -> bool:
        return super().resume(epoch, max(0, seq - 1))


@mutant("made up: the replay begins one too early", fails={"REPLAY-04": "the last message comes twice"})
class ReplayOffByOne(ReferenceServer):
    hub_type = remembering(_Repeating)


class _Repeated(Session):
    def standing(self, id: int) -> Any:
        return "new" if id <= self.last_id else super().standing(id)


@mutant("made up: ids are not remembered", fails={"REPLAY-03": "a message that comes again is delivered twice"})
class IdsNotRemembered(ReferenceServer):
    hub_type = remembering(_Repeated)


class _Open(Session):
    def accepts(self, token: str) -> bool:
        return True


@mutant("made up: the session's id alone resumes it", fails={"REPLAY-08": "the resume token is not looked at"})
class ResumeTokenUnchecked(ReferenceServer):
    hub_type = remembering(_Open)


class _Ephemeral(Session):
    def detach(self, link: Any, now: float) -> None:
        super().detach(link, now - 1e9)


@mutant(
    "state is kept in the connection alone (the spec's common mistakes)",
    fails={
        "REPLAY-03": "what was under way is lost with the connection",
        "REPLAY-04": "nothing is replayed",
        "REPLAY-08": "a session ends before its time",
    },
)
class SessionDiesWithItsConnection(ReferenceServer):
    hub_type = remembering(_Ephemeral)


@mutant("made up: sessions are never given back", fails={"REPLAY-08": "a session outlives its time"})
class SessionsKeptForEver(OtherFigures):
    practised = {"replay": {"session_ttl": 100_000.0}}


class _Anything(Session):
    def resume(self, epoch: str, seq: int) -> bool:
        return super().resume(self.epoch, seq)


@mutant("made up: the epoch is not looked at", fails={"REPLAY-08": "another stream is taken for recovered"})
class EpochUnchecked(ReferenceServer):
    hub_type = remembering(_Anything)


# --- messages


@mutant("no limit of the size of messages", fails={"MESSAGE-03": "there is no Close 1009"})
class NoSizeLimit(OtherOptions):
    def options(self) -> Mapping[str, Any]:
        return {"max_size": None}


@mutant("made up: the limit counts each fragment alone", fails={"MESSAGE-03": "fragments add up beyond it"})
class LimitPerFragment(OtherOptions):
    def options(self) -> Mapping[str, Any]:
        return {"max_size": (None, self.profile.message.max_size)}


@mutant("a blob in one frame", fails={"MESSAGE-04": "it comes down in one piece"})
class BlobsInOnePiece(OtherFigures):
    practised = {"message": {"chunk": 1024 * 1024}}


class _Guessing(Conversation):
    def receive(self, message: str | bytes, now: float) -> list[dict[str, Any]]:
        if isinstance(message, bytes) and message.startswith(b"{"):
            message = message.decode()
        return super().receive(message, now)


@mutant(
    "made up: a binary frame that begins with { is JSON", fails={"MESSAGE-01": "the kind is guessed from the content"}
)
class KindGuessed(ReferenceServer):
    hub_type = speaking(_Guessing)


class _Shuffling(Session):
    _held: Publication | None = None

    def publish(self, publication: Publication) -> None:
        if self._held is None and self.seq % 3 == 1:
            self._held = publication
            asyncio.get_running_loop().call_later(0.01, self._release)
            return
        super().publish(publication)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            super().publish(held)


@mutant(
    "made up: publications pass through several workers",
    fails={
        "MESSAGE-02": "what was sent later arrives earlier",
        "REPLAY-04": "what is replayed is out of order, too",
    },
)
class OutOfOrder(ReferenceServer):
    hub_type = remembering(_Shuffling)


class _Jammed(ReferenceConnection):
    def data_received(self, data: bytes) -> None:
        others = self.listener.connections
        if any(one is not self and one._sending is not None for one in others if isinstance(one, ReferenceConnection)):
            self.loop.call_later(self.profile.heartbeat.server_deadline / 10, self.data_received, data)
            return
        if not self.protocol.reader.eof:
            super().data_received(data)


@mutant(
    "a broadcast that awaits each client in turn",
    fails={"SCALE-05": "while one client takes nothing in, the others wait"},
)
class StalledClientBlocksAll(ReferenceServer):
    connection_type = _Jammed


class _InTurn(Conversation):
    def next(self) -> Logged | Lost | None:
        shell: Any = self._caller
        connection = shell._connection
        if any(one is not connection and one._sending is not None for one in connection.listener.connections):
            connection.loop.call_later(connection.profile.heartbeat.server_deadline / 10, shell.wake)
            return None
        return super().next()


@mutant(
    "made up: who publishes waits for each subscriber in turn, and other tasks answer pings",
    fails={"SCALE-05": "while one client takes nothing in, the others get pongs, and none of what is published"},
)
class StalledClientBlocksBroadcast(ReferenceServer):
    hub_type = speaking(_InTurn)
