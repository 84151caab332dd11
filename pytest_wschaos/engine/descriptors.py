"""File descriptors: when they run out, the proxies must leave some for the API."""

from __future__ import annotations

import os

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


def scarce() -> bool:
    """Whether no more than the reserve is left."""
    if resource is None:
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return True
    os.close(lowest)
    return limit != resource.RLIM_INFINITY and lowest >= limit - min(RESERVE, limit // 4)
