"""The HTTP API, byte by byte where clients look."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from pytest_wschaos.engine import api as api_module
from pytest_wschaos.engine import http_server
from pytest_wschaos.engine.api import Api

from .rig import PATIENCE, Rig, eventually

pytestmark = pytest.mark.asyncio


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and text of an error, whose form is checked."""
        assert self.headers["content-type"] == "text/plain; charset=utf-8"
        assert self.headers["x-content-type-options"] == "nosniff"
        assert self.body.endswith(b"}\n")
        assert list(self.json) == ["error", "status"]
        assert self.json["status"] == self.status
        return self.status, self.json["error"]


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


# --- proxies ---


async def test_version(wire: Wire) -> None:
    answer = await wire.ask("GET", "/version")
    assert answer.body == b'{"version": "2.12.0"}\n'
    assert answer.headers["content-type"] == "application/json;charset=utf-8"


async def test_a_proxy_is_made_shown_and_deleted(wire: Wire, rig: Rig) -> None:
    made = await wire.ask("POST", "/proxies", PROXY)
    assert (made.status, made.headers["content-type"]) == (201, "application/json")
    listen = rig.engine.proxy("p").listen
    assert not listen.endswith(":0")
    assert made.body == (
        f'{{"name":"p","listen":"{listen}","upstream":"127.0.0.1:1","enabled":true,"Logger":{{}},"toxics":[]}}'.encode()
    )
    assert (await wire.ask("GET", "/proxies/p")).body == made.body
    assert (await wire.ask("GET", "/proxies")).json.keys() == {"client", "p"}
    deleted = await wire.ask("DELETE", "/proxies/p")
    assert (deleted.status, deleted.body) == (204, b"")
    assert "content-type" not in deleted.headers
    assert (await wire.ask("GET", "/proxies/p")).error == (404, "proxy not found")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*listen.split(":"))


async def test_proxies_are_listed_by_name(wire: Wire) -> None:
    for name in ("zeta", "alpha", "mid"):
        await wire.ask("POST", "/proxies", {**PROXY, "name": name})
    assert list((await wire.ask("GET", "/proxies")).json) == ["alpha", "client", "mid", "zeta"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, (400, "missing required field: name")),
        ({"name": "p"}, (400, "missing required field: upstream")),
        ({**PROXY, "name": "client"}, (409, "proxy already exists")),
        ({**PROXY, "listen": "bogus"}, (500, "listen tcp: address bogus: missing port in address")),
        ({**PROXY, "listen": "localhost:99999"}, (500, "listen tcp: address 99999: invalid port")),
        ({**PROXY, "listen": "a..b:1"}, (500, "listen tcp: lookup a..b: no such host")),
        (b"", (400, "bad request body: EOF")),
        (b" \n", (400, "bad request body: EOF")),
        (b'{"name": "p"', (400, "bad request body: unexpected EOF")),
        (b'{"name": "p', (400, "bad request body: unexpected EOF")),
        (b"bogus", (400, "bad request body: invalid character 'b' looking for beginning of value")),
        (b'{"name": NaN}', (400, "bad request body: invalid character 'N' looking for beginning of value")),
        (
            {**PROXY, "enabled": "yes"},
            (400, "bad request body: json: cannot unmarshal string into Go struct field Proxy.enabled of type bool"),
        ),
        (
            {**PROXY, "name": 5},
            (400, "bad request body: json: cannot unmarshal number into Go struct field Proxy.name of type string"),
        ),
        (b"[]", (400, "bad request body: json: cannot unmarshal array into Go value of type Proxy")),
        (b"[" * 100_000, (400, "bad request body: exceeded max depth")),
        (b'{"name":' + b"1" * 5000 + b"}", (400, "bad request body: json: a number is too long")),
    ],
)
async def test_what_cannot_be_made_is_refused_and_nothing_is_left(
    wire: Wire, rig: Rig, body: object, error: tuple[int, str]
) -> None:
    assert (await wire.ask("POST", "/proxies", body)).error == error
    assert list(rig.engine.proxies) == ["client"]


