"""The engine's events over HTTP: what is told, to whom, and what happens to those who do not listen."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pytest_wschaos.engine import events, http_server
from pytest_wschaos.engine.api import Api
from pytest_wschaos.engine.errors import CannotListen
from pytest_wschaos.engine.http_server import HttpServer, Request, Response
from pytest_wschaos.engine.observer import Observer, Tap
from pytest_wschaos.timeline import fingerprint

from .rig import PATIENCE, Peer, Rig, eventually
from .test_api import Wire

pytestmark = pytest.mark.asyncio

Told = dict[str, Any]

REQUEST = b"GET /chat HTTP/1.1\r\nHost: Example.com:80\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
SECRET = "s3cret-t0ken"


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([opcode | final << 7]) + size + payload


class Follower:
    """A client of /events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""
        self._rest = b""
        self._lines: list[Told] = []

    @classmethod
    async def ask(cls, port: int, query: str = "", *, version: str = "HTTP/1.1") -> Follower:
        """Ask, and read the answer's head."""
        follower = cls(*await asyncio.open_connection("127.0.0.1", port))
        follower.writer.write(f"GET /events{query} {version}\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            follower.head = (await follower.reader.readuntil(b"\r\n\r\n")).decode()
        assert follower.head.startswith("HTTP/1.1 200 OK\r\n")
        return follower

    async def line(self) -> Told | None:
        """The next event; None: the stream has ended, and was complete."""
        while not self._lines:
            async with asyncio.timeout(PATIENCE):
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                piece = await self.reader.readexactly(size + 2)
            if not size:
                assert not self._rest
                return None
            *lines, self._rest = (self._rest + piece[:-2]).split(b"\n")
            self._lines = [json.loads(line) for line in lines]
        return self._lines.pop(0)

    async def until(self, kind: str, count: int = 1) -> list[Told]:
        """All events up to the ``count``-th of a kind."""
        told: list[Told] = []
        while count:
            line = await self.line()
            assert line is not None, f"no {kind} in {told}"
            told.append(line)
            count -= line["kind"] == kind
        return told

    async def all(self) -> list[Told]:
        """All events until the stream ends."""
        told = []
        while (line := await self.line()) is not None:
            told.append(line)
        return told

    def leave(self) -> None:
        self.writer.transport.abort()


@pytest_asyncio.fixture
async def api(rig: Rig) -> AsyncIterator[Api]:
    served = Api(rig.engine)
    rig.engine.unobserve(rig.notes)  # so that nobody else reads what passes
    await served.start()
    yield served
    await served.stop()


@pytest_asyncio.fixture
async def port(api: Api) -> int:
    return await api.start()


async def now(port: int, query: str = "") -> list[Told]:
    """What has been told up to now."""
    follower = await Follower.ask(port, f"?follow=0{query}")
    told = await follower.all()
    follower.leave()
    return told


def kinds(told: list[Told]) -> list[str]:
    return [one["kind"] for one in told]


def of(told: list[Told], kind: str) -> list[Told]:
    """The events of a kind, without what all have."""
    return [
        {name: value for name, value in one.items() if name not in ("n", "at", "kind", "proxy", "conn")}
        for one in told
        if one["kind"] == kind
    ]


async def opened(rig: Rig, request: bytes = REQUEST) -> tuple[Peer, Peer]:
    """A WebSocket connection."""
    client, server = await rig.pair()
    await client.send(request)
    await server.receive(len(request))
    await server.send(SWITCH)
    await client.receive(len(SWITCH))
    return client, server


def watched(rig: Rig) -> list[bool]:
    return [connection.watched for connection in rig.proxy.connections]


# --- connections ---


async def test_a_connection_from_its_attempt_to_its_end(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port)
    client, server = await opened(rig)
    await rig.echo(client, server)
    client.close()
    assert await server.rest() == b""
    server.close()
    told = await follower.until("end", 2)
    assert kinds(told) == [
        *("proxy_created", "proxy_enabled", "attempt", "accepted", "dial", "connected"),
        *("handshake", "handshake", "response", "response", "end", "end"),
    ]
    assert [one["n"] for one in told] == list(range(1, 13))
    assert {one["proxy"] for one in told} == {"client"}
    assert {one.get("conn") for one in told[2:]} == {1}
    instants = [one["at"] for one in told]
    assert instants == sorted(instants)
    assert instants[-1] <= asyncio.get_running_loop().time()
    host, client_port = client.writer.get_extra_info("sockname")
    assert of(told, "accepted") == [{"client": f"{host}:{client_port}"}]
    assert of(told, "dial") == [{"upstream": rig.upstream}]
    asked = {"way": "up", "path": "/chat", "host": "example.com"}
    assert of(told, "handshake") == [{"place": "client", **asked}, {"place": "server", **asked}]
    answered = {"way": "down", "status": 101}
    assert of(told, "response") == [{"place": "server", **answered}, {"place": "client", **answered}]
    assert of(told, "end")[0] == {"place": "client", "by": "peer", "how": "fin"}
    follower.leave()


async def test_the_second_connection_has_the_second_number(rig: Rig, port: int) -> None:
    await rig.pair()
    await rig.pair()
    assert [one["conn"] for one in await now(port) if one["kind"] == "attempt"] == [1, 2]


async def test_an_upstream_that_is_not_there(rig: Rig, port: int) -> None:
    rig.proxy.upstream = "127.0.0.1:1"
    follower = await Follower.ask(port)
    client = await rig.client()
    assert await client.rest() == b""
    (failed,) = of(await follower.until("dial_failed"), "dial_failed")
    assert failed["error"].startswith("upstream 127.0.0.1:1 cannot be reached: ")
    follower.leave()


async def test_a_refused_attempt(rig: Rig, port: int) -> None:
    await rig.engine.update("client", enabled=False)
    follower = await Follower.ask(port)
    with pytest.raises(ConnectionRefusedError):
        await rig.client()
    (attempt,) = of(await follower.until("attempt"), "attempt")
    assert attempt.pop("late", 0.0) >= 0.0
    assert attempt == {"refused": True}
    follower.leave()


async def test_attempts_that_cannot_be_told_are_said_to_be(rig: Rig, port: int) -> None:
    rig.proxy.blind()
    rig.proxy.refused(0.25, 0.5)
    rig.proxy.refused(0.25, 0.0)
    blind, late, exact = (await now(port))[-3:]
    assert blind["kind"] == "blind"
    assert (late["at"], late["refused"], late["late"]) == (0.25, True, 0.5)
    assert "late" not in exact


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_cut_names_its_fault(rig: Rig, port: int, how: Any) -> None:
    client, server = await rig.pair()
    rig.proxy.cut("abort", how)
    told = await now(port)
    assert of(told, "cut") == [{"fault": "abort", "how": how}]
    assert of(told, "end") == [{"place": place, "by": "proxy", "how": how} for place in ("client", "server")]
    for peer in (client, server):
        try:
            await peer.rest()
        except ConnectionResetError:
            assert how == "reset"


async def test_a_cut_names_its_toxic(rig: Rig, port: int) -> None:
    client, server = await rig.pair()
    rig.proxy.add_toxic("limit_data", attributes={"bytes": 3})
    await server.send(b"four")
    assert await client.rest() == b"fou"
    assert of(await now(port), "cut") == [{"fault": "limit_data", "how": "fin"}]


async def test_a_peers_reset(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port)
    client, _ = await rig.pair()
    await client.reset()
    told = await follower.until("end")
    assert of(told, "end") == [{"place": "client", "by": "peer", "how": "reset"}]
    follower.leave()


async def test_what_a_toxic_does(rig: Rig, port: int) -> None:
    await rig.pair()
    next(iter(rig.proxy.connections)).tap.acted("mangle", "up", action="drop")
    assert of(await now(port), "acted") == [{"toxic": "mangle", "way": "up", "what": {"action": "drop"}}]


# --- proxies and toxics ---


async def test_a_proxys_life(rig: Rig, port: int) -> None:
    since = (await now(port))[-1]["n"]
    engine = rig.engine
    listen = (await engine.create("p", "127.0.0.1:0", "a:1")).listen
    await engine.update("p", enabled=False)
    await engine.update("p", enabled=False)
    await engine.update("p", enabled=True)
    await engine.update("p", enabled=True)
    await engine.update("p", upstream="b:1")
    await engine.delete("p")
    told = await now(port, f"&since={since}")
    assert [(one["kind"], one["listen"], one["upstream"]) for one in told] == [
        ("proxy_created", listen, "a:1"),
        ("proxy_enabled", listen, "a:1"),
        ("proxy_disabled", listen, "a:1"),
        ("proxy_enabled", listen, "a:1"),
        ("proxy_disabled", listen, "a:1"),
        ("proxy_enabled", listen, "b:1"),
        ("proxy_disabled", listen, "b:1"),
        ("proxy_deleted", listen, "b:1"),
    ]
    assert {one["proxy"] for one in told} == {"p"}


async def test_a_proxy_that_accepts_only_to_reset_is_disabled(rig: Rig, port: int) -> None:
    since = (await now(port))[-1]["n"]
    rig.proxy._refusals = None
    rig.proxy.refuse()
    await rig.proxy.start()
    rig.proxy.stop()
    rig.proxy.drop()
    assert kinds(await now(port, f"&since={since}")) == ["proxy_disabled", "proxy_enabled", "proxy_disabled"]


async def test_a_proxy_that_takes_the_place_of_another(rig: Rig, port: int) -> None:
    since = (await now(port))[-1]["n"]
    await rig.engine.ensure("client", rig.proxy.listen, "other:1", enabled=False)
    assert kinds(await now(port, f"&since={since}")) == ["proxy_disabled", "proxy_deleted", "proxy_created"]


async def test_nothing_is_told_of_a_proxy_that_could_not_be_made(rig: Rig, port: int) -> None:
    since = (await now(port))[-1]["n"]
    with pytest.raises(CannotListen):
        await rig.engine.create("p", rig.proxy.listen, "a:1")
    assert await now(port, f"&since={since}") == []


async def test_a_toxics_life(rig: Rig, port: int) -> None:
    since = (await now(port))[-1]["n"]
    rig.proxy.add_toxic("latency", name="slow", attributes={"latency": 5})
    rig.proxy.update_toxic("slow", attributes={"latency": 6}, toxicity=0.5)
    rig.proxy.remove_toxic("slow")
    told = await now(port, f"&since={since}")
    assert kinds(told) == ["toxic_added", "toxic_updated", "toxic_removed"]
    slow = {"name": "slow", "type": "latency", "stream": "downstream", "toxicity": 1}
    assert told[0]["toxic"] == {**slow, "attributes": {"latency": 5, "jitter": 0}}
    assert told[1]["toxic"] == told[2]["toxic"] == {**slow, "toxicity": 0.5, "attributes": {"latency": 6, "jitter": 0}}


async def test_what_was_there_before_the_api_is_told_when_it_starts(rig: Rig) -> None:
    rig.proxy.add_toxic("noop")
    await rig.engine.create("off", "127.0.0.1:0", "a:1", enabled=False)
    api = Api(rig.engine)
    told = await now(await api.start())
    assert [(one["proxy"], one["kind"]) for one in told] == [
        ("client", "proxy_created"),
        ("client", "toxic_added"),
        ("client", "proxy_enabled"),
        ("off", "proxy_created"),
    ]
    assert len(await now(await api.start())) == 4  # a second start changes nothing
    await api.stop()


async def test_nothing_is_kept_once_the_api_is_stopped(rig: Rig) -> None:
    api = Api(rig.engine)
    await api.start()
    await api.stop()
    await api.stop()
    rig.proxy.add_toxic("noop")
    told = await now(await api.start())
    assert kinds(told).count("toxic_added") == 1  # of the second introduction
    await api.stop()


# --- handshakes and frames ---


async def test_no_secret_is_told(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port, "?frames=1")
    request = (
        f"GET /chat?token={SECRET}&room={SECRET}&{SECRET} HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\n"
        f"Cookie: a={SECRET}\r\nSec-WebSocket-Protocol: chat, {SECRET * 4}\r\nX-Key: {SECRET}\r\n\r\n"
    )
    client, server = await opened(rig, request.encode())
    for data in (frame(1, SECRET.encode()), frame(9, SECRET.encode()), frame(8, b"\x03\xe8" + SECRET.encode())):
        await client.send(data)
        await server.receive(len(data))
    client, server = await rig.pair()
    await rig.echo(client, server, f"AUTH {SECRET}\r\n\r\n".encode())
    told = await follower.until("unread")
    assert SECRET not in json.dumps(told)
    assert of(told, "handshake")[0] == {
        "place": "client",
        "way": "up",
        "path": "/chat?token=***&room=***&***",
        "host": "",
        "subprotocol": f"chat, {fingerprint(SECRET * 4)}",
        "mode": "query",
        "fingerprint": fingerprint(SECRET),
    }
    follower.leave()


async def test_a_refused_handshake_and_where_it_points_to(rig: Rig, port: int) -> None:
    client, server = await rig.pair()
    await client.send(REQUEST)
    await server.receive(len(REQUEST))
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nLocation: ws://Other:80/x\r\n\r\n"
    await server.send(early + answer + frame(1, b"no frame"))
    await client.receive(len(early + answer))
    told = of(await now(port), "response")
    assert [one["status"] for one in told] == [103, 503, 103, 503]
    assert told[1] == {"place": "server", "way": "down", "status": 503, "retry_after": 2.0, "to": "other"}


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"\x00\x01", b"GEX", b"HTTX"])
async def test_what_is_no_websocket_is_left_alone_from_its_first_byte(
    rig: Rig, port: int, way: str, data: bytes
) -> None:
    client, server = await rig.pair()
    assert watched(rig) == [True]
    source, target = (client, server) if way == "up" else (server, client)
    await source.send(data)
    await target.receive(len(data))
    assert watched(rig) == [False]
    await rig.echo(client, server)
    encrypted = {"encrypted": True} if data[0] == 0x16 else {}
    place = "client" if way == "up" else "server"
    assert of(await now(port), "unread") == [{"place": place, "way": way, **encrypted}]


