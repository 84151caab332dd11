"""The harness without pytest's fixtures: where to connect, what to wait for, how it judges, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_sync
from websockets.sync.server import serve as serve_sync

from pytest_wschaos import (
    Chaos,
    ChaosProxy,
    EventTimeout,
    Outcome,
    Profile,
    ProfileError,
    RuleBroken,
    UpstreamError,
    Verdict,
    harness,
)
from pytest_wschaos.background import LoopEnded, LoopStuck
from pytest_wschaos.checks.rule import UnknownRule, select
from pytest_wschaos.dialect import Dialect
from pytest_wschaos.network import ChaosNetwork
from pytest_wschaos.timeline import digest, fingerprint

LATER = 10.0
QUICK = Profile().scaled(0.1)


@pytest.fixture(scope="module")
def shared() -> Iterator[Chaos]:
    """For tests that change nothing of it."""
    with Chaos(seed=3) as chaos:
        yield chaos


@pytest.fixture
def upstream() -> Iterator[str]:
    """A server of somebody else's, that tells the path it was asked for."""

    def handler(websocket: Any) -> None:
        websocket.send(websocket.request.path)

    with serve_sync(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def left_over() -> tuple[set[str], set[str]]:
    """Threads and sockets of this process."""
    gc.collect()
    threads = {thread.name for thread in threading.enumerate()}
    files = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            files.add(os.readlink(f"/proc/self/fd/{name}"))
    return threads, {file for file in files if file.startswith("socket:")}


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    before = left_over()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        assert left_over() == before


# --- where to connect ---


def test_urls_lead_through_the_proxy(shared: Chaos) -> None:
    assert shared.url == f"ws://{shared.host}:{shared.port}/ws"
    assert shared.echo_url == f"ws://{shared.host}:{shared.port}/echo"
    assert shared.url_for("client") == shared.url
    assert shared.url_for("second") == shared.url_for("second") != shared.url
    assert shared.port != shared.server.port
    assert shared.server.url.endswith("/ws")
    assert shared.server.echo_url.endswith("/echo")


@pytest.mark.parametrize("path", ["", "/", "/chat", "/chat?room=1&debug"])
def test_a_proxy_keeps_path_and_query_of_its_upstream(upstream: str, path: str) -> None:
    with ChaosProxy(f"ws://{upstream}{path}") as proxy, connect_sync(proxy.url) as client:
        assert client.recv(LATER) == (path or "/")


def test_a_proxy_takes_a_bare_address_and_tells_frames_only(upstream: str) -> None:
    with ChaosProxy(upstream) as proxy, connect_sync(proxy.url, compression=None):
        assert proxy.wait("ready").client == "client"
        assert proxy.freeze().dialect is None
        assert proxy.wait("text")["size"] == 1


@pytest.mark.parametrize(
    "upstream",
    ["", "localhost", "127.0.0.1", ":80", "http://127.0.0.1:80", "127.0.0.1:port", "127.0.0.1:99999", "ws://[::1", 80],
)
def test_an_upstream_that_is_no_address_is_named_with_what_it_may_be(upstream: Any) -> None:
    with nothing_left(), pytest.raises(UpstreamError, match=r"upstream .*: must be host:port, or a ws:// or wss://"):
        ChaosProxy(upstream)


@pytest.mark.parametrize(
    ("upstream", "address"),
    [
        ("ws://example.test", "example.test:80"),
        ("wss://example.test/x", "example.test:443"),
        ("ws://[::1]:9/x", "[::1]:9"),
    ],
)
def test_urls_have_the_ports_of_their_schemes(upstream: str, address: str) -> None:
    assert harness._split(upstream)[1] == address


def test_an_upstream_that_is_not_there_is_named_and_nothing_is_left_running() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can have it
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with nothing_left(), pytest.raises(UpstreamError, match=f"nothing listens on {address} .*: start the server"):
            ChaosProxy(address)


def test_an_upstream_whose_name_cannot_be_resolved_is_no_server_that_is_not_started() -> None:
    with nothing_left(), pytest.raises(UpstreamError, match=r"^nosuch\.invalid cannot be resolved \("):
        ChaosProxy("ws://nosuch.invalid/live")


def test_an_upstream_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "UPSTREAM_TIMEOUT", 0.05)
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # its queue is full: a further SYN is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        address = "{}:{}".format(*full.getsockname())
        with pytest.raises(UpstreamError, match=rf"nothing listens on {address} \(timed out\)"):
            ChaosProxy(address)


