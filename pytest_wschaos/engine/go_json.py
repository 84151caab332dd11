"""JSON as Go's encoding/json reads and writes it, for clients that rely on it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from . import go_syntax
from .errors import BadRequest

LONGEST = 400
"""Digits of an integer that are converted to one; no field takes so many."""


def bad_body(reason: str) -> BadRequest:
    """The error for a body that cannot be read."""
    return BadRequest(f"bad request body: {reason}")


def _merge(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keys match whatever their case, and a repeated object adds to the first."""
    merged: dict[str, Any] = {}
    for key, value in pairs:
        name = key.lower()
        known = merged.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            known.update(value)
        elif value is not None or name not in merged:
            merged[name] = value
    return merged


class Literal(float):
    """A number that is not an integer of ordinary size; its text is shown in errors as it was written."""

    def __new__(cls, text: str) -> Literal:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def _integer(text: str) -> int | Literal:
    return int(text) if len(text) <= LONGEST else Literal(text)


def _no_constant(name: str) -> NoReturn:
    raise bad_body(f"invalid character {name[0]!r} looking for beginning of value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_merge, parse_constant=_no_constant, parse_float=Literal, parse_int=_integer
)


def read(body: bytes) -> Any:
    """The first value in a body; what follows it is ignored. Keys are in lower case.

    Raises:
        BadRequest: there is none.
    """
    text = body.decode("utf-8", "replace").strip(go_syntax.SPACE)
    if not text:
        raise bad_body("EOF")
    try:
        return _DECODER.raw_decode(text)[0]
    except (json.JSONDecodeError, RecursionError):
        raise bad_body(go_syntax.why(body) or "exceeded max depth") from None


class Fields:
    """The fields of an object, each read as the type that it must have; null and missing mean the default.

    Args:
        struct: what Go calls the object where a field of it is wrong.
        whole: what Go calls it where it is no object at all (default: the same).
    """

    def __init__(self, value: Any, struct: str, whole: str | None = None) -> None:
        if value is not None and not isinstance(value, dict):
            name = struct if whole is None else whole
            raise bad_body(f"json: cannot unmarshal {kind(value)} into Go value of type {name}")
        self._values: Mapping[str, Any] = value or {}
        self._struct = struct
        self.integers = "int64"
        """What Go calls the type of its integers, which have 64 bits."""

    def called(self, struct: str) -> Fields:
        """The same, under another name."""
        return Fields(self._values, struct)

    def has(self, key: str) -> bool:
        """Whether it is given, and not null."""
        return self._values.get(key) is not None

    def text(self, key: str) -> str | None:
        """A string."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._wrong(key, "string")
        # Half of a surrogate pair is no character.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def boolean(self, key: str) -> bool | None:
        """true or false."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "bool")
        return value

    def integer(self, key: str) -> int | None:
        """An integer of 64 bits, written as one: 1.0 is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise self._wrong(key, self.integers)
        return value

    def float32(self, key: str) -> float | None:
        """A number, as the shortest one that is the same in 32 bits."""
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) == math.inf:
            raise self._wrong(key, "float32")
        try:
            single = struct.pack("<f", value)
        except (OverflowError, struct.error):  # the latter for an integer beyond any float
            raise self._wrong(key, "float32") from None
        (nearest,) = struct.unpack("<f", single)
        tries = (float(f"{nearest:.{digits}g}") for digits in range(1, 10))
        return next(number for number in tries if _packs(number, single))

    def like(self, key: str, default: Any) -> Any:
        """A value of the same kind as ``default``; None where there is none."""
        if isinstance(default, bool):
            return self.boolean(key)
        if isinstance(default, float):
            return self.float32(key)
        if isinstance(default, int):
            return self.integer(key)
        if isinstance(default, str):
            return self.text(key)
        value = self._values.get(key)
        if value is not None and not isinstance(value, type(default)):
            raise self._wrong(key, "array" if isinstance(default, list) else "map")
        return value

    def any(self, key: str) -> Any:
        """Whatever it is."""
        return self._values.get(key)

    def fields(self, key: str, type: str = "map") -> Fields:
        """An object, which Go calls ``type``."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(key, type)
        return Fields(value, f"{self._struct}.{key}")

    def array(self, key: str, type: str) -> list[Any]:
        """An array, which Go calls ``type``."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, list):
            raise self._wrong(key, type)
        return value or []

    def _wrong(self, key: str, type: str) -> BadRequest:
        found = kind(self._values[key], exact=type in ("int", "int64", "float32"))
        return bad_body(f"json: cannot unmarshal {found} into Go struct field {self._struct}.{key} of type {type}")


def _packs(number: float, single: bytes) -> bool:
    try:
        return struct.pack("<f", number) == single
    except OverflowError:  # rounded up beyond the largest
        return False


def kind(value: Any, *, exact: bool = False) -> str:
    """What a value is, in Go's words; ``exact``: a number is named itself, as it was written."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {getattr(value, 'text', value)}" if exact else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def write(value: Any) -> bytes:
    """A value without spaces, safe within HTML."""
    return _text(value).encode()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, float):
        return _decimal(value)
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        for character in "<>&\u2028\u2029":
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _decimal(value: float) -> str:
    """A number as Go writes it: with an exponent only where it is very small or very large."""
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        digits = f"{Decimal(repr(value)):f}"
        return digits.removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    sign, power = ("-", exponent[1:]) if exponent.startswith("-") else ("+", exponent.lstrip("+"))
    return f"{mantissa.removesuffix('.0')}e{sign}{power.lstrip('0')}"


def number(value: float) -> float:
    """A number without needless decimals: 1, not 1.0."""
    return int(value) if value == int(value) and 0 < abs(value) < 2**63 else value


def shortest(value: Any) -> Any:
    """A value of which a number has no needless decimals."""
    return number(value) if isinstance(value, float) else value
