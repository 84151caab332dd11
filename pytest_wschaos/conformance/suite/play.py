"""Playing a case: chaos, the subject's clients, the script, and the verdict."""

from __future__ import annotations

import asyncio
import operator
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ...background import LoopStuck
from ...checks.rule import judge, rules
from ...checks.tolerance import GRACE
from ...checks.verdict import Finding, Outcome, Verdict, failed, inconclusive
from ...profile import Profile
from ...timeline import Record
from ..subjects.server import Running, Server
from ..subjects.subject import Subject, SubjectError, Unsupported
from .case import Case
from .closing import Closing, closing
from .curtain import Curtain, Watch, crashed
from .result import Result
from .server_stage import ServerStage
from .stage import Stage

if TYPE_CHECKING:
    from ...harness import ChaosProxy
    from ...simulation.run import VirtualClockName

SLACK = 0.3
"""Seconds by which a busy machine may be late, in real time."""
LONGEST = 3600.0
"""Seconds of real time after which a case is ended."""


@dataclass(frozen=True)
class Settings:
    """How cases are played.

    Args:
        profile: the figures, before they are scaled.
        scale: what all times are multiplied by; 1: not at all.
        clock: ``real``, ``virtual``, or ``hybrid``: virtual time over real loopback sockets.
        seed: where all randomness comes from.
        endpoint: ``ws``, or ``echo`` for subjects that speak no protocol of ours.
        repeat: the command that plays a case alone, for its id.
    """

    profile: Profile = field(default_factory=Profile)
    scale: float = 1.0
    clock: str = "real"
    seed: int = 0
    engine: str = "embedded"
    endpoint: str = "ws"
    repeat: Callable[[Case], str] = lambda case: ""

    def figures(self, case: Case) -> Profile:
        """By which a case is played."""
        scaled = self.profile if self.scale == 1 else self.profile.scaled(self.scale)
        return case.declared(scaled, scaled=self.scale < 1)


def play(case: Case, subject: Subject | Server, settings: Settings, curtain: Curtain | None = None) -> Result:
    """Play one case, in bounded time, whatever the subject does.

    Raises:
        asyncio.CancelledError: the curtain has fallen.
    """
    begun = time.perf_counter()
    curtain = curtain or Curtain()
    if (why := _unplayable(case, subject, settings)) is not None:
        played = _Played(settings.figures(case), Unsupported(why).finding)
    else:
        try:
            played = _run(case, subject, settings, curtain)
        except Exception as error:  # of the suite: the cases beside this one go on
            broke = inconclusive(f"the suite itself failed: {type(error).__name__}: {error}")
            played = _Played(settings.figures(case), broke, said={"suite": traceback.format_exc()})
    return Result(
        case,
        _verdict(case, played),
        played.profile,
        played.record or _nothing(settings),
        played.closing,
        time.perf_counter() - begun,
        played.said,
        settings.repeat(case),
    )


def _run(case: Case, subject: Subject | Server, settings: Settings, curtain: Curtain) -> _Played:
    if settings.clock == "real":
        return asyncio.run(curtain.over(_scene(case, subject, settings, SLACK), LONGEST))
    from ...simulation.run import run

    clock = cast("VirtualClockName", settings.clock)
    return run(lambda: _scene(case, subject, settings, 0.0), clock=clock, seed=settings.seed)


@dataclass
class _Played:
    """What is left when the curtain has fallen."""

    profile: Profile
    finding: Finding | None = None
    record: Record | None = None
    closing: Closing = Closing.UNSUPPORTED
    said: dict[str, str] = field(default_factory=dict)


def _unplayable(case: Case, subject: Subject | Server, settings: Settings) -> str | None:
    """Why a subject cannot play a case at all; None: it can."""
    if case.process and not subject.process:
        return f"the {case.side} must be a process of its own: give it as a command"
    if isinstance(subject, Server) and settings.clock != "real" and not subject.virtual:
        return "a server in a process of its own has no virtual time"
    return None


async def _scene(case: Case, subject: Subject | Server, settings: Settings, slack: float) -> _Played:
    if isinstance(subject, Server):
        return await _serve(case, subject, settings, slack)
    return await _play(case, subject, settings, slack)


def try_out(server: Server, settings: Settings) -> None:
    """Start a server and end it.

    Raises:
        SubjectError: it cannot be started, or nothing listens where it has to.
    """
    from ...harness import UpstreamError

    async def live() -> None:
        running = server.life()
        try:
            await running.start(settings.profile)
            async with _in_front(running, server, settings.profile, settings):
                pass
        except UpstreamError as error:
            raise SubjectError(str(error)) from None
        finally:
            await running.stop()

    asyncio.run(live())


def _in_front(running: Running, server: Server, profile: Profile, settings: Settings) -> ChaosProxy:
    """The proxy that the clients of the suite go through."""
    from ...harness import REFERENCE, ChaosProxy

    return ChaosProxy(
        running.url,
        profile=profile,
        dialect=REFERENCE if server.speaks == "wschaos.v1" else None,
        terminate=running.url.startswith("wss://"),
        seed=settings.seed,
        engine=settings.engine,
    )


async def _serve(case: Case, server: Server, settings: Settings, slack: float) -> _Played:
    """Play a case on a server."""
    from ...harness import UpstreamError

    profile = settings.figures(case) if server.takes_profile else settings.profile
    running = server.life()
    try:
        await running.start(profile)
        async with _in_front(running, server, profile, settings) as chaos:
            stage = ServerStage(chaos, server, running, case, slack=slack)
            try:
                finding = await _answer(case, stage)
                record = chaos.freeze()
                if finding is not None and finding.outcome is Outcome.FAIL:
                    await stage.pause(GRACE)  # that a process has ended is known a moment after its connections have
                crash = failed(f"the server's process {running.failure}") if running.failure else None
                close = await stage.closing()
                return _Played(profile, crash or _excused(finding, record, profile), record, close, _said(running))
            finally:
                await stage.stop()
    except (SubjectError, UpstreamError) as error:
        return _Played(profile, failed(str(error)), None, Closing.UNSUPPORTED, _said(running))
    finally:
        await running.stop()


