"""A real Toxiproxy that is started for the session, and ends with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile

from ..engine.refusals import reserve
from ..toxiproxy import answers
from .link import EngineMissing
from .shared import Shared, Started

NAME = "toxiproxy-server"
START_TIMEOUT = 10.0
"""Seconds that it has to answer."""
END_TIMEOUT = 5.0
"""Seconds that it has to end."""
GUARD = """
exec 3<&0
"$@" </dev/null & server=$!
{ read -r line <&3; kill "$server" 2>/dev/null; } &
wait "$server"
"""
"""What the shell runs: the server, until its standard input ends, as it does with this process, however that ends."""


class Binary(Started):
    """The server, as a process of its own, under a shell that watches over it.

    Args:
        path: of the program; None: ``toxiproxy-server`` on PATH.

    Raises:
        EngineMissing: there is none, or it does not answer in time; with what it said.
    """

    def __init__(self, path: str | None = None) -> None:
        found = shutil.which(path or NAME)
        if found is None:
            what = f"{path} is no program" if path else f"there is no {NAME} on PATH"
            raise EngineMissing(
                f"engine 'binary': {what}: install Toxiproxy 2.12, or name it by the ini value wschaos_toxiproxy_binary"
            )
        kept = reserve("127.0.0.1", 0)
        assert kept is not None
        with kept:  # nobody else is given the port until it listens
            self.port = kept.getsockname()[1]
            self._start(found)

    def _start(self, path: str) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "sh", path, "-host", "127.0.0.1", "-port", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,  # Ctrl-C is for the tests
        )
        try:
            if not answers(self.port, lambda: self.alive, START_TIMEOUT):
                said = self.said or "(nothing)"
                raise EngineMissing(f"engine 'binary': {path} does not answer; it said:\n{said}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # with the server
            self._process.wait()
        self._output.close()


_shared: dict[str | None, Shared[Binary]] = {}


def shared(path: str | None = None) -> Binary:
    """The server that all tests of this process share, of a program."""
    if path not in _shared:
        _shared[path] = Shared(lambda: Binary(path))
    return _shared[path].get()