def test_an_upstream_that_goes_away_is_on_record() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with ChaosProxy(f"127.0.0.1:{server.getsockname()[1]}") as proxy:
            server.close()
            with socket.create_connection((proxy.host, proxy.port)) as client:
                client.settimeout(LATER)
                assert client.recv(1) == b""
            assert "cannot be reached" in proxy.wait("error")["error"]


def test_two_clients_need_two_names() -> None:
    with Chaos(profile=QUICK) as chaos, chaos.client():
        with pytest.raises(ValueError, match="there is a client named 'client' already"):
            chaos.client()
        with pytest.raises(ProfileError, match="no preset named 'nope'"):
            chaos.client("second", profile="nope")
        with chaos.client("second", profile="default"):
            chaos.wait("ready", client="second")


@pytest.mark.asyncio
async def test_a_blocking_wait_on_a_running_loop_is_refused_at_once(shared: Chaos) -> None:
    with pytest.raises(RuntimeError, match=r"wait\(\) would block the running loop: await wait_for\(\) instead"):
        shared.wait("ready")


def test_chaos_that_has_ended_says_so_at_once() -> None:
    with Chaos() as chaos:
        pass
    with pytest.raises(LoopEnded):
        chaos.wait("ready")


def test_a_name_that_a_listener_cannot_have_is_refused(shared: Chaos) -> None:
    for name in ("", None):
        with pytest.raises(ValueError, match=f"client = {name!r}: must be a name"):
            shared.url_for(name)  # type: ignore[arg-type]


# --- settings ---


def test_a_profile_may_be_named() -> None:
    with Chaos(profile="websockets") as chaos:
        assert chaos.profile == Profile.preset("websockets")


@pytest.mark.parametrize("profile", ["nope", 3, {"backoff": {}}])
def test_a_profile_that_is_none_is_refused_before_anything_starts(profile: Any) -> None:
    with nothing_left(), pytest.raises(ProfileError, match=r"profile = |no preset named"):
        Chaos(profile=profile)


@pytest.mark.parametrize("dialect", [Dialect, "chat"])
def test_a_dialect_must_be_an_instance(dialect: Any) -> None:
    with nothing_left(), pytest.raises(TypeError, match=r"dialect = .*: must be an instance of a subclass"):
        Chaos(dialect=dialect)


def test_the_same_seed_gives_the_same_tokens() -> None:
    with Chaos(seed=3) as one, Chaos(seed=3) as two, Chaos(seed=4) as other:
        assert one.token == two.token != other.token
        assert one.freeze().seed == 3


# --- waiting ---


def test_the_profile_says_how_long_a_wait_may_take(shared: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Profile, "patience", property(lambda self: 0.06))
    start = time.monotonic()
    with pytest.raises(EventTimeout, match=r"waited 0.06 s for 'ready'"):
        shared.wait("ready")
    assert time.monotonic() - start >= 0.05


@pytest.mark.asyncio
async def test_waits_of_both_kinds_share_the_cursor() -> None:
    with Chaos() as chaos:
        async with connect(chaos.echo_url):
            assert (await chaos.wait_for("attempt")).conn == 1
        async with connect(chaos.echo_url):
            assert (await asyncio.to_thread(chaos.wait, "attempt", timeout=LATER)).conn == 2


# --- what only the client or the test can tell ---


def test_what_a_client_tells_is_on_record_with_no_payload(shared: Chaos) -> None:
    shared.report({"event": "message", "topic": "t", "data": "secret"}, "reporter")
    seen = shared.wait("app.message", client="reporter")
    assert seen.detail == {"topic": "t", "digest": digest("secret")}


def test_a_clients_own_clock_and_names_do_not_touch_the_record(shared: Chaos) -> None:
    shared.report({"event": "odd", "at": 0, "client": "me", "kind": "x", "place": "y", "conn": 9, "way": "z", "n": 1})
    seen = shared.wait("app.odd")
    assert (seen.client, seen.conn, seen.detail) == ("client", None, {"n": 1})
    assert seen.at > 0


