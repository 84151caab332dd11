"""Where the embedded engine deviates from Toxiproxy on purpose; docs/engine.md has the list.

What Toxiproxy does is asserted too, but for one crash that takes too much memory.
"""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from .wire import Http, Proxied, Upstream, echo, eventually, lasting

deviation = pytest.mark.deviation
BEYOND = "types of toxics, routes and fields that are not Toxiproxy's"
PROXY = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
SOON = 2.0
"""Seconds in which the API answers whatever happens; where Toxiproxy hangs, it takes 25."""


@pytest.fixture
def broken(doomed: Http, upstream: Upstream) -> Proxied:
    """A proxy of a server that the test may break."""
    return Proxied(doomed, upstream)


def hangs(http: Http, method: str, path: str) -> bool:
    """Whether a call is not answered soon."""
    try:
        http.ask(method, path, {}, timeout=SOON)
    except TimeoutError:
        return True
    return False


@deviation("`bandwidth` with a negative `rate`")
def test_a_negative_rate_is_rate_0_and_crashes_toxiproxy(broken: Proxied) -> None:
    broken.toxic("bandwidth", rate=-1)
    client, server = broken.pair()
    server.send(b"held")
    if broken.http.real:
        eventually(broken.http.gone, "it has crashed")
        return
    assert client.quiet()
    broken.remove()
    assert client.receive(4) == b"held"


@deviation("`slicer` with `average_size` 0 (the default) or less")
@pytest.mark.parametrize("average", [0, -3])
def test_a_slicer_without_an_average_sends_whole_chunks_and_crashes_toxiproxy(proxied: Proxied, average: int) -> None:
    if proxied.http.real:
        pytest.skip("Toxiproxy takes 1 GB of stack before it crashes")
    proxied.toxic("slicer", average_size=average, delay=1000)
    client, server = proxied.pair()
    server.send(b"whole")
    assert client.receive(5) == b"whole"


@deviation("`slicer` with `size_variation` above `average_size`")
def test_a_slicer_that_varies_by_more_than_its_average_is_clamped_and_crashes_toxiproxy(broken: Proxied) -> None:
    broken.toxic("slicer", average_size=4, size_variation=100)
    client, server = broken.pair()
    if broken.http.real:

        def crashed() -> bool:  # at a draw that is large enough
            with contextlib.suppress(OSError):
                server.send(bytes(256))
            return broken.http.gone()

        eventually(crashed, "it has crashed")
        return
    server.send(bytes(range(256)))
    assert client.receive(256) == bytes(range(256))


@deviation("an update of a toxic that fails half-way")
def test_a_toxics_update_that_fails_changes_nothing_and_half_of_it_in_toxiproxy(proxied: Proxied) -> None:
    proxied.toxic("latency", latency=5)
    body = b'{"attributes":{"latency":7,"jitter":"x"},"toxicity":0.5}'
    assert proxied.http.ask("POST", "/proxies/p/toxics/t", body).error[0] == 400
    shown = proxied.http.get("/proxies/p/toxics/t")
    expected = 7 if proxied.http.real else 5
    assert (shown["attributes"], shown["toxicity"]) == ({"latency": expected, "jitter": 0}, 1)


@deviation("a client that does not read")
def test_the_api_answers_while_a_client_does_not_read_and_hangs_in_toxiproxy(broken: Proxied) -> None:
    broken.toxic("latency", latency=1)
    _, server = broken.pair()
    server.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        server.send(bytes(100_000_000))
    if broken.http.real:
        assert hangs(broken.http, "PATCH", "/proxies/p/toxics/t")
        assert hangs(broken.http, "GET", "/proxies")
        return
    for method, path in (
        ("PATCH", "/proxies/p/toxics/t"),
        ("GET", "/proxies"),
        ("DELETE", "/proxies/p/toxics/t"),
        ("POST", "/reset"),
        ("DELETE", "/proxies/p"),
    ):
        assert broken.http.ask(method, path, {}, timeout=SOON).status in (200, 204)


@deviation("removal of a `reset_peer` that has begun")
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


