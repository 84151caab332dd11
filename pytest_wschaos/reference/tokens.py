"""The credentials that a server accepts, and those that it did."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from .session import new_secret

logger = logging.getLogger(__name__)

Listed = Literal["good", "expired", "revoked"]
Standing = Literal[Listed, "unknown"]


class Tokens:
    """What a server knows of tokens. A token that is not good authenticates nobody, and resumes no session.

    Args:
        rng: makes the tokens that are issued.
        good: tokens that are good from the start.
    """

    def __init__(self, rng: random.Random, good: Iterable[str] = ()) -> None:
        self._rng = rng
        self._standing: dict[str, Standing] = dict.fromkeys(good, "good")

    def check(self, token: str) -> Standing:
        """How a token stands: ``good``, ``expired``, ``revoked`` or ``unknown``."""
        return self._standing.get(token, "unknown")

    def issue(self) -> str:
        """A new token, good from now on."""
        token = new_secret(self._rng)
        self._standing[token] = "good"
        return token

    def add(self, token: str) -> None:
        """Make a token of your own good."""
        self._standing[token] = "good"

    def expire(self, token: str) -> None:
        """Let a token have run out: its holder is told so, and may come back with a fresh one."""
        self._standing[token] = "expired"

    def revoke(self, token: str) -> None:
        """Withdraw a token: nobody can connect or resume with it (connections that stand are not cut)."""
        self._standing[token] = "revoked"


class TokenFile(Tokens):
    """Tokens that somebody else decides on: a JSON file, ``{"good": [...], "expired": [...], "revoked": [...]}``.

    It is read at each use. Where it cannot be read, or is just being written, what it said last holds, and a warning
    is logged.

    Args:
        rng: makes the tokens that are issued.
        path: the file. Each list may be left out; a token that is in several is the worst that it is called.

    Raises:
        ValueError: the file cannot be read, or is none of these; the message says why, without any token.
    """

    def __init__(self, rng: random.Random, path: str | Path) -> None:
        super().__init__(rng)
        self._path = Path(path)
        self._listed = _read(self._path)

    def check(self, token: str) -> Standing:
        """How a token stands, by the file as it is now."""
        try:
            self._listed = _read(self._path)
        except ValueError as error:
            logger.warning("%s; what it said last holds", error)
        return self._listed.get(token) or super().check(token)


def _read(path: Path) -> dict[str, Listed]:
    try:
        lists = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):  # their texts may hold a token
        raise ValueError(f"{path}: not JSON") from None
    kinds = get_args(Listed)
    if not isinstance(lists, dict) or not lists.keys() <= set(kinds):
        raise ValueError(f"{path}: must be a JSON object of the lists {', '.join(kinds)}")
    listed: dict[str, Listed] = {}
    for kind in kinds:
        tokens = lists.get(kind, [])
        if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
            raise ValueError(f"{path}: {kind}: must be a list of strings that are not empty")
        listed.update(dict.fromkeys(tokens, kind))
    return listed