async def test_a_head_without_end_is_given_up(rig: Rig, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEAD_LIMIT", 100)
    client, server = await rig.pair()
    for piece in (b"G", b"ET /", b"x" * 50):
        await client.send(piece)
        await server.receive(len(piece))
        assert watched(rig) == [True]
    await client.send(b"x" * 50)
    await server.receive(50)
    assert watched(rig) == [False]
    assert kinds(await now(port))[-1] == "unread"


async def test_nothing_is_read_behind_the_handshake_unless_somebody_reads_frames(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port)
    client, server = await opened(rig)
    assert watched(rig) == [False]
    frames = await Follower.ask(port, "?frames=1")
    await rig.echo(client, server, frame(1, b"before"))
    assert watched(rig) == [False]
    later, its_server = await opened(rig)
    await rig.echo(later, its_server, frame(1, b"after"))
    assert watched(rig) == [False, True]
    rig.proxy.add_toxic("noop", name="last")
    told = await frames.until("toxic_added")
    assert {one["conn"] for one in told if one["kind"] == "frame"} == {2}
    assert of(told, "frame") == [
        {"place": place, "way": way, "size": 5, "opcode": "text", "final": True}
        for place, way in (("client", "up"), ("server", "up"), ("server", "down"), ("client", "down"))
    ]
    assert "frame" not in kinds(await follower.until("toxic_added"))
    frames.leave()
    follower.leave()


async def test_frames_are_no_longer_read_when_their_reader_has_left(rig: Rig, api: Api, port: int) -> None:
    frames = await Follower.ask(port, "?frames=1")
    pair = await opened(rig)
    await rig.echo(*pair, frame(1, b"a"))
    assert watched(rig) == [True]
    frames.leave()
    await eventually(lambda: not api._log.reads_frames, "the reader has left")
    await rig.echo(*pair, frame(1, b"b"))
    assert watched(rig) == [False]
    again = await Follower.ask(port, "?frames=1")
    await rig.echo(*pair, frame(1, b"c"))
    await rig.echo(*await opened(rig), frame(1, b"d"))
    told = await again.until("frame")
    assert told[-1]["conn"] == 2
    again.leave()


async def test_frames_are_told_one_by_one_with_their_sizes(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port, "?frames=1")
    client, server = await opened(rig)
    sent = [
        *(frame(1, b"first", final=False), frame(9, b"ping"), frame(0, b"x" * 3000), frame(2, b""), frame(10, b"ping")),
        *(frame(8, b""), frame(8, b"\x03\xf1bye")),
    ]
    await client.send(b"".join(sent))
    await server.receive(len(b"".join(sent)))
    told = [one for one in await follower.until("close", 4) if one.get("place") == "client" and one["kind"] != "end"]
    assert [(one["size"], one["opcode"], one["final"]) for one in told if one["kind"] == "frame"] == [
        *((5, "text", False), (4, "ping", True), (3000, "continuation", True), (0, "binary", True), (4, "pong", True)),
    ]
    assert of(told, "close") == [
        {"place": "client", "way": "up", "size": 0, "code": None},
        {"place": "client", "way": "up", "size": 5, "code": 1009},
    ]
    handshake = next(one for one in told if one["kind"] == "handshake")
    assert all(one["n"] >= handshake["n"] for one in told if one["kind"] == "frame")
    follower.leave()


async def test_a_large_frame_is_told_and_not_kept(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port, "?frames=1")
    client, server = await opened(rig)
    large = frame(2, b"x" * 60_000)
    for start in range(0, len(large), 5_000):
        await client.send(large[start : start + 5_000])
        await server.receive(len(large[start : start + 5_000]))
        (connection,) = rig.proxy.connections
        assert all(len(stream._buffer) <= 125 for stream in connection.tap._reading._streams.values())
    assert (await follower.until("frame"))[-1]["size"] == 60_000
    follower.leave()


async def test_where_frames_can_no_longer_be_read_the_other_direction_is(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port, "?frames=1")
    client, server = await opened(rig)
    await rig.echo(client, server, b"\x83\x00")
    await client.send(frame(1, b"x"))
    await server.send(b"\x83\x00")
    told = await follower.until("unread", 4)
    assert of(told, "unread") == [
        {"place": place, "way": way}
        for place, way in (("client", "up"), ("server", "up"), ("server", "down"), ("client", "down"))
    ]
    client, server = await opened(rig)
    await client.send(b"\x83\x00")
    await server.receive(2)
    await server.send(frame(1, b"still"))
    assert (await follower.until("frame"))[-1]["way"] == "down"
    follower.leave()


# --- readers ---


async def test_a_reader_goes_on_where_it_was(rig: Rig, port: int) -> None:
    first = await now(port)
    rig.proxy.add_toxic("noop")
    again = await now(port, f"&since={first[-1]['n']}")
    assert kinds(again) == ["toxic_added"]
    assert await now(port, f"&since={again[-1]['n']}") == []
    assert await now(port, "&since=0") == [*first, *again]


async def test_what_is_no_longer_kept_is_lost_and_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT", 10)
    api = Api(rig.engine)
    port = await api.start()
    rig.proxy.add_toxic("latency", name="one")
    for latency in range(100):
        rig.proxy.update_toxic("one", attributes={"latency": latency})
    lost, *kept = await now(port, "&since=3")
    assert [one["toxic"]["attributes"]["latency"] for one in kept] == list(range(90, 100))
    assert (lost["kind"], lost["events"]) == ("lost", kept[0]["n"] - 4)
    assert lost["n"] == kept[0]["n"] - 1
    assert await now(port) == kept
    assert await now(port, f"&since={kept[0]['n'] - 1}") == kept
    await api.stop()


async def test_a_follower_that_is_overtaken_is_told_and_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT", 10)
    api = Api(rig.engine)
    port = await api.start()
    follower = await Follower.ask(port, "?frames=1")
    client, server = await opened(rig)
    (frames,) = rig.proxy.connections
    last = (await follower.until("response", 2))[-1]["n"]
    for _ in range(30):  # in one turn of the loop, so that the follower has none
        frames.tap.data("client", "up", frame(1, b"x"))
        frames.tap.cut("abort", "fin")
    told = await follower.until("cut", 10)
    assert told[0] == {"n": last + 20, "at": told[0]["at"], "kind": "lost", "events": 20, "frames": 20}
    assert kinds(told[1:]) == ["frame", "cut"] * 10
    await rig.echo(client, server, frame(1, b"x"))
    assert (await follower.until("frame"))[-1]["size"] == 1
    follower.leave()
    await api.stop()


async def test_a_client_that_does_not_read_delays_nobody_and_is_told_what_it_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT", 100)
    api = Api(rig.engine)
    port = await api.start()
    follower = await Follower.ask(port)
    rig.proxy.add_toxic("noop", name="x" * 900)
    follower.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (reader,) = api._log._readers
    behind, at = 0, -1
    while behind < 20:  # until it gets no further, whatever the kernel's buffers hold
        behind, at = behind + 1 if reader._event == at else 0, reader._event
        for _ in range(50):
            rig.proxy.update_toxic("x" * 900)
        await asyncio.sleep(0)
    await rig.echo(*await rig.pair())
    last = (await now(port))[-1]["n"]
    assert reader in api._log._readers  # it has not been given up
    follower.writer.transport.resume_reading()  # type: ignore[attr-defined]
    told, at = [], 0
    while at < last:
        line = await follower.line()
        assert line is not None
        told.append(line)
        at = line["n"]
    lost = sum(one["events"] for one in told if one["kind"] == "lost")
    assert lost > 0
    assert len(told) - kinds(told).count("lost") + lost == last
    follower.leave()
    await api.stop()


async def test_a_reader_without_follow_ends_at_what_was_the_present(rig: Rig, api: Api, port: int) -> None:
    reader = api._log.read(follow=False)
    rig.proxy.add_toxic("noop")
    lines = b"".join([piece async for piece in reader]).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["proxy_created", "proxy_enabled"]
    await reader.aclose()


async def test_there_is_room_for_so_many_readers(
    rig: Rig, api: Api, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "READERS", 2)
    first, second = await Follower.ask(port), await Follower.ask(port)
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    refused = await wire.ask("GET", "/events")
    assert refused.error == (503, "2 readers follow the events already: end one of them first")
    first.leave()
    await eventually(lambda: len(api._log._readers) < 2, "it has left")
    third = await Follower.ask(port)
    for follower in (second, third, wire):
        follower.writer.transport.abort()


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("since=x", "since has to be the number of an event, n, and not 'x'"),
        ("since=-1", "since has to be the number of an event, n, and not '-1'"),
        ("since=", "since has to be the number of an event, n, and not ''"),
        ("since=" + "1" * 5000, f"since has to be the number of an event, n, and not '{'1' * 50}'"),
        ("since=99", "since 99 is after the newest event, 2: was the engine restarted?"),
        ("frames=yes", "frames has to be 0 or 1, and not 'yes'"),
        ("follow=", "follow has to be 0 or 1, and not ''"),
        ("frame=1", "unknown parameter 'frame': there are since, frames and follow"),
        ("frames=1&follow=0", "frames are not kept, and have to be followed: leave out frames=1 or follow=0"),
    ],
)
async def test_what_cannot_be_asked_is_said(port: int, query: str, error: str) -> None:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    assert (await wire.ask("GET", f"/events?{query}")).error == (400, error)
    wire.writer.transport.abort()


