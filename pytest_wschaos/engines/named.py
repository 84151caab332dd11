"""The real Toxiproxy that the name of an engine means."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..toxiproxy import Server
from .binary import shared


def server(engine: str) -> Server:
    """The API of the server: of one that is started here (``binary``, ``binary:PATH``), or runs at a URL.

    Raises:
        BinaryMissing: there is no such program.
    """
    kind, _, path = engine.partition(":")
    if kind == "binary":
        return Server("127.0.0.1", shared(path or None).port)
    url = urlsplit(engine)
    return Server(str(url.hostname), int(url.port or 80))
