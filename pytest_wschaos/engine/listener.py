"""What listeners need: addresses, and to be filled and closed without losing the client that is just being accepted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

BURST = 16
"""Connections that are accepted in one turn of the loop. Few: there must be a chance to say no before the descriptors
run out. Then asyncio tells its exception handler for each one that it would have accepted, and pauses for a second."""


def join_address(host: str, port: int) -> str:
    """``host:port``, the host in brackets where it has colons."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def close(server: asyncio.Server) -> None:
    """Refuse connections from now on; the server is closed in the loop's next turn.

    asyncio accepts in two turns of the loop. Closed between them, a server would fail on the accepted socket and
    leave it open, and its client waiting, until the garbage is collected.
    """
    loop = server.get_loop()
    for sock in server.sockets:
        # Where these cannot be done, refusing waits for the turn.
        with contextlib.suppress(OSError, NotImplementedError):
            loop.remove_reader(sock.fileno())
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    loop.call_soon(server.close)


def deepen(server: asyncio.Server, backlog: int) -> None:
    """Let more clients wait than are accepted in one turn of the loop; asyncio has one figure for both."""
    for sock in server.sockets:
        with contextlib.suppress(OSError, NotImplementedError), socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.listen(backlog)
