"""The server's side of sessions: what survives a connection, and what goes on the wire next. Sans-I/O.

A session outlives its connections. It knows which of the client's ids it has processed and how it judged
them, which topics it is subscribed to, and the newest messages of its stream, bounded. Times are seconds,
sizes bytes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..profile import Replay
from .protocol import MAX_INTEGER, WINDOW, Frame, ProtocolError, encode_text

Standing = Literal["new", "duplicate", "skip"]


class Link(Protocol):
    """The live connection of a session, as the session sees it."""

    def wake(self) -> None:
        """There may be something to send: :meth:`Session.next` knows."""

    def replaced(self) -> None:
        """Another connection has taken the session over."""


class Publication:
    """One message on a topic; ``data`` is any JSON value, or bytes for a blob.

    Raises:
        ValueError: ``data`` is neither.
    """

    __slots__ = ("data", "size", "topic")

    def __init__(self, topic: str, data: Any) -> None:
        self.topic = topic
        self.data = data
        # As large as it can get on the wire: a message that is logged must also fit there.
        self.size = len(data) if isinstance(data, bytes) else len(encode_text(self.frame(MAX_INTEGER)).encode())

    def frame(self, seq: int) -> Frame:
        """The ``message`` frame under which it travels to one session (of a blob: the header)."""
        header = {"type": "message", "seq": seq, "topic": self.topic}
        return header if isinstance(self.data, bytes) else {**header, "data": self.data}


@dataclass(frozen=True, slots=True)
class Logged:
    """A publication in a session's stream."""

    seq: int
    publication: Publication


@dataclass(frozen=True, slots=True)
class Lost:
    """Sequences ``first`` to ``last`` of a session's stream can no longer be sent."""

    first: int
    last: int

    def frame(self) -> Frame:
        """The ``gap`` frame that says so."""
        return {"type": "gap", "from": self.first, "to": self.last}


class ReplayLog:
    """The newest messages of one stream, bounded in messages and bytes; the newest one is always kept."""

    def __init__(self, messages: int, size: int) -> None:
        self._messages = messages
        self._bytes = size
        self._log: deque[Logged] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._log)

    @property
    def first(self) -> int | None:
        """The oldest sequence that is kept; None where none is."""
        return self._log[0].seq if self._log else None

    def append(self, logged: Logged) -> None:
        """Keep a message, at the cost of the oldest ones where a bound is reached."""
        self._log.append(logged)
        self.size += logged.publication.size
        while len(self._log) > 1 and (len(self._log) > self._messages or self.size > self._bytes):
            self._drop()

    def get(self, seq: int) -> Logged:
        """The message with a sequence that is kept."""
        return self._log[seq - self._log[0].seq]

    def trim(self, seq: int) -> None:
        """Drop everything up to ``seq``."""
        while self._log and self._log[0].seq <= seq:
            self._drop()

    def _drop(self) -> None:
        self.size -= self._log.popleft().publication.size


