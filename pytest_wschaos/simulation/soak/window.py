"""What a long record may forget once it has been judged.

A soak is judged window by window, each of which ends in a calm. What ended before every client's newest connection
began has been judged with all that followed from it. The newest connections themselves are not over: they are kept
whole, with what their clients have told since, so that the next window begins as a record of its own does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...timeline import Event

TOKENS = 2
"""Changes of the token that are kept from before: whoever presents an outdated one is told apart by them."""


def carried(events: Sequence[Event]) -> list[Event]:
    """The events that the next window needs, in order; to be asked in a calm, when every client is ready."""
    newest, since = _newest(events)
    begun = min((e.at for e in events if e.kind == "attempt" and newest.get(e.client) == e.conn), default=float("inf"))
    over = {e.get("id") for e in events if e.kind == "healed" and e.at < begun}
    came = {(e.client, e.get("digest")) for e in events if e.kind == "message" and newest.get(e.client) == e.conn}
    tokens = [number for number, e in enumerate(events) if e.kind == "token"]
    old = set(tokens[:-TOKENS])
    kept = []
    for number, event in enumerate(events):
        if event.conn is not None:
            needed = newest.get(event.client) == event.conn
        elif event.place == "app":
            needed = number >= since.get(event.client, 0)
            if event.kind == "app.message":  # what a paused application was told late came on a connection before
                needed = needed and (event.client, event.get("digest")) in came
        elif event.kind in ("fault", "healed"):
            needed = event.get("id") not in over
        elif event.kind == "token":
            needed = number not in old or event.at >= begun
        else:
            needed = event.at >= begun
        if needed:
            kept.append(event)
    return kept


def _newest(events: Iterable[Event]) -> tuple[dict[str, int], dict[str, int]]:
    """Each client's newest connection, and the place of the event with which it told that it begins."""
    newest: dict[str, int] = {}
    since: dict[str, int] = {}
    told: dict[str, int] = {}
    for number, event in enumerate(events):
        if event.kind == "app.connecting":
            told[event.client] = number
        elif event.kind == "attempt" and event.conn is not None and event.conn > newest.get(event.client, 0):
            newest[event.client] = event.conn
            since[event.client] = told.get(event.client, number)
    return newest, since
