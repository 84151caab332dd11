"""The engine beside real proxies: round trips, throughput, connections, memory, start, and accuracy of latency.

    python benchmarks/engine/run.py [--rounds 5] [--seconds 1] [--only WORD ...] [--write]

Measured are a direct connection, HAProxy (TCP mode, one thread; where `haproxy` is on the PATH), a real Toxiproxy
(`toxiproxy-server` on the PATH, or the environment's WSCHAOS_TOXIPROXY_BINARY), and the engine in a process of its
own: on descriptors, on asyncio's transports, and with each frame told to a reader of its events. All are up at once
and take turns in an order that is shuffled for each round, under a load that is compiled (load.c; needs a C compiler)
and a process of its own. The machine's speed changes from minute to minute, so what counts is the median of the
ratios of each round. --write puts the tables into docs/performance.md, and draws docs/performance.svg.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plot import draw

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
PLOT = PAGE.with_suffix(".svg")
OURS, PORTABLE, TAPPED = "engine", "engine, asyncio", "engine, frames read"
TOXIPROXY, HAPROXY, DIRECT = "Toxiproxy", "HAProxy", "direct"
NOTHING: list[dict[str, Any]] = []
SLOW = (5, 50, 100)
"""Milliseconds of latency whose accuracy is measured."""
SEVERAL = 12
"""Connections on which it is: one alone meets each timer of a proxy at its best."""
IDLE = 1000
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


# --- processes ---


FOLLOW = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as events:
    while events.read1(65536):
        pass
"""
"""Reads what happens, frame by frame, and throws it away."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def ask(port: int, method: str, path: str, body: object = None) -> Any:
    """A request of Toxiproxy's API."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        text = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text.decode()}")
        return json.loads(text) if text else None


def reachable(port: int) -> bool:
    """Whether somebody listens on it."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], bool], what: str, pause: float = 0.01) -> None:
    """Wait for something."""
    for _ in range(int(10 / pause)):
        if true():
            return
        time.sleep(pause)
    raise RuntimeError(f"waited in vain: {what}")


class Load:
    """The compiled load, and the servers behind the proxies."""

    def __init__(self, folder: Path) -> None:
        self.program = str(folder / "load")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", self.program, str(HERE / "load.c")], check=True)
        self._servers: list[subprocess.Popen[str]] = []

    def server(self, kind: str) -> int:
        """Start a server; returns its port."""
        server = subprocess.Popen([self.program, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._servers.append(server)
        assert server.stdout is not None
        return int(server.stdout.readline())

    def run(self, *words: object) -> dict[str, float]:
        """Its result."""
        ran = subprocess.run([self.program, *map(str, words)], check=True, timeout=120, capture_output=True, text=True)
        result: dict[str, float] = json.loads(ran.stdout)
        return result

    @contextlib.contextmanager
    def idle(self, port: int, count: int) -> Iterator[None]:
        """Hold connections open."""
        words = [self.program, "idle", str(port), str(count)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            if not holder.stdout.readline():
                raise RuntimeError(f"{count} connections could not be opened")
            yield
            holder.communicate()

    def stop(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.communicate()


@dataclass
class Kind:
    """Something to measure: a way to a server, by the server's kind and the toxics on the way."""

    name: str
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    api: int = 0

    def port(self, server: str, toxics: list[dict[str, Any]] = NOTHING) -> int:
        """The port of a proxy with these toxics."""
        key = server + json.dumps(toxics)
        if key not in self.ports:
            made = ask(
                self.api,
                "POST",
                "/proxies",
                {"name": str(len(self.ports)), "listen": "127.0.0.1:0", "upstream": server},
            )
            for number, toxic in enumerate(toxics):
                ask(self.api, "POST", f"/proxies/{made['name']}/toxics", {"name": str(number), **toxic})
            self.ports[key] = int(made["listen"].rpartition(":")[2])
        return self.ports[key]

    def stop(self) -> None:
        """End its process."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)


def commands(port: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """How proxies with Toxiproxy's API are started on a port: command and environment, by name."""
    ours = [str(Path(sys.executable).with_name("wschaos")), "serve", "--port", str(port)]
    found = {OURS: (ours, {}), PORTABLE: (ours, {"WSCHAOS_RELAY": "off"}), TAPPED: (ours, {})}
    binary = os.environ.get("WSCHAOS_TOXIPROXY_BINARY") or shutil.which("toxiproxy-server")
    if binary:
        found[TOXIPROXY] = ([binary, "-host", "127.0.0.1", "-port", str(port)], {"LOG_LEVEL": "error"})
    return found


