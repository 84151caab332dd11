"""Plays the whole suite with every subject of this folder, each at its own defaults, and puts them side by side.

    python examples/subjects/scoreboard.py [--at-a-time 2] [--folder scoreboard] [NAME ...]

Writes a JSON report for each, ``clients.html`` and ``servers.html`` with all of them, and ``scoreboard.md``, a table of
each. One client takes ten to twenty minutes, a server two, most of it waiting.
"""

import argparse
import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from pytest_wschaos.checks.rule import rules
from pytest_wschaos.conformance.reports.html import WORST, write
from pytest_wschaos.conformance.reports.report import Report

HERE = Path(__file__).parent
WSCHAOS = Path(sys.executable).with_name("wschaos")
PYTHON = {
    "websockets_client": "websockets",
    "websocket_client": "websocket-client",
    "aiohttp_client": "aiohttp",
    "picows_client": "picows",
}
"""Each adapter's library."""
NODE = ("partysocket", "reconnecting-websocket", "sockette", "rxjs", "ws")
CLIENTS = {
    "reference": ["--subject", "pytest_wschaos.conformance.subjects.reference:reference"],
    **{name: ["--endpoint", "echo", "--", sys.executable, str(HERE / f"{name}.py")] for name in PYTHON},
    **{name: ["--endpoint", "echo", "--", "node", str(HERE / "node" / f"{name}.mjs")] for name in NODE},
}
SERVER_PROGRAMS = {
    "websockets_server": [sys.executable, str(HERE / "servers" / "websockets_server.py")],
    "fastapi_server": [sys.executable, str(HERE / "servers" / "fastapi_server.py")],
    "aiohttp_server": [sys.executable, str(HERE / "servers" / "aiohttp_server.py")],
    "ws_server": ["node", str(HERE / "servers" / "ws" / "server.js")],
}
FREE = ["--server", "ws://127.0.0.1:0/ws", "--command"]
SERVERS = {
    "reference-server": [*FREE, shlex.join([str(WSCHAOS), "reference-server"])],
    **{name: ["--endpoint", "echo", *FREE, shlex.join(words)] for name, words in SERVER_PROGRAMS.items()},
}
SUBJECTS = CLIENTS | SERVERS
FEW = 6
"""Cases at a time, of those that are played again."""
LIBRARIES = {**PYTHON, "websockets_server": "websockets", "fastapi_server": "fastapi", "aiohttp_server": "aiohttp"}
MODULES = {name: HERE / "node" / "node_modules" / name for name in NODE}
MODULES["ws_server"] = HERE / "servers" / "ws" / "node_modules" / "ws"
WORDS = {"PASS": "✓", "FAIL": "✗ FAIL", "NON-STRICT": "~", "INCONCLUSIVE": "?", "UNSUPPORTED": "–"}


def play(name: str, folder: Path, side_by_side: int, resume: bool) -> Report:
    """Play one subject. What does not pass is played again, few at a time: then the machine is no excuse."""
    path = folder / f"{name}.json"
    there = resume and path.exists() and path.stat().st_size
    report = replace(Report.load(path), subject=name) if there else check(name, path, side_by_side)
    if doubtful := [r.case.id for r in report.results if r.outcome in ("FAIL", "INCONCLUSIVE")]:
        again = {r.case.id: r for r in check(name, folder / f"{name}-again.json", FEW, *doubtful).results}
        report = replace(report, results=[again.get(r.case.id, r) for r in report.results])
    report.save(folder / f"{name}-final.json")
    return report


def check(name: str, path: Path, side_by_side: int, *cases: str) -> Report:
    """Play some cases, by default all; the report is there whatever came of them."""
    with open(path.with_suffix(".log"), "w", encoding="utf-8") as log:
        how = ["--seed", "1", "-n", str(side_by_side), "--json", path.with_suffix(".json")]
        subprocess.run(
            [WSCHAOS, "check", *cases, *how, *SUBJECTS[name]], stdout=log, stderr=subprocess.STDOUT, check=False
        )
    return replace(Report.load(path.with_suffix(".json")), subject=name)


def title(name: str) -> str:
    """A subject, with the version of its library."""
    if name in LIBRARIES:
        return f"{name} ({LIBRARIES[name]} {metadata.version(LIBRARIES[name])})"
    if name in MODULES:
        package = json.loads((MODULES[name] / "package.json").read_text(encoding="utf-8"))
        return f"{name} ({package['name']} {package['version']})"
    return name


def table(reports: dict[str, Report]) -> str:
    """Rules down, subjects across, the worst verdict of a rule's cases in each cell."""
    names = list(reports)
    found = {
        name: {rule: [r.outcome for r in report.results if r.case.rule == rule] for rule in rules()}
        for name, report in reports.items()
    }
    lines = ["| rule | " + " | ".join(map(title, names)) + " |", "|---" * (len(names) + 1) + "|"]
    for rule in rules():
        if any(found[name][rule] for name in names):
            cells = (min(found[name][rule], key=WORST.index, default="") for name in names)
            lines.append(f"| {rule} | " + " | ".join(WORDS.get(cell, "") for cell in cells) + " |")
    first = next(iter(reports.values()))
    told = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    return f"{first.date[:10]}; {told}\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(SUBJECTS)} (default: all)")
    parser.add_argument("--at-a-time", type=int, default=2, help="subjects (default: %(default)s)")
    parser.add_argument(
        "--side-by-side",
        type=int,
        default=24,
        help="cases of one (default: %(default)s: some keep a core busy)",
    )
    parser.add_argument("--resume", action="store_true", help="take the reports that are in the folder by now")
    parser.add_argument("--folder", type=Path, default=Path("scoreboard"), help="of what is written")
    options = parser.parse_args()
    names = options.names or list(SUBJECTS)
    if unknown := [name for name in names if name not in SUBJECTS]:
        parser.error(f"no subject {unknown[0]!r}: there are {', '.join(SUBJECTS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.at_a_time) as pool:
        played = pool.map(lambda name: play(name, options.folder, options.side_by_side, options.resume), names)
        reports = dict(zip(names, played, strict=True))
    tables = []
    for side, subjects in (("clients", CLIENTS), ("servers", SERVERS)):
        if there := {name: report for name, report in reports.items() if name in subjects}:
            write(list(there.values()), options.folder / f"{side}.html")
            tables.append(f"## {side.capitalize()}\n\n{table(there)}")
    (options.folder / "scoreboard.md").write_text("\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
