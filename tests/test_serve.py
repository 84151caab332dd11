"""``wschaos serve``, as a process: how it begins, how it ends, and what it survives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import LATER, SOON, Running, serving

from pytest_wschaos.cli import main
from pytest_wschaos.engine import open_files
from pytest_wschaos.serve import OneLine, Settings, serve


def config(path: Path, *entries: object) -> str:
    file = path / "proxies.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    return str(file)


async def eventually(true: Callable[[], object]) -> None:
    """Wait until something has become true."""
    async with asyncio.timeout(LATER):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def back_to(command: Running, sockets: int) -> None:
    """Wait until it has no more sockets than it had."""
    await eventually(lambda: command.sockets() <= sockets)


PROXY = {"name": "web", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
LATENCY = {"type": "latency", "attributes": {"latency": 5}}


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """The command allows its process more files, which here is this one at times."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


# --- begin and end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    with serving() as command, socket.create_server(("127.0.0.1", 0)) as upstream:
        assert command.ask("GET", "/version") == {"version": "2.12.0"}
        address = command.proxy(f"127.0.0.1:{upstream.getsockname()[1]}")
        with socket.create_connection(address, SOON) as client, upstream.accept()[0] as server:
            client.sendall(b"ping")
            assert server.recv(4) == b"ping"
            assert command.end(number) == (0, "", "")


def test_a_signal_right_after_the_first_line_ends_it_too() -> None:
    with serving() as command:
        assert command.end() == (0, "", "")


@pytest.mark.deviation("`toxics` in POST `/proxies`, `/populate`, configuration")
def test_the_proxies_of_the_configuration_are_there_and_told(tmp_path: Path) -> None:
    off = {"name": "off", "listen": "", "upstream": "x:1", "enabled": False}
    toxics = [LATENCY, {"type": "noop", "name": "n", "stream": "upstream"}]
    with serving("--config", config(tmp_path, {**PROXY, "toxics": toxics}, off)) as command:
        shown = command.ask("GET", "/proxies")
        assert list(shown) == ["off", "web"]
        assert [toxic["name"] for toxic in shown["web"]["toxics"]] == ["n", "latency_downstream"]
        assert command.line() == f"proxy web: {shown['web']['listen']} -> 127.0.0.1:1, toxics: latency_downstream, n"
        assert command.line() == "proxy off:  -> x:1, disabled"
        assert command.end() == (0, "", "")


def test_it_takes_all_the_files_that_it_may_and_leaves_nothing(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
            signal.raise_signal(signal.SIGTERM)

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(serve(Settings("127.0.0.1", 0, config(tmp_path, {**PROXY, "toxics": [LATENCY]}), 1), say))
    assert re.match(r"proxy web: 127\.0\.0\.1:\d+ -> 127\.0\.0\.1:1, toxics: latency_downstream$", lines[1])
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_asyncio_would_tell_with_a_traceback_is_one_line_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(OneLine())
    for _ in range(3):
        loop.call_exception_handler({"message": "no more", "exception": OSError(24, "Too many open files")})
    loop.call_exception_handler({"message": "something else"})
    loop.close()
    assert [record.getMessage() for record in caplog.records] == [
        "no more: OSError(24, 'Too many open files')",
        "something else",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_where_there_are_no_limits_none_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "resource", None)
    open_files.raise_limit()
    with socket.socket() as sock:
        assert not open_files.reserved(sock)


def test_the_last_descriptors_are_reserved() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as sock:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * sock.fileno() + 8, hard))
        assert not open_files.reserved(sock)
        resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 1, hard))
        assert open_files.reserved(sock)


def test_debug_tells_of_requests() -> None:
    with serving("--log-level", "debug") as command:
        command.ask("GET", "/version")
        status, _, errors = command.end()
    assert status == 0
    assert "GET /version: 200" in errors


@pytest.mark.deviation("`--seed`")
def test_the_seed_repeats_the_chaos() -> None:
    def arrived(seed: int) -> list[bool]:
        """Which of 20 connections is spared by a toxic of toxicity 0.5."""
        with serving("--seed", str(seed)) as command, socket.create_server(("127.0.0.1", 0)) as upstream:
            address = command.proxy(f"127.0.0.1:{upstream.getsockname()[1]}")
            toxic = {"type": "reset_peer", "stream": "upstream", "toxicity": 0.5}
            command.ask("POST", "/proxies/p/toxics", toxic)
            spared = []
            for _ in range(20):
                with socket.create_connection(address, SOON) as client, upstream.accept()[0] as server:
                    client.sendall(b"x")
                    try:
                        spared.append(server.recv(1) == b"x")
                    except ConnectionResetError:
                        spared.append(False)
            return spared

    first = arrived(7)
    assert first == arrived(7)
    assert first != arrived(8)
    assert True in first
    assert False in first


