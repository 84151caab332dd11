"""The reference server spoken to by a plain client: credentials, frames, sessions, replay."""

import asyncio
import json
import logging

import pytest
from plain_client import PATIENCE, plain

from pytest_wschaos.profile import Profile
from pytest_wschaos.reference.conversation import Received
from pytest_wschaos.reference.protocol import SUBPROTOCOL, chunks, decode_binary
from pytest_wschaos.reference.server import ReferenceServer

pytestmark = pytest.mark.asyncio


def serving(*, modes=None, **areas):
    return ReferenceServer(profile=Profile().with_(**{"close": {"timeout": 1.0}, **areas}), modes=modes)


# --- handshake and credentials ---


@pytest.mark.parametrize(
    ("offered", "selected"),
    [(None, None), ([SUBPROTOCOL], SUBPROTOCOL), (["x", SUBPROTOCOL], SUBPROTOCOL), (["x"], None)],
)
async def test_the_subprotocol_is_selected_where_it_is_offered(offered, selected):
    async with serving() as server, plain(server.url, subprotocols=offered) as client:
        assert client.websocket.subprotocol == selected
        assert (await client.auth(server.tokens.issue()))["type"] == "welcome"


async def test_the_welcome_tells_the_figures():
    async with serving() as server, plain(server.url) as client:
        welcome = await client.auth(server.tokens.issue())
        assert (
            welcome.items()
            >= {
                "seq": 0,
                "recovered": False,
                "last_id": 0,
                "rejected": [],
                "ping_interval": 30.0,
                "ping_timeout": 10.0,
                "max_message": 1024 * 1024,
                "rate": 50.0,
                "burst": 100,
            }.items()
        )


async def test_all_four_modes_are_accepted():
    async with serving() as server:
        token = server.tokens.issue()
        headers = [
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"bearer  {token}"},
            {"Cookie": f'a=b; wschaos_token="{token}"; c=d'},
        ]
        for header in headers:
            async with plain(server.url, additional_headers=header) as client:
                await client.send("auth")
                assert (await client.receive())["type"] == "welcome"
        async with plain(f"{server.url}?x=1&token={token}") as client:
            await client.send("auth")
            assert (await client.receive())["type"] == "welcome"


async def test_a_mode_that_is_not_accepted_authenticates_nobody():
    async with serving(modes=["first_message"]) as server:
        token = server.tokens.issue()
        for url, header in [
            (f"{server.url}?token={token}", {}),
            (server.url, {"Authorization": f"Bearer {token}"}),
            (server.url, {"Cookie": f"wschaos_token={token}"}),
        ]:
            async with plain(url, additional_headers=header) as client:
                await client.send("auth")
                assert await client.closed() == (4401, "no token")
    async with serving(modes=["header"]) as server, plain(server.url) as client:
        await client.send("auth", token=server.tokens.issue())
        assert await client.closed() == (4401, "no token")


async def test_the_mode_none_needs_no_token_but_refuses_a_bad_one():
    async with serving(modes=["none", "first_message"]) as server:
        async with plain(server.url) as client:
            await client.send("auth")
            assert (await client.receive())["type"] == "welcome"
        async with plain(server.url) as client:
            await client.send("auth", token="bad")
            assert await client.closed() == (4401, "token unknown")


@pytest.mark.parametrize(("how", "reason"), [("expire", "token expired"), ("revoke", "token revoked")])
async def test_a_token_that_is_no_longer_good_cannot_even_resume(how, reason):
    async with serving() as server:
        token = server.tokens.issue()
        async with plain(server.url) as client:
            welcome = await client.auth(token)
        getattr(server.tokens, how)(token)
        async with plain(server.url) as client:
            fields = {name: welcome[name] for name in ("session", "resume_token", "epoch")}
            await client.send("auth", token=token, **fields, seq=0)
            assert await client.closed() == (4401, reason)
        async with plain(server.url) as client:
            assert (await client.resume(server.tokens.issue(), welcome))["recovered"]


@pytest.mark.parametrize(
    "first",
    [
        '{"type":"ping","n":1}',
        '{"type":"send","id":1,"topic":"t","data":1}',
        "{",
        b"\0\0\0\2{}",
        '{"type":"auth","seq":-1}',
    ],
)
async def test_everything_before_the_credentials_is_refused(first):
    async with serving() as server, plain(server.url) as client:
        await client.websocket.send(first)
        code, reason = await client.closed()
        assert code == 4401
        assert reason
        assert not server.received


async def test_who_does_not_authenticate_in_time_is_closed():
    async with serving(auth={"timeout": 0.05}) as server, plain(server.url) as client:
        assert await client.closed() == (4408, "no auth in time")


