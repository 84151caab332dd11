"""What the documentation shows is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def code(page: str) -> list[str]:
    """The blocks of Python on a page, in order."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_tests_of_fleets_pass_as_they_are_written(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    blocks = code("docs/fleets.md")
    for number, block in enumerate(blocks):
        pytester.makepyfile(**{f"test_{number}": block})
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--asyncio-mode=strict")
    result.assert_outcomes(passed=len(blocks))
