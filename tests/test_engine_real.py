"""A real Toxiproxy in front of the engine: it carries out what it can, and what it cannot still works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from engines import NOT_BEHIND_A_REAL_ONE, program
from talk import LATER, of_threads
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from pytest_wschaos import Chaos, Profile
from pytest_wschaos.background import LoopThread
from pytest_wschaos.checks.bite import toothless
from pytest_wschaos.engine.front import BeDown, Front
from pytest_wschaos.engines import named, real
from pytest_wschaos.engines.binary import Binary, shared
from pytest_wschaos.engines.embedded import Embedded
from pytest_wschaos.engines.link import EngineMissing
from pytest_wschaos.faults import Direction
from pytest_wschaos.recorder import Recorder
from pytest_wschaos.timeline import Timeline
from pytest_wschaos.toxiproxy import Client, ToxiproxyError, connected

QUICK = Profile.preset("default").scaled(0.05)


@pytest.fixture(scope="module")
def binary() -> str:
    """Where the program is."""
    return program()


@pytest.fixture
def chaos(binary: str) -> Iterator[Chaos]:
    with Chaos(profile=QUICK, engine=f"binary:{binary}") as chaos:
        yield chaos


@pytest.fixture
def client(binary: str) -> Iterator[Client]:
    with connected("127.0.0.1", shared(binary).port) as client:
        yield client


def toxics(client: Client) -> dict[str, tuple[str, str, object]]:
    (proxy,) = client.proxies().values()
    return {toxic.name: (toxic.type, toxic.stream, toxic.attributes) for toxic in proxy.toxics().values()}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until(true: object) -> None:
    assert callable(true)
    end = time.monotonic() + LATER
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_proxy_in_front_is_the_real_one(chaos: Chaos, client: Client) -> None:
    (proxy,) = client.proxies().values()
    assert proxy.listen == f"{chaos.host}:{chaos.port}"
    assert chaos.serve_api() == client.server.port
    with connect(chaos.echo_url) as echo:
        echo.send("through both")
        assert echo.recv(LATER) == "through both"
    chaos.stop()
    assert client.proxies() == {}


def test_what_is_instead_is_tested_here() -> None:
    assert set(NOT_BEHIND_A_REAL_ONE.values()) <= globals().keys()


def test_it_carries_out_what_it_can(chaos: Chaos, client: Client) -> None:
    with chaos.latency(0.01, 0.005, must_bite=False), chaos.bandwidth(5000, "down", must_bite=False):
        assert toxics(client) == {
            "wschaos-latency-1-downstream": ("latency", "downstream", {"latency": 10, "jitter": 5}),
            "wschaos-bandwidth-2-downstream": ("bandwidth", "downstream", {"rate": 5}),
        }
        second = chaos.url_for("second")
        assert all(len(proxy.toxics()) == 2 for proxy in client.proxies().values())
        with chaos.refuse(must_bite=False):
            assert [proxy.enabled for proxy in client.proxies().values()] == [False, False]
        assert [proxy.enabled for proxy in client.proxies().values()] == [True, True]
        assert second != chaos.url
    assert all(not proxy.toxics() for proxy in client.proxies().values())


@pytest.mark.parametrize("seconds", [0.0105, 0.01])
def test_what_it_cannot_do_in_whole_milliseconds_the_engine_does(chaos: Chaos, client: Client, seconds: float) -> None:
    with chaos.latency(seconds, must_bite=False):
        assert bool(toxics(client)) == (seconds == 0.01)


@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_a_latency_takes_its_time_and_bites_though_it_is_removed_amid(chaos: Chaos, direction: Direction) -> None:
    with connect(chaos.echo_url) as echo:
        start = time.monotonic()
        with chaos.latency(0.1, direction=direction):
            echo.send("slow")
            assert echo.recv(LATER) == "slow"
        assert time.monotonic() - start >= 0.099 * (2 if direction == "both" else 1)
        with chaos.latency(5, direction=direction):
            echo.send("released")
            if direction == "down":
                chaos.wait("text", 4, timeout=LATER, place="server")
            else:
                chaos.wait("text", 3, timeout=LATER, place="client")
        assert echo.recv(LATER) == "released"
    assert toothless(chaos.freeze()) == []


def test_a_latency_that_would_blur_a_heartbeat_is_the_engines(chaos: Chaos, client: Client) -> None:
    with chaos.latency(0.251, must_bite=False):  # of a deadline of 0.5 s
        assert toxics(client) == {}
    with chaos.latency(0.25, must_bite=False):
        assert len(toxics(client)) == 1


def test_a_reset_reaches_the_client_as_an_end(chaos: Chaos) -> None:
    with socket.create_connection((chaos.host, chaos.port)) as idle:
        chaos.wait("attempt", timeout=LATER)
        chaos.abort()
        idle.settimeout(LATER)
        assert idle.recv(1) == b""
    assert chaos.wait("cut", timeout=LATER)["how"] == "reset"


def test_a_reset_reaches_a_client_on_wss_as_an_end(chaos: Chaos) -> None:
    with connect(chaos.wss_echo_url, ssl=of_threads(chaos.ssl_context), proxy=None) as client:
        chaos.abort()
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(LATER)
    assert not isinstance(caught.value.__cause__, ConnectionResetError)
    assert chaos.wait("cut", timeout=LATER)["how"] == "reset"


@pytest.mark.parametrize("name", ["abort", "disconnect"])
def test_a_client_is_live_when_the_engine_has_it(chaos: Chaos, name: str) -> None:
    for _ in range(20):
        with socket.create_connection((chaos.host, chaos.port), LATER) as client:
            chaos.wait("attempt", timeout=LATER)
            getattr(chaos, name)()
            assert client.recv(1) == b""


def test_bytes_under_way_may_become_a_reset(chaos: Chaos) -> None:
    with chaos.bandwidth(10_000, must_bite=False), socket.create_connection((chaos.host, chaos.port), LATER) as client:
        chaos.wait("attempt", timeout=LATER)
        client.sendall(bytes(400_000))
        chaos.disconnect()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert chaos.wait("cut", timeout=LATER)["how"] == "fin"


def test_what_a_client_gets_is_on_record_before_its_latency(chaos: Chaos) -> None:
    with connect(chaos.echo_url) as echo, chaos.latency(0.1, direction="down"):
        echo.send("slow")
        assert echo.recv(LATER) == "slow"
        got = chaos.timeline.now()
    (told,) = (event for event in chaos.timeline if (event.kind, event.place, event.way) == ("text", "client", "down"))
    assert got - told.at >= 0.099


def test_where_its_kernel_answers_a_client_waits_for_the_engine(chaos: Chaos) -> None:
    async def attempt() -> None:
        reader, writer = await asyncio.open_connection(chaos.host, chaos.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()

    with chaos.unanswered():
        asyncio.run(attempt())
    assert chaos.wait("fault", timeout=LATER)["silent"] is True


def test_the_api_has_the_downward_half_of_a_fault(chaos: Chaos, client: Client) -> None:
    chaos.serve_api()
    fault = chaos.latency(0.01, must_bite=False)
    assert list(toxics(client)) == [f"wschaos-latency-{fault.id}-downstream"]
    with connected(*chaos.api[:2], prefix=chaos.api.prefix) as ours:
        assert ours.reset()
    assert toxics(client) == {}
    fault.remove()
    assert chaos.wait("healed", timeout=LATER)["fault"] == "latency"


def test_a_client_is_judged_behind_it(chaos: Chaos) -> None:
    client = chaos.client()
    chaos.wait("ready", timeout=LATER)
    for fault in (chaos.silent_drop, chaos.disconnect, chaos.refuse):
        with fault():
            chaos.wait("attempt", timeout=LATER)
        chaos.wait("ready", timeout=LATER)
    client.send("topic", "after all")
    chaos.wait("ack", timeout=LATER, place="client")
    chaos.assert_rules("RECONNECT-01", "HEARTBEAT-02", "BACKOFF-01", "REPLAY-06", "AUTH-01")


def test_it_may_run_already_and_keeps_what_others_have_there(client: Client) -> None:
    url = f"http://127.0.0.1:{client.server.port}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        client.create(name="theirs", listen="127.0.0.1:0", upstream=address)
        try:
            with Chaos(engine=url) as first, Chaos(engine=url) as second:
                assert len(client.proxies()) == 3
                assert first.url != second.url
            assert list(client.proxies()) == ["theirs"]
        finally:
            client.get_proxy("theirs").destroy()


def test_one_that_does_not_run_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EngineMissing, match=f"engine '{url}': no Toxiproxy answers there: .*refused"):
            Chaos(engine=url)


KILLED = """
import os, signal, sys
from pytest_wschaos import Chaos
with Chaos(engine=sys.argv[1]) as chaos:
    print(chaos.port, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(engine: str) -> int:
    """The port of a test whose process was killed."""
    ran = subprocess.run([sys.executable, "-c", KILLED, engine], stdout=subprocess.PIPE, text=True, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    return int(ran.stdout)


def test_it_ends_with_a_process_that_is_killed(binary: str) -> None:
    port = killed(f"binary:{binary}")
    with socket.socket() as attempt:
        until(lambda: attempt.connect_ex(("127.0.0.1", port)) != 0)


def test_what_a_process_that_was_killed_has_left_is_destroyed_by_the_next(binary: str) -> None:
    server = Binary(binary)
    url = f"http://127.0.0.1:{server.port}"
    try:
        killed(url)
        with connected("127.0.0.1", server.port) as client:
            assert len(client.proxies()) == 1
            with Chaos(engine=url):
                assert len(client.proxies()) == 1
            assert client.proxies() == {}
    finally:
        server.stop()


def test_auto_takes_the_first_that_is_there(
    binary: str, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{client.server.port}"
    monkeypatch.setattr(named, "DEFAULT", url)
    assert named.first(binary) == url
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(named, "DEFAULT", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert named.first(binary) == f"binary:{binary}"
        monkeypatch.setenv("PATH", str(tmp_path))
        assert named.first(None) == "embedded"


def test_its_end_amid_a_test_is_no_fault_of_the_client(binary: str) -> None:
    server = Binary(binary)
    with Chaos(engine=f"http://127.0.0.1:{server.port}") as chaos, connect(chaos.echo_url):
        server.stop()
        waits = (chaos.check, lambda: chaos.wait("fault", timeout=0.01))
        for ask in (*waits, lambda: chaos.latency(0.01), lambda: chaos.url_for("second")):
            with pytest.raises(ToxiproxyError, match="refused"):
                ask()


def test_one_that_was_started_anew_is_no_fault_of_the_client(chaos: Chaos, client: Client) -> None:
    prefix = chaos.api.prefix
    client.get_proxy(f"{prefix}client").destroy()
    with pytest.raises(ToxiproxyError, match="has lost the test's proxies"):
        chaos.check()


@pytest.mark.parametrize("privileged", [True, False])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_attempts_are_seen_while_it_refuses(
    binary: str, monkeypatch: pytest.MonkeyPatch, privileged: bool, family: socket.AddressFamily
) -> None:
    if not privileged:
        monkeypatch.setattr("pytest_wschaos.engine.packets.Packets.supported", lambda: False)
    host = "127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1"
    with Chaos(profile=QUICK, engine=f"binary:{binary}") as chaos, chaos.refuse():
        for _ in range(3):
            with socket.socket(family) as attempt:
                assert attempt.connect_ex((host, chaos.port)) != 0
        for _ in range(3):
            assert chaos.wait("attempt", timeout=LATER)["refused"] is True
        assert chaos.freeze().sees_refused


def test_a_server_that_was_down_is_brought_up_once(chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    healed: list[int] = []
    heal = BeDown.heal

    async def once(self: BeDown, front: Front, id: int) -> None:
        healed.append(id)
        await heal(self, front, id)

    monkeypatch.setattr(BeDown, "heal", once)
    with chaos.refuse(must_bite=False), chaos.refuse(must_bite=False):
        pass
    assert healed == [2, 1]
    assert [event["id"] for event in chaos.freeze().events if event.kind == "healed"] == [2, 1]


def test_a_name_that_means_something_in_a_url_is_a_name(chaos: Chaos) -> None:
    with connect(chaos.url_for("a/b?c#d%2F").replace("/ws", "/echo")) as echo, chaos.latency(0.01):
        echo.send("there")
        assert echo.recv(LATER) == "there"


@pytest.mark.parametrize("status", [200, 404])
def test_what_is_no_toxiproxy_is_told_so(status: int) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(EngineMissing, match=f"engine '{url}': no Toxiproxy answers there"):
            Chaos(engine=url)


def test_one_whose_proxies_are_elsewhere_is_told_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{client.server.port}"
    real._known.clear()
    monkeypatch.setattr(real, "REACH_TIMEOUT", 0.1)
    monkeypatch.setattr(socket, "create_connection", lambda *_: (_ for _ in ()).throw(ConnectionRefusedError("no")))
    with pytest.raises(EngineMissing, match=r"do not reach each other on 127\.0\.0\.1"):
        named_real(url)
    assert client.proxies() == {}


def named_real(url: str) -> None:
    runner = LoopThread()
    try:
        recorder = Recorder(Timeline(runner.loop.time))
        here = Embedded(runner, recorder, "127.0.0.1:9", None, seed=0)
        real.Real(here, *named.find(url), recorder.timeline, slowest=1)
    finally:
        runner.stop()


def test_it_is_not_ended_by_ctrl_c_and_not_left_asleep(binary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_wschaos.engines.binary.END_TIMEOUT", 0.2)
    server = Binary(binary)
    (pid,) = (int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[:1])
    assert os.getpgid(pid) != os.getpgid(0)
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    until(lambda: gone(pid))


def test_it_ends_when_it_is_stopped(binary: str) -> None:
    server = Binary(binary)
    (pid,) = (int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[:1])
    server.stop()
    until(lambda: gone(pid))


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="engine 'binary': there is no toxiproxy-server on PATH: install"):
        Chaos(engine="binary")
    with pytest.raises(EngineMissing, match="engine 'binary': /no/such is no program: install"):
        Chaos(engine="binary:/no/such")


def test_a_program_that_does_not_answer_is_named_with_what_it_says(tmp_path: Path) -> None:
    program = tmp_path / "toxiproxy-server"
    program.write_text("#!/bin/sh\necho no luck\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(EngineMissing, match="toxiproxy-server does not answer; it said:\nno luck"):
        Chaos(engine=f"binary:{program}")
