"""noop: passes everything; listed like any other toxic."""

from __future__ import annotations

from ..stage import Stage


class Noop(Stage):
    """Does nothing. No attributes."""

    type = "noop"
    interrupts = True
