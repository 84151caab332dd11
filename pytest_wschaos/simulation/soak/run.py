"""The soak: storms of random faults and calms in turn, until the time is over or something is broken."""

from __future__ import annotations

import asyncio
import logging
import shlex
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import inf
from random import Random
from typing import Any, TextIO

from ...checks.bite import bit
from ...checks.rule import judge
from ...checks.story import Fault as Injected
from ...checks.story import faults as injected
from ...checks.verdict import Outcome, Verdict
from ...faults import Fault
from ...harness import Chaos, load_profile
from ...profile import Profile
from ...reference.client import ReferenceClient
from ...report import explain, timeline_text
from ...timeline import Record
from ..errors import SimulationError
from ..run import run
from . import storm
from .application import FORBIDDEN, TOPICS, Application
from .invariants import Invariants, carried_too_much
from .progress import Progress
from .storm import LONGEST_RETRY_AFTER, Spell, pace
from .summary import Summary
from .window import carried

TICK = 1.0
"""Virtual seconds between two looks at the applications."""
ACTS = 20.0
"""Virtual seconds between two requests of one application, on average."""
PUBLISHES = 15.0
"""Virtual seconds between two publications of the server, on average."""
CARRIED = 1000
"""Events for each client above which all connections are cut: until they end, their record cannot be forgotten."""
SETTLES = 60.0
"""Virtual seconds within which all that was asked for must have settled, and arrived, in a calm."""
SERVER_PATIENCE = 20
"""Connections that the server allows per client: those that a fault hides linger until they are found out."""
WINDOW = 300.0
"""A window is hardly ever shorter than this, in virtual seconds; by it the error rate of a verdict is shared out."""


@dataclass(frozen=True)
class Settings:
    """What a soak is asked to be.

    Args:
        hours: virtual hours, at least; it ends with the first calm after them.
        clients: how many.
        seed: where everything comes from.
        profile: a preset, or a file; None: the default figures.
        kind: the class of the clients.

    Raises:
        ValueError: a figure cannot be.
    """

    hours: float
    clients: int
    seed: int
    profile: str | None = None
    kind: type[ReferenceClient] = ReferenceClient

    def __post_init__(self) -> None:
        if isinstance(self.hours, bool) or not isinstance(self.hours, int | float) or not 0 < self.hours < inf:
            raise ValueError(f"hours = {self.hours!r}: must be a number above 0")
        if isinstance(self.clients, bool) or not isinstance(self.clients, int) or self.clients < 1:
            raise ValueError(f"clients = {self.clients!r}: must be a number of clients, 1 or more")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"seed = {self.seed!r}: must be a whole number")

    @property
    def command(self) -> str:
        """The command that repeats it."""
        words = ["wschaos", "soak", "--hours", f"{self.hours:g}", "--clients", str(self.clients)]
        words += ["--seed", str(self.seed)]
        return shlex.join(words + (["--profile", self.profile] if self.profile else []))


class Violation(Exception):
    """Something was broken; the text says what, and shows it."""


def soak(settings: Settings, out: TextIO | None = None) -> Summary:
    """Run a soak to its end, to the first violation, or until it is interrupted; its progress goes to ``out``.

    Raises:
        ProfileError: there is no such profile.
    """
    course = _Soak(settings, load_profile(settings.profile), Progress(out, settings.hours))
    # Well beyond the last calm: the limit is only there for a run that never ends.
    limit = settings.hours * 3600 + 6 * 3600
    try:
        run(course.main, seed=settings.seed, time_limit=limit)
    except SimulationError as error:
        course.stopped(error)
    course.finish()
    return course.summary


