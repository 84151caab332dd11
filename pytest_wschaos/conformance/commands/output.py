"""Printing what somebody may read with ``head``, and writing what somebody looks at."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..reports.report import Report


def show(lines: Iterable[str]) -> int:
    """Print lines; returns the exit status."""
    try:
        for line in lines:
            print(line)  # noqa: T201
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def show_json(value: Any) -> int:
    """Print a value as JSON; returns the exit status."""
    return show([json.dumps(value, indent=2, ensure_ascii=False)])


def page(reports: Sequence[Report], path: str) -> None:
    """Write reports as one page.

    Raises:
        OSError: it cannot be written.
    """
    import_module("pytest_wschaos.conformance.reports.html").write(reports, path)
