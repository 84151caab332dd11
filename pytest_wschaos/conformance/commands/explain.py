"""``wschaos explain``: why a rule is there, what breaks it, and how to mend that."""

from __future__ import annotations

import argparse
import sys


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser("explain", help="tell why a rule is there, what breaks it, and how to mend that")
    parser.add_argument("rules", nargs="+", metavar="RULE", help="ids or globs of rules, such as BACKOFF-03")
    parser.add_argument("--profile", help="whose figures to tell: a preset, or a .toml or .json file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Tell; returns the exit status."""
    from ...harness import load_profile
    from ...profile import ProfileError
    from ..reports.explanation import explanation
    from ..suite.rulebook import UnknownRule, select
    from .output import show

    try:
        profile = load_profile(options.profile)
        chosen = select(*options.rules)
    except (UnknownRule, ProfileError) as error:
        print(f"wschaos explain: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return show("\n\n".join(explanation(rule, profile) for rule in chosen).splitlines())
