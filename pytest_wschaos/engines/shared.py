"""What all tests of a process share, and what ends with it."""

from __future__ import annotations

import atexit
import subprocess
import threading
from collections.abc import Callable
from typing import IO, Generic, Protocol, TypeVar


class Ends(Protocol):
    """Something that runs until it is stopped, or ends by itself."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def stop(self) -> None:
        """End it."""


class Started:
    """A process that was started, and what it says; the base of those that are shared."""

    _process: subprocess.Popen[bytes]
    _output: IO[bytes]

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has said so far."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace").strip()


T = TypeVar("T", bound=Ends)


class Shared(Generic[T]):
    """One such thing, made when it is first asked for, and anew when it has died."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._one: T | None = None
        atexit.register(self.end)

    def get(self) -> T:
        """The one that runs."""
        with self._lock:
            if self._one is not None and not self._one.alive:
                one, self._one = self._one, None
                one.stop()
            if self._one is None:
                self._one = self._make()
            return self._one

    def end(self) -> None:
        """End it, if there is one."""
        with self._lock:
            if self._one is not None:
                one, self._one = self._one, None
                one.stop()