async def test_a_taken_address_is_named(wire: Wire, rig: Rig) -> None:
    answer = await wire.ask("POST", "/proxies", {**PROXY, "listen": rig.proxy.listen})
    assert answer.error == (500, f"listen tcp {rig.proxy.listen}: bind: address already in use")


@pytest.mark.parametrize(
    "body",
    [
        b'{"NAME":"p","Upstream":"127.0.0.1:1","LISTEN":"127.0.0.1:0"}',
        b'{"name":"p","upstream":"127.0.0.1:1","listen":"127.0.0.1:0","enabled":null,"toxics":[1],"more":{}}',
        b'  {"more":{"a":1},"more":{"b":2},"name":"x","name":"p","name":null,'
        b'"upstream":"127.0.0.1:1","listen":"127.0.0.1:0"} and more',
    ],
)
async def test_bodies_are_read_as_go_does(wire: Wire, body: bytes) -> None:
    answer = await wire.ask("POST", "/proxies", body)
    assert answer.status == 201
    assert (answer.json["name"], answer.json["enabled"], answer.json["toxics"]) == ("p", True, [])


async def test_names_come_back_as_they_were_sent(wire: Wire) -> None:
    name = 'a <b>&" \u2028 é'
    answer = await wire.ask("POST", "/proxies", {**PROXY, "name": name})
    assert answer.json["name"] == name
    assert rb'"a \u003cb\u003e\u0026\" \u2028 ' + "é".encode() in answer.body
    assert (await wire.ask("GET", "/proxies/a%20%3Cb%3E%26%22%20%E2%80%A8%20%C3%A9")).json["name"] == name
    half = await wire.ask("POST", "/proxies", b'{"name":"\\ud800","upstream":"u:1","listen":"127.0.0.1:0"}')
    assert half.json["name"] == "\ufffd"


@pytest.mark.parametrize(
    ("listen", "shown"),
    [("localhost:0", "127.0.0.1:"), ("0.0.0.0:0", "[::]:"), (":0", "[::]:"), ("", "[::]:"), ("[::1]:0", "[::1]:")],
)
async def test_the_address_is_shown_as_it_is_listened_on(wire: Wire, listen: str, shown: str) -> None:
    if "::" in shown and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    disabled = (await wire.ask("POST", "/proxies", {**PROXY, "listen": listen, "enabled": False})).json
    assert (disabled["listen"], disabled["enabled"]) == (listen, False)
    first = (await wire.ask("POST", "/proxies/p", {"enabled": True})).json["listen"]
    assert first.startswith(shown)
    assert not first.endswith(":0")
    assert (await wire.ask("POST", "/proxies/p", {"enabled": False})).json["listen"] == first
    assert (await wire.ask("POST", "/proxies/p", {"enabled": True})).json["listen"] == first
    port = int(first.rpartition(":")[2])
    for host in ("127.0.0.1", "::1") if shown == "[::]:" else (first.rpartition(":")[0].strip("[]"),):
        _, writer = await asyncio.open_connection(host, port)
        writer.transport.abort()


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("body", [{}, None, {"name": "other"}, {"enabled": None}, {"enabled": True}])
async def test_an_update_without_change_keeps_connections(wire: Wire, rig: Rig, method: str, body: object) -> None:
    pair = await rig.pair()
    raw = b"null" if body is None else body
    answer = await wire.ask(method, "/proxies/client", raw)
    assert (answer.status, answer.json["name"]) == (200, "client")
    port = rig.proxy.address[1]
    await wire.ask(method, "/proxies/client", {"listen": f"localhost:{port}", "upstream": rig.upstream})
    await rig.echo(*pair)


async def test_disabling_ends_connections_and_refuses(wire: Wire, rig: Rig) -> None:
    client, server = await rig.pair()
    await wire.ask("POST", "/proxies/client/toxics", {"type": "noop"})
    answer = await wire.ask("POST", "/proxies/client", {"enabled": False})
    assert (answer.status, answer.json["enabled"], len(answer.json["toxics"])) == (200, False, 1)
    assert await client.rest() == await server.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await rig.client()
    await eventually(lambda: rig.notes.refusals, "the observer is told of the attempt")
    assert (await wire.ask("POST", "/proxies/client", {"enabled": True})).json["enabled"]
    await rig.echo(*await rig.pair())


