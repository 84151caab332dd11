"""The list of broken clients: each with the rules that it must fail, and why, and no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_wschaos import Profile, ReferenceClient

Kind = type[ReferenceClient]


@dataclass(frozen=True)
class Broken:
    """A reference client with one bug."""

    kind: Kind
    seen_in: str
    """Where such a bug was met in the wild, or that it was made up."""
    fails: Mapping[str, str]
    """Every rule that it fails, with the reason."""
    bends: Mapping[str, str] = field(default_factory=dict)
    """The SHOULD rules that it does not follow: these are never a FAIL."""

    @property
    def name(self) -> str:
        """What the bug is called."""
        return self.kind.__name__


BROKEN: list[Broken] = []


def broken(seen_in: str, *, fails: Mapping[str, str], bends: Mapping[str, str] | None = None) -> Callable[[Kind], Kind]:
    """Put a client on the list."""

    def register(kind: Kind) -> Kind:
        BROKEN.append(Broken(kind, seen_in, fails, bends or {}))
        return kind

    return register


class OtherFigures(ReferenceClient):
    """A client that goes by other figures than it declares; a subclass says which."""

    def __init__(self, url: str, *, profile: Profile, **options: Any) -> None:
        super().__init__(url, profile=self.practised(profile), **options)

    def practised(self, declared: Profile) -> Profile:
        """The figures by which it goes."""
        raise NotImplementedError
