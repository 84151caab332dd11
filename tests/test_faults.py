"""Each fault, as plain ``websockets`` clients feel it, and as the timeline tells of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from talk import LATER, NOTHING, echoes, ended, silent
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus, WebSocketException
from websockets.sync.client import connect as connect_sync

from pytest_wschaos import Chaos, ChaosProxy, Event, Fault, FaultError, PeerFaultError
from pytest_wschaos.checks.bite import toothless
from pytest_wschaos.engine.errors import CannotListen
from pytest_wschaos.faults import Direction
from pytest_wschaos.reference.wire import Dial

Inject = Callable[[Chaos], Fault]


FAULTS: dict[str, Inject] = {
    "latency": lambda chaos: chaos.latency(0.01, 0.005, must_bite=False),
    "bandwidth": lambda chaos: chaos.bandwidth(1_000_000, must_bite=False),
    "silent_drop": lambda chaos: chaos.silent_drop(must_bite=False),
    "idle_timeout": lambda chaos: chaos.idle_timeout(0.05),
    "lifetime": lambda chaos: chaos.lifetime(0.05, must_bite=False),
    "reset_now": lambda chaos: chaos.reset_now(must_bite=False),
    "frame": lambda chaos: chaos.frame("drop", must_bite=False),
    "handshake": lambda chaos: chaos.handshake(503, must_bite=False),
    "schedule": lambda chaos: chaos.schedule("latency", [(0, 9)], attributes={"latency": 5}, must_bite=False),
    "unanswered_handshake": lambda chaos: chaos.unanswered_handshake(must_bite=False),
    "abort": lambda chaos: chaos.abort(must_bite=False),
    "disconnect": lambda chaos: chaos.disconnect(must_bite=False),
    "refuse": lambda chaos: chaos.refuse(must_bite=False),
    "bad_certificate": lambda chaos: chaos.bad_certificate(must_bite=False),
    "unanswered": lambda chaos: chaos.unanswered(),
    "reject_handshake": lambda chaos: chaos.reject_handshake(503, retry_after=2, must_bite=False),
    "accept_then_close": lambda chaos: chaos.accept_then_close(1013, "later", must_bite=False),
    "close": lambda chaos: chaos.close(1012, "restart", must_bite=False),
    "mute_pongs": lambda chaos: chaos.mute_pongs(must_bite=False),
}

every_fault = pytest.mark.parametrize("name", FAULTS)
asynchronous = pytest.mark.asyncio


@pytest.fixture
def chaos(wschaos: Chaos) -> Chaos:
    return wschaos


def plain(chaos: ChaosProxy) -> contextlib.AbstractAsyncContextManager[ClientConnection]:
    """A client without heartbeat or compression, that does not wait long for a close handshake."""
    url = chaos.echo_url if isinstance(chaos, Chaos) else chaos.url
    return connect(url, ping_interval=None, close_timeout=0.1, compression=None)


async def attempt(chaos: Chaos) -> None:
    """Connect, and do not care what comes of it."""
    with contextlib.suppress(OSError, WebSocketException, TimeoutError):
        async with asyncio.timeout(NOTHING), plain(chaos):
            pass


# --- all of them ---


@every_fault
def test_in_a_with_block_a_fault_is_on_record_until_the_block_ends(chaos: Chaos, name: str) -> None:
    with FAULTS[name](chaos) as fault:
        begun = chaos.wait("fault")
        assert (begun["fault"], begun["id"]) == (name, fault.id)
        assert fault.active
        assert "in force" in repr(fault)
        assert not [event for event in chaos.timeline if event.kind == "healed"]
    assert chaos.wait("healed")["id"] == fault.id
    assert "removed" in repr(fault)


@every_fault
@asynchronous
async def test_in_an_async_with_block_too(chaos: Chaos, name: str) -> None:
    async with FAULTS[name](chaos) as fault:
        assert (await chaos.wait_for("fault"))["fault"] == name
    assert (await chaos.wait_for("healed"))["id"] == fault.id


@every_fault
def test_by_hand_and_a_second_removal_does_nothing(chaos: Chaos, name: str) -> None:
    fault = FAULTS[name](chaos)
    fault.remove()
    fault.remove()
    assert not fault.active
    assert [event["id"] for event in chaos.timeline if event.kind == "healed"] == [fault.id]


@every_fault
@asynchronous
async def test_attempts_are_recorded_and_removal_heals(chaos: Chaos, name: str) -> None:
    with FAULTS[name](chaos):
        await attempt(chaos)
        if name == "unanswered":  # of which there is no record
            return
        seen = await chaos.wait_for("attempt")
        assert bool(seen.get("refused")) is (name == "refuse")
    async with plain(chaos) as client:
        await echoes(client)
    assert not (await chaos.wait_for("attempt")).get("refused")


@every_fault
def test_a_fault_heals_though_the_block_raises(chaos: Chaos, name: str) -> None:
    with pytest.raises(ZeroDivisionError), FAULTS[name](chaos):
        raise ZeroDivisionError
    with connect_sync(chaos.echo_url) as client:
        client.send("hello")
        assert client.recv(LATER) == "hello"


@every_fault
def test_faults_apply_to_every_listener(chaos: Chaos, name: str) -> None:
    url = chaos.url_for("second").replace("/ws", "/echo")
    with FAULTS[name](chaos):
        with (
            contextlib.suppress(OSError, WebSocketException, TimeoutError),
            connect_sync(url, open_timeout=NOTHING, close_timeout=NOTHING),
        ):
            pass
        if name != "unanswered":
            assert chaos.wait("attempt", client="second").client == "second"
    with connect_sync(url) as client:
        client.send("hello")
        assert client.recv(LATER) == "hello"


@every_fault
def test_a_fault_that_outlives_its_chaos_can_still_be_removed(name: str) -> None:
    with Chaos() as chaos:
        fault = FAULTS[name](chaos)
    fault.remove()
    assert not fault.active


# --- the network's, one by one ---


@asynchronous
async def test_latency_delays_both_ways(chaos: Chaos) -> None:
    loop = asyncio.get_running_loop()
    async with plain(chaos) as client:
        await echoes(client)
        with chaos.latency(0.06):
            start = loop.time()
            await echoes(client)
            assert loop.time() - start >= 0.119
        trips = []
        for _ in range(20):
            start = loop.time()
            await echoes(client)
            trips.append(loop.time() - start)
        assert min(trips) < 0.1


@asynchronous
async def test_latency_in_one_direction_leaves_the_other(chaos: Chaos) -> None:
    async with plain(chaos) as client:
        with chaos.latency(0.1, direction="down"):
            await echoes(client)
            up = [await chaos.wait_for("text", place="client"), await chaos.wait_for("text", place="server")]
            back = await chaos.wait_for("text", place="client")
            assert back.at - up[0].at >= 0.099
            assert [event.way for event in (*up, back)] == ["up", "up", "down"]


@asynchronous
async def test_bandwidth_takes_its_time(chaos: Chaos) -> None:
    loop = asyncio.get_running_loop()
    async with plain(chaos) as client:
        with chaos.bandwidth(20_000, "up"):
            start = loop.time()
            await echoes(client, "x" * 4000)
            assert loop.time() - start >= 0.19


@asynchronous
async def test_what_met_a_silent_drop_stays_dead(chaos: Chaos) -> None:
    async with plain(chaos) as busy, plain(chaos) as idle:
        await echoes(busy)
        with chaos.silent_drop():
            await busy.send("lost")
            await silent(busy)
        await busy.send("lost too")
        await silent(busy)
        await idle.send("lost as well")
        await silent(idle)
        async with plain(chaos) as fresh:
            await echoes(fresh)
    texts = [event for event in chaos.timeline if event.kind == "text"]
    assert [event.conn for event in texts if (event.place, event.way) == ("server", "up")] == [1, 3]
    assert [event.conn for event in texts if (event.place, event.way) == ("client", "up")] == [1, 1, 1, 2, 3]


@asynchronous
async def test_a_silent_drop_swallows_close_frames_and_the_end_of_tcp(chaos: Chaos) -> None:
    async with plain(chaos) as client:
        await echoes(client)
        with chaos.silent_drop():
            await client.close()
            await chaos.wait_for("close")
            await chaos.wait_for("end")
        # Healed or not, the server has heard of nothing.
        await asyncio.sleep(NOTHING)
        assert len(chaos.server.connections) == 1
    assert not [event for event in chaos.timeline if event.place == "server" and event.kind in ("close", "end")]


@asynchronous
async def test_a_silent_drop_in_one_direction(chaos: Chaos) -> None:
    async with plain(chaos) as client:
        with chaos.silent_drop("down"):
            await client.send("arrives")
            assert (await chaos.wait_for("text", place="server")).way == "up"
            await silent(client)


@asynchronous
async def test_resume_releases_in_order(chaos: Chaos) -> None:
    async with plain(chaos) as client:
        await echoes(client)
        with chaos.silent_drop(resume=True):
            for number in range(50):
                await client.send(str(number))
            await silent(client)
        async with asyncio.timeout(LATER):
            assert [await client.recv() for _ in range(50)] == [str(number) for number in range(50)]
        await echoes(client)


@asynchronous
async def test_resume_holds_a_close_back_too(chaos: Chaos) -> None:
    async with plain(chaos) as client:
        with chaos.silent_drop(resume=True):
            await client.send("last words")
            closing = asyncio.create_task(client.close(4000, "bye"))
            assert (await chaos.wait_for("close"))["code"] == 4000
            await closing
        assert (await chaos.wait_for("close", place="server"))["code"] == 4000
    texts = [event.place for event in chaos.timeline if event.kind == "text" and event.way == "up"]
    assert texts == ["client", "server"]


@asynchronous
async def test_idle_timeout_cuts_what_is_idle_and_nothing_else(chaos: Chaos) -> None:
    limit = 0.3
    async with plain(chaos) as idle, plain(chaos) as busy:
        with chaos.idle_timeout(limit):
            cut = asyncio.create_task(ended(idle))
            while not cut.done():
                with contextlib.suppress(ConnectionClosed):
                    await busy.send("still here")
                    await busy.recv()
                await asyncio.sleep(0.01)
            assert cut.result().rcvd is None
            await ended(busy)
    first, second = await chaos.wait_for("cut"), await chaos.wait_for("cut")
    assert (first.conn, first["fault"], first["how"]) == (1, "idle_timeout", "fin")
    said = [e.at for e in chaos.timeline if e.kind == "text" and (e.place, e.way) == ("client", "up")]
    assert second.conn == 2
    assert second.at - said[-1] >= limit - 0.01


@asynchronous
async def test_idle_timeout_counts_the_silence_of_a_direction(chaos: Chaos) -> None:
    """A server that only listens is idle downwards, however much the client says."""

    async def listener(websocket: object) -> None:
        async for _ in websocket:  # type: ignore[attr-defined]
            pass

    url = chaos.serve(listener)

    async def talk(direction: Direction, until: float) -> list[Event]:
        seen = len(chaos.timeline)
        async with connect(url, ping_interval=None, close_timeout=0.1) as client:
            with chaos.idle_timeout(0.2, direction), contextlib.suppress(ConnectionClosed):
                start = chaos.timeline.now()
                while chaos.timeline.now() - start < until:
                    await client.send("talk")
                    await asyncio.sleep(0.02)
            return chaos.timeline.since(seen)

    up = await talk("up", 0.4)
    said = [event.at for event in up if event.kind == "text" and event.place == "client"]
    # A machine that stood still may have made the client silent; then, and only then, it may be cut.
    assert all(event.at - said[-1] >= 0.19 for event in up if event.kind == "cut")
    assert [event["fault"] for event in await talk("down", LATER) if event.kind == "cut"] == ["idle_timeout"]


@pytest.mark.parametrize(("name", "how"), [("abort", "reset"), ("disconnect", "fin")])
@asynchronous
async def test_live_and_idle_connections_end_at_once(chaos: Chaos, name: str, how: str) -> None:
    async with plain(chaos) as busy, plain(chaos) as idle:
        await echoes(busy)
        with FAULTS[name](chaos):
            assert (await ended(busy)).rcvd is None
            assert (await ended(idle)).rcvd is None
            ends = [await chaos.wait_for("end"), await chaos.wait_for("end")]
            assert {event.conn for event in ends} == {1, 2}
            assert {(event["by"], event["how"]) for event in ends} == {("proxy", how)}
            async with plain(chaos) as fresh:
                await echoes(fresh)
    assert not [event for event in chaos.timeline if event.kind == "close" and event.way == "down" and event.conn != 3]


def test_abort_is_a_reset_for_the_client(chaos: Chaos) -> None:
    with socket.create_connection((chaos.host, chaos.port)) as client:
        chaos.wait("attempt")
        chaos.abort()
        client.settimeout(LATER)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_disconnect_is_a_fin_for_the_client(chaos: Chaos) -> None:
    with socket.create_connection((chaos.host, chaos.port)) as client:
        chaos.wait("attempt")
        chaos.disconnect()
        client.settimeout(LATER)
        assert client.recv(1) == b""


@asynchronous
async def test_refuse_refuses_counts_and_heals(chaos: Chaos) -> None:
    async with plain(chaos) as live:
        with chaos.refuse():
            assert (await ended(live)).rcvd is None
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    async with plain(chaos):
                        pytest.fail("connected")
            await chaos.wait_for("attempt", 4)
    url = chaos.echo_url
    async with plain(chaos) as client:
        await echoes(client)
    assert chaos.echo_url == url
    attempts = [bool(event.get("refused")) for event in chaos.timeline if event.kind == "attempt"]
    assert attempts == [False, True, True, True, False]


def test_refuse_counts_blocking_clients_too(chaos: Chaos) -> None:
    with chaos.refuse():
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connect_sync(chaos.echo_url)
        chaos.wait("attempt", 3)
    with connect_sync(chaos.echo_url):
        assert not chaos.wait("attempt").get("refused")


def test_refuse_twice_listens_again_when_both_are_removed(chaos: Chaos) -> None:
    first, second = chaos.refuse(must_bite=False), chaos.refuse()
    first.remove()
    with pytest.raises(ConnectionRefusedError):
        connect_sync(chaos.echo_url)
    late = chaos.url_for("late").replace("/ws", "/echo")
    with pytest.raises(ConnectionRefusedError):
        connect_sync(late)
    second.remove()
    for url in (chaos.echo_url, late):
        with connect_sync(url) as client:
            client.send("hello")
            assert client.recv(LATER) == "hello"


@asynchronous
async def test_unanswered_handshake_hangs_new_ones_and_spares_live_ones(chaos: Chaos) -> None:
    async with plain(chaos) as live:
        await echoes(live)
        with chaos.unanswered_handshake():
            with pytest.raises(TimeoutError):
                await connect(chaos.echo_url, open_timeout=NOTHING)
            await echoes(live)
            await chaos.wait_for("attempt", 2)
            assert (await chaos.wait_for("handshake")).conn == 2
    answered = [event.conn for event in chaos.timeline if event.place == "server" and event.kind == "handshake"]
    assert answered == [1]


@asynchronous
async def test_reject_handshake(chaos: Chaos) -> None:
    with chaos.reject_handshake(429, retry_after=2), pytest.raises(InvalidStatus) as caught:
        await connect(chaos.echo_url)
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["Retry-After"] == "2"
    response = await chaos.wait_for("response")
    assert (response["status"], response["retry_after"]) == (429, 2)


@asynchronous
async def test_accept_then_close(chaos: Chaos) -> None:
    with chaos.accept_then_close(1013, "later"):
        async with plain(chaos) as client:
            with pytest.raises(ConnectionClosedError) as caught:
                await client.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1013, "later")
    assert (await chaos.wait_for("close"))["code"] == 1013


@asynchronous
async def test_close_ends_live_ones_with_its_code(chaos: Chaos) -> None:
    async with plain(chaos) as client:
        await echoes(client)
        fault = chaos.close(4000, "bye")
        closed = (await ended(client)).rcvd
        assert closed is not None
        assert (closed.code, closed.reason) == (4000, "bye")
        async with plain(chaos) as fresh:
            await echoes(fresh)
        fault.remove()


@asynchronous
async def test_mute_pongs_leaves_all_else(chaos: Chaos) -> None:
    async with plain(chaos) as client:
        with chaos.mute_pongs():
            pong = await client.ping()
            await echoes(client)
            assert not pong.done()
        async with asyncio.timeout(LATER):
            await (await client.ping())
    pings = [event["key"] for event in chaos.timeline if event.kind == "ping" and event.place == "client"]
    pongs = [event["key"] for event in chaos.timeline if event.kind == "pong" and event.place == "client"]
    assert len(pings) == 2
    assert pongs == pings[1:]


@asynchronous
async def test_a_redirect_says_where_to(chaos: Chaos) -> None:
    with (
        chaos.reject_handshake(307, location="ws://user:pw@Elsewhere:80/ws?token=secret"),
        pytest.raises(InvalidStatus) as caught,
    ):
        await Dial(chaos.echo_url)  # which follows none
    assert caught.value.response.headers["Location"].endswith("token=secret")
    response = await chaos.wait_for("response")
    assert (response["status"], response["to"]) == (307, "elsewhere")
    assert not any("secret" in str(event) for event in chaos.timeline if event.kind == "response")


@pytest.mark.parametrize(("name", "seen"), [("abort", ConnectionResetError), ("disconnect", b"")])
def test_a_client_that_has_just_connected_is_live(chaos: Chaos, name: str, seen: object) -> None:
    for _ in range(20):
        with socket.create_connection((chaos.host, chaos.port), LATER) as client:
            getattr(chaos, name)()
            try:
                assert client.recv(1) == seen
            except ConnectionResetError:
                assert seen is ConnectionResetError
    ends = [event["how"] for event in chaos.timeline if event.kind == "end" and event.place == "client"]
    assert ends == [{"abort": "reset", "disconnect": "fin"}[name]] * 20


def test_disconnect_is_a_fin_though_the_client_has_bytes_under_way(chaos: Chaos) -> None:
    with chaos.bandwidth(10_000, must_bite=False), socket.create_connection((chaos.host, chaos.port), LATER) as client:
        client.sendall(bytes(400_000))
        chaos.disconnect()
        assert client.recv(1) == b""


# --- frames, handshakes, timetables: through a server that is not ours, too ---

on_all_clocks = pytest.mark.wschaos(clock="real, virtual, hybrid")


@pytest.fixture(params=["wschaos", "wschaos_proxy"])
def either(request: pytest.FixtureRequest, wschaos: Chaos, wschaos_proxy: Callable[[str], ChaosProxy]) -> ChaosProxy:
    """The reference server behind its own proxy, and behind one that does not know whose it is."""
    return wschaos if request.param == "wschaos" else wschaos_proxy(wschaos.server.echo_url)


def squeezed(chaos: ChaosProxy) -> contextlib.AbstractAsyncContextManager[ClientConnection]:
    """A client with websockets' defaults: it offers compression."""
    url = chaos.echo_url if isinstance(chaos, Chaos) else chaos.url
    return connect(url, ping_interval=None, close_timeout=0.1)


