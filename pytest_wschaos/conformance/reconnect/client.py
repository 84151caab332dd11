"""Cases of RECONNECT, for clients."""

from __future__ import annotations

from typing import Any

from ...checks.tolerance import GRACE, Timing, by
from ...checks.verdict import Finding, failed, inconclusive, passed
from ..subjects.subject import Unsupported
from ..suite.case import case
from ..suite.failures import FAILURES, failures
from ..suite.stage import Stage

LONGER: dict[str, Any] = {"backoff": {"base": 0.4}}
"""A longer base where figures are scaled: a wait must be told from none on a busy machine, too."""

# --- RECONNECT-01


@case("RECONNECT-01/silent-drop", "A link that dies without a word is found out, and replaced.")
async def silent_drop(stage: Stage) -> None:
    await stage.client()
    await stage.saw("ready")
    with stage.chaos.silent_drop():
        await stage.saw("attempt", timeout=stage.found_out)
    await stage.saw("ready", timeout=stage.comeback + stage.profile.reconnect.open_timeout)


@case(
    "RECONNECT-01/silent-drop-while-sending",
    "A link that dies amid traffic is found out, and replaced: what is written to it proves nothing.",
    needs=["send"],
)
async def silent_drop_while_sending(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await client.send("heard")
    with stage.chaos.silent_drop():
        parts = 20
        for number in range(parts):
            await client.send(f"into the void {number}")
            if await stage.saw("attempt", timeout=stage.profile.detection / parts):
                break
        else:
            await stage.saw("attempt", timeout=stage.found_out - stage.profile.detection)
    await stage.saw("ready", timeout=stage.comeback + stage.profile.reconnect.open_timeout)


# --- RECONNECT-02

CUTS = [
    {"how": "reset", "words": "a reset"},
    {"how": "fin", "words": "the end of TCP without a Close"},
]


def cut(stage: Stage, how: str) -> None:
    """Cut what is open, in one way or the other."""
    (stage.chaos.abort if how == "reset" else stage.chaos.disconnect)()


@case("RECONNECT-02/{how}", "After {words} the client comes back without being asked.", each=CUTS)
async def abnormal_end(stage: Stage, how: str, words: str) -> None:
    await stage.client()
    await stage.saw("ready")
    cut(stage, how)
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(stage.slack)


@case("RECONNECT-02/server-down", "After a server that was down for a while the client is back by itself.")
async def server_down(stage: Stage) -> None:
    await stage.client()
    await stage.saw("ready")
    with stage.chaos.refuse():
        await stage.saw("attempt", 2, timeout=stage.absence)
    await stage.saw("ready", timeout=stage.absence + stage.profile.reconnect.open_timeout)


# --- RECONNECT-03


@case("RECONNECT-02/thrice", "The link breaks as soon as it is back: the client comes back each time.")
@case("RECONNECT-03/drops", "Links that break one after the other are replaced one by one.")
async def drops(stage: Stage) -> None:
    await stage.client()
    for how in ("reset", "fin", "reset"):
        if not await stage.saw("ready", timeout=stage.absence):
            return
        cut(stage, how)
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(stage.profile.longest_first_delay)


@case("RECONNECT-03/slow-attempts", "An attempt that takes long is waited for, or given up, before the next one.")
async def slow_attempts(stage: Stage) -> None:
    with stage.chaos.unanswered_handshake():
        await stage.client()
        await stage.saw("attempt", 2, timeout=stage.waits(1) + stage.profile.reconnect.open_timeout)
        await stage.pause(stage.profile.longest_first_delay)
    await stage.saw("ready", timeout=stage.absence + stage.profile.reconnect.open_timeout)


async def amid_the_third_wait(stage: Stage) -> None:
    """Long enough after the second retry was refused for the client to know, and before the third."""
    await stage.saw("attempt", 2, timeout=stage.waits(2))
    await stage.pause(stage.profile.backoff.nominal(3) * stage.profile.jitter.bounds[0] / 2)


@case(
    "RECONNECT-03/asked-while-waiting",
    "Asked to reconnect amid a wait, the client connects once: its timer does not fire any more.",
    needs=["reconnect"],
    scaled=LONGER,
)
async def asked_while_waiting(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    with stage.chaos.refuse():
        await amid_the_third_wait(stage)
    await client.reconnect()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.waits(3) - stage.waits(2))


@case(
    "RECONNECT-03/asked-twice",
    "Asked to reconnect twice in a row, waiting and ready, the client has one connection at a time.",
    needs=["reconnect"],
)
async def asked_twice(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    with stage.chaos.refuse():
        await stage.saw("app.waiting", 2, timeout=stage.waits(1))
    for _ in range(2):
        await client.reconnect()
        await client.reconnect()
        if not await stage.saw("ready", timeout=stage.comeback):
            break
    await stage.pause(stage.waits(2))


@case(
    "RECONNECT-03/asked-while-connecting",
    "Asked to reconnect amid an attempt, the client makes no second one beside it.",
    needs=["reconnect"],
)
async def asked_while_connecting(stage: Stage) -> None:
    timeout = stage.profile.reconnect.open_timeout
    with stage.chaos.silent_drop(resume=True):
        client = await stage.client()
        await stage.saw("attempt")
        await stage.pause(timeout / 4)
        await client.reconnect()
        await stage.pause(timeout / 4)
    await stage.saw("ready", timeout=stage.comeback)
    # Another connection, so that there are two which could overlap.
    await client.reconnect()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.profile.longest_first_delay)


# --- RECONNECT-04


@case("RECONNECT-04/unanswered-handshake", "An attempt whose handshake is not answered has failed at the deadline.")
async def unanswered_handshake(stage: Stage) -> None:
    timeout = stage.profile.reconnect.open_timeout
    with stage.chaos.unanswered_handshake():
        await stage.client()
        await stage.saw("attempt", 2, timeout=timeout + stage.waits(1))
    await stage.saw("ready", timeout=timeout + stage.absence)
    # None of the attempts' timers may end the connection that came of the last one.
    await stage.pause(timeout * 1.2)


@case("RECONNECT-04/slow-handshake", "An attempt is not ready in time where its answer comes byte by byte.")
async def slow_handshake(stage: Stage) -> None:
    timeout = stage.profile.reconnect.open_timeout
    # An answer has more than 100 bytes.
    with stage.chaos.handshake(byte_delay=timeout / 50, connections=1):
        await stage.client()
        await stage.saw("attempt")
        await stage.saw("attempt", timeout=timeout * 1.5 + stage.waits(1))
        await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(timeout * 0.5)


@case("RECONNECT-04/no-welcome", "An attempt that is open, and never becomes ready, has failed at the deadline.")
async def no_welcome(stage: Stage) -> None:
    timeout = stage.profile.reconnect.open_timeout
    with stage.chaos.frame("drop", "down", opcodes=["text"], connections=1):
        await stage.client()
        stage.require_protocol("on a plain echo, open is ready")
        await stage.saw("attempt")
        await stage.saw("attempt", timeout=timeout * 1.5 + stage.profile.close.timeout + stage.waits(1))
        await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(timeout * 0.5)


@case("RECONNECT-04/unanswered-syn", "An attempt to which not even TCP answers has failed at the deadline.")
async def unanswered_syn(stage: Stage) -> Finding | None:
    timeout = stage.profile.reconnect.open_timeout
    fault = stage.chaos.unanswered()
    client = await stage.client()
    if not client.hello.speaks:
        raise Unsupported("attempts that nobody answers leave no trace, and a black box tells of none")
    await stage.saw("app.closed", timeout=timeout * 1.5)
    await stage.saw("app.connecting", timeout=stage.waits(1))
    fault.remove()
    await stage.saw("ready", timeout=stage.absence + timeout)
    await stage.pause(stage.slack)
    record = stage.chaos.freeze()
    if any(e.kind == "fault" and e.get("silent") for e in record.events):
        return None  # on this platform it was accepted after all, and is on record
    begun = [e.at for e in record.events if e.kind == "app.connecting"]
    ended = [e.at for e in record.events if e.kind == "app.closed"]
    if not begun:
        raise Unsupported("attempts that nobody answers leave no trace, and the client tells of none")
    over = min(ended, default=None)
    told = f"nobody answered the attempt that began at {begun[0]:.3f} s"
    timing = by(record, begun[0] + timeout, over, since=begun[0])
    if timing is Timing.DOUBTFUL:
        return inconclusive(f"{told}; whether it was given up within {timeout:.3f} s is too close to call")
    if over is None or timing is Timing.BROKEN:
        took = "never" if over is None else f"after {over - begun[0]:.3f} s"
        return failed(f"{told}; it was given up {took}, expected after {timeout:.3f} s", at=begun[0] + timeout)
    if len(begun) < 2 or not any(e.kind == "ready" for e in record.events):
        return failed(f"{told}; it was given up after {over - begun[0]:.3f} s, and nothing came after it", at=over)
    return passed(
        f"{told}; it was given up after {over - begun[0]:.3f} s (allowed {timeout:.3f} s), the next one came "
        f"{begun[1] - over:.3f} s later",
        given_up_s=over - begun[0],
    )


# --- RECONNECT-05


@case("RECONNECT-05/connecting", "Closed while it waits for the answer to its handshake, the client stays away.")
async def closed_while_connecting(stage: Stage) -> None:
    with stage.chaos.unanswered_handshake():
        client = await stage.client()
        await stage.saw("attempt")
        await stage.pause(stage.profile.reconnect.open_timeout / 4)
        await client.close()
        await stage.saw("end", timeout=stage.profile.close.timeout)
    await stage.pause(stage.quiet)


@case("RECONNECT-05/opening", "Closed while it is open and not yet ready, the client stays away.")
async def closed_while_opening(stage: Stage) -> None:
    with stage.chaos.frame("drop", "down", opcodes=["text"]):
        client = await stage.client()
        stage.require_protocol("on a plain echo, open is ready")
        await stage.saw("response")
        await stage.pause(stage.profile.reconnect.open_timeout / 4)
        await client.close()
        await stage.saw("end", timeout=stage.profile.close.timeout)
    await stage.pause(stage.quiet)


@case("RECONNECT-05/ready", "Closed while it is ready, the client stays away.")
async def closed_while_ready(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.heard(client, "app.ready")
    await client.close()
    await stage.saw("end", timeout=stage.profile.close.timeout)
    await stage.pause(stage.quiet)


@case(
    "RECONNECT-05/waiting",
    "Closed amid a wait, the client stays away: its timer does not fire any more.",
    scaled=LONGER,
)
async def closed_while_waiting(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    with stage.chaos.refuse():
        await amid_the_third_wait(stage)
        await client.close()
    await stage.pause(stage.quiet)


@case("RECONNECT-05/dead-link", "Closed while its link is dead, the client stays away.")
async def closed_while_dead(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.heard(client, "app.ready")
    with stage.chaos.silent_drop():
        await stage.pause(stage.profile.close.timeout / 4)
        await client.close()
        await stage.saw("end", timeout=stage.profile.close.timeout * 2)
    await stage.pause(stage.quiet)


@case("RECONNECT-05/link-lost-while-closing", "Its link breaks amid the close: the client stays away all the same.")
async def lost_while_closing(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.heard(client, "app.ready")
    with stage.chaos.frame("drop", "up", opcodes=["close"]):
        await client.close()
        await stage.pause(stage.profile.close.timeout / 4)
        stage.chaos.abort()
    await stage.pause(stage.quiet)


# --- RECONNECT-06 and RECONNECT-07


@case("RECONNECT-06/{way}", "After max_retries attempts, each of which {fails}, the client stops, and says so.",
      each=failures("refused"))  # fmt: skip
@case(
    "RECONNECT-06/3-retries-{way}",
    "After 3 retries, an odd number, each of which {fails}, the client stops, and says so.",
    each=failures("refused", "reset", "http-503", "unanswered-handshake", "accept-then-close"),
    figures={"reconnect": {"max_retries": 3}},
    scaled=LONGER,
)
@case(
    "RECONNECT-06/4-retries-{way}",
    "After 4 retries, an even number, each of which {fails}, the client stops, and says so.",
    each=failures("refused", "accept-then-close"),
    figures={"reconnect": {"max_retries": 4}},
    scaled=LONGER,
)
async def failing_for_good(stage: Stage, way: str, fails: str) -> None:
    with FAILURES[way].begin(stage.chaos):
        await stage.client()
        allowed = stage.exhaustion + stage.profile.reconnect.open_timeout * stage.retries
        await stage.saw("attempt", stage.retries + 1, timeout=allowed)
        if way == "unanswered-handshake":
            await stage.pause(stage.profile.reconnect.open_timeout)
        await stage.pause(stage.absence)


@case(
    "RECONNECT-07/after-give-up",
    "When it has given up, an explicit reconnect works.",
    needs=["reconnect"],
    figures={"reconnect": {"max_retries": 3}},
)
async def reconnect_after_give_up(stage: Stage) -> None:
    with stage.chaos.refuse():
        client = await stage.client()
        stage.require_limit()
        await stage.saw("app.gave_up", timeout=stage.exhaustion)
    await stage.pause(2 * GRACE)
    await client.reconnect()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.slack)


@case(
    "RECONNECT-07/while-still-down",
    "An explicit reconnect has all its retries again, and works when the server is back.",
    needs=["reconnect"],
    figures={"reconnect": {"max_retries": 2}},
)
async def reconnect_while_down(stage: Stage) -> None:
    with stage.chaos.refuse():
        client = await stage.client()
        stage.require_limit()
        await stage.saw("app.gave_up", timeout=stage.exhaustion)
        await stage.pause(2 * GRACE)
        await client.reconnect()
        await stage.saw("app.waiting", 2, timeout=stage.waits(1) + stage.profile.longest_first_delay)
    await stage.saw("ready", timeout=stage.comeback + stage.waits(2))
    await stage.pause(stage.slack)


# --- RECONNECT-08


@case("RECONNECT-08/first-attempt", "The token provider fails before the first attempt: the client tries again.",
      needs=["token"])  # fmt: skip
async def provider_fails_at_first(stage: Stage) -> None:
    client = await stage.client(connect=False)
    await client.token_fails(1)
    await client.connect()
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(stage.slack)


@case(
    "RECONNECT-08/{word}",
    "The token provider fails {word} after a link was lost: the client tries again.",
    each=[{"word": "once", "times": 1}, {"word": "thrice", "times": 3}],
    needs=["token"],
)
async def provider_fails(stage: Stage, word: str, times: int) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await client.token_fails(times)
    stage.chaos.abort()
    await stage.saw("ready", timeout=stage.waits(times + 1) + stage.absence)
    await stage.pause(stage.slack)


@case(
    "RECONNECT-08/last-retry",
    "The token provider fails at the last retry: the client has given up, and says so.",
    needs=["token"],
    figures={"reconnect": {"max_retries": 3}},
    scaled=LONGER,
)
async def provider_fails_at_last(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    with stage.chaos.refuse():
        await stage.saw("attempt", stage.retries - 1, timeout=stage.exhaustion)
        await client.token_fails(5)
        await stage.saw("app.gave_up", timeout=stage.absence)
        await stage.pause(stage.slack)


# --- RECONNECT-09


@case(
    "RECONNECT-09/ten-drops",
    "Over ten lost links, lost in every way, the application is told of each transition once.",
    figures={"backoff": {"stable_after": 2.0}},
    scaled={"backoff": {"stable_after": 0.5}},
)
async def ten_drops(stage: Stage) -> None:
    await stage.client()
    for number in range(11):  # the last one may come too late to be counted
        if not await stage.saw("ready", timeout=stage.comeback + stage.waits(2)):
            return
        await stage.settle()
        match number % 5:
            case 0:
                stage.chaos.abort()
            case 1:
                stage.chaos.disconnect()
            case 2:
                stage.chaos.close(1012, "restart")
            case 3:
                with stage.chaos.refuse():
                    await stage.saw("attempt", timeout=stage.waits(1))
            case 4:
                with stage.chaos.handshake(503, connections=1):
                    stage.chaos.abort()
                    await stage.saw("attempt", timeout=stage.waits(1))
                    await stage.saw("response")
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.slack + 0.1)


@case(
    "RECONNECT-09/asked-while-waiting",
    "Over ten waits that the application cuts short, it is told of each transition once.",
    needs=["reconnect"],
    scaled=LONGER,
)
async def ten_waits_cut_short(stage: Stage) -> None:
    client = await stage.client()
    for _ in range(11):
        if not await stage.saw("ready", timeout=stage.comeback):
            return
        stage.chaos.abort()
        if not await stage.saw("app.waiting", timeout=stage.profile.close.timeout):
            return  # it does not tell of its waits, and cannot be asked amid one
        await client.reconnect()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.waits(1))  # in which a timer that was left would fire


@case(
    "RECONNECT-09/unwelcomed",
    "A connection that is open, and that the server has not welcomed, is not told to be ready.",
)
async def open_and_unwelcomed(stage: Stage) -> Finding:
    with stage.chaos.frame("drop", "down", opcodes=["text"], connections=1):
        await stage.client()
        stage.require_protocol("on a plain echo, open is ready")
        if not await stage.saw("acted", timeout=stage.profile.reconnect.open_timeout):
            return inconclusive("not provoked: no welcome was on its way")
        await stage.pause(stage.profile.reconnect.open_timeout / 2)
    told = {event.kind: event for event in stage.chaos.freeze().events if event.kind.startswith("app.")}
    if "app.connecting" not in told:
        raise Unsupported("the client tells of no transition")
    if (ready := told.get("app.ready")) is not None:
        return failed("the application was told 'ready', and the welcome had not come", at=ready.at)
    return passed("the welcome did not come, and the application was not told 'ready'")
