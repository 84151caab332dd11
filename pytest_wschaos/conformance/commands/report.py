"""``wschaos report``: reports that were written before, for people; several subjects side by side on a page."""

from __future__ import annotations

import argparse
import sys


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "report",
        help="show reports of 'check --json', or make one page of them",
        description="Shows reports that 'wschaos check --json' wrote, or makes one page of them, on which the subjects "
        "stand side by side.",
    )
    parser.add_argument("reports", nargs="+", metavar="FILE", help="a report")
    parser.add_argument("--html", metavar="FILE", help="write them as one page instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show them; returns the exit status."""
    from ..reports import terminal
    from ..reports.report import Report, ReportError
    from .output import page, show

    try:
        reports = [Report.load(path) for path in options.reports]
        if options.html:
            page(reports, options.html)
            return 0
    except (ReportError, OSError) as error:
        print(f"wschaos report: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return show("\n\n".join(terminal.text(report) for report in reports).splitlines())
