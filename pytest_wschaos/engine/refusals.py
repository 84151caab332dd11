"""How attempts are seen while a proxy refuses them.

A closed port answers a SYN with a RST before any program hears of it. Linux has two ways to learn of it, and the
client sees a true "connection refused" with both:

- :mod:`.packets`: look at the SYNs themselves. Exact, and needs the capability CAP_NET_RAW (root; root in a container).
- :mod:`.freed_sockets`: the kernel announces every TCP socket that is freed, and a client frees its socket right
  after the refusal. Needs no privilege; comes within milliseconds, on a busy machine later, and says how late it may
  be.

Where there is neither, :func:`watch` returns None, and the proxy accepts and resets instead: the client then sees a
reset.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Expected(Protocol):
    """A proxy that refuses: what is told of attempts on its port."""

    def at(self, address: bytes) -> bool:
        """Whether it listened on an address, given in 4 or 16 bytes."""

    def refused(self, at: float, late: float) -> None:
        """A client was refused at ``at`` (loop time), or up to ``late`` seconds before."""

    def blind(self) -> None:
        """Some attempt, on this port or on another, could not be told."""


class Refusals(Protocol):
    """Watches ports that refuse. Nothing is listened to while none is expected to."""

    def expect(self, port: int, expected: Expected) -> None:
        """From now on tell of each attempt on ``port``."""

    def forgive(self, port: int) -> None:
        """The port is about to listen again, or is gone."""

    def stop(self) -> None:
        """Watch nothing any more."""


def watch(loop: asyncio.AbstractEventLoop) -> Refusals | None:
    """The best way that this machine offers; None: there is none."""
    from .freed_sockets import FreedSockets
    from .packets import Packets

    if Packets.supported():
        return Packets(loop)
    return FreedSockets(loop) if FreedSockets.supported() else None
