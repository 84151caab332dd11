"""Cases of MESSAGE, for servers."""

from __future__ import annotations

import zlib
from typing import Any

from ...checks.verdict import Finding, failed, passed
from ...engine.frames import Opcode
from ...reference.protocol import chunks, decode_binary, encode_text
from ..subjects.subject import SubjectError, Unsupported, blob
from ..suite.guest import Guest
from ..suite.server_case import server_case
from ..suite.server_stage import ServerStage

DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate; client_no_context_takeover; server_no_context_takeover"}


async def _echo(stage: ServerStage) -> Guest:
    """A client of a server that sends back what it gets.

    Raises:
        Unsupported: it does not.
    """
    guest = await stage.ready()
    guest.text("echo")
    if not await guest.echoed(b"echo"):
        raise Unsupported("the server speaks neither wschaos.v1 nor sends back what it gets")
    return guest


async def _pair(stage: ServerStage) -> tuple[Guest, Guest]:
    """A client that publishes, and one that has subscribed to ``news``."""
    subscriber = await stage.ready("subscriber")
    ack = await subscriber.request("subscribe", 1, "news")
    if ack is None or not ack.get("ok"):
        raise SubjectError(f"a subscription was answered {ack or 'nothing'}")
    return await stage.ready("sender"), subscriber


def _bodies(guest: Guest) -> list[tuple[list[int], bytes]]:
    """The chunks of blobs that have come."""
    told = [decode_binary(frame.payload) for frame in guest.frames if frame.opcode is Opcode.BINARY]
    return [(header.get("chunk", []), body) for header, body in told]


@server_case("MESSAGE-01/kinds", "Text stays text and binary stays binary, whatever the content looks like.")
async def kinds(stage: ServerStage) -> Finding | None:
    if stage.speaks == "raw":
        guest = await _echo(stage)
        for opcode, data in (
            (Opcode.BINARY, b'{"like": "text"}'),
            (Opcode.TEXT, b"AAAAEw=="),
            (Opcode.BINARY, b"\xff\0"),
        ):
            guest.frame(opcode, data)
            if not await guest.echoed(data, opcode):
                return failed(
                    f"a {opcode.name.lower()} message {data!r} came back otherwise: {_last(guest)}", at=stage.now()
                )
        return passed("text came back as text, binary as binary")
    sender, subscriber = await _pair(stage)
    sender.say(type="send", id=1, topic="news", data="\0\0\0\2{}")
    for part in chunks(
        {"type": "send", "id": 2, "topic": "news"}, b'{"type": "ping", "n": 1}', stage.profile.message.chunk
    ):
        sender.frame(Opcode.BINARY, part)
    await subscriber.until(lambda: bool(_bodies(subscriber)), stage.patience)
    text = subscriber.told("message")[:1]
    if not text or text[0].get("data") != "\0\0\0\2{}":
        return failed(f"a text that looks like a blob arrived as {text}", at=stage.now())
    if [body for _, body in _bodies(subscriber)] != [b'{"type": "ping", "n": 1}']:
        return failed(
            f"a blob that looks like JSON arrived as {_last(subscriber)}; expected the blob, binary", at=stage.now()
        )
    sender.frame(Opcode.BINARY, encode_text({"type": "ping", "n": "guessed"}).encode())
    if await sender.alive() is not None and sender.told("pong", n="guessed"):
        return failed("a binary frame that holds JSON and no envelope was read as text", at=stage.now())
    return passed("JSON travelled as text and a blob as binary, neither was guessed from its content")


def _last(guest: Guest) -> str:
    return f"{guest.frames[-1].opcode.name.lower()} {guest.frames[-1].payload!r:.60}" if guest.frames else "nothing"


