"""Where the embedded engine deviates from Toxiproxy on purpose; docs/engine.md has the list.

What Toxiproxy does is asserted too where that takes neither long nor the machine down.
"""

from __future__ import annotations

import socket
import time

import pytest

from .wire import Http, Proxied, Upstream, echo, eventually, lasting

PROXY = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
SOON = 2.0
"""Seconds in which the API answers whatever happens."""


@pytest.fixture
def ours(proxied: Proxied) -> Proxied:
    """The embedded engine alone: Toxiproxy would hang or crash here."""
    if proxied.http.real:
        pytest.skip("Toxiproxy hangs or crashes here")
    return proxied


def test_a_negative_rate_is_rate_0_and_crashes_toxiproxy(doomed: Http, upstream: Upstream) -> None:
    proxied = Proxied(doomed, upstream)
    proxied.toxic("bandwidth", rate=-1)
    client, server = proxied.pair()
    server.send(b"held")
    if doomed.real:
        eventually(doomed.gone, "it has crashed")
        return
    assert client.quiet()
    proxied.remove()
    assert client.receive(4) == b"held"


@pytest.mark.parametrize("average", [0, -3])
def test_a_slicer_without_an_average_sends_whole_chunks_and_crashes_toxiproxy(ours: Proxied, average: int) -> None:
    ours.toxic("slicer", average_size=average, delay=1000)
    client, server = ours.pair()
    server.send(b"whole")
    assert client.receive(5) == b"whole"


def test_a_slicer_that_varies_by_more_than_its_average_is_clamped_and_crashes_toxiproxy(ours: Proxied) -> None:
    ours.toxic("slicer", average_size=4, size_variation=100)
    client, server = ours.pair()
    server.send(bytes(range(256)))
    assert client.receive(256) == bytes(range(256))


def test_a_toxics_update_that_fails_changes_nothing_and_half_of_it_in_toxiproxy(proxied: Proxied) -> None:
    proxied.toxic("latency", latency=5)
    body = b'{"attributes":{"latency":7,"jitter":"x"},"toxicity":0.5}'
    assert proxied.http.ask("POST", "/proxies/p/toxics/t", body).error[0] == 400
    shown = proxied.http.get("/proxies/p/toxics/t")
    expected = 7 if proxied.http.real else 5
    assert (shown["attributes"], shown["toxicity"]) == ({"latency": expected, "jitter": 0}, 1)


def test_the_api_answers_while_a_client_does_not_read_and_hangs_in_toxiproxy(ours: Proxied) -> None:
    ours.toxic("latency", latency=1)
    _, server = ours.pair()
    server.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        server.send(bytes(100_000_000))
    for method, path in (
        ("PATCH", "/proxies/p/toxics/t"),
        ("GET", "/proxies"),
        ("DELETE", "/proxies/p/toxics/t"),
        ("POST", "/reset"),
        ("DELETE", "/proxies/p"),
    ):
        assert ours.http.ask(method, path, {}, timeout=SOON).status in (200, 204)


def test_a_reset_that_has_begun_goes_on_and_does_not_hold_up_the_removal(proxied: Proxied) -> None:
    proxied.toxic("reset_peer", timeout=1000)
    client, server = proxied.pair()
    start = time.monotonic()
    server.send(b"dropped")
    assert client.quiet()
    proxied.remove()
    removed = time.monotonic() - start
    assert client.rest() == server.rest() == (b"", "reset")
    ended = time.monotonic() - start
    assert ended >= 0.99
    if proxied.http.real:
        assert removed >= 0.95
    else:
        assert removed < ended


def test_a_client_whose_upstream_does_not_answer_holds_up_nobody_and_all_in_toxiproxy(http: Http) -> None:
    if http.real:
        pytest.skip("Toxiproxy hangs here")
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        first.connect(address)  # from now on the kernel lets a SYN wait
        clients = Upstream()
        listen = http.post("/proxies", {**PROXY, "upstream": f"127.0.0.1:{address[1]}"})["listen"]
        waiting = [clients.connect(listen) for _ in range(3)]
        assert all(client.quiet(0.1) for client in waiting)
        good = Upstream()
        assert http.ask("PATCH", "/proxies/p", {"enabled": False}, timeout=SOON).json["enabled"] is False
        assert all(client.rest() == (b"", "fin") for client in waiting)
        http.ask("PATCH", "/proxies/p", {"enabled": True, "upstream": good.address}, timeout=SOON)
        echo(clients.connect(listen), good.accept())
        clients.close()
        good.close()


