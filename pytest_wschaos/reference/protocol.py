"""The frames of the reference protocol ``wschaos.v1``: how they are written, read and validated.

A frame is a ``dict`` with a string ``type``. Text frames carry it as JSON; a binary frame carries it as the
header of an envelope, in front of the bytes. Whoever reads a frame first decodes it, then checks its fields
with :func:`check_up` (client to server) or :func:`check_down` (server to client). Sizes are bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any, NoReturn
from urllib.parse import unquote_plus

SUBPROTOCOL = "wschaos.v1"
COOKIE = "wschaos_token"
WINDOW = 256
"""Messages that a server has unacknowledged on the wire, at most."""

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
"""Beyond this, a JSON number is not the same integer in every language."""
MAX_TOPIC = 256
MAX_HEADER = 4096
MAX_REASON = 123

Frame = dict[str, Any]


class CloseCode(IntEnum):
    """The close codes that the pair uses, by the spec's names."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    SERVER_ERROR = 1011
    RESTART = 1012
    TRY_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORISED = 4401
    FORBIDDEN = 4403
    AUTH_TIMEOUT = 4408
    REPLACED = 4409
    SESSION_GONE = 4410
    RATE_LIMITED = 4429


class ProtocolError(ValueError):
    """A frame breaks the protocol. ``code`` is the close code of the kind of error, ``reason`` says what is wrong."""

    def __init__(self, reason: str, code: int = CloseCode.BAD_REQUEST) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class UnknownType(ProtocolError):
    """A well-formed frame of a type that the protocol does not have in this direction."""


class NotJson(ProtocolError):
    """A text that is no JSON at all: a client closes 1007 on it, a server answers ``error``."""


# --- text ---------------------------------------------------------------------------------------------------


def encode_text(frame: Mapping[str, Any]) -> str:
    """Write a frame as the text of one WebSocket message.

    Raises:
        ValueError: the frame holds what JSON cannot (NaN, bytes, a lone surrogate ...).
    """
    try:
        text = _ENCODER.encode(frame)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a {frame.get('type')!r} frame cannot be written as JSON: {error}") from None
    return text


def decode_text(text: str | bytes) -> Frame:
    """Read a frame from the text of a WebSocket message. Its fields are yet to be checked.

    Raises:
        NotJson: the text is no JSON.
        ProtocolError: it is not one object with a string ``type``, it repeats a key, holds NaN, Infinity or a
            number beyond 2**53 - 1 or a double's range, a lone surrogate, or is nested deeper than 32.
    """
    try:
        frame = _DECODER.decode(text) if isinstance(text, str) else json.loads(text, **_DECODING)
    except ProtocolError:
        raise
    except RecursionError:
        raise ProtocolError(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError:  # json's own message quotes nothing, but says no more than this either
        raise NotJson("not JSON") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise ProtocolError("not an object with a string 'type'")
    if not _plain(text):
        _check_tree(frame)
    return frame


def _plain(text: str | bytes) -> bool:
    """Whether a text can hold neither a lone surrogate nor too many levels. Most do not, and this looks fast."""
    if isinstance(text, bytes):
        return False
    return text.isascii() and "\\" not in text and text.count("{") + text.count("[") <= MAX_DEPTH


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ProtocolError("an object repeats a key")
    return members


def _integer(digits: str) -> int:
    # The length goes first: turning a million digits into an int is slow.
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise ProtocolError("a number is beyond 2**53 - 1")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ProtocolError("a number is beyond a double's range")
    return number


def _constant(name: str) -> NoReturn:
    raise ProtocolError(f"{name} is not JSON")


# Made once: json.dumps() and json.loads() make one for every call that has options.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_DECODING: dict[str, Any] = {
    "object_pairs_hook": _object,
    "parse_int": _integer,
    "parse_float": _float,
    "parse_constant": _constant,
}
_DECODER = json.JSONDecoder(**_DECODING)


def _check_tree(root: Frame) -> None:
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str) and not value.isascii():
                _check_text(value)
        if not below:
            return
        level = below
    raise ProtocolError(f"nested deeper than {MAX_DEPTH}")


