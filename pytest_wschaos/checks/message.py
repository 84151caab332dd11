"""MESSAGE: messages arrive whole, in order, and as what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..profile import Profile
from ..timeline import Event
from .delivery import QUIET, Link, Traffic, traffics
from .ending import server_close
from .links import proof
from .replay import ASK, REPORT
from .rule import check
from .story import Connection, Story
from .tolerance import GRACE, STANDSTILLS, Timing, by, late_by
from .verdict import Finding, failed, inconclusive, passed, worst

ENVELOPE = 4 + 4096
"""Bytes at most that stand before the bytes of a chunk."""


# --- MESSAGE-01 -----------------------------------------------------------------------------------------------


@check(
    "MESSAGE-01",
    "Text frames carry JSON, binary frames carry a blob; neither is guessed from content.",
    needs=("message",),
)
def kinds_are_not_guessed(story: Story, profile: Profile) -> Finding:
    """What was sent as JSON goes as text and what was sent as bytes as binary; texts are told as they came."""
    return worst(
        (f for traffic in traffics(story, profile) for f in (*_kinds_up(traffic), *_told_as_came(traffic, 0))),
        otherwise=inconclusive(f"not provoked: no message that is on record went up or down ({ASK}, {REPORT})"),
    )


def _kinds_up(traffic: Traffic) -> Iterator[Finding]:
    asked: dict[str, set[bool]] = {}
    for ask in traffic.asks:
        asked.setdefault(ask["digest"], set()).add(bool(ask.get("binary")))
    seen: set[str] = set()
    for link in traffic.links:
        for event in link.sent:
            kinds, binary = asked.get(event["digest"]), bool(event.get("binary"))
            if kinds is not None and binary not in kinds:
                what, how = ("JSON", "binary") if binary else ("a blob", "text")
                yield failed(f"{link.name}: {what} was sent as a {how} frame", at=event.at)
            elif kinds is not None:
                seen.add(event["digest"])
                yield passed("JSON was sent as text frames, and blobs as binary ones")
    for ask in traffic.asks:
        # Of a blob in several chunks no event holds the whole.
        if ask.get("binary") and ask["size"] <= traffic.profile.message.chunk and ask["digest"] not in seen:
            done = [e for e in traffic.client.told("settled") if e.get("ref") == ask.get("ref") and e.get("ok")]
            if done and ask.get("ref") is not None:
                yield failed(
                    f"a blob of {ask['size']} bytes was acknowledged, and no binary frame with it was seen", at=ask.at
                )


def _told_as_came(traffic: Traffic, least: int) -> Iterator[Finding]:
    """Whether texts of so many bytes and more were told to the application as they came."""
    told = Counter(e["digest"] for e in traffic.client.told("message") if e.get("digest") is not None)
    number = sum(told.values())
    came = [
        (link, e)
        for link in traffic.links
        for e in link.connection.seen("message", way="down")
        if traffic.surely(e, link)
    ]
    if not told or number < len({(link.session, e.get("seq")) for link, e in came}):
        return  # it does not report, or something was lost: that is REPLAY-03's
    for link, event in came:
        settled = by(traffic.story.record, event.at + QUIET, None, since=event.at) is Timing.BROKEN
        if event.get("binary") or (event.get("size") or 0) < least or not settled:
            continue
        if not told[event["digest"]]:
            yield failed(
                f"{link.name}: a text message of {event.get('size')} bytes came, and the application was told "
                "something else",
                at=event.at,
            )
        else:
            yield passed(f"{link.name}: a text message of {event.get('size')} bytes was told as it came")


# --- MESSAGE-02 -----------------------------------------------------------------------------------------------


@check("MESSAGE-02", "Order on a connection is kept, in both directions.", needs=("message",))
def order_is_kept(story: Story, profile: Profile) -> Finding:
    """Messages go up in the order in which they were sent, and are told in the order in which they came."""
    return worst(
        (
            finding
            for traffic in traffics(story, profile)
            for link in traffic.links
            for finding in (_order_up(traffic, link), _order_down(traffic, link))
            if finding is not None
        ),
        otherwise=inconclusive(
            f"not provoked: no two different messages that are on record passed one connection ({ASK}, {REPORT})"
        ),
    )


def _order_up(traffic: Traffic, link: Link) -> Finding | None:
    # What was sent before may be sent again at any place; of blobs only the last chunk is seen.
    asks = [a for a in traffic.asks if link.ready <= a.at <= link.until and not a.get("binary")]
    return _in_order(
        [a["digest"] for a in asks], link.sent, f"{link.name}: a message went up ahead of one that was sent"
    )


def _order_down(traffic: Traffic, link: Link) -> Finding | None:
    came = [e["digest"] for e in link.connection.seen("message", way="down") if not e.get("binary")]
    told = [e for e in traffic.client.told("message") if e.get("digest") is not None and e.at >= link.ready]
    return _in_order(came, told, f"{link.name}: a message was told to the application ahead of one that had come")


def _in_order(right: list[str], events: list[Event], what: str) -> Finding | None:
    """Whether events are in the right order, as far as their digests are unmistakable."""
    single = {digest for digest, number in Counter(right).items() if number == 1}
    place = {digest: number for number, digest in enumerate(right) if digest in single}
    first: dict[str, Event] = {}
    for event in events:
        if event["digest"] in place:
            first.setdefault(event["digest"], event)
    last = -1
    for digest, event in first.items():
        if place[digest] < last:
            return failed(f"{what} before it", at=event.at)
        last = place[digest]
    return passed(f"{len(first)} messages kept their order") if len(first) > 1 else None


# --- MESSAGE-03 -----------------------------------------------------------------------------------------------


@check(
    "MESSAGE-03",
    "Fragmented and large messages arrive whole; one over the limit is refused by the client itself, and one that "
    "comes over it is answered with Close 1009.",
    figures=("message.max_size",),
    needs=("message",),
)
def large_messages(story: Story, profile: Profile) -> Finding:
    """Large messages are told as they came, and nothing over the limit goes up or is taken in."""
    least = profile.message.chunk
    return worst(
        (
            finding
            for traffic in traffics(story, profile)
            for finding in (
                *_too_big_up(traffic),
                *_whole_up(traffic, least),
                *_told_as_came(traffic, least),
                *_too_big_down(traffic),
            )
        ),
        otherwise=inconclusive(f"not provoked: no message was larger than {least} bytes (message.chunk)"),
    )


def _too_big_up(traffic: Traffic) -> Iterator[Finding]:
    limit, reports = traffic.profile.message.max_size, traffic.client.reports
    for connection in traffic.client.connections:
        for event in connection.events:
            if event.place == "client" and event.way == "up" and (event.get("size") or 0) > limit:
                yield failed(
                    f"connection {connection.number}: a message of {event['size']} bytes was sent; "
                    f"the limit is {limit}",
                    at=event.at,
                )
    for ask in traffic.asks:
        if ask["size"] <= limit or not reports or ask.get("ref") is None:
            continue
        told = [e for e in traffic.client.told("settled") if e.get("ref") == ask["ref"]]
        closed = [c for c in traffic.client.connections if (e := server_close(c)) is not None and e["code"] == 1009]
        if late := next((c for c in closed if c.signs[0] >= ask.at), None):
            yield failed(
                f"a message of {ask['size']} bytes was asked for (limit {limit}), and connection {late.number} closed "
                "1009; expected the client to refuse it itself",
                at=late.signs[0],
            )
        elif told and not told[0].get("ok"):
            yield passed(f"a message of {ask['size']} bytes was refused by the client (the limit is {limit})")
        elif told:
            yield failed(f"a message of {ask['size']} bytes was told as sent; the limit is {limit}", at=ask.at)
        elif by(traffic.story.record, ask.at + 1.0, None, since=ask.at) is Timing.BROKEN:
            yield failed(f"a message of {ask['size']} bytes (limit {limit}) was not refused with an error", at=ask.at)


def _whole_up(traffic: Traffic, least: int) -> Iterator[Finding]:
    arrived = traffic.distinct("server")
    for ask in traffic.asks:
        if ask["size"] > least and not ask.get("binary") and arrived[ask["digest"]]:
            yield passed(f"a message of {ask['size']} bytes arrived whole")


def _too_big_down(traffic: Traffic) -> Iterator[Finding]:
    limit, record = traffic.profile.message.max_size, traffic.story.record
    for connection in traffic.client.connections:
        big = next((e for e in connection.events if e.way == "down" and (e.get("size") or 0) > limit), None)
        if big is None:
            continue
        close = connection.close_sent
        what = f"connection {connection.number}: a message of {big['size']} bytes came (limit {limit})"
        if close is not None and close.get("code") == 1009:
            yield passed(f"{what}; the client closed 1009")
        elif close is not None or connection.end is not None:
            how = "without a Close" if close is None else f"with {close.get('code')}"
            yield failed(f"{what}; the client ended {how}; expected Close 1009", at=big.at)
        elif by(record, big.at + 1.0, None, since=big.at) is Timing.BROKEN:
            yield failed(f"{what}; it was taken in; expected Close 1009", at=big.at)


# --- MESSAGE-04 -----------------------------------------------------------------------------------------------


@check(
    "MESSAGE-04",
    "Larger blobs are streamed in chunks that leave room for heartbeats and other messages.",
    figures=("message.chunk", "heartbeat.deadline"),
    needs=("message",),
)
def blobs_go_in_chunks(story: Story, profile: Profile) -> Finding:
    """No binary frame of the client's is larger than a chunk, and pings amid a blob are answered in time."""
    if not any(event.kind == "binary" or event.get("binary") for event in story.record.events):
        return inconclusive(f"not provoked: no blob of more than {profile.message.chunk} bytes was sent")
    return worst(
        (finding for c in story.connections if (finding := _chunked(story, c, profile)) is not None),
        otherwise=inconclusive(f"not provoked: no blob of more than {profile.message.chunk} bytes was sent"),
    )


