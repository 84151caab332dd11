"""Cases of CLOSE, for clients."""

from __future__ import annotations

from typing import Any

from ...checks.ending import FINAL
from ...checks.rule import judge
from ...checks.tolerance import GRACE, Timing, by, late_by
from ...checks.verdict import Finding, Outcome, failed, inconclusive, passed
from ..subjects.subject import Unsupported
from ..suite.case import case
from ..suite.stage import Stage

LONGER: dict[str, Any] = {"backoff": {"base": 0.4}}
"""A longer base where figures are scaled: one step later must be told from the first."""

# --- CLOSE-01

CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 3000, 4000)
CODES_OF_APPLICATIONS = (4400, 4401, 4403, 4408, 4409, 4410, 4500, 4999)
REASONS = {"words": "come back never", "digits": "0", "json": '{"reconnect": false, "code": 1000}'}
"""Reason texts that clients were seen to act upon, by a name for ids."""


async def reacts(stage: Stage) -> None:
    """Wait for as long as it takes to see what the client does after the end that has just come."""
    close = stage.profile.close
    ends = [e for e in stage.chaos.freeze().events if e.kind == "close" and e.place == "client" and e.way == "down"]
    code = ends[-1].get("code") if ends else 1005
    if close.reaction(1005 if code is None else code) in FINAL:
        await stage.pause(stage.absence)
    elif await stage.saw("attempt", timeout=stage.absence):
        await stage.pause(stage.slack)


@case("CLOSE-01/{code}", "After Close {code} the client does what the profile's table says.",
      each=[{"code": code} for code in CODES + CODES_OF_APPLICATIONS])  # fmt: skip
@case(
    "CLOSE-01/{code}-reason-{name}",
    "After Close {code} it does so whatever the reason text: {reason}",
    each=[
        {"code": code, "name": name, "reason": reason}
        for code in (1008, 1011, 4500)
        for name, reason in REASONS.items()
    ],
)
async def closed(stage: Stage, code: int, name: str = "", reason: str = "") -> None:
    await stage.client()
    await stage.saw("ready")
    stage.chaos.close(code, reason)
    await stage.saw("close")
    await reacts(stage)


@case(
    "CLOSE-01/accept-then-close-{code}",
    "A Close {code} right after the handshake is one all the same: the client does what the table says.",
    each=[{"code": code} for code in (1000, 1008, 4400, 4403, 4500, 4999)],
)
async def accepted_then_closed(stage: Stage, code: int) -> None:
    with stage.chaos.accept_then_close(code):
        await stage.client()
        await stage.saw("close")
        await reacts(stage)


@case(
    "CLOSE-01/{code}-later",
    "After Close {code} the client comes back, each time one step of the backoff later than it would.",
    each=[{"code": 1013}, {"code": 4429}],
    scaled=LONGER,
)
async def closed_for_later(stage: Stage, code: int) -> None:
    with stage.chaos.accept_then_close(code):
        await stage.client()
        await stage.saw("attempt", 5, timeout=stage.waits(5))


@case("CLOSE-01/no-code", "After a Close without a code the client comes back.")
async def closed_without_a_code(stage: Stage) -> None:
    await close_without_a_code(stage)
    await reacts(stage)


@case("CLOSE-01/1012-restart", "A server that restarts, closes with 1012 and is down for a while: the client is back.")
async def restart(stage: Stage) -> None:
    await stage.client()
    await stage.saw("ready")
    stage.chaos.close(1012, "restart")
    await stage.saw("end")
    with stage.chaos.refuse():
        await stage.saw("attempt", 2, timeout=stage.absence)
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(stage.slack)


@case(
    "CLOSE-01/1009",
    "After Close 1009 the largest unacknowledged message is surfaced, and the client comes back without it.",
    needs=["send"],
)
async def too_big(stage: Stage) -> Finding:
    client = await stage.client()
    await stage.saw("ready")
    small, big = "unacknowledged and small", "unacknowledged and big" * 100
    # Neither arrives, so that it is up to the client what it sends again.
    with stage.chaos.frame("drop", "up", match="unacknowledged"):
        await client.send(small)
        ref = await client.send(big)
        await stage.saw("acted", 2, timeout=stage.profile.close.timeout)
        stage.chaos.close(1009, "too big")
        await stage.saw("close")
    await stage.saw("ready", timeout=stage.waits(2) + stage.profile.reconnect.open_timeout)
    await stage.pause(stage.waits(1) + stage.slack)
    record = stage.chaos.freeze()
    came_back = judge(record, stage.profile, "CLOSE-01")[0]
    if came_back.outcome is not Outcome.PASS:
        return Finding(came_back.outcome, came_back.seen, came_back.measured, came_back.at)
    settled = {e.get("ref"): e for e in record.events if e.kind == "app.settled"}
    arrived = [message.data for message in stage.chaos.server.received]
    if sum(1 for e in record.events if e.kind == "acted" and e.get("did") == "drop") < 2:
        return inconclusive("not provoked: the two messages were not written before the Close")
    if big in arrived:
        return failed(f"{came_back.seen}; but it sent the message again that was too big ({len(big)} bytes)")
    if ref not in settled or settled[ref].get("ok"):
        return failed(f"{came_back.seen}; but the application was not told that its message was too big ({ref})")
    return passed(f"{came_back.seen}; the message that was too big was surfaced, and not sent again")