@pytest.mark.parametrize("path", ["/events", "/connections"])
async def test_only_get_is_answered(port: int, path: str) -> None:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    assert (await wire.ask("POST", path)).status == 405
    assert (await wire.ask("GET", path + "/")).status == 404
    assert (await wire.ask("GET", path, User_Agent="Mozilla/5.0")).status == 403
    wire.writer.transport.abort()


async def test_long_values_are_cut_short(rig: Rig, port: int) -> None:
    since = (await now(port))[-1]["n"]
    await opened(rig, b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n")
    next(iter(rig.proxy.connections)).tap.acted("mangle", "up", where=list(range(2000)), who=object())
    told = await now(port, f"&since={since}")
    assert of(told, "handshake")[0]["path"] == "/" + "x" * 499 + "..."
    what = of(told, "acted")[0]["what"]
    assert (len(what["where"]), what["where"][:9]) == (503, "[0, 1, 2,")
    assert await now(port, f"&since={since}") == told


# --- connections that are live ---


async def test_live_connections_are_listed(rig: Rig, port: int) -> None:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    before = asyncio.get_running_loop().time()
    assert (await wire.ask("GET", "/connections")).json["connections"] == []
    client, server = await rig.pair()
    await client.send(b"12345")
    await server.receive(5)
    await server.send(b"123")
    await client.receive(3)
    rig.proxy.add_toxic("latency", name="slow")
    rig.proxy.add_toxic("noop", name="never", toxicity=0.0)
    rig.proxy.add_toxic("noop", name="later", connections={"every": 1})
    other = await rig.engine.create("another", "127.0.0.1:0", rig.upstream)
    second = Peer(*await asyncio.open_connection(*other.address))
    await rig.accepted.get()
    answer = await wire.ask("GET", "/connections")
    assert answer.headers["content-type"] == "application/json"
    another, first = answer.json["connections"]
    host, client_port = client.writer.get_extra_info("sockname")
    assert before <= first.pop("since") <= another["since"] <= answer.json["at"]
    assert first == {
        "proxy": "client",
        "conn": 1,
        "client": f"{host}:{client_port}",
        "up": 5,
        "down": 3,
        "toxics": ["slow"],
    }
    assert (another["proxy"], another["conn"], another["toxics"]) == ("another", 1, [])
    rig.proxy.cut("abort", "reset")
    second.writer.transport.abort()
    await eventually(lambda: not rig.proxy.connections and not other.connections, "they are gone")
    assert (await wire.ask("GET", "/connections")).json["connections"] == []
    wire.writer.transport.abort()


# --- the stream itself ---


async def test_the_stream_is_chunked_and_ends_the_connection(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port, "?follow=0")
    lines = follower.head.split("\r\n")
    assert {"Content-Type: application/x-ndjson", "Transfer-Encoding: chunked", "Connection: close"} <= set(lines)
    assert not any(line.startswith("Content-Length") for line in lines)
    assert kinds(await follower.all()) == ["proxy_created", "proxy_enabled"]
    async with asyncio.timeout(PATIENCE):
        assert await follower.reader.read() == b""
    follower.leave()


async def test_an_older_client_gets_it_without_chunks(rig: Rig, port: int) -> None:
    follower = await Follower.ask(port, "?follow=0", version="HTTP/1.0")
    assert "Transfer-Encoding" not in follower.head
    async with asyncio.timeout(PATIENCE):
        lines = (await follower.reader.read()).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["proxy_created", "proxy_enabled"]
    follower.leave()


@pytest.mark.parametrize("leave", ["fin", "reset"])
async def test_a_client_that_leaves_is_noticed_though_nothing_happens(
    rig: Rig, api: Api, port: int, leave: str
) -> None:
    follower = await Follower.ask(port)
    follower.writer.write(b"what it sends now is no request\r\n\r\n")
    assert len(api._log._readers) == 1
    if leave == "fin":
        follower.writer.close()
    else:
        await Peer(follower.reader, follower.writer).reset()
    await eventually(lambda: not api._log._readers and not api._server._tasks, "it has been noticed")


async def test_stopping_ends_the_streams(rig: Rig, api: Api, port: int) -> None:
    follower = await Follower.ask(port)
    await follower.until("proxy_enabled")
    await api.stop()
    assert not api._log._readers
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):  # it is not complete
        await follower.line()
    follower.leave()


