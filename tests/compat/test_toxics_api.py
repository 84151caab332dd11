"""Toxics over HTTP: routes, defaults, order, errors."""

from __future__ import annotations

import pytest

from .wire import Http, Proxied

ATTRIBUTES: dict[str, list[str]] = {
    "noop": [],
    "latency": ["latency", "jitter"],
    "bandwidth": ["rate"],
    "slow_close": ["delay"],
    "timeout": ["timeout"],
    "reset_peer": ["timeout"],
    "slicer": ["average_size", "size_variation", "delay"],
    "limit_data": ["bytes"],
}
BAD_STREAM = (400, "stream was invalid, can be either upstream or downstream")


@pytest.fixture
def api(proxied: Proxied) -> Http:
    return proxied.http


def test_a_toxic_has_defaults_and_shows_all_its_attributes(api: Http) -> None:
    answer = api.ask("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"latency": 5, "x": 1}, "y": 2})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    shown = b'{"attributes":{"latency":5,"jitter":0},"name":"latency_downstream","type":"latency",'
    assert answer.body == shown + b'"stream":"downstream","toxicity":1}'
    assert api.ask("GET", "/proxies/p/toxics/latency_downstream").body == answer.body
    assert api.ask("GET", "/proxies/p/toxics").body == b"[" + answer.body + b"]"
    assert api.get("/proxies/p")["toxics"] == [answer.json]
    removed = api.ask("DELETE", "/proxies/p/toxics/latency_downstream")
    assert (removed.status, removed.body) == (204, b"")
    assert api.ask("GET", "/proxies/p/toxics").body == b"[]"
    assert api.ask("GET", "/proxies/p/toxics/latency_downstream").error == (404, "toxic not found")


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_every_type_has_its_attributes_in_order(api: Http, kind: str) -> None:
    assert api.post("/proxies/p/toxics", {"type": kind, "name": "zero"})["attributes"] == dict.fromkeys(
        ATTRIBUTES[kind], 0
    )
    given = {key: number for number, key in enumerate(reversed(ATTRIBUTES[kind]), 3)}
    shown = api.post("/proxies/p/toxics", {"type": kind, "attributes": given})
    assert shown["attributes"] == given
    assert list(shown["attributes"]) == ATTRIBUTES[kind]


def test_toxics_of_the_upstream_come_first(api: Http) -> None:
    for name, stream in (("a", "downstream"), ("b", "upstream"), ("c", "downstream"), ("d", "UPSTREAM")):
        api.post("/proxies/p/toxics", {"type": "noop", "name": name, "stream": stream})
    assert [toxic["name"] for toxic in api.get("/proxies/p/toxics")] == ["b", "d", "a", "c"]
    assert [toxic["name"] for toxic in api.get("/proxies/p")["toxics"]] == ["b", "d", "a", "c"]
    assert [toxic["name"] for toxic in api.get("/proxies")["p"]["toxics"]] == ["b", "d", "a", "c"]


def test_the_stream_is_echoed_as_it_was_written(api: Http) -> None:
    shown = api.post("/proxies/p/toxics", {"type": "noop", "stream": "UpStream"})
    assert (shown["name"], shown["stream"]) == ("noop_UpStream", "UpStream")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", (400, "bad request body: unexpected EOF")),
        ({}, (400, "invalid toxic type")),
        (b"null", (400, "invalid toxic type")),
        ({"type": "Latency"}, (400, "invalid toxic type")),
        ({"type": "down"}, (400, "invalid toxic type")),
        ({"type": "x", "stream": "side"}, BAD_STREAM),
        ({"type": "noop", "stream": ""}, BAD_STREAM),
        ({"type": "noop", "name": "there", "stream": ""}, BAD_STREAM),
        ({"type": "x", "name": "there"}, (400, "invalid toxic type")),
        ({"type": "latency", "name": "there", "attributes": {"latency": "x"}}, (409, "toxic already exists")),
        ({"type": "noop", "name": "there", "stream": "upstream"}, (409, "toxic already exists")),
    ],
)
def test_a_toxic_that_cannot_be_added(api: Http, body: object, error: tuple[int, str]) -> None:
    api.post("/proxies/p/toxics", {"type": "noop", "name": "there"})
    assert api.ask("POST", "/proxies/p/toxics", body).error == error
    assert [toxic["name"] for toxic in api.get("/proxies/p/toxics")] == ["there"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"1.0", "number 1.0"),
        (b"1e3", "number 1e3"),
        (b"1.50", "number 1.50"),
        (b"9223372036854775808", "number 9223372036854775808"),
        (b'"1"', "string"),
        (b"true", "bool"),
        (b"[]", "array"),
        (b"{}", "object"),
    ],
)
@pytest.mark.parametrize("update", [False, True])
def test_attributes_must_be_integers(api: Http, value: bytes, found: str, update: bool) -> None:
    path = "/proxies/p/toxics"
    if update:
        api.post(path, {"type": "latency", "name": "l"})
        path += "/l"
    answer = api.ask("POST", path, b'{"type":"latency","attributes":{"latency":' + value + b"}}")
    wrong = f"json: cannot unmarshal {found} into Go struct field LatencyToxic.attributes.latency of type int64"
    assert answer.error == (400, f"bad request body: {wrong}")
    assert [toxic["attributes"]["latency"] for toxic in api.get("/proxies/p/toxics")] == [0] * update


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in ATTRIBUTES.items() for key in keys])
def test_of_each_type_the_error_says_what_go_calls_it(api: Http, kind: str, key: str) -> None:
    struct = {"reset_peer": "Reset"}.get(kind, kind.title().replace("_", ""))
    integer = "int" if kind == "slicer" else "int64"
    answer = api.ask("POST", "/proxies/p/toxics", {"type": kind, "attributes": {key: 1.5}})
    wrong = f"json: cannot unmarshal number 1.5 into Go struct field {struct}Toxic.attributes.{key} of type {integer}"
    assert answer.error == (400, f"bad request body: {wrong}")
    api.post("/proxies/p/toxics", {"type": kind})
    for body in ({"attributes": {key: 1.5}}, {"attributes": "x"}):
        status, text = api.ask("POST", f"/proxies/p/toxics/{kind}_downstream", body).error
        assert (status, f"{struct}Toxic" in text) == (400, True)