async def close_without_a_code(stage: Stage) -> None:
    """A connection, and a Close of the server that loses its code and reason on the way."""
    await stage.client()
    await stage.saw("ready")
    with stage.chaos.frame("truncate", "down", opcodes=["close"], keep=0):
        stage.chaos.close(1001)
        await stage.saw("close")
        await stage.saw("end", timeout=stage.profile.close.timeout * 2)


# --- CLOSE-02


@case("CLOSE-02/application", "The application closes: the client sends a Close with a code and a reason.")
async def application_closes(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.heard(client, "app.ready")
    await client.close()
    await stage.saw("end", timeout=stage.profile.close.timeout * 2)
    await stage.pause(stage.slack)


@case("CLOSE-02/reconnect", "Asked to reconnect while ready, the client ends the old link with a code and a reason.",
      needs=["reconnect"])  # fmt: skip
async def application_reconnects(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.heard(client, "app.ready")
    await client.reconnect()
    await stage.saw("ready", timeout=stage.comeback)


# --- CLOSE-03


@case("CLOSE-03/received-{code}", "A Close {code}, which is never sent, is a protocol error when it comes: 1002.",
      each=[{"code": code} for code in (1004, 1005, 1006, 1015)])  # fmt: skip
async def reserved_code(stage: Stage, code: int) -> None:
    await stage.client()
    await stage.saw("ready")
    with stage.chaos.frame("close", "down", opcodes=["close"], code=code):
        stage.chaos.close(1001)
        await stage.saw("close")
        await stage.saw("end", timeout=stage.profile.close.timeout * 2)
    await stage.pause(stage.slack)


@case("CLOSE-03/answer-to-no-code", "A Close without a code is not answered with 1005, which stands for none.")
async def answer_to_no_code(stage: Stage) -> None:
    await close_without_a_code(stage)
    await stage.saw("ready", timeout=stage.comeback)


@case("CLOSE-03/after-a-reset", "A client that has told of a broken link (1006) does not close the next one with that.")
async def closed_after_a_reset(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    stage.chaos.abort()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.heard(client, "app.ready")
    await client.close()
    await stage.saw("end", timeout=stage.profile.close.timeout * 2)
    await stage.pause(stage.slack)


# --- CLOSE-04


@case("CLOSE-04/unanswered", "The client closes, and the server never answers: TCP is cut after the deadline.")
async def unanswered(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.heard(client, "app.ready")
    with stage.chaos.frame("drop", "up", opcodes=["close"]):
        await client.close()
        await stage.saw("end", timeout=stage.profile.close.timeout * 2)
    await stage.pause(stage.slack)


@case("CLOSE-04/dead-link", "The client closes a link that has died: TCP is cut after the deadline.")
async def dead_link(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.heard(client, "app.ready")
    with stage.chaos.silent_drop():
        await client.close()
        await stage.saw("end", timeout=stage.profile.close.timeout * 2)
    await stage.pause(stage.slack)


@case("CLOSE-04/found-dead", "A link that the client has found dead is cut at once, without waiting for an answer.")
async def found_dead(stage: Stage) -> Finding | None:
    await stage.client()
    if stage.profile.heartbeat.interval is None:
        raise Unsupported("the client finds no dead link: it declares no heartbeat (heartbeat.interval)")
    await stage.saw("ready")
    with stage.chaos.silent_drop():
        await stage.saw("end", timeout=stage.profile.detection + 3 * stage.profile.close.timeout)
        record = stage.chaos.freeze()
    end = next((e for e in record.events if e.kind == "end" and e.place == "client"), None)
    cut = None if end is None else end.at
    close = next((e for e in record.events if e.kind == "close" and e.way == "up"), None)
    if close is None and end is not None and end["by"] == "peer":
        return passed(f"the client cut the link that it had found dead, without a Close, at {end.at:.3f} s")
    if close is None or (end is not None and end["by"] != "peer"):
        return inconclusive("not provoked: the client did not end the link, dead as it was")
    told = f"the client wrote Close {close.get('code')} to a link that it had found dead, and cut it"
    told = f"{told} {'never' if cut is None else f'{cut - close.at:.3f} s later'}"
    match by(record, close.at + GRACE + stage.slack, cut, since=close.at):
        case Timing.KEPT:
            return passed(told)
        case Timing.BROKEN:
            return failed(f"{told}, expected at once: nobody is there to answer", at=cut)
    return inconclusive(f"{told}; {late_by(record, close.at, record.until)}")


@case(
    "CLOSE-04/tcp-left-open",
    "Both have said Close, and the server does not end TCP: the client does, after the deadline.",
)
async def tcp_left_open(stage: Stage) -> Finding | None:
    timeout = stage.profile.close.timeout
    await stage.client()
    await stage.saw("ready")
    attributes = {"delay": round(timeout * 10 * 1000)}
    with stage.chaos.schedule("slow_close", [(0.0, timeout * 10)], "down", attributes=attributes):
        stage.chaos.close(1001)
        await stage.saw("close", 2, timeout=timeout)
        await stage.saw("end", timeout=timeout * 2)
        record = stage.chaos.freeze()
    verdict = judge(record, stage.profile, "CLOSE-04")[0]
    end = next((e for e in record.events if e.kind == "end" and e.place == "client"), None)
    answer = next((e for e in record.events if e.kind == "close" and e.place == "client" and e.way == "up"), None)
    if verdict.outcome is not Outcome.INCONCLUSIVE or end is None or answer is None or end["by"] != "peer":
        return Finding(verdict.outcome, verdict.seen, verdict.measured, verdict.at)
    return passed(
        f"the client answered the server's Close at {answer.at:.3f} s, the server left TCP open, and the client ended "
        f"it {end.at - answer.at:.3f} s later (allowed {timeout:.3f} s)",
        cut_s=end.at - answer.at,
    )


# --- CLOSE-05

RETRIED = (200, 408, 425, 429, 500, 502, 503, 504)
FATAL = (400, 403, 404, 410, 426)


@case("CLOSE-05/{status}", "An upgrade that is answered {status} is tried again.",
      each=[{"status": status} for status in RETRIED])  # fmt: skip
async def retried(stage: Stage, status: int) -> None:
    with stage.chaos.handshake(status, connections=[1, 2]):
        await stage.client()
        await stage.saw("ready", timeout=stage.absence + stage.profile.reconnect.open_timeout)
    await stage.pause(stage.slack)


@case(
    "CLOSE-05/{status}-retry-after{kind}",
    "An upgrade that is answered {status}, with Retry-After: {value}, is tried again.",
    each=[
        {"status": 429, "kind": "", "value": "1"},
        {"status": 503, "kind": "", "value": "1"},
        {"status": 503, "kind": "-0", "value": "0"},
        {"status": 503, "kind": "-words", "value": "soon"},
    ],
)
async def retried_after(stage: Stage, status: int, kind: str, value: str) -> None:
    with stage.chaos.handshake(status, headers={"Retry-After": value}, connections=1):
        await stage.client()
        await stage.saw("ready", timeout=2.0 + stage.absence + stage.profile.reconnect.open_timeout)
    await stage.pause(stage.slack)


@case("CLOSE-05/{status}", "An upgrade that is answered {status} is not tried again, and the application knows.",
      each=[{"status": status} for status in FATAL])  # fmt: skip
async def given_up(stage: Stage, status: int) -> None:
    with stage.chaos.handshake(status):
        await stage.client()
        await stage.saw("response")
        await stage.pause(stage.absence)


@case("CLOSE-05/401", "An upgrade that is answered 401 is tried again once, with credentials taken afresh.")
async def unauthorised(stage: Stage) -> None:
    with stage.chaos.handshake(401, connections=1):
        await stage.client()
        await stage.saw("ready", timeout=stage.absence + stage.profile.reconnect.open_timeout)
    await stage.pause(stage.slack)


@case("CLOSE-05/302-elsewhere", "A redirect to another origin is not followed, and the application knows.")
async def redirected(stage: Stage) -> None:
    elsewhere = stage.chaos.url.replace("127.0.0.1", "localhost")
    with stage.chaos.handshake(302, headers={"Location": elsewhere}):
        await stage.client()
        await stage.saw("response")
        await stage.pause(stage.absence)
