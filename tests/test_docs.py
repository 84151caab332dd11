"""What the documentation shows is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import test_serve
from compat import test_deviations
from engine import test_connection

from pytest_wschaos import Profile
from pytest_wschaos.engine import events
from pytest_wschaos.engine.events import Kind
from pytest_wschaos.profile import PRESETS, REACTIONS, Reaction
from pytest_wschaos.simulation import strategies
from pytest_wschaos.simulation.schedule import KINDS, OF_THE_APPLICATION, OF_THE_SERVER, SAYS

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


def test_the_test_of_virtual_time_passes_as_it_is_written(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.syspathinsert(ROOT / "examples")
    pytester.makepyfile(test_it=code("docs/virtual-time.md")[0])
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--asyncio-mode=strict")
    result.assert_outcomes(passed=1)


def test_the_test_of_events_passes_as_it_is_written(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(test_it=code("docs/events.md")[0])
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--asyncio-mode=strict")
    result.assert_outcomes(passed=1)


def test_the_kinds_of_events_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8").partition("| kind | when |")[2]
    named = [
        kind for cell in re.findall(r"^\| (`.*?`) \| ", page, re.MULTILINE) for kind in re.findall(r"`(\w+)`", cell)
    ]
    assert sorted(named) == sorted(get_args(Kind))


def test_the_bounds_of_events_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    assert f"The last {events.KEPT:,} events".replace(",", " ") in page
    assert f"{events.READERS} readers" in page
    assert f"longer than {events.LONGEST} characters" in page


def test_each_deviation_from_toxiproxy_is_told_and_tested_and_no_other() -> None:
    page = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8").partition("| where | Toxiproxy 2.12.0 | here |")[2]
    told = re.findall(r"^\| (?!--)(.*?) \| ", page.partition("\n\n")[0], re.MULTILINE)
    modules = (test_deviations, test_serve, test_connection)
    tested = [
        mark.args[0]
        for module in modules
        for test in vars(module).values()
        for mark in getattr(test, "pytestmark", ())
        if mark.name == "deviation"
    ]
    assert sorted(set(tested)) == sorted(told)


def test_the_test_of_wss_passes_as_it_is_written(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(test_it=next(block for block in code("docs/faults.md") if "ssl_context" in block))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--asyncio-mode=strict")
    result.assert_outcomes(passed=2)


def test_the_first_test_is_that_of_the_examples() -> None:
    example = (ROOT / "examples" / "test_first.py").read_text(encoding="utf-8")
    assert code("README.md")[0] == example.partition('"""\n\n')[2]


def test_the_lines_for_ci_are_those_of_the_workflow() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## CI\n")[2]
    install, toxiproxy, test = page.partition("```sh\n")[2].partition("```")[0].splitlines()
    steps = re.findall(r"- run: (.*)", (ROOT / "examples" / "ci" / "github-actions.yml").read_text(encoding="utf-8"))
    assert toxiproxy in steps
    assert test.replace(" examples ", " ") in steps
    assert install.replace("'.[examples]'", "pytest-wschaos") in steps


def test_the_reactions_to_close_codes_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8").partition("## Reactions")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|$", page, re.MULTILINE)
    assert {reaction for reaction, _ in rows} == set(get_args(Reaction))
    told = {int(number): reaction for reaction, numbers in rows for number in numbers.split(", ")}
    assert told == REACTIONS
    assert all(Profile.preset(name).close.reactions == REACTIONS for name in PRESETS)


def test_the_kinds_of_steps_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "property-based.md").read_text(encoding="utf-8").partition("## Schedules")[2]
    named: dict[str, set[str]] = {}
    for kinds, arguments, _ in re.findall(
        r"^\| (.*?) \| (.*?) ?\| (.*?) \|$", page.partition("| strategy")[0], re.MULTILINE
    ):
        named |= {kind: set(re.findall(r"`(\w+)`", arguments)) for kind in re.findall(r"`(\w+)`", kinds)}
    assert named.keys() == OF_THE_APPLICATION | OF_THE_SERVER
    for kind in OF_THE_APPLICATION:
        assert named[kind] - {"lasts"} == set(SAYS.get(kind, {}))


def test_the_defaults_of_the_strategies_are_as_told() -> None:
    drawn = {*strategies.MESSAGES, *strategies.FAULTS, *strategies.RESTARTS}
    assert KINDS - drawn == {"reconnect"}
    assert "suspend" not in KINDS
