"""Scenarios that provoke the rules, one after the other, and the verdicts that come of them.

The reference client must pass them all; each broken client (tests/broken) must fail those that its bug breaks,
and no other. A scenario drives its client through the handle alone, so that any reference client or mutant of it
can be put in. It goes on whatever the client does, and ends in bounded time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sleeper import sleeper
from websockets.asyncio.client import connect as connect_here
from websockets.sync.client import connect

from pytest_wschaos import Chaos, EventTimeout, Outcome, Profile, ReferenceClient, Verdict
from pytest_wschaos.checks.rule import judge
from pytest_wschaos.client_handle import ClientHandle
from pytest_wschaos.reference.client import ClientClosed
from pytest_wschaos.reference.outbox import QueueFull
from pytest_wschaos.simulation.run import run
from pytest_wschaos.timeline import Record

SCALE = 0.05
AREAS = ("RECONNECT-*", "BACKOFF-*", "JITTER-*", "HEARTBEAT-*", "REPLAY-*", "AUTH-*", "CLOSE-*")
"""What the scenarios are judged by; STATE and MESSAGE they meet by chance. tests/conformance provokes them."""

Kind = type[ReferenceClient]
Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Scenario:
    """A script, and the rules that it provokes."""

    name: str
    provokes: tuple[str, ...]
    script: Script
    others: bool
    """Whether the other rules are judged too: not where the script itself has clients that break them."""
    busy: Figures
    """What is changed in the profile in real time, so that a busy machine does not blur it."""
    figures: Figures
    """What is changed on every clock."""
    real_only: bool
    """Whether the script needs real time: another process, say."""


class Stage:
    """What a script plays on in real time: chaos, and clients of one kind. Its waits block, and never suspend."""

    stretch = 1.0
    """By how much longer all times are than at :data:`SCALE`."""
    herd = 30
    """Clients of the statistical scenario: 117 waits at the cap are needed."""

    def __init__(self, chaos: Chaos, kind: Kind) -> None:
        self.chaos = chaos
        self.kind = kind
        self.profile = chaos.profile

    def client(self, name: str = "client", **options: object) -> ClientHandle:
        """A client of the kind under test."""
        return self.chaos.client(name, kind=self.kind, **options)

    async def saw(self, kind: str, count: int = 1, timeout: float | None = None, *, client: str | None = None) -> bool:
        """Wait for events; False where they do not come."""
        try:
            self.chaos.wait(kind, count, timeout, client=client)
        except EventTimeout:
            return False
        return True

    async def pause(self, seconds: float) -> None:
        """Let time pass: what is asked for here is that nothing happens."""
        time.sleep(seconds)  # noqa: ASYNC251 - nothing else runs on this thread

    async def close(self, client: ClientHandle, code: int = 1000, reason: str = "") -> None:
        """Close a client on purpose."""
        client.close(code, reason)

    @asynccontextmanager
    async def guest(self, url: str, say: str | None = None) -> AsyncIterator[None]:
        """A client that says one thing at most, and pings nobody."""
        with connect(url, ping_interval=None, proxy=None) as guest:
            if say is not None:
                guest.send(say)
            yield

    async def settle(self) -> None:
        """Let a connection become stable, by a margin that a busy machine does not blur."""
        await self.pause(self.profile.backoff.stable_after + 0.3)

    @property
    def absence(self) -> float:
        """Seconds after which a client that has not come back never will, by a margin for a busy machine."""
        return self.profile.backoff.ceiling + 1.0

    @property
    def comeback(self) -> float:
        """Seconds in which a client that has lost a stable connection is ready again."""
        return self.profile.longest_first_delay + self.profile.reconnect.open_timeout + 0.5

    @property
    def found_out(self) -> float:
        """Seconds in which a client that has met a dead link tries again."""
        return self.profile.detection + self.profile.longest_first_delay + 0.5


class VirtualStage(Stage):
    """The same on virtual time, at the default figures: nothing is blurred, and it costs nothing to wait long."""

    stretch = 1 / SCALE
    herd = 60

    async def saw(self, kind: str, count: int = 1, timeout: float | None = None, *, client: str | None = None) -> bool:
        longest = None if timeout is None else timeout * self.stretch
        try:
            await self.chaos.wait_for(kind, count, longest, client=client)
        except EventTimeout:
            return False
        return True

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.stretch)

    async def close(self, client: ClientHandle, code: int = 1000, reason: str = "") -> None:
        await client.aclose(code, reason)

    @asynccontextmanager
    async def guest(self, url: str, say: str | None = None) -> AsyncIterator[None]:
        async with connect_here(url, ping_interval=None, proxy=None) as guest:
            if say is not None:
                await guest.send(say)
            yield


Script = Callable[[Stage], Coroutine[None, None, None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *provokes: str, others: bool = True, busy: Figures | None = None, real_only: bool = False, **figures: Any
) -> Callable[[Script], Script]:
    """Register a script under its function's name."""

    def register(script: Script) -> Script:
        name = script.__name__
        SCENARIOS[name] = Scenario(name, provokes, script, others, busy or {}, figures, real_only)
        return script

    return register


