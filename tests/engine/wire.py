"""WebSocket as bytes, for tests of the toxics that read it."""

from __future__ import annotations

from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: key\r\n\r\n"
)
MASK = b"\x11\x22\x33\x44"


def frame(opcode: int, payload: bytes, *, final: bool = True, compressed: bool = False, mask: bytes = b"") -> bytes:
    """A frame."""
    size = len(payload)
    length, rest = size, b""
    if size > 125:
        wide = size > 0xFFFF
        length, rest = 126 + wide, size.to_bytes(8 if wide else 2, "big")
    head = bytes([opcode | final << 7 | compressed << 6, length | bool(mask) << 7]) + rest + mask
    return head + (bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if mask else payload)


def close(code: int, reason: str = "") -> bytes:
    """What a Close says."""
    return code.to_bytes(2, "big") + reason.encode()


@dataclass
class Said:
    """A message, or a control frame."""

    opcode: int
    payload: bytes
    frames: int = 1


def listen(data: bytes, *, masked: bool = False) -> list[Said]:
    """What frames say; asserts that they are a valid stream by RFC 6455, but for what is not there yet."""
    said: list[Said] = []
    message: Said | None = None
    place = 0
    while place < len(data):
        first, second = data[place : place + 2]
        opcode, final, length = first & 15, bool(first & 128), second & 127
        place += 2
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[place : place + size], "big")
            place += size
        assert bool(second & 128) is masked
        mask = data[place : place + 4] if masked else b""
        place += len(mask)
        payload = data[place : place + length]
        assert len(payload) == length, "a frame is cut off"
        place += length
        if mask:
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        assert not any(one.opcode == CLOSE for one in said), "something comes after a Close"
        if opcode >= CLOSE:
            assert final
            assert length <= 125
            said.append(Said(opcode, payload))
            continue
        assert (opcode == 0) is (message is not None), "fragments are mixed up"
        if message is None:
            message = Said(opcode, b"", 0)
        message.payload += payload
        message.frames += 1
        if final:
            said.append(message)
            message = None
    return said
