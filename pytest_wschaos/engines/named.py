"""The real Toxiproxy that the name of an engine means."""

from __future__ import annotations

import shutil
from contextlib import closing
from urllib.parse import urlsplit

from ..toxiproxy import Server, ToxiproxyError
from .binary import NAME, shared
from .link import EngineMissing

DEFAULT = "http://127.0.0.1:8474"
"""Where a Toxiproxy listens unless it is told otherwise."""


def server(engine: str) -> Server:
    """The API of the server: of one that is started here (``binary``, ``binary:PATH``), or runs at a URL.

    Raises:
        EngineMissing: there is no such program, or nobody answers.
    """
    kind, _, path = engine.partition(":")
    if kind == "binary":
        return Server("127.0.0.1", shared(path or None).port)
    url = urlsplit(engine)
    server = Server(str(url.hostname), int(url.port or 80))
    try:
        server.call("GET", "/version")
    except ToxiproxyError as error:
        server.close()
        raise EngineMissing(f"engine {engine!r}: no Toxiproxy answers there: {error}") from None
    return server


def first(binary: str | None) -> str:
    """The engine that ``auto`` means: a Toxiproxy that runs already where it usually does, the program, or our own."""
    try:
        with closing(server(DEFAULT)):
            return DEFAULT
    except EngineMissing:
        found = shutil.which(binary or NAME)
        return f"binary:{found}" if found else "embedded"
