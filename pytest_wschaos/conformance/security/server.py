"""Cases of SECURITY, for servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ...checks.verdict import Finding, failed, inconclusive, passed
from ...engine.frames import Opcode
from ..subjects.subject import Unsupported
from ..suite.guest import Guest
from ..suite.server_case import server_case
from ..suite.server_stage import ALLOWED, ServerStage

LISTED = {"security": {"origins": [ALLOWED]}}


# --- SECURITY-01

ORIGINS = [
    {"which": "foreign", "origin": "https://evil.test"},
    {"which": "look-alike-suffix", "origin": f"{ALLOWED}.evil.test"},
    {"which": "look-alike-prefix", "origin": "https://evil-app.example"},
    {"which": "subdomain", "origin": "https://sub.app.example"},
    {"which": "other-scheme", "origin": "http://app.example"},
    {"which": "other-port", "origin": f"{ALLOWED}:8443"},
    {"which": "null", "origin": "null"},
    {"which": "two-origins", "origin": f"{ALLOWED}\r\nOrigin: https://evil.test"},
]


def _require_list(stage: ServerStage) -> None:
    if not stage.profile.security.origins:
        raise Unsupported("no allow-list is declared: the profile has no security.origins")


@server_case(
    "SECURITY-01/{which}",
    "An Origin that is not on the list ({which}) is refused with 403.",
    each=ORIGINS,
    figures=LISTED,
)
async def origin(stage: ServerStage, which: str, origin: str) -> Finding | None:
    _require_list(stage)
    guest = await stage.guest(headers={"Origin": origin})
    what = f"an upgrade with Origin {origin!r}, which is not allowed"
    if guest.status == 403:
        return passed(f"{what}, was answered 403")
    if guest.status == 400 and which == "two-origins":
        return passed(f"{what}, was answered 400")
    return failed(f"{what}: {stage.answered(guest)}; expected 403", at=stage.now())


@server_case("SECURITY-01/allowed", "An Origin that is on the list is let in.", figures=LISTED)
async def allowed(stage: ServerStage) -> Finding | None:
    _require_list(stage)
    guest = await stage.guest(headers={"Origin": stage.origin})
    if guest.status != 101:
        return failed(f"an upgrade with Origin {stage.origin!r}, which is allowed: {stage.answered(guest)}")
    return passed(f"an upgrade with Origin {stage.origin!r}, which is allowed, was answered 101")


@server_case(
    "SECURITY-01/absent",
    "A request without an Origin, which is no browser's, is let in.",
    figures=LISTED,
)
async def absent(stage: ServerStage) -> Finding | None:
    _require_list(stage)
    guest = await stage.guest(headers={"Origin": ""})
    if guest.status != 101:
        return failed(f"an upgrade without an Origin: {stage.answered(guest)}; the profile allows it")
    return passed("an upgrade without an Origin was answered 101")


# --- SECURITY-02

FLOODS: list[dict[str, Any]] = [
    {"what": "valid", "words": "valid messages", "send": lambda guest: guest.say(type="ping", n=0)},
    {"what": "invalid", "words": "messages that are no JSON", "send": lambda guest: guest.text("]")},
    {"what": "frame-pings", "words": "pings of WebSocket", "send": lambda guest: guest.frame(Opcode.PING, b"")},
    {"what": "fragments", "words": "fragments", "send": lambda guest: guest.frame(Opcode.CONTINUATION, b"", fin=False)},
]


@server_case("SECURITY-02/{what}", "A flood of {words} gets Close 4429, and nobody else notices.", each=FLOODS)
async def flood(stage: ServerStage, what: str, words: str, send: Callable[[Guest], None]) -> Finding | None:
    witness, guest = await stage.ready("witness"), await stage.ready()
    figures = stage.profile.security
    count = 2 * figures.burst
    since = stage.now()
    if what == "fragments":
        guest.frame(Opcode.TEXT, b"[", fin=False)
    for number in range(count):
        send(guest)
        if number % 20 == 0:
            await stage.pause(0)
        if not guest.open:
            break
    allowed = figures.burst + (stage.now() - since) * figures.rate
    if number + 1 < allowed and guest.open:
        return inconclusive(f"{count} frames took {stage.now() - since:.3f} s, in which the limit allows {allowed:.0f}")
    finding = await stage.closed(
        guest,
        {4429},
        f"{number + 1} {words} in {stage.now() - since:.3f} s were sent, {figures.burst} may come at once",
    )
    return await stage.undisturbed(witness, finding)


@server_case("SECURITY-02/within", "A client that keeps under the limit, burst included, is not closed.")
async def within(stage: ServerStage) -> Finding | None:
    guest, figures = await stage.ready(), stage.profile.security
    since, sent = stage.now(), 0
    for _ in range(figures.burst * 8 // 10):
        guest.say(type="ping", n=sent)
        sent += 1
    for _ in range(figures.burst):
        await stage.pause(1.25 / figures.rate)
        guest.say(type="ping", n=sent)
        sent += 1
        if not guest.open:
            break
    what = f"a client sent {sent} frames in {stage.now() - since:.3f} s, within the limit"
    if await guest.alive() is None:
        return failed(f"{what}: {stage.state(guest)}", at=stage.now())
    return passed(f"{what}, and was not closed", sent=sent)


# --- SECURITY-03

DEEP = 50_000
BAD: dict[str, str] = {
    "not-json": "]",
    "empty": "",
    "null": "null",
    "array": '[{"type":"ping","n":1}]',
    "number": "17",
    "deep-arrays": '{"type":"ping","n":' + "[" * DEEP + "]" * DEEP + "}",
    "deep-objects": '{"type":"ping","n":' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
    "deep-unclosed": "[" * DEEP,
    "duplicate-key": '{"type":"ping","n":1,"n":2}',
    "no-type": '{"n":1}',
    "type-of-type": '{"type":{"type":"ping"},"n":1}',
    "missing-field": '{"type":"ping"}',
    "id-as-text": '{"type":"send","id":"1","topic":"news","data":1}',
    "id-zero": '{"type":"send","id":0,"topic":"news","data":1}',
    "id-negative": '{"type":"send","id":-1,"topic":"news","data":1}',
    "id-fraction": '{"type":"send","id":1.5,"topic":"news","data":1}',
    "topic-as-list": '{"type":"send","id":1,"topic":["news"],"data":1}',
    "long-topic": '{"type":"send","id":1,"topic":"' + "t" * 10_000 + '","data":1}',
    "ack-of-the-future": '{"type":"ack","seq":999999}',
    "huge-integer": '{"type":"ping","n":' + "9" * 5_000 + "}",
    "huge-id": '{"type":"send","id":9007199254740993,"topic":"news","data":1}',
    "huge-float": '{"type":"ping","n":1e400}',
    "nan": '{"type":"ping","n":NaN}',
    "lone-surrogate": '{"type":"ping","n":"\\ud800"}',
    "unknown-type": '{"type":"launch","n":1}',
    "prototype": '{"type":"__proto__","n":1}',
}


@server_case(
    "SECURITY-03/{what}",
    "Bad input ({what}) gets an error or Close 4400, and nobody else notices.",
    each=[{"what": what} for what in BAD],
)
async def bad_text(stage: ServerStage, what: str) -> Finding | None:
    stage.needs_protocol()
    witness, guest = await stage.ready("witness"), await stage.ready()
    since = len(guest.heard_frames)
    guest.text(BAD[what])
    return await stage.undisturbed(witness, await _refused(stage, guest, f"{BAD[what]!r:.60} was sent", since))


BLOBS = {
    "cut-envelope": b"\0\0",
    "envelope-beyond": b"\0\0\1\0{}",
    "huge-header": b"\x7f\xff\xff\xff{}",
    "binary-no-json": b"\0\0\0\2[[abc",
    "binary-unknown": b'\0\0\0\x11{"type":"launch"}abc',
    "chunk-out-of-order": b'\0\0\0\x33{"type":"send","id":1,"topic":"news","chunk":[7,9]}x',
    "chunk-as-text": b'\0\0\0\x31{"type":"send","id":1,"topic":"news","chunk":"1"}  x',
}


@server_case(
    "SECURITY-03/{what}",
    "A bad blob ({what}) gets an error or Close 4400, and nobody else notices.",
    each=[{"what": what} for what in BLOBS],
)
async def bad_blob(stage: ServerStage, what: str) -> Finding | None:
    stage.needs_protocol()
    witness, guest = await stage.ready("witness"), await stage.ready()
    since = len(guest.heard_frames)
    guest.frame(Opcode.BINARY, BLOBS[what])
    return await stage.undisturbed(witness, await _refused(stage, guest, f"a blob {BLOBS[what]!r:.60} was sent", since))


async def _refused(stage: ServerStage, guest: Guest, what: str, since: int) -> Finding:
    """Whether bad input was answered as such, and the connection goes on, or was closed 4400."""

    def answers() -> list[Any]:
        return guest.told("error", since) + guest.told("ack", since, ok=False)

    await guest.until(lambda: bool(answers()) or not guest.open, stage.patience)
    if guest.close is not None and guest.close.code == 4400:
        return passed(f"{what}; Close 4400 {guest.close.reason!r}")
    if not guest.open:
        return failed(f"{what}; {stage.state(guest)}; expected an error, or Close 4400", at=stage.now())
    if not answers():
        others = [frame for _, frame in guest.heard_frames[since:]]
        return failed(
            f"{what}, and was answered {json.dumps(others)[:120] if others else 'nothing'}; expected an error"
        )
    if await guest.alive() is None:
        return failed(f"{what}, and refused; after that the connection is dead: {stage.state(guest)}", at=stage.now())
    return passed(f"{what}; it was answered {json.dumps(answers()[0])[:120]}, and the connection goes on")


@server_case("SECURITY-03/unknown-twice", "A second unknown type in a connection gets Close 4400.")
async def unknown_twice(stage: ServerStage) -> Finding | None:
    stage.needs_protocol()
    guest = await stage.ready()
    guest.say(type="launch")
    await guest.answer("error")
    guest.say(type="lunch")
    return await stage.closed(guest, {4400}, "two frames of unknown types were sent")


@server_case("SECURITY-03/id-skips", "An id that skips ahead gets Close 4400.")
async def id_skips(stage: ServerStage) -> Finding | None:
    stage.needs_protocol()
    guest = await stage.ready()
    guest.say(type="send", id=7, topic="news", data=1)
    return await stage.closed(guest, {4400}, "a first message with id 7 was sent")


NO_UTF_8 = [
    {"how": "byte", "parts": [b"caf\xe9"]},
    {"how": "surrogate", "parts": [b"\xed\xa0\x80"]},
    {"how": "overlong", "parts": [b"\xc0\xaf"]},
    {"how": "cut", "parts": [b"\xe2\x82"]},
    {"how": "in-fragments", "parts": [b"ok \xe2", b"\x28\xa1"]},
]


@server_case(
    "SECURITY-03/no-utf-8-{how}",
    "Text that is no UTF-8 ({how}) gets Close 1007, and nobody else notices.",
    each=NO_UTF_8,
)
async def no_utf_8(stage: ServerStage, how: str, parts: list[bytes]) -> Finding | None:
    witness, guest = await stage.ready("witness"), await stage.ready()
    for number, part in enumerate(parts):
        guest.frame(Opcode.TEXT if number == 0 else Opcode.CONTINUATION, part, fin=number == len(parts) - 1)
    finding = await stage.closed(guest, {1007}, f"text that is no UTF-8, {b''.join(parts)!r}, was sent")
    return await stage.undisturbed(witness, finding)


def _close_of_one_byte(guest: Guest) -> None:
    guest.frame(Opcode.CLOSE, b"\x03")


def _interleaved(guest: Guest) -> None:
    guest.frame(Opcode.TEXT, b"[", fin=False)
    guest.frame(Opcode.TEXT, b"]")


MALFORMED: list[dict[str, Any]] = [
    {"what": "unmasked", "send": lambda guest: guest.frame(Opcode.TEXT, b"[]", masked=False)},
    {"what": "reserved-bits", "send": lambda guest: guest.frame(Opcode.TEXT, b"[]", reserved=2)},
    {"what": "reserved-opcode", "send": lambda guest: guest.frame(3, b"[]")},
    {"what": "reserved-control", "send": lambda guest: guest.frame(11, b"")},
    {"what": "long-ping", "send": lambda guest: guest.frame(Opcode.PING, b"p" * 126)},
    {"what": "fragmented-ping", "send": lambda guest: guest.frame(Opcode.PING, b"p", fin=False)},
    {"what": "lone-continuation", "send": lambda guest: guest.frame(Opcode.CONTINUATION, b"[]")},
    {"what": "interleaved", "send": _interleaved},
    {"what": "close-of-one-byte", "send": _close_of_one_byte},
]


@server_case(
    "SECURITY-03/frame-{what}",
    "A frame that breaks RFC 6455 ({what}) gets Close 1002, and nobody else notices.",
    each=MALFORMED,
)
async def malformed(stage: ServerStage, what: str, send: Callable[[Guest], None]) -> Finding | None:
    witness, guest = await stage.ready("witness"), await stage.ready()
    send(guest)
    finding = await stage.closed(guest, {1002}, f"a frame that breaks RFC 6455 ({what}) was sent")
    return await stage.undisturbed(witness, finding)


# --- SECURITY-04

MORE = 5
"""Connections over a limit."""
FEW = 10
"""A limit that is soon reached."""


@server_case(
    "SECURITY-04/{which}",
    "A peer has no more {words} than the limit; those that it has go on.",
    each=[
        {"which": "connections", "words": "connections", "ready": True},
        {"which": "unauthenticated", "words": "connections that have not authenticated", "ready": False},
    ],
)
async def connections(stage: ServerStage, which: str, words: str, ready: bool) -> Finding | None:
    if not ready:
        stage.needs_protocol()
    first = await stage.ready("first")
    crowd = await stage.crowd(stage.profile.security.connections - 1 + MORE, ready=ready)
    return await _bounded(stage, [first, *crowd], "one peer")


@server_case(
    "SECURITY-04/invented-peer",
    "Who invents an X-Forwarded-For for each connection has no more of them for it: nobody trusts it.",
)
async def invented_peer(stage: ServerStage) -> Finding | None:
    if stage.profile.security.trusted_proxies:
        raise Unsupported("the profile trusts the suite's own address (security.trusted_proxies)")
    first = await stage.ready("first")
    crowd = await stage.crowd(
        stage.profile.security.connections - 1 + MORE, ready=True, peer=lambda number: f"203.0.113.{number + 1}"
    )
    return await _bounded(stage, [first, *crowd], "one peer, each with an X-Forwarded-For of its own,")


@server_case(
    "SECURITY-04/forwarded",
    "Behind a proxy that the profile trusts the limit is that of each address that it forwards for.",
    figures={"security": {"trusted_proxies": ["127.0.0.1"], "connections": FEW}},
)
async def forwarded(stage: ServerStage) -> Finding | None:
    if stage.profile.security.trusted_proxies != ("127.0.0.1",):
        raise Unsupported("the profile does not trust the suite's own address (security.trusted_proxies)")
    many = await stage.crowd(FEW + MORE, ready=True, peer=lambda number: "192.0.2.1, 203.0.113.7")
    other = await stage.guest(headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.8"})
    if other.status != 101:
        return failed(
            f"{FEW + MORE} connections were forwarded for one address, and the first for another was turned away "
            f"({stage.answered(other)})",
            at=stage.now(),
        )
    return await _bounded(stage, many, "one address that a trusted proxy forwards for")


async def _bounded(stage: ServerStage, crowd: Sequence[Guest], whose: str) -> Finding:
    """Whether of a crowd, of which the first came first, no more are in than the limit."""
    limit, first = stage.profile.security.connections, crowd[0]
    inside = sum(guest.status == 101 and not guest.over for guest in crowd)
    what = f"of {len(crowd)} connections of {whose} {inside} were accepted"
    if inside > limit:
        return failed(f"{what}; expected {limit} at most", at=stage.now(), accepted=inside)
    if inside < limit // 2:
        return failed(f"{what}; expected {limit}: the limit is the profile's", at=stage.now(), accepted=inside)
    turned = next(guest for guest in crowd if guest.status != 101)
    return await stage.undisturbed(
        first, passed(f"{what}, the others were refused ({stage.answered(turned)})", accepted=inside)
    )


@server_case(
    "SECURITY-04/{how}-handshake",
    "A handshake that is {how} is cut after its time.",
    each=[{"how": "silent"}, {"how": "slow"}],
)
async def handshake_time(stage: ServerStage, how: str) -> Finding | None:
    guest, longest = await stage.stranger(), stage.profile.security.handshake_timeout
    since = stage.now()
    if how == "slow":
        head = guest.upgrade("slow.example", "/ws")[:-2]
        for at in range(18):
            guest.write(head[at : at + 1])
            await guest.until(lambda: guest.over, longest / 20)
            if guest.over:
                break
        guest.write(head[18:40])
    return await stage.ends(guest, f"a handshake was {how}", since=since, within=longest)
