"""What came of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...checks.verdict import Outcome, Verdict
from ...profile import Profile
from ...timeline import Record
from .case import Case
from .closing import Closing


@dataclass(frozen=True)
class Result:
    """The verdict on one case, and what it rests on."""

    case: Case
    verdict: Verdict
    profile: Profile
    """The figures by which it was judged."""
    record: Record
    closing: Closing = Closing.UNSUPPORTED
    duration: float = 0.0
    """Seconds of wall time."""
    said: Mapping[str, str] = field(default_factory=dict)
    """What the clients' processes said on standard error, and on standard output besides events; by client."""
    repeat: str = ""
    """The command that plays it alone, again."""

    @property
    def outcome(self) -> Outcome:
        """The verdict in a word."""
        return self.verdict.outcome

    def to_dict(self) -> dict[str, Any]:
        """The case as it stands in the JSON report, its timeline inline."""
        verdict = self.verdict
        return {
            "id": self.case.id,
            "requirement": self.case.requirement,
            "verdict": str(verdict.outcome),
            "close": str(self.closing),
            "expected": verdict.expected,
            "evidence": verdict.seen,
            "figures": dict(verdict.figures),
            "measured": dict(verdict.measured),
            "at": verdict.at,
            "duration": round(self.duration, 3),
            "repeat": self.repeat,
            "said": dict(self.said),
            "timeline": {"until": self.record.until, "events": [event.to_dict() for event in self.record.events]},
        }
