"""A day of random chaos on virtual time, with what must always hold looked at all the time.

=================== ==================================================================
:mod:`.run`         the soak itself: storms, calms, and what stops it
:mod:`.storm`       which faults befall the pair, drawn from the seed
:mod:`.application` what the applications ask of their clients, and must never see
:mod:`.invariants`  what must hold at the end of every calm
:mod:`.window`      which events the next judgement still needs; all others are forgotten
:mod:`.progress`    how far it is
:mod:`.summary`     what came of it
=================== ==================================================================
"""

from __future__ import annotations

from .run import Settings, soak
from .summary import Summary

__all__ = ["Settings", "Summary", "soak"]
