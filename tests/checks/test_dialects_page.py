"""What the page on dialects says of the rules, held against the rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pytest_wschaos import dialect
from pytest_wschaos.checks.rule import rules

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"


def test_the_table_tells_what_each_rule_needs() -> None:
    kinds = {meaning.__name__: dialect.kind(meaning) for meaning in get_args(dialect.Meaning)}
    said: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`.*?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        needs = {kinds[name] for name in re.findall(r"`(\w+)`", row[0]) if name in kinds}
        said |= dict.fromkeys(re.findall(r"[A-Z]+-\d\d", row[1]), needs)
    assert said == {rule.id: set(rule.needs) for rule in rules().values() if rule.needs}