@scenario("RECONNECT-01", "HEARTBEAT-01", "HEARTBEAT-02", "HEARTBEAT-07", "HEARTBEAT-08")
async def dead_link(stage: Stage) -> None:
    stage.client()
    await stage.saw("ready")
    with stage.chaos.silent_drop():
        await stage.saw("attempt", timeout=stage.found_out)
    await stage.saw("ready", timeout=stage.comeback + stage.profile.reconnect.open_timeout)
    await stage.pause(stage.profile.detection * 1.6)


@scenario("HEARTBEAT-03")
async def dead_in_one_direction(stage: Stage) -> None:
    client = stage.client()
    await stage.saw("ready")
    client.subscribe("news")
    with stage.chaos.mute_pongs():
        for number in range(round(stage.profile.detection / 0.1) + 3):
            stage.chaos.server.publish("news", number)
            await stage.pause(0.1)
    await stage.pause(stage.comeback)


# A longer deadline: what is within it must be told from what is past it on a busy machine, too. And time enough to
# come back over the slow link.
@scenario(
    "HEARTBEAT-04",
    busy={"heartbeat": {"deadline": 1.0}, "reconnect": {"open_timeout": 3.0}, "auth": {"timeout": 3.0}},
)
async def slow_link(stage: Stage) -> None:
    stage.client()
    await stage.saw("ready")
    with stage.chaos.latency(stage.profile.heartbeat.deadline * 0.2):
        await stage.pause(stage.profile.detection * 2.5)


@scenario("HEARTBEAT-06")
async def idle_proxy(stage: Stage) -> None:
    with stage.chaos.idle_timeout(60 * SCALE * stage.stretch):
        stage.client()
        await stage.saw("ready")
        await stage.pause(60 * SCALE * 3.2)


@scenario("BACKOFF-01", "BACKOFF-02", "BACKOFF-04", "RECONNECT-06", "RECONNECT-07", "REPLAY-06")
async def down_for_good(stage: Stage) -> None:
    client = stage.client()
    await stage.saw("ready")
    await stage.settle()
    with stage.chaos.refuse():
        client.send("news", "never delivered")
        await stage.saw("attempt", stage.profile.reconnect.max_retries or 10, timeout=14 * stage.profile.backoff.cap)
        await stage.pause(stage.absence)
    client.reconnect()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(1.5)


# A longer base: the first delay must be told from none, and later ones from the first, on a busy machine, too.
@scenario("BACKOFF-03", "CLOSE-01", busy={"backoff": {"base": 0.4}})
async def accept_then_close(stage: Stage) -> None:
    stage.client()
    await stage.saw("ready")
    await stage.settle()
    with stage.chaos.accept_then_close(1011):
        stage.chaos.close(1012)
        await stage.saw("attempt", 5, timeout=10)
    await stage.saw("ready", timeout=stage.absence)
    await stage.settle()
    stage.chaos.close(1001)
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(0.2)


