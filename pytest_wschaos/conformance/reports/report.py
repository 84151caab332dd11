"""What came of a run: the results of all cases, and under what they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..suite.result import Result


@dataclass(frozen=True)
class Report:
    subject: str
    results: Sequence[Result]
    profile_name: str = "default"
    scale: float = 1.0
    clock: str = "real"
    engine: str = "embedded"
    seed: int = 0
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for result in self.results:
            counts[result.outcome] = counts.get(result.outcome, 0) + 1
        return counts
