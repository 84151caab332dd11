"""What goes between a test and the process of its engine: Python objects, each behind its length."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any

HEAD = struct.Struct("!I")


def pack(thing: Any) -> bytes:
    """An object as bytes."""
    body = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(body)) + body


class Unpacker:
    """Puts objects together of the bytes that come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The objects that are whole with this data."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEAD.size:
            end = HEAD.size + HEAD.unpack_from(buffer)[0]
            if len(buffer) < end:
                return
            thing = pickle.loads(buffer[HEAD.size : end])
            del buffer[:end]
            yield thing
