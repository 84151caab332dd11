"""The list of cases that may fail: it can only shrink, since an entry that passes is an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...checks.verdict import Outcome
from .case import Case, named
from .result import Result


class KnownFailingError(ValueError):
    """The list cannot be read, or an entry names no case; one line that says where."""


@dataclass(frozen=True)
class Entry:
    """A line of the list."""

    pattern: str
    """A case's id, or a glob of ids."""
    place: str
    """File and line."""

    def names(self, case: Case) -> bool:
        """Whether the case is meant."""
        return named(self.pattern, case)


def read(path: str | Path, cases: Iterable[Case]) -> list[Entry]:
    """The entries of a file: one a line, what follows a ``#`` is a comment.

    Raises:
        KnownFailingError: it cannot be read, or an entry names no case.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise KnownFailingError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    there = list(cases)
    entries = []
    for number, line in enumerate(lines, 1):
        pattern = line.partition("#")[0].strip()
        if not pattern:
            continue
        entry = Entry(pattern, f"{path}, line {number}")
        if not any(map(entry.names, there)):
            raise KnownFailingError(f"{entry.place}: no case {pattern!r}: 'wschaos cases' lists them")
        entries.append(entry)
    return entries


def stale(entries: Iterable[Entry], results: Iterable[Result]) -> list[str]:
    """A line for each entry of which no case failed and at least one was kept: it has to go."""
    found, played = [], list(results)
    for entry in entries:
        outcomes = {result.outcome for result in played if entry.names(result.case)}
        if Outcome.FAIL not in outcomes and outcomes & {Outcome.PASS, Outcome.NON_STRICT}:
            found.append(f"{entry.place}: {entry.pattern} does not fail any more: remove the line")
    return found