@pytest.mark.parametrize("event", [{}, {"event": None}, "gave_up", None])
def test_what_is_no_event_is_refused(shared: Chaos, event: Any) -> None:
    with pytest.raises(ValueError, match=r'event = .*: must be a dict such as {"event": "gave_up"}'):
        shared.report(event)


def test_what_the_test_asks_is_on_record(shared: Chaos) -> None:
    shared.sent({"a": 1}, topic="t", ref="r", client="asker")
    shared.closing("asker")
    sent = shared.wait("app.send", client="asker")
    assert sent.detail == {"topic": "t", "ref": "r", "digest": digest({"a": 1}), "size": 8}
    assert shared.wait("app.close", client="asker").place == "app"


@pytest.mark.parametrize("revoke", [False, True])
def test_a_rotated_token_is_on_record_by_fingerprint(revoke: bool) -> None:
    with Chaos() as chaos:
        old, new = chaos.token, chaos.rotate_token(revoke=revoke)
        assert new == chaos.token != old
        replaced = {"fingerprint": fingerprint(new), "replaced": fingerprint(old), "revoked": revoke}
        assert chaos.wait("token").detail == replaced
        assert old not in repr(list(chaos.timeline))


# --- the reference client ---


def test_a_reference_client_sends_and_receives_through_the_proxy() -> None:
    told: list[str] = []
    with Chaos(profile=QUICK) as chaos, chaos.client(on_event=lambda event: told.append(event["event"])) as client:
        chaos.wait("app.ready")  # what the client says; "ready" is what the wire shows, a moment before
        assert client.ready_state == 1
        client.subscribe("news").result()
        chaos.server.publish("news", {"n": 1})
        assert chaos.wait("app.message")["digest"] == digest({"n": 1})
        sent = client.send("out", [1, 2])
        sent.result()
        assert sent.done
        assert [(item.topic, item.data) for item in chaos.server.received] == [("out", [1, 2])]
        assert chaos.wait("app.settled")["ok"] is True
        client.send_binary("out", b"blob").result()
        assert chaos.server.received[-1].data == b"blob"
        client.unsubscribe("news").result()
        asked = [(e.kind, e["topic"]) for e in chaos.freeze().events if e.kind in ("app.subscribe", "app.unsubscribe")]
        assert asked == [("app.subscribe", "news"), ("app.unsubscribe", "news")]
        assert client.buffered_amount == 0
        client.reconnect()
        chaos.wait("ready")
        assert len(chaos.server.connections) == 1
    assert client.close() is None  # the chaos has ended: nothing is left to close
    assert told[:2] == ["connecting", "ready"]
    kinds = [event.kind for event in chaos.timeline if event.kind in ("app.send", "app.reconnect", "app.close")]
    assert kinds == ["app.send", "app.reconnect", "app.close"]


@pytest.mark.asyncio
async def test_a_message_on_its_way_can_be_awaited() -> None:
    with Chaos(profile=QUICK) as chaos, chaos.client() as client:
        await chaos.wait_for("ready")
        await client.send("out", 1)
        assert chaos.server.received[0].data == 1


def test_the_server_can_forget_tokens_and_sessions() -> None:
    with Chaos(profile=QUICK) as chaos, chaos.client() as client:
        chaos.wait("ready")
        client.pause_reading()
        client.resume_reading()
        client.set_token(lambda: chaos.token)
        chaos.server.new_epoch()
        chaos.disconnect()
        assert chaos.wait("ready")["recovered"] is False
        chaos.server.drop_sessions()
        chaos.disconnect()
        assert chaos.wait("close")["code"] == 4410
        chaos.rotate_token()
        chaos.wait("ready")


def test_clients_have_listeners_of_their_own() -> None:
    with Chaos(profile=QUICK) as chaos, chaos.client("a"), chaos.client("b"):
        assert chaos.wait("ready", client="b").client == "b"
        assert {event.client for event in chaos.timeline if event.kind == "attempt"} == {"a", "b"}


# --- a handler of one's own ---


async def shout(websocket: ServerConnection) -> None:
    async for message in websocket:
        assert isinstance(message, str)
        await websocket.send(message.upper())