async def test_a_new_upstream_ends_connections_and_keeps_toxics(wire: Wire, rig: Rig) -> None:
    client, server = await rig.pair()
    listen = rig.proxy.listen
    await wire.ask("POST", "/proxies/client/toxics", {"type": "noop"})
    answer = await wire.ask("POST", "/proxies/client", {"upstream": "127.0.0.1:1"})
    assert (answer.json["upstream"], answer.json["listen"], answer.json["enabled"]) == ("127.0.0.1:1", listen, True)
    assert [toxic["name"] for toxic in answer.json["toxics"]] == ["noop_downstream"]
    assert await client.rest() == await server.rest() == b""


async def test_a_new_address_moves_the_proxy(wire: Wire, rig: Rig) -> None:
    old = rig.proxy.address
    new = (await wire.ask("POST", "/proxies/client", {"listen": "127.0.0.1:0"})).json["listen"]
    assert new != f"{old[0]}:{old[1]}"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*old)
    await rig.echo(*await rig.pair())


async def test_a_taken_address_leaves_the_proxy_disabled_with_it(wire: Wire, rig: Rig) -> None:
    async with taken_port() as port:
        address = f"127.0.0.1:{port}"
        answer = await wire.ask("POST", "/proxies/client", {"listen": address})
        assert answer.error == (500, f"listen tcp {address}: bind: address already in use")
        shown = (await wire.ask("GET", "/proxies/client")).json
        assert (shown["listen"], shown["enabled"]) == (address, False)


async def test_an_address_that_is_none_changes_nothing(wire: Wire, rig: Rig) -> None:
    pair = await rig.pair()
    answer = await wire.ask("POST", "/proxies/client", {"listen": "bogus", "upstream": "x:1"})
    assert answer.error == (500, "address bogus: missing port in address")
    await rig.echo(*pair)


async def test_what_is_not_there_cannot_be_changed(wire: Wire) -> None:
    for method, path in (("POST", "/proxies/x"), ("DELETE", "/proxies/x"), ("GET", "/proxies/x/toxics")):
        assert (await wire.ask(method, path, b"bogus")).error == (404, "proxy not found")
    for method in ("GET", "POST", "PATCH", "DELETE"):
        assert (await wire.ask(method, "/proxies/client/toxics/x", {})).error == (404, "toxic not found")


async def test_two_requests_for_one_name_make_one_proxy(served: int, rig: Rig) -> None:
    wires = [Wire(*await asyncio.open_connection("127.0.0.1", served)) for _ in range(8)]
    answers = await asyncio.gather(
        *(wire.ask("POST", "/proxies", {**PROXY, "listen": "localhost:0"}) for wire in wires)
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    for wire in wires:
        wire.writer.transport.abort()
    await asyncio.get_running_loop().shutdown_default_executor()


# --- toxics ---


async def test_a_toxic_has_defaults_and_shows_all_its_attributes(wire: Wire) -> None:
    answer = await wire.ask("POST", "/proxies/client/toxics", {"type": "latency", "attributes": {"latency": 5, "x": 1}})
    assert answer.status == 200
    shown = b'{"attributes":{"latency":5,"jitter":0},"name":"latency_downstream","type":"latency",'
    assert answer.body == shown + b'"stream":"downstream","toxicity":1}'
    assert (await wire.ask("GET", "/proxies/client/toxics/latency_downstream")).body == answer.body
    assert (await wire.ask("GET", "/proxies/client/toxics")).body == b"[" + answer.body + b"]"


async def test_toxics_of_the_upstream_come_first(wire: Wire) -> None:
    for name, stream in (("a", "downstream"), ("b", "upstream"), ("c", "downstream"), ("d", "UPSTREAM")):
        await wire.ask("POST", "/proxies/client/toxics", {"type": "noop", "name": name, "stream": stream})
    assert [toxic["name"] for toxic in (await wire.ask("GET", "/proxies/client/toxics")).json] == ["b", "d", "a", "c"]
    assert [toxic["name"] for toxic in (await wire.ask("GET", "/proxies/client")).json["toxics"]] == [
        "b",
        "d",
        "a",
        "c",
    ]


async def test_the_stream_is_echoed_as_it_was_written(wire: Wire) -> None:
    answer = await wire.ask("POST", "/proxies/client/toxics", {"type": "noop", "stream": "UPSTREAM"})
    assert (answer.json["name"], answer.json["stream"]) == ("noop_UPSTREAM", "UPSTREAM")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", (400, "bad request body: unexpected EOF")),
        ({}, (400, "invalid toxic type")),
        ({"type": "Latency"}, (400, "invalid toxic type")),
        ({"type": "x", "stream": "side"}, (400, "stream was invalid, can be either upstream or downstream")),
        ({"type": "noop", "stream": ""}, (400, "stream was invalid, can be either upstream or downstream")),
        ({"type": "latency", "name": "there", "attributes": {"latency": "x"}}, (409, "toxic already exists")),
    ],
)
async def test_a_toxic_that_cannot_be_added(wire: Wire, rig: Rig, body: object, error: tuple[int, str]) -> None:
    rig.proxy.add_toxic("noop", name="there")
    assert (await wire.ask("POST", "/proxies/client/toxics", body)).error == error
    assert len(rig.proxy.toxics) == 1


