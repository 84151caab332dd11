"""The JSON schema of profiles, made from the dataclasses, bounds and docstrings of :mod:`pytest_wschaos.profile`.

``wschaos profile --schema`` prints it; docs/profile.schema.json is that.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ... import profile
from ...profile import PRESETS, Bounds, Profile, Reaction, bounds_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema: every figure of every area with type, unit, bounds, default and description."""
    kinds = {area.name: type(getattr(Profile(), area.name)) for area in fields(Profile)}
    return {
        "$schema": DIALECT,
        "title": "Profile of a WebSocket client or server",
        "description": "The figures that it declares, by area of the reliability spec. Times are seconds, sizes bytes. "
        "A figure that is left out has the default, or that of the preset.",
        "type": "object",
        "properties": {
            "preset": {
                "description": "The profile whose figures are changed.",
                "enum": sorted(PRESETS),
                "default": "default",
            },
            **{name: _area(kind, Profile().to_dict()[name]) for name, kind in kinds.items()},
        },
        "additionalProperties": False,
    }


def _area(kind: type, defaults: Mapping[str, Any]) -> dict[str, Any]:
    told, hints, bounds = _descriptions(kind), get_type_hints(kind), bounds_of(kind)
    return {
        "description": _text(inspect.getdoc(kind) or ""),
        "type": "object",
        "properties": {
            name: _figure(hints[name], bounds.get(name), told[name], default) for name, default in defaults.items()
        },
        "additionalProperties": False,
    }


def _figure(hint: Any, bounds: Bounds | None, told: str, default: Any) -> dict[str, Any]:
    nothing = f" null: {bounds.none}." if bounds and bounds.none else ""
    figure = {"description": told + nothing, **_type(hint, bounds), "default": default}
    return {**figure, "unit": bounds.unit} if bounds and bounds.unit else figure


def _type(hint: Any, bounds: Bounds | None) -> dict[str, Any]:
    kinds = set(get_args(hint)) - {type(None)} if type(None) in get_args(hint) else {hint}
    kind = kinds.pop()
    plain = _plain(kind, bounds)
    if type(None) not in get_args(hint):
        return plain
    # TOML has no null.
    return {"anyOf": [plain, {"enum": [None, "none"]}]}


def _plain(kind: Any, bounds: Bounds | None) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": {"type": "string"}}
    if kind is bool:
        return {"type": "boolean"}
    if bounds is None:
        return {
            "type": "object",
            "patternProperties": {"^[1-4][0-9]{3}$": {"enum": list(get_args(Reaction))}},
            "additionalProperties": False,
        }
    limits = {"minimum": bounds.at_least, "exclusiveMinimum": bounds.above, "exclusiveMaximum": bounds.below}
    named = {name: limit for name, limit in limits.items() if limit is not None}
    return {"type": "integer" if kind is int else "number", **named}


@functools.cache
def _sources() -> Mapping[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(profile))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _descriptions(kind: type) -> dict[str, str]:
    """The docstrings of an area's figures: what stands below each."""
    body = _sources()[kind.__name__].body
    found = {}
    for figure, below in itertools.pairwise(body):
        if isinstance(figure, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(figure.target, ast.Name)
            found[figure.target.id] = _text(str(below.value.value))
    return found


def _text(docstring: str) -> str:
    return " ".join(docstring.split()).replace("``", "")