def test_a_handler_of_ones_own_has_all_faults() -> None:
    with Chaos() as chaos:
        url = chaos.serve(shout, path="/chat", subprotocols=("chat",))
        assert url == chaos.url == f"ws://{chaos.host}:{chaos.port}/chat"
        with connect_sync(url, subprotocols=["chat"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "chat"
            client.send("hello")
            assert client.recv(LATER) == "HELLO"
            chaos.close(4000, "bye")
            with pytest.raises(ConnectionClosed, match="4000"):
                client.recv(LATER)
        assert chaos.wait("ready").conn == 1
        with pytest.raises(RuntimeError, match=r"serve\(\) was called before in this test: one handler a test"):
            chaos.serve(shout)


@pytest.mark.parametrize(
    ("handler", "options", "told"),
    [(None, {}, "handler = None: must be an async def"), (shout, {"subprotocols": "chat"}, "must be a tuple of names")],
)
def test_what_cannot_be_served_is_refused(shared: Chaos, handler: Any, options: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        shared.serve(handler, **options)


def test_a_handler_may_inject_and_heal_but_not_wait() -> None:
    async def handler(websocket: ServerConnection) -> None:
        with chaos.latency(0.01):
            await websocket.send("under latency")
        try:
            chaos.wait("close")
        except RuntimeError as error:
            await websocket.send(str(error))

    with Chaos() as chaos, connect_sync(chaos.serve(handler)) as client:
        assert client.recv(LATER) == "under latency"
        assert client.recv(LATER) == "a blocking call from the engine's own loop would wait for itself"
        assert chaos.wait("healed")["fault"] == "latency"


def test_a_fault_that_could_not_be_removed_can_be_removed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with Chaos() as chaos:
        fault = chaos.latency(0.01)
        with monkeypatch.context() as broken:
            broken.setattr(chaos._runner, "effect", lambda coroutine: coroutine.close() or 1 / 0)
            with pytest.raises(ZeroDivisionError):
                fault.remove()
        assert fault.active
        fault.remove()
        assert chaos.wait("healed")["fault"] == "latency"


def test_a_handler_that_is_slow_to_end_does_not_keep_the_chaos_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stubborn(websocket: ServerConnection) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    monkeypatch.setattr(harness, "CANCEL_TIMEOUT", 0.2)
    with nothing_left():
        chaos = Chaos()
        with contextlib.suppress(ConnectionClosed), connect_sync(chaos.serve(stubborn), close_timeout=0.1):
            chaos.wait("ready")
            with pytest.raises(LoopStuck):
                chaos.stop()
    with pytest.raises(LoopEnded):
        chaos.url_for("another")


@pytest.mark.asyncio
async def test_a_handler_that_fails_ends_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(websocket: ServerConnection) -> None:
        raise LookupError("no luck")

    with Chaos() as chaos:
        for _ in range(2):
            async with connect(chaos.serve(fails) if chaos.url.endswith("/ws") else chaos.url) as client:
                with pytest.raises(ConnectionClosed, match="1011"):
                    await client.recv()
    assert "no luck" in caplog.text


# --- judging ---


def judged(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Outcome]) -> None:
    """Let the checks answer as told, and INCONCLUSIVE to all else."""

    def judge(record: object, profile: object, *patterns: str) -> list[Verdict]:
        return [
            Verdict(rule, outcomes.get(rule, Outcome.INCONCLUSIVE), "expected", f"seen by {rule}")
            for rule in select(*patterns)
        ]

    monkeypatch.setattr(harness, "judge", judge)


PASS, NON_STRICT, FAIL, UNSUPPORTED = Outcome.PASS, Outcome.NON_STRICT, Outcome.FAIL, Outcome.UNSUPPORTED


@pytest.mark.parametrize(
    ("rules", "strict", "outcomes", "broken"),
    [
        (["BACKOFF-01"], False, {"BACKOFF-01": PASS}, []),
        (["backoff-01"], False, {"BACKOFF-01": PASS}, []),
        (["BACKOFF-01"], False, {"BACKOFF-01": NON_STRICT}, []),
        (["BACKOFF-01"], True, {"BACKOFF-01": NON_STRICT}, ["BACKOFF-01"]),
        (["BACKOFF-01"], False, {}, ["BACKOFF-01"]),
        (["BACKOFF-01"], False, {"BACKOFF-01": UNSUPPORTED}, ["BACKOFF-01"]),
        (["BACKOFF-*"], False, {"BACKOFF-02": PASS}, []),
        (["BACKOFF-*"], False, {"BACKOFF-02": PASS, "BACKOFF-01": FAIL}, ["BACKOFF-01"]),
        (["BACKOFF-*"], False, {"BACKOFF-02": NON_STRICT}, ["BACKOFF-*"]),
        (["BACKOFF-*"], True, {"BACKOFF-02": PASS}, ["BACKOFF-*", "-BACKOFF-02"]),
        (["BACKOFF-*", "JITTER-*"], False, {"BACKOFF-02": PASS}, ["JITTER-*"]),
        (["BACKOFF-*", "BACKOFF-01"], False, {"BACKOFF-02": PASS}, ["BACKOFF-01"]),
        ([], False, {"BACKOFF-02": PASS}, []),
        ([], False, {"BACKOFF-02": PASS, "CLOSE-01": FAIL}, ["CLOSE-01"]),
        ([], False, {}, ["*"]),
    ],
)
def test_what_an_assertion_about_rules_holds_against_a_client(
    shared: Chaos,
    monkeypatch: pytest.MonkeyPatch,
    rules: list[str],
    strict: bool,
    outcomes: dict[str, Outcome],
    broken: list[str],
) -> None:
    judged(monkeypatch, outcomes)
    wrong = {rule for name in broken if name[0] != "-" for rule in select(name)}
    wrong -= {name[1:] for name in broken if name[0] == "-"}
    if not wrong:
        assert shared.assert_rules(*rules, strict=strict)
        return
    with pytest.raises(RuleBroken) as caught:
        shared.assert_rules(*rules, strict=strict)
    told = str(caught.value)
    assert told.startswith(f"{len(wrong)} of {len(select(*rules))} rules did not hold")
    for rule in select():
        assert (f"seen by {rule}\n" in told) is (rule in wrong)
    assert "what happened:" in told
    assert "seed: 3" in told


@pytest.mark.parametrize("ask", [Chaos.check, Chaos.assert_rules])
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("BACKOFF-99", "no rule 'BACKOFF-99': there are BACKOFF-01, BACKOFF-02"),
        ("BAKOFF-*", r"no rule 'BAKOFF-\*': 'wschaos rules' lists them$"),
        ("", "no rule '': 'wschaos rules' lists them$"),
    ],
)
def test_an_unknown_rule_is_named_with_those_of_its_area(
    shared: Chaos, ask: Callable[..., object], rule: str, told: str
) -> None:
    with pytest.raises(UnknownRule, match=told):
        ask(shared, rule)