@pytest.mark.parametrize("value", [b"1.0", b"1e3", b"1.5", b'"1"', b"true", b"[]", b"{}", b"9223372036854775808"])
async def test_attributes_must_be_integers(wire: Wire, rig: Rig, value: bytes) -> None:
    body = b'{"type":"latency","attributes":{"latency":' + value + b"}}"
    status, text = (await wire.ask("POST", "/proxies/client/toxics", body)).error
    assert status == 400
    assert text.startswith("bad request body: json: cannot unmarshal ")
    assert text.endswith(" of type int64")
    assert rig.proxy.toxics == []


async def test_null_and_negative_attributes_are_taken(wire: Wire) -> None:
    body = {"type": "latency", "attributes": {"latency": None, "JITTER": -5}, "name": None, "toxicity": None}
    assert (await wire.ask("POST", "/proxies/client/toxics", body)).json["attributes"] == {"latency": 0, "jitter": -5}
    nothing = await wire.ask("POST", "/proxies/client/toxics", {"type": "noop", "attributes": None})
    assert nothing.json["attributes"] == {}


@pytest.mark.parametrize(
    ("sent", "shown"), [(b"1", b"1"), (b"0.5", b"0.5"), (b"0.30000001", b"0.3"), (b"2", b"2"), (b"-1", b"-1")]
)
async def test_toxicity_is_a_number_of_32_bits(wire: Wire, sent: bytes, shown: bytes) -> None:
    answer = await wire.ask("POST", "/proxies/client/toxics", b'{"type":"noop","toxicity":' + sent + b"}")
    assert answer.body.endswith(b'"toxicity":' + shown + b"}")


@pytest.mark.parametrize("value", [b'"1"', b"true", b"1e39", b"1e400", b"1" * 400, b"{}"])
async def test_toxicity_must_be_a_number(wire: Wire, value: bytes) -> None:
    answer = await wire.ask("POST", "/proxies/client/toxics", b'{"type":"noop","toxicity":' + value + b"}")
    assert answer.error[0] == 400
    assert answer.error[1].endswith("of type float32")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_an_update_merges_attributes_and_ignores_the_rest(wire: Wire, rig: Rig, method: str) -> None:
    rig.proxy.add_toxic("latency", attributes={"latency": 5, "jitter": 1})
    body = {"attributes": {"jitter": 2}, "toxicity": 0.5, "name": "x", "type": "noop", "stream": "upstream"}
    answer = await wire.ask(method, "/proxies/client/toxics/latency_downstream", body)
    assert answer.status == 200
    assert answer.json == {
        "attributes": {"latency": 5, "jitter": 2},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 0.5,
    }