def start(name: str) -> Kind:
    """A proxy with an API, in a process of its own."""
    port = free_port()
    command, environment = commands(port)[name]
    process = subprocess.Popen(command, env={**ENVIRONMENT, **environment}, stdout=subprocess.DEVNULL)
    until(lambda: reachable(port), f"{name} answers", 0.001)
    if name == TAPPED:
        # It ends with the engine.
        follow = [sys.executable, "-c", FOLLOW, f"http://127.0.0.1:{port}/events?frames=1"]
        subprocess.Popen(follow, stderr=subprocess.DEVNULL)
    return Kind(name, process=process, api=port)


def start_haproxy(folder: Path, servers: list[str]) -> Kind:
    """HAProxy in front of servers."""
    kind = Kind(HAPROXY, {server + "[]": free_port() for server in servers})
    sections = "".join(
        f"listen s{kind.port(server)}\n bind 127.0.0.1:{kind.port(server)}\n server s {server}\n" for server in servers
    )
    (folder / "haproxy.cfg").write_text(
        "global\n nbthread 1\n maxconn 5000\n"
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n" + sections
    )
    kind.process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(folder / "haproxy.cfg")])
    until(lambda: reachable(kind.port(servers[0])), "HAProxy listens")
    return kind


# --- what is measured ---

Toxics = list[dict[str, Any]]
Measure = Callable[[Load, Kind, float], Mapping[str, float]]


@dataclass(frozen=True)
class Figure:
    """One figure of a trial. ``targets``: the engine's ratio to others that it has to reach (``at_most``: to keep)."""

    name: str
    key: str
    unit: str
    targets: Mapping[str, float] = field(default_factory=dict)
    at_most: bool = False
    limit: float | None = None
    """What the engine's own figure has to keep to."""


@dataclass(frozen=True)
class Trial:
    """Something that is measured of each kind."""

    measure: Measure
    figures: tuple[Figure, ...]
    kinds: tuple[str, ...] = (DIRECT, HAPROXY, TOXIPROXY, OURS, PORTABLE, TAPPED)
    rounds: int = 1000
    """In how many it is measured, at most: what takes long and changes little, in few."""


def latency(milliseconds: int, count: int = 1) -> Toxics:
    """That many toxics which delay what the server sends."""
    return [{"type": "latency", "stream": "downstream", "attributes": {"latency": milliseconds}}] * count


def pingpong(server: str, connections: int, toxics: Toxics) -> Measure:
    """Round trips of 128 bytes."""
    return lambda load, kind, seconds: load.run("pingpong", kind.port(server, toxics), connections, seconds)


def drain(server: str, toxics: Toxics) -> Measure:
    """One way, in chunks of 64 KiB."""
    return lambda load, kind, seconds: load.run("drain", kind.port(server, toxics), seconds)


def connect(server: str, parallel: int) -> Measure:
    """Connections that are opened, used for one byte and closed."""
    return lambda load, kind, seconds: load.run("connect", kind.port(server), parallel, seconds)


def late(server: str, milliseconds: int, *, busy: bool) -> Measure:
    """By how much a latency is too long."""

    def measure(load: Load, kind: Kind, seconds: float) -> Mapping[str, float]:
        with spinner() if busy else contextlib.nullcontext():
            port = kind.port(server, latency(milliseconds))
            took = load.run("pingpong", port, SEVERAL, seconds + milliseconds / 500, milliseconds / 1000)
        return {key: value - milliseconds * 1000 for key, value in took.items() if key.endswith("_us")}

    return measure


@contextlib.contextmanager
def spinner() -> Iterator[None]:
    """One busy core."""
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def resident(process: subprocess.Popen[bytes]) -> int:
    """Bytes of memory that a process has."""
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE")


def idle(server: str) -> Measure:
    """What a connection takes on which nothing happens, in a process that is new."""

    def measure(load: Load, kind: Kind, seconds: float) -> Mapping[str, float]:
        fresh = start(kind.name)
        try:
            port = fresh.port(server)
            load.run("connect", port, 1, 0.05)  # what is set up once
            assert fresh.process is not None
            before = resident(fresh.process)
            with load.idle(port, IDLE):
                return {"bytes": (resident(fresh.process) - before) / IDLE}
        finally:
            fresh.stop()

    return measure


def first_byte(server: str) -> Measure:
    """From the start of a process to the first byte through it."""

    def measure(load: Load, kind: Kind, seconds: float) -> Mapping[str, float]:
        began = time.perf_counter()
        fresh = start(kind.name)
        try:
            with socket.create_connection(("127.0.0.1", fresh.port(server))) as client:
                client.sendall(b"x")
                client.recv(1)
            return {"ms": (time.perf_counter() - began) * 1000}
        finally:
            fresh.stop()

    return measure


