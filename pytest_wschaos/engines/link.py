"""How a test speaks with the front of its engine, wherever that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from ..engine.front import Action


class EngineMissing(RuntimeError):
    """The engine that was named is not there."""


class Api(NamedTuple):
    """Where Toxiproxy's API is, and what the names of our proxies begin with there."""

    host: str
    port: int
    prefix: str = ""


class Link(Protocol):
    """Asks for what a :class:`.Front` does, from any thread; it has taken effect when a method returns.

    Raises (from each):
        LoopStuck: there was no answer in time.
        LoopEnded: the test has ended.
    """

    def listen(self, name: str, certificate: bytes | None = None) -> str:
        """Open a listener; not on the engine's own loop."""

    def redirect(self, upstream: str) -> None:
        """Connect new clients to another server."""

    def serve_api(self) -> Api:
        """Serve Toxiproxy's API; not on the engine's own loop."""

    def begin(self, id: int, fault: str, told: Mapping[str, Any], action: Action) -> None:
        """Put a fault in force."""

    def heal(self, id: int, fault: str, action: Action) -> None:
        """Heal a fault; on the engine's own loop it may be healed in the next turn."""

    def catch_up(self) -> None:
        """Return when everything is on record that the engine should have seen by now."""

    def stop(self) -> None:
        """End the front."""
