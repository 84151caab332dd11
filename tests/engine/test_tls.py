"""TLS that the proxy ends, and TLS that it begins: what passes, how ends arrive, and what is told of a failure."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from pytest_wschaos.certificates import Authority
from pytest_wschaos.engine.connection import READ_SIZE, Connection
from pytest_wschaos.engine.tls import PLAIN, Tls

from .rig import PATIENCE, Peer, Rig, eventually, open_rig

pytestmark = pytest.mark.asyncio

BOTH = ("upstream", "downstream")


class TlsPeer:
    """Speaks TLS over a plain connection of the rig, and sees its farewell apart from TCP's end."""

    def __init__(self, tcp: Peer, context: ssl.SSLContext, *, serves: bool = False) -> None:
        self.tcp = tcp
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if serves else "127.0.0.1"
        self._tls = context.wrap_bio(self._in, self._out, server_side=serves, server_hostname=name)

    async def shake(self) -> None:
        """The handshake; raises EOFError where the proxy ends it."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._more()
            except ssl.SSLError:
                await self.flush()  # the alert
                raise
            else:
                await self.flush()
                return

    async def flush(self) -> None:
        await self.tcp.send(self._out.read())

    async def _more(self) -> None:
        async with asyncio.timeout(PATIENCE):
            data = await self.tcp.reader.read(READ_SIZE)
        if not data:
            raise EOFError
        self._in.write(data)

    async def send(self, data: bytes) -> None:
        self._tls.write(data)
        await self.flush()

    async def read(self) -> bytes:
        """What comes next; empty: the farewell. Raises EOFError on a FIN without one, and as TCP does on a RST."""
        while True:
            try:
                return self._tls.read(READ_SIZE)
            except ssl.SSLZeroReturnError:  # both have said farewell
                return b""
            except ssl.SSLWantReadError:
                await self._more()

    async def receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            more = await self.read()
            assert more
            data += more
        assert len(data) == size
        return bytes(data)

    async def rest(self) -> bytes:
        """All until the farewell."""
        data = b""
        while more := await self.read():
            data += more
        return data

    async def farewell(self) -> None:
        with suppress(ssl.SSLWantReadError):  # it would wait for the proxy's
            self._tls.unwrap()
        await self.flush()

    @property
    def silent(self) -> bool:
        """Whether nothing has come that was not read."""
        return self.tcp.silent


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secure(rig: Rig, authority: Authority) -> Rig:
    """The rig, with a proxy that ends TLS."""
    rig.proxy.tls = Tls(authority.server())
    return rig


async def tls_client(rig: Rig, authority: Authority) -> TlsPeer:
    return TlsPeer(await rig.client(), authority.client)


async def accepted(rig: Rig) -> Peer:
    async with asyncio.timeout(PATIENCE):
        return await rig.accepted.get()


async def tls_pair(rig: Rig, authority: Authority) -> tuple[TlsPeer, Peer]:
    client = await tls_client(rig, authority)
    await client.shake()
    return client, await accepted(rig)


async def echo(client: TlsPeer, server: Peer, data: bytes = b"ping") -> None:
    await client.send(data)
    assert await server.receive(len(data)) == data
    await server.send(data)
    assert await client.receive(len(data)) == data


def connections(rig: Rig) -> list[Connection]:
    return list(rig.proxy.connections)


async def forgotten(rig: Rig) -> None:
    await eventually(lambda: not connections(rig), "the connection is forgotten")


def add_both(rig: Rig, type: str, **attributes: float) -> None:
    for stream in BOTH:
        rig.proxy.add_toxic(type, stream=stream, attributes=attributes)


# --- data ---


async def test_what_was_encrypted_is_seen_in_plain_on_both_sides(secure: Rig, authority: Authority) -> None:
    await echo(*await tls_pair(secure, authority))
    (tap,) = secure.notes.taps
    assert all(bytes(seen) == b"ping" for seen in tap.seen.values())
    assert tap.errors == []


async def test_much_data_arrives_intact_though_toxics_come_and_go(secure: Rig, authority: Authority) -> None:
    client, server = await tls_pair(secure, authority)
    up, down = bytes(range(256)) * 8_000, bytes(reversed(range(256))) * 8_000

    async def send_up() -> None:
        for start in range(0, len(up), 50_000):
            await client.send(up[start : start + 50_000])

    async def toxics() -> None:
        for _ in range(20):
            add_both(secure, "latency", latency=1)
            await asyncio.sleep(0.001)
            for stream in BOTH:
                secure.proxy.remove_toxic(f"latency_{stream}")

    sending = asyncio.gather(send_up(), server.send(down), toxics())
    got_up, got_down = await asyncio.gather(server.receive(len(up)), client.receive(len(down)))
    await sending
    assert (got_up, got_down) == (up, down)


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_peer_that_does_not_read_stops_the_sender(secure: Rig, authority: Authority, way: str) -> None:
    client, server = await tls_pair(secure, authority)
    reader = (client.tcp if way == "down" else server).writer.transport
    reader.pause_reading()  # type: ignore[attr-defined]
    enough = asyncio.Event()

    async def fill() -> int:
        size = 0
        while not enough.is_set():
            await (client if way == "up" else server).send(bytes(256 * 1024))
            size += 256 * 1024
        return size

    filling = asyncio.create_task(fill())
    (live,) = connections(secure)
    source, target = (live.client, live.server) if way == "up" else (live.server, live.client)
    await eventually(lambda: not source.out._reading, "the proxy stops reading")
    assert target._transport is not None
    assert target._transport.get_write_buffer_size() <= 64 * 1024 + 2 * READ_SIZE
    enough.set()
    reader.resume_reading()  # type: ignore[attr-defined]
    (server if way == "up" else client.tcp).reader._limit = 2**30  # type: ignore[attr-defined]
    size = await filling
    assert len(await (server if way == "up" else client).receive(size)) == size


async def test_the_server_is_dialled_when_the_handshake_is_over(secure: Rig, authority: Authority) -> None:
    client = await tls_client(secure, authority)
    await eventually(lambda: connections(secure), "it is accepted")
    await asyncio.sleep(0.05)  # nothing must come
    assert secure.accepted.empty()
    await client.shake()
    await echo(client, await accepted(secure))


async def test_a_certificate_is_changed_for_new_connections(secure: Rig, authority: Authority) -> None:
    old = await tls_pair(secure, authority)
    secure.proxy.tls = Tls(authority.server("untrusted"))
    with pytest.raises(ssl.SSLCertVerificationError):
        await (await tls_client(secure, authority)).shake()
    await echo(*old)
    secure.proxy.tls = PLAIN
    await secure.echo(*await secure.pair())


# --- ends in order ---


async def test_the_servers_end_is_told_with_a_farewell_behind_the_data(
    secure: Rig, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_wschaos.engine.tls.LINGER", 600)
    client, server = await tls_pair(secure, authority)
    connections(secure)[0].client.read(False)  # as where its toxics hold all that they may
    await server.send(bytes(300_000))
    server.close()
    assert len(await client.rest()) == 300_000
    assert await client.tcp.rest() == b""  # and then the FIN
    # What the client answers is read and thrown away: it gets no RST for its manners.
    await client.farewell()
    for _ in range(3):  # a RST would be told at the second
        await asyncio.sleep(0.01)
        await client.tcp.send(b"more")
    client.tcp.close()
    await forgotten(secure)
    assert secure.notes.taps[0].ends == [("server", "peer", "fin"), ("client", "proxy", "fin")]


async def test_a_client_that_says_no_farewell_is_let_go(
    secure: Rig, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_wschaos.engine.tls.LINGER", 0.05)
    client, server = await tls_pair(secure, authority)
    server.close()
    assert await client.rest() == b""
    await forgotten(secure)


@pytest.mark.parametrize("end", ["farewell", "fin", "both"])
async def test_a_clients_farewell_and_its_fin_are_one_end(secure: Rig, authority: Authority, end: str) -> None:
    client, server = await tls_pair(secure, authority)
    await client.send(b"last words")
    if end != "fin":
        await client.farewell()
    if end != "farewell":
        client.tcp.writer.write_eof()
    assert await server.rest() == b"last words"
    server.close()
    client.tcp.close()
    await forgotten(secure)
    assert secure.notes.taps[0].ends == [("client", "peer", "fin"), ("server", "proxy", "fin")]


async def test_a_clients_reset_is_told(secure: Rig, authority: Authority) -> None:
    client, server = await tls_pair(secure, authority)
    await client.tcp.reset()
    assert await server.rest() == b""
    await forgotten(secure)
    assert secure.notes.taps[0].ends[0] == ("client", "peer", "reset")


async def test_an_end_in_order_of_a_connection_that_was_just_reset_is_no_error(
    secure: Rig, authority: Authority
) -> None:
    client, server = await tls_pair(secure, authority)
    (live,) = connections(secure)
    live.client.read(False)
    await client.tcp.reset()
    await asyncio.sleep(0.02)  # the RST has come, and is not read
    server.close()
    await forgotten(secure)


# --- ends by a fault: as on plain TCP ---


@pytest.mark.parametrize("shaken", [True, False])
async def test_abort_is_a_reset(secure: Rig, authority: Authority, shaken: bool) -> None:
    client = await tls_client(secure, authority)
    await eventually(lambda: connections(secure), "it is accepted")
    if shaken:
        await client.shake()
        await accepted(secure)
    secure.proxy.cut("abort", "reset")
    with pytest.raises(ConnectionResetError):
        await client.tcp.rest()
    await forgotten(secure)


@pytest.mark.parametrize("shaken", [True, False])
async def test_disconnect_is_a_fin_without_a_farewell(
    secure: Rig, authority: Authority, caplog: pytest.LogCaptureFixture, shaken: bool
) -> None:
    client = await tls_client(secure, authority)
    await eventually(lambda: connections(secure), "it is accepted")
    if shaken:
        await client.shake()
        await accepted(secure)
    secure.proxy.cut("disconnect", "fin")
    if shaken:
        await client.send(b"under way")
        await client.farewell()
    with pytest.raises(EOFError):
        await client.read() if shaken else await client.shake()
    client.tcp.close()
    await forgotten(secure)
    assert secure.notes.taps[0].ends[0] == ("client", "proxy", "fin")
    assert not caplog.records


async def test_disconnect_is_no_error_after_the_clients_farewell(secure: Rig, authority: Authority) -> None:
    client, server = await tls_pair(secure, authority)
    secure.proxy.add_toxic("stall", stream="upstream")
    await client.farewell()
    await eventually(lambda: secure.notes.taps[0].ends, "it was read")
    connections(secure)[0].cut("disconnect", "fin")
    with pytest.raises(EOFError):
        await client.read()
    assert await server.rest() == b""
    client.tcp.close()
    await forgotten(secure)


async def test_a_dead_link_answers_neither_data_nor_a_farewell(secure: Rig, authority: Authority) -> None:
    client, server = await tls_pair(secure, authority)
    await echo(client, server)  # what belongs to the handshake is read
    add_both(secure, "blackhole")
    await client.send(b"into the void")
    await server.send(b"into the void")
    await client.farewell()
    client.tcp.writer.write_eof()
    await eventually(lambda: secure.notes.taps[0].ends, "the client's end")
    await asyncio.sleep(0.05)  # nothing must come
    assert client.silent
    assert server.silent


@pytest.mark.parametrize("dead", BOTH)
async def test_nor_does_it_shake_hands(secure: Rig, authority: Authority, dead: str) -> None:
    secure.proxy.add_toxic("blackhole", stream=dead)
    client = await tls_client(secure, authority)
    shaking = asyncio.create_task(client.shake())
    await eventually(lambda: connections(secure), "it is accepted")
    await asyncio.sleep(0.05)  # nothing must come
    assert client.silent
    assert secure.accepted.empty()
    shaking.cancel()
    client.tcp.close()
    await forgotten(secure)


async def test_a_link_that_died_stays_dead_for_who_began_the_handshake_then(secure: Rig, authority: Authority) -> None:
    secure.proxy.add_toxic("blackhole", stream="downstream")
    client = await tls_client(secure, authority)
    shaking = asyncio.create_task(client.shake())
    await eventually(lambda: connections(secure), "it is accepted")
    secure.proxy.remove_toxic("blackhole_downstream")
    await echo(*await tls_pair(secure, authority))
    assert client.silent
    shaking.cancel()


# --- handshakes that fail ---


async def test_a_client_that_does_not_trust_says_why(secure: Rig, authority: Authority) -> None:
    secure.proxy.tls = Tls(authority.server("expired"))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        await (await tls_client(secure, authority)).shake()
    await forgotten(secure)
    (tap,) = secure.notes.taps
    assert tap.errors == ["TLS: the peer broke it off: certificate expired"]
    assert tap.ends == [("client", "peer", "fin")]
    assert secure.accepted.empty()


async def test_a_client_that_speaks_no_tls_is_turned_away(secure: Rig) -> None:
    client = await secure.client()
    await client.send(b"GET / HTTP/1.1\r\n\r\n")
    await eventually(lambda: secure.notes.taps and secure.notes.taps[0].ends, "its end")
    (tap,) = secure.notes.taps
    assert tap.errors == ["TLS: http request"]
    assert tap.ends == [("client", "proxy", "fin")]
    await forgotten(secure)
    assert secure.accepted.empty()


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_leaves_amid_the_handshake(secure: Rig, authority: Authority, how: str) -> None:
    client = await tls_client(secure, authority)
    await eventually(lambda: connections(secure), "it is accepted")
    await client.tcp.reset() if how == "reset" else client.tcp.close()
    await forgotten(secure)
    (tap,) = secure.notes.taps
    assert tap.ends == [("client", "peer", how)]
    assert tap.errors == ["TLS: the peer left amid the handshake"]


async def test_what_cannot_be_decrypted_ends_the_connection(secure: Rig, authority: Authority) -> None:
    client, server = await tls_pair(secure, authority)
    await echo(client, server)
    await client.tcp.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await server.rest() == b""
    with pytest.raises(ssl.SSLError):
        await client.read()  # the alert
    client.tcp.close()
    await forgotten(secure)
    (tap,) = secure.notes.taps
    assert len(tap.errors) == 1
    assert tap.errors[0].startswith("TLS: ")
    assert tap.ends[0] == ("client", "proxy", "fin")


async def test_stopping_amid_a_handshake_leaves_nothing(authority: Authority) -> None:
    async with open_rig() as rig:
        rig.proxy.tls = Tls(authority.server())
        client = await tls_client(rig, authority)
        await eventually(lambda: connections(rig), "it is accepted")
        rig.proxy.stop()
        with pytest.raises(EOFError):
            await client.shake()


# --- to the upstream ---


@asynccontextmanager
async def tls_upstream(rig: Rig, context: ssl.SSLContext) -> AsyncIterator[None]:
    """In place of the rig's server one that speaks TLS."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rig.peers.append(Peer(reader, writer))
        rig.accepted.put_nowait(rig.peers[-1])

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    rig.proxy.upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield
    server.close()


