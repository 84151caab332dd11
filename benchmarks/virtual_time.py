"""What virtual time costs: one hour of one client, and every scenario of the test suite at the default figures.

    python benchmarks/virtual_time.py

The hour is that of a reference client with default heartbeats, through the engine, on record: the target is a median of
less than 0.25 s of wall time on the simulated network. The scenarios are all that the rules have, each judged
by all of them: less than 20 s. Imports are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from scenarios import play_virtually

from pytest_wschaos import Chaos, Outcome
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


def scenarios(clock: VirtualClockName) -> None:
    """Every scenario that can be played without real time."""
    for result in play_virtually(clock=clock):
        assert all(verdict.outcome is Outcome.PASS for verdict in result.provoked), result.scenario.name


PLAYS: dict[str, Play] = {"an hour": hour, "all scenarios": scenarios}


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