async def received(client: ClientConnection, count: int) -> list[str | bytes]:
    async with asyncio.timeout(LATER):
        return [await client.recv() for _ in range(count)]


@on_all_clocks
@asynchronous
async def test_stall_holds_and_releases(either: ChaosProxy) -> None:
    async with plain(either) as client:
        await echoes(client)
        with either.stall("down"):
            await client.send("held")
            await silent(client)
        assert await received(client, 1) == ["held"]


@on_all_clocks
@pytest.mark.parametrize("reset", [False, True])
@asynchronous
async def test_a_lifetime_ends_whatever_passes(either: ChaosProxy, reset: bool) -> None:
    async with plain(either) as client:
        with either.lifetime(0.3, reset=reset):
            begun = either.timeline.now()
            while not [event for event in either.timeline if event.kind == "cut"]:
                with contextlib.suppress(ConnectionClosedError):
                    await client.send("still here")
                    await client.recv()
                await asyncio.sleep(0.01)
            cut = await either.wait_for("cut")
            assert (await ended(client)).rcvd is None
    assert (cut["fault"], cut["how"]) == ("lifetime", "reset" if reset else "fin")
    assert cut.at - begun >= 0.29


@on_all_clocks
@asynchronous
async def test_reset_now_spares_those_that_it_is_not_for(either: ChaosProxy) -> None:
    async with plain(either) as client:
        with either.reset_now(connections=[2]):
            with pytest.raises((OSError, WebSocketException)):
                async with plain(either):
                    pass
            await echoes(client)
            async with plain(either) as third:
                await echoes(third)
    assert [event.get("fault") for event in either.timeline if event.kind == "cut"] == ["reset_now"]


