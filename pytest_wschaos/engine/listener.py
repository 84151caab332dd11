"""What listeners need: addresses, and an end that does not lose the client that is just being accepted."""

from __future__ import annotations

import asyncio
import contextlib
import socket


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
