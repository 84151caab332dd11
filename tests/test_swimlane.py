"""The timeline as text: what stands in which lane, and that nothing a peer sent can spoil it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_wschaos import Event, Record
from pytest_wschaos.swimlane import draw
from pytest_wschaos.timeline import Place, Way

WIDTH = 140


def event(at: float, kind: str, place: Place, way: Way = "", **detail: Any) -> Event:
    return Event(at, kind, place, "client", 1 if place in ("client", "server") else None, way, detail)


def record(*events: Event) -> Record:
    return Record(tuple(events), until=100.0)


def rows(*events: Event) -> list[str]:
    """The rows without the head and the times."""
    return [line[12:] for line in draw(record(*events)).splitlines()[1:]]


def test_nothing_was_seen() -> None:
    assert draw(record()) == "  (nothing was seen)"


def test_a_frame_at_both_sides_is_one_arrow() -> None:
    (up,) = rows(event(1, "ping", "client", "up", key="6b"), event(1.01, "ping", "server", "up", key="6b"))
    assert up.split() == ["ping", "6b", "─" * 22 + "──▶", "│", "──▶", "ping", "6b", "#1"]
    (down,) = rows(event(1, "pong", "server", "down", key="6b"), event(1.01, "pong", "client", "down", key="6b"))
    assert down.split() == ["pong", "6b", "◀──", "│", "◀──", "pong", "6b", "#1"]


def test_a_frame_that_was_held_is_two_arrows() -> None:
    sent, arrived = rows(event(1, "text", "client", "up", size=1), event(2, "text", "server", "up", size=1))
    assert "text" in sent[:30]
    assert "│" in sent
    assert "text" not in arrived[:40]
    assert "text" in arrived[40:]


def test_a_frame_that_was_lost_stops_at_the_proxy() -> None:
    (up,) = rows(event(1, "close", "client", "up", code=1000, reason="bye"))
    assert up.startswith("Close 1000 bye ─")
    assert up.endswith("▶ ╳                                   #1")
    (down,) = rows(event(1, "close", "server", "down", code=None))
    assert "╳ ◀──" in down
    assert "Close no code" in down


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (event(1, "attempt", "client"), "connect"),
        (event(1, "attempt", "client", refused=True), "connect (refused)"),
        (event(1, "handshake", "client", "up", path="/ws"), "GET /ws"),
        (event(1, "response", "client", "down", status=503, retry_after=2.0), "503, Retry-After 2 s"),
        (event(1, "ready", "client", recovered=True), "ready (recovered)"),
        (event(1, "end", "client", by="peer", how="fin"), "FIN"),
        (event(1, "end", "client", by="proxy", how="reset"), "RST"),
        (event(1, "end", "server", by="peer", how="reset"), "RST"),
        (event(1, "end", "server", by="proxy", how="fin"), "FIN"),
        (event(1, "fault", "proxy", fault="latency", id=3, seconds=0.2), "latency(seconds=0.2)"),
        (event(1, "healed", "proxy", fault="latency", id=3), "latency() removed"),
        (event(1, "cut", "proxy", fault="abort", how="reset"), "cut by abort (RST)"),
        (event(1, "cut", "proxy", fault="disconnect", how="fin"), "cut by disconnect (FIN)"),
        (event(1, "lag", "harness", lag=0.2), "the harness was 200 ms late"),
        (event(1, "error", "proxy", error="no upstream"), "error: no upstream"),
        (event(1, "token", "harness", revoked=True), "token rotated, old one revoked"),
        (event(1, "token", "harness", revoked=False), "token rotated"),
        (event(1, "message", "client", "up", id=7, topic="t", size=9), "message id=7 topic=t"),
        (event(1, "app.waiting", "app", attempt=1, delay=0.51234), "(waiting attempt=1 delay=0.512)"),
    ],
)
def test_each_kind_of_event_in_words(seen: Event, told: str) -> None:
    (row,) = rows(seen)
    assert told in row


def test_a_lag_that_nobody_notices_has_no_row() -> None:
    assert rows(event(1, "lag", "harness", lag=0.01), event(2, "fault", "proxy", fault="abort", id=1)) == [
        f"{'':26}▒ abort()"
    ]


def test_what_a_toxic_did_is_told() -> None:
    (row,) = rows(event(1, "acted", "proxy", "down", toxic="wschaos-frame-1-downstream", did="drop", what="pong"))
    assert "drop pong" in row


NASTY = "\x1b[2J\r\n\ud800\u202e" + "x" * 500


@pytest.mark.parametrize(
    "seen",
    [
        event(1, "handshake", "client", "up", path=NASTY),
        event(1, "close", "client", "down", code=4000, reason=NASTY),
        event(1, "ping", "client", "up", key=NASTY),
        event(1, "message", "client", "up", topic=NASTY, id=NASTY),
        event(1, "ack", "server", "down", error=NASTY),
        event(1, "error", "proxy", error=NASTY),
        event(1, "acted", "proxy", did=NASTY, what=NASTY),
        event(1, "app.gave_up", "app", error=NASTY),
    ],
)
def test_what_a_peer_sent_is_safe_to_print_and_keeps_to_its_lane(seen: Event) -> None:
    (row,) = rows(seen)
    assert row.isprintable()
    assert len(row) < WIDTH
    row.encode()


def test_several_clients_are_told_apart() -> None:
    events = [Event(1.0, "attempt", "client", name, number) for number, name in enumerate(("a", "b"), 1)]
    assert [row.split()[-2:] for row in rows(*events)] == [["a", "#1"], ["b", "#2"]]


def test_a_long_record_is_shown_around_the_instant_that_matters() -> None:
    events = [event(float(at), "fault", "proxy", fault=f"f{at}", id=at) for at in range(100)]
    early = draw(record(*events), at=0.0, rows=10)
    assert "f0()" in early
    assert "... 90 later rows" in early
    middle = draw(record(*events), at=50.0, rows=10)
    assert "f50()" in middle
    assert "... 44 earlier rows" in middle
    assert "... 46 later rows" in middle
    end = draw(record(*events), rows=10)
    assert "f99()" in end
    assert "earlier rows" in end
    assert "later rows" not in end


def test_times_are_those_of_the_record() -> None:
    text = draw(Record((event(2.5, "fault", "proxy", fault="abort", id=1),), until=20))
    assert text.splitlines()[1].split()[0] == "2.500"
