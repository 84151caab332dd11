"""Fleets: many clients at once, cut at one instant. Small ones, which show what a large one does."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets

from pytest_wschaos import Chaos, Outcome, Profile
from pytest_wschaos.checks.bite import toothless
from pytest_wschaos.simulation.errors import Livelock
from pytest_wschaos.simulation.fleet import Fleet, FleetError
from pytest_wschaos.simulation.herd import FanOut, Herd
from pytest_wschaos.simulation.progress import Progress
from pytest_wschaos.simulation.run import VirtualClockName, run

SPREAD = {"jitter": {"low": 0.5, "high": 1.5}}
TOGETHER = {"jitter": {"shape": "none"}}


@asynccontextmanager
async def sailing(n: int, *, profile: Profile | None = None, **options: Any) -> AsyncIterator[tuple[Chaos, Fleet]]:
    """A fleet that is ready."""
    async with Chaos(profile=profile) as chaos, chaos.fleet(n, **options) as fleet:
        fleet.start(spread=30)
        await fleet.ready()
        yield chaos, fleet


def played(story: Callable[[], Awaitable[None]], clock: VirtualClockName = "virtual") -> None:
    """Run a test's story on a virtual clock."""

    async def main() -> None:
        await story()

    run(main, clock=clock, time_limit=3600)


def test_a_fleet_larger_than_the_servers_limit_gets_in_and_keeps_its_links() -> None:
    async def story() -> None:
        async with sailing(250) as (chaos, fleet):
            assert len(chaos.server.connections) == 250
            await asyncio.sleep(300)
            assert fleet.is_ready
            assert fleet.herd().total == 250  # nobody had to come twice

    played(story)


def test_all_are_cut_at_one_instant_and_come_back_spread_by_their_jitter() -> None:
    async def story() -> None:
        async with sailing(100, profile=Profile().with_(**SPREAD)) as (chaos, fleet):
            chaos.abort()
            assert fleet.ready_count == 0
            await fleet.ready()
            herd = fleet.herd(window=0.1)
            assert herd.total == 100
            assert herd.first == 0.5
            assert herd.last == pytest.approx(1.5)
            assert herd.peak < 30

    played(story)


def test_without_jitter_all_come_back_at_once() -> None:
    async def story() -> None:
        async with sailing(100, profile=Profile().with_(**TOGETHER)) as (chaos, fleet):
            chaos.abort()
            await fleet.ready()
            assert fleet.herd(window=0.1).peak == 100
            assert "100 arrivals, at most 100 in 0.1 s" in str(fleet.herd(window=0.1))

    played(story)


def test_an_outage_of_the_server_is_seen_with_the_attempts_that_it_refused() -> None:
    async def story() -> None:
        async with sailing(50) as (chaos, fleet):
            with chaos.refuse():
                await asyncio.sleep(10)
                assert fleet.ready_count == 0
            await fleet.ready()
            assert fleet.herd().total > 100  # each had tried in vain, more than once

    played(story)


def test_a_message_to_all_is_timed_until_the_last_has_it() -> None:
    async def story() -> None:
        async with sailing(40) as (chaos, fleet):
            await fleet.subscribe("news")
            with chaos.latency(0.05):
                told = await fleet.fan_out("news", {"text": "hello"})
            assert told.missing == 0
            assert told.median == told.last == pytest.approx(0.05)

    played(story)


def test_a_message_that_does_not_reach_all_says_how_many_lack_it() -> None:
    async def story() -> None:
        async with sailing(10) as (_, fleet):
            for client in fleet.clients[:4]:
                await (await client.subscribe("news"))
            told = await fleet.fan_out("news", "hello", timeout=5)
            assert told.missing == 6
            assert len(told.delays) == 4

    played(story)


def test_a_drain_spreads_the_leaving_evenly() -> None:
    async def story() -> None:
        async with sailing(50) as (_, fleet):
            told = await fleet.drain(window=10)
            assert told.left == 50
            assert told.peak == 5
            assert told.seconds == pytest.approx(10, abs=0.5)

    played(story)


def test_the_fault_bites_though_the_record_is_light() -> None:
    async def story() -> None:
        async with sailing(30, lanes=0) as (chaos, fleet):
            chaos.abort()
            await fleet.ready()
            chaos.disconnect()
            with chaos.refuse():
                await asyncio.sleep(5)
            await fleet.ready()
            with chaos.handshake(503):
                chaos.abort()
                await asyncio.sleep(5)
            await fleet.ready()
            await asyncio.sleep(600)
            assert not toothless(chaos.freeze())
            assert len(chaos.timeline) < 100

    played(story)


