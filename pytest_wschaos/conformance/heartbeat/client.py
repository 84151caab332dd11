"""Cases of HEARTBEAT, for clients."""

from __future__ import annotations

from ...checks.verdict import Finding, failed, inconclusive, passed
from ..subjects.subject import Unsupported
from ..suite.case import case
from ..suite.stage import Stage

DEATHS = [
    {"how": "both-ways", "direction": "both", "words": "both ways"},
    {"how": "upwards", "direction": "up", "words": "from the client to the server"},
    {"how": "downwards", "direction": "down", "words": "from the server to the client"},
]
CHATTER = '{"type":"ping","n":"chatter"}'
"""What a server may say at any time, and what is only a text to a client that speaks no protocol of ours."""
WIDE = {"heartbeat": {"deadline": 1.0}, "reconnect": {"open_timeout": 3.0}, "auth": {"timeout": 3.0}}
"""A longer deadline: what is within it must be told from what is past it on a busy machine, too."""
QUIET_SERVER = {"heartbeat": {"server_interval": None}}
"""The server does not ping: no traffic stands beside the pongs, and it reaps nobody first."""
PATIENT_SERVER = {"heartbeat": {"server_interval": None, "server_deadline": 60.0}}
"""Nor does it cut a client whose link takes little: it sees that through buffers, in large steps."""
LARGE = 512 * 1024
"""Bytes of a large message; under the limit of any server that we know of."""


def _interval(stage: Stage) -> float:
    """The interval of the client's pings, in seconds.

    Raises:
        Unsupported: it declares none.
    """
    interval = stage.profile.heartbeat.interval
    if interval is None:
        raise Unsupported("the profile declares no heartbeat (heartbeat.interval is none)")
    return interval


def given_up_amid(stage: Stage, what: str) -> Finding | None:
    """A finding where the client has given up its first link, on which something was on its way."""
    record = stage.chaos.freeze()
    ended = [e for e in record.events if e.place == "client" and e.conn == 1 and e.kind in ("end", "close")]
    # A proxy that lets little through reads little, and sees the end of it late.
    ended += [e for e in record.events if e.kind == "app.closed" or (e.kind == "attempt" and e.conn != 1)]
    gone = min(ended, key=lambda event: event.at, default=None)
    if gone is None or gone.get("by") == "proxy" or (gone.kind == "close" and gone.way == "down"):
        return None
    if (lag := record.lag(0.0, gone.at)) > stage.profile.heartbeat.deadline / 2:
        return inconclusive(f"the link was given up while {what} was on its way, and the harness {lag:.3f} s late")
    return failed(f"the link was given up while {what} was on its way", at=gone.at)


async def _back(stage: Stage) -> None:
    """Let the client come back, whatever its first attempt met."""
    await stage.saw("ready", timeout=2 * stage.comeback + stage.profile.reconnect.open_timeout)
    await stage.pause(stage.slack)


async def _chatter(stage: Stage, seconds: float) -> None:
    """Let the server say something eight times in every deadline."""
    step = stage.profile.heartbeat.deadline / 8
    for _ in range(round(seconds / step)):
        stage.chaos.server.say(CHATTER)
        await stage.pause(step)


# --- HEARTBEAT-01 ---------------------------------------------------------------------------------------------


@case("HEARTBEAT-01/idle", "The client pings on its own clock while nothing else happens.")
async def idle(stage: Stage) -> None:
    await stage.ready()
    await stage.pause(_interval(stage) * 3.5)


@case("HEARTBEAT-01/busy", "The client pings on its own clock while the server has something to say all the time.")
async def busy(stage: Stage) -> None:
    await stage.ready()
    await _chatter(stage, _interval(stage) * 2.5)


@case("HEARTBEAT-01/sending", "The client pings on its own clock while it has something to say itself.", needs=["send"])
async def sending(stage: Stage) -> None:
    client = await stage.ready()
    for number in range(20):
        await client.send(f"busy {number}")
        await stage.pause(_interval(stage) / 8)


# --- HEARTBEAT-02, 03, 07 -------------------------------------------------------------------------------------


@case(
    "HEARTBEAT-02/dead-{how}",
    "A link that is dead {words} is abandoned at once when no pong has come by the deadline.",
    each=DEATHS,
    figures=QUIET_SERVER,
)
async def dead(stage: Stage, how: str, direction: str, words: str) -> None:
    await stage.ready()
    with stage.chaos.silent_drop(direction):  # type: ignore[arg-type]
        await stage.saw("attempt", timeout=stage.found_out)
    await _back(stage)