async def test_toxics_work_on_live_connections_until_they_are_removed(wire: Wire, rig: Rig) -> None:
    client, server = await rig.pair()
    await wire.ask("POST", "/proxies/client/toxics", {"type": "stall", "stream": "upstream"})
    await client.send(b"held")
    await eventually(lambda: rig.notes.taps[0].seen["client", "up"], "it has come")
    assert server.silent
    answer = await wire.ask("DELETE", "/proxies/client/toxics/stall_upstream")
    assert (answer.status, answer.body) == (204, b"")
    assert await server.receive(4) == b"held"
    await rig.echo(client, server)


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
        ({"opcodes": "text"}, "string into Go struct field Toxic.attributes.opcodes of type array"),
        ({"action": ["drop"]}, "array into Go struct field Toxic.attributes.action of type string"),
        ({"probability": "1"}, "string into Go struct field Toxic.attributes.probability of type float32"),
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
        "cannot unmarshal array into Go struct field Toxic.attributes.headers of type map",
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


# --- populate, reset ---


async def test_populate_makes_keeps_and_replaces(wire: Wire, rig: Rig) -> None:
    rig.proxy.add_toxic("noop")
    await wire.ask("POST", "/proxies", PROXY)
    pair = await rig.pair()
    client = {"name": "client", "listen": rig.proxy.listen, "upstream": rig.upstream, "enabled": False}
    answer = await wire.ask("POST", "/populate", [client, {**PROXY, "upstream": "b:2"}, {**PROXY, "name": "new"}])
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    kept, replaced, new = answer.json["proxies"]
    assert (kept["enabled"], len(kept["toxics"])) == (True, 1)
    assert (replaced["name"], replaced["upstream"], new["name"]) == ("p", "b:2", "new")
    await rig.echo(*pair)


@pytest.mark.parametrize("body", [b"[]", b"null"])
async def test_populate_with_nothing(wire: Wire, body: bytes) -> None:
    answer = await wire.ask("POST", "/populate", body)
    assert (answer.status, answer.body) == (201, b'{"proxies":null}')


async def test_populate_checks_all_before_it_makes_any(wire: Wire, rig: Rig) -> None:
    answer = await wire.ask("POST", "/populate", [PROXY, {"upstream": "x:1"}])
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == b'{"error":"missing required field: name at proxy 2","status":400,"proxies":null}'
    assert list(rig.engine.proxies) == ["client"]


async def test_populate_stops_at_the_first_that_fails(wire: Wire, rig: Rig) -> None:
    entries = [PROXY, {**PROXY, "name": "q", "listen": rig.proxy.listen}, {**PROXY, "name": "r"}]
    answer = await wire.ask("POST", "/populate", entries)
    assert answer.status == answer.json["status"] == 500
    assert answer.json["error"].endswith("bind: address already in use")
    assert [proxy["name"] for proxy in answer.json["proxies"]] == ["p"]
    assert sorted(rig.engine.proxies) == ["client", "p"]


async def test_populate_leaves_what_it_cannot_replace_disabled(wire: Wire, rig: Rig) -> None:
    await wire.ask("POST", "/proxies", PROXY)
    answer = await wire.ask("POST", "/populate", [{**PROXY, "listen": rig.proxy.listen}])
    assert answer.status == 500
    assert (await wire.ask("GET", "/proxies/p")).json["enabled"] is False


async def test_populate_takes_a_list_only(wire: Wire) -> None:
    answer = await wire.ask("POST", "/populate", {})
    assert (answer.status, answer.json["proxies"]) == (400, None)
    assert "cannot unmarshal object" in answer.json["error"]


async def test_reset_starts_all_and_removes_all_toxics(wire: Wire, rig: Rig) -> None:
    rig.proxy.add_toxic("noop")
    pair = await rig.pair()
    await wire.ask("POST", "/proxies", {**PROXY, "enabled": False})
    for _ in range(2):
        answer = await wire.ask("POST", "/reset", b"anything")
        assert (answer.status, answer.body) == (204, b"")
    shown = (await wire.ask("GET", "/proxies")).json
    assert all(proxy["enabled"] and not proxy["toxics"] for proxy in shown.values())
    await rig.echo(*pair)