class Session:
    """One client's session.

    Whoever writes to the client pulls with :meth:`next` until it returns None, and does so again whenever its
    link is woken. So a client that does not read costs its log and nothing more.

    Args:
        detached: called whenever it is left without a connection.
    """

    def __init__(
        self, rng: random.Random, figures: Replay, detached: Callable[[Session], object] = lambda session: None
    ) -> None:
        self._rng = rng
        self._figures = figures
        self._detached = detached
        self.id = new_secret(rng)
        self.link: Link | None = None
        """Its live connection: at most one."""
        self.detached_at: float | None = None
        """Since when it is without a connection; None while it has one."""
        self._tokens: tuple[str, ...] = ()
        self._start_stream()

    def _start_stream(self) -> None:
        self.epoch = new_secret(self._rng)
        self.seq = 0
        self.last_id = 0
        self.topics: set[str] = set()
        self._refused: dict[int, str] = {}
        self._log = ReplayLog(self._figures.log_messages, self._figures.log_bytes)
        self._sent = 0
        self._wire: deque[int] = deque()  # sequences on the wire that the client has not acknowledged

    # --- connections ---

    def attach(self, link: Link) -> None:
        """Make ``link`` the session's connection; an older one is told that it was replaced."""
        older, self.link = self.link, link
        self.detached_at = None
        if older is not None:
            older.replaced()

    def detach(self, link: Link, now: float) -> None:
        """The connection ``link`` has ended; nothing happens where another has taken over."""
        if self.link is link:
            self.link = None
            self.detached_at = now
            self._detached(self)

    def resume(self, epoch: str, seq: int) -> bool:
        """Go on for a client that has received up to ``seq`` of ``epoch``; tells whether that is possible.

        Where it is not (the stream is another), the session starts a new stream, with nothing subscribed.
        """
        if epoch != self.epoch or seq > self.seq:
            self._start_stream()
            return False
        self._log.trim(seq)
        self._sent = seq
        self._wire.clear()
        return True

    def issue_token(self, presented: str | None = None) -> str:
        """A new resume token; the one that was ``presented`` stays valid until :meth:`confirm`."""
        token = new_secret(self._rng)
        self._tokens = (token,) if presented is None else (presented, token)
        return token

    def confirm(self) -> None:
        """A frame after ``welcome`` has come in: the client has the newest token, older ones are void."""
        self._tokens = self._tokens[-1:]

    def accepts(self, token: str) -> bool:
        """Whether ``token`` may resume this session."""
        return token in self._tokens

    def new_epoch(self) -> None:
        """Make the stream another one for whoever resumes next; a live connection goes on with the old."""
        self.epoch = new_secret(self._rng)

    # --- the client's ids ---

    def standing(self, id: int) -> Standing:
        """Whether a client id is the next one, was processed before, or skips ahead."""
        if id <= self.last_id:
            return "duplicate"
        return "new" if id == self.last_id + 1 else "skip"

    def settle(self, id: int, error: str | None = None) -> Frame:
        """Consume the next id with its verdict (``error``: why it is refused); returns its ``ack``."""
        self.last_id = id
        if error is not None:
            self._refused[id] = error
            # A client holds no more unsettled messages than this, so older verdicts interest nobody.
            while len(self._refused) > self._figures.queue_messages:
                del self._refused[next(iter(self._refused))]
        return self.verdict(id)

    def verdict(self, id: int) -> Frame:
        """The ``ack`` frame of a processed id."""
        error = self._refused.get(id)
        ack: Frame = {"type": "ack", "id": id, "ok": error is None}
        return ack if error is None else {**ack, "error": error}

    @property
    def rejected(self) -> list[Frame]:
        """The refused ids with their reasons, oldest first, as ``welcome`` carries them."""
        return [{"id": id, "error": error} for id, error in self._refused.items()]

    # --- the stream to the client ---

    def publish(self, publication: Publication) -> None:
        """Append a publication to the stream."""
        self.seq += 1
        self._log.append(Logged(self.seq, publication))
        self._wake()

    def next(self) -> Logged | Lost | None:
        """What goes on the wire now: a message, what is lost before it, or None (all sent, or window full)."""
        if self._sent >= self.seq or len(self._wire) >= WINDOW:
            return None
        first = self._log.first
        if first is None:
            first = self.seq + 1
        if first > self._sent + 1:
            lost = Lost(self._sent + 1, first - 1)
            self._sent = lost.last
            return lost
        self._sent += 1
        self._wire.append(self._sent)
        return self._log.get(self._sent)

    def acknowledge(self, seq: int) -> None:
        """The client has received everything up to ``seq``.

        Raises:
            ProtocolError: ``seq`` was not sent yet.
        """
        if seq > self._sent:
            raise ProtocolError(f"ack of {seq}, but only {self._sent} were sent")
        while self._wire and self._wire[0] <= seq:
            self._wire.popleft()
        self._log.trim(seq)
        self._wake()

    def _wake(self) -> None:
        if self.link is not None:
            self.link.wake()


class Sessions:
    """All sessions of one server; those without a connection are forgotten after ``session_ttl``."""

    def __init__(self, rng: random.Random, figures: Replay) -> None:
        self._rng = rng
        self._figures = figures
        self._sessions: dict[str, Session] = {}
        # Who was left without a connection, and when, in that order; some have one again meanwhile.
        self._waiting: deque[tuple[float | None, Session]] = deque()

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: Session) -> bool:
        return self._sessions.get(session.id) is session

    def create(self) -> Session:
        """A new session, with a connection."""
        session = Session(self._rng, self._figures, self._waits)
        self._sessions[session.id] = session
        return session

    def _waits(self, session: Session) -> None:
        self._waiting.append((session.detached_at, session))

    def find(self, id: str, resume_token: str, now: float) -> Session | None:
        """The session that ``resume_token`` may resume; None where it is unknown, expired or the token is void."""
        session = self._sessions.get(id)
        if session is None or not session.accepts(resume_token):
            return None
        expires = self._expiry(session)
        return None if expires is not None and expires <= now else session

    def expire(self, now: float) -> list[Session]:
        """Forget the sessions whose time is over, and return them."""
        over = []
        while (at := self.next_expiry()) is not None and at <= now:
            session = self._waiting.popleft()[1]
            del self._sessions[session.id]
            over.append(session)
        return over

    def next_expiry(self) -> float | None:
        """The instant at which :meth:`expire` has something to do, if no client comes back before."""
        # All wait equally long, so the first is the next. No more is looked at: a herd has thousands of them.
        while self._waiting:
            since, session = self._waiting[0]
            if since is not None and since == session.detached_at and session in self:
                return self._expiry(session)
            self._waiting.popleft()
        return None

    def forget_all(self) -> list[Session]:
        """Forget every session, and return those that have no connection; the others end with theirs."""
        detached = [session for session in self._sessions.values() if session.detached_at is not None]
        self._sessions.clear()
        return detached

    def new_epoch(self) -> None:
        """Give every session another stream, as after a broker that lost its log."""
        for session in self._sessions.values():
            session.new_epoch()

    def _expiry(self, session: Session) -> float | None:
        return None if session.detached_at is None else session.detached_at + self._figures.session_ttl


def new_secret(rng: random.Random) -> str:
    """128 bits that nobody guesses, where ``rng`` is a good one; the same again for the same seed."""
    return f"{rng.getrandbits(128):032x}"
