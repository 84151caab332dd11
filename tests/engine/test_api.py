"""The HTTP API, where what is to be seen lies behind it; tests/compat has what a client sees."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from compat.wire import Answer
from cryptography.hazmat.primitives import serialization

from pytest_wschaos.engine import api as api_module
from pytest_wschaos.engine import http_server, open_files
from pytest_wschaos.engine.api import Api

from .rig import PATIENCE, Peer, Rig, eventually

pytestmark = pytest.mark.asyncio


class Wire:
    """One connection to the API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        assert first.startswith("HTTP/1.1 ")
        return Answer(int(first.split(" ")[1]), headers, body)

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(raw)}"]
        lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + raw)
        return await self.answer()


@pytest_asyncio.fixture
async def served(rig: Rig) -> AsyncIterator[int]:
    api = Api(rig.engine)
    yield await api.start()
    await api.stop()


@pytest_asyncio.fixture
async def wire(served: int) -> AsyncIterator[Wire]:
    opened = Wire(*await asyncio.open_connection("127.0.0.1", served))
    yield opened
    opened.writer.transport.abort()


@asynccontextmanager
async def taken_port() -> AsyncIterator[int]:
    """A port on which somebody else listens."""
    async with await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


PROXY = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}


async def test_attempts_at_a_disabled_proxy_are_told_of(wire: Wire, rig: Rig) -> None:
    await wire.ask("POST", "/proxies/client", {"enabled": False})
    with pytest.raises(ConnectionRefusedError):
        await rig.client()
    await eventually(lambda: rig.notes.refusals, "the observer is told of the attempt")
    assert (await wire.ask("POST", "/proxies/client", {"enabled": True})).json["enabled"]
    await rig.echo(*await rig.pair())


@pytest.mark.parametrize("number", [1, 2])
async def test_a_client_that_got_one_of_the_last_descriptors_is_reset(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    asked = itertools.count(1)  # the client's side, then the server's
    monkeypatch.setattr(open_files, "reserved", lambda sock: sock is not None and next(asked) >= number)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await (await rig.client()).rest()
    assert [cut for tap in rig.notes.taps for cut in tap.cuts] == [("descriptors", "reset")] * 2
    assert len(caplog.records) == 1
    assert "no file descriptors are left" in caplog.text


@pytest.mark.parametrize(("kind", "attributes"), [("blackhole", {}), ("stall", {}), ("idle_timeout", {"timeout": 9})])
async def test_the_toxics_beyond_toxiproxys_are_there_too(wire: Wire, kind: str, attributes: dict[str, int]) -> None:
    answer = await wire.ask("POST", "/proxies/client/toxics", {"type": kind, "attributes": attributes})
    assert (answer.status, answer.json["attributes"]) == (200, attributes)


async def test_a_faults_attributes_are_shown_as_integers_where_they_are(wire: Wire, rig: Rig) -> None:
    rig.proxy.add_toxic("latency", attributes={"latency": 200.0, "jitter": 0.5})
    assert b'{"latency":200,"jitter":0.5}' in (await wire.ask("GET", "/proxies/client/toxics")).body


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ({"reset": 1}, "number 1"),
        ({"reset": "true"}, "string"),
        ({"timeout": 1.5}, "number 1.5"),
    ],
)
async def test_an_attribute_is_of_its_kind(wire: Wire, rig: Rig, sent: dict[str, object], kind: str) -> None:
    status, text = (await wire.ask("POST", "/proxies/client/toxics", {"type": "lifetime", "attributes": sent})).error
    assert status == 400
    assert text.startswith(f"bad request body: json: cannot unmarshal {kind.split()[0]}")
    assert "Toxic.attributes." in text
    assert rig.proxy.toxics == []


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"opcodes": "text"}, "string into Go struct field FrameToxic.attributes.opcodes of type array"),
        ({"action": ["drop"]}, "array into Go struct field FrameToxic.attributes.action of type string"),
        ({"probability": "1"}, "string into Go struct field FrameToxic.attributes.probability of type float32"),
    ],
)
async def test_texts_lists_and_numbers_too(wire: Wire, sent: dict[str, object], told: str) -> None:
    answer = await wire.ask("POST", "/proxies/client/toxics", {"type": "frame", "attributes": sent})
    assert answer.error == (400, f"bad request body: json: cannot unmarshal {told}")