CALL = """
import socket, sys, time
from pytest_wschaos.harness import ChaosProxy
began = time.perf_counter()
with ChaosProxy(sys.argv[1], engine=sys.argv[2]) as proxy:
    with socket.create_connection((proxy.host, proxy.port)) as client:
        client.sendall(b"x")
        client.recv(1)
        print((time.perf_counter() - began) * 1000)
"""


def call_to_first_byte(server: str, engine: str) -> Measure:
    """The same for an engine of the fixtures, in a process that has imported it."""

    def measure(load: Load, kind: Kind, seconds: float) -> Mapping[str, float]:
        words = [sys.executable, "-c", CALL, server, engine]
        ran = subprocess.run(words, check=True, capture_output=True, text=True, timeout=30, env=ENVIRONMENT)
        return {"ms": float(ran.stdout)}

    return measure


BUSY = """
import select, sys
from pytest_wschaos.harness import ChaosProxy
with ChaosProxy(sys.argv[1], engine=sys.argv[2]) as proxy, proxy.latency(float(sys.argv[3]), direction="down"):
    print(proxy.port, flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(1_000_000):
            pass
"""


def beside_a_busy_test(server: str, engine: str, milliseconds: int) -> Measure:
    """By how much a latency of the fixtures is too long while the test keeps the interpreter busy."""

    def measure(load: Load, kind: Kind, seconds: float) -> Mapping[str, float]:
        words = [sys.executable, "-c", BUSY, server, engine, str(milliseconds / 1000)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as test:
            assert test.stdout is not None
            port = int(test.stdout.readline())
            took = load.run("pingpong", port, SEVERAL, seconds + milliseconds / 500, milliseconds / 1000)
            test.communicate()
        return {key: value - milliseconds * 1000 for key, value in took.items() if key.endswith("_us")}

    return measure


def trials(echo: str, source: str) -> list[Trial]:
    """All that is measured."""
    with_api = (TOXIPROXY, OURS, PORTABLE, TAPPED)
    found = []
    for count in (0, 1, 3):
        name = ("", ", 1 toxic", "", ", 3 toxics")[count]
        toxics, kinds = latency(0, count), with_api if count else Trial.kinds
        one = {TOXIPROXY: 1.0} if count else {TOXIPROXY: 1.25, HAPROXY: 0.95}
        many, rate, tail = {TOXIPROXY: 1.0 if count else 1.25}, {TOXIPROXY: 1.0 if count else 3.0}, {TOXIPROXY: 1.0}
        for connections, targets in ((1, one), (50, many)):
            trips = f"round trips, {connections} connection{'s' * (connections > 1)}{name}"
            figures = (
                Figure(trips, "per_second", "/s", targets),
                Figure(f"{trips}: p50", "p50_us", "µs", at_most=True),
                Figure(f"{trips}: p99", "p99_us", "µs", tail, at_most=True),
            )
            found.append(Trial(pingpong(echo, connections, toxics), figures, kinds))
        figure = Figure(f"throughput{name}", "megabytes_per_second", "MB/s", rate)
        found.append(Trial(drain(source, toxics), (figure,), kinds))
    for parallel, name in ((1, "one after another"), (16, "16 at a time")):
        figure = Figure(f"connections, {name}", "per_second", "/s", {TOXIPROXY: 1.5})
        found.append(Trial(connect(echo, parallel), (figure,)))
    for busy in (False, True):
        for milliseconds in SLOW:
            name = f"latency of {milliseconds} ms{', a core busy' * busy}: error"
            figures = (
                Figure(f"{name} p50", "p50_us", "µs", at_most=True),
                Figure(f"{name} p90", "p90_us", "µs", {TOXIPROXY: 0.5}, at_most=True),
            )
            found.append(Trial(late(echo, milliseconds, busy=busy), figures, with_api))
    memory = Figure(f"an idle connection, of {IDLE}", "bytes", "bytes", {TOXIPROXY: 0.1}, at_most=True)
    process = Figure("wschaos serve: start to first byte", "ms", "ms", at_most=True, limit=100)
    fixtures = []
    for engine, where, limit in (("embedded", "on a thread", 5), ("process", "in a process", 100)):
        start = Figure(f"fixtures, engine {where}: call to first byte", "ms", "ms", at_most=True, limit=limit)
        fixtures.append(Trial(call_to_first_byte(echo, engine), (start,), (OURS,), 5))
        name = f"fixtures, engine {where}: latency of 50 ms beside a busy test: error"
        errors = (
            Figure(f"{name} p50", "p50_us", "µs", at_most=True),
            Figure(f"{name} p90", "p90_us", "µs", at_most=True),
        )
        fixtures.append(Trial(beside_a_busy_test(echo, engine, 50), errors, (OURS,), 5))
    return [
        *found,
        Trial(idle(echo), (memory,), with_api, 3),
        Trial(first_byte(echo), (process,), (TOXIPROXY, OURS), 5),
        *fixtures,
    ]


# --- running, and telling ---

Results = dict[str, dict[str, list[float]]]
"""By figure and kind, the value of each round."""


def measure(load: Load, kinds: list[Kind], chosen: list[Trial], rounds: int, seconds: float) -> Results:
    """Each trial of each kind in each round; both in an order that is shuffled."""
    results: Results = {figure.name: {} for trial in chosen for figure in trial.figures}
    rng = random.Random(0)
    for number in range(rounds):
        for trial in rng.sample(chosen, len(chosen)):
            if number >= trial.rounds:
                continue
            for kind in rng.sample(kinds, len(kinds)):
                if kind.name in trial.kinds:
                    told = trial.measure(load, kind, seconds)
                    for figure in trial.figures:
                        results[figure.name].setdefault(kind.name, []).append(told[figure.key])
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return results


def ratio(ours: list[float], others: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(ours, others, strict=True))


def table(chosen: list[Trial], results: Results, names: list[str]) -> list[str]:
    """The results, in Markdown."""
    rivals = [name for name in (TOXIPROXY, HAPROXY) if name in names]
    lines = [
        "| | " + " | ".join([*names, *(f"engine : {name}" for name in rivals)]) + " |",
        "|---" * (1 + len(names) + len(rivals)) + "|",
    ]
    for figure in (figure for trial in chosen for figure in trial.figures):
        found = results[figure.name]
        cells = []
        for name in names:
            value = statistics.median(found[name]) if name in found else None
            judged = _judged(value, figure.limit, figure) if value is not None and name == OURS else ""
            cells.append("" if value is None else f"{value:,.5g}{judged}")
        for name in rivals:
            reached = ratio(found[OURS], found[name]) if name in found and OURS in found else None
            judged = "" if reached is None else _judged(reached, figure.targets.get(name), figure)
            cells.append("" if reached is None else f"{reached:.2f}{judged}")
        lines.append(f"| {figure.name}, {figure.unit} | " + " | ".join(cells) + " |")
    return lines


def _judged(value: float, target: float | None, figure: Figure) -> str:
    if target is None:
        return ""
    kept = value <= target if figure.at_most else value >= target
    return f" ({'≤' if figure.at_most else '≥'} {target:g}: {'yes' if kept else '**no**'})"


def about(rounds: int, seconds: float) -> str:
    """Where it was measured."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpus:
        models = [line.partition(": ")[2].strip() for line in cpus if line.startswith("model name")]
    return (
        f"{rounds} rounds of {seconds:g} s; {len(models)} x {models[0] if models else platform.machine()}, "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}."
    )


BEGIN, END = "<!-- measured: benchmarks/engine/run.py --write -->", "<!-- end -->"


def write(text: str) -> None:
    """Put the tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def bars(chosen: list[Trial], results: Results) -> dict[str, dict[str, float]]:
    """What there is more of the better, as ratios to Toxiproxy."""
    found = {}
    for figure in (figure for trial in chosen for figure in trial.figures):
        told = results[figure.name]
        if not figure.at_most and TOXIPROXY in told:
            order = [name for name in (OURS, PORTABLE, TOXIPROXY, HAPROXY) if name in told]
            found[figure.name] = {name: ratio(told[name], told[TOXIPROXY]) for name in order}
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="figures whose name has it")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        load = Load(Path(name))
        stack.callback(load.stop)
        servers = {kind: load.server(kind) for kind in ("echo", "source")}
        addresses = {kind: f"127.0.0.1:{port}" for kind, port in servers.items()}
        kinds = [Kind(DIRECT, {f"{addresses[kind]}[]": port for kind, port in servers.items()})]
        if shutil.which("haproxy"):
            kinds.append(start_haproxy(Path(name), list(addresses.values())))
            stack.callback(kinds[-1].stop)
        for word in commands(0):
            kinds.append(start(word))
            stack.callback(kinds[-1].stop)
        chosen = [
            trial
            for trial in trials(addresses["echo"], addresses["source"])
            if not options.only or any(word in figure.name for word in options.only for figure in trial.figures)
        ]
        results = measure(load, kinds, chosen, options.rounds, options.seconds)
    names = [name for name in Trial.kinds if name in {kind.name for kind in kinds}]
    text = "\n".join([about(options.rounds, options.seconds), "", *table(chosen, results, names)])
    print(text)
    if options.write:
        write(text)
        if shown := bars(chosen, results):
            PLOT.write_text(draw("As many times as Toxiproxy", shown), encoding="utf-8")


if __name__ == "__main__":
    main()
