"""STATE: a client says how it stands, loses nothing that it is given, and does not fill the memory with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..profile import Profile
from ..timeline import Event
from .delivery import QUIET, Link, Traffic, traffics
from .replay import ASK, REPORT, given_back, kept_in_order, must_have_settled
from .rule import check
from .story import Client, Connection, Story
from .tolerance import GRACE, STANDSTILLS, Timing, by
from .verdict import Finding, Outcome, failed, inconclusive, passed, unsupported, worst

CONNECTING, OPEN, CLOSING, CLOSED = range(4)
"""The field's values."""
NAMES = ("CONNECTING", "OPEN", "CLOSING", "CLOSED")
WRAPPING = 4096
"""Bytes that a client may count besides what it was given: what it wraps messages in, and heartbeats."""

States = frozenset[int]


# --- STATE-01 -------------------------------------------------------------------------------------------------


@check("STATE-01", "A ready state is exposed with the field's values: CONNECTING 0, OPEN 1, CLOSING 2, CLOSED 3.")
def ready_state_is_exposed(story: Story, profile: Profile) -> Finding:
    """Each answer to the question for the state goes with what the client has told before it."""
    return worst(
        (finding for client in story.clients for finding in _states(client)),
        otherwise=inconclusive(
            "not provoked: nobody asked the client for its ready state, when it was known; put its answers on record: "
            "wschaos.report({'event': 'state', 'value': ...})"
        ),
    )


def _states(client: Client) -> Iterator[Finding]:
    """What is to be said of each answer of one client."""
    right: States | None = None
    what, seen = "", set()
    for event in client.app:
        if event.kind != "app.state":
            right, what = _after(event, right, what)
            continue
        value = event.get("value")
        if not isinstance(value, int) or value not in range(4):
            yield failed(f"the ready state was {value!r}; expected 0 to 3", at=event.at)
        elif right is not None and value not in right and not _known_better(client, event.at, right, value):
            expected = " or ".join(f"{state} ({NAMES[state]})" for state in sorted(right))
            yield failed(f"{what}, the ready state was {value} ({NAMES[value]}); expected {expected}", at=event.at)
        elif right is not None:
            seen.add(value)
            told = ", ".join(f"{state} {NAMES[state]}" for state in sorted(seen))
            yield passed(f"the ready state was right in all that was asked: {told}")


def _after(event: Event, right: States | None, what: str) -> tuple[States | None, str]:
    """The states that may be after an event, and since when; None: any."""
    closed = right is not None and right <= {CLOSING, CLOSED}
    match event.kind:
        case "app.connecting" | "app.waiting":
            return frozenset([CONNECTING]), f"after {event.kind.removeprefix('app.')}"
        case "app.ready":
            return frozenset([OPEN]), "after ready"
        case "app.gave_up":
            return frozenset([CLOSED]), "after the client gave up"
        case "app.close":
            return frozenset([CLOSED] if right == frozenset([CLOSED]) else [CLOSING, CLOSED]), "after close()"
        case "app.closed":
            return (frozenset([CLOSED]), "after it was closed on purpose") if closed else (None, what)
        case "app.reconnect":
            return None, what
    return right, what


def _known_better(client: Client, instant: float, right: States, value: int) -> bool:
    """Whether the client may know of a link that has broken, or has long been ready, of which it has not told."""
    ready = [
        c.ready
        for c in client.connections
        if c.ready is not None and c.ready <= instant and (not c.signs or c.signs[0] > instant)
    ]
    if right == {CONNECTING} and value == OPEN:
        return any(since + GRACE < instant for since in ready)
    return right == {OPEN} and not ready


# --- STATE-02, 03 ---------------------------------------------------------------------------------------------


@check("STATE-02", "A send never vanishes: it is sent, queued, or refused with an error.", needs=("message",))
def sends_do_not_vanish(story: Story, profile: Profile) -> Finding:
    """Each send was seen on the wire, has settled, was handed back, or still has reason to wait."""
    asking = [traffic for traffic in traffics(story, profile) if traffic.asks]
    if not asking:
        return unsupported(f"the record does not tell what the application asked to send: call {ASK} at each send")
    return worst((_accounted(traffic) for traffic in asking), otherwise=inconclusive("not provoked"))


