"""What a case is, and the catalogue of all of them."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from ...checks.rule import AREAS
from ...checks.verdict import Finding
from ...profile import Profile

Side = Literal["client", "server"]
Script = Callable[..., Awaitable[Finding | None]]
"""What happens in a case: takes the stage, and what :func:`case` has for ``each``. It may answer itself; where it
returns None the rule's check judges what was seen."""
Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, repr=False)
class Case:
    """A rule, a sentence of requirement, a script of faults and commands, and what is needed to play it."""

    id: str
    """The rule's id; where a rule has several cases, a suffix in words follows: ``BACKOFF-03/flapping``."""
    requirement: str
    side: Side
    script: Script
    needs: frozenset[str] = frozenset()
    """What the subject must be able to do, of what its hello may name under ``can``."""
    figures: Figures = field(default_factory=dict)
    """What is changed in the profile for it."""
    scaled: Figures = field(default_factory=dict)
    """What is changed besides where the figures are scaled down, so that a busy machine does not blur them."""
    process: bool = False
    """Whether the subject must be a process of its own: one that is put to sleep, say."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """What the script takes besides the stage."""

    def __repr__(self) -> str:
        return f"<case {self.id}>"

    @property
    def rule(self) -> str:
        """The rule that it is for."""
        return self.id.partition("/")[0]

    @property
    def area(self) -> str:
        """The area of that rule, as the folders have it."""
        return self.rule.partition("-")[0].lower()

    def to_dict(self) -> dict[str, Any]:
        """What it is and needs, as plain data."""
        return {
            "id": self.id,
            "rule": self.rule,
            "area": self.area,
            "side": self.side,
            "requirement": self.requirement,
            "needs": sorted(self.needs),
            "process": self.process,
            "figures": {area: dict(figures) for area, figures in self.figures.items()},
        }

    def declared(self, profile: Profile, *, scaled: bool) -> Profile:
        """The figures by which the case is played and judged."""
        return profile.with_(**self.figures).with_(**(self.scaled if scaled else {}))


_CASES: dict[str, Case] = {}


def case(
    id: str,
    requirement: str,
    *,
    side: Side = "client",
    each: Iterable[Mapping[str, Any]] = ({},),
    needs: Iterable[str] = (),
    figures: Figures | None = None,
    scaled: Figures | None = None,
    process: bool = False,
) -> Callable[[Script], Script]:
    """Register a script as a case; with ``each`` as one case for every set of arguments.

    ``{name}`` in ``id`` and ``requirement`` stands for an argument of that name. One script may be registered for
    several rules.
    """

    def register(script: Script) -> Script:
        for given in each:
            name = id.format(**given)
            if name in _CASES:
                raise ValueError(f"two cases are called {name}")
            _CASES[name] = Case(
                name,
                requirement.format(**given),
                side,
                script,
                frozenset(needs),
                figures or {},
                scaled or {},
                process,
                given,
            )
        return script

    return register


@functools.cache
def cases() -> Mapping[str, Case]:
    """All cases by id, in the order of the spec."""
    package = __package__.rpartition(".")[0]
    for area in AREAS:
        for side in ("client", "server"):
            if find_spec(f"{package}.{area}") and find_spec(f"{package}.{area}.{side}"):
                import_module(f"{package}.{area}.{side}")
    order = {area: place for place, area in enumerate(AREAS)}
    # Those of one rule stay in the order in which their module has them.
    return {one.id: one for one in sorted(_CASES.values(), key=lambda one: (order[one.area], one.rule))}


class UnknownCase(ValueError):
    """An id or glob that names no case."""


def select(*patterns: str, side: Side | None = None) -> list[Case]:
    """The cases that some ids or globs name (a rule's id: all of its cases), in order; none named: all.

    Raises:
        UnknownCase: a pattern names none.
    """
    there = [one for one in cases().values() if side in (None, one.side)]
    chosen: dict[str, None] = {}
    for pattern in patterns or ("*",):
        found = [one.id for one in there if named(pattern, one)]
        if not found:
            raise UnknownCase(f"no case {pattern!r}: 'wschaos cases' lists them")
        chosen.update(dict.fromkeys(found))
    return [one for one in there if one.id in chosen]


def named(pattern: str, one: Case) -> bool:
    """Whether an id or glob, of cases or of rules, names a case."""
    rule, slash, suffix = pattern.partition("/")
    wanted = f"{rule.upper()}{slash}{suffix}"
    return fnmatch.fnmatchcase(one.id, wanted) or fnmatch.fnmatchcase(one.rule, wanted)
