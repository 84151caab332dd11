"""File descriptors: when they run out, the proxies must leave some for the API."""

from __future__ import annotations

import socket

try:
    import resource
except ImportError:  # not POSIX: there is no such limit
    resource = None  # type: ignore[assignment]

RESERVE = 128
"""Descriptors that clients of proxies do not get, or a quarter of all where that is less."""


def raise_limit() -> None:
    """Allow this process as many descriptors as it may allow itself."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def reserved(sock: socket.socket | None) -> bool:
    """Whether a socket has got one of the last descriptors. The kernel gives the lowest that is free."""
    if resource is None or sock is None:
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        number = sock.fileno()
    except NotImplementedError:  # a simulated one has none
        return False
    return limit != resource.RLIM_INFINITY and number >= limit - min(RESERVE, limit // 4)
