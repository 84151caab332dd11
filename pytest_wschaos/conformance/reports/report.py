"""All that came of a run, as one value, and as JSON."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from ... import __version__
from ...checks.verdict import Outcome
from ...profile import Profile, ProfileError
from ..suite.result import Result

FORMAT = "wschaos-report-1"


class ReportError(ValueError):
    """A file holds no report; one line that says why."""


def versions() -> dict[str, str]:
    """Of what a run depends on."""
    return {
        "pytest-wschaos": __version__,
        "python": platform.python_version(),
        "websockets": metadata.version("websockets"),
        "platform": f"{sys.platform} {platform.machine()}",
    }


def now() -> str:
    """This instant, as reports give it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Report:
    """The results of one run with one subject."""

    subject: str
    """Its name: the command, the factory, or the server's URL."""
    results: Sequence[Result]
    """In the order of the spec."""
    profile: Profile = field(default_factory=Profile)
    """The figures before they were scaled; those of each case are with its result."""
    profile_name: str = "default"
    """A preset, or the path of a file."""
    seed: int = 0
    clock: str = "real"
    scale: float = 1.0
    engine: str = "embedded"
    endpoint: str = "ws"
    side: str = "client"
    date: str = field(default_factory=now)
    """When the run began."""
    versions: Mapping[str, str] = field(default_factory=versions)
    duration: float = 0.0
    """Seconds that it took."""

    @property
    def summary(self) -> dict[str, int]:
        """How many results there are of each verdict; those that nothing has are left out."""
        counts = {str(outcome): sum(result.outcome is outcome for result in self.results) for outcome in Outcome}
        return {outcome: number for outcome, number in counts.items() if number}

    def to_dict(self) -> dict[str, Any]:
        """The JSON report."""
        return {
            "format": FORMAT,
            "subject": self.subject,
            "side": self.side,
            "profile": self.profile.to_dict(),
            "profile_name": self.profile_name,
            "seed": self.seed,
            "clock": self.clock,
            "scale": self.scale,
            "engine": self.engine,
            "endpoint": self.endpoint,
            "date": self.date,
            "duration": round(self.duration, 3),
            "versions": dict(self.versions),
            "summary": self.summary,
            "cases": [result.to_dict(self.profile) for result in self.results],
        }

    def save(self, path: str | Path) -> None:
        """Write the JSON report.

        Raises:
            OSError: it cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1, default=repr, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ReportError: the file cannot be read, or holds something else.
        """
        try:
            told = json.loads(Path(path).read_text(encoding="utf-8"))
            if told.pop("format") != FORMAT:
                raise ValueError(f"is not {FORMAT}")
            told.pop("summary")
            profile = Profile.from_dict(told.pop("profile"))
            results = [Result.from_dict(case, profile) for case in told.pop("cases")]
            return cls(results=results, profile=profile, **told)
        except OSError as error:
            raise ReportError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, ProfileError) as error:
            raise ReportError(f"{path}: no report of wschaos check: {error!r:.200}") from None
