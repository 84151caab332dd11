"""One page for people: a scoreboard of rules and subjects, and for each case what happened and why.

It needs no network and no other file, and is whole without JavaScript.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from ...checks.rule import describe, rules
from ...checks.verdict import Outcome
from ..suite.result import Result
from .delays import delays
from .lanes import lanes, text, wire_log
from .report import Report

SIGNS = {
    Outcome.PASS: "✓",
    Outcome.NON_STRICT: "~",
    Outcome.UNSUPPORTED: "–",
    Outcome.INCONCLUSIVE: "?",
    Outcome.FAIL: "✗",
}
"""Beside the words, for who does not tell colours apart."""
WORST = (Outcome.FAIL, Outcome.NON_STRICT, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.UNSUPPORTED)
"""Of several cases of a rule, the verdict that the scoreboard shows."""


def write(reports: Sequence[Report], path: str | Path) -> None:
    """Write the page.

    Raises:
        OSError: it cannot be written.
    """
    Path(path).write_text(page(reports), encoding="utf-8")


def page(reports: Sequence[Report]) -> str:
    """The page of one subject, or of several side by side."""
    title = "WebSocket reliability: " + ", ".join(report.subject for report in reports)
    here = files(__package__)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{text(title)}</title>",
            f"<style>\n{here.joinpath('page.css').read_text(encoding='utf-8')}</style></head><body><main>",
            f'<header><h1>{text(title)}</h1><button id="theme" type="button">light / dark</button></header>',
            *(_about(report) for report in reports),
            "<h2>Scoreboard</h2>",
            _board(reports),
            "<h2>Cases</h2>",
            _filters(reports),
            *(part for number, report in enumerate(reports) for part in _cases(report, number, len(reports) > 1)),
            f"</main><script>\n{here.joinpath('page.js').read_text(encoding='utf-8')}</script></body></html>",
            "",
        ]
    )


def _about(report: Report) -> str:
    facts = {
        "subject": report.subject,
        "date": report.date,
        "profile": report.profile_name,
        "times": "as declared" if report.scale == 1 else f"x {report.scale:g}",
        "clock": report.clock,
        "engine": report.engine,
        "seed": str(report.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in report.versions.items()),
    }
    told = " · ".join(f"{name} <b>{text(value)}</b>" for name, value in facts.items() if value)
    counts = "".join(
        f'<span class="{name}">{number} {name}</span>' for name, number in report.summary.items() if number
    )
    return f'<p class="about">{told}</p><div class="sum">{counts}</div>'


def _board(reports: Sequence[Report]) -> str:
    """Rules down, subjects across."""
    found: dict[str, dict[int, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for number, report in enumerate(reports):
        for result in report.results:
            found[result.case.rule][number].append(result)
    head = "".join(f"<th>{text(report.subject)}</th>" for report in reports)
    rows, area = [], ""
    for rule in (rule for rule in rules().values() if rule.id in found):
        name = rule.id.rpartition("-")[0]
        if name != area:
            area = name
            rows.append(f'<tr class="area"><th colspan="{len(reports) + 1}">{name}</th></tr>')
        cells = "".join(_cell(found[rule.id][number], number) for number in range(len(reports)))
        level = "" if rule.level == "MUST" else f" ({rule.level})"
        rows.append(f"<tr><th>{rule.id}{level}<small>{text(rule.requirement)}</small></th>{cells}</tr>")
    table = f"<table><thead><tr><th>rule</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="board wide">{table}</div>'


def _cell(results: Sequence[Result], number: int) -> str:
    if not results:
        return "<td></td>"
    worst = min(results, key=lambda result: WORST.index(result.outcome))
    like = sum(result.outcome is worst.outcome for result in results)
    count = f"<small>{like} of {len(results)} cases</small>" if len(results) > 1 else ""
    word = f"{SIGNS[worst.outcome]} {worst.outcome}"
    return f'<td class="{worst.outcome}"><a href="#{_anchor(worst, number)}">{word}</a>{count}</td>'


def _anchor(result: Result, number: int) -> str:
    return text(f"{number}-{result.case.id}")


def _filters(reports: Sequence[Report]) -> str:
    there = {result.outcome for report in reports for result in report.results}
    buttons = (
        f'<button type="button" aria-pressed="true" data-outcome="{outcome}" class="{outcome}">'
        f"{SIGNS[outcome]} {outcome}</button>"
        for outcome in WORST
        if outcome in there
    )
    return f'<div class="filters">{"".join(buttons)}</div>'


def _cases(report: Report, number: int, several: bool) -> Iterator[str]:
    if several:
        yield f"<h3>{text(report.subject)}</h3>"
    for result in report.results:
        yield _case(result, number)


def _case(result: Result, number: int) -> str:
    outcome = result.outcome
    return "".join(
        [
            f'<details class="case" id="{_anchor(result, number)}" data-outcome="{outcome}">',
            f'<summary><b class="{outcome}">{SIGNS[outcome]} {outcome}</b><b>{text(result.case.id)}</b>',
            f"<span>{text(result.case.requirement)}</span></summary>",
            '<div class="body">',
            *_body(result),
            "</div></details>",
        ]
    )


def _body(result: Result) -> Iterator[str]:
    verdict, record = result.verdict, result.record
    facts = {
        "expected": verdict.expected,
        "seen": verdict.seen,
        "figures": ", ".join(f"{name} = {describe(value)}" for name, value in verdict.figures.items()),
        "measured": ", ".join(f"{name} = {describe(value)}" for name, value in verdict.measured.items()),
        "close": str(result.closing),
        "took": f"{result.duration:.1f} s",
    }
    told = (f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts.items() if value)
    yield f"<dl>{''.join(told)}</dl>"
    if result.repeat:
        yield f"<h3>Again, alone</h3><pre>{text(result.repeat)}</pre>"
    if drawing := delays(record, result.profile):
        yield f'<h3>Waits before each retry, and what is declared</h3><div class="wide">{drawing}</div>'
    if drawing := lanes(record, verdict.at):
        yield f'<h3>What happened</h3><div class="wide">{drawing}</div>'
        log = wire_log(record.events, verdict.at)
        yield f'<details><summary>wire log</summary><div class="wide">{log}</div></details>'
    for client, words in result.said.items():
        yield f"<h3>What {text(client)} said besides</h3><pre>{text(words[-4000:])}</pre>"
