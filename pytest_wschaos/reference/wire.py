"""The one place that reaches under the lid of ``websockets``: a connection that writes without waiting.

A client that waits in ``send`` cannot at the same time decide what goes first. This connection writes what it is
given at once, says whether the network takes more, and tells of each piece of data that comes in. It also ends
for certain: a Close that the peer does not follow up is cut after the close timeout (CLOSE-04).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State

from .protocol import clip_reason

# What the library logs may hold the URL, and with it a token. This logger is nobody's child and says nothing.
QUIET = logging.Logger("pytest_wschaos.reference")
QUIET.disabled = True


_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Listener(Protocol):
    """Who is told of what happens on a wire."""

    def message(self, message: str | bytes) -> None:
        """A message came in; only those that came in pieces, and those behind them, are left to ``recv_next``."""

    def progress(self) -> None:
        """A piece of an unfinished message came in."""

    def frame_pong(self, payload: bytes) -> None:
        """A protocol-level pong came in."""

    def writable(self) -> None:
        """The network takes more again."""


class Wire(ClientConnection):
    """A WebSocket connection for one :class:`Listener`, which is set once the handshake is done."""

    listener: Listener | None = None
    _whole = False
    _behind = 0  # messages that are left to `recv_next`, and not taken there yet
    _partial = False  # a message has begun that is left to it
    _cut: asyncio.TimerHandle | None = None

    def write(self, payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> None:
        """Write one frame now. After the connection has begun to close nothing is written.

        ``fin`` is False for all but the last piece of a fragmented message; the pieces after the first have
        the opcode ``CONT``.
        """
        if not self.open:
            return
        match opcode:
            case Opcode.TEXT:
                self.protocol.send_text(payload, fin)
            case Opcode.BINARY:
                self.protocol.send_binary(payload, fin)
            case Opcode.CONT:
                self.protocol.send_continuation(payload, fin)
            case _:
                self.protocol.send_ping(payload)
        self.send_data()

    @property
    def open(self) -> bool:
        """Whether neither side has begun to close."""
        return self.protocol.state is State.OPEN

    @property
    def unsent(self) -> int:
        """Bytes written and not yet taken by the operating system."""
        return self.transport.get_write_buffer_size()

    def begin_close(self, code: int, reason: str) -> None:
        """Send Close and go on; the connection ends when the peer has answered, or is cut."""
        if self.open:
            self.protocol.send_close(code, clip_reason(reason))
            self.send_data()
            self._cut_later()

    def abandon(self, code: int, reason: str) -> None:
        """Send Close, and end the connection at once: nobody is there to answer."""
        self.begin_close(code, reason)
        self.transport.abort()

    def _cut_later(self) -> None:
        if self._cut is None and self.close_timeout is not None:
            self._cut = self.loop.call_later(self.close_timeout, self.transport.abort)

    async def recv_next(self) -> str | bytes:
        """The next message of those that the listener was not handed.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        message: str | bytes = await self.recv()
        self._behind -= 1
        return message

    # --- what the library calls

    def data_received(self, data: bytes) -> None:
        self._whole = self.response is None
        super().data_received(data)
        if self.listener is not None and not self._whole:
            self.listener.progress()
        if self.protocol.state is State.CLOSING:
            self._cut_later()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Response) or not isinstance(event, Frame):
            super().process_event(event)
            return
        self._whole = self._whole or event.fin
        if not self._handed_over(event):
            super().process_event(event)
        if event.opcode is Opcode.PONG and self.listener is not None:
            self.listener.frame_pong(bytes(event.data))

    def _handed_over(self, frame: Frame) -> bool:
        """Whether the frame is a message that went to the listener at once, so that no task need be woken for it."""
        if frame.opcode not in _DATA:
            return False
        if frame.fin and not self._partial and not self._behind and self.listener is not None:
            data = bytes(frame.data)
            try:
                message = data.decode() if frame.opcode is Opcode.TEXT else data
            except UnicodeDecodeError:
                pass  # the library closes 1007
            else:
                self.listener.message(message)
                return True
        self._partial = not frame.fin
        self._behind += frame.fin
        return False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.listener is not None:
            self.listener.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)


class Dial(connect):
    """``websockets.connect`` that follows no redirect: credentials stay with the origin that they are for."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
