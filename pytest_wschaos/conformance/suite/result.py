"""What came of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ...checks.verdict import Outcome, Verdict
from ...profile import Profile
from ...timeline import Event, Record
from .case import Case, cases
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

    def to_dict(self, given: Profile | None = None) -> dict[str, Any]:
        """The case as it stands in the JSON report, its timeline inline.

        Args:
            given: the run's figures; of the case's own only what differs from them is told.
        """
        verdict, record = self.verdict, self.record
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
            "profile": _difference(self.profile, given or Profile()),
            "timeline": {
                "until": record.until,
                "seed": record.seed,
                "dialect": record.dialect,
                "tells": sorted(record.tells),
                "sees_refused": record.sees_refused,
                "events": [event.to_dict() for event in record.events],
            },
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any], given: Profile | None = None) -> Self:
        """What :meth:`to_dict` told; a case that there is no more has no script.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        timeline = {**told["timeline"]}
        timeline["events"] = tuple(Event(**event) for event in timeline["events"])
        timeline["tells"] = frozenset(timeline["tells"])
        case = cases().get(told["id"]) or Case(told["id"], told["requirement"], "client", _gone)
        verdict = Verdict(
            case.rule,
            Outcome(told["verdict"]),
            told["expected"],
            told["evidence"],
            told["figures"],
            told["measured"],
            told["at"],
        )
        return cls(
            case,
            verdict,
            (given or Profile()).with_(**told["profile"]),
            Record(**timeline),
            Closing(told["close"]),
            told["duration"],
            told["said"],
            told["repeat"],
        )


def _difference(profile: Profile, given: Profile) -> dict[str, dict[str, Any]]:
    """The figures, by area, that are not those of the run."""
    here, there = profile.to_dict(), given.to_dict()
    found = {
        area: {name: value for name, value in figures.items() if value != there[area][name]}
        for area, figures in here.items()
    }
    return {area: figures for area, figures in found.items() if figures}


async def _gone(*_: object) -> None:
    raise NotImplementedError