def test_a_fleet_has_a_lane_for_the_checks_where_one_is_asked_for() -> None:
    async def story() -> None:
        async with sailing(20, lanes=3) as (chaos, fleet):
            chaos.abort()
            await fleet.ready()
            await asyncio.sleep(60)
            chaos.assert_rules("BACKOFF-01")
            judged = {event.client for event in chaos.timeline if event.conn is not None}
            assert judged == {"fleet-0", "fleet-1", "fleet-2"}
            assert fleet.herd().total == 20

    played(story)


def test_the_checks_take_the_closing_of_a_fleet_for_what_it_is() -> None:
    async def story() -> None:
        async with Chaos() as chaos:
            async with chaos.fleet(5, lanes=5) as fleet:
                fleet.start()
                await fleet.ready()
                await fleet.drain(window=1)
            assert not [verdict for verdict in chaos.check() if verdict.outcome is Outcome.FAIL]

    played(story)


def test_a_fleet_of_any_asyncio_client() -> None:
    async def story() -> None:
        async with Chaos() as chaos:

            async def echoing(url: str, number: int, report: Callable[[dict[str, Any]], None]) -> None:
                async for socket in websockets.connect(url.replace("/ws", "/echo"), compression=None):
                    try:
                        await socket.send(str(number))
                        async for _ in socket:
                            report({"event": "message"})
                    except websockets.ConnectionClosed:
                        continue

            async with chaos.fleet(30, echoing, lanes=0) as fleet:
                fleet.start()
                await fleet.ready()
                chaos.abort()
                told = await fleet.fan_out("", None, publish=lambda topic, data: None)  # each greets anew
                assert told.missing == 0
                await fleet.ready()
                assert fleet.herd(window=0.1).peak == 30  # that library's first retry comes at once

    played(story)


def test_a_fleet_on_the_hybrid_clock() -> None:
    async def story() -> None:
        async with sailing(20) as (chaos, fleet):
            chaos.abort()
            await fleet.ready()
            assert fleet.herd().total == 20

    played(story, "hybrid")


@pytest.mark.asyncio
async def test_a_small_fleet_on_the_real_clock() -> None:
    profile = Profile().scaled(0.02)
    async with Chaos(profile=profile) as chaos, chaos.fleet(10) as fleet:
        fleet.start(spread=0.1)
        await fleet.ready()
        chaos.abort()
        await fleet.ready()
        assert fleet.herd(window=0.01).total == 10


@pytest.mark.asyncio
async def test_too_large_a_fleet_for_the_real_clock_says_which_clock_can() -> None:
    with Chaos() as chaos, pytest.raises(ValueError, match=r"descriptors.*clock='virtual'"):
        chaos.fleet(10_000_000)


def test_one_that_does_not_get_ready_says_how_far_it_came() -> None:
    async def story() -> None:
        async with Chaos() as chaos, chaos.fleet(10) as fleet:
            chaos.unanswered_handshake()
            fleet.start()
            with pytest.raises(FleetError, match="0 of 10 clients were ready after 20 s"):
                await fleet.ready(timeout=20)

    played(story)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"n": 0}, "n = 0"),
        ({"n": True}, "n = True"),
        ({"n": 5, "lanes": -1}, "lanes = -1"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], told: str) -> None:
    async def story() -> None:
        async with Chaos() as chaos:
            with pytest.raises(ValueError, match=told):
                chaos.fleet(**arguments)

    played(story)


def test_a_fleet_starts_once() -> None:
    async def story() -> None:
        async with Chaos() as chaos, chaos.fleet(1) as fleet:
            with pytest.raises(ValueError, match="spread = -1"):
                fleet.start(spread=-1)
            fleet.start()
            with pytest.raises(RuntimeError, match="started before"):
                fleet.start()
            await fleet.ready()

    played(story)


def test_two_runs_of_a_seed_are_alike() -> None:
    def once() -> list[dict[str, Any]]:
        async def main() -> list[dict[str, Any]]:
            async with sailing(30, lanes=2) as (chaos, fleet):
                chaos.abort()
                await fleet.ready()
                await asyncio.sleep(40)
                return [event.to_dict() for event in chaos.timeline]

        return run(main, seed=7)

    assert once() == once()


def test_a_herd_counts_what_came_after_an_instant() -> None:
    herd = Herd.of([0.5, 2.1, 2.9, 4.0], since=2.0, window=1.0)
    assert herd.counts == (2, 0, 1)
    assert (herd.total, herd.peak, herd.first, herd.last) == (3, 2, 0.0, 3.0)
    nobody = Herd.of([], since=0.0, window=1.0)
    assert (nobody.total, nobody.peak, nobody.first, nobody.last) == (0, 0, None, None)
    with pytest.raises(ValueError, match="window = 0"):
        Herd.of([], since=0.0, window=0)


