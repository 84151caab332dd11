"""JSON as Go's encoding/json reads and writes it, for clients that rely on it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

from .errors import BadRequest


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


def _no_constant(name: str) -> NoReturn:
    raise bad_body(f"invalid character {name[0]!r} looking for beginning of value")


_DECODER = json.JSONDecoder(object_pairs_hook=_merge, parse_constant=_no_constant)


def read(body: bytes) -> Any:
    """The first value in a body; what follows it is ignored. Keys are in lower case.

    Raises:
        BadRequest: there is none.
    """
    text = body.decode("utf-8", "replace").strip(" \t\r\n")
    if not text:
        raise bad_body("EOF")
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        if error.pos >= len(text) or error.msg.startswith("Unterminated"):
            raise bad_body("unexpected EOF") from None
        raise bad_body(f"invalid character {text[error.pos]!r} looking for beginning of value") from None
    except RecursionError:
        raise bad_body("exceeded max depth") from None
    except ValueError:  # an integer of thousands of digits
        raise bad_body("json: a number is too long") from None


class Fields:
    """The fields of an object, each read as the type that it must have; null and missing mean the default.

    Args:
        struct: what the object is called in errors.
    """

    def __init__(self, value: Any, struct: str) -> None:
        if value is not None and not isinstance(value, dict):
            raise bad_body(f"json: cannot unmarshal {kind(value)} into Go value of type {struct}")
        self._values: Mapping[str, Any] = value or {}
        self._struct = struct

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
            raise self._wrong(key, "int64")
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
        tries = (float(f"{float(value):.{digits}g}") for digits in range(1, 10))
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

    def fields(self, key: str) -> Fields:
        """An object."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(key, "map")
        return Fields(value, f"{self._struct}.{key}")

    def _wrong(self, key: str, type: str) -> BadRequest:
        found = kind(self._values[key], exact=type in ("int64", "float32"))
        return bad_body(f"json: cannot unmarshal {found} into Go struct field {self._struct}.{key} of type {type}")


def _packs(number: float, single: bytes) -> bool:
    try:
        return struct.pack("<f", number) == single
    except OverflowError:  # rounded up beyond the largest
        return False


def kind(value: Any, *, exact: bool = False) -> str:
    """What a value is, in Go's words; ``exact``: a number is named itself."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}" if exact else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def write(value: Any) -> bytes:
    """A value without spaces, safe within HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def number(value: float) -> float:
    """A number without needless decimals: 1, not 1.0."""
    return int(value) if value == int(value) else value


def shortest(value: Any) -> Any:
    """A value of which a number has no needless decimals."""
    return number(value) if isinstance(value, float) else value
