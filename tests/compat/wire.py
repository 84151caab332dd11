"""What a test speaks: HTTP with the API, TCP with the proxies."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .servers import PATIENCE

QUIET = 0.3
"""Seconds for which nothing must come where nothing may come."""

SETTLING = 0.05
"""Seconds after which Toxiproxy has made a connection's links: it connects first, and nothing shows it."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and text of an error, whose form is checked."""
        assert self.headers["content-type"] == "text/plain; charset=utf-8"
        assert self.headers["x-content-type-options"] == "nosniff"
        assert self.body.endswith(b"}\n")
        assert list(self.json) == ["error", "status"]
        assert self.json["status"] == self.status
        return self.status, self.json["error"]


def eventually(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again until something has become true."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.01)


class Http:
    """The API of a server.

    Args:
        real: it is Shopify's.
    """

    def __init__(self, port: int, real: bool) -> None:
        self.port = port
        self.real = real

    def ask(self, method: str, path: str, body: object = None, timeout: float = PATIENCE, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, raw, {key.replace("_", "-"): value for key, value in headers.items()})
            got = connection.getresponse()
            return Answer(got.status, {key.lower(): value for key, value in got.getheaders()}, got.read())

    def raw(self, request: bytes) -> bytes:
        """All that is answered until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            sock.sendall(request)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, body: object = None) -> Any:
        """The body of a success."""
        answer = self.ask("POST", path, body)
        assert answer.status in (200, 201, 204), answer
        return answer.json if answer.body else None

    def gone(self) -> bool:
        """Whether nobody listens there any more."""
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == errno.ECONNREFUSED


class Peer:
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self, size: int) -> bytes:
        """That many bytes."""
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, f"it ended after {data!r}"
            data += more
        return data

    def rest(self) -> tuple[bytes, str]:
        """What comes until the end, and whether that is a "fin" or a "reset"."""
        data = b""
        try:
            while more := self.sock.recv(65536):
                data += more
        except ConnectionResetError:
            return data, "reset"
        return data, "fin"

    def quiet(self, seconds: float = QUIET) -> bool:
        """Whether nothing comes for a while, neither data nor an end."""
        return not select.select([self.sock], [], [], seconds)[0]

    @property
    def ready(self) -> bool:
        """Whether something has come."""
        return not self.quiet(0)

    def reset(self) -> None:
        """End it with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class Upstream:
    """A server behind proxies: the test itself accepts."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.sock.settimeout(PATIENCE)
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.peers: list[Peer] = []

    def accept(self) -> Peer:
        self.peers.append(Peer(self.sock.accept()[0]))
        return self.peers[-1]

    def connect(self, listen: str) -> Peer:
        """A client of a proxy."""
        host, _, port = listen.rpartition(":")
        self.peers.append(Peer(socket.create_connection((host.strip("[]"), int(port)), PATIENCE)))
        return self.peers[-1]

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.sock.close()


class Proxied:
    """A proxy named ``p`` before an upstream."""

    def __init__(self, http: Http, upstream: Upstream) -> None:
        self.http = http
        self.upstream = upstream
        self.listen: str = http.post("/proxies", {"name": "p", "listen": "127.0.0.1:0", "upstream": upstream.address})[
            "listen"
        ]

    def client(self) -> Peer:
        return self.upstream.connect(self.listen)

    def pair(self) -> tuple[Peer, Peer]:
        """A client, and the server's end of its connection."""
        client, server = self.client(), self.upstream.accept()
        if self.http.real:
            time.sleep(SETTLING)
        return client, server

    def toxic(
        self, type: str, stream: str = "downstream", name: str = "t", toxicity: float = 1, **attributes: int
    ) -> None:
        body = {"name": name, "type": type, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        self.http.post("/proxies/p/toxics", body)

    def update(self, name: str = "t", **attributes: int) -> None:
        self.http.post(f"/proxies/p/toxics/{name}", {"attributes": attributes})

    def remove(self, name: str = "t") -> None:
        assert self.http.ask("DELETE", f"/proxies/p/toxics/{name}").status == 204


def echo(client: Peer, server: Peer, data: bytes = b"ping") -> None:
    """Assert that data passes both ways."""
    client.send(data)
    assert server.receive(len(data)) == data
    server.send(data)
    assert client.receive(len(data)) == data


@contextlib.contextmanager
def lasting(least: float) -> Iterator[None]:
    """Assert that something takes at least so many seconds (a hundredth less: timers are rounded)."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start >= least - 0.01
