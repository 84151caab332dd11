"""The engine in a process of its own: what it sees, when it saw it, and what becomes of a test when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from time import monotonic
from typing import cast

import pytest
from talk import LATER, of_threads
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pytest_wschaos import Chaos, ChaosProxy, EngineDied, FaultError, Profile
from pytest_wschaos.background import LoopThread
from pytest_wschaos.engines import process
from pytest_wschaos.engines.child import serve
from pytest_wschaos.engines.process import EngineProcess, Instants
from pytest_wschaos.engines.wire import Unpacker, pack

QUICK = Profile.preset("default").scaled(0.05)


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    with Chaos(profile=QUICK, engine="process") as chaos:
        yield chaos


class Beside(EngineProcess):
    """Serves on another thread in place of another process, so that its lines count as run."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._thread = LoopThread("engine")
        self._serving = asyncio.run_coroutine_threadsafe(serve(theirs), self._thread.loop)

    @property
    def alive(self) -> bool:
        return not self._serving.done()

    def stop(self) -> None:
        self._control.close()
        self._serving.result(LATER)
        self._thread.stop()


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    process.shared.end()
    monkeypatch.setattr(process, "EngineProcess", Beside)
    yield
    process.shared.end()


@pytest.fixture
def upstream() -> Iterator[str]:
    """A TCP server that echoes, on a thread of its own."""

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                with client:
                    while data := client.recv(1024):
                        client.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=run, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def play(chaos: Chaos) -> None:
    """A client meets faults of all kinds."""
    client = chaos.client()
    chaos.wait("ready", timeout=LATER)
    with chaos.latency(0.001):
        client.send("topic", "hello")
        chaos.wait("message", timeout=LATER, place="client")
    with chaos.abort():
        pass
    chaos.wait("ready", timeout=LATER)
    with chaos.frame("drop", "down", opcodes=["pong"], must_bite=False), chaos.refuse():
        chaos.wait("end", timeout=LATER)
        chaos.wait("attempt", timeout=LATER)
    chaos.wait("ready", timeout=LATER)
    with chaos.accept_then_close(1013):
        chaos.disconnect()
        chaos.wait("close", timeout=LATER)
    chaos.wait("ready", timeout=LATER)


def test_a_client_is_judged_as_on_the_other(chaos: Chaos) -> None:
    assert chaos.engine == "process"
    play(chaos)
    chaos.assert_rules("REPLAY-*", "AUTH-*")
    kinds = {event.kind for event in chaos.timeline}
    assert {"attempt", "handshake", "response", "ready", "message", "fault", "healed", "cut", "end"} <= kinds


@pytest.mark.usefixtures("beside")
def test_the_same_beside_the_test() -> None:
    with Chaos(profile=QUICK, engine="process") as chaos:
        play(chaos)
        with connect(chaos.echo_url) as client, chaos.frame("corrupt", "up", connections=99, must_bite=False):
            client.send("x" * 3000)
            assert client.recv(LATER) == "x" * 3000
        with pytest.raises(FaultError, match="connections"):
            chaos.lifetime(1, connections=-1)
        with connect(chaos.wss_echo_url, ssl=of_threads(chaos.ssl_context)) as client:
            client.send("secret")
            assert client.recv(LATER) == "secret"
        chaos.serve_api()
        chaos.assert_rules("REPLAY-*", "AUTH-*")


def test_what_it_sees_is_stamped_where_it_is_seen(upstream: str) -> None:
    begun, held = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        held.wait(LATER)

    with ChaosProxy(upstream, engine="process") as proxy:
        busy = threading.Thread(target=proxy._runner.call, args=(block,))  # nothing runs on the test's loop
        busy.start()
        assert begun.wait(LATER)
        with socket.create_connection((proxy.host, proxy.port)) as client:
            client.sendall(b"through")
            assert client.recv(100) == b"through"
        until = monotonic()
        held.set()
        busy.join()
        assert proxy.wait("attempt", timeout=LATER).at <= until


def test_its_end_amid_a_test_is_told_at_once_and_the_next_has_another(chaos: Chaos) -> None:
    first = process.shared.get()
    with connect(chaos.echo_url) as client:
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match=r"^the engine's process was ended by signal 9$"):
            chaos.wait("fault", timeout=LATER)
        with pytest.raises(ConnectionClosed):
            client.recv(LATER)
    for ask in (chaos.freeze, chaos.check, chaos.refuse, lambda: chaos.url_for("second"), chaos.serve_api):
        with pytest.raises(EngineDied):
            ask()
    assert [event["error"] for event in chaos.timeline if event.kind == "error"] == [
        "the engine's process was ended by signal 9"
    ]
    chaos.stop()
    with Chaos(profile=QUICK, engine="process") as chaos:
        assert process.shared.get().pid != first.pid
        play(chaos)


