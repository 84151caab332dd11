"""``wschaos cases``: what the suite plays."""

from __future__ import annotations

import argparse
import sys


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser("cases", help="list the cases of the conformance suite, one sentence each")
    parser.add_argument("patterns", nargs="*", metavar="CASE", help="ids or globs of cases or rules (default: all)")
    parser.add_argument("--area", metavar="AREA", help="only those of an area, such as backoff")
    parser.add_argument("--side", choices=["client", "server"], help="only those for clients, or for servers")
    parser.add_argument("--json", action="store_true", help="as JSON, with what each needs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List them; returns the exit status."""
    from ...checks.rule import AREAS
    from ..suite.case import UnknownCase, select
    from .output import show, show_json

    area = options.area and options.area.lower()
    try:
        if area not in (None, *AREAS):
            raise UnknownCase(f"no area {options.area!r}: there are {', '.join(AREAS)}")
        found = [case for case in select(*options.patterns, side=options.side) if area in (None, case.area)]
    except UnknownCase as error:
        print(f"wschaos cases: {error}", file=sys.stderr)  # noqa: T201
        return 2
    if options.json:
        return show_json([case.to_dict() for case in found])
    return show(f"{case.id:<44} {case.side:<6} {case.requirement}" for case in found)
