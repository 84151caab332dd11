"""A raw client that can speak the reference protocol: well-behaved until it is told otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ...engine.frames import Opcode
from ...reference.protocol import Frame, decode_binary, encode_text
from ..subjects.server import Speaks
from .raw_client import Arrived, RawClient


class Guest(RawClient):
    """One connection to the server under test.

    Args:
        now, name: as for :class:`RawClient`.
        speaks: what the server speaks.
        patience: seconds that an answer is waited for.
    """

    def __init__(self, now: Callable[[], float], name: str, speaks: Speaks, patience: float) -> None:
        super().__init__(now, name)
        self.speaks = speaks
        self.heard_frames: list[tuple[float, Frame]] = []
        """The frames of the protocol that have come, with their instants; of a blob's chunk the header."""
        self._patience = patience
        self._asked = 0

    def heard(self, frame: Arrived) -> None:
        if self.speaks == "raw":
            return
        try:
            text = frame.opcode is Opcode.TEXT
            told: Any = json.loads(frame.payload) if text else decode_binary(frame.payload)[0]
        except ValueError:
            return
        if not isinstance(told, dict):
            return
        self.heard_frames.append((frame.at, told))
        if told.get("type") == "ping" and self.pongs:
            self.say(type="pong", n=told.get("n"))

    def say(self, **frame: Any) -> None:
        """Send a frame of the protocol."""
        self.text(encode_text(frame))

    def told(self, kind: str, since: int = 0, **fields: Any) -> list[Frame]:
        """The frames of a type that have come, in order, of those after the first ``since``, by some fields."""
        return [
            frame
            for _, frame in self.heard_frames[since:]
            if frame.get("type") == kind and all(frame.get(name) == value for name, value in fields.items())
        ]

    async def answer(self, *kinds: str, since: int = 0, seconds: float | None = None, **fields: Any) -> Frame | None:
        """Wait for a frame of one of some types; None: it does not come."""

        def found() -> list[Frame]:
            return [frame for kind in kinds for frame in self.told(kind, since, **fields)]

        await self.until(lambda: bool(found()) or self.over, self._patience if seconds is None else seconds)
        return next(iter(found()), None)

    async def request(self, kind: str, id: int, topic: str, **more: Any) -> Frame | None:
        """Send, subscribe or unsubscribe; the ``ack``, or None."""
        self.say(type=kind, id=id, topic=topic, **more)
        return await self.answer("ack", id=id)

    async def alive(self, seconds: float | None = None) -> float | None:
        """How long the server takes to answer, in seconds; None: it does not in time.

        A ping of the protocol where it is spoken, else one of WebSocket.
        """
        self._asked += 1
        began = self._now()
        longest = self._patience if seconds is None else seconds
        if self.speaks == "raw":
            key = f"alive-{self._asked}".encode()
            self.frame(Opcode.PING, key)
            answered = await self.until(lambda: self.over or self._answers(Opcode.PONG, key), longest)
            return self._now() - began if answered and self._answers(Opcode.PONG, key) else None
        name = f"alive-{self._asked}"
        self.say(type="ping", n=name)
        return None if await self.answer("pong", n=name, seconds=longest) is None else self._now() - began

    def _answers(self, opcode: Opcode, payload: bytes) -> bool:
        return any(frame.opcode is opcode and frame.payload == payload for frame in self.frames)

    async def echoed(self, payload: bytes, opcode: Opcode = Opcode.TEXT) -> bool:
        """Whether a message of just that payload comes back, or has."""
        await self.until(lambda: self.over or self._answers(opcode, payload), self._patience)
        return self._answers(opcode, payload)

    def sequences(self) -> Sequence[int]:
        """The sequences of the messages that have come, in order."""
        return [frame["seq"] for frame in self.told("message")]
