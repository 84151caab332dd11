"""The server's half of ``wschaos.v1``: what is answered to each frame of one connection. Sans-I/O."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from ..profile import AuthMode, Profile
from .auth import ALL_MODES
from .broker import Broker, MemoryBroker
from .protocol import (
    NUMBERED,
    CloseCode,
    Frame,
    ProtocolError,
    Reassembly,
    UnknownType,
    check_up,
    decode_binary,
    decode_text,
    is_integer,
)
from .session import Link, Logged, Lost, Publication, Session, Sessions
from .tokens import Tokens

MAX_TOPICS = 1000
"""Topics that one session may be subscribed to."""
RECEIVED = 10_000


@dataclass(frozen=True, slots=True)
class Received:
    """What an application has published, once each."""

    topic: str
    data: Any
    session: str
    id: int


class Ended(Exception):
    """A connection must end, with a close code and a reason; ``last`` is what is sent before."""

    def __init__(self, code: int, reason: str, last: Frame | None = None) -> None:
        super().__init__(f"{int(code)} {reason}")
        self.code = code
        self.reason = reason
        self.last = last


def replaced() -> Ended:
    """The end of a connection whose session another one has taken over."""
    return Ended(CloseCode.REPLACED, "replaced by a newer connection")


class Hub:
    """What the connections of one server share: tokens, sessions, subscriptions, and what was received."""

    @property
    def conversation_type(self) -> type[Conversation]:
        """What speaks on each connection."""
        return Conversation

    def __init__(
        self,
        profile: Profile,
        rng: random.Random,
        *,
        tokens: Tokens | None = None,
        modes: Collection[AuthMode] | None = None,
        broker: Broker | None = None,
    ) -> None:
        self.profile = profile
        self.tokens = Tokens(rng) if tokens is None else tokens
        self.modes = ALL_MODES if modes is None else frozenset(modes)
        self.broker: Broker = MemoryBroker() if broker is None else broker
        self.sessions = Sessions(rng, profile.replay)
        self.received: deque[Received] = deque(maxlen=RECEIVED)
        self.refused_topics: set[str] = set()
        """Topics that nobody may publish on: a send to one is refused for itself."""

    def publication(self, topic: str, data: Any) -> Publication:
        """A publication that fits into a message.

        Raises:
            ValueError: the data is no JSON value, or too big; the message says which.
        """
        publication = Publication(topic, data)
        limit = self.profile.message.max_size
        if publication.size > limit:
            raise ValueError(f"too big: a message has {limit} bytes at most")
        return publication

    def forget_expired(self, now: float) -> None:
        """Give back what sessions held whose time is over."""
        for session in self.sessions.expire(now):
            self.unsubscribe_all(session)

    def forget_all(self) -> None:
        """Forget every session: whoever wants to resume is told that it is gone."""
        for session in self.sessions.forget_all():
            self.unsubscribe_all(session)

    def unsubscribe_all(self, session: Session) -> None:
        """End all subscriptions of a session."""
        for topic in session.topics:
            self.broker.unsubscribe(topic, session)
        session.topics = set()


class Caller(Link, Protocol):
    """The I/O shell around a conversation."""

    def ponged(self, key: object) -> None:
        """The client has answered the ping with this key."""


class Conversation:
    """One connection's part of the protocol.

    Args:
        hub: what the connections share.
        credential: the token that came with the handshake, if one did.
        caller: the connection itself.
    """

    def __init__(self, hub: Hub, credential: str | None, caller: Caller) -> None:
        self._hub = hub
        self._credential = credential
        self._caller = caller
        self._unknown_types = 0
        self._blobs = Reassembly(hub.profile.message.max_size)
        self.session: Session | None = None
        """The session, once the client has authenticated."""

    def receive(self, message: str | bytes, now: float) -> list[Frame]:
        """Take one message; returns the answers, in order.

        Raises:
            Ended: the connection must be closed.
        """
        if self.session is None:
            return [self._authenticate(message, now)]
        if self.session.link is not self._caller:
            raise replaced()
        self.session.confirm()
        try:
            return self._answer(self.session, message)
        except UnknownType as error:
            self._unknown_types += 1
            if self._unknown_types > 1:
                raise Ended(error.code, error.reason, _error(error)) from None
            return [_error(error)]
        except ProtocolError as error:
            if error.code == CloseCode.TOO_BIG:
                raise Ended(error.code, error.reason) from None
            return [_error(error)]

    def next(self) -> Logged | Lost | None:
        """What goes to the client now, besides answers; None where there is nothing, or another has taken over."""
        if self.session is None or self.session.link is not self._caller:
            return None
        return self.session.next()

    def leave(self, now: float) -> None:
        """The connection has ended, however."""
        if self.session is not None:
            self.session.detach(self._caller, now)
            if self.session.link is None and self.session not in self._hub.sessions:
                self._hub.unsubscribe_all(self.session)

    # --- credentials ---

    def _authenticate(self, message: str | bytes, now: float) -> Frame:
        try:
            frame = decode_text(message) if isinstance(message, str) else {"type": "binary"}
            if frame["type"] != "auth":
                raise Ended(CloseCode.UNAUTHORISED, "the first frame must be auth")
            check_up(frame)
        except ProtocolError as error:
            raise Ended(CloseCode.UNAUTHORISED, f"not a valid auth: {error.reason}") from None
        self._check_token(frame)
        return self._resume(frame, now) if "session" in frame else self._begin()

    def _check_token(self, frame: Frame) -> None:
        hub = self._hub
        token = frame.get("token") if "first_message" in hub.modes else None
        token = self._credential if token is None else token
        if token is None:
            if "none" in hub.modes:
                return
            raise Ended(CloseCode.UNAUTHORISED, "no token")
        standing = hub.tokens.check(token)
        if standing != "good":
            raise Ended(CloseCode.UNAUTHORISED, f"token {standing}")

    def _begin(self) -> Frame:
        self.session = session = self._hub.sessions.create()
        session.attach(self._caller)
        return self._welcome(session, session.issue_token(), recovered=False)

    def _resume(self, frame: Frame, now: float) -> Frame:
        presented = frame["resume_token"]
        session = self._hub.sessions.find(frame["session"], presented, now)
        if session is None:
            raise Ended(CloseCode.SESSION_GONE, "session unknown")
        topics = session.topics
        recovered = session.resume(frame["epoch"], frame["seq"])
        if not recovered:
            for topic in topics:
                self._hub.broker.unsubscribe(topic, session)
        self.session = session
        session.attach(self._caller)
        return self._welcome(session, session.issue_token(presented), recovered)

    def _welcome(self, session: Session, resume_token: str, recovered: bool) -> Frame:
        profile = self._hub.profile
        return {
            "type": "welcome",
            "session": session.id,
            "resume_token": resume_token,
            "epoch": session.epoch,
            "seq": session.seq,
            "recovered": recovered,
            "last_id": session.last_id,
            "rejected": session.rejected,
            "ping_interval": profile.heartbeat.server_interval,
            "ping_timeout": profile.heartbeat.server_deadline,
            "max_message": profile.message.max_size,
            "rate": profile.security.rate,
            "burst": profile.security.burst,
        }

    # --- frames ---

    def _answer(self, session: Session, message: str | bytes) -> list[Frame]:
        if isinstance(message, bytes):
            frame, body = decode_binary(message)
        else:
            frame, body = decode_text(message), None
        if frame["type"] in NUMBERED and is_integer(frame.get("id"), 1):
            return self._numbered(session, frame, body)
        check_up(frame, binary=body is not None)
        match frame["type"]:
            case "ack":
                session.acknowledge(frame["seq"])
            case "ping":
                return [{"type": "pong", "n": frame["n"]}]
            case "pong":
                self._caller.ponged(frame["n"])
            case _:
                raise ProtocolError("auth is the first frame only")
        return []

    def _numbered(self, session: Session, frame: Frame, body: bytes | None) -> list[Frame]:
        """A frame with a well-formed id: the id gets its one verdict, whatever else is wrong with the frame."""
        id = frame["id"]
        match session.standing(id):
            case "skip":
                error = ProtocolError(f"id {id} skips ahead of {session.last_id + 1}")
                raise Ended(error.code, error.reason, _error(error))
            case "duplicate":
                return [] if _more_chunks(frame, body) else [{**session.verdict(id), "duplicate": True}]
        if body is None:
            self._blobs.clear()  # this id was not that of a blob after all
        try:
            check_up(frame, binary=body is not None)
            if body is not None:
                whole = self._blobs.add(id, frame["chunk"], body)
                if whole is None:
                    return []
                frame["data"] = whole
            self._apply(session, frame)
        except UnknownType:
            raise  # a binary subscribe: there is no such thing
        except ProtocolError as error:
            if error.code == CloseCode.TOO_BIG:
                raise
            return [session.settle(id, error.reason)]
        except ValueError as error:
            return [session.settle(id, str(error))]
        return [session.settle(id)]

    def _apply(self, session: Session, frame: Frame) -> None:
        topic, hub = frame["topic"], self._hub
        match frame["type"]:
            case "send":
                if topic in hub.refused_topics:
                    raise ValueError(f"topic {topic!r:.80} is refused")
                publication = hub.publication(topic, frame["data"])
                hub.received.append(Received(topic, frame["data"], session.id, frame["id"]))
                hub.broker.publish(publication)
            case "subscribe":
                if len(session.topics | {topic}) > MAX_TOPICS:
                    raise ProtocolError(f"a session has {MAX_TOPICS} topics at most")
                session.topics.add(topic)
                hub.broker.subscribe(topic, session)
            case "unsubscribe":
                session.topics.discard(topic)
                hub.broker.unsubscribe(topic, session)


def _error(error: ProtocolError) -> Frame:
    return {"type": "error", "code": int(error.code), "reason": error.reason}


def _more_chunks(frame: Frame, body: bytes | None) -> bool:
    chunk = frame.get("chunk")
    return body is not None and isinstance(chunk, list) and len(chunk) == 2 and chunk[0] != chunk[1]
