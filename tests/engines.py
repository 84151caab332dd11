"""The engines on which each test marked ``engine`` runs, in one list."""

from __future__ import annotations

import argparse
import atexit
import functools
import os

import pytest
from compat import servers

ENGINES = ("embedded", "process", "binary", "docker", "url")
"""As ``--wschaos-engine`` has them; the URL is that of a Toxiproxy that was started here, outside of our code."""
REAL = ("binary", "docker", "url")
"""Those that are, or are behind, a real Toxiproxy."""
USUAL = ("embedded", "process", "binary")
"""Those of a run that does not say: docker and url run the same program as binary."""
HELP = f"engines of the tests marked 'engine': some of {','.join(ENGINES)} (default: {','.join(USUAL)})"


def some(given: str) -> tuple[str, ...]:
    """The engines of an option's value."""
    names = given.split(",")
    if not set(names) <= set(ENGINES):
        raise argparse.ArgumentTypeError(f"{given!r}: must be {', '.join(ENGINES)}, or several with commas")
    return tuple(dict.fromkeys(names))


def required(engine: str) -> str:
    """What the fixtures are to be told for an engine; without the program the test is skipped, or fails."""
    if engine == "binary":
        return f"binary:{program()}"
    return url() if engine == "url" else engine


def program() -> str:
    """Where the real one is; the test is skipped without it, or fails where it must be there."""
    if (found := servers.binary()) is not None:
        return found
    if os.environ.get(servers.REQUIRE) == "1":
        pytest.fail(servers.HOW, pytrace=False)
    pytest.skip(servers.HOW)


@functools.cache
def url() -> str:
    """Where one runs already."""
    server = servers.Plain(program())
    atexit.register(server.stop)
    servers.answers(server.port)
    return f"http://127.0.0.1:{server.port}"
