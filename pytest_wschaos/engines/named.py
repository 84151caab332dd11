"""The real Toxiproxy that the name of an engine means."""

from __future__ import annotations

import shutil
from contextlib import closing
from urllib.parse import urlsplit

from ..toxiproxy import Server
from .binary import NAME, shared
from .link import Api, EngineMissing

DEFAULT = "http://127.0.0.1:8474"
"""Where a Toxiproxy listens unless it is told otherwise."""


def find(engine: str) -> Api:
    """The API of one that is started here (``binary``, ``binary:PATH``), or runs at a URL.

    Raises:
        EngineMissing: there is no such program, or no Toxiproxy answers.
    """
    kind, _, path = engine.partition(":")
    if kind == "binary":
        return Api("127.0.0.1", shared(path or None).port)
    url = urlsplit(engine)
    api = Api(str(url.hostname), int(url.port or 80))
    try:
        with closing(Server(api.host, api.port)) as server:
            str(server.call("GET", "/version").json()["version"])
    except Exception as error:  # whatever listens there may answer anything
        raise EngineMissing(f"engine {engine!r}: no Toxiproxy answers there: {error}") from None
    return api


def first(binary: str | None) -> str:
    """The engine that ``auto`` means: a Toxiproxy that runs already where it usually does, the program, or our own."""
    try:
        find(DEFAULT)
    except EngineMissing:
        found = shutil.which(binary or NAME)
        return f"binary:{found}" if found else "embedded"
    return DEFAULT