def _accounted(traffic: Traffic) -> Finding:
    sent = traffic.distinct("client")
    settled = {e.get("ref"): e for e in traffic.client.told("settled")}
    fates: Counter[str] = Counter()
    for ask in traffic.asks:
        ref = ask.get("ref")
        told = settled.get(ref) if ref is not None else None
        if sent[ask["digest"]]:
            sent[ask["digest"]] -= 1
            fates["sent"] += 1
        elif told is not None:
            fates["sent" if told.get("ok") else "refused"] += 1
        elif given_back(traffic, ref):
            fates["handed back"] += 1
        elif (why := _vanished(traffic, ask)) is not None and not traffic.client.reports:
            return inconclusive(f"a send ({traffic.when(ask)}) was not seen, {why}; whether it was refused: {REPORT}")
        elif why is not None:
            return failed(
                f"a send ({traffic.when(ask)}) has vanished: {why}, and it was neither sent nor refused", at=ask.at
            )
        else:
            fates["waiting"] += 1
    told_all = ", ".join(f"{number} {fate}" for fate, number in fates.items())
    if fates["waiting"]:
        return inconclusive(f"{len(traffic.asks)} sends; when the record ended: {told_all}")
    return passed(f"{len(traffic.asks)} sends, and none has vanished: {told_all}")


def _vanished(traffic: Traffic, ask: Event) -> str | None:
    """Why a send that nothing is known of cannot still be waiting; None: it may."""
    for event in reversed(traffic.client.app):
        if event.at > ask.at or event.kind not in ("app.gave_up", "app.close", "app.connecting", "app.reconnect"):
            continue
        restarted = event.kind in ("app.connecting", "app.reconnect")
        if not restarted and by(traffic.story.record, ask.at + QUIET, None, since=ask.at) is Timing.BROKEN:
            return "the client was closed already"
        break
    return must_have_settled(traffic, ask)


@check(
    "STATE-03",
    "Sends while CONNECTING wait and go out after ready, in order, behind nothing newer.",
    needs=("message",),
)
def sends_wait_while_connecting(story: Story, profile: Profile) -> Finding:
    """What was asked for between an attempt and its ready arrives after it, before anything newer."""
    asking = [traffic for traffic in traffics(story, profile) if traffic.asks]
    if not asking:
        return unsupported(f"the record does not tell what the application asked to send: call {ASK} at each send")
    return worst(
        (
            kept_in_order(traffic, early, "while connecting")
            for traffic in asking
            if (early := [ask for ask in traffic.asks if _connecting(traffic.client, ask.at)])
        ),
        otherwise=inconclusive("not provoked: nothing was sent during an attempt; send before it is ready"),
    )


def _connecting(client: Client, instant: float) -> bool:
    """Whether an attempt was under way at an instant."""
    return any(c.attempt <= instant < _decided(c) for c in client.connections)


def _decided(connection: Connection) -> float:
    """When an attempt became ready, or had failed."""
    instants = [at for at in (connection.ready, connection.over) if at is not None]
    return min(instants, default=float("inf"))


# --- STATE-04 -------------------------------------------------------------------------------------------------


@check(
    "STATE-04",
    "The buffered amount counts the bytes that were accepted and not yet handed to the network; above the high mark "
    "senders wait or are refused.",
    figures=("state.high_water", "replay.queue_bytes"),
    needs=("message",),
)
def buffered_amount_is_told(story: Story, profile: Profile) -> Finding:
    """Each answer to the question for the buffered amount goes with what was asked for, sent and settled by then."""
    return worst(
        (
            finding
            for traffic in traffics(story, profile)
            for event in traffic.client.told("buffered")
            if (finding := _amount(traffic, event)) is not None
        ),
        otherwise=inconclusive(
            "not provoked: nobody asked for the buffered amount while something waited, or the network took all of "
            "it; put the answers on record: wschaos.report({'event': 'buffered', 'bytes': ...})"
        ),
    )


