"""How attempts are seen while a proxy refuses them.

A closed port answers a SYN with a RST before any program hears of it. Linux has two ways to learn of it, and the
client sees a true "connection refused" with both:

- :mod:`.packets`: look at the SYNs themselves. Exact, and needs the capability CAP_NET_RAW (root; root in a container).
- :mod:`.freed_sockets`: the kernel announces every TCP socket that is freed, and a client frees its socket right
  after the refusal. Needs no privilege; comes within milliseconds, on a busy machine later, and says how late it may
  be.

A simulated network tells by itself. Where there is none of these, :func:`watch` returns None, and the proxy accepts
and resets instead: the client then sees a reset.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol


class Expected(Protocol):
    """A proxy that refuses: what is told of attempts on its port."""

    def at(self, address: bytes) -> bool:
        """Whether it listened on an address, given in 4 or 16 bytes."""

    def refused(self, at: float, late: float) -> None:
        """A client was refused at ``at`` (loop time), or up to ``late`` seconds before."""

    def blind(self) -> None:
        """Some attempt, on this port or on another, could not be told."""


class Reservation(Protocol):
    """A port that is kept."""

    def close(self) -> None:
        """Give it up."""


class Refusals(Protocol):
    """Watches ports that refuse. Nothing is listened to while none is expected to."""

    def reserve(self, host: str, port: int) -> Reservation | None:
        """Keep a port without listening on it: connections are refused, and nobody else is given it meanwhile."""

    def expect(self, port: int, expected: Expected) -> None:
        """From now on tell of each attempt on ``port``."""

    def forgive(self, port: int) -> None:
        """The port is about to listen again, or is gone."""

    def stop(self) -> None:
        """Watch nothing any more."""


def reserve(host: str, port: int) -> socket.socket | None:
    """Keep a port of this machine; None: it was taken in the moment between, and starting again will say so."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # asyncio's listener will share it
        sock.bind((host, port))
    except OSError:
        sock.close()
        return None
    return sock


def watch(loop: asyncio.AbstractEventLoop) -> Refusals | None:
    """The best way that this machine offers; None: there is none."""
    if (simulated := getattr(loop, "refusals", None)) is not None:
        watching: Refusals = simulated()
        return watching
    from .freed_sockets import FreedSockets

    if FreedSockets.supported():
        return _Best(loop)
    from .packets import Packets

    return Packets(loop) if Packets.supported() else None


class _Best:
    """The better one of Linux's two ways. Which that is, is found out when it is first needed: to look at packets, and
    to stop, takes the kernel up to 30 ms, for which an engine that refuses nobody must not wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._way: Refusals | None = None

    def reserve(self, host: str, port: int) -> Reservation | None:
        """Keep a port without listening on it."""
        return reserve(host, port)

    def expect(self, port: int, expected: Expected) -> None:
        """From now on tell of each attempt on ``port``."""
        from .freed_sockets import FreedSockets
        from .packets import Packets

        if self._way is None:
            self._way = Packets(self._loop) if Packets.supported() else FreedSockets(self._loop)
        self._way.expect(port, expected)

    def forgive(self, port: int) -> None:
        """The port is about to listen again, or is gone."""
        if self._way is not None:
            self._way.forgive(port)

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._way is not None:
            self._way.stop()
