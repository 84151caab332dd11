from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from engines import REAL, program

from pytest_wschaos.engines.binary import Binary

from .servers import Embedded, Plain, Serve, Server, answers
from .wire import Http, Proxied, Upstream


def start(engine: str) -> Server:
    """A server of its own for an engine; what is not there skips or fails the test."""
    match engine:
        case "embedded":
            return Embedded()
        case "process":
            return Serve()
        case "binary":
            return Binary(program())
        case "docker":
            from pytest_wschaos.engines.docker import Container

            return Container()
        case _:
            return Plain(program())


@contextlib.contextmanager
def serving(engine: str) -> Iterator[Http]:
    server = start(engine)
    try:
        answers(server.port)
        yield Http(server.port, real=engine in REAL)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def running(engine: str) -> Iterator[Http]:
    """The API of the server of an engine, which all tests share."""
    with serving(engine) as http:
        yield http


@pytest.fixture
def http(running: Http) -> Iterator[Http]:
    """The API of a server without proxies."""
    yield running
    for name in running.get("/proxies"):
        running.ask("DELETE", f"/proxies/{quote(name)}")


@pytest.fixture
def doomed(engine: str) -> Iterator[Http]:
    """The API of a server that the test may break."""
    with serving(engine) as http:
        yield http


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def proxied(http: Http, upstream: Upstream) -> Proxied:
    return Proxied(http, upstream)
