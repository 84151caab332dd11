"""What libraries ask a transport's socket for, without a socket."""

from __future__ import annotations

import contextlib
import socket
import struct
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import unsupported

if TYPE_CHECKING:
    from .pipe import Mark, Pipe

Address = tuple[str, int]


_closed: weakref.WeakKeyDictionary[socket.socket, weakref.WeakMethod[Callable[[socket.socket], None]]]
_closed = weakref.WeakKeyDictionary()
"""Whom to tell that a real socket, which stands for a simulated one, was closed by who made it."""


class _Telling(socket.socket):
    __slots__ = ()

    def close(self) -> None:
        super().close()
        method = _closed.pop(self, None)
        if method is not None and (tell := method()) is not None:
            tell(self)


def when_closed(sock: socket.socket, tell: Callable[[socket.socket], None]) -> None:
    """Have a method told that a real socket was closed, as long as there is its object, until :func:`no_longer`."""
    with contextlib.suppress(TypeError):  # a kind of its own, of which that cannot be known
        sock.__class__ = _Telling
        _closed[sock] = weakref.WeakMethod(tell)


def no_longer(sock: socket.socket) -> None:
    """Do not have it told any more: its transport closes it."""
    _closed.pop(sock, None)


class SimulatedSocket:
    """One end of a simulated connection, or a simulated listener: names and options. It has no descriptor."""

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, name: Address, peer: Address | None = None) -> None:
        self._name, self._peer = name, peer
        self._options: dict[tuple[int, int], Any] = {}
        self.out: Pipe
        self.into: Pipe
        self.adopted: socket.socket | None = None
        """The real, never connected socket that a library made for this end, closed with it."""
        self.on_close: Any = None
        self.on_shutdown: Any = None

    @property
    def family(self) -> socket.AddressFamily:
        """By the address."""
        return socket.AF_INET6 if ":" in self._name[0] else socket.AF_INET

    @property
    def dual(self) -> bool:
        """Whether it accepts IPv4 on an address of IPv6."""
        return ":" in self._name[0] and not self._options.get((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)

    @property
    def lingers_not(self) -> bool:
        """Whether it ends with a RST: SO_LINGER is on, with 0 s."""
        value = self._options.get((socket.SOL_SOCKET, socket.SO_LINGER))
        return isinstance(value, bytes) and struct.unpack_from("ii", value) == (1, 0)

    def getsockname(self) -> Any:
        """Its own address."""
        return self._shown(self._name)

    def getpeername(self) -> Any:
        """The other end's address; None for a listener."""
        return None if self._peer is None else self._shown(self._peer)

    @staticmethod
    def _shown(address: Address) -> Any:
        return (*address, 0, 0) if ":" in address[0] else address

    def setsockopt(self, level: int, option: int, value: Any, *_: Any) -> None:
        """Kept; SO_LINGER counts."""
        self._options[level, option] = bytes(value) if isinstance(value, bytes | bytearray) else value

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        """What was set, else 0."""
        return self._options.get((level, option), bytes(size) if size else 0)

    def fileno(self) -> int:
        """There is none."""
        raise unsupported("a file descriptor was asked for, and a simulated connection has none", "hybrid", "real")

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def settimeout(self, value: float | None) -> None:
        """It never blocks."""

    def gettimeout(self) -> float:
        """It never blocks."""
        return 0.0

    def listen(self, backlog: int = 0) -> None:
        """Whether it accepts is the network's business."""

    def shutdown(self, how: int) -> None:
        """A listener hears no more; for a connection this is its transport's business."""
        if self.on_shutdown is not None:
            self.on_shutdown()

    def close(self) -> None:
        """Give up the address, and the socket that it stands for."""
        if self.adopted is not None:
            self.adopted.close()
            self.adopted = None
        if self.on_close is not None:
            on_close, self.on_close = self.on_close, None
            on_close()

    def give_up(self, mark: Mark) -> None:
        """End a connection that never had a transport on this side."""
        self.into.blackhole()
        self.out.mark(mark)
        self.close()

    def __repr__(self) -> str:
        return f"<SimulatedSocket {self._name}" + (f" -> {self._peer}>" if self._peer else ">")