def test_one_may_judge_by_other_figures(shared: Chaos) -> None:
    by_default, by_others = shared.check("BACKOFF-01"), shared.check("BACKOFF-01", profile="rfc6455")
    assert by_default[0].figures != by_others[0].figures
    with pytest.raises(ProfileError, match="no preset named 'nope'"):
        shared.check("BACKOFF-01", profile="nope")


# --- the end ---


@pytest.mark.parametrize("step", ["listen", "__init__"])
def test_a_start_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("no luck")

    monkeypatch.setattr(ChaosNetwork, step, fail)
    with nothing_left(), pytest.raises(LookupError, match="no luck"):
        Chaos()


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other, Chaos() as chaos:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        async def listen() -> None:
            await chaos._network._link._front.engine.create("taken", f"127.0.0.1:{port}", "127.0.0.1:9")

        with pytest.raises(Exception, match=f"listen tcp 127.0.0.1:{port}: bind: address already in use"):
            chaos._runner.run(listen())


def test_whatever_still_runs_is_ended() -> None:
    with nothing_left():
        chaos = Chaos(profile=QUICK)
        chaos.client()
        chaos.client("second").send("topic", "never settled")
        chaos.wait("ready", 2)
        chaos.serve_api()
        chaos.silent_drop()
        chaos.refuse()
        chaos.mute_pongs()
        with contextlib.suppress(OSError), socket.create_connection((chaos.host, chaos.port)):
            pass
        with contextlib.suppress(ZeroDivisionError), chaos:
            raise ZeroDivisionError
        chaos.stop()
        assert chaos._runner.stopped


def test_clients_that_are_still_connected_see_their_connections_end() -> None:
    with nothing_left():
        with Chaos() as chaos:
            client = connect_sync(chaos.echo_url, close_timeout=0.1)
        with client, pytest.raises(ConnectionClosed):
            client.recv(LATER)
