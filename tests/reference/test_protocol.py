import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_wschaos.reference.protocol import (
    NotJson,
    ProtocolError,
    Reassembly,
    UnknownType,
    check_down,
    check_up,
    chunks,
    clip_reason,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
    redact_url,
)

# A busy machine is no finding.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@patient
@given(json_values)
def test_any_json_value_survives_the_wire(data):
    frame = {"type": "send", "id": 1, "topic": "t", "data": data}
    assert decode_text(encode_text(frame)) == frame


@patient
@given(st.text())
def test_whatever_text_comes_is_read_or_refused_never_a_crash(text):
    try:
        frame = decode_text(text)
    except ProtocolError:
        return
    assert isinstance(frame["type"], str)


@patient
@given(st.binary())
def test_whatever_bytes_come_are_read_or_refused_never_a_crash(data):
    try:
        header, body = decode_binary(data)
    except ProtocolError:
        return
    assert isinstance(header["type"], str)
    assert data.endswith(body)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ('"auth"', "not an object"),
        ("{}", "string 'type'"),
        ('{"type": 1}', "string 'type'"),
        ('{"type": "a", "type": "b"}', "repeats a key"),
        ('{"type": "a", "x": {"y": 1, "y": 1}}', "repeats a key"),
        ('{"type": "a", "x": NaN}', "NaN"),
        ('{"type": "a", "x": -Infinity}', "-Infinity"),
        ('{"type": "a", "x": 1e999}', "range"),
        ('{"type": "a", "x": 9007199254740992}', "2**53"),
        ('{"type": "a", "x": ' + "9" * 10_000 + "}", "2**53"),
        ('{"type": "a", "x": ' + "[" * 32 + "]" * 32 + "}", "nested deeper than 32"),
        ('{"type": "a", "x": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested deeper than 32"),
        ('{"type": "a", "x": "\\ud800"}', "surrogate"),
        ('{"type": "a", "\\udfff": 1}', "surrogate"),
    ],
)
def test_a_malformed_frame_is_refused_with_the_reason(text, reason):
    with pytest.raises(ProtocolError) as caught:
        decode_text(text)
    assert reason in caught.value.reason
    assert caught.value.code == 4400


def test_what_is_no_json_at_all_can_be_told_apart():
    with pytest.raises(NotJson):
        decode_text("hello")
    with pytest.raises(ProtocolError) as caught:
        decode_binary(b"\0\0\0\5hello")
    assert not isinstance(caught.value, NotJson)


@pytest.mark.parametrize("data", [float("nan"), b"bytes", "\ud800", object()])
def test_what_json_cannot_hold_is_not_written(data):
    with pytest.raises(ValueError, match="'send' frame cannot be written"):
        encode_text({"type": "send", "data": data})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"type": "send", "topic": "t", "data": 1}, "send without 'id'"),
        ({"type": "send", "id": 1, "topic": "t"}, "send without 'data'"),
        ({"type": "send", "id": True, "topic": "t", "data": 1}, "'id' must be a positive integer"),
        ({"type": "send", "id": 1.0, "topic": "t", "data": 1}, "'id' must be a positive integer"),
        ({"type": "subscribe", "id": 0, "topic": "t"}, "'id' must be a positive integer"),
        ({"type": "subscribe", "id": 1, "topic": ""}, "'topic' must be a string"),
        ({"type": "subscribe", "id": 1, "topic": "t" * 257}, "1 to 256"),
        ({"type": "ack", "seq": -1}, "'seq' must be 0 or a positive integer"),
        ({"type": "ping"}, "ping without 'n'"),
        ({"type": "auth", "token": 5}, "'token' must be a string"),
        ({"type": "auth", "session": "s", "resume_token": "r", "epoch": "e"}, "needs 'seq'"),
    ],
)
def test_a_field_that_is_wrong_is_named(frame, reason):
    with pytest.raises(ProtocolError) as caught:
        check_up(frame)
    assert reason in caught.value.reason
    assert not isinstance(caught.value, UnknownType)


def test_an_unknown_type_is_told_apart_in_each_direction():
    for check, kind in [(check_up, "welcome"), (check_down, "auth"), (check_up, "x" * 500)]:
        with pytest.raises(UnknownType) as caught:
            check({"type": kind})
        assert len(caught.value.reason) < 60
    with pytest.raises(UnknownType):
        check_up({"type": "ping", "n": 1}, binary=True)


