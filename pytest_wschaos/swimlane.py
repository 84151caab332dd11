"""A timeline as text: a lane each for the client, the proxy and the server."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .timeline import Event, Record

LANE = 30
"""Columns of the client's and of the server's lane."""
ROWS = 60
"""Rows that are shown at most, around the instant that matters."""
TOGETHER = 0.05
"""Seconds within which a frame at both sides of the proxy is drawn as one arrow."""
NOTABLE_LAG = 0.05
"""Seconds of lag that are worth a row."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row: an event, or a frame at both sides of the proxy."""

    event: Event
    label: str
    """The event in a few words, safe to print."""
    together: bool
    """Whether it was at both sides of the proxy, at about the same time."""
    arrives: bool
    """Whether it left the proxy, perhaps later."""
    who: str
    """Client and connection, where there is one to name."""


def steps(record: Record) -> Iterator[Step]:
    """The rows of a record, in order."""
    partners = _partners(record)
    drawn: set[int] = set()
    several = len({event.client for event in record.events if event.client}) > 1
    for event in record.events:
        if id(event) in drawn or (event.kind == "lag" and event["lag"] < NOTABLE_LAG):
            continue
        partner = partners.get(id(event))
        together = partner is not None and partner.at - event.at <= TOGETHER
        if partner is not None and together:
            drawn.add(id(partner))
        who = f"{event.client} " if several and event.client else ""
        conn = f"{who}#{event.conn}" if event.conn is not None else who.strip()
        yield Step(event, _label(event), together, partner is not None, conn)


def window(instants: Sequence[float], at: float | None, rows: int) -> int:
    """The first of ``rows`` rows, of which two thirds lie before the instant that matters."""
    if len(instants) <= rows:
        return 0
    here = next((i for i, instant in enumerate(instants) if at is not None and instant >= at), len(instants))
    return max(0, min(here - rows * 2 // 3, len(instants) - rows))


def draw(record: Record, at: float | None = None, rows: int = ROWS) -> str:
    """The record as lanes of text, times counted from its start; around ``at`` where it is longer than ``rows``."""
    lines = [(step.event.at, f"{_row(step):<{2 * LANE + 9}} {step.who}".rstrip()) for step in steps(record)]
    if not lines:
        return "  (nothing was seen)"
    first = window([instant for instant, _ in lines], at, rows)
    shown = lines[first : first + rows]
    head = f"{'seconds':>9}   {'client':<{LANE}}{'proxy':^9}{'server':>{LANE}}".rstrip()
    before, after = first, len(lines) - first - len(shown)
    parts = [head]
    if before:
        parts.append(f"{'':>9}   ... {before} earlier rows")
    parts += [f"{instant:9.3f}   {text}" for instant, text in shown]
    if after:
        parts.append(f"{'':>9}   ... {after} later rows")
    return "\n".join(parts)


def _partners(record: Record) -> dict[int, Event]:
    """For each frame where it entered the proxy, the same frame where it left it: the n-th of its kind is the n-th."""
    entered: dict[tuple[object, ...], deque[Event]] = defaultdict(deque)
    partners: dict[int, Event] = {}
    for event in record.events:
        if event.kind == "ready" or not event.way or event.place not in ("client", "server"):
            continue
        key = (event.client, event.conn, event.way, event.kind)
        if (event.place == "client") == (event.way == "up"):
            entered[key].append(event)
        elif entered[key]:
            partners[id(entered[key].popleft())] = event
    return partners


def _row(step: Step) -> str:
    event, label, together = step.event, step.label, step.together
    match event.place:
        case "proxy" | "harness":
            return f"{'':{LANE - 4}}▒ {label}"
        case "app":
            return f"({label})"
    if event.kind == "attempt":
        return _up(label, "╳" if event.get("refused") else "│", "")
    if event.kind == "ready":
        return f"{label:<{LANE}}    │"
    if event.kind == "end":
        return _end(event, label)
    left = "" if (event.place == "server" and not together) else label
    right = "" if (event.place == "client" and not together) else label
    # An arrow stops at the proxy where the frame never left it on the other side.
    stop = "│" if together or step.arrives or (event.place == "client") == (event.way == "down") else "╳"
    if event.way == "up":
        return _up(left, stop, right)
    return _down(left, stop, right)


def _up(left: str, stop: str, right: str) -> str:
    entering = f"{left} {'':─<{max(0, LANE - len(left) - 1)}}──▶ " if left else f"{'':{LANE + 4}}"
    return f"{entering}{stop}" + (f" ──▶ {right:>{LANE - 1}}" if right else "")


def _down(left: str, stop: str, right: str) -> str:
    arrow_in = f"{left:<{LANE}}◀── " if left else f"{'':{LANE + 4}}"
    return f"{arrow_in}{stop}" + (f" ◀── {right:>{LANE - 1}}" if right else "")


def _end(event: Event, label: str) -> str:
    if event.place == "client":
        return _up(label, "│", "") if event["by"] == "peer" else _down(label, "│", "")
    return _down("", "│", label) if event["by"] == "peer" else _up("", "│", label)


def _label(event: Event) -> str:
    """An event in a few words, safe to print: what a peer sent must not reach the terminal as it is."""
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in _words(event))
    fits = LANE - 2 if event.place in ("client", "server") else 3 * LANE
    return text if len(text) <= fits else text[: fits - 1] + "…"


def _words(event: Event) -> str:
    get = event.get
    match event.kind:
        case "attempt":
            return "connect" + (" (refused)" if get("refused") else " (TLS)" if get("tls") else "")
        case "handshake":
            return f"GET {get('path')}"
        case "response":
            retry = f", Retry-After {get('retry_after'):g} s" if get("retry_after") is not None else ""
            to = f" to {get('to')}" if get("to") else ""
            return f"{get('status')}{retry}{to}"
        case "ready":
            return "ready" + (" (recovered)" if get("recovered") else "")
        case "end":
            return {"fin": "FIN", "reset": "RST"}[get("how")]
        case "close":
            code = "no code" if get("code") is None else get("code")
            return f"Close {code} {get('reason') or ''}".rstrip()
        case "ping" | "pong":
            return f"{event.kind} {str(get('key'))[:12]}".rstrip()
        case "fault" | "healed":
            skip = ("fault", "id")
            details = ", ".join(f"{name}={value}" for name, value in event.detail.items() if name not in skip)
            verb = "" if event.kind == "fault" else " removed"
            return f"{get('fault')}({details}){verb}"
        case "cut":
            return f"cut by {get('fault')} ({'RST' if get('how') == 'reset' else 'FIN'})"
        case "acted":
            return f"{get('did')} {get('what')}".rstrip()
        case "lag":
            return f"the harness was {get('lag') * 1000:.0f} ms late"
        case "error":
            return f"error: {get('error')}"
        case "token":
            return "token rotated" + (", old one revoked" if get("revoked") else "")
    names = (
        "id",
        "seq",
        "topic",
        "ok",
        "duplicate",
        "recovered",
        "attempt",
        "delay",
        "code",
        "reason",
        "first",
        "last",
        "error",
    )
    details = " ".join(f"{name}={_short(get(name))}" for name in names if get(name) not in (None, "", False))
    return f"{event.kind.removeprefix('app.')} {details}".rstrip()


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