async def test_objects_too(wire: Wire) -> None:
    body = {"type": "handshake", "attributes": {"headers": []}}
    status, text = (await wire.ask("POST", "/proxies/client/toxics", body)).error
    assert (status, text.rpartition("json: ")[2]) == (
        400,
        "cannot unmarshal array into Go struct field HandshakeToxic.attributes.headers of type map",
    )


async def test_a_toxic_checks_what_it_is_given_and_an_update_too(wire: Wire, rig: Rig) -> None:
    refused = "toxic frame: action = 'explode': must be one of pass, drop, delay, duplicate, reorder, truncate, corrupt"
    body: dict[str, object] = {"type": "frame", "attributes": {"action": "explode"}}
    assert (await wire.ask("POST", "/proxies/client/toxics", body)).error == (400, f"{refused}, close")
    assert rig.proxy.toxics == []
    made = await wire.ask("POST", "/proxies/client/toxics", {"type": "frame", "attributes": {"opcodes": ["ping"]}})
    assert made.json["attributes"] == {
        "action": "pass", "opcodes": ["ping"], "match": "", "start": 1, "every": 1, "count": 0, "probability": 1,
        "delay": 0, "keep": 0, "bits": 1, "code": 1011, "reason": "", "compression": True,
    }  # fmt: skip
    path = "/proxies/client/toxics/frame_downstream"
    body = {"attributes": {"action": "explode", "match": "a"}, "toxicity": 0.5}
    assert (await wire.ask("PATCH", path, body)).error == (400, f"{refused}, close")
    assert (await wire.ask("GET", path)).body == made.body
    changed = await wire.ask("PATCH", path, {"attributes": {"action": "drop", "probability": 0.25}})
    assert changed.json["attributes"] == {**made.json["attributes"], "action": "drop", "probability": 0.25}


@pytest.mark.parametrize("connections", [2, [1, 3], {"nth": 2}, {"every": 3}])
async def test_a_toxic_may_be_for_some_connections(wire: Wire, rig: Rig, connections: object) -> None:
    body = {"type": "stall", "stream": "upstream", "connections": connections}
    made = await wire.ask("POST", "/proxies/client/toxics", body)
    assert made.json["connections"] == connections
    assert (await wire.ask("GET", "/proxies/client")).json["toxics"] == [made.json]
    met = []
    for _ in range(4):
        client, _ = await rig.pair()
        await client.send(b"x")
        await eventually(lambda: rig.notes.taps[-1].seen["client", "up"], "it has come")
        met.append("server" if not rig.notes.taps[-1].seen["server", "up"] else "")
    held = [number for number, what in enumerate(met, 1) if what]
    assert held == {"2": [2], "[1, 3]": [1, 3], "{'nth': 2}": [2], "{'every': 3}": [3]}[str(connections)]


async def test_those_to_come_are_counted_from_when_the_toxic_was_made(wire: Wire, rig: Rig) -> None:
    await rig.echo(*await rig.pair())
    await wire.ask("POST", "/proxies/client/toxics", {"type": "reset_now", "connections": {"nth": 2}})
    await rig.echo(*await rig.pair())
    with pytest.raises(ConnectionResetError):
        await (await rig.client()).rest()
    await rig.echo(*await rig.pair())