@on_all_clocks
@pytest.mark.parametrize("client", [plain, squeezed])
@asynchronous
async def test_every_second_message_is_dropped(either: ChaosProxy, client: Callable[..., Any]) -> None:
    with either.frame("drop", "down", opcodes=["text"], every=2, start=2):
        async with client(either) as one:
            for number in range(6):
                await one.send(str(number))
            assert await received(one, 3) == ["0", "2", "4"]
            async with asyncio.timeout(LATER):
                await (await one.ping())
    acted = [(event["did"], event["what"], event.way) for event in either.timeline if event.kind == "acted"]
    assert acted == [("drop", "text", "down")] * 3


@on_all_clocks
@asynchronous
async def test_frames_are_delayed_duplicated_and_reordered(either: ChaosProxy) -> None:
    with either.frame("duplicate", "up", match="twice"), either.frame("reorder", "down", match="late"):
        async with plain(either) as client:
            for text in ("twice", "late", "last"):
                await client.send(text)
            assert await received(client, 4) == ["twice", "twice", "last", "late"]
    async with plain(either) as client:
        with either.frame("delay", "down", seconds=0.2, opcodes=["text"]):
            begun = either.timeline.now()
            await echoes(client)
            assert either.timeline.now() - begun >= 0.19


@on_all_clocks
@asynchronous
async def test_frames_are_truncated_and_corrupted(either: ChaosProxy) -> None:
    with either.frame("truncate", "up", keep=3, opcodes=["text"]), either.frame("corrupt", "up", opcodes=["binary"]):
        async with plain(either) as client:
            await client.send("hello")
            await client.send(bytes(100))
            text, spoilt = await received(client, 2)
    assert text == "hel"
    assert isinstance(spoilt, bytes)
    assert len(spoilt) == 100
    assert sum(byte.bit_count() for byte in spoilt) == 1


