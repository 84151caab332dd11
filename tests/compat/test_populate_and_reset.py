"""``/populate`` and ``/reset``."""

from __future__ import annotations

import pytest

from .wire import Http, Proxied, Upstream, echo

PROXY = {"name": "q", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}


def test_populate_makes_keeps_and_replaces(proxied: Proxied) -> None:
    http = proxied.http
    proxied.toxic("noop")
    http.post("/proxies", PROXY)
    http.post("/proxies/q/toxics", {"type": "noop"})
    pair = proxied.pair()
    same = {"name": "p", "listen": proxied.listen, "upstream": proxied.upstream.address, "enabled": False}
    answer = http.ask("POST", "/populate", [same, {**PROXY, "upstream": "b:2"}, {**PROXY, "name": "new"}])
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    kept, replaced, new = answer.json["proxies"]
    assert list(kept) == ["name", "listen", "upstream", "enabled", "Logger", "toxics"]
    assert (kept["enabled"], len(kept["toxics"])) == (True, 1)
    assert (replaced["name"], replaced["upstream"], replaced["toxics"], new["name"]) == ("q", "b:2", [], "new")
    echo(*pair)


def test_populate_ends_the_connections_of_what_it_replaces(proxied: Proxied) -> None:
    client, server = proxied.pair()
    other = Upstream()
    entry = {"name": "p", "listen": proxied.listen, "upstream": other.address}
    (made,) = proxied.http.post("/populate", [entry])["proxies"]
    assert client.rest() == server.rest() == (b"", "fin")
    assert made["listen"] == proxied.listen
    echo(proxied.client(), other.accept())
    other.close()


def test_populate_may_make_disabled_ones(http: Http) -> None:
    (made,) = http.post("/populate", [{**PROXY, "enabled": False}])["proxies"]
    assert (made["listen"], made["enabled"]) == ("127.0.0.1:0", False)
    assert http.post("/populate", [{**PROXY, "name": "r", "enabled": None}])["proxies"][0]["enabled"] is True


@pytest.mark.parametrize("body", [b"[]", b"null"])
def test_populate_with_nothing(http: Http, body: bytes) -> None:
    answer = http.ask("POST", "/populate", body)
    assert (answer.status, answer.body) == (201, b'{"proxies":null}')


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"upstream": "x:1"}, "missing required field: name at proxy 2"),
        ({"name": "r"}, "missing required field: upstream at proxy 2"),
        (None, "missing required field: name at proxy 2"),
    ],
)
def test_populate_checks_all_before_it_makes_any(http: Http, entry: object, text: str) -> None:
    answer = http.ask("POST", "/populate", [PROXY, entry])
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert answer.body == f'{{"error":"{text}","status":400,"proxies":null}}'.encode()
    assert http.get("/proxies") == {}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "EOF"),
        (b"[", "unexpected EOF"),
        (
            b"{}",
            "json: cannot unmarshal object into Go value of type "
            '[]struct { toxiproxy.Proxy; Enabled *bool "json:\\"enabled\\"" }',
        ),
        (
            b"[5]",
            "json: cannot unmarshal number into Go value of type "
            'struct { toxiproxy.Proxy; Enabled *bool "json:\\"enabled\\"" }',
        ),
        (b'[{"name":5}]', "json: cannot unmarshal number into Go struct field .Proxy.name of type string"),
    ],
)
def test_populate_takes_a_list_of_proxies_only(http: Http, body: bytes, text: str) -> None:
    answer = http.ask("POST", "/populate", body)
    assert answer.json == {"error": f"bad request body: {text}", "status": 400, "proxies": None}
    assert answer.headers["content-type"] == "application/json"


def test_populate_stops_at_the_first_that_fails(http: Http, upstream: Upstream) -> None:
    entries = [PROXY, {**PROXY, "name": "r", "listen": upstream.address}, {**PROXY, "name": "s"}]
    answer = http.ask("POST", "/populate", entries)
    assert answer.status == answer.json["status"] == 500
    assert answer.json["error"] == f"listen tcp {upstream.address}: bind: address already in use"
    assert [proxy["name"] for proxy in answer.json["proxies"]] == ["q"]
    assert list(http.get("/proxies")) == ["q"]


def test_populate_leaves_what_it_cannot_replace_disabled(http: Http, upstream: Upstream) -> None:
    old = http.post("/proxies", PROXY)
    answer = http.ask("POST", "/populate", [{**PROXY, "listen": upstream.address}])
    assert (answer.status, answer.json["proxies"]) == (500, None)
    assert http.get("/proxies/q") == {**old, "enabled": False}
    answer = http.ask("POST", "/populate", [{**PROXY, "listen": "bogus"}])
    assert answer.json["error"] == "address bogus: missing port in address"


def test_reset_starts_all_and_removes_all_toxics(proxied: Proxied) -> None:
    http = proxied.http
    proxied.toxic("latency", latency=60_000)
    proxied.toxic("noop", stream="upstream", name="up")
    pair = proxied.pair()
    http.post("/proxies", {**PROXY, "upstream": proxied.upstream.address, "enabled": False})
    for _ in range(2):
        answer = http.ask("POST", "/reset", b"anything")
        assert (answer.status, answer.body) == (204, b"")
    shown = http.get("/proxies")
    assert all(proxy["enabled"] and not proxy["toxics"] for proxy in shown.values())
    echo(*pair)
    echo(proxied.upstream.connect(shown["q"]["listen"]), proxied.upstream.accept())


def test_reset_names_what_cannot_be_started(http: Http, upstream: Upstream) -> None:
    http.post("/proxies", {**PROXY, "listen": upstream.address, "enabled": False})
    told = (500, f"listen tcp {upstream.address}: bind: address already in use")
    assert http.ask("POST", "/reset").error == told
