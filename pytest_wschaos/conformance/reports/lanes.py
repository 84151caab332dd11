"""The timeline of a case as a drawing: a lane each for the client, the proxy and the server, time going down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from ...swimlane import Step, steps, window
from ...timeline import Event, Record

ROWS = 80
"""Steps that are drawn at most, around the instant that decides."""
ROW = 22
HEAD = 44
WIDTH = 860
LANES = {"client": 150, "proxy": 450, "server": 750}
LONGEST = 44
"""Letters of a label at an arrow."""


def lanes(record: Record, at: float | None = None) -> str:
    """A drawing in SVG; empty where nothing was seen."""
    found = list(steps(record))
    if not found:
        return ""
    first = window([step.event.at for step in found], at, ROWS)
    shown = found[first : first + ROWS]
    height = HEAD + ROW * len(shown) + 10
    parts = [
        f'<svg class="lanes" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="What client, proxy and server did, in order of time">',
        *_heads(height),
        *_faults(shown, record),
    ]
    decisive = next((n for n, step in enumerate(shown) if at is not None and step.event.at >= at), None)
    for number, step in enumerate(shown):
        y = HEAD + ROW * number + ROW - 6
        if number == decisive:
            parts.append(f'<rect class="decides" x="0" y="{y - ROW + 6}" width="{WIDTH}" height="{ROW}"/>')
        parts += _row(step, y)
    parts.append("</svg>")
    hidden = len(found) - len(shown)
    note = f'<p class="note">{hidden} more steps are in the wire log and in the JSON report.</p>' if hidden else ""
    return "".join(parts) + note


def _heads(height: int) -> Iterator[str]:
    for name, x in LANES.items():
        yield f'<line class="lane" x1="{x}" y1="{HEAD - 14}" x2="{x}" y2="{height}"/>'
        yield f'<text class="head" x="{x}" y="20" text-anchor="middle">{name}</text>'
    yield '<text class="head" x="64" y="20" text-anchor="end">seconds</text>'


def _faults(shown: list[Step], record: Record) -> Iterator[str]:
    """A band on the proxy's lane for as long as a fault was in force."""
    places = {id(step.event): HEAD + ROW * number + ROW // 2 for number, step in enumerate(shown)}
    bottom = HEAD + ROW * len(shown)
    last = shown[-1].event.at
    healed = {event.get("id"): event for event in record.events if event.kind == "healed"}
    for event in record.events:
        over = healed.get(event.get("id"))
        if event.kind != "fault" or over is None or event.at > last:  # what is not healed was done in an instant
            continue
        top = places.get(id(event), HEAD if event.at < shown[0].event.at else bottom)
        end = places.get(id(over), bottom if over.at > last else HEAD)
        if end > top:
            x = LANES["proxy"]
            yield f'<rect class="fault" x="{x - 7}" y="{top}" width="14" height="{end - top}"/>'


def _row(step: Step, y: int) -> Iterator[str]:
    event = step.event
    yield f'<text class="time" x="64" y="{y}" text-anchor="end">{event.at:.3f}</text>'
    if step.who:
        yield f'<text class="who" x="{WIDTH - 4}" y="{y}" text-anchor="end">{text(step.who)}</text>'
    match event.place:
        case "proxy" | "harness":
            yield _text(LANES["proxy"] + 14, y, step, "start", event.kind)
            yield f'<circle class="at {event.kind}" cx="{LANES["proxy"]}" cy="{y - 4}" r="4"/>'
        case "app":
            yield _text(LANES["client"] + 12, y, step, "start", "app")
            yield f'<circle class="at app" cx="{LANES["client"]}" cy="{y - 4}" r="3"/>'
        case _ if event.kind == "ready":
            yield _text(LANES["client"] + 12, y, step, "start", "ready")
            yield f'<circle class="at ready" cx="{LANES["client"]}" cy="{y - 4}" r="5"/>'
        case _:
            yield from _arrow(step, y)


def _arrow(step: Step, y: int) -> Iterator[str]:
    up = _goes_up(step.event)
    by_client = step.event.place == "client" or step.together
    by_server = step.event.place == "server" or step.together
    kind = _class(step.event)
    enters = by_client if up else by_server
    near, far = ("client", "server") if up else ("server", "client")
    if enters:
        yield _line(LANES[near], LANES["proxy"], y - 4, kind)
        yield _text((LANES[near] + LANES["proxy"]) // 2, y - 7, step, "middle", kind)
    if by_server if up else by_client:
        yield _line(LANES["proxy"], LANES[far], y - 4, kind)
        if not enters:
            yield _text((LANES[far] + LANES["proxy"]) // 2, y - 7, step, "middle", kind)
    if enters and _is_lost(step):
        yield f'<text class="lost" x="{LANES["proxy"]}" y="{y}" text-anchor="middle">✕</text>'


def _goes_up(event: Event) -> bool:
    if event.kind == "end":  # of a side: by the peer, or by the engine
        return bool((event.place == "client") == (event["by"] == "peer"))
    return event.kind == "attempt" or event.way == "up"


def _is_lost(step: Step) -> bool:
    """Whether it came to the proxy and never left it."""
    event = step.event
    if event.kind == "attempt":
        return bool(event.get("refused"))
    return bool(event.way) and not step.together and not step.arrives and event.kind != "end"


def _class(event: Event) -> str:
    if event.kind in ("ping", "pong", "attempt", "close", "end"):
        return event.kind
    return "handshake" if event.kind in ("handshake", "response") else "data"


def _line(start: int, end: int, y: int, kind: str) -> str:
    """An arrow."""
    tip = end - 7 if end > start else end + 7
    head = f"{end},{y} {tip},{y - 4} {tip},{y + 4}"
    line = f'<line class="way {kind}" x1="{start}" y1="{y}" x2="{tip}" y2="{y}"/>'
    return f'{line}<polygon class="tip {kind}" points="{head}"/>'


def _text(x: int, y: int, step: Step, anchor: str, kind: str) -> str:
    label = step.label if len(step.label) <= LONGEST else step.label[: LONGEST - 1] + "…"
    return f'<text class="label {kind}" x="{x}" y="{y}" text-anchor="{anchor}">{text(label)}</text>'


def wire_log(events: Iterable[Event], at: float | None = None, rows: int = 400) -> str:
    """All that was seen, as a table; around ``at`` where it is longer than ``rows``."""
    found = list(events)
    first = window([event.at for event in found], at, rows)
    lines = []
    for event in found[first : first + rows]:
        details = " ".join(f"{name}={value}" for name, value in event.detail.items() if value not in (None, ""))
        conn = "" if event.conn is None else f"#{event.conn}"
        cells = (f"{event.at:.4f}", event.place, f"{event.client} {conn}".strip(), event.way, event.kind, details)
        lines.append("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in cells) + "</tr>")
    left = len(found) - len(lines)
    note = f'<p class="note">{left} more events are in the JSON report.</p>' if left else ""
    head = "".join(f"<th>{name}</th>" for name in ("seconds", "seen by", "client", "way", "what", "details"))
    return f'<table class="log"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>{note}'


def text(told: str) -> str:
    """Text that is safe in a page, whoever said it."""
    return escape("".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in told))