async def test_reset_names_what_cannot_be_started(wire: Wire, rig: Rig) -> None:
    await wire.ask("POST", "/proxies", {**PROXY, "listen": rig.proxy.listen, "enabled": False})
    assert (await wire.ask("POST", "/reset")).error[0] == 500


# --- HTTP ---


@pytest.mark.parametrize(
    "path", ["/", "/proxies/", "/proxies/a/b", "/nowhere", "/proxies/a%2Fb", "/metrics", "/PROXIES"]
)
async def test_paths_that_are_none(wire: Wire, path: str) -> None:
    answer = await wire.ask("GET", path)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert "x-toxiproxy-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/proxies"), ("PUT", "/proxies"), ("GET", "/reset"), ("DELETE", "/version")]
)
async def test_methods_that_are_none(wire: Wire, method: str, path: str) -> None:
    answer = await wire.ask(method, path)
    assert (answer.status, answer.body) == (405, b"")


async def test_a_browser_is_turned_away_where_there_is_something(wire: Wire) -> None:
    answer = await wire.ask("GET", "/proxies", User_Agent="Mozilla/5.0 (X11)")
    assert (answer.status, answer.body) == (403, b"User agent not allowed\n")
    assert (await wire.ask("GET", "/nowhere", User_Agent="Mozilla/5.0")).status == 404
    assert (await wire.ask("GET", "/proxies", User_Agent="mozilla/5.0")).status == 200


async def test_answers_have_numbers_of_their_own(wire: Wire) -> None:
    ids = [(await wire.ask("GET", "/version")).headers["x-toxiproxy-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3


async def test_a_connection_serves_many_requests_and_pipelined_ones(wire: Wire) -> None:
    for _ in range(3):
        assert (await wire.ask("GET", "/version")).status == 200
    await wire.send(b"GET /version HTTP/1.1\r\n\r\n" * 3)
    assert [(await wire.answer()).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    "request_head", [b"GET /version HTTP/1.0\r\n\r\n", b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n"]
)
async def test_it_closes_when_asked_to(wire: Wire, request_head: bytes) -> None:
    await wire.send(request_head)
    answer = await wire.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await wire.reader.read() == b""


async def test_chunked_bodies_are_read(wire: Wire) -> None:
    body = json.dumps(PROXY).encode()
    chunks = b"".join(
        b"%x;ext=1\r\n%s\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7)
    )
    head = b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    await wire.send(head + chunks + b"0\r\nTrailer: x\r\n\r\n")
    assert (await wire.answer()).json["name"] == "p"
    assert (await wire.ask("GET", "/version")).status == 200


async def test_a_client_that_asks_first_is_told_to_go_on(wire: Wire) -> None:
    body = json.dumps(PROXY).encode()
    await wire.send(b"POST /proxies HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    assert (await wire.answer()).status == 100
    await wire.send(body)
    assert (await wire.answer()).status == 201


@pytest.mark.parametrize("target", [b"/version?x=1", b"http://127.0.0.1/version", b"/vers%69on"])
async def test_targets_come_in_several_forms(wire: Wire, target: bytes) -> None:
    await wire.send(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    assert (await wire.answer()).status == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413),
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


async def test_the_api_answers_while_a_peer_does_not_read(wire: Wire, rig: Rig) -> None:
    client, server = await rig.pair()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await wire.ask("POST", "/proxies/client/toxics", {"type": "latency", "attributes": {"latency": 1}})
    for _ in range(200):
        server.writer.write(bytes(100_000))
    await eventually(lambda: not next(iter(rig.proxy.connections)).down._reading, "the proxy reads no more")
    for method, path in (
        ("PATCH", "/proxies/client/toxics/latency_downstream"),
        ("GET", "/proxies"),
        ("DELETE", "/proxies/client/toxics/latency_downstream"),
        ("POST", "/reset"),
    ):
        async with asyncio.timeout(1):
            assert (await wire.ask(method, path, {})).status in (200, 204)


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
