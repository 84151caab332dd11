"""Cases of STATE, for clients."""

from __future__ import annotations

from ...checks.verdict import Finding, failed
from ...faults import Fault
from ..subjects.subject import Client
from ..suite.case import case
from ..suite.stage import Stage

SHORT = 0.1
"""Seconds in which a client has done what it was told."""
LOW_MARKS = {"state": {"high_water": 64 * 1024, "low_water": 16 * 1024}}
"""Marks that are reached before the buffers on the way are full, by a client that goes by them."""
LONGER = {"backoff": {"base": 0.4}, "reconnect": {"open_timeout": 3.0}, "auth": {"timeout": 3.0}}
"""Longer waits: a client must be caught while it is in a state."""


async def _moment(stage: Stage) -> None:
    await stage.pause(SHORT + stage.slack)


async def _calm(stage: Stage) -> None:
    """Let what is kept be sent, and answered."""
    await stage.pause(1.0 + 60 / stage.profile.security.rate + stage.slack)


async def _connecting(stage: Stage) -> Client:
    """A client whose handshake is under way."""
    client = await stage.client(connect=False)
    await client.connect()
    await stage.saw("attempt", timeout=stage.profile.reconnect.open_timeout)
    await _moment(stage)
    return client


async def _ready(stage: Stage) -> Client:
    client = await stage.ready()
    await stage.settle()
    return client


async def _waiting(stage: Stage, client: Client) -> None:
    """The client waits for its next attempt."""
    stage.chaos.abort()
    await stage.saw("app.waiting", timeout=stage.comeback)


# --- STATE-01 -------------------------------------------------------------------------------------------------


@case(
    "STATE-01/connecting",
    "While the handshake is under way the ready state is 0, and 1 when it is ready.",
    scaled=LONGER,
)
async def state_connecting(stage: Stage) -> None:
    with stage.chaos.stall():
        client = await _connecting(stage)
        await client.state()
    await stage.saw("app.ready", timeout=stage.profile.reconnect.open_timeout)
    await client.state()


@case("STATE-01/waiting", "While the client waits for its next attempt the ready state is 0.", scaled=LONGER)
async def state_waiting(stage: Stage) -> None:
    client = await _ready(stage)
    await client.state()
    with stage.chaos.refuse():
        await stage.saw("app.waiting", 2, timeout=stage.comeback)
        await client.state()
    await stage.saw("app.ready", timeout=stage.absence)
    await client.state()


@case(
    "STATE-01/closing",
    "While a close handshake is under way the ready state is 2, and 3 when it is over.",
    scaled={"close": {"timeout": 1.0}},
)
async def state_closing(stage: Stage) -> None:
    client = await _ready(stage)
    await client.state()
    with stage.chaos.silent_drop():
        await client.close()
        await stage.pause(stage.profile.close.timeout / 4)
        await client.state()
        await stage.saw("app.closed", timeout=stage.profile.close.timeout)
    await _moment(stage)
    await client.state()


@case("STATE-01/closed", "After close() the ready state is 3.")
async def state_closed(stage: Stage) -> None:
    client = await _ready(stage)
    await client.state()
    await client.close()
    await stage.saw("app.closed", timeout=stage.profile.close.timeout)
    await _moment(stage)
    await client.state()


@case("STATE-01/stopped", "When the client has stopped for good the ready state is 3.")
async def state_stopped(stage: Stage) -> None:
    client = await _ready(stage)
    await client.state()
    stage.chaos.close(4403, "forbidden")
    await stage.saw("app.gave_up", timeout=stage.profile.close.timeout)
    await _moment(stage)
    await client.state()


# --- STATE-02, 03 ---------------------------------------------------------------------------------------------


@case("STATE-02/connecting", "What is sent while connecting does not vanish.", needs=["send"], scaled=LONGER)
@case(
    "STATE-03/first-connection",
    "What is sent before the first ready goes out after it, in order.",
    needs=["send"],
    scaled=LONGER,
)
async def sent_while_connecting(stage: Stage) -> None:
    with _slow_handshake(stage):
        client = await _connecting(stage)
        for number in range(10):
            await client.send(f"early {number}")
        await stage.saw("ready", timeout=stage.profile.reconnect.open_timeout)
    for number in range(3):
        await client.send(f"newer {number}")
    await _calm(stage)


def _slow_handshake(stage: Stage) -> Fault:
    """The server's answer takes about a quarter of the time that an attempt has."""
    return stage.chaos.handshake(byte_delay=stage.profile.reconnect.open_timeout / 800)


