"""Cases of AUTH, for servers."""

from __future__ import annotations

import json
from typing import Any, Literal
from urllib.parse import quote

from ...checks.verdict import Finding, failed, passed
from ...engine.frames import Opcode
from ...timeline import fingerprint
from ..suite.guest import Guest
from ..suite.server_case import server_case
from ..suite.server_stage import ServerStage

MODES = [
    {"mode": "first_message", "words": "its first message"},
    {"mode": "query", "words": "the URL's query"},
    {"mode": "cookie", "words": "a cookie"},
    {"mode": "header", "words": "the Authorization header"},
]
REFUSED = 4401


async def _present(stage: ServerStage, mode: str, token: str, name: str = "guest") -> Guest:
    """A client that has presented a token in a mode."""
    guest = await stage.guest(name, **stage.credentials(mode, token))  # type: ignore[arg-type]
    if guest.open:
        if mode == "first_message":
            guest.say(type="auth", token=token)
        else:
            guest.say(type="auth")
    return guest


@server_case(
    "AUTH-01/accepts-{mode}",
    "A token in {words} is accepted where it is good, and refused where it is not.",
    each=MODES,
)
async def modes(stage: ServerStage, mode: str, words: str) -> Finding | None:
    stage.needs_protocol()
    good = await _present(stage, mode, stage.tokens.good())
    if await good.answer("welcome") is None:
        return failed(f"a good token in {words}: {stage.state(good)}; expected a welcome")
    if mode == "cookie" and (foreign := await _foreign_cookie(stage)) is not None:
        return foreign
    bad = await _present(stage, mode, stage.tokens.bad(), "stranger")
    return await _turned_away(stage, bad, f"a good token in {words} was welcomed, an unknown one")


async def _foreign_cookie(stage: ServerStage) -> Finding | None:
    """A browser adds the cookie to the requests of any page; None: they are refused."""
    headers = {**stage.credentials("cookie", stage.tokens.good())["headers"], "Origin": "https://evil.example"}  # type: ignore[dict-item]
    guest = await stage.guest("page", headers=headers)
    if guest.status == 101:
        guest.say(type="auth")
        if await guest.answer("welcome") is not None:
            return failed("a good token in a cookie, sent by a page of another origin, was welcomed; expected 403")
    return None


async def _turned_away(stage: ServerStage, guest: Guest, what: str) -> Finding:
    """Whether a client whose credentials are no good is told so, at the handshake or after it."""
    if guest.status in (401, 403):
        return passed(f"{what} was answered {guest.status}")
    if guest.status != 101:
        return failed(f"{what}: {stage.answered(guest)}; expected Close {REFUSED}")
    return await stage.closed(guest, {REFUSED}, what)


STANDINGS = [{"standing": "absent"}, {"standing": "empty"}, {"standing": "expired"}, {"standing": "revoked"}]


@server_case("AUTH-01/{standing}-token", "A client whose token is {standing} gets Close 4401.", each=STANDINGS)
async def no_good(stage: ServerStage, standing: Literal["absent", "empty", "expired", "revoked"]) -> Finding | None:
    stage.needs_protocol()
    token = stage.tokens.good()
    if standing == "expired":
        stage.tokens.expire(token)
    elif standing == "revoked":
        stage.tokens.revoke(token)
    guest = await stage.guest()
    presented = {"absent": {}, "empty": {"token": ""}}.get(standing, {"token": token})
    guest.say(type="auth", **presented)
    return await stage.closed(guest, {REFUSED}, f"a token that is {standing} was presented")


MEANWHILE = [
    {"how": "silent", "words": "says nothing"},
    {"how": "pinging", "words": "only pings"},
    {"how": "half-a-frame", "words": "never ends its first frame"},
]


@server_case(
    "AUTH-05/{how}",
    "A client that {words} instead of authenticating gets Close 4408 in time.",
    each=MEANWHILE,
)
async def late(stage: ServerStage, how: str, words: str) -> Finding | None:
    stage.needs_protocol()
    guest, longest = await stage.guest(), stage.profile.auth.timeout
    since = stage.now()
    whole = json.dumps({"type": "auth", "token": "x" * 200}).encode()
    if how == "half-a-frame":
        guest.write(bytes([0x81, 0x80 | 126]) + len(whole).to_bytes(2, "big") + b"\0\0\0\0")
    for number in range(8):
        await stage.pause(longest / 10)
        if how == "pinging":
            guest.frame(Opcode.PING, str(number).encode())
        elif how == "half-a-frame":
            guest.write(whole[number : number + 1])
    return await stage.closed(guest, {4408}, f"a client {words}", since=since, within=longest)


