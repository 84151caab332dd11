"""Cases of MESSAGE, for clients."""

from __future__ import annotations

from ...checks.verdict import Finding, failed, inconclusive, passed
from ...timeline import digest
from ..heartbeat.client import PATIENT_SERVER, given_up_amid
from ..suite.case import case
from ..suite.stage import Stage

CHUNKS = 10
"""In a blob that is streamed."""
LONGER = {"heartbeat": {"deadline": 1.0}}
"""A longer deadline: a slow link must be told from a busy machine."""


# --- MESSAGE-01 -----------------------------------------------------------------------------------------------


@case("MESSAGE-01/up", "JSON goes up as text and a blob as binary, whatever they hold.", needs=["send", "chunks"])
async def kinds_up(stage: Stage) -> None:
    client = await stage.ready()
    await client.send_binary(100)  # all of it is valid text
    await client.send("AAECAwQF")  # like a blob in base64
    await client.send('{"type":"ping"}')
    await client.send_binary(2000)
    await stage.saw("app.settled", 4, timeout=stage.profile.heartbeat.deadline)
    await stage.pause(0.5 + stage.slack)


@case("MESSAGE-01/down", "A text that holds JSON stays a text, and a blob that holds JSON a blob.", needs=["subscribe"])
async def kinds_down(stage: Stage) -> Finding | None:
    client = await stage.ready("news")
    stage.chaos.server.publish("news", '{"guess": 1}')
    stage.chaos.server.publish("news", "AAECAwQF")
    if "chunks" in client.hello.can:
        stage.chaos.server.publish("news", b'{"guess":2}')
    await stage.pause(1.0 + stage.slack)
    guessed = {digest({"guess": 1}): "a text", digest({"guess": 2}): "a blob"}
    for event in stage.chaos.freeze().events:
        if event.kind == "app.message" and event.get("digest") in guessed:
            what = guessed[event["digest"]]
            return failed(f"{what} that holds JSON was told to the application as the object in it", at=event.at)
    return None


# --- MESSAGE-02 -----------------------------------------------------------------------------------------------


@case(
    "MESSAGE-02/up", "Messages go up in the order in which they were sent, large ones among small ones.", needs=["send"]
)
async def order_up(stage: Stage) -> None:
    client = await stage.ready()
    for number in range(40):
        await client.send(f"{number} " + "x" * (stage.profile.message.chunk * 2 if number % 10 == 5 else 10))
    await stage.saw("app.settled", 40, timeout=stage.profile.heartbeat.deadline + 200 / stage.profile.security.rate)
    await stage.pause(stage.slack)


@case(
    "MESSAGE-02/down",
    "Messages are told in the order in which they came, large ones among small ones.",
    needs=["subscribe"],
)
async def order_down(stage: Stage) -> None:
    await stage.ready("news")
    for number in range(40):
        large = stage.profile.message.chunk * 2 if number % 10 == 5 else 10
        stage.chaos.server.publish("news", f"{number} " + "x" * large)
    await stage.saw("app.message", 40, timeout=stage.profile.heartbeat.deadline)
    await stage.pause(stage.slack)


# --- MESSAGE-03 -----------------------------------------------------------------------------------------------


@case("MESSAGE-03/large-down", "A large message, which comes in fragments, is told whole.", needs=["subscribe"])
async def large_down(stage: Stage) -> Finding | None:
    await stage.ready("news")
    size = stage.profile.message.max_size * 9 // 10
    stage.chaos.server.publish("news", "down " + "x" * size)
    if not await stage.saw("app.message"):
        return failed(f"a message of {size} bytes did not reach the application")
    await stage.pause(0.5 + stage.slack)
    return None


@case("MESSAGE-03/large-up", "A large message arrives whole.", needs=["send"])
async def large_up(stage: Stage) -> Finding | None:
    client = await stage.ready()
    stage.require_protocol("what reaches an echo is no message")
    size = stage.profile.message.max_size * 9 // 10
    await client.send("up " + "x" * size)
    if not await stage.saw("message", place="server"):
        return failed(f"a message of {size} bytes did not arrive")
    await stage.pause(0.5 + stage.slack)
    return None


