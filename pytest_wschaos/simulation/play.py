"""A world for one schedule: server, client, application and trouble on a loop of their own, and what came of it.

For property-based tests: every example is a world of its own, from the same beginning. :func:`survive` is such a test
in one call, :func:`play` tells what came of it instead of raising.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks.rule import judge
from ..checks.verdict import Outcome, Verdict
from ..harness import Chaos, RuleBroken, load_profile
from ..profile import Profile
from ..reference.client import ReferenceClient
from ..report import timeline_text, verdict_text
from ..timeline import Record
from .application import TestApplication
from .paste import as_test
from .promises import Kept, broken_promises
from .run import run
from .schedule import Schedule, perform

RULES = ("RECONNECT-*", "BACKOFF-*", "HEARTBEAT-*", "REPLAY-*", "AUTH-*", "CLOSE-*")
"""The rules that are judged. Those on JITTER take more waits than one schedule brings."""
DELAY = 0.01
"""Seconds from the client to the proxy, and from there to the server, each way."""
PATIENCE = 3
"""How many times the profile's patience a client has to recover: several things may have gone wrong in a row."""
TIME_LIMIT = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Played:
    """What came of a schedule."""

    schedules: tuple[Schedule, ...]
    client: type[ReferenceClient]
    profile: Profile
    seed: int
    record: Record
    broken: list[str]
    """The promises that were not kept, in words: see :mod:`.promises`."""
    rules: tuple[str, ...] = RULES
    _verdicts: list[Verdict] = field(default_factory=list, repr=False, compare=False)

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on the rules; judged when first asked for."""
        if not self._verdicts and self.rules:
            self._verdicts.extend(judge(self.record, self.profile, *self.rules))
        return self._verdicts

    @property
    def failed(self) -> list[Verdict]:
        """The rules that were broken."""
        return [verdict for verdict in self.verdicts if verdict.outcome is Outcome.FAIL]

    @property
    def survived(self) -> bool:
        """Whether every promise and every rule was kept."""
        return not self.broken and not self.failed

    def explain(self) -> str:
        """What was broken, what happened, and a test that shows it again."""
        names = [*self.broken, *(f"{verdict.rule} {verdict.outcome}" for verdict in self.failed)]
        lines = [f"{self.client.__name__} did not survive: {names[0] if names else 'it did'}", ""]
        lines += [*self.broken[1:], ""] if self.broken[1:] else []
        lines += [verdict_text(verdict) for verdict in self.failed]
        at = next((verdict.at for verdict in self.failed if verdict.at is not None), None)
        lines += [timeline_text(self.record, at), "", "the same as a test of its own:", ""]
        return "\n".join([*lines, self._as_test()])

    def _as_test(self) -> str:
        rules = None if self.rules == RULES else self.rules
        return as_test(self.schedules, self.client, self.profile, self.seed, rules)


def play(
    *schedules: Schedule,
    client: type[ReferenceClient] = ReferenceClient,
    profile: Profile | str | None = None,
    seed: int = 0,
    rules: Sequence[str] | str = RULES,
) -> Played:
    """Play schedules beside each other in a fresh world, to its end: all faults stop first, then it must recover.

    Args:
        schedules: lists of ``(gap, kind, arguments)``: see :mod:`.schedule`.
        client: the reference client, or a subclass of it.
        profile: the figures of client and server, and those that the client is judged by.
        seed: where all randomness comes from, that of delays too.
        rules: ids or globs of the rules that are judged, or a single one.

    Raises:
        ScheduleError: a step cannot be.
        RuntimeError: a loop is running already, on which examples would meet what is left of others.
        SimulationError: the client runs in circles, or waits for what never comes.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("play() makes a world and a loop of its own: call it from a plain def, not an async def")
    figures = load_profile(profile)

    async def world() -> tuple[Record, list[str]]:
        return await _live(schedules, client, figures, seed)

    record, broken = run(world, seed=seed, time_limit=TIME_LIMIT)
    named = (rules,) if isinstance(rules, str) else tuple(rules)
    return Played(schedules, client, figures, seed, record, broken, named)


def survive(
    *schedules: Schedule,
    client: type[ReferenceClient] = ReferenceClient,
    profile: Profile | str | None = None,
    seed: int = 0,
    rules: Sequence[str] | str = RULES,
) -> Played:
    """:func:`play`, and raise where a promise or a rule was broken. A rule that was not provoked is no failure.

    Raises:
        RuleBroken: with what was broken, what happened, and a test to paste.
    """
    __tracebackhide__ = True
    played = play(*schedules, client=client, profile=profile, seed=seed, rules=rules)
    if not played.survived:
        raise RuleBroken(played.explain())
    return played


async def _live(
    schedules: Sequence[Schedule], client: type[ReferenceClient], profile: Profile, seed: int
) -> tuple[Record, list[str]]:
    loop: Any = asyncio.get_running_loop()
    loop.network.link("localhost", latency=DELAY)
    async with Chaos(profile=profile, seed=seed) as chaos:
        application = TestApplication(chaos, client)
        await perform(chaos, *schedules, application=application)
        application.over = asyncio.get_running_loop().time()
        kept = await _recover(application, chaos, profile)
        connections = len(chaos.server.connections)
        await application.close()
        await asyncio.sleep(2 * profile.backoff.cap)  # after a deliberate close nothing more may come
        record = chaos.freeze()
        broken = broken_promises(application, kept, connections, profile)
        return record, broken


async def _recover(application: TestApplication, chaos: Chaos, profile: Profile) -> Kept:
    """The trouble is over: within its time the client must be ready, deliver and receive, and then stay ready."""
    loop = asyncio.get_running_loop()
    patience = PATIENCE * profile.patience
    kept = Kept(patience)
    deadline = loop.time() + patience
    kept.ready = await application.recover(deadline)
    if not kept.ready:
        return kept
    kept.delivered = await application.probe_up(deadline)
    if kept.delivered:
        kept.silent = await application.probe_down(loop.time() + profile.patience)
        # As long as a timer of an earlier link, or a heartbeat, may take to end this one.
        await asyncio.sleep(profile.detection + profile.reconnect.open_timeout)
        kept.stayed = application.ready
    return kept
