"""The list of mutants: the reference pair, broken in one way each, with the rules that it must fail, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.server import ReferenceServer

Event = dict[str, object]
Kind = TypeVar("Kind", bound=type[ReferenceClient] | type[ReferenceServer])

MODULES = ("reconnect", "backoff", "jitter", "heartbeat", "state", "replay", "auth", "close", "message", "server")
"""Where they are: clients by the areas of the spec, then servers."""


@dataclass(frozen=True)
class Mutant:
    """A reference client or server with one bug."""

    kind: type[ReferenceClient] | type[ReferenceServer]
    seen_in: str
    """Where such a bug was met in the wild, or that it was made up."""
    fails: Mapping[str, str]
    """Every rule that it fails, with the reason."""
    bends: Mapping[str, str] = field(default_factory=dict)
    """The SHOULD rules that it does not follow: these are never a FAIL."""
    alone: bool = False
    """Whether it also plays the cases that take a process of its own."""

    @property
    def name(self) -> str:
        """What the bug is called."""
        return self.kind.__name__

    @property
    def side(self) -> str:
        """``client`` or ``server``."""
        return "client" if issubclass(self.kind, ReferenceClient) else "server"


_MUTANTS: dict[str, Mutant] = {}


def mutant(
    seen_in: str, *, fails: Mapping[str, str], bends: Mapping[str, str] | None = None, alone: bool = False
) -> Callable[[Kind], Kind]:
    """Put one on the list."""

    def register(kind: Kind) -> Kind:
        one = Mutant(kind, seen_in, fails, bends or {}, alone)
        if one.name in _MUTANTS:
            raise ValueError(f"two mutants are called {one.name}")
        _MUTANTS[one.name] = one
        return kind

    return register


def mutants() -> Mapping[str, Mutant]:
    """All of them by name, in the order of :data:`MODULES`."""
    for module in MODULES:
        import_module(f".{module}", __package__)
    order = {f"{__package__}.{module}": place for place, module in enumerate(MODULES)}
    return {one.name: one for one in sorted(_MUTANTS.values(), key=lambda one: order[one.kind.__module__])}


class OtherFigures(ReferenceClient):
    """A client that goes by other figures than it declares; a subclass says which."""

    def __init__(self, url: str, *, profile: Profile, **options: Any) -> None:
        super().__init__(url, profile=self.practised(profile), **options)

    def practised(self, declared: Profile) -> Profile:
        """The figures by which it goes."""
        raise NotImplementedError


class Telling(ReferenceClient):
    """Tells its application otherwise; a subclass says how."""

    def __init__(self, url: str, *, on_event: Callable[[Event], None], **options: Any) -> None:
        def told(event: Event) -> None:
            for changed in self.changed(event):
                on_event(changed)

        super().__init__(url, on_event=told, **options)

    def changed(self, event: Event) -> Iterator[Event]:
        """What is told in place of an event."""
        raise NotImplementedError
