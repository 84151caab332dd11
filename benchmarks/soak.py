"""Plays the reference pair through every conformance case again and again while the machine is kept busy.

    python benchmarks/soak.py --runs 100

It must never fail, and be inconclusive in at most 5 % of the verdicts. Exit status 1 otherwise. The cases are played in
real time, by the default profile scaled by 0.05; those that take a process of its own have the reference client as a
command.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_wschaos import Outcome
from pytest_wschaos.conformance.subjects import reference, speak
from pytest_wschaos.conformance.subjects.command import Command
from pytest_wschaos.conformance.subjects.factory import InProcess
from pytest_wschaos.conformance.subjects.server import InProcessServer, Server
from pytest_wschaos.conformance.subjects.subject import Subject
from pytest_wschaos.conformance.suite.case import Case, select
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.result import Result
from pytest_wschaos.report import timeline_text, verdict_text

MOST_INCONCLUSIVE = 0.05
SCALE = 0.05


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


def subject_of(case: Case, folder: Path) -> Subject | Server:
    """The reference that plays a case."""
    if case.side == "server":
        return InProcessServer()
    if not case.process:
        return InProcess(reference.reference)
    return Command([sys.executable, "-m", speak.__name__, f"{reference.__name__}:reference"], folder)


def play_all(chosen: list[Case], seed: int, side: int) -> list[Result]:
    """Play cases, ``side`` at a time: they mostly wait. Nobody waits for a calm machine, as ``wschaos check`` does."""
    settings = Settings(scale=SCALE, seed=seed)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(side) as pool:
        return list(pool.map(lambda case: play(case, subject_of(case, Path(folder)), settings), chosen))


def keep(result: Result, folder: Path, run: int) -> None:
    """Leave what did not pass to be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{run}-{result.case.id.replace('/', '-')}"
    result.record.save(folder / f"{name}.jsonl")
    (folder / f"{name}.txt").write_text(timeline_text(result.record, result.verdict.at))


def told(counts: Counter[Outcome]) -> str:
    """How many of each outcome."""
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()) if number)


def main() -> int:
    """Run, print each run in a line and a summary at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--busy", type=int, default=2, help="processes that burn a core each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run (default: %(default)s)")
    parser.add_argument("--side-by-side", type=int, default=8, help="cases at a time (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the timelines of what did not pass")
    parser.add_argument("cases", nargs="*", help="ids or globs; none: all that the reference pair can play")
    options = parser.parse_args()
    chosen = [case for case in select(*options.cases) if not (case.process and case.side == "server")]
    counts: Counter[Outcome] = Counter()
    causes: Counter[str] = Counter()
    with busy(options.busy):
        for run in range(options.runs):
            start = time.monotonic()
            results = play_all(chosen, options.seed + run, options.side_by_side)
            for result in results:
                if result.outcome is not Outcome.PASS:
                    causes[f"{result.outcome} in {result.case.id}"] += 1
                    print(f"  {result.case.id}: {verdict_text(result.verdict)}")
                    if options.keep:
                        keep(result, options.keep, run)
            outcomes = Counter(result.outcome for result in results)
            counts.update(outcomes)
            print(f"run {run + 1} of {options.runs}: {told(outcomes)} in {time.monotonic() - start:.1f} s", flush=True)
    total = counts.total()
    share = counts[Outcome.INCONCLUSIVE] / total if total else 1.0
    print(f"{options.runs} runs, {total} verdicts: {told(counts)}; inconclusive {share:.2%}")
    for cause, number in causes.most_common():
        print(f"  {number} x {cause}")
    return 1 if counts.keys() - {Outcome.PASS, Outcome.INCONCLUSIVE} or share > MOST_INCONCLUSIVE else 0


if __name__ == "__main__":
    sys.exit(main())
