"""Plays the reference client through every scenario again and again while the machine is kept busy.

    python benchmarks/soak.py --runs 200

It must never fail, and be inconclusive in at most 2 % of the verdicts on the rules that a scenario is for.
Exit status 1 otherwise. The scenarios are those of the test suite, at the default profile scaled by 0.05.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from scenarios import SCENARIOS, play_all

from pytest_wschaos import Outcome
from pytest_wschaos.report import timeline_text, verdict_text

MOST_INCONCLUSIVE = 0.02


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep that many cores busy with processes that do nothing but count."""
    burners = [multiprocessing.Process(target=_burn, args=(os.getpid(),), daemon=True) for _ in range(cores)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


def _burn(parent: int) -> None:
    while os.getppid() == parent:  # whatever ended the parent, nothing is left burning
        for _ in range(1_000_000):
            pass


def main() -> int:
    """Run, print each run in a line and a summary at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--busy", type=int, default=2, help="processes that burn a core each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run (default: %(default)s)")
    parser.add_argument("--scenario", action="append", default=[], choices=sorted(SCENARIOS), help="only these")
    parser.add_argument("--keep", type=Path, help="folder for the timelines of what did not pass")
    options = parser.parse_args()
    counts: Counter[Outcome] = Counter()
    causes: Counter[str] = Counter()
    with busy(options.busy):
        for run in range(options.runs):
            start = time.monotonic()
            outcomes: Counter[Outcome] = Counter()
            for result in play_all(seed=options.seed + run, names=options.scenario):
                outcomes.update(verdict.outcome for verdict in result.provoked)
                for verdict in result.verdicts:
                    provoked = verdict.rule in result.scenario.provokes
                    if verdict.outcome is Outcome.FAIL or (provoked and verdict.outcome is not Outcome.PASS):
                        causes[f"{verdict.rule} {verdict.outcome} in {result.scenario.name}"] += 1
                        outcomes[Outcome.FAIL] += verdict.outcome is Outcome.FAIL and not provoked
                        print(f"  {result.scenario.name}: {verdict_text(verdict)}")
                        if options.keep:
                            options.keep.mkdir(parents=True, exist_ok=True)
                            name = f"{run}-{result.scenario.name}-{verdict.rule}"
                            result.record.save(options.keep / f"{name}.jsonl")
                            (options.keep / f"{name}.txt").write_text(timeline_text(result.record, verdict.at))
            counts.update(outcomes)
            told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()) if number)
            print(f"run {run + 1} of {options.runs}: {told} in {time.monotonic() - start:.1f} s", flush=True)
    total = counts.total()
    share = counts[Outcome.INCONCLUSIVE] / total if total else 1.0
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()) if number)
    print(f"{options.runs} runs, {total} verdicts: {told}; inconclusive {share:.2%}")
    for cause, number in causes.most_common():
        print(f"  {number} x {cause}")
    return 1 if counts[Outcome.FAIL] or share > MOST_INCONCLUSIVE else 0


if __name__ == "__main__":
    sys.exit(main())
