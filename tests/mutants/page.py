"""docs/mutants.md: every mutant, and what it fails. ``PYTHONPATH=tests python -m mutants.page`` writes it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from pytest_wschaos.checks.verdict import Outcome

from .matrix import Row, row
from .registry import MODULES, Mutant, mutants

PAGE = Path("docs/mutants.md")
HEAD = """\
# Mutants: what finds what

Generated; do not edit it, but run `PYTHONPATH=tests python -m mutants.page`, which plays all of it.

Each of these is the reference client or server, broken in one way. All cases of its side are played with it, and it
must fail the rules that are listed here and no other; the unbroken pair fails none. CI compares both. With each rule
stands why the bug breaks it, and the first of the cases that show it. *Not strict*: a rule that is a SHOULD, or what
a case does not insist on. An M and a number is the bug's place in a survey that the project made of reconnecting
clients and servers in the field; `owner/name#number` is an issue or pull request on GitHub.
"""
TITLES = {"server": "Servers"}


def page(rows: dict[str, str]) -> str:
    """The page.

    Args:
        rows: what :func:`line` returned, by mutant.
    """
    sides = [mutant.side for mutant in mutants().values()]
    parts = [HEAD, f"There are {len(sides)}: {sides.count('client')} clients and {sides.count('server')} servers."]
    for module in MODULES:
        parts += [f"\n## {TITLES.get(module, f'Clients: {module}')}\n"]
        parts += ["| mutant | the bug | rules that it fails |", "|---|---|---|"]
        parts += [rows[one.name] for one in mutants().values() if one.kind.__module__ == f"{__package__}.{module}"]
    return "\n".join(parts) + "\n"


def line(played: Row) -> str:
    """The mutant's line of the table."""
    mutant = played.mutant
    fails, bends = played.of(Outcome.FAIL), played.of(Outcome.NON_STRICT)
    told = [f"{rule}: {why} (`{_first(rule, fails)}`)" for rule, why in mutant.fails.items()]
    told += [f"*not strict*, {rule}: {why} (`{_first(rule, bends)}`)" for rule, why in mutant.bends.items()]
    return f"| {mutant.name} | {_cell(mutant.seen_in)} | {'<br>'.join(map(_cell, told))} |"


def _first(rule: str, seen: dict[str, list[object]]) -> str:
    return seen[rule][0].case.id if rule in seen else "**none**"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _play(name: str) -> tuple[str, str, str]:
    mutant: Mutant = mutants()[name]
    with tempfile.TemporaryDirectory() as folder:
        played = row(mutant, Path(folder))
    return name, line(played), played.differences


def main() -> int:
    """Play all, and write the page; in the directory of the project."""
    if not PAGE.parent.is_dir():
        sys.stderr.write(f"{PAGE}: there is no such folder here: run it in the directory of the project\n")
        return 2
    rows, wrong = {}, []
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for name, told, differences in pool.imap(_play, mutants()):
            rows[name] = told
            wrong += [differences] if differences else []
            sys.stderr.write(f"{name}\n")
    PAGE.write_text(page(rows), encoding="utf-8")
    sys.stderr.write("".join(f"{differences}\n" for differences in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
