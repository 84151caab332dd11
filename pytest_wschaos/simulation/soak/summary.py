"""What came of a soak."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from ...checks.verdict import Outcome, Verdict
from .application import Counts


@dataclass
class Summary:
    """The figures of a soak, up to where it came; all but ``wall`` and ``cpu`` are the same for the same seed."""

    seed: int
    clients: int
    seconds: float = 0.0
    """Virtual seconds."""
    wall: float = 0.0
    """Seconds of wall time."""
    cpu: float = 0.0
    """Seconds of the processor: less than the wall time on a machine that is busy with other things."""
    windows: int = 0
    verdicts: Counter[Outcome] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    """How often each rule was judged PASS."""
    faults: Counter[str] = field(default_factory=Counter)
    bit: Counter[str] = field(default_factory=Counter)
    """How many of the faults met something."""
    published: int = 0
    counts: Counts = field(default_factory=Counts)
    violation: str | None = None
    """What was broken, with the timeline; None: nothing."""
    interrupted: bool = False

    @property
    def speed(self) -> float:
        """Virtual hours per wall minute."""
        return self.seconds / 60 / self.wall if self.wall else 0.0

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Count the verdicts on a window."""
        self.windows += 1
        for verdict in verdicts:
            self.verdicts[verdict.outcome] += 1
            self.passed[verdict.rule] += verdict.outcome is Outcome.PASS

    def total(self, counts: Iterable[Counts]) -> None:
        """Add up what the applications did."""
        self.counts = Counts()
        for one in counts:
            for name in (f.name for f in fields(Counts)):
                setattr(self.counts, name, getattr(self.counts, name) + getattr(one, name))

    def lines(self) -> list[str]:
        """The summary for a person, without what depends on the machine."""
        ended = "BROKEN" if self.violation else "interrupted" if self.interrupted else "nothing was broken"
        kinds = ", ".join(f"{name} {self.faults[name]} ({self.bit[name]})" for name in sorted(self.faults))
        judged = ", ".join(f"{self.verdicts[outcome]} {outcome}" for outcome in Outcome if self.verdicts[outcome])
        never = sorted(rule for rule, number in self.passed.items() if not number)
        c = self.counts
        return [
            f"soak: {self.seconds / 3600:.2f} virtual hours, {self.clients} clients, seed {self.seed}: {ended}",
            f"  faults      {self.faults.total()}, of which {self.bit.total()} bit: {kinds or 'none'}",
            f"  messages    {c.sent} sent: {c.acknowledged} acknowledged, {c.refused} refused by topic, "
            f"{c.handed_back} handed back, {c.repeated} came twice after a lost session; "
            f"{self.published} published, {c.heard} heard, {c.gaps} gaps told",
            f"  clients     {c.ready} times ready, {max(0, c.ready - self.clients)} of them again; "
            f"{c.gave_up} gave up; {c.closed} closed or sent anew by their application",
            f"  verdicts    {self.windows} windows: {judged or 'none'}",
            f"  not passed  {', '.join(never) or 'no rule'}" + (" (in no window; none failed)" if never else ""),
        ]

    def figures(self) -> list[str]:
        """What depends on the machine."""
        return [
            f"  wall time   {self.wall:.1f} s (processor {self.cpu:.1f} s), peak memory {_peak_memory():.0f} MiB",
            f"{self.speed:.2f} virtual hours per wall minute",
        ]


def _peak_memory() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2
