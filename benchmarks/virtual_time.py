"""What virtual time costs: one hour of one client, and every conformance case at the default figures.

    python benchmarks/virtual_time.py

The hour is that of a reference client with default heartbeats, through the engine, on record: the target is a median of
less than 0.25 s of wall time on the simulated network. The cases are all that clients and servers have but those that
take a process of its own, played by the reference pair: less than 20 s. Imports are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import time
from collections.abc import Callable

from pytest_wschaos import Chaos, Outcome
from pytest_wschaos.conformance.subjects.factory import InProcess
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.conformance.subjects.server import InProcessServer
from pytest_wschaos.conformance.suite.case import select
from pytest_wschaos.conformance.suite.play import Settings
from pytest_wschaos.conformance.suite.play import play as play_case
from pytest_wschaos.simulation.run import VirtualClockName, run

HOUR = 3600.0
Play = Callable[[VirtualClockName], None]


def hour(clock: VirtualClockName) -> None:
    """An hour in which a client pings its server, and the server its client."""

    async def main() -> None:
        async with Chaos() as chaos, chaos.client():
            await chaos.wait_for("ready")
            await asyncio.sleep(HOUR)
            pings = [event for event in chaos.timeline if event.kind == "ping" and event.place == "server"]
            assert len(pings) >= 238, len(pings)

    run(main, clock=clock)


def cases(clock: VirtualClockName) -> None:
    """Every case that takes no process of its own."""
    pair = {"client": InProcess(reference), "server": InProcessServer()}
    for case in select():
        if not case.process:
            result = play_case(case, pair[case.side], Settings(clock=clock))
            assert result.outcome is Outcome.PASS, case.id


PLAYS: dict[str, Play] = {"an hour": hour, "all cases": cases}


def cpu() -> float:
    """Seconds of CPU time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def once(play: Play, clock: VirtualClockName) -> tuple[float, float]:
    """Seconds of wall and of CPU time."""
    wall, before = time.perf_counter(), cpu()
    play(clock)
    return time.perf_counter() - wall, cpu() - before


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    clocks: tuple[VirtualClockName, ...] = ("virtual", "hybrid")
    for name, play in PLAYS.items():
        for clock in clocks:
            once(play, clock)  # what is imported on first use
            walls, cpus = zip(*(once(play, clock) for _ in range(options.runs)), strict=True)
            print(
                f"{name:13} {clock:8} wall {statistics.median(walls):.3f} s ({min(walls):.3f} to {max(walls):.3f}), "
                f"cpu {statistics.median(cpus):.3f} s, median of {options.runs}",
                flush=True,
            )


if __name__ == "__main__":
    main()