def test_well_formed_frames_pass_with_fields_that_nobody_knows():
    check_up({"type": "auth", "new": 1})
    check_up({"type": "auth", "token": "t", "session": "s", "resume_token": "r", "epoch": "e", "seq": 0})
    check_up({"type": "send", "id": 1, "topic": "t", "chunk": [1, 2]}, binary=True)
    check_down({"type": "going_away", "retry_after": 1.5, "why": "x"})
    check_down({"type": "message", "seq": 1, "topic": "t", "data": None})


@pytest.mark.parametrize("chunk", [None, [], [0, 1], [2, 1], [1, 2, 3], [1, True], ["1", "2"]])
def test_a_chunk_that_cannot_be_is_refused(chunk):
    with pytest.raises(ProtocolError, match="chunk"):
        check_up({"type": "send", "id": 1, "topic": "t", "chunk": chunk}, binary=True)


def test_the_envelope_is_four_bytes_of_length_the_header_and_the_body():
    data = encode_binary({"type": "send"}, b"\x00\xff")
    assert data == b"\x00\x00\x00\x0f" + b'{"type":"send"}' + b"\x00\xff"
    assert decode_binary(data) == ({"type": "send"}, b"\x00\xff")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut short"),
        (b"\0\0\0", "cut short"),
        (b"\0\0\0\x05{}", "cut short"),
        ((5000).to_bytes(4, "big") + json.dumps({"type": "x" * 5000}).encode(), "longer than 4096"),
        (b"\0\0\0\0", "not JSON"),
        (b"\0\0\0\2\xff\xff", "not JSON"),
    ],
)
def test_a_broken_envelope_is_refused(data, reason):
    with pytest.raises(ProtocolError, match=reason):
        decode_binary(data)


@patient
@given(st.binary(max_size=300), st.integers(1, 64))
def test_a_blob_in_chunks_is_whole_again_after_the_last(blob, size):
    reassembly = Reassembly(max_size=1000)
    parts = [decode_binary(part) for part in chunks({"type": "send", "id": 4}, blob, size)]
    results = [reassembly.add(4, header["chunk"], body) for header, body in parts]
    assert results == [None] * (len(parts) - 1) + [blob]
    assert all(len(body) <= size for _, body in parts)
    assert not reassembly.partial


def test_a_chunk_out_of_order_drops_the_blob_and_chunk_1_starts_anew():
    reassembly = Reassembly(max_size=100)
    for wrong in [(1, [3, 3]), (1, [2, 4]), (2, [2, 3])]:
        assert reassembly.add(1, [1, 3], b"a") is None
        with pytest.raises(ProtocolError, match="out of order"):
            reassembly.add(*wrong, b"x")
        assert not reassembly.partial
    reassembly.add(1, [1, 2], b"old")
    reassembly.add(1, [1, 2], b"new")
    assert reassembly.add(1, [2, 2], b"!") == b"new!"


def test_a_blob_over_the_limit_is_1009():
    reassembly = Reassembly(max_size=4)
    reassembly.add(1, [1, 2], b"abc")
    with pytest.raises(ProtocolError) as caught:
        reassembly.add(1, [2, 2], b"de")
    assert caught.value.code == 1009
    assert not reassembly.partial


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("ws://h/ws?token=abc", "ws://h/ws?token=***"),
        ("ws://h/ws?a=1&token=abc%20d&b=token#token", "ws://h/ws?a=1&token=***&b=token#token"),
        ("ws://h/ws?%74oken=abc", "ws://h/ws?%74oken=***"),
        ("ws://h/ws?token=", "ws://h/ws?token=***"),
        ("ws://h/ws?tokens=1", "ws://h/ws?tokens=1"),
        ("not a url ?token=x y", "not a url ?token=***"),
        ("ws://h/token=abc", "ws://h/token=abc"),
    ],
)
def test_a_token_in_a_url_is_redacted(url, redacted):
    assert redact_url(url) == redacted


def test_a_reason_is_cut_between_characters():
    assert clip_reason("short") == "short"
    assert clip_reason("é" * 100) == "é" * 61
