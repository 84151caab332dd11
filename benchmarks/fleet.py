"""What a fleet costs: reference clients on virtual time, default heartbeats, one mass reconnect in the middle.

    python benchmarks/fleet.py                       # 10 000 clients x 10 minutes, beside 1 000; one run
    python benchmarks/fleet.py --runs 5              # medians
    python benchmarks/fleet.py --through proxy       # through the engine's proxy, and not only to the server

Each measurement is a process of its own. "wall" and "cpu" are all of it but the imports, in seconds; "us/exchange" is
the user and system CPU time of one ping and its pong while nothing else happens, in microseconds; "rss" is the peak.
The target: 60 s of wall time, 1 GiB, and an exchange at 10 000 clients at most 1.3 times as dear as at 1 000.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pytest_wschaos import Chaos, Profile, ReferenceClient, ReferenceServer
from pytest_wschaos.simulation.run import run

INTERVAL = 30.0
"""Seconds between two pings of either side, by default."""
SETTLE = 40.0
"""Seconds until all heartbeats go their way after a (re)connect."""
SMALL = 1000


def cpu() -> float:
    """Seconds of CPU time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(clients: int, minutes: float, through: str) -> dict[str, Any]:
    """One measurement, in this process."""
    figures: dict[str, Any] = {"clients": clients, "through": through}

    async def story(ready: Callable[[], Awaitable[None]], cut: Callable[[], object]) -> None:
        half = minutes * 60 / 2
        await ready()
        await asyncio.sleep(SETTLE)
        before = cpu()
        await asyncio.sleep(half - SETTLE)
        figures["exchange"] = (cpu() - before) / (2 * clients * (half - SETTLE) / INTERVAL) * 1e6
        before = cpu()
        cut()
        await asyncio.sleep(0.1)  # a client learns of it a moment later
        await ready()
        figures["herd"] = cpu() - before
        await asyncio.sleep(half)
        await ready()

    async def proxied() -> None:
        async with Chaos() as chaos, chaos.fleet(clients) as fleet:
            fleet.start(spread=INTERVAL)
            await story(fleet.ready, chaos.abort)
            assert fleet.herd().total == clients

    async def direct() -> None:
        profile = Profile().with_(security={"connections": 2 * clients})
        server = ReferenceServer(profile=profile)
        await server.start()
        loop: Any = asyncio.get_running_loop()
        token = server.tokens.issue()
        fleet = [ReferenceClient(server.url, token=token, profile=profile, seed=number) for number in range(clients)]
        for number, client in enumerate(fleet):
            loop.call_later(INTERVAL * number / clients, client.start)

        async def ready() -> None:
            while not all(client.is_ready for client in fleet):  # noqa: ASYNC110 - no event tells of all
                await asyncio.sleep(0.02)

        def cut() -> None:
            for connection in list(loop.network.connections):
                connection.reset()

        await story(ready, cut)
        await asyncio.gather(*(client.close() for client in fleet))
        await server.stop()

    wall, before = time.perf_counter(), cpu()
    run(proxied if through == "proxy" else direct)
    figures["wall"], figures["cpu"] = time.perf_counter() - wall, cpu() - before
    figures["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def elsewhere(clients: int, minutes: float, through: str) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps([clients, minutes, through])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure, print each run in a line and the medians at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual ones (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--through", choices=("server", "proxy", "both"), default="both")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return
    heads = f"{'clients':>8}{'wall s':>8}{'cpu s':>8}{'herd s':>8}{'us/exchange':>12}{'ratio':>7}{'rss MiB':>9}"
    print(f"{'through':8}{heads}")
    for through in ("server", "proxy") if options.through == "both" else (options.through,):
        all_large, ratios = [], []
        for _ in range(options.runs):
            small, large = (elsewhere(n, options.minutes, through) for n in (SMALL, options.clients))
            ratios.append(large["exchange"] / small["exchange"])
            all_large.append(large)
            show(small)
            show(large, f"{ratios[-1]:.2f}")
        if options.runs > 1:
            medians = {name: statistics.median(one[name] for one in all_large) for name in large if name != "through"}
            show({**medians, "through": "median"}, f"{statistics.median(ratios):.2f}")


def show(figures: dict[str, Any], ratio: str = "") -> None:
    """Print one line of the table."""
    print(
        f"{figures['through']:8}{figures['clients']:8.0f}{figures['wall']:8.1f}{figures['cpu']:8.1f}"
        f"{figures['herd']:8.2f}{figures['exchange']:12.1f}{ratio:>7}{figures['rss']:9.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