class Name(StrEnum):
    """Of which the engine's process knows nothing."""

    SECOND = "second"


def test_what_it_cannot_read_is_an_answer_and_not_its_end(chaos: Chaos) -> None:
    with pytest.raises(ModuleNotFoundError, match="test_engine_process"):
        chaos.url_for(Name.SECOND)
    assert chaos.url_for("second") != chaos.url


def test_one_that_is_stuck_is_ended_and_the_next_has_another(chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    first = process.shared.get()
    os.kill(first.pid, signal.SIGSTOP)
    with monkeypatch.context() as short:
        short.setattr(process, "ANSWER_TIMEOUT", 0.2)
        with pytest.raises(EngineDied, match=r"^the engine's process did not answer within 0.2 s, and was ended$"):
            chaos.refuse()
    chaos.stop()
    with Chaos(engine="process"):
        assert process.shared.get().pid != first.pid


def test_nothing_is_kept_of_connections_that_have_ended(chaos: Chaos) -> None:
    link = cast(process.Process, chaos._network._link)
    for _ in range(20):
        with connect(chaos.echo_url) as client:
            client.send("x")
            assert client.recv(LATER) == "x"
    until = monotonic() + LATER
    while len(link._taps) > 10:  # a cycle or two may wait for the garbage to be collected
        with connect(chaos.echo_url):
            pass
        assert monotonic() < until


def test_of_a_server_elsewhere_the_tests_own_delays_say_nothing(upstream: str) -> None:
    with ChaosProxy(upstream, engine="process") as proxy:
        proxy._runner.call(time.sleep, 0.1)
        proxy.freeze()
        assert not [event for event in proxy.timeline if event.kind == "lag" and event["lag"] > 0.09]


def test_one_that_died_between_two_tests_is_replaced() -> None:
    first = process.shared.get()
    os.kill(first.pid, signal.SIGKILL)
    first._process.wait(LATER)
    with Chaos(engine="process") as chaos, connect(chaos.echo_url) as client:
        client.send("there")
        assert client.recv(LATER) == "there"


def test_one_that_cannot_even_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    process.shared.end()
    monkeypatch.setattr(process, "START", "raise SystemExit('no luck')")
    with pytest.raises(EngineDied, match=r"ended with status 1; its last words:\nno luck"), Chaos(engine="process"):
        pass
    process.shared.end()


def test_it_ends_when_nobody_needs_it() -> None:
    one = EngineProcess()
    one.stop()
    assert not one.alive
    with pytest.raises(OSError, match="Bad file descriptor"):
        one._control.send(b"")


def test_a_handler_on_the_engines_loop_may_ask_it(chaos: Chaos) -> None:
    async def handler(websocket: ServerConnection) -> None:
        with chaos.latency(0.01):
            await websocket.send("under latency")

    with connect(chaos.serve(handler)) as client:
        assert client.recv(LATER) == "under latency"
        assert chaos.wait("healed", timeout=LATER)["fault"] == "latency"


def test_a_fleet_is_counted_as_its_proxy_saw_it(chaos: Chaos) -> None:
    async def run() -> int:
        async with chaos.fleet(5, progress=False) as fleet:
            fleet.start()
            await fleet.ready(LATER)
            return fleet.herd().total

    assert asyncio.run(run()) == 5


def test_a_context_of_this_process_cannot_be_its(upstream: str) -> None:
    context = ssl.create_default_context()
    with pytest.raises(RuntimeError, match="cannot be handed to the engine's process: use engine 'embedded'"):
        ChaosProxy(f"wss://{upstream}", terminate=True, upstream_ssl=context, engine="process")


def test_a_platform_that_cannot_hand_sockets_over_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    process.shared.end()
    monkeypatch.delattr(socket, "send_fds")
    with pytest.raises(RuntimeError, match="sockets cannot be handed over on this platform: use 'embedded'"):
        Chaos(engine="process")


def test_there_is_no_such_engine() -> None:
    with pytest.raises(ValueError, match="engine = 'procces': must be embedded, process, binary, docker, auto, or"):
        Chaos(engine="procces")


def test_an_instant_of_another_process_is_that_of_one_thread() -> None:
    instants = Instants(lambda: 7.0)
    elsewhere: list[float] = []
    thread = threading.Thread(target=lambda: elsewhere.append(instants()))
    with instants.at(3.0):
        thread.start()
        thread.join()
        with instants.at(4.0):
            assert instants() == 4.0
        assert (instants(), elsewhere) == (3.0, [7.0])
    assert instants() == 7.0


def test_objects_come_whole_however_they_are_cut() -> None:
    things = [("a", 1.5, b"x" * 100), None, {"deep": [1, 2]}]
    stream, unpacker = b"".join(map(pack, things)), Unpacker()
    assert [thing for byte in stream for thing in unpacker.feed(bytes([byte]))] == things