def test_attributes_must_be_an_object_before_anything_else_is_looked_at(api: Http) -> None:
    api.post("/proxies/p/toxics", {"type": "latency", "name": "l"})
    answer = api.ask("POST", "/proxies/p/toxics", {"stream": "side", "attributes": 5})
    wrong = "json: cannot unmarshal number into Go struct field ToxicWrapper.attributes of type toxics.NoopToxic"
    assert answer.error == (400, f"bad request body: {wrong}")
    answer = api.ask("POST", "/proxies/p/toxics/l", {"attributes": "x"})
    wrong = "json: cannot unmarshal string into Go struct field .attributes of type toxics.LatencyToxic"
    assert answer.error == (400, f"bad request body: {wrong}")


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"5", b"true"])
def test_a_toxic_must_be_an_object(api: Http, body: bytes) -> None:
    kind = {b"[": "array", b'"': "string", b"5": "number", b"t": "bool"}[body[:1]]
    answer = api.ask("POST", "/proxies/p/toxics", body)
    assert answer.error == (
        400,
        f"bad request body: json: cannot unmarshal {kind} into Go value of type toxics.ToxicWrapper",
    )
    api.post("/proxies/p/toxics", {"type": "noop", "name": "n"})
    status, text = api.ask("POST", "/proxies/p/toxics/n", body).error
    assert (status, text.partition(" into ")[0]) == (400, f"bad request body: json: cannot unmarshal {kind}")