class _Soak:
    """One soak, while it runs."""

    def __init__(self, settings: Settings, profile: Profile, progress: Progress) -> None:
        self.settings = settings
        self.summary = Summary(settings.seed, settings.clients)
        many = max(profile.security.connections, SERVER_PATIENCE * settings.clients)
        self._profile = replace(profile, security=replace(profile.security, connections=many))
        windows = 1 + settings.hours * 3600 / WINDOW
        self._figures = replace(self._profile, jitter=replace(profile.jitter, alpha=profile.jitter.alpha / windows))
        self._progress = progress
        self._breaches: list[tuple[str, str]] = []
        self._active: dict[Fault, float] = {}
        self._published = dict.fromkeys(TOPICS, 0)
        self._rng = Random(f"soak/{settings.seed}")
        self._mode = "quiet"
        self._window = 0
        self._judged = 0.0
        """Up to when the record has been judged."""
        self._carried = 0
        """Events that were carried over into this window."""
        self._chaos: Chaos
        self._applications: list[Application] = []

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return asyncio.get_running_loop().time()

    # --- from the beginning to the end ---

    async def main(self) -> None:
        """All of it, on the virtual loop that is running."""
        settings = self.settings
        self._progress.begin(f"{settings.command}: storms and calms on virtual time; Ctrl-C ends it with a summary")
        async with Chaos(profile=self._profile, seed=settings.seed, repeat=settings.command) as chaos:
            self._chaos = chaos
            chaos.server.refuse_topic(FORBIDDEN)
            if self._profile.auth.mode == "none":
                chaos._reference._hub.modes = frozenset({"none"})
            with ExitStack() as stack:
                stack.enter_context(_errors_told(self._breach))
                traffic = asyncio.create_task(self._traffic())
                traffic.add_done_callback(self._traffic_ended)
                try:
                    await self._course()
                except Violation as violation:
                    self.summary.violation = str(violation)
                except asyncio.CancelledError:
                    self.summary.interrupted = True
                except Exception:
                    self.summary.violation = self.text(f"the run failed: {traceback.format_exc()}", "")
                finally:
                    self.summary.seconds = self.now
                    traffic.cancel()
                    await self._close()

    def stopped(self, error: SimulationError) -> None:
        """The loop itself went no further; what it cancelled then was not interrupted by a person."""
        what = f"the simulation stopped: {error}"
        begun = hasattr(self, "_chaos")  # else there is nothing to show yet
        self.summary.violation = self.text(what, "") if begun else what
        self.summary.interrupted = False

    def finish(self) -> None:
        """Add up."""
        self.summary.wall, self.summary.cpu = self._progress.wall, self._progress.cpu
        self.summary.published = sum(self._published.values())
        self.summary.total(application.counts for application in self._applications)
        self._progress.clear()

    async def _course(self) -> None:
        settings, chaos = self.settings, self._chaos
        for number in range(1, settings.clients + 1):
            name = f"c{number}"
            rng = Random(f"application/{name}/{settings.seed}")
            self._applications.append(Application(chaos, name, settings.kind, rng, self._breach, self._published))
        self._invariants = Invariants(chaos, self._applications)
        end = settings.hours * 3600
        await self._calm()
        while self.now < end:
            self._window += 1
            await self._storm(self._plan(), end)
            await self._calm()

    async def _close(self) -> None:
        for fault in list(self._active):
            fault.remove()
        await asyncio.gather(*(application.handle.aclose() for application in self._applications))

    # --- storms ---

    def _plan(self) -> list[Spell]:
        spells = storm.draw(self._rng, self._profile)
        if self._carried > CARRIED * self.settings.clients:
            spells.append(Spell(max((s.end for s in spells), default=0.0), "disconnect"))
        return spells

    async def _storm(self, spells: list[Spell], end: float) -> None:
        self._mode = "storm"
        for application in self._applications:
            application.calm = False
        began = self.now
        for spell in spells:
            await self._until(began + spell.start)
            if self.now >= end:
                break
            self.summary.faults[spell.kind] += 1
            if spell.kind == "publish":
                self._burst(**spell.arguments)
            elif (fault := storm.inject(self._chaos, spell)) is not None:
                self._active[fault] = began + spell.end
        while self._active and self.now < end:
            await self._until(min(self._active.values()))
        await self._pass(self._rng.uniform(0, 30) * pace(self._profile))

    async def _until(self, instant: float) -> None:
        """Let time pass, and heal what is over by then."""
        while True:
            due = min([instant, *self._active.values()])
            await self._pass(due - self.now)
            for fault in [fault for fault, at in self._active.items() if at <= self.now]:
                fault.remove()
                del self._active[fault]
            if self.now >= instant:
                return

    # --- calms ---

    async def _calm(self) -> None:
        """Heal everything; then all clients must be ready, stay so, and owe nothing. Judge, and forget."""
        self._mode = "gentle"
        for fault in self._active:
            fault.remove()
        self._active.clear()
        begun = self.now
        for application in self._applications:
            if application.paused_until is not None:
                application.resume()
        await self._all_sound(begun)
        for application in self._applications:
            application.calm = True
        figures = self._profile
        hold = max(figures.backoff.stable_after, _found_out(figures)) * self._rng.choice([0.5, 1, 2])
        long = 3600 * self._rng.uniform(0.2, 1) if self._rng.random() < 0.05 else 0.0
        await self._pass(hold + (long if self.now + hold + long < self.settings.hours * 3600 else 0.0))
        self._mode = "quiet"
        await self._becomes(lambda application: application.owes)
        for topic in TOPICS:
            self._publish(topic)
        await self._becomes(lambda application: application.misses)
        await self._pass(2.0)  # acknowledgements wait for others to join them
        for what, client in self._invariants.breaches():
            self._breach(what, client)
        for application in self._applications:
            application.settle_up()
        self._raise()
        self._judge()

    async def _all_sound(self, begun: float) -> None:
        """Wait until every client has a link that no fault has touched, or that would have been found dead."""
        figures = self._profile
        # What was begun under the last fault may still fail, by every rule, before the client comes back.
        limit = 2 * figures.patience + 2 * figures.backoff.ceiling + LONGEST_RETRY_AFTER + 100.0
        while True:
            waiting = [a for a in self._applications if not self._sound(a, begun)]
            if not waiting:
                return
            if self.now > begun + limit:
                name = waiting[0].name
                self._breach(f"not ready {limit:.0f} s after the last fault ended, with {len(waiting)} others", name)
            await self._pass(TICK)

    def _sound(self, application: Application, begun: float) -> bool:
        if not application.ready or application.restart_at is not None:
            return False
        return application.since > begun or self.now > begun + _found_out(self._profile) + 1.0

    async def _becomes(self, wrong: Callable[[Application], str]) -> None:
        """Wait until nothing is wrong with any application."""
        began = self.now
        while left := {a.name: what for a in self._applications if (what := wrong(a))}:
            if self.now > began + SETTLES:
                name, what = next(iter(left.items()))
                self._breach(f"{what} within {SETTLES:g} s, in a calm", name)
            await self._pass(TICK)

    # --- traffic ---

    async def _traffic(self) -> None:
        rng = Random(f"traffic/{self.settings.seed}")
        loop = asyncio.get_running_loop()
        rate = self.settings.clients / ACTS
        publishes = 1 / PUBLISHES
        while True:
            await asyncio.sleep(rng.expovariate(rate + publishes))
            if self._mode == "quiet" or not self._applications:
                continue
            if rng.random() < publishes / (rate + publishes):
                self._publish(rng.choice(TOPICS))
                continue
            application = rng.choice(self._applications)
            if self._mode == "storm":
                application.act(loop.time())
            else:
                application.send()

    def _traffic_ended(self, traffic: asyncio.Task[None]) -> None:
        """Without traffic hardly anything can break: it would not do to go on."""
        if not traffic.cancelled() and (error := traffic.exception()) is not None:
            self._breach(f"the traffic failed: {''.join(traceback.format_exception(error))}", "")

    def _publish(self, topic: str, pad: int = 0) -> None:
        self._published[topic] += 1
        data = {"topic": topic, "n": self._published[topic], "pad": "x" * pad}  # like no other
        self._chaos.server.publish(topic, data)

    def _burst(self, messages: int, size: int) -> None:
        topic = self._rng.choice(TOPICS)
        for _ in range(messages):
            self._publish(topic, size)

    # --- looking ---

    async def _pass(self, seconds: float) -> None:
        """Let virtual time pass, and look at everything meanwhile."""
        end = self.now + seconds
        while True:
            await asyncio.sleep(min(TICK, max(0.0, end - self.now)))
            for application in self._applications:
                application.look(self.now)
            for received in self._chaos.server.take_received():
                self._applications[int(received.data["from"][1:]) - 1].arrived(received)
            self._raise()
            self._progress.tick(self.now, self.summary.faults.total())
            if self.now >= end:
                return

    def _breach(self, what: str, client: str) -> None:
        self._breaches.append((what, client))

    def _raise(self) -> None:
        if self._breaches:
            raise Violation(self.text(*self._breaches[0]))

    def _judge(self) -> None:
        record = self._chaos.freeze()
        verdicts = judge(record, self._figures)
        broken = [verdict for verdict in verdicts if verdict.outcome is Outcome.FAIL]
        if broken:
            raise Violation(self._explained(broken, verdicts, record))
        self.summary.add(verdicts)
        for fault in injected(record):
            if fault.start >= self._judged:
                self.summary.bit[fault.name] += met(record, fault)
        self._judged = self.now
        self._chaos.timeline.forget(carried)
        self._carried = len(self._chaos.timeline.since(0))
        if (too_many := carried_too_much(self._carried, self.settings.clients)) is not None:
            raise Violation(self.text(too_many, ""))

    # --- what is said ---

    def text(self, what: str, client: str) -> str:
        """A violation that is none of a rule."""
        record = _of(self._chaos.freeze(), client)
        return f"{self._where(client)}: {what}\n\n{timeline_text(record, None, self.settings.command)}"

    def _explained(self, broken: list[Verdict], verdicts: list[Verdict], record: Record) -> str:
        for application in self._applications:
            alone = _of(record, application.name)
            found = judge(alone, self._figures, broken[0].rule)
            if found[0].outcome is Outcome.FAIL:
                shown, client = alone, application.name
                break
        else:
            shown, client = record, ""
        text = explain(broken, verdicts, shown, self.settings.command)
        return f"{self._where(client)}: {text}"

    def _where(self, client: str) -> str:
        now = self._chaos.timeline.now()
        who = f", client {client}" if client else ""
        return f"BROKEN at {now:.3f} virtual seconds ({now / 3600:.3f} h), window {self._window}{who}"