class Pieces:
    """A body that comes in pieces; behind them it raises."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = list(pieces)
        self.error = error
        self.closed = 0

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        raise self.error or StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


class Roomy(HttpServer):
    """Takes whatever it has to send at once."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=1 << 30)
        await super()._serve(reader, writer)


async def served(body: Pieces) -> tuple[HttpServer, asyncio.StreamReader, asyncio.StreamWriter]:
    async def handle(request: Request) -> Response:
        return Response(200, body, "text/plain")

    server = Roomy(handle)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    return server, reader, writer


async def test_others_have_their_turns_while_there_is_much_to_send(rig: Rig) -> None:
    turns = 0
    seen = []

    def turn() -> None:
        nonlocal turns
        turns += 1
        if body.pieces:
            asyncio.get_running_loop().call_soon(turn)

    class Noting(Pieces):
        async def __anext__(self) -> bytes:
            seen.append(turns)
            return await super().__anext__()

    body = Noting(*[b"x"] * 50)
    server, reader, writer = await served(body)
    turn()
    async with asyncio.timeout(PATIENCE):
        assert (await reader.read()).endswith(b"0\r\n\r\n")
    assert len(set(seen)) > 25
    await server.stop()
    writer.transport.abort()


async def test_a_body_that_fails_does_not_look_complete(rig: Rig) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    body = Pieces(b"half", error=LookupError("no idea"))
    server, reader, writer = await served(body)
    async with asyncio.timeout(PATIENCE):
        got = await reader.read()
    assert not got.endswith(b"0\r\n\r\n")
    await eventually(lambda: body.closed, "the body is closed")
    await server.stop()
    assert body.closed == 1
    writer.transport.abort()