# Longer: what is lost at once must be told from what was stable on a busy machine, too.
@scenario("BACKOFF-03", "RECONNECT-02", busy={"backoff": {"base": 0.4, "stable_after": 2.0}})
async def flapping(stage: Stage) -> None:
    """Every connection becomes ready, and is lost at once."""
    stage.client()
    for _ in range(5):
        if not await stage.saw("ready", timeout=stage.absence):
            return
        stage.chaos.abort()
    await stage.saw("ready", timeout=stage.absence)
    await stage.settle()
    stage.chaos.abort()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(0.2)


# A longer base: what is drawn must show beside what the server asks for.
@scenario("BACKOFF-05", "CLOSE-05", busy={"backoff": {"base": 0.8}})
async def come_back_later(stage: Stage) -> None:
    with stage.chaos.reject_handshake(503, retry_after=1.5 * stage.stretch):
        stage.client()
        await stage.saw("attempt", 3, timeout=10)
    await stage.saw("ready", timeout=6)


@scenario("CLOSE-05")
async def not_found(stage: Stage) -> None:
    with stage.chaos.reject_handshake(404):
        stage.client()
        await stage.saw("attempt")
        await stage.pause(stage.absence)


# A longer base: the delays must dwarf what it costs to connect so many clients on one core.
@scenario("JITTER-01", "JITTER-02", "JITTER-03", "JITTER-04", busy={"backoff": {"base": 1.0}})
async def herd(stage: Stage) -> None:
    names = [f"client-{number}" for number in range(1, stage.herd + 1)]
    for name in names:
        stage.client(name)
    await stage.saw("ready", stage.herd)
    await stage.settle()
    stage.chaos.abort()
    await stage.saw("ready", stage.herd, timeout=2 * stage.comeback)
    await stage.pause(stage.profile.backoff.stable_after + 1.0)  # a doubt here would spoil all that follows
    with stage.chaos.refuse():
        await stage.saw("attempt", stage.herd * 8, timeout=14 * stage.profile.backoff.cap)


@scenario("RECONNECT-02", "RECONNECT-03", "RECONNECT-09")
async def ten_drops(stage: Stage) -> None:
    stage.client()
    for number in range(11):  # the last one may come too late to be counted
        if not await stage.saw("ready", timeout=stage.comeback):
            return
        await stage.settle()
        (stage.chaos.abort if number % 2 else stage.chaos.disconnect)()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(0.2)


@scenario("RECONNECT-03")
async def asked_while_it_waits(stage: Stage) -> None:
    """The application is faster than the client's own timer, which must not fire any more."""
    client = stage.client()
    await stage.saw("ready")
    with stage.chaos.refuse():
        await stage.saw("attempt", 4, timeout=5)
    client.reconnect()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.profile.backoff.cap)


@scenario("RECONNECT-04")
async def unanswered_handshake(stage: Stage) -> None:
    with stage.chaos.unanswered_handshake():
        stage.client()
        await stage.saw("attempt", 3, timeout=8)
    await stage.saw("ready", timeout=5)
    await stage.pause(stage.profile.reconnect.open_timeout * 2)


@scenario("RECONNECT-05", "CLOSE-02")
async def closed_on_purpose(stage: Stage) -> None:
    ready, waiting = stage.client("ready"), stage.client("waiting")
    await stage.saw("ready", 2)
    await stage.close(ready, 1000, "done")
    await stage.settle()
    with stage.chaos.refuse():
        await stage.saw("app.waiting", 4, client="waiting", timeout=5)
        await stage.close(waiting)
        await stage.pause(2 * stage.profile.backoff.cap + 0.2)


@scenario("CLOSE-04")
async def close_into_silence(stage: Stage) -> None:
    client = stage.client()
    await stage.saw("ready")
    with stage.chaos.silent_drop():
        await stage.close(client)
        await stage.pause(stage.profile.close.timeout + 0.5)


