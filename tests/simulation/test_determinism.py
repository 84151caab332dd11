"""The same seed gives the same run, in fresh processes with random hashes; and outside of a run nothing is changed."""

from __future__ import annotations

import asyncio
import collections
import functools
import gc
import os
import random
import secrets
import subprocess
import sys
import threading
import time
import uuid
import weakref
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pytest_wschaos.simulation.determinism import EPOCH
from pytest_wschaos.simulation.errors import SimulationError
from pytest_wschaos.simulation.run import run

from .clocks import VIRTUAL, on

RUN = """
import sys
from tests.simulation.{world} import record
print(record(int(sys.argv[1]), sys.argv[2]))
"""


def fresh(world: str, seed: int, clock: str = "virtual", salt: str = "random") -> str:
    """What a run in a process of its own records: times, order, sizes and bytes."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(world=world), str(seed), clock],
        env={**os.environ, "PYTHONHASHSEED": salt},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("world", "events"), [("herd", 2000), ("storm", 500)])
def test_fresh_processes_with_the_same_seed_do_the_same_to_the_byte(world: str, events: int) -> None:
    first = fresh(world, 1)
    assert int(first.split()[0]) > events
    assert fresh(world, 1) == first
    assert fresh(world, 1, salt="7") == first
    assert fresh(world, 2) != first


@pytest.mark.parametrize("world", ["herd", "storm"])
def test_the_hybrid_clock_repeats_times_and_order(world: str) -> None:
    assert fresh(world, 1, "hybrid") == fresh(world, 1, "hybrid")


async def chances() -> list[object]:
    await asyncio.sleep(1)
    own = random.Random()
    return [
        random.random(),
        own.random(),
        os.urandom(4),
        secrets.token_hex(4),
        random.SystemRandom().random(),
        uuid.uuid4(),
        time.time(),
        time.time_ns(),
        time.monotonic(),
        time.monotonic_ns(),
    ]


@pytest.mark.parametrize("clock", VIRTUAL)
def test_all_chance_and_the_time_of_day_come_from_the_run(clock: str) -> None:
    one, again, other = (run(chances, clock=clock, seed=seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert one == again
    assert [a == b for a, b in zip(one, other, strict=True)] == [*[False] * 6, *[True] * 4]
    assert one[-4:] == [EPOCH + 1, int((EPOCH + 1) * 1e9), 1.0, 10**9]


@pytest.mark.parametrize("clock", VIRTUAL)
def test_outside_of_a_run_nothing_is_changed(clock: str) -> None:
    def now_in_force() -> list[object]:
        clocks = [time.time, time.time_ns, time.monotonic, time.monotonic_ns]
        return [*clocks, os.urandom, random.Random.seed, random._urandom]  # type: ignore[attr-defined]

    kept = now_in_force()
    random.seed(5)
    state = random.getstate()
    run(chances, clock=clock)  # type: ignore[arg-type]
    assert random.getstate() == state
    assert kept == now_in_force()
    assert abs(time.time() - EPOCH) > 1e6


def test_a_run_goes_on_where_it_was_left() -> None:
    """A fixture and its test share a loop: what the world draws between them does not matter."""

    def drawn(between: int) -> list[float]:
        numbers = []
        with asyncio.Runner(loop_factory=lambda: _loop(3)) as runner:

            async def draw() -> float:
                return random.random()

            numbers.append(runner.run(draw()))
            for _ in range(between):
                random.random()
            numbers.append(runner.run(draw()))
        return numbers

    assert drawn(0) == drawn(5)
    assert len(set(drawn(0))) == 2


def _loop(seed: int) -> asyncio.AbstractEventLoop:
    from pytest_wschaos.simulation.run import make_loop

    return make_loop(seed=seed)


def test_sets_of_tasks_and_of_connections_have_the_order_in_which_they_were_made() -> None:
    class Plain(asyncio.Protocol):
        pass

    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(5)]
        server = await loop.create_server(Plain, "127.0.0.1", 0)
        made = [await loop.create_connection(Plain, *server.sockets[0].getsockname()) for _ in range(5)]
        told = []
        for things in (tasks, [transport for transport, _ in made], [protocol for _, protocol in made]):
            hashes = [hash(thing) for thing in things]
            told.append(hashes == sorted(hashes) and hashes[-1] < 1000)
        assert isinstance(made[0][1], Plain)
        server.close()
        return told

    assert run(main) == [True, True, True]


class Enrolled(asyncio.Protocol):
    """Puts itself into a set before anyone can change its hash."""

    all: ClassVar[Any] = None

    def __init__(self) -> None:
        self.all.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.all.remove(self)


class Demanding(asyncio.Protocol):
    def __init_subclass__(cls, *, name: str) -> None:
        pass


class Named(Demanding, name="one"):
    pass


async def connected(protocol: Any) -> Any:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(protocol, "127.0.0.1", 0) as server:
        transport, made = await loop.create_connection(protocol, *server.sockets[0].getsockname())
        await asyncio.sleep(1)
        transport.close()
        await asyncio.sleep(1)
    return made


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("kind", [set, weakref.WeakSet, collections.Counter])
def test_a_protocol_may_enroll_itself(kind: Any, clock: str) -> None:
    class All(kind):  # type: ignore[misc]
        add = kind.add if hasattr(kind, "add") else lambda self, one: self.update([one])
        remove = kind.remove if hasattr(kind, "remove") else kind.__delitem__

    class Fresh(Enrolled):
        all = All()

    on(clock, functools.partial(connected, Fresh))
    on(clock, functools.partial(connected, Fresh))
    assert len(Fresh.all) == 0


@pytest.mark.parametrize("clock", VIRTUAL)
def test_a_protocol_whose_class_cannot_be_derived_from_is_left_alone(clock: str) -> None:
    assert type(on(clock, functools.partial(connected, Named))) is Named


@pytest.mark.parametrize("clock", VIRTUAL)
def test_a_protocol_looks_as_before_and_its_class_is_not_kept(clock: str) -> None:
    class Plain(asyncio.Protocol):
        """Its doc."""

    made = on(clock, functools.partial(connected, Plain))
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(type(made), name) == getattr(Plain, name)
    gone = weakref.ref(Plain)
    del Plain, made
    gc.collect()
    assert gone() is None


def test_two_runs_in_two_threads_at_the_same_time_are_refused() -> None:
    """What both would patch is the process's; afterwards nothing is changed."""
    kept = time.time, os.urandom
    inside, over = threading.Event(), threading.Event()

    async def first() -> None:
        inside.set()
        over.wait(10)

    thread = threading.Thread(target=run, args=(first,))
    thread.start()
    inside.wait(10)
    try:
        with pytest.raises(SimulationError, match="a virtual clock runs in another thread"):
            run(chances)
    finally:
        over.set()
        thread.join()
    assert kept == (time.time, os.urandom)
    assert run(chances)
