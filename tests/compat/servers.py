"""The servers that the suite runs against: the embedded engine and Toxiproxy 2.12.0, each in several ways."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Protocol
from urllib.request import ProxyHandler, build_opener

from serving import Running

from pytest_wschaos.background import LoopThread
from pytest_wschaos.engine.api import Api
from pytest_wschaos.engine.engine import Engine

VERSION = "2.12.0"
BINARY = "WSCHAOS_TOXIPROXY_BINARY"
REQUIRE = "WSCHAOS_REQUIRE_REAL"
HOW = (
    f"no real Toxiproxy: put toxiproxy-server {VERSION} on PATH or its path in {BINARY}; to build it: "
    f"GOBIN=$PWD go install -ldflags '-X github.com/Shopify/toxiproxy/v2.Version={VERSION}' "
    f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION} && mv server toxiproxy-server"
)
PATIENCE = 10.0
"""Seconds after which a test gives up waiting; no passing test comes near it."""


class Server(Protocol):
    """One that runs; its API is on 127.0.0.1."""

    @property
    def port(self) -> int:
        """Of its API."""

    def stop(self) -> None:
        """End it."""


class Embedded:
    """The embedded engine, on a thread of this process."""

    def __init__(self) -> None:
        self._thread = LoopThread()

        async def start() -> tuple[Engine, Api, int]:
            engine = Engine(seed=1)
            api = Api(engine)
            return engine, api, await api.start()

        self._engine, self._api, self.port = self._thread.run(start())

    def stop(self) -> None:
        self._thread.run(self._api.stop())
        self._thread.call(self._engine.stop)
        self._thread.stop()


class Serve:
    """The embedded engine, in a process of its own: ``wschaos serve``."""

    def __init__(self) -> None:
        self._command = Running("--seed", "1")
        self.port = self._command.port

    def stop(self) -> None:
        self._command.stop()


class Plain:
    """Shopify's, as anybody starts it."""

    def __init__(self, binary: str) -> None:
        self.port = free_port()
        command = [binary, "-host", "127.0.0.1", "-port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> None:
    """Wait until a Toxiproxy answers there, which must be of our version."""
    opener = build_opener(ProxyHandler({}))
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/version", timeout=PATIENCE) as answer:
                version = json.load(answer)["version"]
                break
        except OSError:
            assert time.monotonic() < until, "Toxiproxy does not answer"
            time.sleep(0.01)
    assert version == VERSION, f"Toxiproxy says that it is {version!r}, not {VERSION}"


def binary() -> str | None:
    """Where the real one is."""
    named = os.environ.get(BINARY)
    return named if named and Path(named).exists() else shutil.which("toxiproxy-server")