@on_all_clocks
@pytest.mark.parametrize("direction", ["up", "down"])
@asynchronous
async def test_a_close_is_injected(either: ChaosProxy, direction: Direction) -> None:
    async with plain(either) as client:
        await echoes(client)
        with either.frame("close", direction, code=4003, reason="enough", match="trigger"):
            await client.send("harmless")
            assert await received(client, 1) == ["harmless"]
            await client.send("trigger")
            error = await ended(client)
    assert error.rcvd is not None
    assert (error.rcvd.code, error.rcvd.reason if direction == "down" else "enough") == (4003, "enough")


@on_all_clocks
@asynchronous
async def test_the_same_seed_drops_the_same_frames(wschaos: Chaos, wschaos_proxy: Callable[..., ChaosProxy]) -> None:
    async def run(seed: int) -> list[str | bytes]:
        chaos = wschaos_proxy(wschaos.server.echo_url, seed=seed)
        with chaos.frame("drop", "up", match="n", probability=0.5):
            async with plain(chaos) as client:
                for number in range(40):
                    await client.send(f"n{number}")
                await client.send("last")
                came: list[str | bytes] = []
                while came[-1:] != ["last"]:
                    came += await received(client, 1)
                return came

    first = await run(5)
    assert 1 < len(first) < 41
    assert await run(5) == first
    assert await run(6) != first


