"""Reads a WebSocket stream one way: the HTTP head, then messages. It only looks; nothing is changed or answered."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

HEAD_LIMIT = 64 * 1024
"""Bytes that an HTTP head may have."""
PAYLOAD_LIMIT = 1024 * 1024
"""Bytes of a message that are kept; a larger one is told by its size alone."""


CONTROL_LIMIT = 125
"""Bytes that a control frame may have."""


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection, in both directions."""


class Malformed(ValueError):
    """The stream is not what RFC 6455 says; nothing after this point can be read."""


class Encrypted(Malformed):
    """The bytes are encrypted."""


class FrameHead(NamedTuple):
    """What stands before a frame's payload."""

    first: int
    """The first byte as it came: final, three bits for extensions, opcode."""
    opcode: Opcode
    length: int
    """Bytes of the payload."""
    mask: bytes
    """Four bytes; none where the payload is not masked."""
    size: int
    """Bytes of the head itself."""

    @property
    def final(self) -> bool:
        """Whether the message ends with this frame."""
        return bool(self.first & 0x80)

    @property
    def compressed(self) -> bool:
        """Whether the message that begins with it is compressed (RFC 7692)."""
        return bool(self.first & 0x40)

    @property
    def control(self) -> bool:
        """Whether it stands for itself, and may come between a message's frames."""
        return self.opcode >= Opcode.CLOSE

    def encode(self) -> bytes:
        """The bytes that stand for it."""
        if self.length < 126:
            length = bytes([self.length])
        elif self.length < 65536:
            length = b"\x7e" + self.length.to_bytes(2, "big")
        else:
            length = b"\x7f" + self.length.to_bytes(8, "big")
        masked = 0x80 if self.mask else 0
        return bytes([self.first, length[0] | masked]) + length[1:] + self.mask


def read_head(buffer: bytes | bytearray, start: int = 0) -> FrameHead | None:
    """The head of the frame that begins at ``start``; None: there is not all of it yet.

    Raises:
        Malformed: none can begin like this.
    """
    if len(buffer) < start + 2:
        return None
    first, second = buffer[start], buffer[start + 1]
    length, size = second & 0x7F, 2
    if length >= 126:
        size += 2 if length == 126 else 8
        if len(buffer) < start + size:
            return None
        length = int.from_bytes(buffer[start + 2 : start + size], "big")
    try:
        opcode = Opcode(first & 0x0F)
    except ValueError:
        raise Malformed(f"unknown opcode {first & 0x0F}") from None
    if opcode >= Opcode.CLOSE and length > CONTROL_LIMIT:
        raise Malformed(f"a control frame of {length} bytes")
    if not second & 0x80:
        return FrameHead(first, opcode, length, b"", size)
    if len(buffer) < start + size + 4:
        return None
    return FrameHead(first, opcode, length, bytes(buffer[start + size : start + size + 4]), size + 4)


@dataclass(frozen=True, slots=True)
class Head:
    """An HTTP request or response. ``start`` is its first line in three parts, header names are in lower case."""

    start: tuple[str, str, str]
    headers: Mapping[str, str]


class Seen(NamedTuple):
    """A message, or a control frame. ``payload`` is None where it is too large or cannot be inflated."""

    opcode: Opcode
    size: int
    payload: bytes | None


ALONE: Mapping[int, Opcode] = {0x80 | opcode: opcode for opcode in Opcode if opcode is not Opcode.CONTINUATION}
"""First bytes of frames that are a whole message, and not compressed."""


class Frame(NamedTuple):
    """A whole frame. ``payload`` is None where it was too large to be kept."""

    final: bool
    compressed: bool
    opcode: Opcode
    size: int
    payload: bytes | None


INFLATED_LIMIT = 8 * PAYLOAD_LIMIT
"""Bytes up to which a compressed message is followed; what is larger takes too long, and those after it are not
read."""


