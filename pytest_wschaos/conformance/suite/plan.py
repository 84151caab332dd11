"""What a run of ``wschaos check`` is to do, as plain data: it travels to the workers of pytest-xdist."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ...checks.verdict import Outcome
from ...profile import Profile
from ..subjects.command import Command
from ..subjects.factory import InProcess, named
from .case import Case, Side, cases
from .estimate import seconds_of
from .known import Entry
from .play import Settings
from .result import Result
from .trial import Trial


@dataclass(frozen=True)
class Plan:
    """One run.

    Args:
        cases: their ids, in the order of the spec.
        command: the subject's, in words.
        subject: ``package.module:factory``, where it is in this process.
        server: where a server is, and what is known of it; as :class:`..subjects.server` takes it.
        folder: for files that tell subjects their profile; whoever makes the plan removes it.
        words: the command line, without the cases and the seed, by which a case is repeated.
        known: the entries of the list of cases that may fail.
        last: seconds that cases took in the last run.
    """

    cases: Sequence[str]
    folder: str
    command: Sequence[str] = ()
    subject: str = ""
    server: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    clock: str = "real"
    seed: int = 0
    engine: str = "embedded"
    endpoint: str = "ws"
    strict: bool = False
    limit: int | None = None
    known: Sequence[tuple[str, str]] = ()
    words: Sequence[str] = ()
    last: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """For an option."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What :meth:`to_json` wrote."""
        return cls(**json.loads(text))

    @property
    def side(self) -> Side:
        """What is under test."""
        return "server" if self.server else "client"

    @property
    def chosen(self) -> list[Case]:
        """The cases."""
        there = cases()
        return [there[id] for id in self.cases]

    @property
    def entries(self) -> list[Entry]:
        """Of the list of cases that may fail."""
        return [Entry(pattern, place) for pattern, place in self.known]

    @property
    def name(self) -> str:
        """The subject's, for reports."""
        return self.subject or str(self.server.get("url", "")) or shlex.join(self.command)

    def settings(self) -> Settings:
        """How cases are played."""
        return Settings(
            profile=Profile.from_dict(self.profile),
            scale=self.scale,
            clock=self.clock,
            seed=self.seed,
            engine=self.engine,
            endpoint=self.endpoint,
            repeat=self.repeat,
        )

    def repeat(self, case: Case) -> str:
        """The command that plays one case again."""
        options, dashes, command = _split(self.words)
        return shlex.join(["wschaos", "check", case.id, f"--seed={self.seed}", *options, *dashes, *command])

    def seconds(self) -> Callable[[Case], float]:
        """How long cases last, about."""
        return seconds_of(self.settings().figures, self.clock, self.last)

    def make_subject(self) -> Any:
        """The subject.

        Raises:
            SubjectError: there is none.
        """
        if self.server:
            return self._make_server()
        if self.subject:
            return InProcess.named(self.subject)
        return Command(self.command, Path(self.folder))

    def _make_server(self) -> Any:
        """What ``--server`` names: a URL, with ``--command`` what serves there, or a class of servers in here."""
        from importlib import import_module

        servers: Any = import_module("..subjects.server", __package__)
        url, given = self.server["url"], self.server
        if "://" not in url:
            return servers.InProcessServer(named(url, "--server"), url)
        tokens = None
        if given["token"] or given["bad_token"]:
            tokens = servers.GivenTokens(*([token] if token else [] for token in (given["token"], given["bad_token"])))
        speaks = "raw" if self.endpoint == "echo" else "wschaos.v1"
        options = {"speaks": speaks, "health": given["health"] or "", "tokens": tokens}
        if given["server_command"]:
            return servers.CommandServer(url, shlex.split(given["server_command"]), Path(self.folder), **options)
        return servers.RunningServer(url, **options)

    def may_fail(self, result: Result) -> bool:
        """Whether it is a FAIL that the list of known ones has."""
        return result.outcome is Outcome.FAIL and any(entry.names(result.case) for entry in self.entries)

    def trial(self, **player_options: Any) -> Trial:
        """The subject before the suite."""
        subject, entries = self.make_subject(), self.entries
        return Trial(
            subject,
            self.settings(),
            strict=self.strict,
            limit=self.limit if getattr(subject, "together", True) else 1,
            may_fail=lambda case: any(entry.names(case) for entry in entries),
            seconds=self.seconds(),
            **player_options,
        )


def _split(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    if "--" not in words:
        return list(words), [], []
    at = list(words).index("--")
    return list(words[:at]), ["--"], list(words[at + 1 :])