@case(
    "HEARTBEAT-02/pongs-stop",
    "A server that no longer answers pings is given up at the deadline.",
    figures=QUIET_SERVER,
)
async def pongs_stop(stage: Stage) -> None:
    await stage.ready()
    with stage.chaos.mute_pongs():
        await stage.saw("attempt", timeout=stage.found_out)
    await _back(stage)


@case("HEARTBEAT-02/late-pong", "A pong that comes after the deadline comes too late.", figures=QUIET_SERVER)
async def late_pong(stage: Stage) -> None:
    await stage.ready()
    with stage.chaos.stall("down"):
        await stage.saw("ping", timeout=_interval(stage) * 1.5)
        await stage.pause(stage.profile.heartbeat.deadline * 1.5 + stage.slack)
    await _back(stage)


@case(
    "HEARTBEAT-02/while-it-sends",
    "A link that dies while the client sends is given up at the deadline, though TCP takes all that it writes.",
    needs=["send"],
    figures=QUIET_SERVER,
)
async def while_it_sends(stage: Stage) -> None:
    client = await stage.ready()
    with stage.chaos.silent_drop():
        for number in range(20):
            await client.send(f"into the void {number}")
            await stage.pause(stage.profile.detection / 20)
        await stage.saw("attempt", timeout=stage.found_out - stage.profile.detection)
    await _back(stage)


@case("HEARTBEAT-03/pongs-stop", "Messages of the server do not stand in for the pongs that do not come.")
async def pongs_stop_amid_traffic(stage: Stage) -> None:
    await stage.ready()
    with stage.chaos.mute_pongs():
        await _chatter(stage, stage.profile.detection + stage.profile.longest_first_delay)
    await _back(stage)


@case(
    "HEARTBEAT-03/dead-upwards",
    "A link that is dead upwards is given up, though messages of the server still come.",
    figures=QUIET_SERVER,
)
async def dead_upwards_amid_traffic(stage: Stage) -> None:
    await stage.ready()
    with stage.chaos.silent_drop("up"):
        await _chatter(stage, stage.profile.detection + stage.profile.longest_first_delay)
    await _back(stage)


@case("HEARTBEAT-03/foreign-pong", "A pong to a ping that the client did not send proves nothing.")
async def foreign_pongs(stage: Stage) -> None:
    await stage.ready()
    step = stage.profile.heartbeat.deadline / 4
    with stage.chaos.mute_pongs():
        for _ in range(round((stage.profile.detection + stage.profile.longest_first_delay) / step)):
            stage.chaos.server.say('{"type":"pong","n":"foreign"}')
            stage.chaos.server.say_pong(b"foreign")
            await stage.pause(step)
    await _back(stage)


@case("HEARTBEAT-07/acknowledged", "A dead link is found out behind a proxy that acknowledges all at TCP level.")
async def acknowledged(stage: Stage) -> None:
    await stage.ready()
    with stage.chaos.silent_drop():
        await stage.saw("attempt", timeout=stage.found_out + stage.profile.detection)
        await stage.pause(stage.slack)
    await _back(stage)


# --- HEARTBEAT-04 ---------------------------------------------------------------------------------------------


@case("HEARTBEAT-04/slow-link", "A round trip of eight tenths of the deadline is no death.", scaled=WIDE)
async def slow_link(stage: Stage) -> None:
    await stage.ready()
    with stage.chaos.latency(stage.profile.heartbeat.deadline * 0.4):
        await stage.pause(stage.profile.detection * 2.5)


@case(
    "HEARTBEAT-04/large-message-down",
    "While a large message trickles in, the pong behind it is waited for.",
    needs=["subscribe"],
    figures=PATIENT_SERVER,
    scaled=WIDE,
)
async def large_message_down(stage: Stage) -> Finding | None:
    await stage.ready("news")
    takes = stage.profile.heartbeat.deadline * 3
    await stage.pause(_interval(stage) - stage.profile.heartbeat.deadline / 2)
    with stage.chaos.bandwidth(LARGE / takes, "down"):
        stage.chaos.server.publish("news", "x" * LARGE)
        await stage.pause(takes * 1.2)
    await stage.pause(stage.profile.heartbeat.deadline)
    return given_up_amid(stage, "a large message")


