"""Cases of REPLAY, for clients."""

from __future__ import annotations

from ...checks.verdict import Finding, failed, inconclusive, passed
from ..subjects.subject import Client
from ..suite.case import case
from ..suite.stage import Stage

SMALL_QUEUE = 20
"""Messages in the queue of a case that fills it."""
SMALL_QUEUE_BYTES = 64 * 1024
SMALL_LOG = 10
"""Messages that the server keeps in a case that overruns its log."""
GRACEFUL = {"backoff": {"base": 0.4}}
"""A longer first wait: what is sent while down must be told from what is sent before and after."""
BURST = 50
"""Messages in a burst: less than any server's limit at once."""
MANY = 150
"""Messages that are more than the default burst of the server."""


UNTOLD = "an echo acknowledges nothing, so that nobody can know what became of a message"


async def _ready(stage: Stage, *topics: str) -> Client:
    """A client whose connection is stable, and that is subscribed."""
    client = await stage.ready(*topics)
    await stage.settle()
    return client


async def _back(stage: Stage) -> bool:
    """Wait until the client is ready again, whatever it met on the way."""
    return await stage.saw("ready", timeout=2 * stage.comeback + stage.profile.reconnect.open_timeout)


async def _calm(stage: Stage, frames: int = 20) -> None:
    """Let what is kept be sent, and answered."""
    rate = stage.profile.security.rate
    await stage.pause(1.0 + 3 * frames / rate + stage.slack)


async def _send(client: Client, count: int, what: str) -> list[str]:
    return [await client.send(f"{what} {number}") for number in range(count)]


def _publish(stage: Stage, count: int, what: str) -> None:
    for number in range(count):
        stage.chaos.server.publish("news", f"{what} {number}")


# --- REPLAY-01 ------------------------------------------------------------------------------------------------


