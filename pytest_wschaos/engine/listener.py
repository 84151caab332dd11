"""How a listener is bound, and closed without losing the client that is just being accepted."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from .descriptor import RelayServer

WILDCARDS = ("", "0.0.0.0", "::")
"""Hosts that mean all interfaces, of IPv4 and IPv6 alike."""


def bind(host: str, port: int) -> socket.socket:
    """A socket on an IP address of this machine, or on all of them; it does not listen yet.

    Raises:
        OSError: the address is taken, or is none of this machine's.
    """
    both = host in WILDCARDS and socket.has_dualstack_ipv6()
    sock = socket.socket(socket.AF_INET6 if both or ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind(("" if host in WILDCARDS else host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def close(server: asyncio.Server | RelayServer) -> None:
    """Refuse connections from now on; asyncio's server is closed in the loop's next turn.

    asyncio accepts in two turns of the loop. Closed between them, a server would fail on the accepted socket and
    leave it open, and its client waiting, until the garbage is collected.
    """
    if isinstance(server, RelayServer):
        server.close()
        return
    loop = server.get_loop()
    for sock in server.sockets:
        # Where these cannot be done, refusing waits for the turn.
        with contextlib.suppress(OSError, NotImplementedError):
            loop.remove_reader(sock.fileno())
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    loop.call_soon(server.close)
