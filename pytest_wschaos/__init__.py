"""Chaos between a WebSocket client and a server, and a judgement of how both survive it.

Everything public can be imported from here; it is loaded on first use, so that having the plugin installed
costs nothing (PYTEST_DONT_REWRITE: for the same reason).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks.verdict import Outcome as Outcome
    from .checks.verdict import Verdict as Verdict
    from .cursor import EventTimeout as EventTimeout
    from .dialect import Dialect as Dialect
    from .engines.process import EngineDied as EngineDied
    from .faults import Fault as Fault
    from .faults import FaultError as FaultError
    from .faults import PeerFaultError as PeerFaultError
    from .harness import Chaos as Chaos
    from .harness import ChaosProxy as ChaosProxy
    from .harness import RuleBroken as RuleBroken
    from .harness import UpstreamError as UpstreamError
    from .profile import Profile as Profile
    from .profile import ProfileError as ProfileError
    from .reference.client import ReferenceClient as ReferenceClient
    from .reference.server import ReferenceServer as ReferenceServer
    from .timeline import Event as Event
    from .timeline import Record as Record

__version__ = "0.1.0"

_HOMES = {
    "Chaos": "harness",
    "ChaosProxy": "harness",
    "Dialect": "dialect",
    "EngineDied": "engines.process",
    "Event": "timeline",
    "EventTimeout": "cursor",
    "Fault": "faults",
    "FaultError": "faults",
    "Outcome": "checks.verdict",
    "PeerFaultError": "faults",
    "Profile": "profile",
    "ProfileError": "profile",
    "Record": "timeline",
    "ReferenceClient": "reference.client",
    "ReferenceServer": "reference.server",
    "RuleBroken": "harness",
    "UpstreamError": "harness",
    "Verdict": "checks.verdict",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