@pytest.mark.parametrize("terminates", [True, False])
async def test_it_encrypts_on_the_way_to_the_upstream(rig: Rig, authority: Authority, terminates: bool) -> None:
    rig.proxy.tls = Tls(authority.server() if terminates else None, authority.client)
    async with tls_upstream(rig, authority.server()):
        if terminates:
            client, server = await tls_pair(rig, authority)
            await echo(client, server)
            server.close()
            assert await client.rest() == b""
            client.tcp.close()
        else:
            plain, server = await rig.pair()
            await rig.echo(plain, server, bytes(300_000))
            plain.close()
            assert await server.rest() == b""
            server.close()
        await forgotten(rig)
    assert bytes(rig.notes.taps[0].seen["server", "down"]).startswith(b"ping" if terminates else bytes(1000))


async def test_what_a_client_sends_early_waits_for_the_upstreams_handshake(rig: Rig, authority: Authority) -> None:
    rig.proxy.tls = Tls(None, authority.client)
    async with tls_upstream(rig, authority.server()):
        client = await rig.client()
        await client.send(b"early")
        server = await accepted(rig)
        assert await server.receive(5) == b"early"


@pytest.mark.parametrize("which", ["expired", "wrong_name", "untrusted"])
async def test_an_upstream_that_is_not_trusted_is_not_spoken_with(rig: Rig, authority: Authority, which: str) -> None:
    rig.proxy.tls = Tls(None, authority.client)
    async with tls_upstream(rig, authority.server(which)):  # type: ignore[arg-type]
        client = await rig.client()
        assert await client.rest() == b""
        await forgotten(rig)
    (tap,) = rig.notes.taps
    assert len(tap.errors) == 1
    assert "certificate verify failed" in tap.errors[0]
    assert tap.ends == [("client", "proxy", "fin")]


