"""Chaos on wss: each fault as a client feels it, certificates that are no good, and what is read and judged."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Callable

import pytest
from talk import LATER, NOTHING, echoes, ended, of_threads, silent
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.sync.client import connect as connect_sync

from pytest_wschaos import Chaos, ChaosProxy, Event, FaultError, Outcome, Profile, UpstreamError
from pytest_wschaos.certificates import Authority, Certificate, TrustmeMissing
from pytest_wschaos.checks.bite import toothless
from pytest_wschaos.faults import BadCertificate
from pytest_wschaos.simulation.run import run

QUICK = Profile().with_(backoff={"base": 0.05, "cap": 0.2}, reconnect={"open_timeout": 2})

on_both_clocks = pytest.mark.wschaos(clock="real, virtual", profile=QUICK)
asynchronous = pytest.mark.asyncio
bad = pytest.mark.parametrize(
    ("which", "told", "alert"),
    [
        ("expired", "certificate has expired", "certificate expired"),
        ("wrong_name", "IP address mismatch", "bad certificate"),
        ("untrusted", "unable to get local issuer certificate", "unknown ca"),
    ],
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def plain(chaos: Chaos) -> contextlib.AbstractAsyncContextManager[ClientConnection]:
    """A client without heartbeat or compression, that does not wait long for a close handshake."""
    return connect(
        chaos.wss_echo_url,
        ssl=chaos.ssl_context,
        proxy=None,
        ping_interval=None,
        close_timeout=0.1,
        compression=None,
    )


def of(chaos: ChaosProxy, kind: str) -> list[Event]:
    return [event for event in chaos.timeline if event.kind == kind]


# --- the network's faults, and the peer's ---


@on_both_clocks
@asynchronous
async def test_latency(wschaos: Chaos) -> None:
    async with plain(wschaos) as client:
        with wschaos.latency(0.1):
            start = wschaos.timeline.now()
            await echoes(client)
            assert wschaos.timeline.now() - start >= 0.2
        await echoes(client)


@on_both_clocks
@asynchronous
async def test_bandwidth(wschaos: Chaos) -> None:
    async with plain(wschaos) as client:
        with wschaos.bandwidth(100_000, "up"):
            start = wschaos.timeline.now()
            await echoes(client, "x" * 20_000)
            assert wschaos.timeline.now() - start >= 0.15


@on_both_clocks
@asynchronous
async def test_a_silent_drop_is_silent_from_the_first_byte(wschaos: Chaos) -> None:
    async with plain(wschaos) as old:
        await echoes(old)
        with wschaos.silent_drop():
            await old.send("lost")
            await silent(old)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(NOTHING), plain(wschaos):
                    pass
        await silent(old)
        async with plain(wschaos) as new:
            await echoes(new)
    assert [event["path"] for event in of(wschaos, "handshake") if event.place == "client"] == ["/echo"] * 2


@on_both_clocks
@asynchronous
async def test_a_silent_drop_that_resumes_loses_nothing(wschaos: Chaos) -> None:
    async with plain(wschaos) as client:
        with wschaos.silent_drop(resume=True):
            await client.send("one")
            await client.send("two")
            await silent(client)
        assert [await client.recv(), await client.recv()] == ["one", "two"]


@on_both_clocks
@asynchronous
async def test_idle_timeout(wschaos: Chaos) -> None:
    async with plain(wschaos) as client:
        with wschaos.idle_timeout(0.05):
            assert isinstance(await ended(client), ConnectionClosedError)
    assert of(wschaos, "cut")[0]["fault"] == "idle_timeout"


@on_both_clocks
@asynchronous
async def test_unanswered_handshake(wschaos: Chaos) -> None:
    async with plain(wschaos) as old:
        with wschaos.unanswered_handshake():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(NOTHING), plain(wschaos):
                    pass
            await echoes(old)
        async with plain(wschaos) as new:
            await echoes(new)


@pytest.mark.parametrize(("name", "how"), [("abort", "reset"), ("disconnect", "fin")])
@on_both_clocks
@asynchronous
async def test_live_connections_end_at_once(wschaos: Chaos, name: str, how: str) -> None:
    async with plain(wschaos) as client:
        await echoes(client)
        with getattr(wschaos, name)():
            error = await ended(client)
        assert (error.rcvd, of(wschaos, "cut")[0]["how"]) == (None, how)
        assert how == "reset" or not isinstance(error.__cause__, ConnectionResetError)
    async with plain(wschaos) as client:
        await echoes(client)


@on_both_clocks
@asynchronous
async def test_abort_is_a_reset_in_tls_too(wschaos: Chaos) -> None:
    async with plain(wschaos) as client:
        wschaos.abort()
        assert isinstance((await ended(client)).__cause__, ConnectionResetError)


@on_both_clocks
@asynchronous
async def test_refuse(wschaos: Chaos) -> None:
    async with plain(wschaos) as client:
        await echoes(client)
        with wschaos.refuse():
            await ended(client)
            with pytest.raises(ConnectionRefusedError):
                async with plain(wschaos):
                    pass
            refused = await wschaos.wait_for("attempt", 2, LATER)
            assert (refused["refused"], refused.client) == (True, "client")
        async with plain(wschaos) as again:
            await echoes(again)


@on_both_clocks
@asynchronous
async def test_the_servers_own_faults(wschaos: Chaos) -> None:
    async with plain(wschaos) as client:
        with wschaos.mute_pongs():
            waiting = await client.ping()
            await wschaos.wait_for("ping", 1, LATER, place="server")
            await echoes(client)
            assert not waiting.done()
        with wschaos.close(1012, "restart"):
            error = await ended(client)
            assert error.rcvd is not None
            assert error.rcvd.code == 1012
    with wschaos.reject_handshake(503), pytest.raises(InvalidStatus, match="503"):
        async with plain(wschaos):
            pass
    with wschaos.accept_then_close(1013):
        async with plain(wschaos) as client:
            error = await ended(client)
            assert error.rcvd is not None
            assert error.rcvd.code == 1013


# --- certificates ---


@bad
@on_both_clocks
@asynchronous
async def test_a_bad_certificate_keeps_new_clients_away(
    wschaos: Chaos, which: BadCertificate, told: str, alert: str
) -> None:
    async with plain(wschaos) as old:
        with wschaos.bad_certificate(which) as fault:
            with pytest.raises(ssl.SSLCertVerificationError, match=told):
                async with plain(wschaos):
                    pass
            await echoes(old)
        assert (fault.name, of(wschaos, "fault")[0]["which"]) == ("bad_certificate", which)
        async with plain(wschaos) as new:
            await echoes(new)
    first, failed, _ = of(wschaos, "attempt")
    assert first["tls"]
    assert failed["tls"]
    events = [event for event in wschaos.timeline if event.conn == failed.conn]
    assert [event.kind for event in events] == ["attempt", "error", "end"]
    assert events[-1]["by"] == "peer"


@bad
def test_openssls_own_sockets_say_why_and_that_is_on_record(
    wschaos: Chaos, which: BadCertificate, told: str, alert: str
) -> None:
    url, trust = wschaos.wss_echo_url, wschaos.ssl_context
    with wschaos.bad_certificate(which):
        with pytest.raises(ssl.SSLCertVerificationError, match=told):
            connect_sync(url, ssl=trust, proxy=None)
        assert wschaos.wait("error", 1, LATER)["error"] == f"TLS: the peer broke it off: {alert}"


@pytest.mark.parametrize("which", ["expired", "wrong_name", "untrusted"])
@on_both_clocks
@asynchronous
async def test_the_reference_client_tries_again_until_it_is_good(wschaos: Chaos, which: BadCertificate) -> None:
    async with wschaos.client(wss=True):
        await wschaos.wait_for("ready")
        with wschaos.bad_certificate(which), wschaos.abort():
            await wschaos.wait_for("error", 2)
        await wschaos.wait_for("ready")
        wschaos.assert_rules("RECONNECT-02", "RECONNECT-03", "BACKOFF-01", "BACKOFF-04")


@pytest.mark.wschaos(clock="virtual", profile=QUICK.with_(reconnect={"max_retries": 3}))
@asynchronous
async def test_a_client_that_gives_up_over_it_is_judged_by_its_retries(wschaos: Chaos) -> None:
    async with wschaos.client(wss=True):
        await wschaos.wait_for("ready")
        with wschaos.bad_certificate("untrusted"), wschaos.abort():
            await wschaos.wait_for("app.gave_up")
            await asyncio.sleep(100)
        wschaos.assert_rules("RECONNECT-06", "BACKOFF-01")


@on_both_clocks
@asynchronous
async def test_of_several_bad_certificates_the_last_is_presented(wschaos: Chaos) -> None:
    url = wschaos.wss_url

    async def says() -> str:
        try:
            await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, wschaos.host, int(url.rpartition(":")[2].partition("/")[0]), ssl=wschaos.ssl_context
            )
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        return "good"

    first = wschaos.bad_certificate("expired")
    with wschaos.bad_certificate("untrusted"):
        assert "local issuer" in await says()
        second = connect(wschaos.wss_url_for("another"), ssl=wschaos.ssl_context, proxy=None)
        with pytest.raises(ssl.SSLCertVerificationError, match="local issuer"):
            await second
    assert "expired" in await says()
    first.remove()
    async with plain(wschaos) as client:
        await echoes(client)


def test_a_bad_certificate_that_nobody_was_shown_did_not_bite() -> None:
    with Chaos() as chaos:
        assert chaos.wss_url
        with chaos.bad_certificate("expired"), connect_sync(chaos.echo_url, proxy=None):
            pass  # a client without TLS does not see it
        assert [fault.name for fault in toothless(chaos.freeze())] == ["bad_certificate"]
        with chaos.bad_certificate("expired", must_bite=False):
            pass
        url, trust = chaos.wss_url, chaos.ssl_context
        with chaos.bad_certificate("untrusted"), pytest.raises(ssl.SSLError):
            connect_sync(url, ssl=trust, proxy=None)
        assert [fault.event["which"] for fault in toothless(chaos.freeze())] == ["expired"]


@pytest.mark.parametrize("which", ["good", "self-signed", None, 1])
def test_there_is_no_such_bad_certificate(wschaos: Chaos, which: BadCertificate) -> None:
    with pytest.raises(FaultError, match=r"^which = .*: must be 'expired', 'wrong_name' or 'untrusted'$"):
        wschaos.bad_certificate(which)


def test_the_context_trusts_only_the_authority_of_its_own_test(authority: Authority) -> None:
    with Chaos() as chaos:
        assert chaos.ssl_context.verify_mode is ssl.CERT_REQUIRED
        assert chaos.ssl_context.check_hostname
        assert len(chaos.ssl_context.get_ca_certs()) == 1
        with pytest.raises(ssl.SSLCertVerificationError):
            connect_sync(chaos.wss_echo_url, ssl=authority.client, proxy=None)
        by_name = chaos.wss_echo_url.replace("127.0.0.1", "localhost")
        with connect_sync(by_name, ssl=of_threads(chaos.ssl_context), proxy=None):
            pass


def test_without_trustme_one_line_says_what_to_install(wschaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    for ask in (lambda: wschaos.wss_url, lambda: wschaos.ssl_context, lambda: wschaos.bad_certificate("expired")):
        with pytest.raises(TrustmeMissing, match=r"pip install 'pytest-wschaos\[tls\]'$"):
            ask()
    assert wschaos.url.startswith("ws://")  # all else goes on


# --- what is read and judged ---


@on_both_clocks
@asynchronous
async def test_a_client_is_judged_on_wss_as_on_ws_and_its_token_is_no_ones_business(wschaos: Chaos) -> None:
    async with wschaos.client(wss=True) as client:
        await wschaos.wait_for("ready")
        await client.send("topic", "hello")
        with wschaos.abort():
            await wschaos.wait_for("ready")
        wschaos.assert_rules("RECONNECT-02", "RECONNECT-03", "BACKOFF-01", "AUTH-01", "AUTH-02", "AUTH-07")
    assert of(wschaos, "message")
    assert wschaos.token not in str([event.to_dict() for event in wschaos.timeline])
    assert {event.client for event in of(wschaos, "attempt")} == {"client"}


@pytest.mark.wschaos(clock="virtual")
@asynchronous
async def test_a_dead_link_and_a_handshake_without_an_answer_are_judged(wschaos: Chaos) -> None:
    async with wschaos.client(wss=True):
        await wschaos.wait_for("ready")
        with wschaos.silent_drop():
            await wschaos.wait_for("attempt")
        await wschaos.wait_for("ready")
        with wschaos.unanswered_handshake(), wschaos.abort():
            await wschaos.wait_for("attempt", 2)
        await wschaos.wait_for("ready")
    wschaos.assert_rules("RECONNECT-01", "RECONNECT-04", "HEARTBEAT-02")


def test_the_same_seed_gives_the_same_timeline() -> None:
    async def main() -> str:
        with Chaos(seed=5) as chaos:
            async with chaos.client(wss=True) as client:
                await chaos.wait_for("ready")
                with chaos.latency(0.05, 0.05):
                    await client.send("topic", "hello")
                with chaos.bad_certificate("expired"), chaos.abort():
                    await chaos.wait_for("attempt", 3)
                await chaos.wait_for("ready")
            return "\n".join(str(event.to_dict()) for event in chaos.timeline)

    once, again = (run(main, clock="virtual", seed=5) for _ in range(2))
    assert once == again
    assert "TLS: the peer left" in once


def test_clients_on_ws_and_wss_of_one_name_are_one_client(wschaos: Chaos) -> None:
    assert wschaos.wss_url == wschaos.wss_url_for("client")
    assert wschaos.wss_url.partition("://")[0] == "wss"
    assert wschaos.wss_url.endswith("/ws")
    assert wschaos.wss_url_for("second") not in (wschaos.wss_url, wschaos.url_for("second"))
    with (
        connect_sync(wschaos.echo_url, proxy=None),
        connect_sync(wschaos.wss_echo_url, ssl=of_threads(wschaos.ssl_context), proxy=None),
        connect_sync(wschaos.wss_url_for("second"), ssl=of_threads(wschaos.ssl_context), proxy=None),
    ):
        attempts = [wschaos.wait("attempt", 1, LATER) for _ in range(3)]
    assert [(event.client, event.get("tls")) for event in attempts] == [
        ("client", None),
        ("client", True),
        ("second", True),
    ]


def test_a_handler_of_ones_own_is_behind_wss_too(wschaos: Chaos) -> None:
    async def greet(websocket: object) -> None:
        await websocket.send("welcome")  # type: ignore[attr-defined]

    before = wschaos.wss_url
    wschaos.serve(greet, path="/greet")
    assert wschaos.wss_url == before.replace("/ws", "/greet")
    with connect_sync(wschaos.wss_url, ssl=of_threads(wschaos.ssl_context), proxy=None) as client:
        assert client.recv(LATER) == "welcome"


# --- in front of any server ---


@contextlib.asynccontextmanager
async def wss_server(authority: Authority, which: Certificate = "good") -> AsyncIterator[str]:
    """A server of the user's, which speaks wss itself."""

    async def echo(websocket: object) -> None:
        async for message in websocket:  # type: ignore[attr-defined]
            await websocket.send(message)  # type: ignore[attr-defined]

    async with serve(echo, "127.0.0.1", 0, ssl=authority.server(which)) as server:
        yield f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/live"


