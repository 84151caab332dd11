"""Cases of CLOSE, for servers."""

from __future__ import annotations

from ...checks.verdict import Finding, failed, inconclusive, non_strict, passed
from ...engine.frames import Opcode
from ..suite.guest import Guest
from ..suite.server_case import server_case
from ..suite.server_stage import ServerStage

LONGEST_REASON = 123
LEAVING = (1001, 1012)


def _complete(finding: Finding, guest: Guest) -> Finding:
    """A finding on a Close, unless it lacks what a Close must have."""
    close = guest.close
    if close is None:
        return finding
    reason = close.payload[2:]
    told = f"Close {close.code} {close.reason!r}"
    try:
        reason.decode()
    except UnicodeDecodeError:
        return failed(f"{told}: the reason is no UTF-8", at=close.at)
    if close.code is None or len(reason) > LONGEST_REASON:
        return failed(f"{told}; expected a code, and {LONGEST_REASON} bytes of reason at most", at=close.at)
    return finding if reason or finding.outcome != "PASS" else non_strict(f"{finding.seen}: no reason", at=close.at)


@server_case("CLOSE-02/refused", "A server that ends a connection for what it got sends a code and a reason.")
async def refused(stage: ServerStage) -> Finding | None:
    guest = await stage.guest()
    if stage.speaks == "raw":
        guest.frame(Opcode.TEXT, b"\xff\xff")
        return _complete(await stage.closed(guest, {1007}, "a text that is no UTF-8 was sent"), guest)
    guest.say(type="auth", token=stage.tokens.bad())
    return _complete(await stage.closed(guest, {4401}, "an unknown token was presented"), guest)


@server_case("CLOSE-02/stopped", "A server that is stopped says Close 1001 or 1012 to who is connected.")
async def stopped(stage: ServerStage) -> Finding | None:
    guest = await stage.ready()
    await stage.running.terminate()
    return _complete(await stage.closed(guest, LEAVING, "the server was told to stop (SIGTERM)"), guest)


NEVER = [{"code": code} for code in (1004, 1005, 1006, 1015)]


@server_case("CLOSE-03/{code}", "Close {code}, which is never sent, is a protocol error: 1002.", each=NEVER)
async def reserved(stage: ServerStage, code: int) -> Finding | None:
    guest = await stage.ready()
    guest.send_close(code, "never on the wire")
    return await stage.closed(guest, {1002}, f"Close {code} was sent")


UNFINISHED = [
    {"how": "ignored", "words": "does not answer the server's Close"},
    {"how": "left-open", "words": "answers the server's Close, and leaves TCP open"},
    {"how": "talking", "words": "talks on after the server's Close"},
]


@server_case("CLOSE-04/{how}", "A client that {words} is cut after the deadline.", each=UNFINISHED)
async def unfinished(stage: ServerStage, how: str, words: str) -> Finding | None:
    guest = await stage.guest()
    guest.closes = how == "left-open"
    if stage.speaks == "raw":
        guest.frame(Opcode.TEXT, b"\xff\xff")
    else:
        guest.say(type="auth", token=stage.tokens.bad())
    if not await guest.until(lambda: guest.close is not None or guest.over, stage.patience):
        return inconclusive(f"not provoked: the server does not close ({stage.state(guest)})")
    since = stage.now()
    longest = stage.profile.close.timeout
    if how == "talking":
        for number in range(8):
            guest.frame(Opcode.TEXT, b"[]")
            guest.frame(Opcode.PING, str(number).encode())
            await guest.until(lambda: guest.over, longest / 10)
    return await stage.ends(guest, f"a client {words}", since=since, within=longest)


@server_case(
    "CLOSE-04/stopped",
    "A client that ignores the Close of a server that is stopped does not hold it up.",
)
async def holds_up(stage: ServerStage) -> Finding | None:
    guest = await stage.ready()
    guest.closes = False
    since = stage.now()
    await stage.running.terminate()
    longest = stage.profile.close.timeout
    finding = await stage.ends(
        guest, "the server was told to stop, a client ignores its Close", since=since, within=longest
    )
    if finding.outcome == "PASS" and not await stage.running.ended(longest + stage.slack):
        return failed(
            f"{finding.seen}, but the server still runs {stage.now() - since:.3f} s after it was told to stop"
        )
    return finding


@server_case("CLOSE-04/answered", "A client that closes gets the server's Close, and the end of TCP, in time.")
async def answered(stage: ServerStage) -> Finding | None:
    guest = await stage.ready()
    guest.closes, since = False, stage.now()
    guest.send_close(1000, "done")
    finding = await stage.ends(guest, "a client sent Close 1000", since=since, within=stage.profile.close.timeout)
    if guest.close is None:
        return failed(f"{finding.seen}, and no Close came in answer", at=guest.ended)
    return finding if finding.outcome != "PASS" else passed(f"{finding.seen}, after Close {guest.close.code}")
