"""What a case that was not kept says: an answer, not a puzzle."""

from __future__ import annotations

from collections.abc import Iterator

from ...report import WIDTH, item, timeline_text, verdict_text
from .result import Result

LAST_WORDS = 4000
"""Characters of what a client's process said that are shown, the last ones."""


def answer(result: Result) -> str:
    """Requirement, what was expected and seen, the figures, what happened, and how to play it again."""
    first = f"{result.case.id} {result.outcome}: {result.verdict.seen}"
    return "\n".join([first, "", *evidence(result), *said(result), _timeline(result)])


def evidence(result: Result, width: int = WIDTH) -> list[str]:
    """The requirement and the verdict, with the numbers."""
    head, *rest = verdict_text(result.verdict, width).splitlines()
    return [head, *item("case", result.case.requirement, width), *rest, f"  close:    {result.closing}", ""]


def said(result: Result, lines: int | None = None) -> Iterator[str]:
    """What the clients' processes said besides events; with ``lines`` the last ones of it."""
    for client, words in result.said.items():
        yield f"{client} said on standard error, and on standard output besides events:"
        shown = words[-LAST_WORDS:].splitlines()
        shown = shown if lines is None else shown[-lines:]
        if sum(map(len, shown)) < len(words.replace("\n", "")):
            yield "  ..."
        yield from (f"  {_printable(line)}" for line in shown)
        yield ""


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else repr(char)[1:-1] for char in line)


def _timeline(result: Result) -> str:
    return timeline_text(result.record, result.verdict.at, result.repeat)
