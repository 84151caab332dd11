"""The guards of virtual time: a run that cannot go on says why, and leaves nothing behind for the next one."""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import contextlib
import functools
import gc
import logging
import random
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from pytest_wschaos.simulation.errors import Deadlock, Livelock, SimulationError, TimeLimit, Unsupported
from pytest_wschaos.simulation.hybrid import HybridLoop
from pytest_wschaos.simulation.run import make_loop, run

from .clocks import VIRTUAL

clocks = pytest.mark.parametrize("clock", VIRTUAL)


async def now() -> float:
    return asyncio.get_running_loop().time()


@clocks
def test_waiting_costs_nothing_and_is_exact(clock: str) -> None:
    async def main() -> list[float]:
        seen = []
        for seconds in (0, 0.001, 30, 7 * 24 * 3600):
            await asyncio.sleep(seconds)
            seen.append(await now())
        try:
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(await now() - seen[-1])
        return seen

    begun = time.monotonic()
    assert run(main, clock=clock, time_limit=1e6) == [0, 0.001, 30.001, 604830.001, 30]  # type: ignore[arg-type]
    assert time.monotonic() - begun < 5


@clocks
def test_each_run_begins_at_0(clock: str) -> None:
    assert [run(now, clock=clock) for _ in range(2)] == [0, 0]  # type: ignore[arg-type]


async def a_heart_that_never_stops() -> None:
    while True:  # noqa: ASYNC110
        await asyncio.sleep(20)


async def around_sleep_0() -> None:
    while await now() < 1:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def a_timer_that_sets_itself_anew() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.call_at(loop.time(), again)

    again()
    await asyncio.sleep(1)


async def in_steps_too_small() -> None:
    while True:  # noqa: ASYNC110
        await asyncio.sleep(1e-9)


async def nobody_answers() -> None:
    await asyncio.get_running_loop().create_future()


GUARDED: list[tuple[Callable[[], Any], type[SimulationError], str]] = [
    (a_heart_that_never_stops, TimeLimit, r"60 s of virtual time have passed, which is the limit \(time_limit=\)"),
    (around_sleep_0, Livelock, "turned 100000 times at 0.000 s, and no time passed"),
    (a_timer_that_sets_itself_anew, Livelock, "no time passed"),
    (in_steps_too_small, Livelock, "less than 0.001 s passed: .* steps too small to get anywhere"),
    (nobody_answers, Deadlock, "at 0.000 s nothing is ready and no timer is set"),
]


