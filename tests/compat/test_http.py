"""HTTP itself, and JSON as Go reads it."""

from __future__ import annotations

import json

import pytest

from .wire import Http

PROXY = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
BODY = json.dumps(PROXY).encode()


@pytest.mark.parametrize(
    "path",
    ["/", "/proxies/", "/proxies/a/b", "/nowhere", "/proxies/a%2Fb", "/metrics", "/PROXIES", "/version/", "/reset/x"],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_paths_that_are_none(http: Http, method: str, path: str) -> None:
    answer = http.ask(method, path)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-toxiproxy-request-id" not in answer.headers


def test_head_has_no_body(http: Http) -> None:
    answer = http.raw(b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Content-Length: 19\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/proxies"),
        ("HEAD", "/version"),
        ("PUT", "/proxies"),
        ("OPTIONS", "/proxies"),
        ("PATCH", "/proxies"),
        ("GET", "/reset"),
        ("GET", "/populate"),
        ("POST", "/version"),
        ("DELETE", "/proxies/x/toxics"),
        ("PUT", "/proxies/x/toxics/y"),
        ("BREW", "/version"),
    ],
)
def test_methods_that_are_none(http: Http, method: str, path: str) -> None:
    answer = http.ask(method, path, User_Agent="Mozilla/5.0")
    assert (answer.status, answer.body) == (405, b"")
    assert "x-toxiproxy-request-id" not in answer.headers
    assert "content-type" not in answer.headers


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//proxies", "/proxies"),
        ("/proxies//p?x=1", "/proxies/p?x=1"),
        ("/a/../proxies", "/proxies"),
        ("/./version", "/version"),
        ("/proxies/.", "/proxies"),
        ("/proxies/%2F", "/proxies/"),
        ("/proxies/..", "/"),
        ("//", "/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_paths_are_cleaned_by_a_redirect(http: Http, method: str, path: str, location: str) -> None:
    answer = http.ask(method, path)
    assert (answer.status, answer.headers["location"], answer.body) == (301, location, b"")


def test_a_browser_is_turned_away_where_there_is_something(http: Http) -> None:
    answer = http.ask("GET", "/proxies", User_Agent="Mozilla/5.0 (X11)")
    assert (answer.status, answer.body) == (403, b"User agent not allowed\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "x-toxiproxy-request-id" in answer.headers
    assert http.ask("POST", "/proxies", PROXY, User_Agent="Mozilla/5.0").status == 403
    assert http.ask("GET", "/nowhere", User_Agent="Mozilla/5.0").status == 404
    for allowed in ("mozilla/5.0", "curl Mozilla/5.0", "Mozilla", ""):
        assert http.ask("GET", "/proxies", User_Agent=allowed).status == 200
    assert http.raw(b"GET /proxies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_answers_have_numbers_of_their_own_and_a_date(http: Http) -> None:
    answers = [http.ask("GET", path) for path in ("/version", "/version", "/proxies/none")]
    ids = {answer.headers["x-toxiproxy-request-id"] for answer in answers}
    assert len(ids) == 3
    assert all(len(id) == 20 and id.isalnum() and id == id.lower() for id in ids)
    assert all(answer.headers["date"].endswith(" GMT") for answer in answers)


def test_a_connection_serves_pipelined_requests(http: Http) -> None:
    answers = http.raw(
        b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n" * 2
        + b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == answers.count(b'{"version": "2.12.0"}\n') == 3


def test_http_1_0_is_answered_and_closed(http: Http) -> None:
    answer = http.raw(b"GET /version HTTP/1.0\r\n\r\n")
    assert answer.endswith(b'\r\n\r\n{"version": "2.12.0"}\n')


def test_chunked_bodies_are_read(http: Http) -> None:
    chunks = b"".join(
        b"%x;ext=1\r\n%s\r\n" % (len(BODY[at : at + 7]), BODY[at : at + 7]) for at in range(0, len(BODY), 7)
    )
    head = (
        b"POST /proxies HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\nConnection: close\r\n\r\n"
    )
    assert http.raw(head + chunks + b"0\r\nX-A: x\r\n\r\n").startswith(b"HTTP/1.1 201 ")
    assert list(http.get("/proxies")) == ["p"]


def test_a_client_that_asks_first_is_told_to_go_on(http: Http) -> None:
    head = (
        b"POST /proxies HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    )
    answer = http.raw(head % len(BODY) + BODY)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")


def test_what_else_is_expected_is_not_given(http: Http) -> None:
    answer = http.raw(b"POST /reset HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 417 ")


@pytest.mark.parametrize("target", [b"/version?x=1", b"http://127.0.0.1/version", b"/vers%69on"])
def test_targets_come_in_several_forms(http: Http, target: bytes) -> None:
    answer = http.raw(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("head", [b"nonsense", b"GET /proxies/%zz HTTP/1.1\r\nHost: x", b"GET / HTTP/1.1 x\r\nHost: x"])
def test_what_is_no_request_is_answered_once_and_closed(http: Http, head: bytes) -> None:
    assert http.raw(head + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_the_type_of_a_body_is_not_looked_at(http: Http) -> None:
    assert http.ask("POST", "/proxies", PROXY, Content_Type="image/png").status == 201


@pytest.mark.parametrize(
    "body",
    [
        b'{"NAME":"p","Upstream":"127.0.0.1:1","LISTEN":"127.0.0.1:0"}',
        b'{"name":"p","upstream":"127.0.0.1:1","listen":"127.0.0.1:0","enabled":null,"more":{}}',
        b' \n{"more":{"a":1},"more":{"b":2},"name":"x","name":"p","name":null,'
        b'"upstream":"127.0.0.1:1","listen":"127.0.0.1:0"} and more',
        b'{"name":"\\u0070","upstream":"127.0.0.1:1","listen":"127.0.0.1:0","n":[1.5e+3,-0,true,false,[[]]]}',
        BODY + b"}",
    ],
)
def test_bodies_are_read_as_go_does(http: Http, body: bytes) -> None:
    answer = http.ask("POST", "/proxies", body)
    assert answer.status == 201
    assert (answer.json["name"], answer.json["enabled"], answer.json["toxics"]) == ("p", True, [])


def field(found: str, name: str, type: str) -> str:
    return f"json: cannot unmarshal {found} into Go struct field Proxy.{name} of type {type}"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "EOF"),
        (b" \n", "EOF"),
        (b"{", "unexpected EOF"),
        (b"[", "unexpected EOF"),
        (b'{"name"', "unexpected EOF"),
        (b'{"name":', "unexpected EOF"),
        (b'{"name": "p', "unexpected EOF"),
        (b'{"name": "p"', "unexpected EOF"),
        (b"nul", "unexpected EOF"),
        (b"-", "unexpected EOF"),
        (b"bogus", "invalid character 'b' looking for beginning of value"),
        (b"}", "invalid character '}' looking for beginning of value"),
        (b'{"name": NaN}', "invalid character 'N' looking for beginning of value"),
        (b'{"name":}', "invalid character '}' looking for beginning of value"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"'a'", "invalid character '\\'' looking for beginning of value"),
        ("é".encode(), "invalid character 'Ã' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
        (b"\x00", "invalid character '\\x00' looking for beginning of value"),
        (b"\x80", "invalid character '\\u0080' looking for beginning of value"),
        (
            b'{"a":{},"b":[[],{"k":1}],"c":[1,"\\u00e9\\n",true,-0.5e+3,10.25,0e1],x}',
            "invalid character 'x' looking for beginning of object key string",
        ),
        (b'{"a":null\\', "invalid character '\\\\' after object key:value pair"),
        (b"{name:1}", "invalid character 'n' looking for beginning of object key string"),
        (b'{"name":"a",}', "invalid character '}' looking for beginning of object key string"),
        (b'{"name" "a"}', "invalid character '\"' after object key"),
        (b'{"name":"a" 1}', "invalid character '1' after object key:value pair"),
        (b'{"name":"a"]', "invalid character ']' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"nulx", "invalid character 'x' in literal null (expecting 'l')"),
        (b"tru3", "invalid character '3' in literal true (expecting 'e')"),
        (b'{"name":"a\nb"}', "invalid character '\\n' in string literal"),
        (b'{"name":"\\x"}', "invalid character 'x' in string escape code"),
        (b'{"name":"\\u12g4"}', "invalid character 'g' in \\u hexadecimal character escape"),
        (b'{"a":01}', "invalid character '1' after object key:value pair"),
        (b'{"a":1.}', "invalid character '}' after decimal point in numeric literal"),
        (b'{"a":-}', "invalid character '}' in numeric literal"),
        (b'{"a":1e}', "invalid character '}' in exponent of numeric literal"),
        (b"[" * 20_000, "invalid character '[' exceeded max depth"),
        (b'{"a":' * 20_000, "invalid character '{' exceeded max depth"),
        (b"[]", "json: cannot unmarshal array into Go value of type toxiproxy.Proxy"),
        (b"1.5", "json: cannot unmarshal number into Go value of type toxiproxy.Proxy"),
        (b'"x"', "json: cannot unmarshal string into Go value of type toxiproxy.Proxy"),
        (b"true", "json: cannot unmarshal bool into Go value of type toxiproxy.Proxy"),
        (b'{"enabled":"yes"}', field("string", "enabled", "bool")),
        (b'{"enabled":1}', field("number", "enabled", "bool")),
        (b'{"name":5}', field("number", "name", "string")),
        (b'{"name":' + b"1" * 5000 + b"}", field("number", "name", "string")),
        (b'{"listen":[]}', field("array", "listen", "string")),
        (b'{"upstream":{}}', field("object", "upstream", "string")),
        (b'{"listen":true}', field("bool", "listen", "string")),
    ],
)
def test_bodies_that_cannot_be_read(http: Http, body: bytes, text: str) -> None:
    assert http.ask("POST", "/proxies", body).error == (400, f"bad request body: {text}")
