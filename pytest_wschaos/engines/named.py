"""The real Toxiproxy that the name of an engine means."""

from __future__ import annotations

import shutil
from contextlib import closing
from urllib.parse import urlsplit

from ..settings import container_of
from ..toxiproxy import Server, ToxiproxyError
from .binary import NAME, shared
from .link import Api, EngineMissing
from .route import Route

DEFAULT = "http://127.0.0.1:8474"
"""Where a Toxiproxy listens unless it is told otherwise."""


def find(engine: str) -> tuple[Api, Route]:
    """The API of one that is started here (``binary``, ``docker``), or runs at a URL, and the way to its proxies.

    Raises:
        EngineMissing: there is no such program, or there can be no such container; or no Toxiproxy answers.
    """
    kind, _, path = engine.partition(":")
    if kind == "binary":
        return Api("127.0.0.1", shared(path or None).port), Route()
    if kind == "docker":
        from . import docker  # only who has a container needs Docker's client

        container = docker.shared(*container_of(engine))
        return Api("127.0.0.1", container.port), container.route
    url = urlsplit(engine)
    api = Api(str(url.hostname), int(url.port or 80))
    try:
        with closing(Server(api.host, api.port)) as server:
            server.version()
    except ToxiproxyError as error:
        raise EngineMissing(f"engine {engine!r}: no Toxiproxy answers there: {error}") from None
    return api, Route()


def first(binary: str | None) -> str:
    """The engine that ``auto`` means: a Toxiproxy that runs already where it usually does, the program, or our own."""
    try:
        find(DEFAULT)
    except EngineMissing:
        found = shutil.which(binary or NAME)
        return f"binary:{found}" if found else "embedded"
    return DEFAULT