def _amount(traffic: Traffic, event: Event) -> Finding | None:
    """What is to be said of one answer; None: it is neither here nor there."""
    value = event.get("bytes")
    if not isinstance(value, int) or value < 0:
        return failed(f"the buffered amount was {value!r}; expected bytes, 0 or more", at=event.at)
    # Events of one instant are told apart by their order.
    told = traffic.client.app[: next(n for n, other in enumerate(traffic.client.app) if other is event)]
    link = next((link for link in traffic.links if link.ready <= event.at and not _over(traffic, link, event.at)), None)
    waiting, written = _split(traffic, _unsettled(told), event.at)
    finding = _too_much(traffic, told, event, link)
    if finding is not None and finding.outcome is Outcome.FAIL:
        return finding
    if link is None:
        return _while_down(waiting, event)
    if written and not waiting and _fresh(traffic, link, written, event.at):
        return _when_written(written, event)
    return finding


def _over(traffic: Traffic, link: Link, instant: float) -> bool:
    """Whether a link had broken by an instant; the record's end is no end of it."""
    return link.until <= instant and link.until < traffic.story.record.until


def _too_much(traffic: Traffic, told: list[Event], event: Event, link: Link | None) -> Finding | None:
    """Whether more was accepted than the high mark allows; while down the queue has bounds of its own."""
    profile, value = traffic.profile, event["bytes"]
    mark = profile.state.high_water if link is not None else max(profile.state.high_water, profile.replay.queue_bytes)
    largest = max((e["size"] for e in told if e.kind == "app.send"), default=0)
    if value > mark + 2 * largest + WRAPPING:
        return failed(
            f"{value} bytes were buffered; above {mark} senders wait or are refused "
            f"(the largest message has {largest} bytes)",
            at=event.at,
        )
    if value >= mark / 2:
        return passed(f"{value} bytes were buffered (high mark {mark}); senders waited, or were refused", bytes=value)
    return None


def _while_down(waiting: list[Event], event: Event) -> Finding | None:
    """Whether what waited for a link was counted."""
    least, value = sum(ask["size"] for ask in waiting), event["bytes"]
    if not least or any(ask.get("binary") for ask in waiting):
        return None  # of a blob nobody can tell how much has gone out
    what = f"while the client was down and {len(waiting)} messages of {least} bytes waited"
    if value < least / 2:
        return failed(f"{value} bytes were told as buffered {what}", at=event.at)
    return passed(f"{value} bytes were told as buffered {what}", bytes=value)


def _when_written(written: list[Event], event: Event) -> Finding | None:
    """Whether what was written and not acknowledged was left out."""
    size, value = sum(ask["size"] for ask in written), event["bytes"]
    if size <= 2 * WRAPPING:
        return None
    what = f"when {len(written)} messages of {size} bytes were with the network, unacknowledged, and none waited"
    if value > size / 2:
        return failed(f"{value} bytes were told as buffered {what}", at=event.at)
    return passed(f"{value} bytes were told as buffered {what}", bytes=value)


def _unsettled(told: list[Event]) -> list[Event]:
    """The sends that were asked for, and whose end the client had not told."""
    done = {e.get("ref") for e in told if e.kind == "app.settled"}
    done |= {ref for e in told if e.kind == "app.gave_up" for ref in e.get("undelivered") or ()}
    return [e for e in told if e.kind == "app.send" and (e.get("ref") is None or e["ref"] not in done)]


def _split(traffic: Traffic, asks: list[Event], instant: float) -> tuple[list[Event], list[Event]]:
    """Those that had not been sent by an instant, and those that had."""
    sent = Counter(e["digest"] for link in traffic.links for e in link.sent if e.at <= instant)
    waiting: list[Event] = []
    written: list[Event] = []
    for ask in asks:
        (written if sent[ask["digest"]] > 0 else waiting).append(ask)
        sent[ask["digest"]] -= 1
    return waiting, written


def _fresh(traffic: Traffic, link: Link, written: list[Event], instant: float) -> bool:
    """Whether messages were all written on the current link, so long ago that the client must know it."""
    digests = {ask["digest"] for ask in written}
    last = max((e.at for e in link.sent if e["digest"] in digests and e.at <= instant), default=None)
    if last is None or written[0].at < link.ready:
        return False
    return instant - last > GRACE + STANDSTILLS * traffic.story.record.lag(last, instant)
