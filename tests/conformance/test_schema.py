"""The schema of profiles: it tells all that a profile may be, and is what is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_wschaos import Profile, ProfileError
from pytest_wschaos.cli import main
from pytest_wschaos.conformance.reports.schema import schema
from pytest_wschaos.profile import PRESETS

PUBLISHED = Path(__file__).parent.parent.parent / "docs" / "profile.schema.json"
FIGURES = [
    (area, name, figure)
    for area, table in schema()["properties"].items()
    for name, figure in table.get("properties", {}).items()
]


def test_the_published_one_is_that_of_the_code() -> None:
    told = "write it anew: wschaos profile --schema > docs/profile.schema.json"
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == schema(), told


def test_it_has_every_figure_with_its_default() -> None:
    told = {area: {} for area in Profile().to_dict()}
    for area, name, figure in FIGURES:
        told[area][name] = figure["default"]
    assert told == Profile().to_dict()


@pytest.mark.parametrize(("area", "name", "figure"), FIGURES)
def test_each_figure_is_described(area: str, name: str, figure: dict[str, Any]) -> None:
    assert figure["description"].endswith(".")
    assert {"type", "anyOf", "enum"} & figure.keys()
    is_time = "Seconds" in figure["description"]
    assert not is_time or figure["unit"] == "s"


def bounds(figure: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = figure.get("anyOf", [figure])[0]
    return plain


@pytest.mark.parametrize(("area", "name", "figure"), [f for f in FIGURES if "minimum" in bounds(f[2])])
def test_what_is_below_its_minimum_is_refused(area: str, name: str, figure: dict[str, Any]) -> None:
    low = bounds(figure)["minimum"]
    with pytest.raises(ProfileError, match=f"{area}.{name}"):
        Profile().with_(**{area: {name: low - 1}})


@pytest.mark.parametrize(("area", "name", "figure"), [f for f in FIGURES if "exclusiveMinimum" in bounds(f[2])])
def test_what_must_be_above_a_bound_may_not_be_on_it(area: str, name: str, figure: dict[str, Any]) -> None:
    low = bounds(figure)["exclusiveMinimum"]
    with pytest.raises(ProfileError, match=f"{area}.{name}"):
        Profile().with_(**{area: {name: low}})


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_command_prints_what_a_profile_file_may_be(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", preset, "--json"]) == 0
    assert Profile.from_dict(json.loads(capsys.readouterr().out)) == Profile.preset(preset)


def test_the_command_prints_the_default_one_scaled_and_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == Profile().to_dict()
    assert main(["profile", "--scale", "0.05"]) == 0
    assert json.loads(capsys.readouterr().out) == Profile().scaled(0.05).to_dict()
    assert main(["profile", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


@pytest.mark.parametrize("words", [["nope"], ["--scale", "0"]])
def test_what_is_no_profile_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *words]) == 2
    assert capsys.readouterr().err.startswith("wschaos profile: ")