Make = Callable[..., ChaosProxy]


@on_both_clocks
@asynchronous
@pytest.mark.wschaos(engine="embedded")
async def test_in_front_of_a_wss_server_frames_can_be_read(wschaos_proxy: Make, authority: Authority) -> None:
    async with wss_server(authority) as upstream:
        proxy = wschaos_proxy(upstream, terminate=True, upstream_ssl=authority.client)
        assert proxy.url == proxy.wss_url
        assert proxy.url.startswith("wss://")
        assert proxy.url.endswith("/live")
        async with connect(proxy.url, ssl=proxy.ssl_context, proxy=None, compression=None) as client:
            await echoes(client, "hello")
            text = await proxy.wait_for("text", 1, LATER, place="server")
            assert text["size"] == 5
            with proxy.bad_certificate("expired"), pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                await connect(proxy.url, ssl=proxy.ssl_context, proxy=None)
            with proxy.abort():
                await ended(client)
        async with connect(proxy.url, ssl=proxy.ssl_context, proxy=None) as client:
            await echoes(client)
        verdicts = {verdict.rule: verdict for verdict in proxy.check("RECONNECT-02", "RECONNECT-03")}
        assert all(verdict.outcome is not Outcome.UNSUPPORTED for verdict in verdicts.values())


@on_both_clocks
@asynchronous
async def test_its_certificate_must_be_trusted(wschaos_proxy: Make, authority: Authority) -> None:
    async with wss_server(authority) as upstream:
        proxy = wschaos_proxy(upstream, terminate=True)  # by the system's authorities
        with pytest.raises((OSError, InvalidMessage)):
            await connect(proxy.url, ssl=proxy.ssl_context, proxy=None)
        error = await proxy.wait_for("error", 1, LATER)
        assert "certificate verify failed" in error["error"]