@on_all_clocks
@asynchronous
async def test_the_handshake_is_answered_in_the_servers_place(either: ChaosProxy) -> None:
    with either.handshake(429, retry_after=3, headers={"X-Why": "chaos"}), pytest.raises(InvalidStatus) as caught:
        async with plain(either):
            pass
    response = caught.value.response
    assert (response.status_code, response.headers["Retry-After"], response.headers["X-Why"]) == (429, "3", "chaos")
    seen = await either.wait_for("response", place="client")
    assert (seen["status"], seen["retry_after"]) == (429, 3)


@on_all_clocks
@asynchronous
async def test_a_handshake_with_a_wrong_key_fails_and_one_in_silence_hangs(either: ChaosProxy) -> None:
    with either.handshake(accept="wrong"), pytest.raises(WebSocketException, match="Sec-WebSocket-Accept"):
        async with plain(either):
            pass
    url = either.echo_url if isinstance(either, Chaos) else either.url
    with either.handshake(silence=True), pytest.raises(TimeoutError):
        await connect(url, open_timeout=NOTHING)


@on_all_clocks
@asynchronous
async def test_the_answer_may_come_byte_by_byte(either: ChaosProxy) -> None:
    with either.handshake(byte_delay=0.002):
        begun = either.timeline.now()
        async with plain(either) as client:
            assert either.timeline.now() - begun >= 0.2
            await echoes(client)


