"""``wschaos serve`` in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

LATER = 20.0
SOON = 5.0
"""Seconds in which the API must answer on a busy machine; on an idle one it takes milliseconds."""
COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from pytest_wschaos.cli import main; raise SystemExit(main())",
    "serve",
]


class Running:
    """The command in a process of its own."""

    def __init__(self, *arguments: str, files: int | None = None) -> None:
        def limit() -> None:
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )
        self.first = self.line()
        found = re.match(r"listening on http://127\.0\.0\.1:(\d+)$", self.first)
        assert found, (self.first, self.process.communicate(timeout=LATER)[1])
        self.port = int(found[1])

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The body of an answer, which comes soon."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, text
            return json.loads(text) if text else None

    def proxy(self, upstream: str, name: str = "p") -> tuple[str, int]:
        """A new proxy's host and port."""
        made = self.ask("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream})
        host, _, port = made["listen"].rpartition(":")
        return host, int(port)

    def sockets(self) -> int:
        """How many sockets it has open."""
        count = 0
        for number in os.listdir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(OSError):
                count += os.readlink(f"/proc/{self.process.pid}/fd/{number}").startswith("socket:")
        return count

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=LATER)
        return self.process.returncode, out, errors

    def stop(self) -> None:
        """End it, however it is."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def serving(*arguments: str, files: int | None = None) -> Iterator[Running]:
    command = Running(*arguments, files=files)
    try:
        yield command
    finally:
        command.stop()