@case("REPLAY-01/while-down", "What is sent while the client waits is delivered in order.", needs=["send"])
async def while_down(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.refuse():
        await stage.saw("app.closed", timeout=stage.comeback)
        await _send(client, 10, "while down")
        await stage.saw("attempt", 2, timeout=stage.comeback)
    await _back(stage)
    await _send(client, 3, "newer")
    await _calm(stage)


@case(
    "REPLAY-01/dead-link",
    "What was sent into a dead link and what was sent when that was known are delivered, in this order.",
    needs=["send"],
    scaled=GRACEFUL,
)
async def dead_link(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.silent_drop():
        await _send(client, 3, "into the void")
        await stage.saw("end", timeout=stage.found_out)
        await _send(client, 3, "while down")
    await _back(stage)
    await _send(client, 3, "newer")
    await _calm(stage)


@case(
    "REPLAY-01/newer-behind",
    "What is sent as soon as the client is back does not overtake what waits.",
    needs=["send"],
    scaled=GRACEFUL,
)
@case("REPLAY-05/flush", "What was queued goes out under the server's rate limit.", needs=["send"], scaled=GRACEFUL)
async def flush(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.refuse():
        await stage.saw("app.closed", timeout=stage.comeback)
        await _send(client, MANY, "while down")
    await _back(stage)
    await _send(client, 20, "newer")
    await _calm(stage, MANY + 20)


# --- REPLAY-02, 03 --------------------------------------------------------------------------------------------


@case(
    "REPLAY-02/not-arrived",
    "What was written and had not arrived when the link broke is sent again with the same ids.",
    needs=["send"],
)
@case("REPLAY-03/not-arrived", "What had not arrived when the link broke arrives once.", needs=["send"])
async def not_arrived(stage: Stage) -> None:
    client = await _ready(stage)
    await _send(client, 3, "arrives")
    await stage.saw("ack", 3, stage.profile.heartbeat.deadline)
    with stage.chaos.silent_drop("up"):
        await _send(client, 5, "does not arrive")
        await stage.saw("message", 5, stage.profile.heartbeat.deadline)
        stage.chaos.abort()
    await _back(stage)
    await _calm(stage)


@case("REPLAY-03/ack-lost", "What arrived and whose ack was lost arrives once.", needs=["send"])
@case("REPLAY-06/ack-lost", "What arrived and whose ack was lost settles.", needs=["send"])
async def ack_lost(stage: Stage) -> None:
    client = await _ready(stage)
    stage.require_protocol(UNTOLD)
    await _lose_acks(stage, client, "arrives")
    await _back(stage)
    await _send(client, 3, "newer")
    await _calm(stage)


@case("REPLAY-03/two-in-a-row", "Where acks are lost on two connections in a row all arrives once.", needs=["send"])
async def two_in_a_row(stage: Stage) -> None:
    client = await _ready(stage)
    for number in range(2):
        await _lose_acks(stage, client, f"round {number}")
        await _back(stage)
    await _calm(stage)


async def _lose_acks(stage: Stage, client: Client, what: str) -> None:
    """The server gets messages, and the link breaks before its acks have come."""
    with stage.chaos.silent_drop("down"):
        await _send(client, 5, what)
        await stage.saw("message", 5, stage.profile.heartbeat.deadline, place="server")
        stage.chaos.abort()


@case("REPLAY-02/mid-burst", "What was under way in a burst when the link broke is sent again.", needs=["send"])
@case("REPLAY-03/mid-burst", "A burst in whose midst the link breaks arrives once.", needs=["send"])
async def mid_burst(stage: Stage) -> None:
    client = await _ready(stage)
    deadline = stage.profile.heartbeat.deadline
    with stage.chaos.bandwidth(BURST * 1000 / deadline, "up"):
        for number in range(BURST):
            await client.send(f"{number} " + "x" * 1000)
        await stage.saw("message", BURST // 4, deadline, place="server")
        stage.chaos.abort()
    await _back(stage)
    await _calm(stage, BURST)


@case("REPLAY-03/mid-frame", "A message in whose midst the link breaks arrives once.", needs=["send"])
async def mid_frame(stage: Stage) -> Finding | None:
    client = await _ready(stage)
    deadline = stage.profile.heartbeat.deadline
    large = "x" * (256 * 1024)
    with stage.chaos.bandwidth(len(large) / deadline, "up"):
        await client.send(large)
        await stage.pause(deadline / 2)
        stage.chaos.abort()
    back = await _back(stage)
    await _calm(stage)
    if not back or stage.profile.replay.delivery == "at-most-once":
        return None
    arrived = sum(received.data == large for received in stage.chaos.server.received)
    if arrived != 1:
        return failed(f"a message of {len(large)} bytes, in whose midst the link broke, arrived {arrived} times")
    return passed(f"a message of {len(large)} bytes, in whose midst the link broke, arrived once")


@case(
    "REPLAY-02/fresh-session",
    "Where the session is gone, too, what was not acknowledged is sent again.",
    needs=["send"],
)
async def fresh_session(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.silent_drop():
        await _send(client, 5, "into the void")
        await stage.saw("message", 5, stage.profile.heartbeat.deadline)
        stage.chaos.server.drop_sessions()
        stage.chaos.abort()
    await _back(stage)
    if stage.profile.close.reaction(4410) == "fresh":
        await stage.saw("ready", timeout=2 * stage.comeback)
    await _calm(stage)


@case(
    "REPLAY-03/missed",
    "What the server sent while the link was dead reaches the application, once and in order.",
    needs=["subscribe", "resume"],
)
@case(
    "REPLAY-04/missed",
    "What the server sent while the link was dead is asked for from the last sequence that came.",
    needs=["subscribe", "resume"],
)
async def missed(stage: Stage) -> None:
    await _ready(stage, "news")
    _publish(stage, 5, "seen")
    await stage.saw("message", 5, stage.profile.heartbeat.deadline)
    with stage.chaos.silent_drop():
        _publish(stage, 5, "missed")
        await stage.pause(stage.profile.heartbeat.deadline / 4)
        stage.chaos.abort()
    await _back(stage)
    _publish(stage, 3, "newer")
    await _calm(stage)


# --- REPLAY-04 ------------------------------------------------------------------------------------------------


@case(
    "REPLAY-04/gap",
    "A gap that the server cannot fill is told to the application.",
    needs=["subscribe", "resume"],
    figures={"replay": {"log_messages": SMALL_LOG}},
)
async def gap(stage: Stage) -> Finding | None:
    await _ready(stage, "news")
    _publish(stage, 5, "seen")
    await stage.saw("message", 5, stage.profile.heartbeat.deadline)
    await stage.settle()  # so that what was seen is acknowledged
    with stage.chaos.silent_drop():
        _publish(stage, 3 * SMALL_LOG, "missed")
        await stage.pause(stage.profile.heartbeat.deadline / 4)
        stage.chaos.abort()
    await _back(stage)
    await _calm(stage)
    return _gap_told(stage, "gap")


@case(
    "REPLAY-04/new-epoch",
    "Where the server's stream is another one, the application is told that continuity is lost.",
    needs=["subscribe", "resume"],
)
async def new_epoch_told(stage: Stage) -> Finding | None:
    await _ready(stage, "news")
    _publish(stage, 5, "seen")
    await stage.saw("message", 5, stage.profile.heartbeat.deadline)
    stage.chaos.server.new_epoch()
    stage.chaos.abort()
    await _back(stage)
    await _calm(stage)
    finding = _gap_told(stage, "welcome")
    return finding or passed("the server's stream was another one, and the application was told of a gap")


def _gap_told(stage: Stage, kind: str) -> Finding | None:
    """Whether the application was told of a gap after the last event of a kind had told the client."""
    events = stage.chaos.freeze().events
    came = [e for e in events if e.kind == kind and e.place == "client"][1 if kind == "welcome" else 0 :]
    told = [e for e in events if e.kind == "app.gap"]
    if not came or (kind == "welcome" and came[-1].get("recovered")):
        return inconclusive(f"not provoked: no {kind} told the client of lost continuity")
    if any(e.place == "app" and e.kind == "app.ready" for e in events) and not told:
        what = "messages that cannot be replayed" if kind == "gap" else "another stream"
        return failed(f"the server told of {what}, and the application was told of no gap", at=came[-1].at)
    return None


# --- REPLAY-05, 06 --------------------------------------------------------------------------------------------


@case(
    "REPLAY-05/full-of-messages",
    "A queue that is full of messages refuses the next one with an error.",
    needs=["send"],
    figures={"replay": {"queue_messages": SMALL_QUEUE}},
)
async def full_of_messages(stage: Stage) -> Finding | None:
    client = await _ready(stage)
    stage.require_protocol(UNTOLD)
    bound = stage.profile.replay.queue_messages
    with stage.chaos.refuse():
        await stage.saw("app.closed", timeout=stage.comeback)
        await _send(client, bound + 10, "while down")
        await stage.pause(stage.slack + 0.1)
        refused = _refused(stage)
    return await _bounded(stage, bound + 10, refused, 10, f"a queue of {bound} messages")


@case(
    "REPLAY-05/full-of-bytes",
    "A queue that is full of bytes refuses the next message with an error.",
    needs=["send"],
    figures={"replay": {"queue_bytes": SMALL_QUEUE_BYTES}},
)
async def full_of_bytes(stage: Stage) -> Finding | None:
    client = await _ready(stage)
    stage.require_protocol(UNTOLD)
    bound = stage.profile.replay.queue_bytes
    with stage.chaos.refuse():
        await stage.saw("app.closed", timeout=stage.comeback)
        for number in range(8):
            await client.send(f"{number}" * (bound // 4))
        await stage.pause(stage.slack + 0.1)
        refused = _refused(stage)
    return await _bounded(stage, 8, refused, 4, f"a queue of {bound} bytes")


def _refused(stage: Stage) -> int:
    """How many sends have failed so far."""
    return sum(e.kind == "app.settled" and not e.get("ok") for e in stage.chaos.freeze().events)


async def _bounded(stage: Stage, asked: int, refused: int, least: int, what: str) -> Finding:
    """Whether enough sends were refused while down, and all others delivered."""
    if refused < least:
        return failed(f"{asked} messages for {what}: {refused} were refused with an error; expected {least} or more")
    if not await _back(stage):
        return inconclusive("not provoked: the client did not come back")
    await _calm(stage, asked)
    delivered = len(stage.chaos.server.received)
    if delivered + refused < asked:
        return failed(
            f"{asked} messages for {what}: {refused} were refused, {delivered} delivered, the others are gone"
        )
    return passed(f"{asked} messages for {what}: {refused} were refused with an error, {delivered} delivered")


@case("REPLAY-06/acknowledged", "Every send that is acknowledged settles.", needs=["send"])
async def acknowledged(stage: Stage) -> None:
    client = await _ready(stage)
    stage.require_protocol(UNTOLD)
    await _send(client, 20, "up")
    await _calm(stage, 20)


@case("REPLAY-06/while-down", "What is sent while down settles when it is acknowledged at last.", needs=["send"])
async def settles_later(stage: Stage) -> None:
    client = await _ready(stage)
    stage.require_protocol(UNTOLD)
    with stage.chaos.refuse():
        await stage.saw("app.closed", timeout=stage.comeback)
        await _send(client, 5, "while down")
    await _back(stage)
    await _calm(stage)


@case("REPLAY-06/closed", "What is pending when the application closes settles as failed.", needs=["send"])
async def pending_at_close(stage: Stage) -> None:
    client = await _ready(stage)
    stage.require_protocol(UNTOLD)
    with stage.chaos.silent_drop():
        await _send(client, 5, "pending")
        await stage.saw("message", 5, stage.profile.heartbeat.deadline)
        await client.close()
        await stage.pause(stage.profile.close.timeout + 1.0 + stage.slack)


@case(
    "REPLAY-06/stopped",
    "What is pending when the server forbids the client to come back is handed back.",
    needs=["send"],
)
async def pending_at_stop(stage: Stage) -> Finding | None:
    client = await _ready(stage)
    stage.require_protocol(UNTOLD)
    with stage.chaos.stall("up"):
        await _send(client, 5, "pending")
        await stage.saw("message", 5, stage.profile.heartbeat.deadline)
        stage.chaos.close(4403, "forbidden")
        await stage.saw("close")
    return await _handed_back(stage)


@case("REPLAY-06/given-up", "What was queued when the client gives up is handed back.", needs=["send"],
      figures={"reconnect": {"max_retries": 3}}, scaled=GRACEFUL)  # fmt: skip
async def queued_at_give_up(stage: Stage) -> Finding | None:
    client = await stage.client()
    stage.require_protocol(UNTOLD)
    await stage.saw("ready")
    with stage.chaos.refuse():
        await client.send("never delivered")
        await stage.saw("attempt", stage.retries, timeout=stage.exhaustion)
        return await _handed_back(stage)


def _said(stage: Stage, event: str) -> bool:
    return any(seen.kind == f"app.{event}" for seen in stage.chaos.freeze().events)


async def _handed_back(stage: Stage) -> Finding | None:
    """What is to be said of a client that has no reason to go on, where it does not say that it has stopped."""
    # It may have said so before its last attempt was seen to be refused.
    if _said(stage, "gave_up") or await stage.saw("app.gave_up", timeout=stage.profile.close.timeout):
        await _calm(stage)
        return None
    if await stage.saw("attempt", timeout=stage.absence) or _said(stage, "gave_up"):
        return None
    record = stage.chaos.freeze()
    settled = {event.get("ref") for event in record.events if event.kind == "app.settled"}
    lost = [event for event in record.events if event.kind == "app.send" and event.get("ref") not in settled]
    if not lost:
        return None
    return failed(
        f"{len(lost)} sends never settled: the client made no attempt for {stage.absence:.3f} s, and told nobody that "
        "it had given up",
        at=lost[0].at,
    )


# --- REPLAY-07, 08 --------------------------------------------------------------------------------------------


async def _flows(stage: Stage, *topics: str) -> Finding | None:
    """Whether what is published now reaches the application."""
    if not stage.chaos.server.connections:
        return None
    before = len(stage.chaos.freeze().events)
    for topic in topics:
        stage.chaos.server.publish(topic, f"after the reconnect, on {topic}")
    await stage.pause(1.0 + stage.slack)
    events = stage.chaos.freeze().events[before:]
    told = sum(e.kind == "app.message" for e in events)
    if told < len(topics):
        at = next((e.at for e in events), None)
        return failed(
            f"{len(topics)} messages on topics that it had subscribed to: {told} reached the application", at=at
        )
    return None


@case(
    "REPLAY-07/recovered",
    "In a recovered session nothing is subscribed to again, and data flows.",
    needs=["subscribe", "resume"],
)
async def subscribed_recovered(stage: Stage) -> Finding | None:
    await _ready(stage, "news", "weather")
    for _ in range(2):
        stage.chaos.abort()
        await _back(stage)
        await stage.settle()
    return await _flows(stage, "news", "weather")


@case(
    "REPLAY-07/fresh", "In a fresh session each topic is subscribed to again once, and data flows.", needs=["subscribe"]
)
@case(
    "REPLAY-08/gone",
    "A session that the server does not know is given up for a fresh one.",
    needs=["subscribe", "resume"],
)
async def session_gone(stage: Stage) -> Finding | None:
    await _ready(stage, "news", "weather")
    stage.chaos.server.drop_sessions()
    stage.chaos.abort()
    await _recovered_afresh(stage)
    return await _flows(stage, "news", "weather") if stage.case.rule == "REPLAY-07" else None


async def _recovered_afresh(stage: Stage) -> None:
    """Wait until the client is ready, after a resume that was refused."""
    await stage.saw("ready", timeout=2 * stage.comeback + stage.profile.backoff.nominal(2) * 2)
    await stage.pause(1.0 + stage.slack)


@case("REPLAY-08/gone-twice", "A session that is gone a second time is given up a second time.", needs=["resume"])
async def gone_twice(stage: Stage) -> None:
    await _ready(stage)
    for _ in range(2):
        stage.chaos.server.drop_sessions()
        stage.chaos.abort()
        await _recovered_afresh(stage)
        await stage.settle()


@case(
    "REPLAY-07/new-epoch",
    "In a session with another stream each topic is subscribed to again once.",
    needs=["subscribe", "resume"],
)
@case(
    "REPLAY-08/new-epoch",
    "A stream that is another one is taken over, and the old one not asked for again.",
    needs=["subscribe", "resume"],
)
async def new_epoch(stage: Stage) -> Finding | None:
    await _ready(stage, "news", "weather")
    stage.chaos.server.new_epoch()
    stage.chaos.abort()
    await _back(stage)
    await stage.settle()
    finding = await _flows(stage, "news", "weather") if stage.case.rule == "REPLAY-07" else None
    stage.chaos.abort()
    await _back(stage)
    await _calm(stage)
    return finding


@case("REPLAY-07/unsubscribed", "A topic that was unsubscribed from is not subscribed to again.", needs=["subscribe"])
async def unsubscribed(stage: Stage) -> Finding | None:
    client = await _ready(stage, "news", "weather")
    await client.unsubscribe("weather")
    await stage.saw("ack", timeout=stage.profile.heartbeat.deadline)
    stage.chaos.server.drop_sessions()
    stage.chaos.abort()
    await _recovered_afresh(stage)
    record = stage.chaos.freeze()
    since = [e.at for e in record.events if e.kind == "unsubscribe" and e.place == "client"]
    again = [
        e for e in record.events if e.kind == "subscribe" and since and e.at > since[-1] and e["topic"] == "weather"
    ]
    if again:
        return failed("a topic was subscribed to again that had been unsubscribed from", at=again[0].at)
    return None


# --- REPLAY-09 ------------------------------------------------------------------------------------------------


@case(
    "REPLAY-09/refused-topic",
    "A message that the server refuses is told to the application, and not sent again.",
    needs=["send"],
)
async def refused_topic(stage: Stage) -> None:
    client = await _ready(stage)
    stage.require_protocol("an echo refuses no message")
    stage.chaos.server.refuse_topic("forbidden")
    await client.send("poison", topic="forbidden")
    await client.send("fine")
    await stage.saw("ack", 2, stage.profile.heartbeat.deadline)
    for _ in range(2):
        await stage.settle()
        stage.chaos.abort()
        await _back(stage)
    await _calm(stage)


@case(
    "REPLAY-09/refusal-lost",
    "A message whose refusal was lost with the link is told as refused all the same.",
    needs=["send"],
)
async def refusal_lost(stage: Stage) -> Finding | None:
    client = await _ready(stage)
    stage.require_protocol("an echo refuses no message")
    stage.chaos.server.refuse_topic("forbidden")
    with stage.chaos.silent_drop("down"):
        ref = await client.send("poison", topic="forbidden")
        await stage.saw("message", 1, stage.profile.heartbeat.deadline, place="server")
        stage.chaos.abort()
    if not await _back(stage):
        return inconclusive("not provoked: the client did not come back")
    await stage.settle()
    stage.chaos.abort()
    await _back(stage)
    await _calm(stage)
    settled = [e for e in stage.chaos.freeze().events if e.kind == "app.settled" and e.get("ref") == ref]
    if not settled or settled[0].get("ok"):
        how = "that it succeeded" if settled else "nothing"
        return failed(f"a message was refused, the refusal lost with the link, and the application was told {how}")
    sent = [e for e in stage.chaos.freeze().events if e.kind == "message" and e.place == "client" and e.way == "up"]
    if len(sent) > 2:
        return failed(f"a message that the server had refused was sent {len(sent)} times", at=sent[-1].at)
    return passed("a message was refused, the refusal lost with the link, and the application told all the same")