@case(
    "STATE-03/reconnecting",
    "What is sent during a later attempt goes out after its ready, in order.",
    needs=["send"],
    scaled=LONGER,
)
async def sent_while_reconnecting(stage: Stage) -> None:
    client = await _ready(stage)
    with _slow_handshake(stage):
        stage.chaos.abort()
        await stage.saw("attempt", timeout=stage.comeback)
        for number in range(10):
            await client.send(f"early {number}")
        await stage.saw("ready", timeout=stage.comeback)
    for number in range(3):
        await client.send(f"newer {number}")
    await _calm(stage)


@case(
    "STATE-03/unwelcomed",
    "What is sent when the connection is open and the welcome has not come goes out after it, in order.",
    needs=["send"],
    scaled=LONGER,
)
async def sent_before_the_welcome(stage: Stage) -> None:
    with stage.chaos.frame("delay", "down", match='"welcome"', seconds=stage.profile.auth.timeout / 4 + stage.slack):
        client = await stage.client()
        await stage.saw("response", timeout=stage.profile.reconnect.open_timeout)
        for number in range(10):
            await client.send(f"early {number}")
        await stage.saw("ready", timeout=stage.profile.reconnect.open_timeout)
    for number in range(3):
        await client.send(f"newer {number}")
    await _calm(stage)


@case("STATE-02/ready", "What is sent into a link that breaks does not vanish.", needs=["send"])
async def sent_into_a_break(stage: Stage) -> None:
    client = await _ready(stage)
    for number in range(20):
        await client.send(f"into the break {number}")
        if number == 10:
            stage.chaos.abort()
    await stage.saw("ready", timeout=stage.comeback)
    await _calm(stage)


@case("STATE-02/waiting", "What is sent while the client waits does not vanish.", needs=["send"])
async def sent_while_waiting(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.refuse():
        await stage.saw("app.waiting", timeout=stage.comeback)
        for number in range(5):
            await client.send(f"while it waits {number}")
        await _moment(stage)
    await stage.saw("ready", timeout=stage.absence)
    await _calm(stage)


@case("STATE-02/closing", "What is sent while the client closes is refused with an error.", needs=["send"])
async def sent_while_closing(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.silent_drop():
        await client.close()
        for number in range(3):
            await client.send(f"too late {number}")
        await stage.pause(stage.profile.close.timeout + 1.0 + stage.slack)


@case("STATE-02/closed", "What is sent after close() is refused with an error.", needs=["send"])
async def sent_when_closed(stage: Stage) -> None:
    client = await _ready(stage)
    await client.close()
    await stage.saw("app.closed", timeout=stage.profile.close.timeout)
    await _moment(stage)
    for number in range(3):
        await client.send(f"too late {number}")
    await _calm(stage)


@case("STATE-02/stopped", "What is sent when the client has stopped for good is refused with an error.", needs=["send"])
async def sent_when_stopped(stage: Stage) -> None:
    client = await _ready(stage)
    stage.chaos.close(4403, "forbidden")
    await stage.saw("app.gave_up", timeout=stage.profile.close.timeout)
    await _moment(stage)
    for number in range(3):
        await client.send(f"too late {number}")
    await _calm(stage)


# --- STATE-04 -------------------------------------------------------------------------------------------------


@case("STATE-04/while-down", "What is queued while down counts as buffered.", needs=["send"])
async def buffered_while_down(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.refuse():
        await stage.saw("app.closed", timeout=stage.comeback)
        for number in range(5):
            await client.send(f"{number}" * 10_000)
            await client.buffered()
        await _moment(stage)


@case("STATE-04/unacknowledged", "What is written and not acknowledged does not count as buffered.", needs=["send"])
async def buffered_unacknowledged(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.silent_drop("down"):
        for number in range(5):
            await client.send(f"{number}" * 10_000)
        await stage.saw("message", 5, stage.profile.heartbeat.deadline)
        await stage.pause(min(SHORT, stage.profile.heartbeat.deadline / 4) + stage.slack / 3)
        await client.buffered()
    await _moment(stage)


@case(
    "STATE-04/not-reading",
    "Against a peer that does not read no more is buffered than the high mark, and below the low one it goes on.",
    needs=["send"],
    figures=LOW_MARKS,
    scaled={"heartbeat": {"deadline": 2.0, "server_deadline": 4.0}},
)
async def buffered_by_a_deaf_peer(stage: Stage) -> Finding | None:
    client = await _ready(stage)
    mark, deadline = stage.profile.state.high_water, stage.profile.heartbeat.deadline
    with stage.chaos.stall("up"):
        for number in range(32):
            await client.send(f"{number:08}" * (mark // 64))
        for _ in range(3):
            await client.buffered()
            await stage.pause(deadline / 10)
    await stage.saw("app.settled", 32, timeout=stage.comeback + deadline)
    settled = sum(e.kind == "app.settled" for e in stage.chaos.freeze().events)
    if settled < 32:
        return failed(f"32 messages were sent to a peer that did not read; it reads again, and {settled} have settled")
    return None
