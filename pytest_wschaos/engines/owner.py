"""Whose a thing is that a process of ours leaves behind when it is killed, so that the next one can put it away."""

from __future__ import annotations

import contextlib
import os
import platform

from ..timeline import fingerprint


def owner() -> str:
    """This process, in one word: the machine and the process's number there."""
    return f"{_machine()}-{os.getpid()}"


def left_behind(owner: str) -> bool:
    """Whether it is the word of a process of this machine that has ended."""
    machine, _, pid = owner.partition("-")
    return machine == _machine() and pid.isdecimal() and not _lives(int(pid))


def _machine() -> str:
    """A name of where process numbers are one's own: the machine, or a container on it."""
    space = ""
    with contextlib.suppress(OSError):  # Linux has it
        space = os.readlink("/proc/self/ns/pid")
    return fingerprint(platform.node() + space)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True
