"""The catalogue: every rule that is judged, by id, with the function that judges it."""

from __future__ import annotations

import fnmatch
import functools
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from ..profile import Profile
from ..timeline import Record
from .story import Story
from .verdict import Finding, Outcome, Verdict, unsupported

Judge = Callable[[Story, Profile], Finding]
Level = Literal["MUST", "SHOULD"]
Side = Literal["client", "server", "both"]

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
    "message",
    "security",
)
"""The modules of this package that hold checks, and the folders of ``conformance`` that hold cases; as in the spec."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the spec and its check."""

    id: str
    requirement: str
    level: Level
    side: Side
    figures: tuple[str, ...]
    """The profile's figures in play, as ``area.figure``."""
    needs: tuple[str, ...]
    """The kinds of message that a dialect must tell for the rule to be judged."""
    judge: Judge


_RULES: dict[str, Rule] = {}


def check(
    rule: str,
    requirement: str,
    *,
    figures: Iterable[str] = (),
    needs: Iterable[str] = (),
    level: Level = "MUST",
    side: Side = "client",
) -> Callable[[Judge], Judge]:
    """Register a function as the check of ``rule``; ``requirement`` is the rule in one sentence."""

    def register(judge: Judge) -> Judge:
        _RULES[rule] = Rule(rule, requirement, level, side, tuple(figures), tuple(needs), judge)
        return judge

    return register


class UnknownRule(ValueError):
    """A rule id or glob that matches no rule."""


@functools.cache
def rules() -> Mapping[str, Rule]:
    """All rules that have a check, by id, in the order of the spec."""
    for area in AREAS:
        import_module(f".{area}", __package__)
    order = {area.upper(): place for place, area in enumerate(AREAS)}
    return dict(sorted(_RULES.items(), key=lambda item: (order[item[0].split("-")[0]], item[0])))


def select(*patterns: str) -> list[str]:
    """The ids that some ids or globs (``BACKOFF-*``) name, in order; none named: all.

    Raises:
        UnknownRule: a pattern names no rule.
    """
    chosen: dict[str, None] = {}
    for pattern in patterns or ("*",):
        if not isinstance(pattern, str):
            raise UnknownRule(f"{pattern!r} is no rule: name them one by one, as strings, such as 'BACKOFF-*'")
        matching = _matching(pattern.upper())
        if not matching:
            area = re.split(r"[^A-Z]", pattern.upper())[0]
            near = [rule for rule in rules() if rule.startswith(area)] if area else []
            told = f"there are {', '.join(near)}" if near else "'wschaos rules' lists them"
            raise UnknownRule(f"no rule {pattern!r}: {told}")
        chosen.update(dict.fromkeys(matching))
    return list(chosen)


@functools.cache
def _matching(pattern: str) -> list[str]:
    return [rule for rule in rules() if fnmatch.fnmatchcase(rule, pattern)]


def judge(record: Record, profile: Profile, *patterns: str) -> list[Verdict]:
    """Judge a record by some rules (all where none is named): the checks' only entrance.

    Raises:
        UnknownRule: a pattern names no rule.
    """
    chosen = select(*patterns)
    story = Story(record)
    return [_verdict(rules()[rule], story, profile) for rule in chosen]


def _verdict(rule: Rule, story: Story, profile: Profile) -> Verdict:
    finding = _finding(rule, story, profile)
    outcome = finding.outcome
    if rule.level == "SHOULD" and outcome is Outcome.FAIL:
        outcome = Outcome.NON_STRICT
    figures = {name: _figure(name)(profile) for name in rule.figures}
    return Verdict(rule.id, outcome, rule.requirement, finding.seen, figures, finding.measured, finding.at)


@functools.cache
def _figure(name: str) -> Callable[[Profile], Any]:
    """What reads a figure that is named as ``area.figure``."""
    return operator.attrgetter(name)


def _finding(rule: Rule, story: Story, profile: Profile) -> Finding:
    missing = [kind for kind in rule.needs if kind not in story.record.tells]
    if missing:
        dialect = story.record.dialect
        who = f"the dialect {dialect!r} does not tell" if dialect else "no dialect was given that tells"
        return unsupported(f"{who} {', '.join(missing)} (fixture wschaos_dialect)")
    if rule.side != "server" and story.encrypted is not None:
        return unsupported(
            f"connection {story.encrypted.number} is TLS, in which nothing can be read: "
            "put the proxy in front of a ws:// upstream"
        )
    return rule.judge(story, profile)


def describe(value: Any) -> str:
    """A figure as people write it."""
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