@clocks
@pytest.mark.parametrize(("main", "error", "told"), GUARDED, ids=lambda value: getattr(value, "__name__", None))
def test_a_run_that_cannot_go_on_says_so_and_where(
    main: Callable[[], Any], error: type[SimulationError], told: str, clock: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        run(main, clock=clock, time_limit=60)  # type: ignore[arg-type]
    assert f"{main.__name__}: at " in str(caught.value)
    assert f"{__file__}:" in str(caught.value)
    # The next one is clean.
    assert run(now, clock=clock) == 0  # type: ignore[arg-type]


@clocks
def test_a_deadlock_names_each_task_with_its_own_line_and_where_it_waits(clock: str) -> None:
    queue: asyncio.Queue[int]

    async def consumer() -> None:
        await queue.get()

    async def main() -> None:
        nonlocal queue
        queue = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(consumer())
            group.create_task(consumer())

    with pytest.raises(Deadlock) as caught:
        run(main, clock=clock)  # type: ignore[arg-type]
    lines = str(caught.value).splitlines()
    own = f"{__file__}:{consumer.__code__.co_firstlineno + 1}"
    assert [line for line in lines if "consumer" in line and own in line and "queues.py:" in line] == lines[3:]
    assert len(lines) == 5


@clocks
def test_after_such_an_end_everything_is_closed(clock: str) -> None:
    closed = []
    writers: list[asyncio.StreamWriter] = []

    async def main() -> None:
        try:
            server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
            async with server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                try:
                    await reader.read()
                finally:
                    await asyncio.sleep(300)  # cleaning up may take its time
                    for one in (writer, *writers):
                        one.close()
        finally:
            closed.append(await now())

    state = random.getstate()
    with pytest.raises(Deadlock):
        run(main, clock=clock)  # type: ignore[arg-type]
    assert closed == [300]
    assert random.getstate() == state


@clocks
def test_the_limit_leaves_time_to_clean_up_and_no_more(clock: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(10_000)

    with pytest.raises(TimeLimit, match="60 s of virtual time"):
        run(main, clock=clock, time_limit=60)  # type: ignore[arg-type]
    gc.collect()
    assert caplog.messages == []


@clocks
def test_many_who_do_much_in_an_instant_are_no_livelock(clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wschaos.simulation.clock.COLLECT_EVERY", 1000)
    monkeypatch.setattr("pytest_wschaos.simulation.clock.TURNS", 5000)

    async def client(number: int) -> None:
        for _ in range(200):
            await asyncio.sleep(1e-6 + number * 1e-9)

    async def main() -> float:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(client(number))
        return await now()

    assert 0 < run(main, clock=clock) < 0.001  # type: ignore[arg-type]


@clocks
def test_a_loop_is_closed_whatever_fails_at_its_end(clock: str) -> None:
    ended: list[str] = []

    async def end(name: str) -> None:
        ended.append(name)
        if name == "second":
            raise LookupError(name)

    loop = make_loop(clock)
    for name in ("first", "second", "third"):
        loop.at_close(functools.partial(end, name))
    with pytest.raises(LookupError, match="second"):
        loop.close()
    assert ended == ["third", "second", "first"]
    assert loop.is_closed()


@clocks
def test_garbage_is_collected_where_only_timers_fire(clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wschaos.simulation.clock.COLLECT_EVERY", 100)

    class Garbage:
        def __init__(self) -> None:
            self.itself = self

    loop = make_loop(clock)
    garbage: list[weakref.ref[Garbage]] = []

    def again() -> None:
        garbage.append(weakref.ref(Garbage()))
        if len(garbage) == 1000:
            loop.stop()
        else:
            loop.call_later(1, again)

    loop.call_soon(again)
    loop.run_forever()
    loop.close()
    assert sum(one() is not None for one in garbage) <= 100


def test_a_task_of_something_else_than_a_coroutine_is_named() -> None:
    class Awaited(collections.abc.Coroutine[Any, Any, None]):
        def __init__(self) -> None:
            self._inner = asyncio.get_running_loop().create_future().__await__()

        def __await__(self) -> Any:
            return self

        def send(self, value: Any) -> Any:
            return self._inner.send(value)  # type: ignore[attr-defined]

        def throw(self, *error: Any) -> Any:
            return self._inner.throw(*error)  # type: ignore[attr-defined]

        def close(self) -> None:
            self._inner.close()  # type: ignore[attr-defined]

    async def main() -> None:
        await asyncio.get_running_loop().create_task(Awaited())

    with pytest.raises(Deadlock, match=r"\n  .*\.Awaited$"):
        run(main)


@clocks
@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_is_above_0(limit: float, clock: str) -> None:
    with pytest.raises(ValueError, match="must be above 0 s"):
        make_loop(clock, time_limit=limit)


def test_an_unknown_clock() -> None:
    with pytest.raises(ValueError, match="clock = 'sundial': must be one of 'virtual', 'hybrid'"):
        make_loop("sundial")


# --- threads ---


@clocks
def test_a_call_in_an_executor_takes_no_virtual_time(clock: str) -> None:
    async def main() -> object:
        loop = asyncio.get_running_loop()
        told: list[object] = [await loop.run_in_executor(None, divmod, 7, 2)]
        told.append(await asyncio.to_thread(lambda: "from a thread"))
        told += await asyncio.gather(*(asyncio.to_thread(str, n) for n in range(3)))
        with pytest.raises(LookupError, match="no luck"):
            await asyncio.to_thread(_fail)
        return told, await now()

    expected = [(3, 1), "from a thread", "0", "1", "2"], 0
    assert run(main, clock=clock) == expected  # type: ignore[arg-type]


def _fail() -> None:
    raise LookupError("no luck")


def test_a_thread_that_nobody_waits_for_holds_the_hybrid_clock_too() -> None:
    seen: list[str] = []

    def work() -> None:
        begun.set()
        time.sleep(0.2)
        seen.append("thread")

    async def main() -> object:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.to_thread(work)
        waiting = [asyncio.ensure_future(asyncio.to_thread(time.sleep, 0)) for _ in range(100)]
        await asyncio.sleep(0)
        for one in waiting:  # most of them have not even begun
            one.cancel()
        begun.wait()
        await asyncio.sleep(3600)
        seen.append("an hour later")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, HybridLoop)
        return seen, loop.working, await now()

    begun = threading.Event()
    assert run(main, clock="hybrid") == (["thread", "an hour later"], {}, 3600)


def ask_the_loop(loop: asyncio.AbstractEventLoop) -> float:
    return asyncio.run_coroutine_threadsafe(now(), loop).result()


def wait_for_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.closing(asyncio.sleep(1)) as sleep:
        asyncio.run_coroutine_threadsafe(sleep, loop).result()


def test_a_thread_that_waits_for_the_hybrid_clock_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wschaos.simulation.hybrid.LONGEST_WORK", 0.3)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(ask_the_loop, loop) == 0  # this takes no time, and may
        await asyncio.to_thread(wait_for_the_loop, loop)

    with pytest.raises(Deadlock, match=r"what threads are doing: wait_for_the_loop \(.*clock='real' can do both"):
        run(main, clock="hybrid")


def test_a_call_in_an_executor_cannot_wait_for_the_simulated_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(Unsupported, match=r"a call in an executor called the loop.* use clock='real'"):
            await asyncio.to_thread(wait_for_the_loop, loop)
        loop.call_soon_threadsafe(str)  # this one may

    run(main)


def test_a_foreign_thread_is_told_which_clock_can() -> None:
    told: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(told.append, "called all the same")
            except Unsupported as error:
                told.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        await asyncio.sleep(1)
        loop.call_soon_threadsafe(told.append, "from its own thread")
        await asyncio.sleep(0)

    run(main)
    assert told == [
        "another thread called the loop, and threads live in real time: not on this clock; use clock='real'",
        "from its own thread",
    ]


def test_waiting_for_a_thread_of_ones_own_ends_with_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    done = threading.Event()

    async def main() -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            try:
                await asyncio.wrap_future(pool.submit(done.wait))
            finally:
                done.set()

    with pytest.raises(Deadlock, match="clock='real' can wait for them"):
        run(main)


# --- what the simulated loop cannot do ---

REFUSED: list[tuple[str, tuple[Any, ...], str]] = [
    ("add_reader", (0, print), "'hybrid' or 'real'"),
    ("add_writer", (0, print), "'hybrid' or 'real'"),
    ("sock_recv", (None, 1), "'hybrid' or 'real'"),
    ("sock_recv_into", (None, b""), "'hybrid' or 'real'"),
    ("sock_recvfrom", (None, 1), "'hybrid' or 'real'"),
    ("sock_sendall", (None, b""), "'hybrid' or 'real'"),
    ("sock_sendto", (None, b"", None), "'hybrid' or 'real'"),
    ("sock_accept", (None,), "'hybrid' or 'real'"),
    ("connect_accepted_socket", (print, None), "'hybrid' or 'real'"),
    ("connect_read_pipe", (print, None), "'hybrid' or 'real'"),
    ("create_datagram_endpoint", (print,), "'hybrid' or 'real'"),
    ("create_unix_connection", (print, "/x"), "'hybrid' or 'real'"),
    ("create_unix_server", (print, "/x"), "'hybrid' or 'real'"),
    ("subprocess_exec", (print, "true"), "'real'"),
    ("subprocess_shell", (print, "true"), "'real'"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "clocks"), REFUSED, ids=lambda value: value if type(value) is str else ""
)
def test_what_needs_the_kernel_is_refused_at_once(name: str, arguments: tuple[Any, ...], clocks: str) -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError, match=f"{name}\\(\\).*use clock={clocks}"):
            getattr(asyncio.get_running_loop(), name)(*arguments)

    run(main)


@clocks
def test_a_subprocess_is_refused(clock: str) -> None:
    async def main() -> None:
        for start in (asyncio.create_subprocess_exec, asyncio.create_subprocess_shell):
            with pytest.raises(Unsupported, match="use clock='real'"):
                await start("true")

    run(main, clock=clock)  # type: ignore[arg-type]


def test_a_connected_socket_and_one_of_another_family_are_refused() -> None:
    async def main() -> None:
        with (
            socket.socket(socket.AF_UNIX) as sock,
            pytest.raises(Unsupported, match=r"AF_UNIX.* use clock='hybrid' or"),
        ):
            await asyncio.start_server(print, sock=sock)
        one, other = socket.socketpair()
        with one, other, pytest.raises(Unsupported, match=r"connected for real: .* use clock='hybrid' or 'real'"):
            await asyncio.open_connection(sock=one)

    run(main)


# --- the hybrid clock and the kernel ---


def test_the_hybrid_clock_waits_for_what_the_kernel_has() -> None:
    """Neither Nagle's algorithm nor a congestion control may keep data back while the clock jumps."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"o")
            writer.write(b"k ")
            writer.write(line)
        writer.close()

    async def main() -> float:
        # Bare sockets, as uvicorn makes them: without a protocol number, asyncio leaves Nagle's algorithm on.
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        async with await asyncio.start_server(serve, sock=sock) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for _ in range(60):
                for _ in range(5):
                    writer.write(b"li")
                    writer.write(b"ne\n")
                    async with asyncio.timeout(20):
                        assert await reader.readline() == b"ok line\n"
                await asyncio.sleep(60)
            writer.close()
            await writer.wait_closed()
        return await now()

    assert run(main, clock="hybrid") == 3600
