"""What the client says on one connection: HEARTBEAT, STATE, REPLAY and MESSAGE, as server and application see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted import PROFILE, Ledger, Peer, client_for, scripted

from pytest_wschaos.profile import Profile
from pytest_wschaos.reference.client import ClientClosed, ReadyState, ReferenceClient
from pytest_wschaos.reference.outbox import QueueFull
from pytest_wschaos.reference.protocol import decode_binary
from pytest_wschaos.reference.receipt import SendFailed
from pytest_wschaos.reference.server import ReferenceServer


async def ready(peer: Peer) -> None:
    await peer.welcome()
    await peer.stay()


async def mute(peer: Peer) -> None:
    """Welcome, then read and answer nothing."""
    await peer.welcome()
    async for _ in peer.ws:
        pass


@asynccontextmanager
async def serving(ledger: Ledger, profile: Profile = PROFILE) -> AsyncIterator[tuple[ReferenceServer, ReferenceClient]]:
    """The reference server with a client of it."""
    async with ReferenceServer(profile=profile) as server:
        token = server.tokens.issue()
        async with client_for(server, ledger, profile=profile, token=token) as client:
            yield server, client


def after(events: list[dict[str, Any]], kind: str) -> int:
    return [event["event"] for event in events].index(kind)


# --- heartbeat


@pytest.mark.asyncio
async def test_a_link_without_pongs_is_abandoned_after_interval_and_deadline_and_replaced() -> None:
    ledger = Ledger()
    async with scripted(mute, ready) as server, client_for(server, ledger):
        closed = await ledger.wait("closed")
        await ledger.wait("ready")
    took = ledger.times[after(ledger.events, "closed")] - ledger.times[after(ledger.events, "ready")]
    assert closed["code"] == 1006
    assert "no pong" in closed["reason"]
    assert took >= 0.8 - 1e-3


@pytest.mark.asyncio
async def test_where_any_traffic_proves_life_pongs_still_open_the_way_for_more() -> None:
    """A pong comes as traffic, too; the ping that it answers was sent to find out how much the peer has read."""
    profile = PROFILE.with_(heartbeat={"proof_of_life": "any"}, message={"chunk": 4096})
    async with serving(Ledger(), profile) as (server, client):
        for number in range(20):
            await client.send("news", f"{number}" * 2048)
        async with asyncio.timeout(20):
            await (await client.send("news", "the last one"))
        assert len(server.received) == 21


@pytest.mark.asyncio
async def test_other_traffic_and_foreign_pongs_are_no_proof_of_life() -> None:
    async def chatty(peer: Peer) -> None:
        await peer.welcome()
        for n in range(10**6):
            await peer.say(type="pong", n=-n)
            await peer.say(type="message", seq=n + 1, topic="t", data=n)
            await asyncio.sleep(0.02)

    ledger = Ledger()
    async with scripted(chatty, ready) as server, client_for(server, ledger):
        assert "no pong" in (await ledger.wait("closed"))["reason"]


@pytest.mark.asyncio
async def test_a_large_message_that_comes_slowly_keeps_the_link() -> None:
    async def slow(peer: Peer) -> None:
        await peer.welcome()
        await peer.ws.recv()  # the first ping; its pong stays behind the message
        frame = json.dumps({"type": "message", "seq": 1, "topic": "t", "data": "x" * 50_000}).encode()
        data = b"\x81\x7f" + len(frame).to_bytes(8, "big") + frame
        for start in range(0, len(data), 5000):
            peer.ws.transport.write(data[start : start + 5000])
            await asyncio.sleep(0.06)
        await peer.say(type="pong", n=1)
        await peer.stay()

    ledger = Ledger()
    async with scripted(slow) as server, client_for(server, ledger):
        assert len((await ledger.wait("message"))["data"]) == 50_000
        await asyncio.sleep(0.3)
    assert ledger.kinds() == ["connecting", "ready", "message", "closed"]


@pytest.mark.asyncio
async def test_it_answers_the_servers_pings() -> None:
    answer: list[Any] = []

    async def asking(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(type="ping", n={"any": "value"})
        answer.append(await peer.read())

    ledger = Ledger()
    async with scripted(asking) as server, client_for(server, ledger):
        await ledger.wait("closed")
    assert answer == [{"type": "pong", "n": {"any": "value"}}]


@pytest.mark.asyncio
async def test_after_a_suspension_it_tests_the_link_before_it_writes() -> None:
    seen: list[str] = []

    async def noting(peer: Peer) -> None:
        await peer.welcome()
        async for text in peer.ws:
            frame = json.loads(text)
            seen.append(frame["type"])
            if frame["type"] == "ping":
                await peer.say(type="pong", n=frame["n"])
            else:
                await peer.say(type="ack", id=frame["id"], ok=True)

    loop = asyncio.get_running_loop()
    clock, skipped = loop.time, 0.0
    async with scripted(noting) as server, client_for(server, profile=Profile()) as client:
        await client.wait_ready()
        loop.time = lambda: clock() + skipped  # type: ignore[method-assign]
        skipped = 300.0
        sent = await client.send("t", 1)
        await sent
        assert seen == ["ping", "send"]
        skipped = 0.0
        loop.time = clock  # type: ignore[method-assign]


@pytest.mark.asyncio
async def test_no_more_than_a_chunk_is_written_ahead_of_a_ping_also_within_one_message() -> None:
    frames: list[tuple[str, int]] = []

    async def counting(peer: Peer) -> None:
        await peer.welcome()
        protocol = peer.ws.protocol
        receive = protocol.recv_frame

        def note(frame: Any) -> None:
            frames.append((frame.opcode.name, len(frame.data)))
            receive(frame)

        protocol.recv_frame = note  # type: ignore[method-assign]
        await peer.stay()

    profile = Profile().with_(message={"chunk": 1000})
    async with scripted(counting) as server, client_for(server, profile=profile) as client:
        await client.wait_ready()
        await (await client.send("t", "x" * 5000))
    ahead = 0
    for name, size in frames:
        ahead = 0 if name == "PING" else ahead + size
        assert ahead <= 1000
    assert [name for name, _ in frames].count("PING") >= 4


# --- sending


@pytest.mark.asyncio
async def test_sends_while_connecting_wait_and_go_out_after_the_credentials_in_order() -> None:
    seen: list[dict[str, Any]] = []

    async def noting(peer: Peer) -> None:
        seen.append(await peer.read())
        await asyncio.sleep(0.05)
        await peer.say(type="welcome", session="s", resume_token="r", epoch="e", seq=0, recovered=False, last_id=0)
        for _ in range(3):
            seen.append(await peer.read())
            await peer.say(type="ack", id=seen[-1]["id"], ok=True)
        await peer.stay()

    async with scripted(noting) as server, client_for(server) as client:
        receipts = [await client.send("t", n) for n in range(2)]
        await client.wait_ready()
        receipts.append(await client.send("t", 2))
        for receipt in receipts:
            await receipt
            assert receipt.done
    assert seen[0]["type"] == "auth"
    assert [(frame["id"], frame["data"]) for frame in seen[1:]] == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.asyncio
async def test_an_unacknowledged_message_is_sent_again_with_the_same_id() -> None:
    seen: list[dict[str, Any]] = []

    async def cut(peer: Peer) -> None:
        await peer.welcome()
        seen.append(await peer.read())
        peer.ws.transport.abort()

    async def again(peer: Peer) -> None:
        await peer.welcome()
        seen.append(await peer.read())
        await peer.say(type="ack", id=seen[-1]["id"], ok=True, duplicate=True)
        await peer.stay()

    ledger = Ledger()
    async with scripted(cut, again) as server, client_for(server, ledger) as client:
        await client.send("t", "data", ref="it")
        assert await ledger.wait("settled") == {"event": "settled", "ref": "it", "ok": True, "error": ""}
    assert seen[0] == seen[1]


@pytest.mark.asyncio
async def test_what_the_server_processed_or_refused_before_the_cut_is_learnt_from_the_welcome() -> None:
    async def cut(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        await peer.read()
        peer.ws.transport.abort()

    async def back(peer: Peer) -> None:
        await peer.welcome(last_id=2, rejected=[{"id": 2, "error": "bad"}])
        await peer.stay()

    ledger = Ledger()
    async with scripted(cut, back) as server, client_for(server, ledger) as client:
        good, bad = await client.send("t", 1), await client.send("t", 2)
        await good
        with pytest.raises(SendFailed, match="bad"):
            await bad


@pytest.mark.asyncio
async def test_a_refused_message_fails_with_the_servers_words() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.welcome()
        frame = await peer.read()
        await peer.say(type="ack", id=frame["id"], ok=False, error="not here")
        await peer.say(type="ack", id=frame["id"], ok=True)
        await peer.stay()

    ledger = Ledger()
    async with scripted(refuse) as server, client_for(server, ledger) as client:
        with pytest.raises(SendFailed, match="not here"):
            await (await client.send("t", 1, ref="x"))
    assert ledger.of("settled") == [{"event": "settled", "ref": "x", "ok": False, "error": "not here"}]


@pytest.mark.asyncio
async def test_after_1009_the_largest_message_is_surfaced_and_the_rest_goes_on() -> None:
    seen: list[Any] = []

    async def too_big(peer: Peer) -> None:
        await peer.welcome()
        for _ in range(3):
            await peer.read()
        await peer.ws.close(1009, "too big")

    async def back(peer: Peer) -> None:
        await peer.welcome(last_id=1)
        frame = await peer.read()
        seen.append((frame["id"], frame["data"]))
        await peer.say(type="ack", id=frame["id"], ok=True)
        await peer.stay()

    ledger = Ledger()
    async with scripted(too_big, back) as server, client_for(server, ledger) as client:
        for ref, data in [("first", 1), ("big", "x" * 1000), ("last", 3)]:
            await client.send("t", data, ref=ref)
        for _ in range(3):
            await ledger.wait("settled")
    assert {event["ref"]: event["ok"] for event in ledger.of("settled")} == {"first": True, "big": False, "last": True}
    assert seen == [(2, 3)]


@pytest.mark.asyncio
async def test_a_message_above_the_servers_limit_is_refused_without_being_sent() -> None:
    seen: list[Any] = []

    async def small(peer: Peer) -> None:
        await peer.welcome(max_message=200)
        while True:
            frame = await peer.read()
            seen.append(frame["id"])
            await peer.say(type="ack", id=frame["id"], ok=True)

    async with scripted(small) as server, client_for(server) as client:
        big, blob = await client.send("t", "x" * 300), await client.send_binary("t", bytes(300))
        fine = await client.send("t", "x")
        for receipt in (big, blob):
            with pytest.raises(SendFailed, match="the server takes 200"):
                await receipt
        await fine
    assert seen == [1]


@pytest.mark.asyncio
@pytest.mark.parametrize("data", [float("nan"), {1, 2}, 2**60, b"bytes"])
async def test_data_that_is_no_json_is_refused_at_once(data: Any) -> None:
    async with scripted(ready) as server, client_for(server) as client:
        with pytest.raises(ValueError, match=r"JSON|2\*\*53"):
            await client.send("t", data)
        with pytest.raises(ValueError, match="topic"):
            await client.send("", 1)


@pytest.mark.asyncio
async def test_a_full_queue_refuses_while_down_and_the_refusal_settles() -> None:
    ledger = Ledger()
    profile = Profile().with_(replay={"queue_messages": 2})
    async with (
        scripted(ready, answers=[(503, {})] * 99) as server,
        client_for(server, ledger, profile=profile) as client,
    ):
        await ledger.wait("waiting")
        await client.send("t", 1, ref="a")
        await client.send("t", 2, ref="b")
        with pytest.raises(QueueFull):
            await client.send("t", 3, ref="c")
        assert client.buffered_amount > 0
        assert [event["ref"] for event in ledger.of("settled")] == ["c"]
    assert [(event["ref"], event["ok"]) for event in ledger.of("settled")] == [
        ("c", False),
        ("a", False),
        ("b", False),
    ]


@pytest.mark.asyncio
async def test_senders_wait_above_the_high_mark_and_go_on_below_the_low_one() -> None:
    gate = asyncio.Event()

    async def stalling(peer: Peer) -> None:
        await peer.welcome(rate=10_000, burst=2)
        await gate.wait()
        await peer.stay()

    profile = Profile().with_(state={"high_water": 4000, "low_water": 1000})
    async with scripted(stalling) as server, client_for(server, profile=profile) as client:
        await client.wait_ready()
        sends = [asyncio.ensure_future(client.send("t", f"{n}" + "x" * 950)) for n in range(20)]
        for _ in range(20):
            await asyncio.sleep(0)
        waiting = [send for send in sends if not send.done()]
        assert len(waiting) > 10
        assert client.buffered_amount <= 4000 + 1000
        gate.set()
        for receipt in await asyncio.gather(*sends):
            await receipt
        assert client.buffered_amount == 0


@pytest.mark.asyncio
async def test_a_sender_that_waits_is_told_when_the_client_is_closed() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.welcome(burst=2)
        await peer.ws.wait_closed()

    profile = Profile().with_(state={"high_water": 1000, "low_water": 100})
    async with scripted(deaf) as server, client_for(server, profile=profile) as client:
        await client.wait_ready()
        sends = [asyncio.ensure_future(client.send("t", "x" * 900)) for _ in range(5)]
        await asyncio.sleep(0.01)
        await client.close()
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert any(isinstance(outcome, ClientClosed) for outcome in outcomes)


@pytest.mark.asyncio
async def test_everything_sent_stays_under_the_servers_rate_heartbeats_included() -> None:
    times: list[float] = []

    async def counting(peer: Peer) -> None:
        await peer.welcome(rate=200, burst=10)
        async for text in peer.ws:
            times.append(asyncio.get_running_loop().time())
            frame = json.loads(text)
            await peer.say(type="ack", id=frame["id"], ok=True)

    async with scripted(counting) as server, client_for(server, profile=Profile()) as client:
        for receipt in [await client.send("t", n) for n in range(50)]:
            await receipt
    for index, start in enumerate(times):
        for count, end in enumerate(times[index:], 1):
            assert count <= 10 + 200 * (end - start) + 1


@pytest.mark.asyncio
async def test_a_blob_travels_in_chunks_and_arrives_whole_in_both_directions() -> None:
    blob = bytes(n % 251 for n in range(150_000))
    ledger = Ledger()
    async with serving(ledger) as (_, client):
        await (await client.subscribe("t", ref="s"))
        await (await client.send_binary("t", blob))
        assert (await ledger.wait("message"))["data"] == blob
        await (await client.unsubscribe("t"))
        await (await client.send("t", "unheard"))
    assert ledger.kinds().count("message") == 1


@pytest.mark.asyncio
async def test_chunks_have_the_profiles_size() -> None:
    sizes: list[tuple[Any, int]] = []

    async def noting(peer: Peer) -> None:
        await peer.welcome()
        while len(sizes) < 3:
            message = await peer.ws.recv()
            if isinstance(message, bytes):
                header, body = decode_binary(message)
                sizes.append((header["chunk"], len(body)))
            else:
                await peer.say(type="pong", n=json.loads(message)["n"])
        await peer.say(type="ack", id=1, ok=True)
        await peer.stay()

    async with scripted(noting) as server, client_for(server) as client:
        await (await client.send_binary("t", bytes(150_000)))
    assert sizes == [([1, 3], 65536), ([2, 3], 65536), ([3, 3], 18928)]


# --- subscriptions


@pytest.mark.asyncio
async def test_subscriptions_are_restored_once_in_a_fresh_session_before_what_is_queued() -> None:
    seen: list[tuple[str, str]] = []

    async def first(peer: Peer) -> None:
        await peer.welcome()
        for _ in range(2):
            await peer.say(type="ack", id=(await peer.read())["id"], ok=True)
        await peer.read()
        peer.ws.transport.abort()

    async def fresh(peer: Peer) -> None:
        await peer.welcome(session="s2", recovered=False)
        for n in range(1, 4):
            frame = await peer.read()
            assert frame["id"] == n
            seen.append((frame["type"], frame["topic"]))
            await peer.say(type="ack", id=n, ok=True)
        await peer.stay()

    ledger = Ledger()
    async with scripted(first, fresh) as server, client_for(server, ledger) as client:
        await (await client.subscribe("a"))
        await (await client.subscribe("b"))
        await (await client.send("c", 1))
    assert seen == [("subscribe", "a"), ("subscribe", "b"), ("send", "c")]


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.asyncio
async def test_subscriptions_survive_giving_up_amid_their_restoration(recovered: bool) -> None:
    seen: list[str] = []
    restored = asyncio.Event()

    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(type="ack", id=(await peer.read())["id"], ok=True)
        await peer.read()
        await peer.ws.close(1012)

    async def fatal(peer: Peer) -> None:
        await peer.welcome(session="s2", recovered=False)
        await peer.ws.close(1008)

    async def back(peer: Peer) -> None:
        await peer.welcome(session="s2" if recovered else "s3", recovered=recovered)
        frame = await peer.read()
        seen.append(frame["topic"])
        restored.set()
        await peer.stay()

    ledger = Ledger()
    async with scripted(first, fatal, back) as server, client_for(server, ledger) as client:
        await (await client.subscribe("a"))
        await client.send("t", 1, ref="lost")
        assert (await ledger.wait("gave_up"))["undelivered"] == ["lost"]
        client.reconnect()
        await ledger.wait("ready")
        async with asyncio.timeout(10):
            await restored.wait()
    assert seen == ["a"]


@pytest.mark.asyncio
async def test_a_recovered_session_is_not_subscribed_again_and_misses_nothing() -> None:
    ledger = Ledger()
    async with serving(ledger) as (server, client):
        await (await client.subscribe("t"))
        server.publish("t", 1)
        await ledger.wait("message")
        await server.close_all(1012)
        server.publish("t", 2)
        server.publish("t", 3)
        await ledger.wait("ready")
        await ledger.wait("message")
        await ledger.wait("message")
        server.publish("t", 4)
        await ledger.wait("message")
    assert [event["data"] for event in ledger.of("message")] == [1, 2, 3, 4]
    assert [event["recovered"] for event in ledger.of("ready")] == [False, True]


@pytest.mark.asyncio
async def test_a_dropped_session_and_a_new_epoch_are_said() -> None:
    ledger = Ledger()
    async with serving(ledger) as (server, client):
        await (await client.subscribe("t"))
        for lose in (server.drop_sessions, server.new_epoch):
            lose()
            await server.close_all(1012)
            await ledger.wait("gap")
            await client.wait_ready()
            await (await client.send("t", lose.__name__))
            assert (await ledger.wait("message"))["data"] == lose.__name__
    assert all(event["to"] is None for event in ledger.of("gap"))


# --- reading


@pytest.mark.asyncio
async def test_a_paused_application_stops_the_server_after_a_window_but_not_the_heartbeat() -> None:
    profile = PROFILE.with_(heartbeat={"interval": 0.1, "deadline": 0.5})
    ledger = Ledger()
    async with serving(ledger, profile) as (server, client):
        await (await client.subscribe("t"))
        client.pause_reading()
        for n in range(400):
            server.publish("t", n)
        await asyncio.sleep(0.8)
        assert client.ready_state is ReadyState.OPEN
        assert ledger.of("message") == []
        assert len(client._inbox) == 256
        client.resume_reading()
        while len(ledger.of("message")) < 400:
            await ledger.wait("message")
    assert [event["data"] for event in ledger.of("message")] == list(range(400))
    assert ledger.kinds().count("connecting") == 1


@pytest.mark.asyncio
async def test_messages_can_be_iterated_until_the_client_ends() -> None:
    async with ReferenceServer(profile=PROFILE) as server:
        client = client_for(server, None, token=server.tokens.issue())
        client.start()
        await (await client.subscribe("t"))
        for n in range(3):
            await (await client.send("t", n))
        got = []
        async for event in client.messages():
            got.append(event["data"])
            with pytest.raises(RuntimeError, match="iterated already"):
                await anext(client.messages())
            if len(got) == 3:
                asyncio.get_running_loop().call_soon(client.pause_reading)
                closing = asyncio.ensure_future(client.close())
        await closing
    assert got == [0, 1, 2]


@pytest.mark.asyncio
async def test_an_iterator_hears_of_what_comes_while_it_waits() -> None:
    ledger = Ledger()
    async with serving(ledger) as (server, client):
        await (await client.subscribe("t"))
        first = asyncio.ensure_future(anext(client.messages()))
        await asyncio.sleep(0)
        server.publish("t", "news")
        assert (await first)["data"] == "news"
    assert [event["data"] for event in ledger.of("message")] == ["news"]


@pytest.mark.asyncio
async def test_a_peer_that_does_not_read_is_not_written_to_without_end() -> None:
    gate = asyncio.Event()

    async def stalling(peer: Peer) -> None:
        await peer.welcome(rate=1e6, burst=10_000)
        peer.ws.transport.pause_reading()
        await gate.wait()
        peer.ws.transport.resume_reading()
        await peer.stay()

    size = 900_000
    profile = Profile().with_(heartbeat={"interval": None}, replay={"queue_bytes": 20 * size})
    async with scripted(stalling) as server, client_for(server, profile=profile) as client:
        await client.wait_ready()
        sends = [asyncio.ensure_future(client.send("t", "x" * size)) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert 0 < client.buffered_amount <= profile.state.high_water + size + 100
        assert any(not send.done() for send in sends)
        gate.set()
        for receipt in await asyncio.gather(*sends):
            await receipt


@pytest.mark.asyncio
async def test_an_observer_may_call_back_while_requests_are_being_written() -> None:
    seen: list[int] = []

    async def small(peer: Peer) -> None:
        await peer.welcome(max_message=100)
        while True:
            frame = await peer.read()
            seen.append(frame["id"])
            await peer.say(type="ack", id=frame["id"], ok=True)

    def observer(event: dict[str, Any]) -> None:
        client.resume_reading()

    async with scripted(small) as server:
        client = client_for(server, observer)  # type: ignore[arg-type]
        client.start()
        receipts = [await client.send("t", "x" * (200 if n % 2 else 1)) for n in range(6)]
        outcomes = await asyncio.gather(*receipts, return_exceptions=True)
        await client.close()
    assert [outcome is None for outcome in outcomes] == [True, False] * 3
    assert seen == [1, 2, 3]
