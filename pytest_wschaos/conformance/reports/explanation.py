"""A rule, for people: what it asks, why, what breaks it, how to mend that, and how it is tested."""

from __future__ import annotations

import operator
import textwrap

from ...checks.rule import describe, rules
from ...profile import Profile
from ..suite.case import cases
from ..suite.rulebook import LATER, Entry

WIDTH = 79


def explanation(rule: Entry, profile: Profile) -> str:
    """All that is known of a rule, with the figures of a profile."""
    parts = [f"{rule.id}  {rule.level}, binds the {' and the '.join(rule.sides)}", ""]
    parts += _wrapped(rule.requirement)
    for name, text in (("why", rule.why), ("in the field", rule.field), ("how to mend it", rule.fix)):
        parts += ["", f"{name}:", *_wrapped(text)]
    parts += _figures(rule, profile)
    parts += ["", *_cases(rule)]
    return "\n".join(parts)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _figures(rule: Entry, profile: Profile) -> list[str]:
    names = rules()[rule.id].figures if rule.id in rules() else ()
    return ["", "figures:", *(f"  {name} = {figure(name, profile)}" for name in names)] if names else []


def figure(name: str, profile: Profile) -> str:
    """A figure of a profile, by ``area.figure``."""
    value = operator.attrgetter(name)(profile)
    if isinstance(value, dict):
        return "see 'wschaos profile --json'"
    return describe(value)


def _cases(rule: Entry) -> list[str]:
    found = [case for case in cases().values() if case.rule == rule.id]
    if not found:
        return ["cases: none yet" if rule.id in LATER else "cases: none"]
    return ["cases:", *(line for case in found for line in _wrapped(f"{case.id} ({case.side}): {case.requirement}"))]