@on_all_clocks
@asynchronous
async def test_a_schedule_comes_and_goes(either: ChaosProxy) -> None:
    async with plain(either) as client:
        await echoes(client)
        with either.schedule("stall", [(0, 0.2)], "down", period=0.4):
            trips: list[float] = []
            async with asyncio.timeout(LATER):
                while min(trips, default=1) >= 0.1 or met(either) < 2:
                    start = either.timeline.now()
                    await echoes(client)
                    trips.append(either.timeline.now() - start)
                    await asyncio.sleep(0.001)
    assert max(trips) >= 0.19


def met(chaos: ChaosProxy) -> int:
    """How often a schedule's toxic has come and met something."""
    return [(event.kind, event.get("did")) for event in chaos.timeline].count(("acted", "met"))


@pytest.mark.wschaos(clock="real, virtual")  # the kernel repeats a SYN by a clock of its own
@asynchronous
async def test_unanswered_attempts_hang_until_removal(either: ChaosProxy) -> None:
    async with plain(either) as live:
        with either.unanswered():
            assert (await ended(live)).rcvd is None
            connecting = asyncio.ensure_future(asyncio.open_connection(either.host, either.port))
            await asyncio.sleep(NOTHING)
            assert not connecting.done()
        async with asyncio.timeout(LATER):
            _, writer = await connecting
        writer.close()
    assert not either.freeze().sees_refused
    assert [event.get("silent") for event in either.timeline if event.kind == "fault"] == [None]


