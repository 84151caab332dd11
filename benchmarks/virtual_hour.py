"""What an hour of virtual time costs: one reference client, default heartbeats, through the engine, on record.

    python benchmarks/virtual_hour.py

Imports are not counted. The target: a median of less than 0.25 s of wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import time

from pytest_wschaos import Chaos
from pytest_wschaos.simulation.run import VirtualClockName, run

HOUR = 3600.0


async def hour() -> None:
    """An hour in which a client pings its server, and the server its client."""
    async with Chaos() as chaos, chaos.client():
        await chaos.wait_for("ready")
        await asyncio.sleep(HOUR)
        pings = [event for event in chaos.timeline if event.kind == "ping" and event.place == "server"]
        assert len(pings) >= 238, len(pings)


def cpu() -> float:
    """Seconds of CPU time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def once(clock: VirtualClockName) -> tuple[float, float]:
    """Seconds of wall and of CPU time."""
    wall, before = time.perf_counter(), cpu()
    run(hour, clock=clock)
    return time.perf_counter() - wall, cpu() - before


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    clocks: tuple[VirtualClockName, ...] = ("virtual", "hybrid")
    for clock in clocks:
        once(clock)  # what is imported on first use
        walls, cpus = zip(*(once(clock) for _ in range(options.runs)), strict=True)
        print(
            f"{clock:8} wall {statistics.median(walls):.3f} s ({min(walls):.3f} to {max(walls):.3f}), "
            f"cpu {statistics.median(cpus):.3f} s, median of {options.runs}"
        )


if __name__ == "__main__":
    main()