class Inflater:
    """Undoes permessage-deflate (RFC 7692) for one direction."""

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._lost = False
        self._state = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate(self, data: bytes | None) -> bytes | None:
        """The message in plain; None where it is too large, and once the stream can no longer be followed.

        ``data`` is None for a message that was not kept: with context takeover those after it lean on it.
        """
        if not self._takeover:
            self._state = zlib.decompressobj(-zlib.MAX_WBITS)
        elif data is None:
            self._lost = True
        if data is None or self._lost:
            return None
        try:
            plain = self._state.decompress(data + b"\x00\x00\xff\xff", PAYLOAD_LIMIT + 1)
            for _ in range(INFLATED_LIMIT // PAYLOAD_LIMIT):
                if not self._state.unconsumed_tail:
                    break
                # Thrown away, but the next message may refer to it.
                self._state.decompress(self._state.unconsumed_tail, PAYLOAD_LIMIT)
            self._lost = self._takeover and bool(self._state.unconsumed_tail)
        except zlib.error:
            self._lost = self._takeover
            return None
        return plain if len(plain) <= PAYLOAD_LIMIT else None


class StreamReader:
    """Fed with the bytes of one direction, it yields first the :class:`Head`, then what was :class:`Seen`.

    Args:
        head_limit: bytes that the head may have.
        keep: bytes of a frame's payload that are kept; a larger frame is told by its size alone, once it has passed.
        begins: what the head must begin with, so that anything else is known at its first byte.

    The owner sets ``inflater`` between the handshake and the first frame when compression was agreed, and
    ``frames`` to False when the handshake failed, after which nothing more is read.
    """

    def __init__(self, *, head_limit: int | None = None, keep: int | None = None, begins: bytes = b"") -> None:
        self._head_limit = HEAD_LIMIT if head_limit is None else head_limit
        self._keep = PAYLOAD_LIMIT if keep is None else keep
        self._begins = begins
        self.inflater: Inflater | None = None
        self.frames = True
        self._buffer = bytearray()
        self._head_done = False
        self._opcode = Opcode.CONTINUATION
        self._compressed = False
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping: tuple[bool, bool, Opcode, int] | None = None
        self._to_skip = 0
        self._begun = False

    def whole(self, data: bytes) -> tuple[Seen, ...] | None:
        """The messages of a piece that is frames which each are one, as most are; None: it has to be fed.

        The state of the stream plays no part in it, so what passes several streams is read once for all of them.
        """
        found, at, size = [], 0, len(data)
        while at < size:
            if size - at < 2 or (opcode := ALONE.get(data[at])) is None:
                return None
            second = data[at + 1]
            length, start = second & 0x7F, at + 2
            if length == 126 and opcode < Opcode.CLOSE:
                length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif length >= 126:
                return None
            mask = b""
            if second & 0x80:
                mask, start = data[start : start + 4], start + 4
            at = start + length
            if at > size or length > self._keep:
                return None
            payload = data[start:at]
            found.append(Seen(opcode, length, unmask(payload, mask) if mask else payload))
        return tuple(found)

    @property
    def between(self) -> bool:
        """Whether the next byte begins a message."""
        return self._head_done and self.frames and not (self._buffer or self._begun or self._skipping)

    def feed(self, data: bytes) -> Iterator[Head | Seen]:
        """What is complete with this data, messages put together of their fragments.

        Raises:
            Malformed: it is no HTTP head, or no frame.
        """
        for item in self.read(data):
            if isinstance(item, Head):
                yield item
            elif (seen := self._assemble(*item)) is not None:
                yield seen

    def read(self, data: bytes) -> Iterator[Head | Frame]:
        """What is complete with this data, frame by frame.

        Raises:
            Malformed: it is no HTTP head, or no frame.
        """
        if not self.frames:
            return
        self._buffer += data
        while self.frames:
            if not self._head_done:
                if (head := self._read_head()) is None:
                    return
                yield head
            elif (frame := self._skip() if self._skipping else self._frame()) is None:
                return
            else:
                yield frame

    def expect_head(self) -> None:
        """Another head follows: the one before was only a provisional answer."""
        self._head_done = False

    def _read_head(self) -> Head | None:
        if self._buffer.startswith(TLS_HANDSHAKE):
            raise Encrypted("TLS, which the proxy passes on as it is")
        if not self._begins.startswith(self._buffer[: len(self._begins)]):
            raise Malformed("not the head of WebSocket's handshake")
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > self._head_limit:
                raise Malformed("no end of the HTTP head")
            return None
        text = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 4]
        self._head_done = True
        return parse_head(text)

    def _skip(self) -> Frame | None:
        """Throw the bytes of a large frame away as they come; the frame, once they all have."""
        step = min(self._to_skip, len(self._buffer))
        del self._buffer[:step]
        self._to_skip -= step
        if self._to_skip or self._skipping is None:
            return None
        (final, compressed, opcode, length), self._skipping = self._skipping, None
        return Frame(final, compressed, opcode, length, None)

    def _frame(self) -> Frame | None:
        """The next whole frame."""
        buffer = self._buffer
        if (head := read_head(buffer)) is None:
            return None
        if head.length > self._keep:
            del buffer[: head.size]
            self._skipping, self._to_skip = (head.final, head.compressed, head.opcode, head.length), head.length
            return self._skip()
        end = head.size + head.length
        if len(buffer) < end:
            return None
        payload = bytes(buffer[head.size : end])
        if head.mask:
            payload = unmask(payload, head.mask)
        del buffer[:end]
        return Frame(head.final, head.compressed, head.opcode, head.length, payload)

    def _assemble(self, final: bool, compressed: bool, opcode: Opcode, size: int, payload: bytes | None) -> Seen | None:
        """Put fragments together; control frames may come between them."""
        if opcode >= Opcode.CLOSE:
            return Seen(opcode, size, payload)
        if opcode is not Opcode.CONTINUATION:
            self._opcode, self._compressed = opcode, compressed
            self._parts, self._size = [], 0
        self._size += size
        if self._size > PAYLOAD_LIMIT:
            self._parts = []
        elif payload is not None:
            self._parts.append(payload)
        self._begun = not final
        if not final:
            return None
        whole = b"".join(self._parts) if self._size <= PAYLOAD_LIMIT else None
        if self._compressed:
            whole = self.inflater.inflate(whole) if self.inflater is not None else None
        self._parts = []
        return Seen(self._opcode, self._size, whole)


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Undo a client's masking."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


@functools.lru_cache(maxsize=4)  # it passes both sides of the proxy
def parse_head(text: str) -> Head:
    """A head from its text, without the empty line.

    Raises:
        Malformed: it is none.
    """
    first, *lines = text.split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2:
        raise Malformed(f"not an HTTP head: {first[:40]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key, value = name.strip().lower(), value.strip()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Head((parts[0], parts[1], parts[2] if len(parts) > 2 else ""), headers)


def inflaters(response: Head) -> tuple[Inflater | None, Inflater | None]:
    """What undoes the compression that a server's answer agreed to: upwards, downwards."""
    for extension in response.headers.get("sec-websocket-extensions", "").split(","):
        name, *parameters = (part.strip() for part in extension.split(";"))
        if name == "permessage-deflate":
            return (
                Inflater(takeover="client_no_context_takeover" not in parameters),
                Inflater(takeover="server_no_context_takeover" not in parameters),
            )
    return None, None