@deviation("an upstream that does not answer the SYN")
def test_a_client_whose_upstream_does_not_answer_holds_up_nobody_and_all_in_toxiproxy(doomed: Http) -> None:
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        first.connect(address)  # from now on the kernel lets a SYN wait
        clients = Upstream()
        listen = doomed.post("/proxies", {**PROXY, "upstream": f"127.0.0.1:{address[1]}"})["listen"]
        waiting = [clients.connect(listen) for _ in range(3)]
        assert all(client.quiet(0.1) for client in waiting)
        if doomed.real:
            assert hangs(doomed, "DELETE", "/proxies/p")
            clients.close()
            return
        good = Upstream()
        assert doomed.ask("PATCH", "/proxies/p", {"enabled": False}, timeout=SOON).json["enabled"] is False
        assert all(client.rest() == (b"", "fin") for client in waiting)
        doomed.ask("PATCH", "/proxies/p", {"enabled": True, "upstream": good.address}, timeout=SOON)
        echo(clients.connect(listen), good.accept())
        clients.close()
        good.close()


@deviation("`/reset` with an address that is taken")
def test_reset_does_all_that_can_be_done_and_stops_half_way_in_toxiproxy(proxied: Proxied) -> None:
    http = proxied.http
    proxied.toxic("noop")
    for name in ("a", "z"):
        http.post("/proxies", {**PROXY, "name": name, "listen": proxied.upstream.address, "enabled": False})
    http.post("/proxies", {**PROXY, "name": "off", "enabled": False})
    http.post("/proxies/a/toxics", {"type": "noop"})
    assert http.ask("POST", "/reset").error[0] == 500
    shown = http.get("/proxies")
    if http.real:
        assert (shown["a"]["enabled"], shown["z"]["enabled"]) == (False, False)  # the order is random: of the rest, any
        return
    assert {name: proxy["enabled"] for name, proxy in shown.items()} == {"a": False, "off": True, "p": True, "z": False}
    assert not any(proxy["toxics"] for proxy in shown.values())


LATENCY = {"type": "latency", "stream": "upstream", "attributes": {"latency": 300}}


TOXICS = "`toxics` in POST `/proxies`, `/populate`, configuration"


@deviation(TOXICS)
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


@deviation(TOXICS)
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
def test_a_wrong_toxic_is_named_and_nothing_is_made_and_dropped_in_toxiproxy(
    proxied: Proxied, toxics: object, text: str
) -> None:
    http, entry = proxied.http, {**PROXY, "name": "q", "toxics": toxics}
    if http.real:
        assert http.post("/proxies", entry)["toxics"] == []
        return
    status = 409 if "exists" in text else 400
    assert http.ask("POST", "/proxies", entry).error == (status, text)
    answer = http.ask("POST", "/populate", [{**PROXY, "name": "r"}, entry])
    told = text.replace("field Proxy", "field .Proxy") + ("" if toxics == 7 else " at proxy 2")
    assert answer.json == {"error": told, "status": status, "proxies": None}
    assert list(http.get("/proxies")) == ["p"]


@deviation("a toxic that closes (`timeout`, `limit_data`, `reset_peer`) beside a `slow_close` of the other direction")
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


@deviation("large requests")
def test_a_body_may_have_8_mib_and_more_in_toxiproxy(http: Http) -> None:
    entry = {**PROXY, "upstream": "x" * (8 * 1024 * 1024), "enabled": False}
    if http.real:
        assert http.post("/proxies", entry)["enabled"] is False
        return
    head = b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (8 * 1024 * 1024 + 1)
    assert http.raw(head).startswith(b"HTTP/1.1 413 ")
    entries = [{**entry, "name": f"p{number}", "upstream": "x" * 1_000_000} for number in range(3)]
    assert len(http.post("/populate", entries)["proxies"]) == 3


@deviation(BEYOND)
@pytest.mark.parametrize("path", ["/events", "/connections"])
def test_the_routes_beyond_toxiproxys_are_there_and_none_in_it(http: Http, path: str) -> None:
    answer = http.ask("GET", f"{path}?follow=0")
    assert (answer.status, answer.body == b"404 page not found\n") == ((404, True) if http.real else (200, False))


@deviation(BEYOND)
def test_tls_of_a_proxy_is_checked_and_dropped_in_toxiproxy(http: Http) -> None:
    answer = http.ask("POST", "/proxies", {**PROXY, "tls": {"cert": "/no/such"}})
    if http.real:
        assert (answer.status, "tls" in answer.json) == (201, False)
    else:
        assert answer.error[0] == 400


@deviation(BEYOND)
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