def _excused(finding: Finding | None, record: Record, profile: Profile) -> Finding | None:
    """A script's finding; no FAIL where the clients of the suite stood still for as long as a server may wait."""
    if finding is None or finding.outcome is not Outcome.FAIL:
        return finding
    longest = max((e["lag"] for e in record.events if e.kind == "lag"), default=0.0)
    if longest < profile.heartbeat.server_deadline / 4:
        return finding
    return inconclusive(f"{finding.seen}; but the harness itself stood still for {longest:.3f} s", at=finding.at)


def _said(running: Running) -> dict[str, str]:
    try:
        return {"server": running.words} if running.words else {}
    except Unsupported:
        return {}


async def _play(case: Case, subject: Subject, settings: Settings, slack: float) -> _Played:
    from ...harness import Chaos

    async with Chaos(profile=settings.figures(case), seed=settings.seed, engine=settings.engine) as chaos:
        stage = Stage(chaos, subject, case, endpoint=settings.endpoint, slack=slack)
        try:
            finding, senseless = await _watched(case, stage)
            record, crash = chaos.freeze(), _crash(stage)
            close = Closing.UNSUPPORTED if senseless else await _close(stage)
            said = {client.name: client.words for client in stage.clients if client.words}
            if senseless:
                finding = _broken(case, record, stage.profile) or crash or failed(senseless)
            elif finding is None or finding.outcome not in (Outcome.FAIL, Outcome.UNSUPPORTED):
                finding = crash or finding
        finally:
            await stage.stop()
        return _Played(stage.profile, finding, record, close, said)


async def _watched(case: Case, stage: Stage) -> tuple[Finding | None, str]:
    """The script's answer; or why it was ended before, in words."""
    watch = Watch(stage.chaos.timeline, stage.clients)
    script = asyncio.create_task(_answer(case, stage))
    both: set[asyncio.Future[Any]] = {script, watch.found}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return (script.result(), "") if script.done() else (None, watch.found.result())
    finally:
        watch.stop()
        script.cancel()
        await asyncio.gather(script, return_exceptions=True)


def _broken(case: Case, record: Record, profile: Profile) -> Finding | None:
    """What the rule's check finds broken, where it does."""
    verdict = judge(record, profile, case.rule)[0] if case.rule in rules() else None
    if verdict is None or verdict.outcome is not Outcome.FAIL:
        return None
    return failed(verdict.seen, at=verdict.at, **verdict.measured)


async def _answer(case: Case, stage: Stage | ServerStage) -> Finding | None:
    """Play the script; what keeps it from its end is an answer, too."""
    try:
        return await case.script(stage, **case.given)
    except Unsupported as error:
        return error.finding
    except SubjectError as error:
        return failed(str(error))
    except LoopStuck as error:
        return inconclusive(f"the harness itself was too slow: {error}")


async def _close(stage: Stage) -> Closing:
    """Tell what is still open to close, and see how it does."""
    able = [client for client in stage.clients if client.hello.speaks]
    if not able:
        return Closing.UNSUPPORTED
    await stage.pause(2 * GRACE)  # an attempt may just be on its way to ready
    stage.chaos.timeline.record("app.end", "app")
    asked_at = stage.chaos.freeze().until
    told: list[BaseException | None] = await asyncio.gather(
        *(client.close() for client in able), return_exceptions=True
    )
    if all(isinstance(error, Unsupported) for error in told):  # one that can is judged
        return Closing.UNSUPPORTED
    found = await _ends(stage, [client.name for client in able], asked_at)
    found += [Closing.UNCLEAN for error in told if isinstance(error, SubjectError)]  # it does not listen
    order = (Closing.UNCLEAN, Closing.WRONG_CODE, Closing.OK, Closing.UNSUPPORTED)
    return min(found, key=order.index)


async def _ends(stage: Stage, clients: list[str], asked_at: float) -> list[Closing]:
    """How the clients' connections end, for which a close handshake's time is given; open ones then are unclean."""
    until = asked_at + stage.profile.close.timeout + stage.slack
    while True:
        record = stage.chaos.freeze()
        found = [closing(record, client, asked_at) for client in clients]
        if None not in found or record.until >= until:
            return [end or Closing.UNCLEAN for end in found]
        await stage.saw("end", timeout=until - record.until)


def _crash(stage: Stage) -> Finding | None:
    """A client whose process has ended by itself with an error.

    Of a black box it may be the way to stop and say so: the wire shows whether it had to go on.
    """
    return next((failed(crashed(one)) for one in stage.clients if one.failure and one.hello.speaks), None)


def _verdict(case: Case, played: _Played) -> Verdict:
    if played.finding is None:
        assert played.record is not None
        return judge(played.record, played.profile, case.rule)[0]
    finding, rule = played.finding, rules()[case.rule]
    outcome = finding.outcome
    if rule.level == "SHOULD" and outcome is Outcome.FAIL:
        outcome = Outcome.NON_STRICT
    figures = {name: operator.attrgetter(name)(played.profile) for name in rule.figures}
    return Verdict(case.rule, outcome, rule.requirement, finding.seen, figures, finding.measured, finding.at)


def _nothing(settings: Settings) -> Record:
    return Record((), 0.0, settings.seed)