def _check_text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ProtocolError("a string holds a lone surrogate") from None


# --- binary -------------------------------------------------------------------------------------------------


def encode_binary(header: Mapping[str, Any], body: bytes) -> bytes:
    """Write a binary envelope: the header's length in 4 bytes (big-endian), the header as JSON, the body."""
    head = encode_text(header).encode()
    return len(head).to_bytes(4, "big") + head + body


def decode_binary(data: bytes) -> tuple[Frame, bytes]:
    """Read a binary envelope: its header, and the bytes after it.

    Raises:
        ProtocolError: the envelope is cut short, its header is longer than 4 096 bytes, or is no frame.
    """
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 or length > len(data) - 4:
        raise ProtocolError("a binary envelope is cut short")
    if length > MAX_HEADER:
        raise ProtocolError(f"a binary header is longer than {MAX_HEADER} bytes")
    try:
        return decode_text(data[4 : 4 + length]), data[4 + length :]
    except NotJson as error:  # the frame is no text, so this is not what 1007 is for
        raise ProtocolError(f"a binary header is {error.reason}") from None


def chunks(header: Mapping[str, Any], body: bytes, size: int) -> Iterator[bytes]:
    """The envelopes in which a blob travels: parts of at most ``size`` bytes, each with ``chunk: [i, n]``."""
    count = max(1, -(-len(body) // size))
    for number in range(1, count + 1):
        part = body[(number - 1) * size : number * size]
        yield encode_binary({**header, "chunk": [number, count]}, part)


class Reassembly:
    """Puts the chunks of one blob at a time together again; ``max_size`` bounds the whole."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._parts: list[bytes] = []
        self._size = 0
        self._next: tuple[object, int, int] | None = None  # key, number and count of the chunk that must come

    @property
    def partial(self) -> bool:
        """Whether a blob has begun and is not whole yet."""
        return self._next is not None

    def add(self, key: object, chunk: list[int], body: bytes) -> bytes | None:
        """Take the chunk ``[i, n]`` of the blob named ``key``; returns the blob after its last chunk.

        Chunk 1 always starts anew, so that a blob can be sent again.

        Raises:
            ProtocolError: the chunk is not the one that must come, or (code 1009) the whole is over the limit.
                What had come so far is dropped.
        """
        number, count = chunk
        expected, size = self._next, self._size + len(body)
        if number == 1:
            self.clear()
            size = len(body)
        elif expected != (key, number, count):
            self.clear()
            raise ProtocolError(f"chunk {number} of {count} is out of order")
        if size > self._max_size:
            self.clear()
            raise ProtocolError(f"a blob is over {self._max_size} bytes", CloseCode.TOO_BIG)
        self._parts.append(body)
        self._size = size
        if number < count:
            self._next = (key, number + 1, count)
            return None
        whole = b"".join(self._parts)
        self.clear()
        return whole

    def clear(self) -> None:
        """Drop what has come of an unfinished blob."""
        self._parts, self._size, self._next = [], 0, None


# --- fields -------------------------------------------------------------------------------------------------


def is_integer(value: object, least: int) -> bool:
    """Whether a JSON value is an integer of at least ``least`` (true and 1.0 are none)."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_INTEGER


def is_topic(value: object) -> bool:
    """Whether a JSON value can name a topic: a string of 1 to 256 characters."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_TOPIC


def is_chunk(value: object) -> bool:
    """Whether a JSON value is ``[i, n]`` with 1 <= i <= n."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(is_integer(number, 1) for number in value)
        and value[0] <= value[1]
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


Field = tuple[Callable[[object], bool], str]
Table = dict[str, list[tuple[str, bool, Callable[[object], bool], str]]]
"""By type: a frame's fields, each with its name, whether it may be absent, and what it must be."""


def _table(kinds: dict[str, dict[str, Field]]) -> Table:
    """A name that ends in ``?`` may be absent: taken apart once, and not for every frame."""
    return {
        kind: [(name.removesuffix("?"), name.endswith("?"), valid, must) for name, (valid, must) in fields.items()]
        for kind, fields in kinds.items()
    }


_TEXT: Field = (_is_text, "a string")
_TOPIC: Field = (is_topic, f"a string of 1 to {MAX_TOPIC} characters")
_ID: Field = (lambda value: is_integer(value, 1), "a positive integer")
_SEQ: Field = (lambda value: is_integer(value, 0), "0 or a positive integer")
_BOOL: Field = (lambda value: isinstance(value, bool), "true or false")
_NUMBER: Field = (_is_number, "a number, 0 or more")
_CHUNK: Field = (is_chunk, "[i, n] with 1 <= i <= n")
_LIST: Field = (lambda value: isinstance(value, list), "a list")
_ANY: Field = (lambda value: True, "present")

_UP = _table(
    {
        "auth": {"token?": _TEXT, "session?": _TEXT, "resume_token?": _TEXT, "epoch?": _TEXT, "seq?": _SEQ},
        "send": {"id": _ID, "topic": _TOPIC, "data": _ANY},
        "subscribe": {"id": _ID, "topic": _TOPIC},
        "unsubscribe": {"id": _ID, "topic": _TOPIC},
        "ack": {"seq": _SEQ},
        "ping": {"n": _ANY},
        "pong": {"n": _ANY},
    }
)
_DOWN = _table(
    {
        "welcome": {
            "session": _TEXT,
            "resume_token": _TEXT,
            "epoch": _TEXT,
            "seq": _SEQ,
            "recovered": _BOOL,
            "last_id": _SEQ,
            "max_message?": _NUMBER,
            "rate?": _NUMBER,
            "burst?": _NUMBER,
            "rejected?": _LIST,  # of {"id": ..., "error": ...}
        },
        "message": {"seq": _ID, "topic": _TEXT, "data": _ANY},
        "ack": {"id": _ID, "ok": _BOOL},
        "gap": {"from": _ID, "to": _ID},
        "ping": {"n": _ANY},
        "pong": {"n": _ANY},
        "error": {"code": _ID, "reason": _TEXT},
        "going_away": {"retry_after?": _NUMBER},
    }
)
_BINARY = {"send", "message"}
NUMBERED = frozenset({"send", "subscribe", "unsubscribe"})
"""The client's frames that carry an id; each well-formed id is consumed and gets exactly one verdict."""


def check_up(frame: Frame, *, binary: bool = False) -> None:
    """Check the fields of a frame from a client; ``binary`` where it is the header of an envelope.

    Raises:
        UnknownType: there is no such type in this direction (or as binary).
        ProtocolError: a field is missing or is not what it must be; the reason names it.
    """
    _check(_UP, frame, binary)
    if frame["type"] == "auth" and "session" in frame:
        for name in ("resume_token", "epoch", "seq"):
            if name not in frame:
                raise ProtocolError(f"auth with a session needs {name!r}")


def check_down(frame: Frame, *, binary: bool = False) -> None:
    """Check the fields of a frame from a server, as :func:`check_up` does for the other direction."""
    _check(_DOWN, frame, binary)


def _check(table: Table, frame: Frame, binary: bool) -> None:
    kind = frame["type"]
    if kind not in table or (binary and kind not in _BINARY):
        raise UnknownType(f"unknown type {kind[:40]!r}")
    for name, optional, valid, must in table[kind]:
        if binary and name == "data":
            name, (valid, must) = "chunk", _CHUNK
        if name not in frame:
            if optional:
                continue
            raise ProtocolError(f"{kind} without {name!r}")
        if not valid(frame[name]):
            raise ProtocolError(f"{kind}: {name!r} must be {must}")


# --- texts that people see ----------------------------------------------------------------------------------


def clip_reason(reason: str) -> str:
    """A close reason cut to the 123 bytes that a Close frame holds, between characters."""
    return reason.encode()[:MAX_REASON].decode(errors="ignore")


def redact_url(url: str) -> str:
    """The URL with the value of ``token`` in its query replaced by ``***``, fit for logs and error texts."""
    return re.sub(
        r"(?<=[?&;])([^=&;#]*)=([^&;#]*)",
        lambda pair: f"{pair[1]}=***" if unquote_plus(pair[1]) == "token" else pair[0],
        url,
    )