# --- what it refuses ---


@pytest.mark.deviation("a configuration file that is wrong")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file or directory"),
        ("", "EOF"),
        ("{}", "json: cannot unmarshal object into Go value of type []struct"),
        ("[{]", "invalid character ']' looking for beginning of object key string"),
        ('[{"name":"a"}]', "missing required field: upstream at proxy 1"),
        (
            '[{"name":"a","upstream":"b:1","enabled":false},{"upstream":"b:1"}]',
            "missing required field: name at proxy 2",
        ),
        (
            '[{"name":"a","upstream":"b:1","toxics":[{"type":"slow"}]}]',
            "invalid toxic type at toxic 1 at proxy 1",
        ),
        (
            '[{"name":"a","upstream":"b:1","listen":"bogus"}]',
            "proxy 'a': listen tcp: address bogus: missing port in address",
        ),
    ],
)
def test_a_configuration_that_is_wrong_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | None, told: str
) -> None:
    file = tmp_path / "proxies.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert main(["serve", "--port", "0", "--config", str(file)]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith(f"wschaos serve: {file}: {told}")
    assert errors.count("\n") == 1


@pytest.mark.deviation("the API's port is taken")
def test_a_port_in_use_is_named_with_the_remedy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
        out, errors = capsys.readouterr()
        assert out == ""
        assert errors.startswith(f"wschaos serve: cannot listen on 127.0.0.1:{port}: ")
        assert errors.endswith("(--port 0 finds a free one)\n")
        taken = config(tmp_path, {**PROXY, "listen": f"127.0.0.1:{port}"})
        assert main(["serve", "--port", "0", "--config", taken]) == 2
        told = f"proxy 'web': listen tcp 127.0.0.1:{port}: bind: address already in use\n"
        assert capsys.readouterr().err == f"wschaos serve: {taken}: {told}"


def test_an_address_of_another_machine_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "192.0.2.1", "--port", "0"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("wschaos serve: cannot listen on 192.0.2.1:0: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--port", "x"], ["--seed", "x"], ["--log-level", "loud"]])
def test_options_that_are_none(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *arguments])
    assert caught.value.code == 2
    assert arguments[1] in capsys.readouterr().err


@pytest.mark.deviation("`-proxy-metrics`, `-runtime-metrics`")
@pytest.mark.parametrize("option", ["-proxy-metrics", "-runtime-metrics"])
def test_there_are_no_metrics(capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", option])
    assert caught.value.code == 2
    assert option in capsys.readouterr().err


# --- what it survives ---


@contextlib.asynccontextmanager
async def echo_server() -> Any:
    """An echo's address, and how many connections it has."""
    live: set[asyncio.StreamWriter] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        live.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        live.discard(writer)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", live
    finally:
        server.close()
        for writer in list(live):
            writer.transport.abort()


def vanish(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST, where it has not ended."""
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def many_files(count: int) -> Iterator[None]:
    """Let this process open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"no more than {hard} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.asyncio
async def test_2000_connections_at_once_that_then_vanish() -> None:
    count = 2000
    with many_files(3 * count), serving() as command:
        async with echo_server() as (upstream, live):
            address = command.proxy(upstream)
            before = command.sockets()
            clients = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(count)))
            for _, writer in clients:
                writer.write(b"ping")
            assert len(command.ask("GET", "/proxies")) == 1
            answers = await asyncio.gather(*(reader.readexactly(4) for reader, _ in clients))
            assert answers == [b"ping"] * count
            command.ask("POST", "/proxies/p/toxics", LATENCY)
            for reader, writer in clients[:100]:
                writer.write(b"late")
                assert await reader.readexactly(4) == b"late"
            for _, writer in clients:
                vanish(writer)
            command.ask("DELETE", "/proxies/p/toxics/latency_downstream")
            await back_to(command, before)
            await eventually(lambda: not live)
        assert command.end() == (0, "", "")


