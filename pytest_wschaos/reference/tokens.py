"""The credentials that a server accepts, and those that it did."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

from .session import new_secret

Standing = Literal["good", "expired", "revoked", "unknown"]


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
