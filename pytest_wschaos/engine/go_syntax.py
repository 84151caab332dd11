"""Why Go's encoding/json would not read a text, in its words: clients show them, and Toxiproxy's tests look at them."""

from __future__ import annotations

MAX_DEPTH = 10_000
"""Arrays and objects within each other that Go reads."""

SPACE = " \t\r\n"
DIGITS = "0123456789"
LITERALS = {"t": "true", "f": "false", "n": "null"}
NAMED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}


class _Wrong(Exception):
    """What is wrong."""


def why(body: bytes) -> str:
    """What is wrong with the first value of a body; empty: nothing."""
    try:
        _Scanner(body.decode("latin-1")).value()  # Go looks at bytes, one by one
    except _Wrong as wrong:
        return str(wrong)
    return ""


def quote(character: str) -> str:
    """A character as Go quotes it."""
    if character == "'":
        return "'\\''"
    if character in NAMED:
        return f"'{NAMED[character]}'"
    if character.isprintable():
        return f"'{character}'"
    return f"'\\x{ord(character):02x}'" if ord(character) < 0x80 else f"'\\u{ord(character):04x}'"


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self) -> None:
        """Read one value to its end."""
        open: list[str] = []
        state = "value"
        while True:
            character = self._next()
            if state == "end":
                state = self._after_value(open, character)
            elif (state, character) in (("first key", "}"), ("first value", "]")):
                open.pop()
                state = "end"
            elif state in ("key", "first key"):
                if character != '"':
                    raise self._wrong(character, "looking for beginning of object key string")
                self._string()
                state = "colon"
            elif state == "colon":
                if character != ":":
                    raise self._wrong(character, "after object key")
                state = "value"
            elif character in "{[":
                open.append(character)
                if len(open) > MAX_DEPTH:
                    raise self._wrong(character, "exceeded max depth")
                state = "first key" if character == "{" else "first value"
            else:
                self._scalar(character)
                state = "end"
            if state == "end" and not open:
                return

    def _after_value(self, open: list[str], character: str) -> str:
        within = open[-1]
        if character == ",":
            return "key" if within == "{" else "value"
        if character != ("}" if within == "{" else "]"):
            raise self._wrong(character, "after object key:value pair" if within == "{" else "after array element")
        open.pop()
        return "end"

    def _scalar(self, character: str) -> None:
        if character == '"':
            self._string()
        elif character in LITERALS:
            word = LITERALS[character]
            for expected in word[1:]:
                if (found := self._take()) != expected:
                    raise self._wrong(found, f"in literal {word} (expecting {quote(expected)})")
        elif character == "-" or character in DIGITS:
            self._number(character)
        else:
            raise self._wrong(character, "looking for beginning of value")

    def _string(self) -> None:
        while (character := self._take()) != '"':
            if character < " ":
                raise self._wrong(character, "in string literal")
            if character == "\\":
                self._escape()

    def _escape(self) -> None:
        character = self._take()
        if character not in 'bfnrtu\\/"':
            raise self._wrong(character, "in string escape code")
        for _ in range(4 if character == "u" else 0):
            if (digit := self._take()) not in "0123456789abcdefABCDEF":
                raise self._wrong(digit, "in \\u hexadecimal character escape")

    def _number(self, character: str) -> None:
        if character == "-":
            character = self._digit("in numeric literal")
        if character != "0":
            self._digits()
        if self._peek() == ".":
            self._at += 1
            self._digit("after decimal point in numeric literal")
            self._digits()
        if self._peek() in ("e", "E"):
            self._at += 1
            if self._peek() in ("+", "-"):
                self._at += 1
            self._digit("in exponent of numeric literal")
            self._digits()

    def _digit(self, where: str) -> str:
        character = self._take()
        if character not in DIGITS:
            raise self._wrong(character, where)
        return character

    def _digits(self) -> None:
        while self._peek() and self._peek() in DIGITS:
            self._at += 1

    def _next(self) -> str:
        while self._peek() and self._peek() in SPACE:
            self._at += 1
        return self._take()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise _Wrong("unexpected EOF")
        self._at += 1
        return self._text[self._at - 1]

    @staticmethod
    def _wrong(character: str, where: str) -> _Wrong:
        return _Wrong(f"invalid character {quote(character)} {where}")