async def test_a_token_never_reaches_a_log(caplog):
    caplog.set_level(logging.DEBUG)
    async with serving() as server:
        token = server.tokens.issue()
        async with plain(server.url) as client:
            await client.auth(token)
        for url, header in [
            (f"{server.url}?token={token}", {}),
            (server.url, {"Authorization": f"Bearer {token}"}),
            (server.url, {"Cookie": f"wschaos_token={token}"}),
        ]:
            async with plain(url, additional_headers=header) as client:
                await client.send("auth")
                await client.receive()
                await client.send("nonsense")
                await client.send("nonsense")
                await client.closed()
        server.tokens.revoke(token)
        async with plain(server.url) as client:
            await client.send("auth", token=token)
            _, reason = await client.closed()
    ours = [record for record in caplog.records if record.name.startswith("pytest_wschaos")]
    assert ours
    assert not [record for record in ours if token in record.getMessage()]
    assert token not in reason
    assert all(record.levelno <= logging.INFO for record in ours)


# --- publishing and frames ---


async def test_a_publisher_that_is_subscribed_receives_its_own_message():
    async with serving() as server, plain(server.url) as one, plain(server.url) as other:
        token = server.tokens.issue()
        session = (await one.auth(token))["session"]
        await other.auth(token)
        for client in (one, other):
            await client.send("subscribe", id=1, topic="chat")
            assert await client.receive() == {"type": "ack", "id": 1, "ok": True}
        await one.send("send", id=2, topic="chat", data={"text": "grüße"})
        expected = {"type": "message", "seq": 1, "topic": "chat", "data": {"text": "grüße"}}
        assert await one.until("message") == expected
        assert await other.until("message") == expected
        assert list(server.received) == [Received("chat", {"text": "grüße"}, session, 2)]
        await other.send("unsubscribe", id=2, topic="chat")
        assert (await other.until("ack"))["ok"]
        server.publish("chat", "again")
        assert (await one.until("message"))["seq"] == 2
        await other.send("ping", n=[1])
        assert await other.receive() == {"type": "pong", "n": [1]}


async def test_the_same_id_again_is_the_same_message_with_the_first_verdict():
    async with serving() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.send("send", id=1, topic="t", data="first")
        await client.send("send", id=2, topic="", data="no topic")
        await client.send("send", id=1, topic="t", data="again")
        await client.send("send", id=2, topic="t", data="again")
        error = "send: 'topic' must be a string of 1 to 256 characters"
        refused = {"type": "ack", "id": 2, "ok": False, "error": error}
        assert [await client.receive() for _ in range(4)] == [
            {"type": "ack", "id": 1, "ok": True},
            refused,
            {"type": "ack", "id": 1, "ok": True, "duplicate": True},
            {**refused, "duplicate": True},
        ]
        assert [r.data for r in server.received] == ["first"]


async def test_an_id_that_skips_ahead_is_an_error_and_then_4400():
    async with serving() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.send("send", id=2, topic="t", data=1)
        reason = "id 2 skips ahead of 1"
        assert await client.receive() == {"type": "error", "code": 4400, "reason": reason}
        assert await client.closed() == (4400, reason)


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        '{"type":"send","id":"1","topic":"t","data":1}',
        '{"type":"send","id":1e400,"topic":"t","data":1}',
        '{"type":"ping","n":1,"n":2}',
        '{"type":"ack","seq":1}',
        '{"type":"auth"}',
        b"\xff\xff\xff\xff",
        '{"type":"ping","n":' + "[" * 5000 + "]" * 5000 + "}",
    ],
)
async def test_a_bad_frame_is_answered_each_time_and_nobody_else_notices(bad):
    async with serving() as server, plain(server.url) as client, plain(server.url) as other:
        token = server.tokens.issue()
        await client.auth(token)
        await other.auth(token)
        for _ in range(5):
            await client.websocket.send(bad)
            answer = await client.receive()
            assert (answer["type"], answer["code"]) == ("error", 4400)
        await client.sync()
        await other.sync()


async def test_the_second_unknown_type_closes():
    async with serving() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.send("one")
        assert await client.receive() == {"type": "error", "code": 4400, "reason": "unknown type 'one'"}
        await client.sync()
        await client.websocket.send(b"\0\0\0\x1b" + b'{"type":"subscribe","id":1}')
        assert (await client.receive())["type"] == "error"
        assert await client.closed() == (4400, "unknown type 'subscribe'")


async def test_invalid_utf_8_is_1007():
    async with serving() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.websocket.send(b"\xff\xfe", text=True)
        assert (await client.closed())[0] == 1007


