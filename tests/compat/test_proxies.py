"""Proxies over HTTP: routes, defaults, order, normalised addresses, errors."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from .wire import Http, Proxied, Upstream, echo

PROXY = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}


def refused(listen: str) -> bool:
    host, _, port = listen.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_version(http: Http) -> None:
    answer = http.ask("GET", "/version")
    assert (answer.status, answer.body) == (200, b'{"version": "2.12.0"}\n')
    assert answer.headers["content-type"] == "application/json;charset=utf-8"


def test_a_proxy_is_made_shown_and_deleted(http: Http) -> None:
    made = http.ask("POST", "/proxies", PROXY)
    assert (made.status, made.headers["content-type"]) == (201, "application/json")
    listen = made.json["listen"]
    assert listen.startswith("127.0.0.1:")
    assert not listen.endswith(":0")
    assert made.body == (
        f'{{"name":"p","listen":"{listen}","upstream":"127.0.0.1:1","enabled":true,"Logger":{{}},"toxics":[]}}'.encode()
    )
    assert http.ask("GET", "/proxies/p").body == made.body
    assert http.ask("GET", "/proxies").body == b'{"p":' + made.body + b"}"
    deleted = http.ask("DELETE", "/proxies/p")
    assert (deleted.status, deleted.body) == (204, b"")
    assert "content-type" not in deleted.headers
    assert "content-length" not in deleted.headers
    assert http.ask("GET", "/proxies/p").error == (404, "proxy not found")
    assert refused(listen)


def test_without_proxies_there_is_an_empty_object(http: Http) -> None:
    assert http.ask("GET", "/proxies").body == b"{}"


def test_proxies_are_listed_by_name(http: Http) -> None:
    names = ["zeta", "alpha", "Mid", "é", "a-b", "ab"]
    for name in names:
        http.post("/proxies", {**PROXY, "name": name})
    assert list(http.get("/proxies")) == sorted(names)


def test_many_proxies_are_shown_whole(http: Http) -> None:
    for number in range(40):  # 4 KiB and more, which Toxiproxy sends in chunks
        http.post("/proxies", {**PROXY, "name": f"proxy-{number}"})
    assert len(http.get("/proxies")) == 40


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, (400, "missing required field: name")),
        ({"name": ""}, (400, "missing required field: name")),
        ({"upstream": "x:1"}, (400, "missing required field: name")),
        ({"name": "q"}, (400, "missing required field: upstream")),
        (b"null", (400, "missing required field: name")),
        ({**PROXY, "name": "there"}, (409, "proxy already exists")),
        ({**PROXY, "name": "there", "upstream": ""}, (400, "missing required field: upstream")),
        ({**PROXY, "listen": "bogus"}, (500, "listen tcp: address bogus: missing port in address")),
        ({**PROXY, "listen": "a:b:c"}, (500, "listen tcp: address a:b:c: too many colons in address")),
        ({**PROXY, "listen": "[::1"}, (500, "listen tcp: address [::1: missing ']' in address")),
        ({**PROXY, "listen": "[::1]"}, (500, "listen tcp: address [::1]: missing port in address")),
        ({**PROXY, "listen": "[::1]x:5"}, (500, "listen tcp: address [::1]x:5: missing port in address")),
        ({**PROXY, "listen": "localhost:99999"}, (500, "listen tcp: address 99999: invalid port")),
        ({**PROXY, "listen": "localhost:-1"}, (500, "listen tcp: address -1: invalid port")),
        ({**PROXY, "listen": "localhost:1x"}, (500, "listen tcp: lookup tcp/1x: unknown port")),
        ({**PROXY, "listen": "a b:1"}, (500, "listen tcp: lookup a b: no such host")),
        (
            {**PROXY, "listen": "192.0.2.1:5"},
            (500, "listen tcp 192.0.2.1:5: bind: cannot assign requested address"),
        ),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_left(http: Http, body: object, error: tuple[int, str]) -> None:
    http.post("/proxies", {**PROXY, "name": "there"})
    assert http.ask("POST", "/proxies", body).error == error
    assert list(http.get("/proxies")) == ["there"]


def test_a_port_with_a_zero_byte_is_unknown(http: Http) -> None:
    status, text = http.ask("POST", "/proxies", {**PROXY, "listen": "localhost:\0"}).error
    assert (status, text.rpartition(": ")[0]) == (500, "listen tcp: lookup tcp/\0")
    # Built with cgo, as those that are published are not, it asks the C library.
    assert text.rpartition(": ")[2] in ("unknown port", *["invalid argument"] * http.real)


def test_a_taken_address_is_named(http: Http, upstream: Upstream) -> None:
    answer = http.ask("POST", "/proxies", {**PROXY, "listen": upstream.address})
    assert answer.error == (500, f"listen tcp {upstream.address}: bind: address already in use")
    assert http.get("/proxies") == {}


@pytest.mark.parametrize(
    ("listen", "shown"),
    [
        ("localhost:0", "127.0.0.1:"),
        ("LOCALHOST:0", "127.0.0.1:"),
        ("127.0.0.1:", "127.0.0.1:"),
        ("[127.0.0.1]:0", "127.0.0.1:"),
        ("0.0.0.0:0", "[::]:"),
        (":0", "[::]:"),
        ("", "[::]:"),
        ("[]:0", "[::]:"),
        ("[::]:0", "[::]:"),
        ("[::1]:0", "[::1]:"),
    ],
)
def test_the_address_is_shown_as_it_is_listened_on(http: Http, upstream: Upstream, listen: str, shown: str) -> None:
    if "::" in shown and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    disabled = http.post("/proxies", {"name": "p", "listen": listen, "upstream": upstream.address, "enabled": False})
    assert (disabled["listen"], disabled["enabled"]) == (listen, False)
    first = http.post("/proxies/p", {"enabled": True})["listen"]
    assert first.startswith(shown)
    assert not first.endswith(":0")
    assert http.post("/proxies/p", {"enabled": False})["listen"] == first
    assert http.post("/proxies/p", {"enabled": True})["listen"] == first
    port = first.rpartition(":")[2]
    for host in ("127.0.0.1", "[::1]") if shown == "[::]:" else (shown.rpartition(":")[0],):
        echo(upstream.connect(f"{host}:{port}"), upstream.accept())


def test_an_upstream_is_taken_as_it_is_written(http: Http) -> None:
    for number, text in enumerate(("nowhere", "a:b:c", "http://x", "localhost:99999")):
        assert http.post("/proxies", {**PROXY, "name": f"p{number}", "upstream": text})["upstream"] == text


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("body", [{}, None, {"name": "other"}, {"enabled": None}, {"enabled": True}, {"toxics": 5}])
def test_an_update_without_change_keeps_connections(proxied: Proxied, method: str, body: object) -> None:
    pair = proxied.pair()
    raw = b"null" if body is None else body
    answer = proxied.http.ask(method, "/proxies/p", raw)
    assert (answer.status, answer.json["name"]) == (200, "p")
    port = proxied.listen.rpartition(":")[2]
    same = {"listen": f"localhost:{port}", "upstream": proxied.upstream.address}
    assert proxied.http.ask(method, "/proxies/p", same).json["listen"] == proxied.listen
    echo(*pair)


def test_a_new_address_moves_the_proxy(proxied: Proxied) -> None:
    new = proxied.http.post("/proxies/p", {"listen": "127.0.0.1:0"})["listen"]
    assert new != proxied.listen
    assert refused(proxied.listen)
    echo(proxied.upstream.connect(new), proxied.upstream.accept())


def test_an_empty_upstream_is_taken_in_an_update(proxied: Proxied) -> None:
    assert proxied.http.post("/proxies/p", {"upstream": ""})["upstream"] == ""


def test_a_taken_address_leaves_the_proxy_disabled_with_it(proxied: Proxied) -> None:
    taken = proxied.upstream.address
    answer = proxied.http.ask("POST", "/proxies/p", {"listen": taken})
    assert answer.error == (500, f"listen tcp {taken}: bind: address already in use")
    shown = proxied.http.get("/proxies/p")
    assert (shown["listen"], shown["enabled"]) == (taken, False)


@pytest.mark.parametrize(
    ("listen", "text"),
    [
        ("bogus", "address bogus: missing port in address"),
        ("localhost:99999", "address 99999: invalid port"),
        ("a b:1", "lookup a b: no such host"),
    ],
)
def test_an_address_that_is_none_changes_nothing(proxied: Proxied, listen: str, text: str) -> None:
    pair = proxied.pair()
    assert proxied.http.ask("POST", "/proxies/p", {"listen": listen, "upstream": "x:1"}).error == (500, text)
    echo(*pair)


def test_an_address_that_is_none_is_found_at_any_update_of_a_disabled_proxy(http: Http) -> None:
    http.post("/proxies", {**PROXY, "listen": "bogus", "enabled": False})
    for body in ({}, {"enabled": True}):
        assert http.ask("PATCH", "/proxies/p", body).error == (500, "address bogus: missing port in address")


def test_all_interfaces_of_ipv4_are_another_address_each_time(http: Http, upstream: Upstream) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    made = http.post("/proxies", {"name": "p", "listen": "0.0.0.0:0", "upstream": upstream.address})
    port = made["listen"].rpartition(":")[2]
    client, server = upstream.connect(f"127.0.0.1:{port}"), upstream.accept()
    http.post("/proxies/p", {"listen": f"0.0.0.0:{port}"})
    assert client.rest() == server.rest() == (b"", "fin")
    client, server = upstream.connect(f"127.0.0.1:{port}"), upstream.accept()
    assert http.post("/proxies/p", {"listen": f"[::]:{port}"})["listen"] == f"[::]:{port}"
    echo(client, server)


def test_what_is_not_there_cannot_be_changed_whatever_the_body(proxied: Proxied) -> None:
    for method, path in (("POST", "/x"), ("PATCH", "/x"), ("DELETE", "/x"), ("GET", "/x"), ("POST", "/x/toxics")):
        assert proxied.http.ask(method, f"/proxies{path}", b"bogus").error == (404, "proxy not found")
    for method in ("GET", "POST", "PATCH", "DELETE"):
        assert proxied.http.ask(method, "/proxies/p/toxics/x", b"bogus").error == (404, "toxic not found")
        assert proxied.http.ask(method, "/proxies/x/toxics/x", b"bogus").error == (404, "proxy not found")


def test_two_requests_for_one_name_make_one_proxy(http: Http) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: http.ask("POST", "/proxies", PROXY).status, range(8)))
    assert sorted(statuses) == [201] + [409] * 7


def test_names_come_back_as_they_were_sent(http: Http) -> None:
    name = 'a <b>&" \u2028 é'
    answer = http.ask("POST", "/proxies", {**PROXY, "name": name})
    assert answer.json["name"] == name
    assert rb'"a \u003cb\u003e\u0026\" \u2028 ' + "é".encode() in answer.body
    assert http.get("/proxies/a%20%3Cb%3E%26%22%20%E2%80%A8%20%C3%A9")["name"] == name
    half = http.ask("POST", "/proxies", b'{"name":"\\ud800","upstream":"u:1","listen":"127.0.0.1:0"}')
    assert half.json["name"] == "\ufffd"


def test_a_name_with_a_slash_can_be_made_and_not_be_reached(doomed: Http) -> None:
    assert doomed.post("/proxies", {**PROXY, "name": "a/b"})["name"] == "a/b"
    assert list(doomed.get("/proxies")) == ["a/b"]
    for path in ("/proxies/a/b", "/proxies/a%2Fb", "/proxies/a%2fb"):
        assert (doomed.ask("DELETE", path).status, doomed.ask("GET", path).body) == (404, b"404 page not found\n")


def test_logger_is_read_only(http: Http) -> None:
    body = json.dumps({**PROXY, "logger": {"level": 1}}).encode()
    assert http.ask("POST", "/proxies", body).json["Logger"] == {}
