"""A WebSocket client that does what it is told, right or wrong, and notes what comes back, and when."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ...engine.frames import FrameHead, Head, Malformed, Opcode, StreamReader, unmask

KEY = "d3NjaGFvcyByYXcgY2xpZQ=="
"""A Sec-WebSocket-Key: any 16 bytes."""
MASK = bytes.fromhex("5ac31e87")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message or a control frame. ``at`` is in seconds from the start of the record."""

    at: float
    opcode: Opcode
    payload: bytes

    @property
    def code(self) -> int | None:
        """The code of a Close; None: it has none."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None

    @property
    def reason(self) -> str:
        """The reason of a Close."""
        return self.payload[2:].decode(errors="replace")


class RawClient(asyncio.Protocol):
    """One connection. Nothing is sent that was not asked for, but pongs and the answer to a Close.

    Args:
        now: tells the seconds from the start of the record.
        name: of its listener.
    """

    def __init__(self, now: Callable[[], float], name: str) -> None:
        self.name = name
        self.pongs = True
        """Whether it answers pings."""
        self.closes = True
        """Whether it answers a Close."""
        self.status: int | None = None
        """Of the answer to its upgrade; None: none has come."""
        self.headers: Mapping[str, str] = {}
        self.frames: list[Arrived] = []
        """What has come in, in order."""
        self.close: Arrived | None = None
        """The server's Close."""
        self.ended: float | None = None
        """When the other side ended TCP."""
        self.how: Literal["fin", "reset"] = "fin"
        self.received = 0
        """Bytes that have come in."""
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._reader = StreamReader(begins=b"HTTP/")
        self._transport: asyncio.Transport | None = None
        self._changed: set[asyncio.Future[None]] = set()
        self._full = False
        self._left = False

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        try:
            for item in self._reader.feed(data):
                if isinstance(item, Head):
                    self.status, self.headers = int(item.start[1]), item.headers
                    self._reader.frames = self.status == 101
                else:
                    self._arrived(Arrived(self._now(), item.opcode, item.payload or b""))
        except (Malformed, ValueError):
            self._reader.frames = False  # a server that sends no WebSocket has sent no answer
        self._tell()

    def _arrived(self, frame: Arrived) -> None:
        self.frames.append(frame)
        match frame.opcode:
            case Opcode.PING:
                if self.pongs:
                    self.frame(Opcode.PONG, frame.payload)
            case Opcode.CLOSE:
                self.close = self.close or frame
                if self.closes:
                    self.frame(Opcode.CLOSE, frame.payload[:2])
                    self.closes = False
            case Opcode.TEXT | Opcode.BINARY:
                self.heard(frame)

    def heard(self, frame: Arrived) -> None:
        """A message has come; for subclasses that answer."""

    def eof_received(self) -> None:
        self._end("fin")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("reset" if exc is not None else "fin")

    def _end(self, how: Literal["fin", "reset"]) -> None:
        if self.ended is None and not self._left:
            self.ended, self.how = self._now(), how
        self._tell()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._tell()

    def _tell(self) -> None:
        for waiting in tuple(self._changed):
            if not waiting.done():
                waiting.set_result(None)

    # --- what it is told

    def upgrade(self, host: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The request of a handshake."""
        lines = {
            "Host": host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._transport is not None and not self.over and not self._transport.is_closing():
            self._transport.write(data)

    def frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True
    ) -> None:
        """Send one frame; ``reserved``: the three bits for extensions."""
        self.write(encode(opcode, payload, fin=fin, reserved=reserved, masked=masked))

    def text(self, text: str) -> None:
        """Send a text message in one frame."""
        self.frame(Opcode.TEXT, text.encode())

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close, whatever the code."""
        self.frame(Opcode.CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())

    def pause_reading(self) -> None:
        """Take nothing in any more."""
        if self._transport is not None and not self.over:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take in again."""
        if self._transport is not None and not self.over:
            self._transport.resume_reading()

    def leave(self) -> None:
        """End TCP, without a word."""
        self._left = True
        if self._transport is not None:
            self._transport.abort()

    # --- what has come of it

    @property
    def over(self) -> bool:
        """Whether TCP has ended, whoever did."""
        return self._left or self.ended is not None

    @property
    def open(self) -> bool:
        """Whether it was accepted, and no end of it is in sight."""
        return self.status == 101 and self.close is None and not self.over

    @property
    def full(self) -> bool:
        """Whether what was sent waits, because the other side takes nothing in."""
        return self._full

    @property
    def texts(self) -> list[str]:
        """The text messages that have come in."""
        return [f.payload.decode(errors="replace") for f in self.frames if f.opcode is Opcode.TEXT]

    async def until(self, met: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so, for so many seconds at most; tells whether it is."""
        end = self._loop.time() + seconds
        while not met():
            waiting = self._loop.create_future()
            self._changed.add(waiting)
            try:
                async with asyncio.timeout_at(end):
                    await waiting
            except TimeoutError:
                return met()
            finally:
                self._changed.discard(waiting)
        return True

    async def flushed(self, seconds: float) -> bool:
        """Wait until there is room for more, or the connection is over; False: there is none in so many seconds."""
        return await self.until(lambda: not self._full or self.over, seconds)

    async def connect(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        """Connect, and send nothing yet.

        Raises:
            OSError: it was refused.
        """
        await self._loop.create_connection(lambda: self, host, port, ssl=context)


def encode(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A frame as a client sends it, or (not masked) must not."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask = MASK if masked else b""
    head = FrameHead(first, Opcode.CONTINUATION, len(payload), mask, 0).encode()
    return head + (unmask(payload, mask) if masked else payload)