@pytest.mark.asyncio
async def test_an_upstream_that_vanishes_and_slow_readers() -> None:
    with serving() as command:
        async with echo_server() as (upstream, live):
            address = command.proxy(upstream)
            before = command.sockets()
            clients = [await asyncio.open_connection(*address, limit=1024) for _ in range(20)]
            for _, writer in clients:
                writer.transport.set_write_buffer_limits(high=1)
                writer.write(bytes(8_000_000))  # and nobody reads the echo
            for kind in ("latency", "bandwidth", "slicer"):
                command.ask("POST", "/proxies/p/toxics", {"type": kind, "name": kind, "stream": "upstream"})
                command.ask("PATCH", f"/proxies/p/toxics/{kind}", {"attributes": {"rate": 1000, "average_size": 999}})
            command.ask("GET", "/proxies")
            await eventually(lambda: len(live) == len(clients))  # none is left that would hold on to its client
            for writer in list(live):
                vanish(writer)
        command.ask("POST", "/reset")
        for _, writer in clients:
            writer.transport.abort()
        await back_to(command, before)
        assert command.end() == (0, "", "")


@pytest.mark.asyncio
async def test_a_flood_of_calls_keeps_nobody_waiting() -> None:
    request, count = b"GET /proxies HTTP/1.1\r\nHost: x\r\n\r\n", 1500
    answered = 0

    async def flood(port: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request * count)  # one after another, and all at once
        for _ in range(count):
            await reader.readuntil(b"{}")
            answered += 1
        writer.write(request * 50)  # and leaves without having read
        vanish(writer)

    with serving() as command:
        before = command.sockets()
        floods = asyncio.gather(*(flood(command.port) for _ in range(15)))
        await eventually(lambda: answered)
        await asyncio.to_thread(command.ask, "GET", "/version")
        assert not floods.done()
        await floods
        await back_to(command, before)
        assert command.end() == (0, "", "")


@pytest.mark.asyncio
async def test_api_clients_that_idle_do_not_take_the_last_descriptors() -> None:
    with serving(files=100) as command:
        idle = []
        for _ in range(150):
            reader, writer = await asyncio.open_connection("127.0.0.1", command.port)
            idle.append(writer)
            writer.write(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(SOON):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        command.ask("GET", "/version")
        for writer in idle:
            writer.transport.abort()
        assert command.end() == (0, "", "")


@pytest.mark.deviation("no file descriptors are left")
@pytest.mark.asyncio
async def test_without_descriptors_the_api_answers_and_clients_are_reset() -> None:
    with serving(files=128) as command:
        async with echo_server() as (upstream, _):
            address = command.proxy(upstream)
            before = command.sockets()
            clients = []
            for _ in range(300):
                with contextlib.suppress(ConnectionResetError):
                    clients.append(await asyncio.open_connection(*address))
            command.ask("GET", "/proxies")
            command.ask("POST", "/proxies/p/toxics", LATENCY)

            async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
                with contextlib.suppress(OSError):
                    writer.write(b"x")
                    return await reader.read(1) == b"x"
                return False

            async with asyncio.timeout(LATER):
                results = await asyncio.gather(*(served(*client) for client in clients))
            assert 20 <= sum(results) <= 64  # each takes two
            command.ask("GET", "/version")
            for _, writer in clients:
                vanish(writer)
            await back_to(command, before)
            reader, writer = await asyncio.open_connection(*address)  # there is room again
            assert await served(reader, writer)
            writer.transport.abort()
        status, _, errors = command.end()
    assert status == 0
    assert "no file descriptors are left for more clients" in errors
    assert "Traceback" not in errors


@pytest.mark.asyncio
async def test_a_herd_at_once_without_descriptors_is_no_traceback_either() -> None:
    with serving(files=100) as command:
        async with echo_server() as (upstream, _):
            address = command.proxy(upstream)
            before = command.sockets()
            herd = await asyncio.gather(
                *(asyncio.open_connection(*address) for _ in range(500)), return_exceptions=True
            )
            start = time.monotonic()
            command.ask("GET", "/proxies")
            assert time.monotonic() - start < SOON
            for one in herd:
                if not isinstance(one, BaseException):
                    vanish(one[1])
            await back_to(command, before)
            command.ask("GET", "/proxies")
        status, _, errors = command.end()
    assert status == 0
    assert "Traceback" not in errors
