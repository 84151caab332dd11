"""How SYNs are left unanswered, as by a firewall that drops them.

The kernel answers for whoever listens, before any program hears of it. Linux leaves SYNs to a listener unanswered whose
queue of connections to be accepted is full, and so a queue of one is filled and never accepted from. The clients'
kernels repeat their SYNs (after 1 s, 3 s, 7 s ...), so that they connect when somebody listens again. A simulated
network does it by itself. Elsewhere it cannot be done: BSD and macOS are not known to, Windows answers with a RST.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from .refusals import reserve

FILLERS = 2
"""Connections that fill a queue for which the shortest length was asked."""
ABORTS = Path("/proc/sys/net/ipv4/tcp_abort_on_overflow")
"""Whether this kernel answers with a RST instead."""


def supported(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this machine, or the network that the loop simulates, can do it."""
    if hasattr(loop, "network"):
        return True
    try:
        return sys.platform == "linux" and ABORTS.read_text().strip() == "0"
    except OSError:
        return False


def leave_unanswered(loop: asyncio.AbstractEventLoop, host: str, port: int) -> ExitStack | None:
    """Leave the SYNs to an address unanswered until what is returned is closed; None: it was taken meanwhile."""
    with ExitStack() as stack:
        if (network := getattr(loop, "network", None)) is not None:
            stack.enter_context(network.unanswered(host, port))
            return stack.pop_all()
        if (full := reserve(host, port)) is None:
            return None
        stack.callback(full.close)
        full.listen(0)
        for _ in range(FILLERS):
            filler = stack.enter_context(socket.socket(full.family))
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        return stack.pop_all()
