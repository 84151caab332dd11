"""The loop whose selector serves descriptors itself, and what is accepted and dialled on it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest
import pytest_asyncio

from pytest_wschaos.engine import descriptor
from pytest_wschaos.engine.descriptor import RelayTransport
from pytest_wschaos.engine.relay import SELECTABLE, SWITCH, new_loop, relay_of

from .rig import PATIENCE, Notes, Rig, eventually, open_rig
from .test_connection import full_queue

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has epoll")


def run(main: Callable[[], object]) -> None:
    """Run a coroutine function on such a loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())  # type: ignore[arg-type]


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:

        def make() -> tuple[socket.socket, socket.socket]:
            one, other = socket.socketpair()
            for sock in (one, other):
                sock.setblocking(False)
                stack.enter_context(closing(sock))
            return one, other

        yield make


# --- the loop ---


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    with closing(new_loop()) as loop:
        assert relay_of(loop) is not None
    monkeypatch.setenv(SWITCH, "off")
    with closing(new_loop()) as loop:
        assert relay_of(loop) is None


@pytest.mark.parametrize("crowded", [False, True])
def test_timers_are_never_early(crowded: bool) -> None:
    async def main() -> None:
        loop, early = asyncio.get_running_loop(), []
        done = asyncio.Event()

        def fire(due: float, left: int) -> None:
            if loop.time() < due:
                early.append(due - loop.time())
            if left:
                due = loop.time() + left * 37e-6
                loop.call_at(due, fire, due, left - 1)
            else:
                done.set()

        fire(loop.time(), 150)
        await asyncio.wait_for(done.wait(), PATIENCE)
        assert early == []

    with ExitStack() as stack:
        if crowded:  # select(2) cannot wait for descriptors this high
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            if hard != resource.RLIM_INFINITY and hard < SELECTABLE + 200:
                pytest.skip("too few descriptors are allowed")
            resource.setrlimit(resource.RLIMIT_NOFILE, (SELECTABLE + 200, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            while (fd := os.dup(0)) < SELECTABLE:
                stack.callback(os.close, fd)
            stack.callback(os.close, fd)
        run(main)


def test_one_that_is_always_ready_keeps_nobody_else_waiting(pairs: Callable[[], tuple[socket.socket, ...]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        relay = relay_of(loop)
        assert relay is not None
        served = 0

        def serve() -> bool:
            nonlocal served
            served += 1
            return False

        always, other = pairs()[0], pairs()
        relay.serve(always.fileno(), None, serve)
        await asyncio.sleep(0.01)  # timers
        other[0].send(b"x")
        assert await asyncio.wait_for(loop.sock_recv(other[1], 1), PATIENCE) == b"x"  # asyncio's descriptors
        called = loop.create_future()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(called.set_result, None))
        thread.start()
        await asyncio.wait_for(called, PATIENCE)  # threads
        thread.join()
        assert served > 3
        relay.serve(always.fileno(), None, None)

    run(main)


def test_one_that_was_forgotten_is_not_served_though_it_was_ready(
    pairs: Callable[[], tuple[socket.socket, ...]],
) -> None:
    async def main() -> None:
        relay = relay_of(asyncio.get_running_loop())
        assert relay is not None
        both, served = [pairs() for _ in range(2)], []

        def serve(mine: int) -> bool:
            served.append(mine)
            other = both[1 - mine][0]
            relay.forget(other.fileno())
            other.close()
            both[mine][0].recv(1)
            return True

        for number, (here, there) in enumerate(both):
            relay.serve(here.fileno(), lambda number=number: serve(number), None)  # type: ignore[misc]
            there.send(b"x")
        await asyncio.sleep(0.01)
        assert len(served) == 1
        relay.forget(both[served[0]][0].fileno())

    run(main)


def test_errors_of_one_that_is_not_looked_at_do_not_keep_the_loop_busy(
    pairs: Callable[[], tuple[socket.socket, ...]],
) -> None:
    async def main() -> None:
        relay = relay_of(asyncio.get_running_loop())
        assert relay is not None
        here, there = pairs()
        served: list[str] = []

        def serve() -> bool:
            served.append("read")
            return True

        relay.serve(here.fileno(), serve, None)
        relay.serve(here.fileno(), None, None)
        there.close()
        await asyncio.sleep(0.01)
        assert served == []
        assert relay._epoll.poll(0) == []
        relay.serve(here.fileno(), serve, None)
        await asyncio.sleep(0.01)
        assert served
        relay.forget(here.fileno())

    run(main)


# --- transports ---


class Clumsy(asyncio.Protocol):
    """Fails where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: RelayTransport

    def _maybe(self, where: str) -> None:
        if where == self.where:
            raise LookupError(where)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, RelayTransport)
        self.transport = transport
        self._maybe("connection_made")

    def data_received(self, data: bytes) -> None:
        self._maybe("data_received")

    def eof_received(self) -> bool:
        self._maybe("eof_received")
        return False

    def pause_writing(self) -> None:
        self._maybe("pause_writing")

    def resume_writing(self) -> None:
        self._maybe("resume_writing")

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


@pytest.mark.parametrize(
    "where", ["connection_made", "data_received", "eof_received", "pause_writing", "resume_writing", "nowhere"]
)
def test_a_protocol_that_fails_loses_its_connection_and_no_other(
    where: str, pairs: Callable[[], tuple[socket.socket, ...]]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        relay, told = relay_of(loop), []
        assert relay is not None
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        here, there = pairs()
        protocol = Clumsy(where)
        transport = RelayTransport(loop, relay, here)
        transport.begin(protocol)
        there.send(b"x")
        if where != "connection_made":
            transport.write(bytes(4_000_000))  # more than the kernel takes
        taken = 0
        while taken < 4_000_000 and not transport.is_closing():
            with suppress(BlockingIOError):
                taken += len(there.recv(1 << 20))
            await asyncio.sleep(0)
        there.close()
        error = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert [str(one) for one in told] == ([] if where == "nowhere" else [where])
        assert error is (told[0] if told else None)

    run(main)


def test_transports_are_what_asyncios_are(pairs: Callable[[], tuple[socket.socket, ...]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        relay = relay_of(loop)
        assert relay is not None
        here, there = pairs()
        transport = RelayTransport(loop, relay, here)
        protocol = Clumsy("nowhere")
        transport.begin(protocol)
        assert transport.get_extra_info("socket") is here
        assert transport.get_extra_info("cipher", "none") == "none"
        assert transport.can_write_eof()
        transport.write(b"")
        transport.write(b"last")
        transport.write_eof()
        transport.write_eof()
        assert await asyncio.wait_for(loop.sock_recv(there, 10), PATIENCE) == b"last"
        assert await asyncio.wait_for(loop.sock_recv(there, 10), PATIENCE) == b""
        with pytest.raises(RuntimeError, match="write_eof"):
            transport.write(b"more")
        transport.close()
        transport.close()
        transport.abort()
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None

    run(main)


@pytest.mark.parametrize("how", ["close", "write_eof"])
def test_what_was_not_sent_yet_goes_before_the_end(how: str, pairs: Callable[[], tuple[socket.socket, ...]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        relay = relay_of(loop)
        assert relay is not None
        here, there = pairs()
        transport, protocol = RelayTransport(loop, relay, here), Clumsy("nowhere")
        transport.begin(protocol)
        transport.write(bytes(4_000_000))
        assert transport.get_write_buffer_size() > 0
        getattr(transport, how)()
        taken = 0
        while part := await asyncio.wait_for(loop.sock_recv(there, 1 << 20), PATIENCE):
            taken += len(part)
        assert taken == 4_000_000
        transport.close()
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None

    run(main)


@pytest.mark.parametrize("waiting", [False, True])
def test_a_peer_that_is_gone_is_found_out_by_writing(
    waiting: bool, pairs: Callable[[], tuple[socket.socket, ...]]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        relay = relay_of(loop)
        assert relay is not None
        here, there = pairs()
        transport, protocol = RelayTransport(loop, relay, here), Clumsy("nowhere")
        transport.begin(protocol)
        transport.pause_reading()
        transport.pause_reading()
        if waiting:
            transport.write(bytes(4_000_000))
        there.close()
        if not waiting:
            transport.write(b"to nobody")
        assert isinstance(await asyncio.wait_for(protocol.lost, PATIENCE), OSError)

    run(main)


def test_events_that_are_out_of_date_do_nothing(pairs: Callable[[], tuple[socket.socket, ...]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        relay = relay_of(loop)
        assert relay is not None
        (here, there), (peers, far) = pairs(), pairs()
        transport, peer = RelayTransport(loop, relay, here), RelayTransport(loop, relay, peers)
        for one in (transport, peer):
            one.begin(Clumsy("nowhere"))
        assert not transport._read()
        transport.pass_to(peer)
        assert not transport._read()
        with suppress(BlockingIOError):
            while True:
                peers.send(bytes(65536))
        there.send(b"x")  # the peer takes nothing at all
        await eventually(lambda: peer.get_write_buffer_size() == 1, "it waits")
        assert not peer._write()
        with suppress(BlockingIOError):
            while far.recv(1 << 20):
                pass
        await eventually(lambda: peer.get_write_buffer_size() == 0, "it is sent")
        assert far.recv(10)[-1:] == b"x"
        for one in (transport, peer):
            one.abort()
        await asyncio.sleep(0)

    run(main)


def test_a_fin_that_cannot_be_sent_any_more_loses_the_connection(
    pairs: Callable[[], tuple[socket.socket, ...]],
) -> None:
    class Reset(socket.socket):
        def shutdown(self, how: int) -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        relay = relay_of(loop)
        assert relay is not None
        here, there = pairs()
        transport, protocol = RelayTransport(loop, relay, Reset(fileno=here.detach())), Clumsy("nowhere")
        transport._sock.setblocking(False)
        transport.begin(protocol)
        transport.write(bytes(4_000_000))
        transport.write_eof()
        while not protocol.lost.done():
            with suppress(BlockingIOError):
                there.recv(1 << 20)
            await asyncio.sleep(0)
        assert isinstance(protocol.lost.result(), OSError)

    run(main)


# --- accepting and dialling ---


def test_a_dial_that_was_given_up_tells_nothing() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        relay = relay_of(loop)
        assert relay is not None
        dial = descriptor.Dial(loop, relay, asyncio.Protocol(), told.append)
        dial.begin(socket.AF_INET, ("127.0.0.1", 1))
        dial.cancel()
        await asyncio.sleep(0.01)
        assert told == []

    run(main)


@pytest_asyncio.fixture
async def fast_rig(rig: Rig) -> Rig:
    if relay_of(asyncio.get_running_loop()) is None:
        pytest.skip("asyncio has its own way")
    return rig


only_real = pytest.mark.wschaos(clock="real")


@only_real
@pytest.mark.asyncio
async def test_clients_that_come_all_at_once_are_all_accepted(rig: Rig) -> None:
    count = 3 * descriptor.ACCEPT_AT_ONCE
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(rig.proxy.address)) for _ in range(count)]
        for client in clients:
            client.setblocking(False)
            client.send(b"x")
        for _ in range(count):
            async with asyncio.timeout(PATIENCE):
                server = await rig.accepted.get()
                await server.send(await server.receive(1))
        loop = asyncio.get_running_loop()
        for client in clients:
            assert await asyncio.wait_for(loop.sock_recv(client, 1), PATIENCE) == b"x"


@only_real
@pytest.mark.asyncio
async def test_clients_wait_while_no_more_can_be_accepted(
    fast_rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptor, "ACCEPT_AGAIN", 0.01)
    live = await fast_rig.pair()
    refused = 0

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            nonlocal refused
            refused += 1
            if refused == 1:
                raise OSError(errno.ECONNABORTED, "it has left again")
            if refused < 4:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    server = fast_rig.proxy._server
    server._sock = Exhausted(fileno=server._sock.detach())
    server.sockets = (server._sock,)
    with caplog.at_level(logging.WARNING):
        client = await fast_rig.client()
        await fast_rig.echo(*live)
        async with asyncio.timeout(PATIENCE):
            await fast_rig.echo(client, await fast_rig.accepted.get())
    assert [record.message for record in caplog.records] == [
        "no client can be accepted for now: Too many open files"
    ] * 2


@only_real
@pytest.mark.asyncio
async def test_a_proxy_may_stop_while_it_waits_to_accept_again(fast_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    server = fast_rig.proxy._server
    server._rest(OSError(errno.EMFILE, "Too many open files"))
    fast_rig.proxy.stop()
    with pytest.raises(ConnectionRefusedError):
        await fast_rig.client()
    await fast_rig.proxy.start()
    await fast_rig.echo(*await fast_rig.pair())


@only_real
@pytest.mark.asyncio
async def test_a_client_that_cannot_be_served_is_closed(fast_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def fail(self: Notes, proxy: str, number: int) -> None:
        raise LookupError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(Notes, "attempt", fail)
        client = await fast_rig.client()
        assert await client.rest() == b""
    assert [str(one) for one in told] == ["no luck"]
    await fast_rig.echo(*await fast_rig.pair())


@only_real
@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", ""])
async def test_upstreams_may_be_names(rig: Rig, host: str) -> None:
    rig.proxy.upstream = f"{host}:{rig.upstream.rpartition(':')[2]}"
    await rig.echo(*await rig.pair())


@only_real
@pytest.mark.asyncio
async def test_a_name_whose_addresses_cannot_be_connected_to_is_unreachable(rig: Rig) -> None:
    rig.proxy.upstream = "localhost:1"
    client = await rig.client()
    assert await client.rest() == b""
    assert "localhost:1 cannot be reached" in rig.notes.taps[0].errors[0]


@only_real
@pytest.mark.asyncio
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("listen", ["[::1]:0", ":0", "0.0.0.0:0"])
async def test_ipv6_both_ways(listen: str) -> None:
    async with open_rig() as rig:
        await rig.engine.create("six", listen, rig.upstream)
        port = rig.engine.proxy("six").address[1]
        for host in ("127.0.0.1", "[::1]") if listen[0] != "[" else ("[::1]",):
            rig.proxy.upstream = f"{host}:{port}"
            await rig.echo(*await rig.pair())


@only_real
@pytest.mark.asyncio
async def test_no_descriptor_for_the_upstream_ends_the_clients_connection(
    fast_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:

    class Exhausted(socket.socket):
        def __init__(self, *arguments: int, fileno: int | None = None) -> None:
            if fileno is None:
                raise OSError(errno.EMFILE, "Too many open files")
            super().__init__(*arguments, fileno=fileno)

    with socket.socket() as client:
        client.connect(fast_rig.proxy.address)
        monkeypatch.setattr(descriptor.socket, "socket", Exhausted)
        await eventually(lambda: fast_rig.notes.taps and fast_rig.notes.taps[0].errors, "it was told")
        monkeypatch.undo()
    assert "Too many open files" in fast_rig.notes.taps[0].errors[0]


@only_real
@pytest.mark.asyncio
async def test_stopping_while_an_upstream_by_name_is_dialled_leaves_nothing(rig: Rig) -> None:
    with full_queue() as address:
        rig.proxy.upstream = f"localhost:{address.rpartition(':')[2]}"
        client = await rig.client()
        await eventually(lambda: rig.proxy.connections, "it is dialled")
        await asyncio.sleep(0.05)
        rig.proxy.stop()
        assert await client.rest() == b""
        await eventually(lambda: not rig.proxy.connections, "the connection is forgotten")


@only_real
@pytest.mark.asyncio
async def test_a_proxy_may_be_stopped_by_what_hears_of_a_client(fast_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Notes, proxy: str, number: int) -> None:
        fast_rig.proxy.stop()

    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection(fast_rig.proxy.address))
        monkeypatch.setattr(Notes, "attempt", stop)
        await eventually(lambda: not fast_rig.proxy.enabled, "it was stopped")
        await eventually(lambda: not fast_rig.proxy.connections, "nobody slipped through")
