"""What is written of each rule of the spec, in ``rules.toml`` of its area: why it is there, and what to do about it."""

from __future__ import annotations

import fnmatch
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

AREAS = (
    "reconnect",
    "backoff",
    "jitter",
    "heartbeat",
    "state",
    "replay",
    "auth",
    "close",
    "scale",
    "proxy",
    "message",
    "security",
)
"""The areas of the spec, in its order."""
LATER = frozenset(["SCALE-01", "SCALE-02", "SCALE-04", "STATE-05", *(f"PROXY-{number:02}" for number in range(1, 5))])
"""The rules that have no cases yet."""


class UnknownRule(ValueError):
    """A rule id or glob that matches no rule."""


@dataclass(frozen=True)
class Entry:
    """A rule in words."""

    id: str
    requirement: str
    level: Literal["MUST", "SHOULD"]
    sides: tuple[str, ...]
    """Whom it binds: client, server, or deployment."""
    why: str
    field: str
    """What breaks it in the field."""
    fix: str

    @property
    def area(self) -> str:
        """The area's name, as the folders have it."""
        return self.id.partition("-")[0].lower()


@functools.cache
def rulebook() -> Mapping[str, Entry]:
    """All rules of the spec by id, in its order."""
    package = files(__package__.rpartition(".")[0])
    found: dict[str, Entry] = {}
    for area in AREAS:
        tables = tomllib.loads((package / area / "rules.toml").read_text(encoding="utf-8"))
        for id, told in tables.items():
            found[id] = Entry(id=id, **{**told, "sides": tuple(told["sides"])})
    return found


def select(*patterns: str) -> list[Entry]:
    """The rules that some ids or globs name, in order; a case's id names its rule.

    Raises:
        UnknownRule: a pattern names none.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        wanted = pattern.partition("/")[0].upper()
        found = fnmatch.filter(rulebook(), wanted)
        if not found:
            near = fnmatch.filter(rulebook(), f"{wanted.partition('-')[0]}-*")
            told = f"there are {', '.join(near)}" if near else f"the areas are {', '.join(map(str.upper, AREAS))}"
            raise UnknownRule(f"no rule {pattern!r}: {told}")
        chosen.update(found)
    return [entry for id, entry in rulebook().items() if id in chosen]