# A longer base: one step later must be told from the first.
@scenario("CLOSE-01", "CLOSE-03", busy={"backoff": {"base": 0.4}})
async def close_codes(stage: Stage) -> None:
    codes = (1000, 1001, 1002, 1008, 1011, 1012, 1013, 4400, 4403, 4408, 4409, 4429, 4500)
    reasons = ("", "words", "0", '{"reconnect": false}')
    for number, code in enumerate(codes):
        name = f"close-{code}"
        client = stage.client(name)
        await stage.saw("ready", client=name)
        stage.chaos.close(code, reasons[number % len(reasons)])
        await stage.saw("end", client=name, timeout=1)
        if stage.profile.close.reaction(code) in ("retry", "later") and await stage.saw(
            "ready", client=name, timeout=stage.comeback
        ):
            await stage.close(client)
    await stage.pause(stage.absence)


@scenario("AUTH-01", "AUTH-02", "AUTH-03")
async def token_rotated(stage: Stage) -> None:
    stage.client()
    for _ in range(2):
        await stage.saw("ready", timeout=stage.comeback)
        await stage.settle()
        stage.chaos.rotate_token()
        stage.chaos.abort()
    await stage.saw("ready", timeout=stage.comeback)


@scenario("AUTH-01", "AUTH-07", auth={"mode": "query"})
async def token_in_the_url(stage: Stage) -> None:
    """By its profile the client presents its token in the URL, which then fails."""
    stage.client()
    await stage.saw("ready")
    with stage.chaos.reject_handshake(403):
        stage.chaos.abort()
        await stage.saw("response", timeout=stage.comeback)
        await stage.pause(0.1)


@scenario("AUTH-06", others=False)
async def token_revoked(stage: Stage) -> None:
    """The server's own rule: the client comes back with the revoked token, by no fault of its own."""
    stage.client(token=stage.chaos.token)
    await stage.saw("ready")
    stage.chaos.rotate_token(revoke=True)
    stage.chaos.abort()
    await stage.saw("close", timeout=stage.comeback)
    await stage.pause(0.1)


@scenario("AUTH-04")
async def token_stale_once(stage: Stage) -> None:
    """The provider itself has a stale token, and at the second question a good one."""
    server, stale = stage.chaos.server, stage.chaos.token
    fresh = server.issue_token()
    answers = iter([stale, stale])
    stage.client(token=lambda: next(answers, fresh))
    await stage.saw("ready")
    server.expire(stale)
    stage.chaos.abort()
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(0.2)


@scenario("AUTH-04")
async def token_expired_for_good(stage: Stage) -> None:
    """The provider gives another token each time, and none of them is good any longer."""
    server, first = stage.chaos.server, stage.chaos.token
    second = server.issue_token()
    answers = iter([first, first])
    stage.client(token=lambda: next(answers, second))
    await stage.saw("ready")
    server.expire(first)
    server.expire(second)
    stage.chaos.abort()
    await stage.saw("close", 2, timeout=2 * stage.comeback)
    await stage.pause(stage.absence)


@scenario("RECONNECT-08")
async def token_provider_fails(stage: Stage) -> None:
    answers = iter([True, False, True, True, True])

    def token() -> str:
        if not next(answers, True):
            raise RuntimeError("the identity provider is down")
        return stage.chaos.token

    stage.client(token=token)
    await stage.saw("ready")
    await stage.settle()
    stage.chaos.abort()
    await stage.saw("ready", timeout=stage.absence + stage.comeback)
    await stage.pause(0.1)


@scenario("REPLAY-01", "REPLAY-02", "REPLAY-03", "REPLAY-05")
async def messages_over_a_dead_link(stage: Stage) -> None:
    client = stage.client()
    await stage.saw("ready")
    for number in range(3):
        client.send("news", f"up {number}")
    await stage.saw("ack", 3, timeout=2)
    with stage.chaos.silent_drop():
        for number in range(3):
            client.send("news", f"into the void {number}")
        await stage.saw("end", timeout=stage.found_out)
        for number in range(150):
            client.send("news", f"while down {number}")
    await stage.saw("ready", timeout=2 * stage.comeback + stage.profile.reconnect.open_timeout)
    client.send("news", "newer")
    await stage.pause(1.0)


