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
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus, WebSocketException
from websockets.sync.client import connect as connect_sync

from pytest_wschaos import Chaos, ChaosProxy, Event, Fault, FaultError, PeerFaultError
from pytest_wschaos.engine.errors import CannotListen
from pytest_wschaos.faults import Direction
from pytest_wschaos.reference.wire import Dial

Inject = Callable[[Chaos], Fault]

LATER = 10.0
"""Seconds after which a test is given up; nothing takes this long."""
NOTHING = 0.15
"""Seconds in which nothing has come where nothing must come."""

FAULTS: dict[str, Inject] = {
    "latency": lambda chaos: chaos.latency(0.01, 0.005, must_bite=False),
    "bandwidth": lambda chaos: chaos.bandwidth(1_000_000, must_bite=False),
    "silent_drop": lambda chaos: chaos.silent_drop(must_bite=False),
    "idle_timeout": lambda chaos: chaos.idle_timeout(0.05),
    "unanswered_handshake": lambda chaos: chaos.unanswered_handshake(must_bite=False),
    "abort": lambda chaos: chaos.abort(must_bite=False),
    "disconnect": lambda chaos: chaos.disconnect(must_bite=False),
    "refuse": lambda chaos: chaos.refuse(must_bite=False),
    "bad_certificate": lambda chaos: chaos.bad_certificate(must_bite=False),
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


async def echoes(client: ClientConnection, text: str = "hello") -> None:
    await client.send(text)
    async with asyncio.timeout(LATER):
        assert await client.recv() == text


async def silent(client: ClientConnection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(NOTHING):
            await client.recv()


async def ended(client: ClientConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        async with asyncio.timeout(LATER):
            await client.recv()
    return caught.value


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
        with contextlib.suppress(OSError, WebSocketException, TimeoutError), connect_sync(url, open_timeout=NOTHING):
            pass
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
