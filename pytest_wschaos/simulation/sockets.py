"""What libraries ask a transport's socket for, without a socket."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from .errors import unsupported

if TYPE_CHECKING:
    from .pipe import Mark, Pipe

Address = tuple[str, int]


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
        self.listening = False
        self.on_close: Any = None
        self.on_shutdown: Any = None

    @property
    def family(self) -> socket.AddressFamily:
        """By the address."""
        return socket.AF_INET6 if ":" in self._name[0] else socket.AF_INET

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
        """Begin to accept."""
        self.listening = True

    def shutdown(self, how: int) -> None:
        """A listener hears no more; for a connection this is its transport's business."""
        if self.on_shutdown is not None:
            self.on_shutdown()

    def close(self) -> None:
        """Give up the address, and the socket that it stands for."""
        self.listening = False
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
