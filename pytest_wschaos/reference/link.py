"""One connection of the reference client, from the open handshake to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from ..profile import Profile
from .close_policy import End
from .heartbeat import Heartbeat
from .inbox import Inbox
from .outbox import Outbox, Outgoing
from .pacer import Pacer
from .protocol import (
    CloseCode,
    Frame,
    NotJson,
    ProtocolError,
    Reassembly,
    UnknownType,
    check_down,
    chunks,
    decode_binary,
    decode_text,
    encode_text,
)
from .wire import Wire

Piece = tuple[bytes, Opcode, bool]
"""Payload, opcode, and whether it ends a message."""


class Owner(Protocol):
    """The client, as its link sees it."""

    def welcomed(self, welcome: Frame) -> None:
        """The credentials were accepted; the outbox and the inbox are to be brought up to date."""

    def settled(self, request: Outgoing, error: str | None) -> None:
        """A request was accepted (None) or refused by the server."""

    def arrived(self) -> None:
        """The inbox has something for the application."""

    def moved(self) -> None:
        """Something was written or settled: there may be room for more."""


class Link:
    """Speaks ``wschaos.v1`` on one wire. All that must outlive the connection is in the outbox and the inbox.

    Its timers die with it. Nothing here waits: what may be written is written, the rest when a timer, an
    answer or the network says so.
    """

    heartbeat_type: ClassVar[type[Heartbeat]] = Heartbeat
    """What a subclass may replace by its own."""

    def __init__(self, wire: Wire, profile: Profile, outbox: Outbox, inbox: Inbox, owner: Owner) -> None:
        beat = profile.heartbeat
        self._wire = wire
        self._profile = profile
        self._outbox = outbox
        self._inbox = inbox
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._heartbeat = self.heartbeat_type(beat.interval, beat.deadline, beat.proof_of_life)
        self._blobs = Reassembly(profile.message.max_size)
        self._pacer = self._pace(profile.security.rate, profile.security.burst)
        self._max_message = profile.message.max_size
        self._pieces: Iterator[Piece] | None = None
        self._unwritten = 0
        self._fragmenting = False
        self._pong: Frame | None = None
        self._key = 0
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.TimerHandle | None = None
        self._retry_after: float | None = None
        self._dead = ""
        self._fault: Exception | None = None
        self._wrong: End | None = None
        self._closing = False
        self._pumping = False
        self.ready = False
        wire.listener = self

    def _pace(self, rate: float, burst: float) -> Pacer:
        return Pacer(rate, burst, None if self._profile.heartbeat.interval is None else self._profile.message.chunk)

    # --- from connecting to the end

    async def run(self, token: str | None, deadline: float) -> End:
        """Present the credentials, then read until the connection ends. Not ready by ``deadline``: it is abandoned."""
        self._opening = self._loop.call_at(deadline, self._expire)
        try:
            self._authenticate(token)
            while True:
                self._received(await self._wire.recv_next())
        except ConnectionClosed:
            if self._fault is not None:
                raise self._fault from None
            return self._end()
        finally:
            self._stop_timers()
            self._wire.listener = None
            self._wire.transport.abort()  # nothing to do after an orderly end

    def _authenticate(self, token: str | None) -> None:
        fields: Frame = {"type": "auth"}
        if token is not None and self._profile.auth.mode == "first_message":
            fields["token"] = token
        self._write_frame(fields | self._inbox.resume_fields())

    def close(self, code: int, reason: str) -> None:
        """Close on purpose; :meth:`run` returns when that is done, at the latest after the close timeout."""
        self._closing, self.ready = True, False
        self._stop_timers()
        self._wire.begin_close(code, reason)

    def _expire(self) -> None:
        self._abandon(CloseCode.AUTH_TIMEOUT, f"no welcome within {self._profile.reconnect.open_timeout:g} s")

    def _abandon(self, code: int, reason: str) -> None:
        self._closing, self.ready = True, False
        self._dead = reason
        self._wire.abandon(code, reason)

    def _refuse(self, code: int, reason: str) -> None:
        """The server broke the protocol. It is told, and what it does then does not matter any more."""
        self._wrong = End(code=code, reason=reason, own=True)
        self.close(code, reason)

    def _end(self) -> End:
        wire = self._wire.protocol
        received, sent = wire.close_rcvd, wire.close_sent
        if self._dead and received is None:  # a Close that came before is the end, however long TCP then takes
            return End(code=1006, reason=self._dead, retry_after=self._retry_after)
        if self._wrong is not None:
            return self._wrong
        if sent is not None and not wire.close_rcvd_then_sent and not self._closing:
            return End(code=sent.code, reason=sent.reason, own=True)  # the library found something wrong
        if received is not None:
            return End(code=received.code, reason=received.reason, retry_after=self._retry_after)
        return End(code=1006, reason="the connection broke", retry_after=self._retry_after)

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._opening):
            if timer is not None:
                timer.cancel()
        self._timer = self._opening = None

    # --- in

    def _received(self, message: str | bytes) -> None:
        if self._closing:
            return  # what still comes is not acted on: the session will bring it again
        now = self._loop.time()
        self._heartbeat.traffic(now)
        try:
            frame = self._read(message)
        except UnknownType:
            return  # from a later version of the protocol
        except NotJson as error:
            self._refuse(CloseCode.INVALID_DATA, error.reason)
            return
        except ProtocolError as error:
            self._refuse(CloseCode.TOO_BIG if error.code == 1009 else CloseCode.PROTOCOL_ERROR, error.reason)
            return
        if frame is not None and (self.ready or frame["type"] == "welcome"):
            self._HANDLERS[frame["type"]](self, frame, now)
            self.pump()

    def _read(self, message: str | bytes) -> Frame | None:
        if isinstance(message, str):
            frame = decode_text(message)
            check_down(frame)
            return frame
        frame, body = decode_binary(message)
        check_down(frame, binary=True)
        blob = self._blobs.add(frame["seq"], frame["chunk"], body)
        return None if blob is None else {**frame, "data": blob}

    def _on_welcome(self, frame: Frame, now: float) -> None:
        if self.ready:
            return
        if self._opening is not None:
            self._opening.cancel()
        self._max_message = int(frame.get("max_message", self._max_message))
        security = self._profile.security
        self._pacer = self._pace(frame.get("rate") or security.rate, max(1, frame.get("burst") or security.burst))
        self._pacer.wrote(0, now)  # the credentials were a frame too
        self._heartbeat.start(now)
        self.ready = True
        self._owner.welcomed(frame)

    def _on_message(self, frame: Frame, now: float) -> None:
        self._inbox.on_message(frame["seq"], frame["topic"], frame["data"])
        self._owner.arrived()

    def _on_gap(self, frame: Frame, now: float) -> None:
        self._inbox.on_gap(frame["from"], frame["to"])
        self._owner.arrived()

    def _on_ack(self, frame: Frame, now: float) -> None:
        request = self._outbox.acked(frame["id"])
        if request is not None:
            self._owner.settled(request, None if frame["ok"] else str(frame.get("error") or "refused by the server"))
            self._owner.moved()

    def _on_ping(self, frame: Frame, now: float) -> None:
        self._pong = {"type": "pong", "n": frame["n"]}

    def _on_pong(self, frame: Frame, now: float) -> None:
        self._answered(frame["n"], now)

    def _on_error(self, frame: Frame, now: float) -> None:
        """A frame was refused; that settles no id, and there is nothing to repair."""

    def _on_going_away(self, frame: Frame, now: float) -> None:
        self._retry_after = frame.get("retry_after")

    _HANDLERS: ClassVar[dict[str, Callable[[Link, Frame, float], None]]] = {
        "welcome": _on_welcome,
        "message": _on_message,
        "gap": _on_gap,
        "ack": _on_ack,
        "ping": _on_ping,
        "pong": _on_pong,
        "error": _on_error,
        "going_away": _on_going_away,
    }

    def _answered(self, key: object, now: float) -> None:
        self._heartbeat.pong(key, now)
        self._pacer.answered(key)  # what was written before the ping has come through, whatever the heartbeat thinks

    # --- called by the wire

    def message(self, message: str | bytes) -> None:
        """A message came in. What goes wrong here is raised by :meth:`run`."""
        try:
            self._received(message)
        except Exception as error:
            self._fault = error
            self._wire.transport.abort()

    def progress(self) -> None:
        """A piece of an unfinished message came in: the pong may be behind it."""
        self._heartbeat.progress(self._loop.time())

    def frame_pong(self, payload: bytes) -> None:
        """The answer to a ping that was sent amid a fragmented message."""
        if payload.isdigit():
            self._answered(int(payload), self._loop.time())
            self.pump()

    def writable(self) -> None:
        """The network takes more."""
        self.pump()

    # --- out

    @property
    def unwritten(self) -> int:
        """Bytes of the message under way that are not with the operating system yet."""
        return max(0, self._unwritten) + self._wire.unsent

    def pump(self) -> None:
        """Write what may be written now: heartbeats first, then acknowledgements, then the queue."""
        if not self.ready or not self._wire.open or self._pumping:
            return
        self._pumping = True  # the application, told of something meanwhile, may ask for the same
        try:
            self._pump(self._loop.time())
        finally:
            self._pumping = False
        self._owner.moved()

    def _pump(self, now: float) -> None:
        if self._heartbeat.jumped(now):
            self._heartbeat.test(now)
            self._pacer.hold()  # nothing goes into a link that has not been tested
        self._beat(now)
        while self._may_write(now) and (piece := self._next_piece(now)) is not None:
            self._write_piece(piece, now)
            self._beat(now)
        self._schedule(now)

    def _beat(self, now: float) -> None:
        if self._pong is not None and not self._wire.paused and not self._fragmenting:
            # Where the peer does not read, only the last of its pings is answered: they must not pile up.
            self._write_frame(self._pong)
            self._pong = None
        if self._heartbeat.due(now) or self._pacer.wants_ping:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self._key += 1
        if self._fragmenting:  # only a control frame may come between the fragments of a message
            self._wire.write(str(self._key).encode(), Opcode.PING)
        else:
            self._write_frame({"type": "ping", "n": self._key})
        self._heartbeat.sent(self._key, now)
        self._pacer.asked(self._key)

    def _may_write(self, now: float) -> bool:
        return not self._wire.paused and self._wire.open and self._pacer.wait(now) == 0

    def _next_piece(self, now: float) -> Piece | None:
        if self._pieces is not None and self._fragmenting:
            return next(self._pieces)
        if (seq := self._inbox.ack(now)) is not None:
            self._inbox.ack_sent(seq)
            return encode_text({"type": "ack", "seq": seq}).encode(), Opcode.TEXT, True
        if self._pieces is not None and (piece := next(self._pieces, None)) is not None:
            return piece
        self._pieces = self._begin_next()
        return None if self._pieces is None else next(self._pieces)

    def _begin_next(self) -> Iterator[Piece] | None:
        """Start the next request; those that the server would find too big fail here, and take no id."""
        while (request := self._outbox.to_send(self._pacer.window)) is not None:
            header: Frame = {"type": request.kind, "id": self._outbox.next_id, "topic": request.topic}
            blob = request.data if isinstance(request.data, bytes) else None
            if request.kind == "send" and blob is None:
                header["data"] = request.data
            text = encode_text(header).encode()
            size = len(text) if blob is None else len(blob)
            if size > self._max_message:
                self._owner.settled(
                    self._outbox.refuse(), f"too big: {size} bytes, and the server takes {self._max_message}"
                )
                continue
            self._outbox.begin()
            self._unwritten = size
            return self._fragments(text) if blob is None else self._chunks(header, blob)
        return None

    def _fragments(self, text: bytes) -> Iterator[Piece]:
        size = self._profile.message.chunk
        for start in range(0, len(text), size):
            opcode = Opcode.CONT if start else Opcode.TEXT
            yield text[start : start + size], opcode, start + size >= len(text)

    def _chunks(self, header: Frame, blob: bytes) -> Iterator[Piece]:
        for envelope in chunks(header, blob, self._profile.message.chunk):
            yield envelope, Opcode.BINARY, True

    def _write_piece(self, piece: Piece, now: float) -> None:
        payload, opcode, fin = piece
        self._wire.write(payload, opcode, fin=fin)
        self._fragmenting = not fin
        self._unwritten -= len(payload)
        self._pacer.wrote(len(payload), now)

    def _write_frame(self, frame: dict[str, Any]) -> None:
        self._wire.write(encode_text(frame).encode())

    # --- the one timer

    def _schedule(self, now: float) -> None:
        wait = self._pacer.wait(now)
        times = [self._heartbeat.next_at()]
        if wait is not None and not self._wire.paused:
            ack_at = self._inbox.next_at()
            times.append(None if ack_at is None else max(ack_at, now + wait))
            if wait > 0 and (self._pieces or self._outbox.to_send(self._pacer.window)):
                times.append(now + wait)
        at = min([time for time in times if time is not None], default=None)
        # A timer that is too early is left: when it fires it costs less than moving it at every message.
        if at is None or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(max(at, now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._heartbeat.dead(now) and not self._heartbeat.jumped(now):
            self._abandon(CloseCode.SERVER_ERROR, f"heartbeat: no pong within {self._profile.heartbeat.deadline:g} s")
        else:
            self.pump()
