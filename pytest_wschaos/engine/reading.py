"""Reads a connection, both directions at both sides: what is held or lost in between is seen to enter, not to leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from .frames import Frame, Head, Malformed, Seen, StreamReader, inflaters
from .handshakes import status
from .observer import Place, Way

Item = TypeVar("Item", bound="Head | Seen | Frame")

SWITCHING = 101
"""The status of an answer behind which frames come."""


class Reading:
    """The streams of one connection. What it yields is seen at one side (``place``), in one direction (``way``).

    Args:
        stream: makes the reader of a stream that goes a way.
        inflate: whether compressed messages are read.
    """

    def __init__(
        self, stream: Callable[[Way], StreamReader] = lambda _: StreamReader(), *, inflate: bool = True
    ) -> None:
        self._make = stream
        self._inflate = inflate
        self._streams: dict[tuple[Place, Way], StreamReader] = {}
        self._last: dict[Way, tuple[bytes, tuple[Seen, ...]]] = {}

    def messages(self, place: Place, way: Way, data: bytes) -> Iterable[Head | Seen]:
        """Heads, then messages and control frames. What passes both sides as it is yields the same objects twice.

        Raises:
            Malformed: this stream is no WebSocket; nothing more of it is read.
        """
        stream = self._stream(place, way)
        if not stream.between:
            return self._follow(place, way, stream.feed(data))
        last, seen = self._last.get(way, (b"", ()))
        if last is not data:
            if (whole := stream.whole(data)) is None:
                return self._follow(place, way, stream.feed(data))
            self._last[way] = data, (seen := whole)
        return seen

    def frames(self, place: Place, way: Way, data: bytes) -> Iterator[Head | Frame]:
        """Heads, then frames.

        Raises:
            Malformed: this stream is no WebSocket; nothing more of it is read.
        """
        return self._follow(place, way, self._stream(place, way).read(data))

    def _stream(self, place: Place, way: Way) -> StreamReader:
        stream = self._streams.get((place, way))
        if stream is None:
            stream = self._streams[place, way] = self._make(way)
        return stream

    def _follow(self, place: Place, way: Way, items: Iterator[Item]) -> Iterator[Item]:
        try:
            for item in items:
                if isinstance(item, Head) and way == "down":
                    self._answered(place, item)
                yield item
        except Malformed:
            self._stream(place, way).frames = False
            raise

    def _answered(self, place: Place, head: Head) -> None:
        up, down = self._stream(place, "up"), self._stream(place, "down")
        if provisional(head):
            down.expect_head()
        elif status(head) != SWITCHING:
            up.frames = down.frames = False
        elif self._inflate:
            up.inflater, down.inflater = inflaters(head)


def provisional(head: Head) -> bool:
    """Whether another answer follows."""
    return 100 <= status(head) < 200 and status(head) != SWITCHING