@pytest.mark.parametrize("key", ["name", "type", "stream"])
def test_names_must_be_text(api: Http, key: str) -> None:
    answer = api.ask("POST", "/proxies/p/toxics", {key: 5})
    wrong = f"json: cannot unmarshal number into Go struct field ToxicWrapper.{key} of type string"
    assert answer.error == (400, f"bad request body: {wrong}")


def test_null_and_negative_attributes_are_taken(api: Http) -> None:
    body = {"type": "latency", "attributes": {"latency": None, "JITTER": -5}, "name": None, "toxicity": None}
    shown = api.post("/proxies/p/toxics", body)
    assert (shown["attributes"], shown["name"]) == ({"latency": 0, "jitter": -5}, "latency_downstream")
    assert api.post("/proxies/p/toxics", {"type": "noop", "stream": None, "attributes": None})["attributes"] == {}
    most = api.ask("POST", "/proxies/p/toxics", b'{"type":"timeout","attributes":{"timeout":9223372036854775807}}')
    assert most.json["attributes"] == {"timeout": 2**63 - 1}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"1", b"1"),
        (b"1.0", b"1"),
        (b"0", b"0"),
        (b"0.5", b"0.5"),
        (b"0.30000001", b"0.3"),
        (b"2", b"2"),
        (b"-1", b"-1"),
        (b"1e-5", b"0.00001"),
        (b"1e-7", b"1e-7"),
        (b"1e20", b"100000000000000000000"),
        (b"1e21", b"1e+21"),
        (b"123456789", b"123456790"),
        (b"16777217", b"16777216"),
        (b"3e38", b"3e+38"),
        (b"3.4028235e38", b"3.4028235e+38"),
        (b"1e-50", b"0"),
    ],
)
def test_toxicity_is_a_number_of_32_bits(api: Http, sent: bytes, shown: bytes) -> None:
    answer = api.ask("POST", "/proxies/p/toxics", b'{"type":"noop","toxicity":' + sent + b"}")
    assert answer.body.endswith(b'"toxicity":' + shown + b"}")
    answer = api.ask("PATCH", "/proxies/p/toxics/noop_downstream", b'{"toxicity":' + sent + b"}")
    assert answer.body.endswith(b'"toxicity":' + shown + b"}")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'"1"', "string"),
        (b"true", "bool"),
        (b"{}", "object"),
        (b"1e39", "number 1e39"),
        (b"1.0E+39", "number 1.0E+39"),
        (b"1e400", "number 1e400"),
        (b"1" * 400, "number " + "1" * 400),
    ],
)
def test_toxicity_must_be_a_number(api: Http, value: bytes, found: str) -> None:
    answer = api.ask("POST", "/proxies/p/toxics", b'{"type":"noop","toxicity":' + value + b"}")
    wrong = f"json: cannot unmarshal {found} into Go struct field ToxicWrapper.toxicity of type float32"
    assert answer.error == (400, f"bad request body: {wrong}")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_update_merges_attributes_and_ignores_the_rest(api: Http, method: str) -> None:
    api.post("/proxies/p/toxics", {"type": "latency", "attributes": {"latency": 5, "jitter": 1}})
    body = {"attributes": {"jitter": 2}, "toxicity": 0.5, "name": "x", "type": "noop", "stream": 7}
    answer = api.ask(method, "/proxies/p/toxics/latency_downstream", body)
    assert answer.status == 200
    expected = b'{"attributes":{"latency":5,"jitter":2},"name":"latency_downstream","type":"latency",'
    assert answer.body == expected + b'"stream":"downstream","toxicity":0.5}'
    for same in (b"{}", b"null", b'{"attributes":null,"toxicity":null}'):
        assert api.ask(method, "/proxies/p/toxics/latency_downstream", same).body == answer.body


def test_a_name_is_percent_encoded_in_the_path(api: Http) -> None:
    api.post("/proxies/p/toxics", {"type": "noop", "name": "a b+é"})
    assert api.get("/proxies/p/toxics/a%20b+%C3%A9")["name"] == "a b+é"
    assert api.ask("DELETE", "/proxies/p/toxics/a%20b%2B%C3%A9").status == 204