@scenario("REPLAY-01", "REPLAY-03")
async def acks_on_a_dead_link(stage: Stage) -> None:
    """The messages arrive, their acks do not; what is sent once the link is known dead arrives later."""
    client = stage.client()
    await stage.saw("ready")
    await stage.settle()
    with stage.chaos.silent_drop("down"):
        for number in range(3):
            client.send("news", f"arrives {number}")
        await stage.saw("end", timeout=stage.found_out)
        client.send("news", "while down")
    await stage.saw("ready", timeout=2 * stage.comeback + stage.profile.reconnect.open_timeout)
    await stage.pause(1.0)


@scenario("REPLAY-04", "REPLAY-07")
async def what_the_client_missed(stage: Stage) -> None:
    client = stage.client()
    await stage.saw("ready")
    client.subscribe("news")
    await stage.saw("ack", timeout=2)
    for number in range(5):
        stage.chaos.server.publish("news", f"seen {number}")
    await stage.saw("message", 5, timeout=2)
    await stage.settle()
    with stage.chaos.silent_drop():
        for number in range(5):
            stage.chaos.server.publish("news", f"missed {number}")
        await stage.saw("end", timeout=stage.found_out)
    await stage.saw("ready", timeout=2 * stage.comeback + stage.profile.reconnect.open_timeout)
    stage.chaos.server.publish("news", "newer")
    await stage.pause(0.5)


@scenario("REPLAY-07", "REPLAY-08")
async def session_gone(stage: Stage) -> None:
    client = stage.client()
    await stage.saw("ready")
    client.subscribe("news")
    client.subscribe("weather")
    await stage.saw("ack", 2, timeout=2)
    await stage.settle()
    stage.chaos.server.drop_sessions()
    stage.chaos.abort()
    await stage.saw("ready", timeout=3 * stage.comeback)
    await stage.pause(0.2)
    stage.chaos.server.publish("news", "after the restart")
    await stage.pause(0.5)


@scenario("REPLAY-09")
async def message_refused(stage: Stage) -> None:
    client = stage.client()
    await stage.saw("ready")
    stage.chaos.server.refuse_topic("forbidden")
    client.send("forbidden", "poison")
    client.send("news", "fine")
    await stage.saw("ack", 2, timeout=2)
    for _ in range(2):
        await stage.settle()
        stage.chaos.abort()
        await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(0.2)


@scenario("AUTH-08", "CLOSE-05", auth={"mode": "header"})
async def redirected(stage: Stage) -> None:
    """To the same listener by another name, which is another origin."""
    elsewhere = stage.chaos.url.replace("127.0.0.1", "localhost")
    with stage.chaos.reject_handshake(302, location=elsewhere):
        stage.client()
        await stage.saw("response")
        await stage.pause(stage.absence)


# The server's patience is longer than the sleep: there must be a link left to test. How late a process of its own is on
# a busy machine is not measured, so that no other rule is judged.
@scenario("HEARTBEAT-09", others=False, real_only=True, heartbeat={"server_interval": 30.0})
async def asleep(stage: Stage) -> None:
    """A client that has something to send all the time, in a process that is put to sleep."""
    with sleeper(stage.chaos, stage.kind) as pid:
        await stage.saw("ready", timeout=20)
        await stage.saw("message", 3, timeout=5)
        with stage.chaos.suspend(pid):
            await stage.pause((stage.profile.heartbeat.interval or 0.0) + 0.5)
        await stage.saw("pong", timeout=2)
        await stage.pause(0.5)


