"""What pytest sees of the suite in a project of one's own: the fixtures' other half."""

from __future__ import annotations

import math
import shlex
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from ...profile import Profile, ProfileError
from ...settings import (
    CLOCKS,
    Given,
    engine_there_is,
    repeat_command,
    session_engine,
    session_seed,
    session_setting,
    wrong,
)
from ..subjects.command import Command
from ..subjects.factory import InProcess
from ..subjects.subject import Factory, Subject
from .case import Case
from .estimate import seconds_of
from .play import Settings
from .trial import Trial


class Face:
    """Makes trials for one session of pytest, and ends them with it."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._config = session.config
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.close()

    def trial(
        self,
        subject: Subject | Factory | str | Sequence[str],
        *,
        profile: Profile | str | None = None,
        scale: float | None = None,
        clock: str | None = None,
        seed: int | None = None,
        engine: str | None = None,
        endpoint: str = "ws",
        strict: bool = False,
        limit: int | None = None,
    ) -> Trial:
        """Put a subject before the suite; those of its cases that the session runs are played side by side."""
        config = self._config
        settings = Settings(
            profile=self._profile(profile),
            scale=self._scale() if scale is None else scale,
            clock=self._clock() if clock is None else clock,
            seed=self._seed() if seed is None else seed,
            engine=engine_there_is(config, engine or session_engine(config) or "embedded"),
            endpoint=endpoint,
            repeat=self._repeat,
        )
        seconds = seconds_of(settings.figures, settings.clock)
        trial = Trial(self._subject(subject), settings, strict=strict, limit=limit, seconds=seconds)
        self._ends.callback(trial.stop)
        trial.ahead(planned(self._session))
        return trial

    def _subject(self, given: Subject | Factory | str | Sequence[str]) -> Subject:
        if isinstance(given, Subject):
            return given
        if callable(given):
            return InProcess(given)
        words = shlex.split(given) if isinstance(given, str) else list(given)
        if not words:
            wrong("the client under test: an empty command")
        folder = self._ends.enter_context(tempfile.TemporaryDirectory(prefix="wschaos-"))
        return Command(words, Path(folder))

    def _profile(self, given: Profile | str | None) -> Profile:
        from ...harness import load_profile

        asked = session_setting(self._config, "profile") if given is None else None
        try:
            return load_profile(given) if asked is None else load_profile(asked.value, asked.folder)
        except ProfileError as error:
            wrong(f"{asked.source}: {error}" if asked else str(error))

    def _scale(self) -> float:
        given = session_setting(self._config, "scale")
        return 1.0 if given is None else _number(given)

    def _seed(self) -> int:
        given = session_setting(self._config, "seed")
        return session_seed(self._config) if given is None else int(given.value)

    def _clock(self) -> str:
        given = session_setting(self._config, "clock")
        if given is None:
            return "real"
        if given.value not in CLOCKS[:2]:
            wrong(f"{given.source} = {given.value!r}: conformance cases are played on one clock, real or virtual")
        return str(given.value)

    def _repeat(self, case: Case) -> str:
        item = next((item for item in self._session.items if _case_of(item) is case), None)
        return "" if item is None else repeat_command(item)


def _number(given: Given) -> float:
    try:
        number = float(given.value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        wrong(f"{given.source} = {given.value!r}: must be a number above 0")
    return number


def _case_of(item: pytest.Item) -> Case | None:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return next((value for value in params.values() if isinstance(value, Case)), None)


def planned(session: pytest.Session) -> list[Case]:
    """The cases that the session's tests will ask for, in order.

    A worker of pytest-xdist does not know which of them are its own: there each is played when it is asked for.
    """
    if hasattr(session.config, "workerinput"):
        return []
    cases = [_case_of(item) for item in session.items if "wschaos_subject" in getattr(item, "fixturenames", ())]
    return [case for case in cases if case is not None]