def _chunked(story: Story, connection: Connection, profile: Profile) -> Finding | None:
    bound = profile.message.chunk + ENVELOPE
    frames = [e for e in connection.seen("binary", "message", way="up") if e.kind == "binary" or e.get("binary")]
    if not frames:
        return None
    largest = max(frames, key=lambda event: event.get("size") or 0)
    which = f"connection {connection.number}"
    if (largest.get("size") or 0) > bound:
        return failed(
            f"{which}: a binary frame of {largest['size']} bytes; expected chunks of {profile.message.chunk}",
            at=largest.at,
        )
    if len(frames) < 2:
        return None
    deadline, start, end = profile.heartbeat.deadline, frames[0].at, frames[-1].at
    pings = [ping for ping in connection.pings if start <= ping.at <= end]
    for ping in pings:
        answer = proof(connection, ping)
        late = (answer if answer is not None else story.record.until) - ping.at - deadline
        lag = STANDSTILLS * story.record.lag(ping.at, ping.at + deadline)
        if late > GRACE + lag:
            return failed(f"{which}: a ping amid a blob was not answered within {deadline:.3f} s", at=ping.at)
        if late > GRACE:
            return inconclusive(f"{which}: {late_by(story.record, ping.at, ping.at + deadline)}")
    return passed(
        f"{which}: {len(frames)} chunks of {largest['size']} bytes at most in {end - start:.3f} s, "
        f"with {len(pings)} pings among them",
        chunks=len(frames),
        pings=len(pings),
    )