@asynchronous
@pytest.mark.wschaos(engine="embedded")
async def test_where_syns_are_answered_attempts_are_accepted_and_silent(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_wschaos.engine.unanswered.supported", lambda loop: False)
    with chaos.unanswered():
        with pytest.raises(TimeoutError):
            await connect(chaos.echo_url, open_timeout=NOTHING)
        assert (await chaos.wait_for("fault"))["silent"] is True
        await chaos.wait_for("handshake")
    async with plain(chaos) as client:
        await echoes(client)


def test_of_two_ways_to_be_down_the_first_one_holds(chaos: Chaos) -> None:
    first, second = chaos.refuse(), chaos.unanswered()
    with pytest.raises(ConnectionRefusedError):
        connect_sync(chaos.echo_url)
    first.remove()
    second.remove()
    with connect_sync(chaos.echo_url) as client:
        client.send("hello")
        assert client.recv(LATER) == "hello"


@pytest.mark.parametrize(
    ("inject", "bites"),
    [
        (lambda chaos: chaos.frame("drop", opcodes=["text"]), True),
        (lambda chaos: chaos.frame("drop", match="other"), False),
        (lambda chaos: chaos.handshake(retry_after=1), False),
        (lambda chaos: chaos.lifetime(100), False),
        (lambda chaos: chaos.reset_now(), True),
        (lambda chaos: chaos.reset_now(connections={"nth": 1}), False),
        (lambda chaos: chaos.schedule("stall", [(0, 100)]), True),
        (lambda chaos: chaos.schedule("stall", [(100, 100)]), False),
        (lambda chaos: chaos.schedule("reset_now", [(0, 100)]), True),
    ],
)
@asynchronous
async def test_whether_they_met_anything_is_known(inject: Inject, bites: bool) -> None:
    with Chaos() as chaos:
        async with plain(chaos) as client:
            await echoes(client)
            with inject(chaos), contextlib.suppress(ConnectionClosed, TimeoutError):
                await client.send("hello")
                async with asyncio.timeout(NOTHING):
                    await client.recv()
        assert (toothless(chaos.freeze()) == []) is bites


# --- the client's own process ---


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """A process that answers each line with one."""
    echo = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", echo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def answers(process: subprocess.Popen[str], within: float) -> bool:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("hello\n")
    process.stdin.flush()
    came, _, _ = select.select([process.stdout], [], [], within)
    return bool(came) and process.stdout.readline() == "hello\n"


def test_suspend_stops_a_process_and_lets_it_go_on(chaos: Chaos, process: subprocess.Popen[str]) -> None:
    assert answers(process, LATER)
    with chaos.suspend(process.pid):
        assert not answers(process, NOTHING)
    assert process.stdout is not None
    assert process.stdout.readline() == "hello\n"
    assert [event.client for event in chaos.timeline if event.kind == "fault"] == ["client"]


def test_a_process_is_not_left_asleep(process: subprocess.Popen[str]) -> None:
    with Chaos() as chaos:
        chaos.suspend(process.pid, "another")
        assert not answers(process, NOTHING)
    assert process.stdout is not None
    assert process.stdout.readline() == "hello\n"


def test_a_process_that_ended_in_its_sleep_needs_no_waking(chaos: Chaos, process: subprocess.Popen[str]) -> None:
    with chaos.suspend(process.pid):
        process.kill()
        process.wait(LATER)


@pytest.mark.parametrize(
    ("pid", "told"),
    [
        (0, "pid = 0: must be a process that the test has started"),
        (1, "pid = 1: must be a process that the test has started"),
        (-5, "must be a process that the test has started"),
        ("1", "pid = '1': must be a whole number"),
        (2**22 + 1, "cannot be suspended: No such process"),
        (2**70, "cannot be suspended"),
    ],
)
def test_what_is_no_process_cannot_be_suspended(quiet: Chaos, pid: Any, told: str) -> None:
    with pytest.raises(FaultError, match=told):
        quiet.suspend(pid)
    assert not [event for event in quiet.timeline if event.kind == "fault"]


@pytest.mark.parametrize("pid", [os.getpid, os.getppid])
def test_neither_this_process_nor_its_parent_can_be_suspended(quiet: Chaos, pid: Callable[[], int]) -> None:
    with pytest.raises(FaultError, match="must be a process that the test has started"):
        quiet.suspend(pid())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells the parent of another process")
def test_no_ancestor_can_be_suspended() -> None:
    asks = (
        "import os, sys\n"
        "from pytest_wschaos import Chaos, FaultError\n"
        "with Chaos() as chaos:\n"
        "    try:\n"
        "        chaos.suspend(int(sys.argv[1]))\n"
        "    except FaultError as error:\n"
        "        print(error)\n"
    )
    between = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {asks!r}, sys.argv[1]], check=True)"
    command = [sys.executable, "-c", between, str(os.getpid())]
    told = subprocess.run(command, capture_output=True, text=True, timeout=4 * LATER, check=True)
    assert told.stdout == f"pid = {os.getpid()}: must be a process that the test has started\n"


@pytest.mark.parametrize("client", [None, 2])
def test_whose_process_it_is_must_be_a_name(quiet: Chaos, client: Any) -> None:
    with pytest.raises(FaultError, match=f"client = {client!r}: must be a string"):
        quiet.suspend(2**22 + 1, client)


