"""Base of the toxics that read WebSocket: splits a direction into its HTTP head and its frames, as they come."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from .frames import HEAD_LIMIT, FrameHead, Head, Malformed, parse_head, read_head
from .stage import Attributes, End, Stage

END_OF_HEAD = b"\r\n\r\n"


class WebSocketStage(Stage):
    """Calls its ``on_...`` methods with what it has read; only what they :meth:`write` goes on.

    Nothing but the begin of a head is held. What is no WebSocket passes as it is. On a connection that was open when
    the toxic came, frames are read from the first read on that begins with one.
    """

    def __init__(self, attributes: Attributes, rng: random.Random) -> None:
        super().__init__(attributes, rng)
        self.now = 0.0
        """When what is being read came."""
        self.frame: FrameHead | None = None
        """The frame at hand; None between two frames."""
        self.left = 0
        """Bytes of its payload that are still to come."""
        self._read: Callable[[bytes], bytes] = self._join
        self._begun = b""  # of a head
        self._written: list[bytes] = []
        self._due = math.nan

    # --- what the toxic does ---

    def on_head(self, text: str, head: Head) -> str | None:
        """The HTTP head as it goes on, without the empty line; None: nothing of this direction passes any more."""
        raise NotImplementedError

    def on_frame(self, head: FrameHead) -> None:
        """A frame begins."""
        raise NotImplementedError

    def on_payload(self, part: bytes, start: int) -> None:
        """Some of its payload, from byte ``start`` on."""
        raise NotImplementedError

    def on_frame_end(self, head: FrameHead) -> None:
        """It has ended."""
        raise NotImplementedError

    # --- what it does that with ---

    def write(self, data: bytes, due: float | None = None) -> None:
        """Let bytes go on, now or at ``due``."""
        due = self.now if due is None else due
        if due != self._due:
            self.flush()
            self._due = due
        self._written.append(data)

    def flush(self) -> None:
        """Queue what is written, in as few pieces as can be."""
        if data := b"".join(self._written):
            self.put(self._due, data)
        self._written.clear()

    def pass_all(self) -> None:
        """From here on everything passes as it is."""
        self.write(self._begun)
        self._begun = b""
        self._read = self._pass

    def swallow_all(self) -> None:
        """From here on nothing passes but the end."""
        self._read = self._swallow
        self.frame = None

    @property
    def swallowing(self) -> bool:
        """Whether nothing passes any more."""
        return self._read == self._swallow

    # --- reading ---

    def on_start(self, at: float) -> None:
        if self.opened_with:
            self._read = self._handshake

    def on_data(self, data: bytes, at: float) -> None:
        self.now = at
        data, self._begun = self._begun + data, b""
        while data:
            data = self._read(data)
        self.flush()

    def on_end(self, end: End, at: float) -> None:
        self.now = at
        if not self.swallowing:
            self.pass_all()
            self.flush()
        self.put(at, end)

    def on_remove(self, at: float) -> None:
        """What has begun goes on. Where nothing passes any more it stays, for what is missing cannot be made good."""
        self.now = at
        self.sticky = self.sticky or self.swallowing
        if not self.sticky:
            self.pass_all()
            self.flush()
        self.release(at)

    def _pass(self, data: bytes) -> bytes:
        self.write(data)
        return b""

    def _swallow(self, data: bytes) -> bytes:
        return b""

    def _join(self, data: bytes) -> bytes:
        if data.startswith((b"GET ", b"HTTP/")):
            self._read = self._handshake
        elif self._is_frames(data):
            self._read = self._frames
        else:
            return self._pass(data)
        return data

    def _is_frames(self, data: bytes) -> bool:
        """Whether a read begins with a frame, and others follow upon it."""
        place = 0
        while place < len(data):
            try:
                head = _head(data, place)
            except Malformed:
                return False
            if head is None:
                return place > 0
            odd = head.first & 0x30 or (head.control and (head.compressed or not head.final))
            if odd or bool(head.mask) is not self.upstream:
                return False
            place += head.size + head.length
        return True

    def _handshake(self, data: bytes) -> bytes:
        end = data.find(END_OF_HEAD)
        if end < 0 and len(data) <= HEAD_LIMIT and data[:1].isalpha():
            self._begun = data
            return b""
        text = data[: max(end, 0)].decode("latin-1")
        try:
            head = parse_head(text)
        except Malformed:
            self.pass_all()
            return data
        answer = None if self.upstream else head.start[1]
        if answer == "101" or (answer is None and "upgrade" in head.headers):
            self._read = self._frames
        elif answer is None or not answer.startswith("1"):  # such answers are provisional: another one follows
            self._read = self._pass
        if (changed := self.on_head(text, head)) is None:
            self.swallow_all()
        else:
            self.write(changed.encode("latin-1") + END_OF_HEAD if changed else b"")
        return data[end + len(END_OF_HEAD) :]

    def _frames(self, data: bytes) -> bytes:
        place = 0
        while place < len(data):
            if self.frame is None:
                try:
                    head = _head(data, place)
                except Malformed:
                    self.pass_all()
                    return data[place:]
                if head is None:
                    self._begun = data[place:]
                    return b""
                self.frame, self.left = head, head.length
                place += head.size
                self.on_frame(head)
            if (head := self.frame) is None:  # the toxic lets nothing pass any more
                return data[place:]
            if self.left and (part := data[place : place + self.left]):
                start = head.length - self.left
                self.left -= len(part)
                place += len(part)
                self.on_payload(part, start)
            if not self.left:
                self.frame = None
                self.on_frame_end(head)
                if self._read != self._frames:
                    return data[place:]
        return b""


def _head(data: bytes, start: int) -> FrameHead | None:
    """The head of a frame, where it is as it would be written: what is no frame must not be changed."""
    head = read_head(data, start)
    if head is not None and len(head.encode()) != head.size:
        raise Malformed("a length in more bytes than it takes")
    return head
