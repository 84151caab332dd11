"""A subject before the suite: what a test asks for the verdict on a case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...checks.verdict import Outcome
from ..subjects.subject import Subject
from .answer import answer
from .case import Case
from .curtain import Curtain
from .play import Settings, play
from .player import Player, side_by_side
from .result import Result


class CaseFailed(AssertionError):
    """The subject broke the rule of a case; the message shows why."""


class Trial:
    """Plays cases with a subject, side by side, and says whether they were kept.

    Args:
        subject: what is under test.
        settings: how cases are played.
        strict: whether all but PASS is a failure.
        limit: cases at a time; None: as many as the scale allows.
        player_options: further arguments of :class:`.Player`.
    """

    def __init__(
        self,
        subject: Subject,
        settings: Settings,
        *,
        strict: bool = False,
        limit: int | None = None,
        may_fail: Callable[[Case], bool] = lambda case: False,
        **player_options: Any,
    ) -> None:
        self.subject = subject
        self.settings = settings
        self.strict = strict
        self._may_fail = may_fail
        self.limit = limit or side_by_side(settings.scale, settings.clock)
        self.player = Player(self._play, limit=self.limit, **player_options)

    def _play(self, case: Case, curtain: Curtain) -> Result:
        return play(case, self.subject, self.settings, curtain)

    def ahead(self, cases: Iterable[Case]) -> None:
        """Begin to play these: their results will be asked for."""
        self.player.ahead(cases)

    def result(self, case: Case) -> Result:
        """The result of a case; waits for it.

        Raises:
            Stopped: the run ends.
        """
        return self.player.result(case)

    def check(self, case: Case) -> Result:
        """Have a test pass where the case was kept, fail where it was not, and be skipped where nothing can be said.

        Raises:
            CaseFailed: FAIL; with ``strict`` anything but PASS.
            pytest.skip.Exception: INCONCLUSIVE, UNSUPPORTED; the reason says which.
        """
        __tracebackhide__ = True
        import pytest

        result = self.result(case)
        if result.outcome is Outcome.FAIL and self._may_fail(case):
            pytest.xfail(f"known to fail: {result.verdict.seen}")
        if result.outcome in self.failures:
            raise CaseFailed(answer(result))
        if result.outcome in (Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED):
            pytest.skip(f"{result.outcome}: {result.verdict.seen}")
        return result

    @property
    def failures(self) -> Sequence[Outcome]:
        """The verdicts that fail a test."""
        return [outcome for outcome in Outcome if outcome is not Outcome.PASS] if self.strict else [Outcome.FAIL]

    def stop(self) -> None:
        """End what is being played."""
        self.player.stop()