@server_case("MESSAGE-02/order", "What comes in on a connection is answered and delivered in order.")
async def order(stage: ServerStage) -> Finding | None:
    count = max(2, min(40, stage.profile.security.burst // 2))
    if stage.speaks == "raw":
        guest = await _echo(stage)
        sent = [f"number {number}" + "x" * (number % 7 * 1000) for number in range(count)]
        for text in sent:
            guest.text(text)
        await guest.echoed(sent[-1].encode())
        return _in_order([t.split("x")[0] for t in guest.texts[1:]], [t.split("x")[0] for t in sent])
    sender, subscriber = await _pair(stage)
    for number in range(1, count + 1):
        sender.say(type="send", id=number, topic="news", data=[number, "x" * (number % 7 * 1000)])
    await sender.answer("ack", id=count)
    await subscriber.until(lambda: len(subscriber.told("message")) >= count, stage.patience)
    wanted = list(range(1, count + 1))
    acked = _in_order([frame.get("id") for frame in sender.told("ack")], wanted)
    got = _in_order([(frame.get("data") or [None])[0] for frame in subscriber.told("message")], wanted)
    return acked if acked.outcome != "PASS" else got


def _in_order(got: list[Any], wanted: list[Any]) -> Finding:
    if got == wanted:
        return passed(f"{len(got)} messages arrived in the order in which they were sent")
    place = next((n for n, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
    return failed(
        f"of {len(wanted)} messages {len(got)} arrived; number {place + 1} is {(got[place:] or ['missing'])[0]!r}"
    )


WHOLE = [
    {"how": "fragmented", "words": "in fragments, with pings between,"},
    {"how": "largest", "words": "of the largest size"},
    {"how": "byte-by-byte", "words": "whose bytes come one by one"},
]


@server_case("MESSAGE-03/{how}", "A message {words} arrives whole.", each=WHOLE)
async def whole(stage: ServerStage, how: str, words: str) -> Finding | None:
    limit = stage.profile.message.max_size
    size = limit if how == "largest" else 300 if how == "byte-by-byte" else 7000
    if stage.speaks == "raw":
        sender = receiver = await _echo(stage)
        message, data = b"y" * size, ""
    else:
        sender, receiver = await _pair(stage)
        # As it is delivered, with the largest sequence, it must fit, too.
        frame = {"type": "message", "seq": 2**53 - 1, "topic": "news", "data": ""}
        data = "y" * (size - len(encode_text(frame)))
        message = encode_text({"type": "send", "id": 1, "topic": "news", "data": data}).encode()
    await _send(stage, sender, message, how)
    if stage.speaks == "raw":
        there = await receiver.echoed(message)
    else:
        there = await receiver.until(lambda: bool(receiver.told("message", data=data)), stage.patience)
    what = f"a message of {len(message)} bytes {words}"
    if not there:
        return failed(f"{what} did not arrive; its sender: {stage.state(sender)}", at=stage.now())
    if how == "fragmented" and not sender._answers(Opcode.PONG, b"between"):
        return failed(f"{what} arrived, but the ping between its fragments was not answered")
    return passed(f"{what} arrived whole")


async def _send(stage: ServerStage, sender: Guest, message: bytes, how: str) -> None:
    if how == "fragmented":
        step = len(message) // 6
        parts = [message[at : at + step] for at in range(0, len(message), step)] + [b""]
        for number, part in enumerate(parts):
            opcode = Opcode.TEXT if number == 0 else Opcode.CONTINUATION
            sender.frame(opcode, part, fin=number == len(parts) - 1)
            if number == 2:
                sender.frame(Opcode.PING, b"between")
                await stage.pause(0)
    elif how == "byte-by-byte":
        from ..suite.raw_client import encode

        for byte in encode(Opcode.TEXT, message):
            sender.write(bytes([byte]))
            await stage.pause(0)
    else:
        sender.frame(Opcode.TEXT, message)


TOO_BIG = [
    {"how": "one-frame", "words": "in one frame"},
    {"how": "fragments", "words": "in fragments that are not"},
    {"how": "announced", "words": "that is only announced"},
    {"how": "deflated", "words": "that is small until it is inflated"},
]


@server_case(
    "MESSAGE-03/too-big-{how}",
    "A message over the limit {words} gets Close 1009, and nobody else notices.",
    each=TOO_BIG,
)
async def too_big(stage: ServerStage, how: str, words: str) -> Finding | None:
    witness = await stage.ready("witness")
    limit = stage.profile.message.max_size
    guest = await stage.guest(headers=DEFLATE if how == "deflated" else None)
    inflates = "permessage-deflate" in guest.headers.get("sec-websocket-extensions", "")
    # To who has not agreed to compression, a compressed frame is one with a reserved bit.
    code = 1002 if how == "deflated" and not inflates else 1009
    if stage.speaks == "wschaos.v1":
        await stage.authenticate(guest)
    before = len(guest.frames)
    match how:
        case "one-frame":
            guest.frame(Opcode.TEXT, b"z" * (limit + 1))
        case "fragments":
            guest.frame(Opcode.TEXT, b"z" * (limit // 2), fin=False)
            guest.frame(Opcode.CONTINUATION, b"z" * (limit // 2), fin=False)
            guest.frame(Opcode.CONTINUATION, b"z" * 2, fin=False)
        case "announced":
            guest.write(bytes([0x81, 0xFF]) + (2**40).to_bytes(8, "big") + b"\0\0\0\0" + b"z" * 100)
        case "deflated":
            packer = zlib.compressobj(wbits=-15)
            small = packer.compress(b"z" * (limit + 1)) + packer.flush(zlib.Z_SYNC_FLUSH)
            guest.frame(Opcode.TEXT, small.removesuffix(b"\0\0\xff\xff"), reserved=4)
    finding = await stage.closed(guest, {code}, f"a message of more than {limit} bytes {words} was sent")
    if finding.outcome == "FAIL" and guest.open and len(guest.frames) > before:
        finding = failed(f"a message of more than {limit} bytes {words} was taken in", at=stage.now())
    return await stage.undisturbed(witness, finding)


@server_case(
    "MESSAGE-04/chunks",
    "A blob travels in chunks of bounded size, up and down, with room for other frames between.",
)
async def in_chunks(stage: ServerStage) -> Finding | None:
    stage.needs_protocol()
    sender, subscriber = await _pair(stage)
    size, figures = stage.profile.message.max_size - 1024, stage.profile.message
    data = blob(size)
    for number, part in enumerate(chunks({"type": "send", "id": 1, "topic": "news"}, data, figures.chunk)):
        sender.frame(Opcode.BINARY, part)
        if number == 1 and await sender.alive() is None:
            return failed(f"a ping between two chunks of a blob got no answer: {stage.state(sender)}", at=stage.now())
    ack = await sender.answer("ack", id=1)
    if ack is None or not ack.get("ok"):
        return failed(
            f"a blob of {size} bytes in chunks got {ack or stage.state(sender)}; expected its ack", at=stage.now()
        )
    await subscriber.until(lambda: sum(len(body) for _, body in _bodies(subscriber)) >= size, stage.patience)
    got = _bodies(subscriber)
    if b"".join(body for _, body in got) != data:
        return failed(f"of a blob of {size} bytes a subscriber got {sum(len(b) for _, b in got)} in {len(got)} chunks")
    largest = max(len(body) for _, body in got)
    if largest > figures.chunk:
        return failed(f"a blob came in chunks of up to {largest} bytes; expected {figures.chunk} at most")
    return passed(f"a blob of {size} bytes went up and down in {len(got)} chunks of {largest} bytes at most")