def test_reset_does_all_that_can_be_done_and_stops_half_way_in_toxiproxy(ours: Proxied) -> None:
    http = ours.http
    ours.toxic("noop")
    for name in ("a", "z"):
        http.post("/proxies", {**PROXY, "name": name, "listen": ours.upstream.address, "enabled": False})
    http.post("/proxies", {**PROXY, "name": "off", "enabled": False})
    http.post("/proxies/a/toxics", {"type": "noop"})
    assert http.ask("POST", "/reset").error[0] == 500
    shown = http.get("/proxies")
    assert {name: proxy["enabled"] for name, proxy in shown.items()} == {"a": False, "off": True, "p": True, "z": False}
    assert not any(proxy["toxics"] for proxy in shown.values())


LATENCY = {"type": "latency", "stream": "upstream", "attributes": {"latency": 300}}


@pytest.mark.parametrize("path", ["/proxies", "/populate"])
def test_toxics_come_with_their_proxy_and_are_dropped_in_toxiproxy(http: Http, upstream: Upstream, path: str) -> None:
    entry = {**PROXY, "upstream": upstream.address, "toxics": [LATENCY, {"type": "noop", "name": "n"}]}
    answer = http.post(path, [entry] if path == "/populate" else entry)
    made = answer["proxies"][0] if path == "/populate" else answer
    names = [toxic["name"] for toxic in made["toxics"]]
    if http.real:
        assert names == []
        return
    assert names == ["latency_upstream", "n"]
    client, server = upstream.connect(made["listen"]), upstream.accept()
    with lasting(0.3):
        client.send(b"slow")
        assert server.receive(4) == b"slow"
    again = http.post("/populate", [{**entry, "listen": made["listen"], "toxics": []}])
    assert [toxic["name"] for toxic in again["proxies"][0]["toxics"]] == names  # it was there already


@pytest.mark.parametrize(
    ("toxics", "text"),
    [
        ([LATENCY, {"type": "x"}], "invalid toxic type at toxic 2"),
        ([{**LATENCY, "stream": "side"}], "stream was invalid, can be either upstream or downstream at toxic 1"),
        (
            [{"type": "latency", "attributes": {"latency": "x"}}],
            "bad request body: json: cannot unmarshal string into Go struct field "
            "LatencyToxic.attributes.latency of type int64 at toxic 1",
        ),
        ([5], "bad request body: json: cannot unmarshal number into Go value of type toxics.ToxicWrapper at toxic 1"),
        (
            7,
            "bad request body: json: cannot unmarshal number into Go struct field Proxy.toxics "
            "of type []toxics.ToxicWrapper",
        ),
        ([LATENCY, LATENCY], "toxic already exists at toxic 2"),
    ],
)
def test_a_wrong_toxic_is_named_and_nothing_is_made(ours: Proxied, toxics: object, text: str) -> None:
    status = 409 if "exists" in text else 400
    assert ours.http.ask("POST", "/proxies", {**PROXY, "name": "q", "toxics": toxics}).error == (status, text)
    answer = ours.http.ask("POST", "/populate", [{**PROXY, "name": "r"}, {**PROXY, "name": "q", "toxics": toxics}])
    told = text.replace("field Proxy", "field .Proxy") + ("" if toxics == 7 else " at proxy 2")
    assert answer.json == {"error": told, "status": status, "proxies": None}
    assert list(ours.http.get("/proxies")) == ["p"]


def test_a_toxic_that_closes_closes_both_sides_at_once_and_one_after_the_other_in_toxiproxy(proxied: Proxied) -> None:
    proxied.toxic("slow_close", "upstream", name="slow", delay=60_000)
    proxied.toxic("limit_data", bytes=0)
    client, server = proxied.pair()
    server.send(b"x")
    assert client.rest() == (b"", "fin")
    if proxied.http.real:
        assert server.quiet()
    else:
        assert server.rest() == (b"", "fin")


def test_a_body_may_have_8_mib_and_more_in_toxiproxy(ours: Proxied) -> None:
    head = b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (8 * 1024 * 1024 + 1)
    assert ours.http.raw(head).startswith(b"HTTP/1.1 413 ")
    entries = [{**PROXY, "name": f"p{number}", "upstream": "x" * 1_000_000, "enabled": False} for number in range(3)]
    assert len(ours.http.post("/populate", entries)["proxies"]) == 3


def test_the_toxics_beyond_toxiproxys_are_there_and_unknown_to_it(proxied: Proxied) -> None:
    answer = proxied.http.ask("POST", "/proxies/p/toxics", {"type": "stall", "stream": "upstream"})
    if proxied.http.real:
        assert answer.error == (400, "invalid toxic type")
        return
    client, server = proxied.pair()
    client.send(b"held")
    assert server.quiet()
    proxied.remove("stall_upstream")
    assert server.receive(4) == b"held"
    eventually(lambda: proxied.http.get("/proxies/p/toxics") == [], "it is gone")
