"""The loop on its own thread: calls are bounded, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_wschaos import background
from pytest_wschaos.background import LoopEnded, LoopStuck, LoopThread


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.stop()


async def name_of_thread() -> str:
    return threading.current_thread().name


def fail() -> None:
    raise LookupError("no luck")


async def fail_later() -> None:
    raise TimeoutError("my own")


def test_work_is_done_on_the_loops_thread(thread: LoopThread) -> None:
    assert thread.run(name_of_thread()) == "wschaos"
    assert thread.call(lambda: threading.current_thread().name) == "wschaos"
    assert thread.call(divmod, 7, 2) == (3, 1)


def test_exceptions_come_back_to_the_caller(thread: LoopThread) -> None:
    with pytest.raises(LookupError, match="no luck"):
        thread.call(fail)
    with pytest.raises(TimeoutError, match="my own"):
        thread.run(fail_later())


def test_what_takes_too_long_is_cancelled(thread: LoopThread) -> None:
    ended = threading.Event()

    async def sleep() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with pytest.raises(LoopStuck, match=r"did not answer within 0.05 s"):
        thread.run(sleep(), 0.05)
    assert ended.wait(10)


def test_a_call_from_the_loop_itself_does_not_wait_for_itself(thread: LoopThread) -> None:
    async def nested() -> str:
        with pytest.raises(RuntimeError, match="would wait for itself"):
            thread.run(name_of_thread())
        return thread.call(lambda: "at once")

    assert thread.run(nested()) == "at once"


def test_after_the_end_calls_say_so() -> None:
    thread = LoopThread()
    thread.stop()
    thread.stop()
    assert thread.stopped
    assert thread.loop.is_closed()
    with pytest.raises(LoopEnded, match="the chaos of this test has ended"):
        thread.run(name_of_thread())
    with pytest.raises(LoopEnded):
        thread.call(fail)


def test_stop_cancels_what_still_runs_and_hears_out_what_fails() -> None:
    thread = LoopThread()
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(name)
            if name == "b":
                raise LookupError("at the end")

    async def start() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(work(name)) for name in "ab"]
        await asyncio.sleep(0)
        return tasks

    thread.run(start())
    thread.stop()
    assert sorted(ended) == ["a", "b"]


def test_a_task_that_would_not_end_is_named_and_the_thread_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "CANCEL_TIMEOUT", 0.05)
    thread = LoopThread()

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def start() -> None:
        asyncio.get_running_loop().create_task(stubborn())
        await asyncio.sleep(0)

    thread.run(start())
    with pytest.raises(LoopStuck, match=r"would not be cancelled within 0.05 s: .*stubborn"):
        thread.stop()
    assert thread.stopped
    assert thread.loop.is_closed()
    gc.collect()  # the task that nobody could end goes here, and not in the middle of another test


def test_what_was_due_is_done_before_it_has_caught_up(thread: LoopThread) -> None:
    done: list[str] = []
    thread.call(lambda: thread.loop.call_later(0.01, done.append, "a timer"))
    thread.loop.call_soon_threadsafe(time.sleep, 0.05)
    thread.catch_up()
    assert done == ["a timer"]
    thread.call(thread.catch_up)  # on its own thread it cannot wait for itself


def test_a_loop_that_has_ended_has_caught_up() -> None:
    thread = LoopThread()
    thread.stop()
    thread.catch_up()
    assert thread.stopped


def test_a_loop_that_is_blocked_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = LoopThread()
    release = threading.Event()
    thread.loop.call_soon_threadsafe(release.wait, 10)
    start = time.monotonic()
    with pytest.raises(LoopStuck):
        thread.run(name_of_thread(), 0.05)
    assert time.monotonic() - start < 5
    release.set()
    thread.stop()
    assert thread.stopped
