"""What a subject has started and left behind, in sessions of its own too: no process group has it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
ROUNDS = 20
"""Looks at most: who is ended may have started another one meanwhile."""


def end_all(variable: str, value: str) -> None:
    """Kill every process that has a variable of its first environment; on Linux, where that can be seen."""
    for _ in range(ROUNDS):
        found = list(having(variable, value))
        for process in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not found:
            return


def having(variable: str, value: str) -> Iterator[int]:
    """The processes that were started with a variable of that value, but for those that have ended."""
    wanted = os.fsencode(f"{variable}={value}")
    for folder in PROC.glob("[0-9]*"):
        # Of a process that has ended, or is somebody else's, there is nothing to read.
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
