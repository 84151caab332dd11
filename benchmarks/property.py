"""Examples a second: how fast Hypothesis plays schedules of ten events against the reference pair.

    python benchmarks/property.py

Each example is a world of its own: loop, engine, server, client, ten steps that Hypothesis has drawn, recovery, and the
judgement of all rules. Times are CPU seconds of this process, drawing included; median of five rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from hypothesis import HealthCheck, Phase, given, seed, settings

from pytest_wschaos.simulation.play import survive
from pytest_wschaos.simulation.schedule import Step
from pytest_wschaos.simulation.strategies import schedules


def rate(examples: int, number: int) -> float:
    """Examples a CPU second in one round."""
    played = 0

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules(min_size=10, max_size=10))
    def play(schedule: list[Step]) -> None:
        nonlocal played
        survive(schedule)
        played += 1

    start = time.process_time()
    play()
    return played / (time.process_time() - start)


def main() -> None:
    """Run, and print each round and the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=300, help="in each round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    survive([])  # what is imported on first use is not counted
    rates = []
    for number in range(options.rounds):
        rates.append(rate(options.examples, number))
        print(f"round {number + 1}: {rates[-1]:.0f} examples a CPU second", flush=True)
    print(f"median: {statistics.median(rates):.0f}")


if __name__ == "__main__":
    main()