def test_a_platform_without_the_signal_cannot_suspend(quiet: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGSTOP")
    with pytest.raises(FaultError, match="needs a platform that can stop a process"):
        quiet.suspend(1)


# --- bad input ---


@pytest.mark.parametrize(
    ("inject", "told"),
    [
        (lambda chaos: chaos.latency(-1), "seconds = -1: must be 0 s or more"),
        (lambda chaos: chaos.latency("1"), "seconds = '1': must be a number of seconds"),
        (lambda chaos: chaos.latency(float("nan")), "seconds = nan: must be a number"),
        (lambda chaos: chaos.latency(True), "seconds = True: must be a number"),
        (lambda chaos: chaos.latency(10**400), "seconds = 10000.*: must be a number"),
        (lambda chaos: chaos.latency(0.1, -0.1), "jitter = -0.1: must be 0 s or more"),
        (lambda chaos: chaos.latency(0.1, 0.2), r"jitter = 0.2: must not be above seconds \(0.1\)"),
        (lambda chaos: chaos.latency(0.1, direction="left"), "direction = 'left': must be 'both', 'up'"),
        (lambda chaos: chaos.bandwidth(0), "bytes_per_second = 0.0: must be above 0; silent_drop"),
        (lambda chaos: chaos.silent_drop("upstream"), "direction = 'upstream': must be 'both', 'up'"),
        (lambda chaos: chaos.silent_drop(resume="yes"), "resume = 'yes': must be True or False"),
        (lambda chaos: chaos.idle_timeout(0), "seconds = 0: must be above 0 s"),
        (lambda chaos: chaos.idle_timeout(-2), "seconds = -2: must be above 0 s"),
        (lambda chaos: chaos.lifetime(0), "seconds = 0: must be above 0 s"),
        (lambda chaos: chaos.lifetime(1, reset=1), "reset = 1: must be True or False"),
        (
            lambda chaos: chaos.lifetime(1, connections=0),
            r"lifetime\(\): connections = 0: must be a number of 1 or more",
        ),
        (lambda chaos: chaos.reset_now(connections={"nth": "1"}), "connections = .*: must be a number of 1 or more"),
        (
            lambda chaos: chaos.frame("explode"),
            r"frame\(\): toxic frame: action = 'explode': must be one of pass, drop",
        ),
        (lambda chaos: chaos.frame("drop", "left"), "direction = 'left': must be 'both', 'up'"),
        (lambda chaos: chaos.frame("drop", opcodes="text"), "opcodes = 'text': must be a list"),
        (lambda chaos: chaos.frame("drop", opcodes=[1]), "opcodes = 1: must be a string"),
        (lambda chaos: chaos.frame("drop", probability=2), "probability = 2.0: must be 0 to 1"),
        (lambda chaos: chaos.frame("delay", seconds=-1), "seconds = -1: must be 0 s or more"),
        (lambda chaos: chaos.frame("close", code=999), "code = 999: must be 1000 to 4999"),
        (lambda chaos: chaos.handshake(101), "status = 101: must be 200 to 599"),
        (lambda chaos: chaos.handshake(503, headers=["a"]), "headers = .*: must be a dict"),
        (lambda chaos: chaos.handshake(503, headers={"a": "b\n"}), "headers = .*: must be names of headers"),
        (lambda chaos: chaos.schedule("latncy", [(0, 1)]), "type = 'latncy': must be one of bandwidth"),
        (lambda chaos: chaos.schedule("latency", [(0, 1, 2)]), r"times = .*: must be pairs of seconds, \(at, lasts\)"),
        (lambda chaos: chaos.schedule("latency", [0.5]), "times = 0.5: must be a list"),
        (lambda chaos: chaos.schedule("latency", [(0, 1)], attributes=[1]), "attributes = .*: must be a dict"),
        (lambda chaos: chaos.schedule("latency", [(0, 2)], period=1), "times = .*: must be at 0 ms or later"),
        (lambda chaos: chaos.reject_handshake(99), "status = 99: must be an HTTP status"),
        (lambda chaos: chaos.reject_handshake("503"), "status = '503': must be a whole number"),
        (lambda chaos: chaos.reject_handshake(retry_after=-1), "retry_after = -1: must be 0 s or more"),
        (lambda chaos: chaos.reject_handshake(503, location="/a"), "location goes with a redirect .* not with 503"),
        (lambda chaos: chaos.reject_handshake(302, location="a b"), "location = 'a b': must be a URL"),
        (lambda chaos: chaos.reject_handshake(302, location=5), "location = 5: must be a string"),
        (lambda chaos: chaos.accept_then_close(1006), "code = 1006: must be 1000 to 1014"),
        (lambda chaos: chaos.close("1001"), "code = '1001': must be a whole number"),
        (lambda chaos: chaos.close(reason=None), "reason = None: must be a string"),
        (lambda chaos: chaos.close(reason="x" * 124), "reason has 124 bytes: must be 123 or fewer"),
    ],
)
def test_an_argument_that_cannot_be_is_named_and_nothing_is_injected(
    quiet: Chaos, inject: Callable[[Chaos], Fault], told: str
) -> None:
    with pytest.raises(FaultError, match=told):
        inject(quiet)
    assert not [event for event in quiet.timeline if event.kind == "fault"]


@pytest.fixture(scope="module")
def quiet() -> Iterator[Chaos]:
    with Chaos() as chaos:
        yield chaos


def test_a_fault_that_was_removed_is_not_in_force_again(chaos: Chaos) -> None:
    fault = chaos.latency(0.01, must_bite=False)
    fault.remove()
    with pytest.raises(RuntimeError, match=r"latency #1 has been removed; inject it anew"), fault:
        pass


@every_fault
def test_an_unknown_argument_is_named(quiet: Chaos, name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}.*unexpected keyword argument 'secnods'"):
        getattr(quiet, name)(secnods=1)
    assert not [event for event in quiet.timeline if event.kind == "fault"]


@pytest.mark.parametrize("name", ["reject_handshake", "accept_then_close", "close", "mute_pongs"])
def test_the_peers_faults_need_a_peer_of_ours(quiet: Chaos, name: str) -> None:
    with (
        ChaosProxy(quiet.server.echo_url) as foreign,
        pytest.raises(PeerFaultError, match=rf"{name}\(\) is a fault of the server.*serve\(handler\)"),
    ):
        getattr(foreign, name)()


def test_a_port_that_was_taken_while_it_refused_is_named() -> None:
    with Chaos() as chaos:
        fault = chaos.refuse()
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                thief.bind((chaos.host, chaos.port))
                thief.listen()
            except OSError:
                return  # the engine holds the port meanwhile, which is better still
            with pytest.raises(CannotListen, match=rf"127\.0\.0\.1:{chaos.port}: bind: address already in use"):
                fault.remove()
