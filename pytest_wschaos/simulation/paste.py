"""A world as source: what a person pastes to see it again."""

from __future__ import annotations

import dataclasses
import pprint
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..profile import Profile

if TYPE_CHECKING:
    from .schedule import Schedule

INDENT = " " * 4


def as_test(
    schedules: Sequence[Schedule], client: type, profile: Profile, seed: int, rules: tuple[str, ...] | None = None
) -> str:
    """The source of a test that plays the same again; ``rules`` None: those of :func:`.survive` by default."""
    imports = [
        "from pytest_wschaos.simulation.play import survive",
        f"from {client.__module__} import {client.__name__}",
    ]
    arguments = [_literal(schedule) for schedule in schedules]
    arguments.append(f"client={client.__name__}")
    if (figures := differences(profile)) is not None:
        imports.append("from pytest_wschaos import Profile")
        arguments.append(f"profile={figures}")
    arguments.append(f"seed={seed}")
    if rules is not None:
        arguments.append(f"rules={rules!r}")
    lines = [*sorted(imports), "", "", "def test_again():", f"{INDENT}survive("]
    for argument in arguments:
        lines += [INDENT * 2 + line for line in f"{argument},".splitlines()]
    return "\n".join([*lines, f"{INDENT})", ""])


def _literal(schedule: Schedule) -> str:
    if not schedule:
        return "[]"
    steps = [f"{INDENT}({gap!r}, {kind!r}, {dict(arguments)!r})," for gap, kind, arguments in schedule]
    return "\n".join(["[", *steps, "]"])


def differences(profile: Profile) -> str | None:
    """A profile as what it changes of the default one, in source; None: nothing."""
    default, changed = Profile(), {}
    for area in dataclasses.fields(Profile):
        ours, usual = getattr(profile, area.name), getattr(default, area.name)
        figures = {
            f.name: getattr(ours, f.name)
            for f in dataclasses.fields(ours)
            if getattr(ours, f.name) != getattr(usual, f.name)
        }
        if figures:
            changed[area.name] = figures
    if not changed:
        return None
    text = ", ".join(f"{area}={pprint.pformat(figures, width=10_000)}" for area, figures in changed.items())
    return f"Profile().with_({text})"