async def test_a_message_over_the_limit_is_1009_also_in_fragments():
    async with serving(message={"max_size": 2000, "chunk": 500}) as server:
        for message in ["x" * 2001, ["x" * 1000] * 3]:
            async with plain(server.url) as client:
                await client.auth(server.tokens.issue())
                await client.websocket.send(message)
                assert (await client.closed())[0] == 1009


async def test_a_message_that_would_not_fit_downwards_is_refused_for_itself():
    async with serving(message={"max_size": 2000, "chunk": 500}) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        frame = {"type": "send", "id": 1, "topic": "t", "data": ""}
        frame["data"] = "x" * (2000 - len(json.dumps(frame)))
        await client.websocket.send(json.dumps(frame))
        ack = await client.receive()
        assert (ack["ok"], ack["error"]) == (False, "too big: a message has 2000 bytes at most")
        await client.sync()


async def test_a_large_message_arrives_whole():
    async with serving() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.send("subscribe", id=1, topic="t")
        data = "ü" * 300_000
        await client.send("send", id=2, topic="t", data=data)
        assert (await client.until("message"))["data"] == data


async def test_a_blob_travels_in_chunks_with_one_id_and_one_seq():
    blob = bytes(range(256)) * 10
    async with serving(message={"chunk": 1000}) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.send("subscribe", id=1, topic="t")
        await client.until("ack")
        parts = list(chunks({"type": "send", "id": 2, "topic": "t"}, blob, 700))
        for part in parts:
            await client.websocket.send(part)
            await client.send("ping", n=0)
        got = []
        acks = []
        while len(got) < 3 or not acks:
            message = await asyncio.wait_for(client.websocket.recv(), PATIENCE)
            if isinstance(message, bytes):
                got.append(decode_binary(message))
            elif '"ack"' in message:
                acks.append(json.loads(message))
        assert acks == [{"type": "ack", "id": 2, "ok": True}]
        assert [header for header, _ in got] == [
            {"type": "message", "seq": 1, "topic": "t", "chunk": [i, 3]} for i in (1, 2, 3)
        ]
        assert b"".join(body for _, body in got) == blob
        assert [r.data for r in server.received] == [blob]
        for part in parts:
            await client.websocket.send(part)
        assert await client.until("ack") == {"type": "ack", "id": 2, "ok": True, "duplicate": True}
        await client.sync()


async def test_a_chunk_out_of_order_refuses_the_blob_and_a_blob_over_the_limit_is_1009():
    async with serving(message={"max_size": 2000, "chunk": 500}) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        parts = list(chunks({"type": "send", "id": 1, "topic": "t"}, b"abc", 1))
        await client.websocket.send(parts[1])
        ack = await client.receive()
        assert (ack["id"], ack["ok"], ack["error"]) == (1, False, "chunk 2 of 3 is out of order")
        for part in chunks({"type": "send", "id": 2, "topic": "t"}, b"x" * 2500, 500):
            await client.websocket.send(part)
        assert await client.closed() == (1009, "a blob is over 2000 bytes")


async def test_a_session_has_a_bounded_number_of_topics(monkeypatch):
    monkeypatch.setattr("pytest_wschaos.reference.conversation.MAX_TOPICS", 2)
    async with serving() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        for id, topic in enumerate(["a", "b", "b", "c"], 1):
            await client.send("subscribe", id=id, topic=topic)
        assert [(await client.receive())["ok"] for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("topic", "data", "reason"),
    [
        ("", 1, "topic"),
        (5, 1, "topic"),
        ("t", float("nan"), "JSON"),
        ("t", object(), "JSON"),
        ("t", "x" * 2**20, "too big"),
    ],
)
async def test_what_cannot_be_published_is_refused_at_once(topic, data, reason):
    async with serving() as server:
        with pytest.raises(ValueError, match=reason):
            server.publish(topic, data)


# --- sessions ---


async def test_a_resume_replays_what_was_missed_and_keeps_ids_and_subscriptions():
    async with serving() as server:
        token = server.tokens.issue()
        async with plain(server.url) as client:
            first = await client.auth(token)
            await client.send("subscribe", id=1, topic="t")
            await client.send("send", id=2, topic="", data="refused")
            await client.sync()
            server.publish("t", 1)
            assert (await client.until("message"))["seq"] == 1
        server.publish("t", 2)
        async with plain(server.url) as client:
            server.publish("t", 3)
            welcome = await client.resume(token, first, seq=1)
            assert welcome["recovered"]
            assert (welcome["session"], welcome["epoch"]) == (first["session"], first["epoch"])
            assert (welcome["seq"], welcome["last_id"]) == (3, 2)
            assert [entry["id"] for entry in welcome["rejected"]] == [2]
            assert welcome["resume_token"] != first["resume_token"]
            server.publish("t", 4)
            messages = [await client.receive() for _ in range(3)]
            assert [(m["seq"], m["data"]) for m in messages] == [(2, 2), (3, 3), (4, 4)]


