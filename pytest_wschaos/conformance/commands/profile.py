"""``wschaos profile``: figures, and what figures there are."""

from __future__ import annotations

import argparse
import sys


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser("profile", help="print a profile's figures, or the schema of profiles, as JSON")
    parser.add_argument("profile", nargs="?", help="a preset (default, rfc6455, websockets), or a .toml or .json file")
    parser.add_argument("--json", action="store_true", help="as JSON, which is the only form there is")
    parser.add_argument("--schema", action="store_true", help="the JSON schema of profile files instead")
    parser.add_argument("--scale", type=float, default=1.0, help="what all times are multiplied by")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it; returns the exit status."""
    from ...harness import load_profile
    from ...profile import ProfileError
    from .output import show_json

    if options.schema:
        from ..reports.schema import schema

        return show_json(schema())
    try:
        profile = load_profile(options.profile)
        return show_json((profile if options.scale == 1 else profile.scaled(options.scale)).to_dict())
    except ProfileError as error:
        print(f"wschaos profile: {error}", file=sys.stderr)  # noqa: T201
        return 2
