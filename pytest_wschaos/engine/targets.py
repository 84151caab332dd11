"""Which connections a toxic works on, by their number: the first that a proxy accepts is 1."""

from __future__ import annotations

from typing import Any

from .errors import BadRequest


class Targets:
    """All connections, or those that ``given`` names.

    Args:
        given: None for all; a connection's number, or a list of them; ``{"nth": n}`` or ``{"every": n}``: of those
            that are accepted from now on, the n-th alone, or every n-th.
        accepted: how many the proxy has accepted so far.

    Raises:
        BadRequest: ``given`` is none of these.
    """

    def __init__(self, given: Any, accepted: int) -> None:
        self.given = given
        self._accepted = accepted
        self._named: frozenset[int] = frozenset()
        self._nth = self._every = 0
        match given:
            case None:
                pass
            case {"nth": number} if len(given) == 1 and _counts(number):
                self._nth = number
            case {"every": number} if len(given) == 1 and _counts(number):
                self._every = number
            case list() if given and all(map(_counts, given)):
                self._named = frozenset(given)
            case _ if _counts(given):
                self._named = frozenset([given])
            case _:
                raise BadRequest(
                    f"connections = {given!r:.80}: must be a number of 1 or more, a list of such, "
                    '{"nth": number} or {"every": number}'
                )

    def include(self, number: int) -> bool:
        """Whether a connection is one of them."""
        later = number - self._accepted
        if self._nth:
            return later == self._nth
        if self._every:
            return later > 0 and later % self._every == 0
        return self.given is None or number in self._named


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
