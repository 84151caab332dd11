"""The record: order, lag, waiting, and its life in a file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_wschaos import Event, Record
from pytest_wschaos.timeline import Timeline, digest, fingerprint


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timeline(clock: Clock) -> Timeline:
    return Timeline(clock, seed=7, dialect="chat", tells=frozenset(["welcome"]), sees_refused=False)


def test_events_are_stamped_and_frozen_in_order_of_time(clock: Clock, timeline: Timeline) -> None:
    clock.now = 101.0
    timeline.record("attempt", "client", client="a", conn=1)
    timeline.record("lag", "harness", at=100.5, lag=0.2)
    clock.now = 102.0
    record = timeline.freeze()
    assert [(event.at, event.kind) for event in record.events] == [(0.5, "lag"), (1.0, "attempt")]
    assert [event.kind for event in timeline] == ["attempt", "lag"]
    assert (record.until, record.seed, record.sees_refused) == (2.0, 7, False)
    assert len(timeline) == 2


def test_a_frozen_record_stays_as_it_is(timeline: Timeline) -> None:
    record = timeline.freeze()
    timeline.record("attempt", "client")
    assert record.events == ()


def test_listeners_are_told_until_they_stop(timeline: Timeline) -> None:
    told: list[int] = []
    stop = timeline.listen(lambda: told.append(len(timeline)))
    timeline.record("fault", "proxy")
    stop()
    stop()
    timeline.record("healed", "proxy")
    assert told == [1]


def test_connections_are_numbered_across_threads(timeline: Timeline) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.extend(timeline.next_connection() for _ in range(100))) for _ in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 401))


@pytest.mark.parametrize(
    ("start", "end", "lag"),
    [(0, 100, 0.7), (0, 4.4, 0.0), (4.6, 4.7, 0.5), (5.1, 9.0, 0.0), (5.1, 10.0, 0.2), (11, 12, 0.0)],
)
def test_lag_counts_where_it_overlaps(start: float, end: float, lag: float) -> None:
    events = (Event(5.0, "lag", "harness", detail={"lag": 0.5}), Event(10.0, "lag", "harness", detail={"lag": 0.2}))
    assert Record(events, until=20).lag(start, end) == pytest.approx(lag)


def test_what_two_loops_measured_at_once_counts_once() -> None:
    spans = ((5.0, 0.5), (5.1, 0.4), (5.2, 0.1))
    record = Record(tuple(Event(at, "lag", "harness", detail={"lag": lag}) for at, lag in spans), until=20)
    assert record.lag(0, 100) == pytest.approx(0.7)
    assert record.standstill(5.25, slack=0.05) == pytest.approx(0.7)
    assert record.standstill(4.45, slack=0.05) == pytest.approx(0.7)
    assert record.standstill(9.0, slack=0.05) == 0


def test_a_record_survives_a_journey_through_a_file(clock: Clock, timeline: Timeline, tmp_path: Path) -> None:
    timeline.record("attempt", "client", client="a", conn=1)
    timeline.record("text", "client", client="a", conn=1, way="up", size=5, reason="\ud800 ü")
    timeline.record("fault", "proxy", fault="latency", id=1, seconds=0.5)
    record = timeline.freeze()
    record.save(tmp_path / "saved.jsonl")
    assert Record.load(tmp_path / "saved.jsonl") == record


def test_what_json_cannot_hold_is_saved_as_text(timeline: Timeline, tmp_path: Path) -> None:
    timeline.record("ping", "client", key=b"\x00")
    timeline.freeze().save(tmp_path / "saved.jsonl")
    assert Record.load(tmp_path / "saved.jsonl").events[0]["key"] == repr(b"\x00")


def test_a_sleep_of_a_client_counts_as_a_standstill(timeline: Timeline) -> None:
    def event(at: float, kind: str, **detail: object) -> Event:
        return Event(at, kind, "proxy", detail=detail)  # type: ignore[arg-type]

    asleep = event(1.0, "fault", fault="suspend", id=1)
    assert Record((asleep, event(3.0, "healed", fault="suspend", id=1)), until=9.0).lag(0.0, 9.0) == 2.0
    assert Record((asleep,), until=9.0).lag(0.0, 9.0) == 8.0
    record = Record((asleep, event(3.0, "healed", fault="suspend", id=1)), until=9.0)
    assert record.lag(3.0, 9.0) == 0.0  # over by then
    assert record.lag(2.9, 9.0) == pytest.approx(0.1)  # a sleep delays nothing that began after it
    assert record.lag(0.0, 1.5) == 0.5
    assert record.standstill(3.0, slack=0.05) == 2.0
    awake = event(3.0, "healed", fault="suspend", id=1)
    with_lag = Record((asleep, Event(2.5, "lag", "harness", detail={"lag": 0.5}), awake), until=9.0)
    assert with_lag.standstill(3.0, slack=0.05) == 2.0


HEAD = '{"format": "wschaos-timeline-1", "until": 1, "seed": 0, "dialect": null, "tells": [], "sees_refused": true}'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("not json", 1),
        ("[]", 1),
        ("{}", 1),
        ('{"format": "other"}', 1),
        (HEAD.replace('"seed": 0', '"sed": 0'), 1),
        (HEAD + "\n{", 2),
        (HEAD + '\n{"at": 0, "kind": "a", "place": "client"}\n{"when": 0}', 3),
        (HEAD + "\n[]", 2),
    ],
)
def test_a_file_that_is_no_record_is_named_with_the_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "saved.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"line {line}: not a saved timeline") as caught:
        Record.load(path)
    assert str(path) in str(caught.value)


def test_details_are_read_like_a_mapping() -> None:
    event = Event(1.0, "close", "client", detail={"code": 1001})
    assert event["code"] == 1001
    assert event.get("reason", "none") == "none"
    with pytest.raises(KeyError):
        event["reason"]


@pytest.mark.parametrize("secret", ["", "s3cret", "\ud800", "ü" * 1000])
def test_a_fingerprint_tells_secrets_apart_and_gives_none_away(secret: str) -> None:
    assert fingerprint(secret) == fingerprint(secret)
    assert fingerprint(secret) != fingerprint(secret + "x")
    assert len(fingerprint(secret)) == 8


@pytest.mark.parametrize(
    ("data", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": (2,), "a": 1}),
        (b"blob", bytearray(b"blob")),
        (b"blob", memoryview(b"blob")),
        ({1: "x", "a": "y"}, {1: "x", "a": "y"}),
        ("\ud800", "\ud800"),
    ],
)
def test_a_digest_is_the_same_wherever_data_is_seen(data: Any, same: Any) -> None:
    assert digest(data) == digest(same)
    assert digest(data) != digest([data])


def test_a_structure_that_holds_itself_has_a_digest() -> None:
    data: list[Any] = []
    data.append(data)
    assert digest(data) != digest([])


def test_what_is_forgotten_has_been_seen() -> None:
    timeline = Timeline(lambda: 1.0)
    for number in range(5):
        timeline.record("lag", "harness", lag=number)
    assert timeline.forget(lambda events: [e for e in events if e["lag"] in (1, 3)]) == 3
    assert [e["lag"] for e in timeline] == [1, 3]
    assert len(timeline) == 5
    assert timeline.since(5) == []
    timeline.record("lag", "harness", lag=5)
    assert [e["lag"] for e in timeline.since(5)] == [5]
    assert [e["lag"] for e in timeline.freeze().events] == [1, 3, 5]
