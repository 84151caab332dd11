"""The client's life over many connections: RECONNECT, BACKOFF, CLOSE, AUTH, as its application sees them."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any

import pytest
from scripted import PROFILE, Ledger, Peer, client_for, scripted

from pytest_wschaos.profile import Profile
from pytest_wschaos.reference.client import ClientClosed, ReadyState, ReferenceClient
from pytest_wschaos.reference.receipt import SendFailed

FEW = PROFILE.with_(reconnect={"max_retries": 2})


async def ready(peer: Peer) -> None:
    await peer.welcome()
    await peer.stay()


async def silent(peer: Peer) -> None:
    await peer.ws.wait_closed()


def closing(code: int, reason: str = "") -> Any:
    async def handler(peer: Peer) -> None:
        await peer.welcome()
        await peer.ws.close(code, reason)

    return handler


async def abort(peer: Peer) -> None:
    await peer.welcome()
    peer.ws.transport.abort()


@pytest.mark.asyncio
async def test_it_tells_of_every_transition_once() -> None:
    ledger = Ledger()
    async with scripted(abort, closing(1012, "restart"), ready) as server, client_for(server, ledger):
        for _ in range(3):
            await ledger.wait("ready")
    round_ = ["connecting", "ready", "closed", "waiting"]
    assert ledger.kinds() == [*round_, *round_, "connecting", "ready", "closed"]
    assert [event["code"] for event in ledger.of("closed")] == [1006, 1012, 1000]
    assert [event["attempt"] for event in ledger.of("waiting")] == [1, 2]


@pytest.mark.asyncio
async def test_no_retry_comes_before_its_delay() -> None:
    ledger = Ledger()
    async with scripted(closing(1011)) as server, client_for(server, ledger, profile=FEW):
        gave_up = await ledger.wait("gave_up")
    assert ledger.kinds().count("connecting") == 3
    assert "1011" in gave_up["error"]
    assert "2 retries" in gave_up["error"]
    for index, event in enumerate(ledger.events):
        if event["event"] == "waiting":
            assert ledger.times[index + 1] - ledger.times[index] >= event["delay"] - 1e-6


@pytest.mark.asyncio
async def test_a_refused_port_is_given_up_with_an_error_that_says_so_and_an_explicit_reconnect_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    ledger = Ledger()
    client = ReferenceClient(f"ws://127.0.0.1:{port}/ws", profile=FEW, on_event=ledger)
    client.start()
    sent = await client.send("t", 1, ref="one")
    gave_up = await ledger.wait("gave_up")
    assert "refused" in gave_up["error"].lower()
    assert gave_up["undelivered"] == ["one"]
    assert ledger.of("settled") == []
    with pytest.raises(SendFailed, match="gave up"):
        await sent
    with pytest.raises(ClientClosed):
        await client.wait_ready()
    assert client.ready_state is ReadyState.CLOSED
    async with scripted(ready) as server:
        client._url = server.url
        client.reconnect()
        await client.wait_ready()
        await client.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "told"), [(1008, True), (4403, True), (4409, True), (4500, True), (1000, False)])
async def test_a_final_code_ends_it_with_an_error_but_a_normal_close_without(code: int, told: bool) -> None:
    ledger = Ledger()
    async with scripted(closing(code, "0")) as server, client_for(server, ledger) as client:
        await ledger.wait("closed")
        with pytest.raises(ClientClosed):
            await client.wait_ready()
    assert ledger.kinds() == ["connecting", "ready", "closed", *(["gave_up"] if told else [])]


@pytest.mark.asyncio
async def test_no_welcome_within_the_deadline_is_a_failure() -> None:
    ledger = Ledger()
    async with scripted(silent, ready) as server, client_for(server, ledger):
        closed = await ledger.wait("closed")
        await ledger.wait("ready")
    assert closed["code"] == 1006
    assert "no welcome within 0.2 s" in closed["reason"]


@pytest.mark.asyncio
async def test_a_handshake_that_is_never_answered_is_a_failure() -> None:
    ledger = Ledger()
    async with await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0) as mute:
        url = f"ws://127.0.0.1:{mute.sockets[0].getsockname()[1]}/ws"
        async with ReferenceClient(url, profile=FEW, on_event=ledger):
            closed = await ledger.wait("closed")
    assert closed["code"] is None
    assert "0.2 s" in closed["reason"]


@pytest.mark.asyncio
async def test_http_answers_are_retried_or_final_and_retry_after_is_kept() -> None:
    ledger = Ledger()
    answers: Any = [(503, {"Retry-After": "1"}), (200, {}), (403, {})]
    async with scripted(ready, answers=answers) as server, client_for(server, ledger):
        gave_up = await ledger.wait("gave_up")
    assert "HTTP 403" in gave_up["error"]
    assert [event["delay"] > 1 for event in ledger.of("waiting")] == [True, False]
    assert [event["code"] for event in ledger.of("closed")] == [None, None, None]


@pytest.mark.asyncio
async def test_a_retry_after_date_is_read_against_the_servers_own_date() -> None:
    ledger = Ledger()
    dates = {"Date": "Mon, 02 Mar 2020 10:00:00 GMT", "Retry-After": "Mon, 02 Mar 2020 10:00:07 GMT"}
    async with scripted(ready, answers=[(503, dates)]) as server, client_for(server, ledger):
        waiting = await ledger.wait("waiting")
    assert 7.01 <= waiting["delay"] <= 7.03


@pytest.mark.asyncio
async def test_no_redirect_is_followed() -> None:
    ledger = Ledger()
    async with scripted(ready) as other:
        answers: Any = [(302, {"Location": other.url})]
        async with scripted(ready, answers=answers) as server, client_for(server, ledger):
            gave_up = await ledger.wait("gave_up")
        assert other.requests == []
    assert "302" in gave_up["error"]


@pytest.mark.asyncio
async def test_a_farewells_retry_after_is_kept() -> None:
    async def farewell(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(type="going_away", retry_after=0.5)
        await peer.ws.close(1001)

    ledger = Ledger()
    async with scripted(farewell, ready) as server, client_for(server, ledger):
        assert (await ledger.wait("waiting"))["delay"] > 0.5
        await ledger.wait("ready")


@pytest.mark.asyncio
async def test_close_amid_a_wait_ends_everything() -> None:
    ledger = Ledger()
    async with scripted(closing(1013), ready) as server:
        client = client_for(server, ledger, profile=Profile())
        client.start()
        await ledger.wait("waiting")
        assert int(client.ready_state) == 0
        sent = await client.send("t", 1, ref="one")
        await client.close()
        assert int(client.ready_state) == 3
        with pytest.raises(SendFailed):
            await sent
    assert ledger.kinds() == ["connecting", "ready", "closed", "waiting", "closed", "settled"]
    assert ledger.events[4]["code"] is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_close_amid_a_handshake_and_before_the_welcome() -> None:
    ledger = Ledger()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = ReferenceClient(f"ws://127.0.0.1:{mute.getsockname()[1]}/", on_event=ledger)
        client.start()
        await ledger.wait("connecting")
        await client.close()
    assert ledger.kinds() == ["connecting", "closed"]
    ledger = Ledger()
    presented = asyncio.Event()

    async def no_welcome(peer: Peer) -> None:
        await peer.read()
        presented.set()
        await peer.ws.wait_closed()

    async with scripted(no_welcome) as server:
        client = client_for(server, ledger, profile=Profile())
        client.start()
        await presented.wait()
        await client.close(1001, "leaving")
    assert ledger.kinds() == ["connecting", "closed"]
    assert ledger.events[1] == {"event": "closed", "code": 1001, "reason": "leaving"}


@pytest.mark.asyncio
async def test_a_client_that_never_began_closes_in_silence() -> None:
    ledger = Ledger()
    client = ReferenceClient("ws://127.0.0.1:1/", on_event=ledger)
    await client.close()
    client.start()
    with pytest.raises(RuntimeError, match="already"):
        client.start()
    await client.close()
    assert ledger.events == []
    with pytest.raises(ClientClosed):
        await client.send("t", 1)


@pytest.mark.asyncio
async def test_a_close_that_the_server_does_not_answer_is_cut() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.welcome()
        peer.ws.transport.pause_reading()
        await peer.ws.wait_closed()

    ledger = Ledger()
    profile = PROFILE.with_(heartbeat={"interval": None})
    async with scripted(deaf) as server:
        async with asyncio.timeout(5):
            async with client_for(server, ledger, profile=profile) as client:
                await client.wait_ready()
                closing_ = asyncio.ensure_future(client.close())
                await asyncio.sleep(0)
                assert client.ready_state is ReadyState.CLOSING
                await closing_
    assert ledger.of("closed")[0]["code"] == 1006


@pytest.mark.asyncio
async def test_a_server_that_says_close_and_keeps_the_line_is_cut() -> None:
    gone = asyncio.Event()

    async def half(peer: Peer) -> None:
        await peer.welcome()
        peer.ws.protocol.send_close(1012)
        peer.ws.transport.write(b"".join(peer.ws.protocol.data_to_send()))
        peer.ws.transport.pause_reading()
        await gone.wait()

    ledger = Ledger()
    async with scripted(half, ready) as server, client_for(server, ledger):
        assert (await ledger.wait("closed"))["code"] == 1012
        await ledger.wait("ready")
        gone.set()


@pytest.mark.asyncio
async def test_reconnect_ready_waiting_and_after_close() -> None:
    ledger = Ledger()
    async with scripted(ready, closing(1013), ready) as server, client_for(server, ledger, profile=Profile()) as client:
        client.reconnect()  # connecting: nothing
        await ledger.wait("ready")
        client.reconnect()
        assert client.ready_state is ReadyState.CLOSING
        await ledger.wait("waiting")
        client.reconnect()
        client.reconnect()
        await ledger.wait("ready")
        await client.close()
        client.reconnect()
        await ledger.wait("ready")
    connected = ["connecting", "ready", "closed"]
    assert ledger.kinds() == [*connected, *connected, "waiting", *connected, *connected]


@pytest.mark.asyncio
async def test_credentials_are_fetched_for_every_connection_and_the_session_is_resumed() -> None:
    tokens = iter(["one", "two"])
    seen: list[dict[str, Any]] = []

    async def first(peer: Peer) -> None:
        seen.append(await peer.welcome())
        await peer.ws.close(1012)

    async def second(peer: Peer) -> None:
        seen.append(await peer.welcome(recovered=True))
        await peer.stay()

    async def provider() -> str:
        return next(tokens)

    ledger = Ledger()
    async with scripted(first, second) as server, client_for(server, ledger, token=provider):
        await ledger.wait("ready")
        assert (await ledger.wait("ready"))["recovered"] is True
    resumed = {"session": "s", "resume_token": "r1", "epoch": "e", "seq": 0}
    assert seen == [{"type": "auth", "token": "one"}, {"type": "auth", "token": "two", **resumed}]


@pytest.mark.asyncio
async def test_a_failing_or_hanging_provider_is_a_failed_attempt_and_its_words_are_not_repeated() -> None:
    calls = 0

    def provider() -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise LookupError("the token is hush-hush")
        if calls == 2:
            return asyncio.get_running_loop().create_future()
        return 7 if calls == 3 else "good"

    ledger = Ledger()
    async with scripted(ready) as server, client_for(server, ledger, token=provider):
        await ledger.wait("ready")
    assert ledger.kinds()[:3] == ["connecting", "closed", "waiting"]
    reasons = [event["reason"] for event in ledger.of("closed")]
    assert [reasons[0], reasons[2]] == [
        "the token provider failed: LookupError",
        "the token provider returned int, not a string",
    ]
    assert "longer than" in reasons[1]
    assert "hush" not in json.dumps(ledger.events)


@pytest.mark.asyncio
async def test_refused_credentials_are_refreshed_once_and_then_surfaced() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.read()
        await peer.ws.close(4401, "expired")

    ledger = Ledger()
    async with scripted(refuse) as server, client_for(server, ledger):
        gave_up = await ledger.wait("gave_up")
    assert ledger.kinds().count("connecting") == 2
    assert "4401" in gave_up["error"]


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["query", "cookie", "header", "none"])
async def test_in_the_other_modes_the_first_frame_carries_no_token(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pytest_wschaos")
    caplog.set_level(logging.DEBUG, logger="websockets.client")
    first: list[dict[str, Any]] = []

    async def handler(peer: Peer) -> None:
        first.append(await peer.welcome())
        await peer.stay()

    ledger = Ledger()
    profile = PROFILE.with_(auth={"mode": mode})
    async with scripted(handler) as server:
        server.url += "?a=b"
        async with client_for(server, ledger, profile=profile, origin="http://a.example") as client:
            await client.wait_ready()
        request = server.requests[0]
    assert first == [{"type": "auth"}]
    assert request.headers["Origin"] == "http://a.example"
    assert request.path == ("/ws?a=b&token=secret-token" if mode == "query" else "/ws?a=b")
    assert request.headers.get("Cookie") == ("wschaos_token=secret-token" if mode == "cookie" else None)
    assert request.headers.get("Authorization") == ("Bearer secret-token" if mode == "header" else None)
    assert "secret-token" not in "".join(r.getMessage() for r in caplog.records if r.name != "websockets.server")


@pytest.mark.asyncio
async def test_a_reason_that_repeats_the_token_is_told_without_it() -> None:
    ledger = Ledger()
    async with scripted(closing(4403, "bad secret-token at /ws?token=abc")) as server, client_for(server, ledger):
        gave_up = await ledger.wait("gave_up")
    assert "bad *** at /ws?token=***" in gave_up["error"]
    assert "secret-token" not in json.dumps(ledger.events)


@pytest.mark.asyncio
async def test_a_set_token_is_presented_from_the_next_connection_on() -> None:
    seen: list[Any] = []

    async def handler(peer: Peer) -> None:
        seen.append((await peer.welcome(recovered=peer.number > 1))["token"])
        await peer.stay()

    ledger = Ledger()
    async with scripted(handler) as server, client_for(server, ledger) as client:
        await ledger.wait("ready")
        client.set_token("newer")
        client.reconnect()
        await ledger.wait("ready")
    assert seen == ["secret-token", "newer"]


@pytest.mark.asyncio
async def test_a_session_that_is_gone_is_replaced_by_a_fresh_one_and_that_is_said() -> None:
    seen: list[dict[str, Any]] = []

    async def gone(peer: Peer) -> None:
        seen.append(await peer.read())
        await peer.ws.close(4410)

    async def fresh(peer: Peer) -> None:
        seen.append(await peer.welcome())
        await peer.stay()

    ledger = Ledger()
    async with scripted(closing(1012), gone, fresh) as server, client_for(server, ledger):
        await ledger.wait("ready")
        await ledger.wait("ready")
    assert "session" in seen[0]
    assert "session" not in seen[1]
    assert ledger.of("gap") == [{"event": "gap", "from": 1, "to": None}]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("words", "code"),
    [("not json", 1007), ('{"type":"message","seq":"x"}', 1002), (b"\x00", 1002), ("{}", 1002)],
)
async def test_a_server_that_breaks_the_protocol_is_told_and_left(words: str | bytes, code: int) -> None:
    codes: list[int | None] = []

    async def broken(peer: Peer) -> None:
        await peer.welcome()
        await peer.ws.send(words)
        await peer.ws.wait_closed()
        codes.append(peer.ws.close_code)

    ledger = Ledger()
    async with scripted(broken) as server, client_for(server, ledger):
        await ledger.wait("gave_up")
    assert codes == [code]
    assert ledger.of("closed")[0]["code"] == code


@pytest.mark.asyncio
async def test_a_message_over_the_limit_is_refused_with_1009_and_costs_no_message_of_ours() -> None:
    async def huge(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        await peer.say(type="message", seq=1, topic="t", data="x" * 2000)
        await peer.ws.wait_closed()

    ledger = Ledger()
    profile = PROFILE.with_(message={"max_size": 1000, "chunk": 500})
    async with scripted(huge, ready) as server, client_for(server, ledger, profile=profile) as client:
        sent = await client.send("t", 1)
        assert (await ledger.wait("closed"))["code"] == 1009
        await sent


@pytest.mark.asyncio
async def test_invalid_frames_of_the_library_are_final_too() -> None:
    async def garbage(peer: Peer) -> None:
        await peer.welcome()
        peer.ws.transport.write(b"\xff\xff\xff\xff")
        await peer.ws.wait_closed()

    ledger = Ledger()
    async with scripted(garbage) as server, client_for(server, ledger):
        await ledger.wait("gave_up")
    assert ledger.of("closed")[0]["code"] == 1002


@pytest.mark.asyncio
async def test_unknown_types_and_frames_before_the_welcome_are_ignored() -> None:
    async def early(peer: Peer) -> None:
        await peer.say(type="message", seq=1, topic="t", data="too early")
        await peer.say(type="from-the-future")
        await peer.welcome()
        await peer.say(type="welcome", session="x", resume_token="x", epoch="x", seq=0, recovered=False, last_id=0)
        await peer.say(type="error", code=4400, reason="what?")
        await peer.say(type="message", seq=1, topic="t", data="in time")
        await peer.stay()

    ledger = Ledger()
    async with scripted(early) as server, client_for(server, ledger):
        assert (await ledger.wait("message"))["data"] == "in time"
    assert ledger.kinds().count("ready") == 1


@pytest.mark.asyncio
async def test_an_observer_that_raises_does_not_stop_the_client() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    def observer(event: dict[str, object]) -> None:
        raise RuntimeError("observer")

    async with scripted(ready) as server, client_for(server, observer) as client:  # type: ignore[arg-type]
        await client.wait_ready()
    assert reported
    assert all(context["message"] == "on_event raised" for context in reported)


@pytest.mark.parametrize("url", ["http://host/?token=abc", "nonsense"])
def test_a_url_that_is_none_is_refused_at_once_without_its_token(url: str) -> None:
    with pytest.raises(ValueError, match="must be a ws:// or wss:// URL") as refusal:
        ReferenceClient(url)
    assert "abc" not in str(refusal.value)


@pytest.mark.asyncio
async def test_a_fault_of_the_client_itself_is_not_silent() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    ledger = Ledger()
    async with scripted(closing(1012)) as server, client_for(server, ledger) as client:
        client._backoff.failed = lambda *args, **options: 1 / 0  # type: ignore[method-assign]
        sent = await client.send("t", 1)
        assert (await ledger.wait("gave_up"))["error"] == "internal error: ZeroDivisionError"
        assert sent.done
        with pytest.raises(ClientClosed):
            await client.wait_ready()
    assert [context["message"] for context in reported] == ["the reference client failed"]


@pytest.mark.asyncio
async def test_an_application_may_reconnect_as_soon_as_it_hears_that_the_client_gave_up() -> None:
    ledger = Ledger()

    def observer(event: dict[str, Any]) -> None:
        ledger(event)
        if event["event"] == "gave_up":
            client.reconnect()

    async with scripted(closing(1008), ready) as server, client_for(server, observer) as client:  # type: ignore[arg-type]
        await ledger.wait("gave_up")
        await ledger.wait("ready")
    assert ledger.kinds() == ["connecting", "ready", "closed", "gave_up", "connecting", "ready", "closed"]


@pytest.mark.asyncio
async def test_a_certificate_that_is_no_good_or_a_server_that_is_no_websocket_is_named() -> None:
    ledger = Ledger()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-nothing\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for scheme in ("ws", "wss"):
            patient = FEW.with_(reconnect={"open_timeout": 5})
            async with ReferenceClient(f"{scheme}://{address}/?token=abc", profile=patient, on_event=ledger):
                await ledger.wait("gave_up")
    plain, tls = (event["error"] for event in ledger.of("gave_up"))
    assert "no WebSocket handshake" in plain
    assert "SSL" in tls
    assert "abc" not in json.dumps(ledger.events)