async def test_connections_that_cannot_be_are_named(wire: Wire, rig: Rig) -> None:
    status, text = (await wire.ask("POST", "/proxies/client/toxics", {"type": "noop", "connections": "all"})).error
    assert (status, text) == (
        400,
        'connections = \'all\': must be a number of 1 or more, a list of such, {"nth": number} or {"every": number}',
    )
    assert rig.proxy.toxics == []
    assert b"connections" not in (await wire.ask("POST", "/proxies/client/toxics", {"type": "noop"})).body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nExpect: more\r\n\r\n", 417),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: 8388609\r\n\r\n", 413),
        (b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000, 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_is_answered_once_and_closed(wire: Wire, raw: bytes, status: int) -> None:
    await wire.send(raw)
    answer = await wire.answer()
    assert answer.status == status
    assert answer.body.count(b"\n") == 1
    assert answer.headers["connection"] == "close"


async def test_a_client_that_vanishes_leaves_nothing(wire: Wire) -> None:
    await wire.send(b"POST /proxies HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    wire.writer.transport.abort()  # the rig checks that no task and no socket is left


async def test_a_silent_client_is_let_go(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "READ_TIMEOUT", 0.02)
    await wire.send(b"POST /proxies HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    async with asyncio.timeout(PATIENCE):
        assert await wire.reader.read() == b""


async def test_a_request_that_takes_too_long_is_given_up(wire: Wire, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "TIMEOUT", 0.02)
    await rig.engine._lock.acquire()
    answer = await wire.ask("POST", "/proxies", PROXY)
    rig.engine._lock.release()
    assert (answer.status, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert b"<title>Timeout</title>" in answer.body
    assert (await wire.ask("GET", "/version")).status == 200


async def test_a_defect_is_answered_and_named(wire: Wire, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.engine, "reset", None)
    answer = await wire.ask("POST", "/reset")
    assert answer.status == 500
    assert b"internal error: TypeError" in answer.body


async def test_stopping_ends_open_connections_and_a_second_start_is_the_same(rig: Rig) -> None:
    api = Api(rig.engine)
    port = await api.start()
    assert await api.start() == port
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    assert (await wire.ask("GET", "/version")).status == 200
    await api.stop()
    async with asyncio.timeout(PATIENCE):
        assert await wire.reader.read() == b""
    wire.writer.transport.abort()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await api.stop()


async def test_a_taken_port_is_an_error(rig: Rig) -> None:
    async with taken_port() as port:
        with pytest.raises(OSError, match="in use"):
            await Api(rig.engine).start(port=port)


# --- TLS ---


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of PEM files: those of a server, of the authority that it has its certificate from, and some bad ones."""
    folder = tmp_path_factory.mktemp("pem")
    authority, other = trustme.CA(), trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    paths = {name: str(folder / f"{name}.pem") for name in ("cert", "key", "both", "ca", "other", "empty", "locked")}
    server.cert_chain_pems[0].write_to_path(paths["cert"])
    server.private_key_pem.write_to_path(paths["key"])
    server.private_key_and_cert_chain_pem.write_to_path(paths["both"])
    authority.cert_pem.write_to_path(paths["ca"])
    other.issue_cert("127.0.0.1").private_key_pem.write_to_path(paths["other"])
    Path(paths["empty"]).touch()
    key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    Path(paths["locked"]).write_bytes(locked)
    return paths | {"missing": str(folder / "missing.pem"), "folder": str(folder)}


@pytest.mark.parametrize("both", [False, True])
async def test_a_proxy_ends_tls_with_a_given_certificate(wire: Wire, rig: Rig, pem: dict[str, str], both: bool) -> None:
    tls = {"cert": pem["both"]} if both else {"cert": pem["cert"], "key": pem["key"]}
    made = await wire.ask("POST", "/proxies", {**PROXY, "upstream": rig.upstream, "tls": tls})
    assert (made.status, made.json["tls"]) == (201, tls)
    assert list(made.json) == ["name", "listen", "upstream", "enabled", "Logger", "toxics", "tls"]
    trust = ssl.create_default_context(cafile=pem["ca"])
    host, port = rig.engine.proxy("p").address
    _, writer = await asyncio.open_connection(host, port, ssl=trust)
    writer.write(b"hello")
    async with asyncio.timeout(PATIENCE):
        server = await rig.accepted.get()
    assert await server.receive(5) == b"hello"
    writer.transport.abort()


async def test_a_proxy_encrypts_to_its_upstream_and_verifies_it(wire: Wire, rig: Rig, pem: dict[str, str]) -> None:
    await wire.ask("POST", "/proxies", {**PROXY, "name": "in", "upstream": rig.upstream, "tls": {"cert": pem["both"]}})
    upstream = rig.engine.proxy("in").listen
    asked = {**PROXY, "upstream": upstream, "upstream_tls": True}
    for options, passes in (({}, False), ({"ca": pem["ca"]}, True), ({"verify": False}, True)):
        made = await wire.ask("POST", "/proxies", {**asked, **options})
        assert {key: made.json[key] for key in list(made.json)[6:]} == {"upstream_tls": True, **options}
        client = Peer(*await asyncio.open_connection(*rig.engine.proxy("p").address))
        if passes:
            await client.send(b"hello")
            async with asyncio.timeout(PATIENCE):
                assert await (await rig.accepted.get()).receive(5) == b"hello"
        else:
            assert await client.rest() == b""
        client.writer.transport.abort()
        await wire.ask("DELETE", "/proxies/p")
    errors = [error for tap in rig.notes.taps for error in tap.errors if "upstream" in error]
    assert len(errors) == 1
    assert "certificate verify failed" in errors[0]


async def test_tls_may_come_later_and_stays(wire: Wire, rig: Rig, pem: dict[str, str]) -> None:
    made = await wire.ask("POST", "/proxies", {**PROXY, "tls": None, "upstream_tls": False})
    assert "tls" not in made.json
    assert "upstream_tls" not in made.json
    changed = await wire.ask("PATCH", "/proxies/p", {"tls": {"cert": pem["both"]}})
    assert changed.json["tls"] == {"cert": pem["both"]}
    assert rig.engine.proxy("p").tls.client is not None
    kept = await wire.ask("PATCH", "/proxies/p", {"enabled": False})
    assert kept.json["tls"] == {"cert": pem["both"]}


async def test_populate_keeps_a_proxy_of_the_same_tls_and_replaces_one_of_another(
    wire: Wire, rig: Rig, pem: dict[str, str]
) -> None:
    entry = {**PROXY, "listen": "127.0.0.1:0", "tls": {"cert": pem["both"]}}
    await wire.ask("POST", "/populate", [entry])
    first = rig.engine.proxy("p")
    entry["listen"] = first.listen
    await wire.ask("POST", "/populate", [entry])
    assert rig.engine.proxy("p") is first
    again = await wire.ask("POST", "/populate", [{**entry, "tls": {"cert": pem["cert"], "key": pem["key"]}}])
    assert again.status == 201
    assert rig.engine.proxy("p") is not first


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tls": {}}, "tls: missing required field: cert"),
        ({"tls": {"key": "KEY"}}, "tls: missing required field: cert"),
        ({"tls": "CERT"}, "bad request body: json: cannot unmarshal string into Go struct field Proxy.tls of type map"),
        ({"tls": {"cert": 1}}, "json: cannot unmarshal number into Go struct field Proxy.tls.cert of type string"),
        ({"upstream_tls": 1}, "json: cannot unmarshal number into Go struct field Proxy.upstream_tls of type bool"),
        ({"tls": {"cert": "MISSING"}}, "tls: cert MISSING cannot be used: No such file or directory"),
        ({"tls": {"cert": "FOLDER"}}, "tls: cert FOLDER cannot be used: "),
        ({"tls": {"cert": "a\0b"}}, "tls: cert a\0b cannot be used: embedded null byte"),
        ({"tls": {"cert": "CERT", "key": "EMPTY"}}, "tls: cert CERT and key EMPTY cannot be used: "),
        ({"tls": {"cert": "CERT", "key": "OTHER"}}, "cert CERT and key OTHER cannot be used: key values mismatch"),
        ({"tls": {"cert": "CERT", "key": "LOCKED"}}, "tls: cert CERT and key LOCKED cannot be used: "),
        ({"ca": "CA"}, "ca: goes with upstream_tls only, and that is not true"),
        ({"verify": False, "upstream_tls": False}, "verify: goes with upstream_tls only, and that is not true"),
        ({"upstream_tls": True, "ca": "MISSING"}, "ca: MISSING cannot be used: No such file or directory"),
        ({"upstream_tls": True, "ca": "EMPTY"}, "ca: EMPTY cannot be used: "),
    ],
)
async def test_tls_that_cannot_be_is_one_clear_400(
    wire: Wire, rig: Rig, pem: dict[str, str], fields: dict[str, Any], told: str
) -> None:
    def real(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: real(inner) for key, inner in value.items()}
        return pem.get(value.lower(), value) if isinstance(value, str) else value

    for name, path in pem.items():
        told = told.replace(name.upper(), path)
    status, text = (await wire.ask("POST", "/proxies", {**PROXY, **real(fields)})).error
    assert status == 400
    assert told in text
    assert "_ssl.c" not in text
    assert "p" not in rig.engine.proxies