def test_a_fan_out_that_reached_nobody_has_no_figures() -> None:
    told = FanOut(clients=3, delays=())
    assert (told.missing, told.median, told.last) == (3, None, None)


def test_progress_is_a_line_on_a_terminal_and_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wschaos.simulation.progress.EVERY", 0.0)
    terminal, file = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    for stream in (terminal, file):
        progress = Progress(lambda: "1000 clients: 500 connected", stream=stream)
        progress.look()
        progress.end()
    assert "1000 clients: 500 connected" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert file.getvalue() == ""


def test_progress_of_a_fleet_tells_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pytest_wschaos.simulation.progress.EVERY", 0.0)
    monkeypatch.setattr("pytest_wschaos.simulation.tally.LOOK_EVERY", 1)

    async def story() -> None:
        async with sailing(5, progress=True):
            pass

    played(story)
    assert "5 clients: 4 connected, 5 arrivals, 0 refused, 24 s" in capsys.readouterr().err


def test_a_timer_that_sets_itself_anew_for_the_same_instant_is_a_livelock() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_at(loop.time(), again)

        again()
        await asyncio.sleep(1)

    with pytest.raises(Livelock):
        played(story)


# --- clients that end by themselves, and what is no client


class Crashing:
    def start(self) -> None:
        raise ValueError("mine")

    def close(self) -> None:
        pass


class CrashingLater(Crashing):
    async def start(self) -> None:  # type: ignore[override]
        await asyncio.sleep(1)
        raise ValueError("mine")


async def crashing() -> None:
    await asyncio.sleep(1)
    raise ValueError("mine")


async def leaving() -> str:
    return "bye"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Crashing, "0 of 3 clients are ready, 1 has ended, the first with ValueError: mine"),
        (CrashingLater, "0 of 3 clients are ready, 3 have ended, the first with ValueError: mine"),
        (crashing, "0 of 3 clients are ready, 3 have ended, the first with ValueError: mine"),
        (leaving, "0 of 3 clients are ready, 3 have ended, the first by returning 'bye'"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_crashes_ends_the_wait_at_once(make: Callable[[], Any], told: str) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        async with Chaos() as chaos, chaos.fleet(3, lambda *_: make()) as fleet:
            fleet.start(spread=0 if make is not Crashing else 3)
            with pytest.raises(FleetError, match=f"^{told}$"):
                await fleet.ready()
            assert loop.time() < 2

    played(story)


def test_a_crash_that_nobody_waits_for_is_logged_by_the_loop() -> None:
    logged: list[Any] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context["exception"]))
        async with Chaos() as chaos, chaos.fleet(1, lambda *_: Crashing()) as fleet:
            fleet.start()
            await asyncio.sleep(1)

    played(story)
    assert [str(error) for error in logged] == ["mine"]


def test_a_start_that_returns_is_no_end() -> None:
    class Wrapped:
        def __init__(self, url: str, number: int, report: Callable[[dict[str, Any]], None]) -> None:
            self.url = url.replace("/ws", "/echo")

        async def start(self) -> None:
            self.socket = await websockets.connect(self.url)

        async def close(self) -> None:
            await self.socket.close()

    async def story() -> None:
        async with Chaos() as chaos, chaos.fleet(2, Wrapped, lanes=0) as fleet:
            fleet.start(spread=5)
            await fleet.ready()
            assert fleet.is_ready

    played(story)


def test_one_that_has_not_begun_is_closed_without_a_word() -> None:
    async def story() -> None:
        async with Chaos() as chaos, chaos.fleet(2, lambda *_: crashing()) as fleet:
            fleet.start(spread=100)
            with pytest.raises(RuntimeError, match="started before"):
                fleet.start()

    played(story)


def test_a_fleet_that_was_not_started_says_so() -> None:
    async def story() -> None:
        async with Chaos() as chaos, chaos.fleet(1) as fleet:
            with pytest.raises(RuntimeError, match=r"start\(\) was not called"):
                await fleet.ready()

    played(story)


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (3, "factory = 3: must be a function"),
        (lambda *_: None, r"the factory returned None: must be a coroutine, or have start\(\) and close\(\)"),
    ],
)
def test_what_makes_no_clients_is_refused(factory: Any, told: str) -> None:
    async def story() -> None:
        async with Chaos() as chaos:
            with pytest.raises(TypeError, match=told):
                chaos.fleet(1, factory)

    played(story)


def test_what_publishing_raises_is_raised() -> None:
    async def publish(topic: str, data: Any) -> None:
        raise TimeoutError("mine")

    async def story() -> None:
        async with Chaos() as chaos, chaos.fleet(1) as fleet:
            with pytest.raises(TimeoutError, match="mine"):
                await fleet.fan_out("news", 1, publish=publish)

    played(story)