# Time enough for the guests, who are not the engine's own, to be let in on a busy machine.
@scenario("AUTH-05", "HEARTBEAT-05", others=False, busy={"security": {"handshake_timeout": 5.0}})
async def guests_who_say_nothing(stage: Stage) -> None:
    """The server's own rules: one guest does not say who it is, the other does not answer pings."""
    figures, token = stage.profile.heartbeat, stage.chaos.token
    async with (
        stage.guest(stage.chaos.url),
        stage.guest(stage.chaos.url_for("deaf"), f'{{"type": "auth", "token": "{token}"}}'),
    ):
        await stage.saw("end", 2, timeout=(figures.server_interval or 0) + figures.server_deadline + 2)
        await stage.pause(0.2)


@dataclass(frozen=True)
class Result:
    """What came of one scenario."""

    scenario: Scenario
    verdicts: list[Verdict]
    record: Record

    @property
    def provoked(self) -> list[Verdict]:
        """The verdicts on the rules that the scenario is for."""
        return [verdict for verdict in self.verdicts if verdict.rule in self.scenario.provokes]

    @property
    def late(self) -> float:
        """Seconds for which the harness itself stood still; what it saw meanwhile is judged with forbearance."""
        return self.record.lag(0.0, self.record.until)

    @property
    def failed(self) -> set[str]:
        """Every rule that failed, whether the scenario is for it or not."""
        return {verdict.rule for verdict in self.verdicts if verdict.outcome is Outcome.FAIL}


def play(scenario: Scenario, kind: Kind = ReferenceClient, seed: int = 0, clock: str = "real") -> Record:
    """Play one scenario; returns what was seen."""
    if clock != "real":
        return run(lambda: _play_here(scenario, kind, seed), clock=clock, seed=seed)  # type: ignore[arg-type]
    with Chaos(profile=figures(scenario), seed=seed) as chaos:
        # A broken client may be gone in the middle of the script, in which nothing ever suspends.
        with suppress(ClientClosed, QueueFull, StopIteration):
            scenario.script(Stage(chaos, kind)).send(None)
        return chaos.freeze()


async def _play_here(scenario: Scenario, kind: Kind, seed: int) -> Record:
    async with Chaos(profile=figures(scenario, "virtual"), seed=seed) as chaos:
        with suppress(ClientClosed, QueueFull):
            await scenario.script(VirtualStage(chaos, kind))
        return chaos.freeze()


def figures(scenario: Scenario, clock: str = "real") -> Profile:
    """The figures by which a scenario is played and judged: scaled in real time, else the default ones."""
    if clock == "real":
        return Profile().scaled(SCALE).with_(**scenario.figures).with_(**scenario.busy)
    return Profile().with_(**scenario.figures)


def judged(scenario: Scenario, record: Record, clock: str = "real") -> Result:
    """The verdicts on one scenario."""
    return Result(
        scenario, judge(record, figures(scenario, clock), *(AREAS if scenario.others else scenario.provokes)), record
    )


def play_all(kind: Kind = ReferenceClient, seed: int = 0, names: Iterable[str] = (), workers: int = 32) -> list[Result]:
    """Play scenarios (all, or those named) side by side: they mostly wait. Then judge each by all rules.

    Judging is work: done beside a scenario that still plays, it would make the harness late.
    """
    chosen = [SCENARIOS[name] for name in names or SCENARIOS]
    with ThreadPoolExecutor(min(workers, len(chosen))) as pool:
        records = list(pool.map(lambda scenario: play(scenario, kind, seed), chosen))
    return [judged(scenario, record) for scenario, record in zip(chosen, records, strict=True)]


def play_virtually(
    kind: Kind = ReferenceClient, seed: int = 0, names: Iterable[str] = (), clock: str = "virtual"
) -> list[Result]:
    """Play scenarios (all that can be, or those named) on virtual time, one after the other, at the default figures."""
    chosen = [SCENARIOS[name] for name in names] or [one for one in SCENARIOS.values() if not one.real_only]
    return [judged(scenario, play(scenario, kind, seed, clock), clock) for scenario in chosen]