def met(record: Record, fault: Injected) -> bool:
    """Whether a fault of a soak met anything."""
    match fault.name:
        case "idle_timeout":
            return any(e.kind == "cut" and e.get("fault") == fault.name and e.at >= fault.start for e in record.events)
        case "drop_sessions":
            return any(e.kind == "close" and e.get("code") == 4410 and e.at >= fault.start for e in record.events)
        case "new_epoch":
            return any(e.kind == "welcome" and not e.get("recovered") and e.at >= fault.start for e in record.events)
    return bit(record, fault)


def _found_out(profile: Profile) -> float:
    """Seconds after which a dead link has been found out, by the client or the server."""
    figures = profile.heartbeat
    server = 0.0 if figures.server_interval is None else figures.server_interval + figures.server_deadline
    return max(profile.detection, server)


def _of(record: Record, client: str) -> Record:
    """The record as one client's; the whole one where none is named."""
    if not client:
        return record
    return replace(record, events=tuple(e for e in record.events if e.client in ("", client)))


@contextmanager
def _errors_told(breach: Any) -> Iterator[None]:
    """What nobody catches, and what the server logs as an error, is a breach."""

    class Handler(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            breach(f"an error was logged: {logging.Formatter().format(entry)}", "")

    def unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        breach(f"nobody handled an error: {context.get('message')}: {type(error).__name__}: {error}", "")

    loop = asyncio.get_running_loop()
    handler = Handler(logging.ERROR)
    loggers = [logging.getLogger("pytest_wschaos"), logging.getLogger("asyncio")]
    before = loop.get_exception_handler()
    loop.set_exception_handler(unhandled)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
        for logger in loggers:
            logger.removeHandler(handler)