async def test_an_upstream_that_is_not_trusted_is_told(rig: Rig, authority: Authority) -> None:
    rig.proxy.tls = Tls(None, authority.client)
    _, server = await rig.pair()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.unknown.ca"):
        await TlsPeer(server, authority.server("untrusted"), serves=True).shake()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upstream_that_ends_the_handshake_is_not_reached(rig: Rig, authority: Authority, how: str) -> None:
    rig.proxy.tls = Tls(None, authority.client)
    client, server = await rig.pair()
    await server.reset() if how == "reset" else server.close()
    assert await client.rest() == b""
    await forgotten(rig)
    assert len(rig.notes.taps[0].errors) == 1


async def test_an_upstream_that_speaks_no_tls_is_not_reached(rig: Rig, authority: Authority) -> None:
    rig.proxy.tls = Tls(None, authority.client)
    client, server = await rig.pair()
    await server.send(b"220 hello, this is no TLS\r\n")
    assert await client.rest() == b""
    assert "wrong version number" in rig.notes.taps[0].errors[0].lower()


@pytest.mark.wschaos(clock="virtual, hybrid")
async def test_an_upstream_that_never_shakes_hands_is_given_up(rig: Rig, authority: Authority) -> None:
    rig.proxy.tls = Tls(None, authority.client)
    loop = asyncio.get_running_loop()
    client = Peer(*await asyncio.open_connection(*rig.proxy.address))
    async with asyncio.timeout(100):
        assert await client.reader.read() == b""
    assert loop.time() == pytest.approx(60, abs=1)
    assert "no TLS handshake within 60 s" in rig.notes.taps[0].errors[0]
    client.close()


async def test_stopping_amid_the_upstreams_handshake_leaves_nothing(authority: Authority) -> None:
    async with open_rig() as rig:
        rig.proxy.tls = Tls(None, authority.client)
        client, _ = await rig.pair()
        rig.proxy.stop()
        assert await client.rest() == b""
        assert rig.notes.taps[0].errors == []


async def test_a_cut_amid_the_upstreams_handshake_reaches_who_is_there(rig: Rig, authority: Authority) -> None:
    rig.proxy.tls = Tls(None, authority.client)
    client, server = await rig.pair()
    rig.proxy.cut("abort", "reset")
    with pytest.raises(ConnectionResetError):
        await client.rest()
    assert b"ping" not in await server.rest()  # the beginning of a handshake, and its end
    await forgotten(rig)