@on_both_clocks
@asynchronous
async def test_untouched_tls_is_between_client_and_server(wschaos_proxy: Make, authority: Authority) -> None:
    async with wss_server(authority) as upstream:
        proxy = wschaos_proxy(upstream)
        assert proxy.wss_url == proxy.url
        async with connect(proxy.url, ssl=authority.client, proxy=None) as client:
            await echoes(client)
        for ask in (lambda: proxy.ssl_context, lambda: proxy.bad_certificate("expired")):
            with pytest.raises(FaultError, match=r"terminate=True"):
                ask()
        (verdict,) = proxy.check("RECONNECT-02")
        assert verdict.outcome is Outcome.UNSUPPORTED


@on_both_clocks
@asynchronous
async def test_a_plain_server_gets_wss_in_front_of_it(wschaos_proxy: Make) -> None:
    async def hello(websocket: object) -> None:
        await websocket.send("hello")  # type: ignore[attr-defined]

    async with serve(hello, "127.0.0.1", 0) as server:
        proxy = wschaos_proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert proxy.url.startswith("ws://")
        async with connect(proxy.wss_url, ssl=proxy.ssl_context, proxy=None) as client:
            assert await client.recv() == "hello"


@pytest.mark.parametrize(
    ("upstream", "options", "told"),
    [
        ("127.0.0.1:1", {"terminate": True}, "are for a wss:// URL"),
        ("ws://127.0.0.1:1", {"upstream_ssl": ssl.create_default_context()}, "are for a wss:// URL"),
        ("wss://127.0.0.1:1", {"upstream_ssl": ssl.create_default_context()}, "goes with terminate=True"),
    ],
)
def test_options_of_tls_that_do_not_fit_are_named(upstream: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(UpstreamError, match=told):
        ChaosProxy(upstream, **options)  # type: ignore[arg-type]
