"""docs/rules.md: every rule and its cases. ``python -m pytest_wschaos.conformance.reports.rules_page`` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...checks.rule import rules
from ...profile import Profile
from ..suite.case import Case, cases
from ..suite.rulebook import AREAS, LATER, Entry, rulebook
from .explanation import figure

PAGE = Path("docs/rules.md")
HEAD = """\
# The rules, and the cases that provoke them

Generated from the `rules.toml` of each area and the catalogue of cases; do not edit it, but run
`python -m pytest_wschaos.conformance.reports.rules_page`. Figures are those of the default profile.
`wschaos explain RULE` tells the same on a terminal, `wschaos check` plays the cases.
"""


def page() -> str:
    """The page."""
    parts = [HEAD, *_contents()]
    for area in AREAS:
        parts += [f"\n## {area.upper()}\n"]
        for rule in rulebook().values():
            if rule.area == area:
                parts += _rule(rule)
    return "\n".join(parts).rstrip() + "\n"


def _contents() -> Iterator[str]:
    yield "| area | rules | cases for clients | cases for servers |"
    yield "|---|---|---|---|"
    for area in AREAS:
        count = sum(rule.area == area for rule in rulebook().values())
        here = [case for case in cases().values() if case.area == area]
        sides = [sum(case.side == side for case in here) for side in ("client", "server")]
        yield f"| [{area.upper()}](#{area}) | {count} | {sides[0]} | {sides[1]} |"


def _rule(rule: Entry) -> Iterator[str]:
    yield f"### {rule.id}\n"
    yield f"{rule.level}, binds the {' and the '.join(rule.sides)}. {rule.requirement}\n"
    yield f"- **Why:** {rule.why}"
    yield f"- **In the field:** {rule.field}"
    yield f"- **How to mend it:** {rule.fix}"
    if names := rules()[rule.id].figures if rule.id in rules() else ():
        yield "- **Figures:** " + ", ".join(f"`{name}` {_figure(name)}".rstrip() for name in names)
    yield from _cases(rule, [case for case in cases().values() if case.rule == rule.id])


def _figure(name: str) -> str:
    return "" if name == "close.reactions" else figure(name, Profile())


def _cases(rule: Entry, found: Sequence[Case]) -> Iterator[str]:
    if not found:
        yield "\nNo cases yet.\n" if rule.id in LATER else "\n**No cases.**\n"
        return
    yield "\n| case | side | what is asked |\n|---|---|---|"
    yield from (f"| `{case.id}` | {case.side} | {case.requirement.replace('|', chr(92) + '|')} |" for case in found)
    yield ""


def without_cases() -> list[str]:
    """The rules that have none for a side that they bind, but for those that come later."""
    missing = []
    for rule in rulebook().values():
        sides = {case.side for case in cases().values() if case.rule == rule.id}
        missing += [f"{rule.id} ({side})" for side in rule.sides if rule.id not in LATER and side not in sides]
    return missing


def main() -> int:
    """Write the page; in the directory of the project."""
    if not PAGE.parent.is_dir():
        sys.stderr.write(f"{PAGE}: there is no such folder here: run it in the directory of the project\n")
        return 2
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