async def test_what_the_log_no_longer_holds_is_said():
    async with serving(replay={"log_messages": 3}) as server:
        token = server.tokens.issue()
        async with plain(server.url) as client:
            first = await client.auth(token)
            await client.send("subscribe", id=1, topic="t")
            await client.sync()
        for number in range(1, 13):
            server.publish("t", number)
        async with plain(server.url) as client:
            await client.resume(token, first, seq=7)
            assert await client.receive() == {"type": "gap", "from": 8, "to": 9}
            assert [(await client.receive())["seq"] for _ in range(3)] == [10, 11, 12]


async def test_a_client_that_acknowledges_nothing_gets_256_messages_and_its_heartbeat():
    async with serving() as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.send("subscribe", id=1, topic="t")
        await client.sync()
        for number in range(300):
            server.publish("t", number)
        assert [(await client.receive())["seq"] for _ in range(256)] == list(range(1, 257))
        await client.send("ping", n=1)
        assert await client.receive() == {"type": "pong", "n": 1}
        await client.send("ack", seq=100)
        assert [(await client.receive())["seq"] for _ in range(44)] == list(range(257, 301))


async def test_a_lost_welcome_locks_nobody_out_and_an_old_token_does_not_live_on():
    async with serving() as server:
        token = server.tokens.issue()
        async with plain(server.url) as client:
            first = await client.auth(token)
        async with plain(server.url) as client:
            await client.resume(token, first)  # suppose that this welcome was lost
        async with plain(server.url) as client:
            second = await client.resume(token, first)
            assert second["recovered"]
            await client.sync()
        for presented, expected in [(first, 4410), (second, None)]:
            async with plain(server.url) as client:
                fields = {name: presented[name] for name in ("session", "resume_token", "epoch")}
                await client.send("auth", token=token, **fields, seq=0)
                if expected is None:
                    assert (await client.receive())["recovered"]
                else:
                    assert await client.closed() == (4410, "session unknown")


async def test_a_newer_connection_takes_the_session_over():
    async with serving() as server:
        token = server.tokens.issue()
        async with plain(server.url) as older, plain(server.url) as newer:
            first = await older.auth(token)
            await older.send("subscribe", id=1, topic="t")
            await older.sync()
            assert (await newer.resume(token, first))["recovered"]
            assert await older.closed() == (4409, "replaced by a newer connection")
            server.publish("t", "for the newer")
            assert (await newer.receive())["data"] == "for the newer"
            assert [info.session for info in server.connections] == [first["session"]]


async def test_dropped_sessions_are_gone_and_their_subscriptions_too():
    async with serving() as server:
        token = server.tokens.issue()
        async with plain(server.url) as client:
            first = await client.auth(token)
            await client.send("subscribe", id=1, topic="t")
            await client.sync()
            server.drop_sessions()
            server.publish("t", "the connection stands")
            assert (await client.receive())["data"] == "the connection stands"
        async with plain(server.url) as client:
            with pytest.raises(Exception, match="4410"):
                await client.resume(token, first)


async def test_after_a_new_epoch_the_stream_is_another_and_nothing_is_subscribed():
    async with serving() as server:
        token = server.tokens.issue()
        async with plain(server.url) as client:
            first = await client.auth(token)
            await client.send("subscribe", id=1, topic="t")
            await client.sync()
        server.publish("t", 1)
        server.new_epoch()
        async with plain(server.url) as client:
            welcome = await client.resume(token, first)
            assert (welcome["recovered"], welcome["seq"], welcome["last_id"]) == (False, 0, 0)
            assert (welcome["session"], welcome["epoch"] != first["epoch"]) == (first["session"], True)
            server.publish("t", 2)
            await client.send("subscribe", id=1, topic="t")
            await client.sync()
            server.publish("t", 3)
            assert await client.receive() == {"type": "message", "seq": 1, "topic": "t", "data": 3}


async def test_a_session_is_kept_for_its_time_and_no_longer():
    async with serving(replay={"session_ttl": 0.6}) as server:
        token = server.tokens.issue()
        loop = asyncio.get_running_loop()
        async with plain(server.url) as client:
            first = await client.auth(token)
        async with plain(server.url) as client:
            second = await client.resume(token, first)
            await asyncio.sleep(0.7)  # with a connection it does not age
            await client.sync()
        left = loop.time()
        while server._hub.sessions:
            assert loop.time() < left + PATIENCE
            await asyncio.sleep(0.01)
        assert loop.time() - left >= 0.5
        async with plain(server.url) as client:
            with pytest.raises(Exception, match="4410"):
                await client.resume(token, second)