async def test_a_client_that_does_not_take_the_end_is_let_go(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "WRITE_TIMEOUT", 0.02)
    size = 50_000_000  # more than any kernel buffers
    body = Pieces(b"x" * size)
    server, reader, writer = await served(body)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await eventually(lambda: body.closed and not server._tasks, "it is let go")
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    got = 0
    with contextlib.suppress(ConnectionResetError):
        while data := await asyncio.wait_for(reader.read(1 << 20), PATIENCE):
            got += len(data)
    assert got < size
    await server.stop()
    writer.transport.abort()


# --- several observers ---


async def test_a_tap_that_watches_no_longer_is_told_of_no_data(rig: Rig) -> None:
    pair = await rig.pair()
    await rig.echo(*pair, b"seen")
    (tap,) = rig.notes.taps
    tap.watching = False
    await rig.echo(*pair, b"last")
    await rig.echo(*pair, b"unseen")
    assert not any(b"unseen" in data for data in tap.seen.values())
    tap.watching = True  # it is too late
    await rig.echo(*pair, b"unseen")
    assert not any(b"unseen" in data for data in tap.seen.values())
    pair[0].close()
    await eventually(lambda: tap.ends, "the rest is told")


class Counter(Observer):
    def __init__(self, tap: Tap | None) -> None:
        self.tap = tap
        self.told: list[str] = []

    def attempt(self, proxy: str, number: int) -> Tap | None:
        self.told.append("attempt")
        return self.tap

    def refused(self, proxy: str, at: float, late: float) -> None:
        self.told.append("refused")

    def blind(self, proxy: str) -> None:
        self.told.append("blind")