@case(
    "MESSAGE-03/too-large-up",
    "A message over the limit is refused by the client itself, and the next one goes out.",
    needs=["send"],
)
async def too_large_up(stage: Stage) -> Finding | None:
    client = await stage.ready()
    stage.require_protocol("no limit of its messages is declared to it")
    await client.send("x" * (stage.profile.message.max_size * 6 // 5))
    await client.send("fine")
    await stage.saw("app.settled", 2, timeout=stage.profile.heartbeat.deadline)
    await stage.pause(1.5 + stage.slack)
    if not any(received.data == "fine" for received in stage.chaos.server.received):
        return failed("a message that was sent after one over the limit did not arrive")
    return None


@case("MESSAGE-03/too-large-down", "A message that comes over the limit is answered with Close 1009.")
async def too_large_down(stage: Stage) -> None:
    await stage.ready()
    await stage.settle()
    size = stage.profile.message.max_size * 6 // 5
    stage.chaos.server.say('{"type":"error","code":4400,"reason":"' + "x" * size + '"}')
    await stage.saw("close", timeout=stage.profile.heartbeat.deadline)
    await stage.pause(1.5 + stage.slack)


# --- MESSAGE-04 -----------------------------------------------------------------------------------------------


@case(
    "MESSAGE-04/heartbeats",
    "A blob that goes out slowly goes in chunks, between which pings go out and are answered.",
    needs=["chunks"],
    figures=PATIENT_SERVER,
    scaled=LONGER,
)
async def heartbeats_amid_a_blob(stage: Stage) -> Finding | None:
    client = await stage.ready()
    deadline, interval = stage.profile.heartbeat.deadline, stage.profile.heartbeat.interval or 0.0
    size = CHUNKS * stage.profile.message.chunk - 1000
    await stage.pause(max(0.0, interval - deadline / 2))
    with stage.chaos.bandwidth(size / (3 * deadline), "up"):
        await client.send_binary(size)
        await stage.saw("app.settled", timeout=4 * deadline)
    await stage.pause(deadline / 2)
    return given_up_amid(stage, "a blob")


@case(
    "MESSAGE-04/messages",
    "While a blob goes out slowly, the server's messages reach the application.",
    needs=["chunks", "subscribe"],
    figures=PATIENT_SERVER,
    scaled=LONGER,
)
async def messages_amid_a_blob(stage: Stage) -> Finding | None:
    client = await stage.ready("news")
    deadline = stage.profile.heartbeat.deadline
    size = CHUNKS * stage.profile.message.chunk - 1000
    with stage.chaos.bandwidth(size / (2 * deadline), "up"):
        await client.send_binary(size)
        for number in range(8):
            await stage.pause(deadline / 8)
            stage.chaos.server.publish("news", f"meanwhile {number}")
        told = sum(e.kind == "app.message" for e in stage.chaos.freeze().events)
        await stage.saw("app.settled", 2, timeout=3 * deadline)  # the subscription, too
    if told < 6:
        return failed(f"8 messages came while a blob was on its way; {told} had reached the application")
    return given_up_amid(stage, "a blob")


@case("MESSAGE-04/down", "A blob that comes in chunks is told whole, once.", needs=["chunks", "subscribe"])
async def blob_down(stage: Stage) -> Finding:
    await stage.ready("news")
    stage.chaos.server.publish("news", bytes(range(251)) * 1000)
    stage.chaos.server.publish("news", "after the blob")
    await stage.saw("app.message", 2, timeout=stage.profile.heartbeat.deadline)
    await stage.pause(0.5 + stage.slack)
    events = stage.chaos.freeze().events
    chunks = sum(e.kind in ("binary", "message") and e.place == "client" and e.way == "down" for e in events) - 1
    told = [e for e in events if e.kind == "app.message"]
    if chunks < 2:
        return inconclusive("not provoked: the server sent no blob in chunks")
    if len(told) != 2 or told[1].get("digest") != digest("after the blob"):
        return failed(f"a blob in {chunks} chunks and a text came; {len(told)} messages were told, or in another order")
    return passed(f"a blob in {chunks} chunks was told once, and the text after it behind it")
