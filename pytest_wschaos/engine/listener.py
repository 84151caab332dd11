"""What listeners need: addresses, and to be bound, filled and closed without losing the client being accepted."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket

from .descriptor import RelayServer

WILDCARDS = ("", "0.0.0.0", "::")
"""Hosts that mean all interfaces, of IPv4 and IPv6 alike."""


def join_address(host: str, port: int) -> str:
    """``host:port``, the host in brackets where it has colons."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_at(address: bytes, host: str) -> bool:
    """Whether an IP address, given in 4 or 16 bytes, is that of a listener on ``host``."""
    told = ipaddress.ip_address(address)
    if isinstance(told, ipaddress.IPv6Address) and told.ipv4_mapped is not None:
        told = told.ipv4_mapped
    return host in WILDCARDS or ipaddress.ip_address(host) == told


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


def deepen(server: asyncio.Server | RelayServer, backlog: int) -> None:
    """Let more clients wait than are accepted in one turn of the loop; asyncio has one figure for both."""
    if isinstance(server, RelayServer):
        return
    for sock in server.sockets:
        with contextlib.suppress(OSError, NotImplementedError), socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.listen(backlog)
