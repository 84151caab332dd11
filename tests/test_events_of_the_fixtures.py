"""The events of the engine, and the timeline of the fixtures: the same story, told twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import connect

from pytest_wschaos import Chaos

OF_CONNECTIONS = ("attempt", "handshake", "response", "text", "close", "end")


def lines_until_both_ends(response: Iterator[bytes]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    while [event["kind"] for event in told].count("end") < 2:
        told.append(json.loads(next(response)))
    return told


def test_the_events_tell_what_the_timeline_tells() -> None:
    with Chaos() as chaos:
        with urlopen(f"http://127.0.0.1:{chaos.serve_api()}/events?frames=1", timeout=10) as response:
            with connect(chaos.echo_url, compression=None) as client:
                client.send("hello")
                assert client.recv(10) == "hello"
            told = lines_until_both_ends(response)
        timeline = [event for event in chaos.timeline if event.kind in OF_CONNECTIONS]
        seen = [
            (event.get("opcode", event["kind"]), event.get("place", "client"), event.get("way", ""))
            for event in told
            if event["kind"] in (*OF_CONNECTIONS, "frame")
        ]
        assert seen == [(event.kind, event.place, event.way) for event in timeline]
        assert seen.count(("text", "client", "up")) == seen.count(("text", "client", "down")) == 1
        handshake = next(event for event in told if event["kind"] == "handshake")
        on_record = next(event for event in timeline if event.kind == "handshake")
        assert abs(handshake["at"] - on_record.at) < 1  # one clock
        assert {name: handshake[name] for name in on_record.detail if name != "spoken"} == {
            name: value for name, value in on_record.detail.items() if name != "spoken"
        }