@case(
    "HEARTBEAT-04/large-message-up",
    "A large message that goes out slowly leaves room for pings and their answers.",
    needs=["send"],
    figures=PATIENT_SERVER,
    scaled=WIDE,
)
async def large_message_up(stage: Stage) -> Finding | None:
    client = await stage.ready()
    takes = stage.profile.heartbeat.deadline * 3
    await stage.pause(_interval(stage) - stage.profile.heartbeat.deadline / 2)
    with stage.chaos.bandwidth(LARGE / takes, "up"):
        await client.send("x" * LARGE)
        await stage.pause(takes * 1.4)
    await stage.pause(stage.profile.heartbeat.deadline)
    if (finding := given_up_amid(stage, "a large message")) is not None:
        return finding
    # How long an answer took is not seen: the proxy reads a ping only when it lets it through.
    events = stage.chaos.freeze().events
    begun = next((e.at for e in events if e.kind == "app.send"), 0.0)
    arrived = next((e.at for e in events if e.kind == "message" and e.place == "server" and e.way == "up"), None)
    if arrived is None or arrived - begun < stage.profile.heartbeat.deadline:
        return inconclusive("not provoked: the message did not go out slowly")
    return passed(f"the link stayed while a message took {arrived - begun:.3f} s to go out")


@case(
    "HEARTBEAT-04/paused-reader",
    "An application that does not read keeps no pong from the client.",
    needs=["pause", "subscribe"],
    scaled=WIDE,
)
async def paused_reader(stage: Stage) -> None:
    client = await stage.ready("news")
    await client.pause_reading()
    for number in range(300):  # more than a server has on the wire, so that it stops
        stage.chaos.server.publish("news", f"unread {number}")
    with stage.chaos.latency(stage.profile.heartbeat.deadline * 0.2):  # so that there is an answer to wait for
        await stage.pause(stage.profile.detection * 2)
    await client.resume_reading()
    await stage.pause(stage.slack)


# --- HEARTBEAT-06, 08, 09 -------------------------------------------------------------------------------------


@case(
    "HEARTBEAT-06/idle-proxy",
    "An idle link outlives a proxy that cuts each direction after less than two intervals of silence.",
    figures=QUIET_SERVER,  # it would keep the link in the client's place
)
async def idle_proxy(stage: Stage) -> None:
    client = await stage.client(connect=False)
    interval = _interval(stage)
    with stage.chaos.idle_timeout(interval * 1.8):
        await client.connect()
        await stage.saw("ready")
        await stage.pause(interval * 20)  # ten minutes, by default


@case("HEARTBEAT-08/next-stays", "After a dead link the next one, which is healthy, stays.")
async def next_stays(stage: Stage) -> None:
    await stage.ready()
    with stage.chaos.silent_drop():
        await stage.saw("attempt", timeout=stage.found_out)
    await stage.saw("ready", timeout=stage.comeback + stage.profile.reconnect.open_timeout)
    await stage.pause(stage.profile.detection * 1.6)


@case("HEARTBEAT-08/ping-rate", "After five reconnects the client pings no more often than before.")
async def ping_rate(stage: Stage) -> None:
    await stage.ready()
    await stage.pause(_interval(stage) * 2.2)
    for number in range(5):
        (stage.chaos.abort if number % 2 else stage.chaos.disconnect)()
        if not await stage.saw("ready", timeout=stage.comeback):
            break
        await stage.settle()
    await stage.pause(_interval(stage) * 3.5)


@case(
    "HEARTBEAT-09/asleep",
    "After a sleep the client tests the link before it sends anything into it.",
    needs=["send"],
    figures=QUIET_SERVER,
    process=True,
)
async def asleep(stage: Stage) -> None:
    client = await stage.ready()
    await stage.settle()
    with stage.chaos.suspend(client.pid, client.name):
        await stage.pause(_interval(stage) * 1.2 + stage.slack)
        await client.send("asked for in its sleep")
    await stage.saw("message", timeout=stage.profile.detection)
    await stage.pause(stage.slack)


@case(
    "HEARTBEAT-09/link-gone",
    "A link that died while the client slept is tested on waking, and given up by the deadline.",
    needs=["send"],
    figures=QUIET_SERVER,
    process=True,
)
async def link_gone(stage: Stage) -> None:
    client = await stage.ready()
    await stage.settle()
    with stage.chaos.silent_drop():
        with stage.chaos.suspend(client.pid, client.name):
            await stage.pause(_interval(stage) * 1.2 + stage.slack)
            await client.send("asked for in its sleep")
        await stage.saw("end", timeout=stage.profile.detection)
    await _back(stage)
