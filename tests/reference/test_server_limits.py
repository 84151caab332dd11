"""The reference server's limits: origin, rate, connections, heartbeat, stalled clients, draining."""

import asyncio
import json
import logging

import pytest
from plain_client import PATIENCE, plain
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pytest_wschaos.profile import Profile
from pytest_wschaos.reference.server import ReferenceServer

pytestmark = pytest.mark.asyncio


def serving(**areas):
    return ReferenceServer(profile=Profile().with_(**{"close": {"timeout": 1.0}, **areas}))


async def http(server, request):
    """One plain HTTP exchange; returns the status, the header lines and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request.replace("\n", "\r\n").encode())
    async with asyncio.timeout(PATIENCE):
        answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return (int(head.split()[1]) if head else None), head, body


GET = "GET {} HTTP/1.1\nHost: localhost\n\n"


async def refused(url, **options):
    """The answer that an upgrade gets, which is expected to be a refusal."""
    with pytest.raises(InvalidStatus) as caught:
        async with plain(url, **options):
            pass
    return caught.value.response


async def eventually(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event for what a server's memory holds
            await asyncio.sleep(0.005)


# --- handshake ---


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example", True),
        (None, True),
        ("https://app.example.evil.test", False),
        ("https://evilapp.example", False),
        ("https://evil-app.example", False),
        ("http://app.example", False),
        ("https://app.example:8443", False),
        ("null", False),
        ("https://other.test", False),
        ("", False),
    ],
)
async def test_the_origin_must_be_listed_letter_by_letter(origin, allowed):
    async with serving(security={"origins": ["https://app.example"]}) as server:
        headers = {} if origin is None else {"Origin": origin}
        if allowed:
            async with plain(server.url, additional_headers=headers) as client:
                await client.auth(server.tokens.issue())
        else:
            assert (await refused(server.url, additional_headers=headers)).status_code == 403


async def test_null_is_an_origin_like_any_other_and_two_are_one_too_many():
    async with serving(security={"origins": ["null"]}) as server:
        async with plain(server.url, additional_headers={"Origin": "null"}) as client:
            await client.auth(server.tokens.issue())
        two = [("Origin", "null"), ("Origin", "null")]
        assert (await refused(server.url, additional_headers=two)).status_code == 403


async def test_a_cookie_from_a_foreign_page_is_refused_even_where_any_origin_is_allowed():
    async with serving() as server:
        token = server.tokens.issue()
        cookie = {"Cookie": f"wschaos_token={token}"}
        foreign = {"Origin": "https://evil.test"}
        assert (await refused(server.url, additional_headers={**cookie, **foreign})).status_code == 403
        own = {"Origin": f"http://127.0.0.1:{server.port}"}
        async with plain(server.url, additional_headers={**cookie, **own}) as client:
            await client.send("auth")
            assert (await client.receive())["type"] == "welcome"
        async with plain(server.url, additional_headers=foreign) as client:
            await client.auth(token)


async def test_other_paths_and_plain_requests_are_told_what_is_wrong():
    async with serving() as server:
        assert (await refused(server.url + "x")).status_code == 404
        assert (await http(server, GET.format("/")))[0] == 404
        status, _, body = await http(server, GET.format("/ws"))
        assert status == 426
        assert "does a proxy drop them?" in body


async def test_health_is_plain_http():
    async with serving() as server:
        status, head, body = await http(server, GET.format("/healthz?x=1"))
        assert (status, json.loads(body)) == (200, {"status": "ok"})
        assert "Content-Type: application/json" in head


async def test_garbage_instead_of_a_request_harms_nobody(caplog):
    async with serving() as server, plain(server.url) as client:
        for garbage in ["\x16\x03\x01 hello\n\n", "GET //[ HTTP/1.1\nHost: x\n\n", "POST /ws HTTP/1.1\n\n"]:
            status, _, _ = await http(server, garbage)
            assert status in (None, 400, 404, 405, 426)
        await client.auth(server.tokens.issue())
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_who_never_finishes_the_handshake_is_cut():
    async with serving(security={"handshake_timeout": 0.05}) as server:
        status, _, _ = await http(server, "GET /ws HTTP/1.1\n")
        assert status is None


async def test_connections_per_peer_are_bounded_and_room_is_given_back():
    async with serving(security={"connections": 2}) as server:
        async with plain(server.url) as one, plain(server.url) as two:
            for client in (one, two):
                await client.auth(server.tokens.issue())
            answer = await refused(server.url)
            assert (answer.status_code, answer.body) == (429, b"too many connections\n")
        await eventually(lambda: not server._listener.connections)
        async with plain(server.url) as again:
            await again.auth(server.tokens.issue())


@pytest.mark.parametrize(
    ("trusted", "invented", "peers"),
    [
        (["127.0.0.1"], ["198.51.100.1", "198.51.100.2"], ["198.51.100.1", "198.51.100.2"]),
        (["127.0.0.1"], ["1.2.3.4, 198.51.100.1", "5.6.7.8,198.51.100.1"], ["198.51.100.1"]),
        (["127.0.0.1", "10.0.0.1"], ["198.51.100.1, 10.0.0.1", "198.51.100.1"], ["198.51.100.1"]),
        (["127.0.0.1"], ["", "127.0.0.1"], ["127.0.0.1"]),
        (["10.0.0.1"], ["198.51.100.1", "198.51.100.2"], ["127.0.0.1"]),
        (None, ["198.51.100.1", "198.51.100.2"], ["127.0.0.1"]),
    ],
)
async def test_whom_a_trusted_proxy_forwards_for_is_the_peer(trusted, invented, peers):
    async with serving(security={"trusted_proxies": trusted}) as server:
        first, second = ({"X-Forwarded-For": each} for each in invented)
        async with (
            plain(server.url, additional_headers=first) as one,
            plain(server.url, additional_headers=second) as two,
        ):
            for client in (one, two):
                await client.auth(server.tokens.issue())
            assert sorted({connection.peer for connection in server._open()}) == peers
        await eventually(lambda: not server._listener.connections)
        assert not server._admission._peers


async def test_a_flood_of_silent_connections_is_cut_unheard():
    async with serving(security={"connections": 2}) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
        await eventually(lambda: len(server._listener.connections) == 4)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        for _, stream in [*silent, (reader, writer)]:
            stream.close()


async def test_unauthenticated_connections_are_bounded_over_all_peers():
    async with serving(security={"connections": 1}) as server:
        server._admission.enter("another peer", "a stranger")
        answer = await refused(server.url)
        assert (answer.status_code, answer.body) == (429, b"too many unauthenticated connections\n")
        server._admission.leave("another peer", "a stranger")
        await eventually(lambda: not server._listener.connections)
        async with plain(server.url) as client:
            await client.auth(server.tokens.issue())


# --- rate ---


@pytest.mark.parametrize("frame", ['{"type":"ping","n":1}', "{", "{}"])
async def test_every_frame_is_charged_valid_or_not_and_over_the_limit_is_4429(frame):
    async with serving(security={"rate": 0.01, "burst": 10}) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        for _ in range(9):
            await client.websocket.send(frame)
        await asyncio.sleep(0)
        for _ in range(9):
            assert (await client.receive())["type"] in ("pong", "error")
        await client.websocket.send(frame)
        assert await client.closed() == (4429, "too many frames")


async def test_protocol_pings_are_charged_too():
    async with serving(security={"rate": 0.01, "burst": 5}) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        for _ in range(5):
            await client.websocket.ping()
        assert await client.closed() == (4429, "too many frames")


async def test_a_flood_gets_its_close_code_however_much_is_on_its_way():
    async with serving(security={"rate": 1, "burst": 5}, close={"timeout": 5.0}) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            for _ in range(2000):
                await client.websocket.send('{"type":"ping","n":1}')
        except ConnectionClosed:
            pass
        assert await client.closed() == (4429, "too many frames")
        await eventually(lambda: not server.connections)
        assert loop.time() - start < 4  # the close handshake was finished, not cut


# --- heartbeat ---


def heartbeat(interval, deadline):
    return {"server_interval": interval, "server_deadline": deadline}


async def test_a_client_that_answers_no_ping_gets_1011_and_is_cut_at_once():
    async with serving(heartbeat=heartbeat(0.1, 0.3)) as server, plain(server.url) as client:
        loop = asyncio.get_running_loop()
        await client.auth(server.tokens.issue())
        start = loop.time()
        assert await client.receive() == {"type": "ping", "n": 1}
        await client.send("pong", n=99)  # a foreign pong proves nothing, nor does other traffic
        await client.send("ping", n=1)
        assert await client.closed() == (1011, "no pong")
        assert 0.39 <= loop.time() - start < 5
        await eventually(lambda: not server._listener.connections)


async def test_a_client_that_answers_stays():
    async with serving(heartbeat=heartbeat(0.02, 5)) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        for number in range(1, 6):
            assert await client.until("ping") == {"type": "ping", "n": number}
            await client.send("pong", n=number)
        await client.sync()


async def test_an_echo_client_is_pinged_at_frame_level_and_reaped_when_it_is_mute():
    async with serving(heartbeat=heartbeat(0.05, 1)) as server, plain(server.echo_url) as client:
        pings = []
        protocol = client.websocket.protocol
        original = protocol.recv_frame

        def listen(frame):
            if frame.opcode.name == "PING":
                pings.append(bytes(frame.data))
            original(frame)

        protocol.recv_frame = listen
        await eventually(lambda: pings == [b"1", b"2", b"3"])
        protocol.recv_frame = lambda frame: None if frame.opcode.name == "PING" else original(frame)
        code, reason = await client.closed()
        assert (code, reason) == (1011, "no pong")


async def test_without_an_interval_the_server_does_not_ping():
    async with serving(heartbeat=heartbeat(None, 0.01)) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await asyncio.sleep(0.05)
        await client.send("ping", n=1)
        assert await client.receive() == {"type": "pong", "n": 1}


async def test_a_slow_large_message_is_no_reason_to_reap():
    async with serving(heartbeat=heartbeat(0.1, 0.6)) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        frame = json.dumps({"type": "send", "id": 1, "topic": "t", "data": "x" * 1000}).encode()
        ending = client.websocket.protocol
        ending.send_text(frame)
        (data,) = ending.data_to_send()
        step = len(data) // 12 + 1
        for at in range(0, len(data), step):  # over 0.9 s, in which no pong can be sent
            client.websocket.transport.write(data[at : at + step])
            await asyncio.sleep(0.08)
        assert (await client.until("ack"))["ok"]


async def test_a_client_that_takes_nothing_in_is_cut_and_delays_nobody():
    data = "x" * 500_000
    async with (
        serving(heartbeat=heartbeat(None, 0.6), replay={"log_bytes": 2**24}) as server,
        plain(server.url) as stalled,
        plain(server.url) as other,
    ):
        token = server.tokens.issue()
        for client in (stalled, other):
            await client.auth(token)
            await client.send("subscribe", id=1, topic="t")
            await client.sync()
        stalled.websocket.transport.pause_reading()
        loop = asyncio.get_running_loop()
        for number in range(1, 31):
            start = loop.time()
            server.publish("t", data)
            assert (await other.until("message"))["seq"] == number
            assert loop.time() - start < 5
        await eventually(lambda: len(server.connections) == 1)
        assert max(info.waiting for info in server.connections) < 2**20


async def test_a_stalled_client_keeps_no_memory_beyond_its_bounds():
    async with serving(heartbeat=heartbeat(None, 30)) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        await client.send("subscribe", id=1, topic="t")
        await client.sync()
        client.websocket.transport.pause_reading()
        for _ in range(200):
            server.publish("t", "x" * 200_000)
            await asyncio.sleep(0)
        assert server.connections[0].waiting < 300_000
        (session,) = server._hub.sessions._sessions.values()
        assert session._log.size <= 2**20


# --- echo, closing, draining ---


async def test_echo_sends_everything_back_without_a_protocol_or_a_rate():
    async with serving(security={"rate": 1, "burst": 1}) as server, plain(server.echo_url) as client:
        for message in ["text", b"bytes", "", "{"]:
            await client.websocket.send(message)
            assert await client.websocket.recv() == message
        assert [(info.path, info.session) for info in server.connections] == [("/echo", None)]


async def test_all_connections_can_be_closed_with_a_code_and_a_reason():
    async with serving() as server, plain(server.url) as one, plain(server.echo_url) as two:
        await one.auth(server.tokens.issue())
        closing = asyncio.create_task(server.close_all(4321, "test"))
        assert await one.closed() == (4321, "test")
        assert await two.closed() == (4321, "test")
        await closing
        assert server.connections == ()
        async with plain(server.url) as again:
            await again.auth(server.tokens.issue())


@pytest.mark.parametrize(
    ("code", "reason"), [(1005, ""), (1006, ""), (999, ""), (2000, ""), (5000, ""), (1000, "é" * 62)]
)
async def test_a_close_that_must_not_be_sent_is_refused(code, reason):
    async with serving() as server:
        with pytest.raises(ValueError, match="must be"):
            await server.close_all(code, reason)


async def test_draining_sends_everybody_away_spread_over_the_window_and_refuses_newcomers():
    async with serving() as server, plain(server.url) as one, plain(server.url) as two, plain(server.echo_url) as three:
        token = server.tokens.issue()
        await one.auth(token)
        await two.auth(token)
        loop = asyncio.get_running_loop()
        start = loop.time()
        draining = asyncio.create_task(server.drain(retry_after=2.5, window=0.3, deadline=PATIENCE))

        async def leave(client, polite):
            if polite:
                assert await client.until("going_away") == {"type": "going_away", "retry_after": 2.5}
            code = (await client.closed())[0]
            return code, loop.time() - start

        left = await asyncio.gather(leave(one, True), leave(two, True), leave(three, False))
        await draining
        assert [code for code, _ in left] == [1001] * 3
        assert sorted(at for _, at in left)[-1] >= 0.19
        answer = await refused(server.url)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2.5")
        status, _, body = await http(server, GET.format("/healthz"))
        assert (status, json.loads(body)) == (503, {"status": "draining"})


async def test_draining_ends_by_its_deadline_whatever_clients_do():
    async with serving(close={"timeout": 60.0}) as server, plain(server.url) as client:
        await client.auth(server.tokens.issue())
        client.websocket.transport.pause_reading()  # it will not answer the Close
        loop = asyncio.get_running_loop()
        start = loop.time()
        await server.drain(window=0, deadline=0.1)
        assert 0.09 <= loop.time() - start < 10
        await eventually(lambda: not server.connections)


async def test_draining_with_nobody_there_is_done_at_once():
    async with serving() as server:
        await asyncio.wait_for(server.drain(), PATIENCE)
        assert server.draining


# --- life ---


async def test_a_port_in_use_is_named_and_nothing_is_left_running():
    async with serving() as server:
        second = ReferenceServer(port=server.port)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            await second.start()
        await second.stop()


async def test_a_server_can_be_started_again_but_not_twice():
    server = serving()
    await server.start()
    with pytest.raises(RuntimeError, match="runs already"):
        await server.start()
    port = server.port
    await server.stop()
    await server.stop()
    await server.start()
    assert server.port == port
    async with plain(server.url) as client:
        await client.auth(server.tokens.issue())
    await server.stop()


async def test_stopping_closes_politely_and_cuts_whoever_does_not_answer():
    server = serving(close={"timeout": 30.0})
    await server.start()
    async with (
        plain(server.url) as polite,
        plain(server.url) as dead,
        plain(server.url) as unauthenticated,
    ):
        await polite.auth(server.tokens.issue())
        await dead.auth(server.tokens.issue())
        dead.websocket.transport.pause_reading()
        _, silent = await asyncio.open_connection("127.0.0.1", server.port)
        await eventually(lambda: len(server._listener.connections) == 4)
        tasks = asyncio.all_tasks()
        loop = asyncio.get_running_loop()
        start = loop.time()
        stopping = asyncio.create_task(server.stop(grace=1))
        assert await polite.closed() == (1001, "server stopping")
        assert await unauthenticated.closed() == (1001, "server stopping")
        await stopping
        assert loop.time() - start < 10
        silent.close()
    await eventually(lambda: not [task for task in tasks if "reference" in repr(task.get_coro()) and not task.done()])


async def test_two_servers_live_side_by_side():
    async with serving() as one, serving() as two:
        token = one.tokens.issue()
        two.tokens.revoke(token)  # the same seed makes the same token, but they share nothing
        async with plain(one.url) as client:
            await client.auth(token)
        async with plain(two.url) as client:
            await client.send("auth", token=token)
            assert (await client.closed())[0] == 4401