class CountingTap(Tap):
    watching = True

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in ("accepted", "dialling", "connected", "error", "data", "ended", "cut", "acted"):
            return lambda *_, **__: self.told.append(name)
        return super().__getattribute__(name)


async def test_all_observers_are_told_of_everything(rig: Rig) -> None:
    deaf = Tap()
    one, other, none, silent = Counter(CountingTap()), Counter(CountingTap()), Counter(None), Counter(deaf)
    for observer in (one, other, none, silent):
        rig.engine.observe(observer)
    client, server = await rig.pair()
    await rig.echo(client, server)
    (connection,) = rig.proxy.connections
    connection.tap.acted("x", "up")
    rig.proxy.cut("abort", "reset")
    rig.proxy.upstream = "127.0.0.1:1"
    await (await rig.client()).rest()
    rig.proxy.refused(0.0, 0.0)
    rig.proxy.blind()
    assert one.told == other.told == none.told == silent.told == ["attempt", "attempt", "refused", "blind"]
    assert isinstance(one.tap, CountingTap)
    assert isinstance(other.tap, CountingTap)
    assert one.tap.told == other.tap.told
    assert one.tap.told[:12] == [
        *("accepted", "dialling", "connected", "data", "data", "data", "data", "acted", "cut", "ended", "ended"),
        "accepted",
    ]
    assert "error" in one.tap.told
    rig.engine.unobserve(one)
    rig.engine.unobserve(one)
    await rig.client()
    await eventually(lambda: len(other.told) == 5, "the others are told")
    assert len(one.told) == 4
