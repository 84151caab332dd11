from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from . import servers
from .servers import Embedded, Real, Server
from .wire import Http, Proxied, Upstream


def start(kind: str) -> Server:
    """A server; a real one may be missing, which skips or fails the test."""
    if kind == "embedded":
        return Embedded()
    if (binary := servers.binary()) is not None:
        return Real(binary)
    if os.environ.get(servers.REQUIRE) == "1":
        pytest.fail(servers.HOW, pytrace=False)
    pytest.skip(servers.HOW)


@pytest.fixture(scope="session", params=["embedded", "toxiproxy"])
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = start(request.param)
    yield server
    server.stop()


@pytest.fixture
def http(running: Server) -> Iterator[Http]:
    """The API of a server without proxies."""
    http = Http(running)
    yield http
    for name in http.get("/proxies"):
        http.ask("DELETE", f"/proxies/{quote(name)}")


@pytest.fixture
def doomed(running: Server) -> Iterator[Http]:
    """The API of a server of the same kind that the test may break."""
    server = start("toxiproxy" if running.real else "embedded")
    yield Http(server)
    server.stop()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def proxied(http: Http, upstream: Upstream) -> Proxied:
    return Proxied(http, upstream)