@server_case("AUTH-05/in-time", "A client that authenticates just in time is let in.")
async def in_time(stage: ServerStage) -> Finding | None:
    stage.needs_protocol()
    guest, longest = await stage.guest(), stage.profile.auth.timeout
    since, token = stage.now(), stage.tokens.good()
    await stage.pause(longest * 0.7)
    if stage.now() - since > longest * 0.9:
        return None
    if await stage.authenticate(guest, token) is None:
        return failed(f"a client authenticated after {longest * 0.7:.3f} s of {longest:.3f} s: {stage.state(guest)}")
    await stage.pause(longest * 0.6)
    if await guest.alive() is None:
        return failed(
            f"a client that had authenticated in time was ended {longest * 0.6:.3f} s later: {stage.state(guest)}"
        )
    return passed(f"a client that authenticated after {longest * 0.7:.3f} s of {longest:.3f} s was let in, and kept")


BEFORE: list[dict[str, Any]] = [
    {"what": "subscribe", "frame": {"type": "subscribe", "id": 1, "topic": "news"}},
    {"what": "send", "frame": {"type": "send", "id": 1, "topic": "news", "data": "early"}},
    {"what": "ping", "frame": {"type": "ping", "n": 1}},
    {"what": "blob", "frame": None},
    {"what": "no-json", "frame": "hello"},
]


@server_case(
    "AUTH-05/{what}-before",
    "A {what} before the credentials is refused with Close 4401, and has no effect.",
    each=BEFORE,
)
async def before(stage: ServerStage, what: str, frame: Any) -> Finding | None:
    stage.needs_protocol()
    witness = await stage.ready("witness")
    await witness.request("subscribe", 1, "news")
    guest = await stage.guest()
    if frame is None:
        guest.frame(Opcode.BINARY, b"\0\0\0\2{}blob")
    else:
        guest.text(frame if isinstance(frame, str) else json.dumps(frame))
    finding = await stage.closed(guest, {REFUSED}, f"a {what} came before the credentials")
    if await witness.alive() is not None and witness.told("message"):
        return failed(f"{finding.seen}; and it was published", at=stage.now())
    return finding


@server_case("AUTH-06/revoked", "A session cannot be resumed with a token that was revoked meanwhile.")
async def revoked(stage: ServerStage) -> Finding | None:
    stage.needs_protocol()
    token = stage.tokens.good()
    first = await stage.ready(token=token)
    welcome = first.told("welcome")[0]
    first.leave()
    stage.tokens.revoke(token)
    new = stage.tokens.good()
    stage.chaos.timeline.record(
        "token", "harness", fingerprint=fingerprint(new), replaced=fingerprint(token), revoked=True
    )
    back = await stage.guest()
    resume = {name: welcome.get(name) for name in ("session", "resume_token", "epoch")}
    back.say(type="auth", token=token, seq=0, **resume)
    finding = await stage.closed(back, {REFUSED}, "a client resumed its session with a token that was revoked")
    if back.told("welcome"):
        return failed("a client resumed its session with a token that was revoked, and was welcomed", at=stage.now())
    return finding


@server_case("AUTH-07/log", "A token is neither logged nor repeated, good or bad, in whatever mode it came.")
async def secret(stage: ServerStage) -> Finding | None:
    stage.needs_protocol()
    _ = stage.running.words
    tokens, heard = [], ""
    for mode in ("query", "header", "cookie", "first_message"):
        for token in (stage.tokens.good(), stage.tokens.bad()):
            tokens.append(token)
            guest = await _present(stage, mode, token, f"{mode}-{len(tokens)}")
            await guest.until(lambda guest=guest: bool(guest.frames) or guest.over, stage.patience)  # type: ignore[misc]
            heard += "".join(frame.payload.decode(errors="replace") for frame in guest.frames)
    # What a program has printed may wait in its buffers until it ends.
    await stage.running.terminate()
    for one in stage.guests:
        one.leave()
    await stage.running.ended(stage.profile.close.timeout + stage.slack)
    for where, text in (("what the server printed or logged", stage.running.words), ("what it sent", heard)):
        for token in tokens:
            if token in text or quote(token, safe="") in text:
                line = next((line for line in text.splitlines() if token in line), "").replace(token, "***")
                return failed(f"a token is in {where}: {line!r:.160}")
    return passed(f"{len(tokens)} tokens were presented, none is in {len(stage.running.words)} characters of logs")
