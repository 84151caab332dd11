"""Waiting for events, blocking and not: none is missed, and a wait that fails says what came instead."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from pytest_wschaos import Event, EventTimeout
from pytest_wschaos.background import LoopEnded
from pytest_wschaos.cursor import Cursor
from pytest_wschaos.timeline import Place, Timeline

SOON = 10.0
"""Seconds in which what must come has come."""


class Waiter:
    """The two ways to wait, told apart by the test's parameter."""

    def __init__(self, timeline: Timeline, kind: str) -> None:
        self.cursor = Cursor(timeline)
        self.kind = kind

    def __call__(
        self,
        kind: str,
        count: int = 1,
        timeout: float = SOON,
        client: str | None = None,
        place: Place | None = None,
    ) -> Event:
        if self.kind == "blocking":
            return self.cursor.wait(kind, count, timeout, client, place)
        return asyncio.run(self.cursor.wait_for(kind, count, timeout, client, place))


@pytest.fixture
def timeline() -> Timeline:
    return Timeline(time.monotonic)


@pytest.fixture(params=["blocking", "asynchronous"])
def wait(request: pytest.FixtureRequest, timeline: Timeline) -> Waiter:
    return Waiter(timeline, request.param)


def test_a_wait_ends_with_the_timeline(timeline: Timeline, wait: Waiter) -> None:
    timer = threading.Timer(0.05, timeline.close)
    timer.start()
    with pytest.raises(LoopEnded):
        wait("attempt", timeout=float("inf"))
    timer.join()
    timeline.record("attempt", "client")
    assert wait("attempt").kind == "attempt"  # what has come can still be had


def test_each_wait_returns_the_next_event_of_its_kind(timeline: Timeline, wait: Waiter) -> None:
    for number in range(3):
        timeline.record("attempt", "client", conn=number)
        timeline.record("ready", "client", conn=number)
    assert wait("attempt").conn == 0
    assert wait("ready").conn == 0
    assert wait("ready").conn == 1
    assert wait("attempt").conn == 2
    assert wait("ready").conn == 2


def test_count_returns_the_last_of_so_many(timeline: Timeline, wait: Waiter) -> None:
    for number in range(5):
        timeline.record("attempt", "client", conn=number)
    assert wait("attempt", 3).conn == 2
    assert wait("attempt").conn == 3


def test_an_event_that_comes_later_wakes_the_wait(timeline: Timeline, wait: Waiter) -> None:
    later = threading.Timer(0.03, lambda: [timeline.record(kind, "client") for kind in ("attempt", "end", "ready")])
    later.start()
    assert wait("ready").kind == "ready"
    later.join()


def test_the_clients_side_counts_unless_asked_otherwise(timeline: Timeline, wait: Waiter) -> None:
    timeline.record("close", "server", code=1)
    timeline.record("close", "client", code=2)
    timeline.record("close", "server", code=3)
    assert wait("close")["code"] == 2
    assert wait("close", place="server")["code"] == 3


def test_a_client_can_be_singled_out(timeline: Timeline, wait: Waiter) -> None:
    for name in ("first", "second", "first"):
        timeline.record("ready", "client", client=name)
    assert wait("ready", client="second").client == "second"
    assert wait("ready", client="first").client == "first"


def test_events_of_the_application_may_have_any_name(timeline: Timeline, wait: Waiter) -> None:
    timeline.record("app.reconnected", "app")
    assert wait("app.reconnected").place == "app"


def test_a_wait_that_fails_says_what_came_instead_and_loses_nothing(timeline: Timeline, wait: Waiter) -> None:
    timeline.record("attempt", "client")
    timeline.record("attempt", "client")
    timeline.record("lag", "harness", lag=1.0)
    timeline.record("close", "server")
    timeline.record("fault", "proxy")
    with pytest.raises(EventTimeout) as caught:
        wait("ready", timeout=0)
    told = "waited 0 s for 'ready'; seen instead since the last wait: attempt x2, fault"
    assert str(caught.value) == told
    assert wait("attempt", 2).kind == "attempt"


def test_a_wait_for_several_says_how_many_came(timeline: Timeline, wait: Waiter) -> None:
    timeline.record("attempt", "client")
    with pytest.raises(EventTimeout, match=r"for 'attempt' x2 \(1 came\); seen instead since the last wait: attempt$"):
        wait("attempt", 2, timeout=0.01)
    assert wait("attempt").kind == "attempt"
    with pytest.raises(EventTimeout, match="nothing at all"):
        wait("ready", timeout=0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kind": "raedy"}, "no event is named 'raedy': there are ack, acted, app.close"),
        ({"kind": None}, "no event is named None"),
        ({"kind": "ready", "count": 0}, "count = 0: must be a whole number, 1 or more"),
        ({"kind": "ready", "timeout": -1}, "timeout = -1: must be a number of seconds, 0 or more"),
        ({"kind": "ready", "timeout": float("nan")}, "timeout = nan: must be a number of seconds, 0 or more"),
        ({"kind": "ready", "place": "sever"}, "place = 'sever': must be one of client, server"),
    ],
)
def test_what_cannot_come_is_refused_at_once(wait: Waiter, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wait(**arguments)


@pytest.mark.asyncio
async def test_a_wait_that_is_cancelled_leaves_nothing_behind(timeline: Timeline) -> None:
    cursor = Cursor(timeline)
    waiting = asyncio.create_task(cursor.wait_for("ready", 1, SOON, None, None))
    await asyncio.sleep(0)
    assert len(timeline._listeners) == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert timeline._listeners == []
    timeline.record("ready", "client", conn=1)
    assert (await cursor.wait_for("ready", 1, SOON, None, None)).conn == 1


@pytest.mark.asyncio
async def test_a_wait_on_a_busy_loop_puts_the_lag_on_record(timeline: Timeline) -> None:
    waiting = asyncio.create_task(Cursor(timeline).wait_for("ready", 1, SOON, None, None))
    await asyncio.sleep(0.02)
    time.sleep(0.1)  # noqa: ASYNC251 - the test is busy
    await asyncio.sleep(0.02)
    timeline.record("ready", "client")
    await waiting
    assert max(event["lag"] for event in timeline if event.kind == "lag") > 0.05


def test_a_loop_that_was_closed_meanwhile_does_not_hurt_the_recorder(timeline: Timeline) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(Cursor(timeline).wait_for("ready", 1, SOON, None, None))
    loop.run_until_complete(asyncio.sleep(0))
    listeners = list(timeline._listeners)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    assert len(listeners) == 1
    listeners[0]()  # as when it was called at that very moment
    assert len(timeline) == 0
