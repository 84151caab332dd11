"""The simulated network against the kernel: the same little programs see the same.

Each scenario runs on plain asyncio in real time, and on both virtual clocks. What its two sides were told, with the
types and numbers of exceptions, has to be the same. How large the pieces are in which data comes, and how much fits
into a connection that nobody reads, is not compared. What differs on purpose is at the end of the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import io
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pytest_wschaos.simulation.loop import SimulatedLoop

from .clocks import PATIENCE, VIRTUAL, on, outcome, shown
from .sides import BufferedSide, Side, joined, settle

Scenario = Callable[[], Awaitable[object]]
SCENARIOS: list[Scenario] = []


def same(scenario: Scenario) -> Scenario:
    """Add a scenario that has to come out the same on all clocks."""
    SCENARIOS.append(scenario)
    return scenario


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


HAS_IPV6 = _has_ipv6()


def same_with_ipv6(scenario: Scenario) -> Scenario:
    """The same, where this machine has both families."""
    return same(scenario) if HAS_IPV6 else scenario


def staying() -> Side:
    return Side(stays=True)


def notes(*sides: Side) -> object:
    return [list(side.notes) for side in sides]


def attempt(call: Callable[..., object], *args: object) -> object:
    try:
        return call(*args)
    except Exception as error:
        return shown(error)


# --- who ends it, and how ---


@same
async def the_client_closes() -> object:
    async with joined() as (client, server):
        client.transport.write(b"last words")
        client.transport.close()
        await server.saw("lost")
        await client.saw("lost")
        return notes(client, server)


@same
async def the_server_closes() -> object:
    async with joined() as (client, server):
        server.transport.write(b"last words")
        server.transport.close()
        await client.saw("lost")
        await server.saw("lost")
        return notes(client, server)


@same
async def both_close_at_once() -> object:
    async with joined() as (client, server):
        client.transport.close()
        server.transport.close()
        await client.saw("lost")
        await server.saw("lost")
        return notes(client, server)


@same
async def close_twice_then_abort() -> object:
    async with joined() as (client, server):
        client.transport.close()
        client.transport.close()
        client.transport.abort()
        await server.saw("lost")
        await settle()
        return notes(client, server)


@same
async def the_client_aborts() -> object:
    async with joined() as (client, server):
        client.transport.write(b"last words")
        client.transport.abort()
        await server.saw("lost")
        await client.saw("lost")
        return notes(client, server)


@same
async def it_is_closed_as_it_is_made() -> object:
    async with joined(make_client=lambda: Side(made=lambda side: side.transport.close())) as (client, server):
        await server.saw("lost")
        return notes(client, server)


@same
async def it_is_aborted_as_it_is_made() -> object:
    async with joined(make_server=lambda: Side(made=lambda side: side.transport.abort())) as (client, server):
        await client.saw("lost")
        return notes(client, server)


@same
async def data_sent_as_it_is_made() -> object:
    def greet(side: Side) -> None:
        side.transport.write(b"hello")

    async with joined(lambda: Side(made=greet), lambda: Side(made=greet)) as (client, server):
        await client.saw("data")
        await server.saw("data")
        return notes(client, server)


# --- half of it ---


@same
async def the_client_half_closes_and_reads_on() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.write(b"question")
        client.transport.write_eof()
        await server.saw("eof")
        server.transport.write(b"answer")
        server.transport.close()
        await client.saw("lost")
        return notes(client, server)


@same
async def the_server_half_closes_and_reads_on() -> object:
    async with joined(make_client=staying) as (client, server):
        server.transport.write(b"question")
        server.transport.write_eof()
        await client.saw("eof")
        client.transport.write(b"answer")
        client.transport.close()
        await server.saw("lost")
        return notes(client, server)


@same
async def a_half_close_is_answered_by_a_close() -> object:
    async with joined() as (client, server):
        client.transport.write_eof()
        await client.saw("lost")
        await server.saw("lost")
        return notes(client, server)


@same
async def both_half_close_and_then_close() -> object:
    async with joined(staying, staying) as (client, server):
        client.transport.write_eof()
        server.transport.write_eof()
        await client.saw("eof")
        await server.saw("eof")
        await settle()
        before = notes(client, server)
        client.transport.close()
        server.transport.close()
        await client.saw("lost")
        await server.saw("lost")
        return before, notes(client, server)


@same
async def write_after_write_eof() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.write_eof()
        told = attempt(client.transport.write, b"more"), attempt(client.transport.write_eof)
        await server.saw("eof")
        return told, notes(server)


@same
async def a_half_close_behind_much_data() -> object:
    async with joined(make_server=staying) as (client, server):
        server.transport.pause_reading()
        sent = await client.fill()
        client.transport.write_eof()
        server.transport.resume_reading()
        await server.saw("eof")
        await client.saw("resume")
        return len(server.data) - sent, [note for note, _ in server.notes], notes(client)


@same
async def reading_again_after_the_end_finds_the_end_again() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.write_eof()
        await server.saw("eof")
        server.transport.pause_reading()
        server.transport.resume_reading()
        await settle()
        return notes(server)


# --- resets ---


@same
async def a_reset_by_the_client() -> object:
    async with joined() as (client, server):
        client.reset()
        await server.saw("lost")
        await client.saw("lost")
        return notes(client, server)


@same
async def a_reset_by_the_server() -> object:
    async with joined(staying) as (client, server):
        server.reset()
        await client.saw("lost")
        await server.saw("lost")
        return notes(client, server)


@same
async def both_reset() -> object:
    async with joined() as (client, server):
        client.reset()
        server.reset()
        await client.saw("lost")
        await server.saw("lost")
        return notes(client, server)


@same
async def data_then_a_reset() -> object:
    async with joined() as (client, server):
        client.transport.write(b"last words")
        client.reset()
        await server.saw("lost")
        return notes(client, server)


@same
async def data_then_a_reset_while_nobody_reads() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        client.transport.write(b"last words")
        client.reset()
        await settle()
        before = notes(server)
        server.transport.resume_reading()
        await server.saw("lost")
        return before, notes(server)


@same
async def who_is_woken_by_data_runs_before_the_reset_behind_it() -> object:
    async with joined() as (client, server):
        seen: list[object] = []

        async def look() -> None:
            await server.saw("data")
            seen.append([note for note, _ in server.notes])

        looking = asyncio.create_task(look())
        await settle()
        client.transport.write(b"last words")
        client.reset()
        await looking
        await server.saw("lost")
        return seen


@same
async def closed_with_data_unread() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        client.transport.write(b"never read")
        await settle()
        server.transport.close()
        await client.saw("lost")
        return notes(client, server)


@same
async def closed_with_data_unread_after_the_peers_end() -> object:
    async with joined(staying) as (client, server):
        server.transport.pause_reading()
        client.transport.write(b"never read")
        client.transport.write_eof()
        await settle()
        server.transport.close()
        await client.saw("lost")
        return notes(client, server)


@same
async def data_comes_after_a_close() -> object:
    async with joined() as (client, server):
        server.transport.close()
        client.transport.write(b"too late")
        await client.saw("lost")
        await server.saw("lost")
        return notes(client, server)


@same
async def a_reset_after_the_peers_end_is_told_by_the_next_write() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.write_eof()
        await server.saw("eof")
        client.reset()
        await settle()
        before = notes(server)
        server.transport.write(b"too late")
        await server.saw("lost")
        return before, notes(client, server)


@same
async def write_to_a_peer_that_has_gone() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.close()
        await server.saw("eof")
        server.transport.write(b"one")
        await settle()
        before = notes(server)
        server.transport.write(b"two")
        await server.saw("lost")
        return before, notes(server)


@same
async def close_after_writing_to_a_peer_that_has_gone() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.close()
        await server.saw("eof")
        server.transport.write(b"one")
        await settle()
        server.transport.close()
        await server.saw("lost")
        return notes(server)


@same
async def write_eof_to_a_peer_that_has_reset() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.write_eof()
        await server.saw("eof")
        client.reset()
        await settle()
        return attempt(server.transport.write_eof), notes(server)


@same
async def write_after_a_reset_that_nobody_has_read() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        client.reset()
        await settle()
        before = notes(server)
        server.transport.write(b"too late")
        await server.saw("lost")
        return before, notes(server)


@same
async def write_after_an_end_and_a_reset_that_nobody_has_read() -> object:
    async with joined(make_server=staying) as (client, server):
        server.transport.pause_reading()
        client.transport.close()
        await settle()
        server.transport.write(b"one")
        await settle()
        server.transport.write(b"two")
        await server.saw("lost")
        return notes(server)


@same
async def an_end_and_a_reset_that_are_read_late() -> object:
    async with joined(make_server=staying) as (client, server):
        server.transport.pause_reading()
        client.transport.close()
        await settle()
        server.transport.write(b"one")
        await settle()
        server.transport.resume_reading()
        await server.saw("eof")
        await settle()
        return notes(server)


@same
async def write_once_it_is_over() -> object:
    async with joined() as (client, server):
        client.reset()
        await server.saw("lost")
        told = [attempt(server.transport.write, b"too late") for _ in range(3)]
        return told, attempt(server.transport.close), attempt(server.transport.abort), notes(server)


@same
async def a_reset_meets_data_that_could_not_be_sent() -> object:
    async with joined() as (client, server):
        client.transport.pause_reading()
        await server.fill()
        client.reset()
        await server.saw("lost")
        return notes(server)


@same
async def a_reset_meets_data_of_a_side_that_does_not_read() -> object:
    async with joined() as (client, server):
        client.transport.pause_reading()
        server.transport.pause_reading()
        await server.fill()
        client.reset()
        await server.saw("lost")
        return notes(server)


@same
async def a_reset_meets_a_close_that_still_sends() -> object:
    async with joined() as (client, server):
        client.transport.pause_reading()
        await server.fill()
        server.transport.close()
        await settle()
        before = notes(server)
        client.reset()
        await server.saw("lost")
        return before, notes(server)


@same
async def a_close_with_unread_data_meets_data_that_could_not_be_sent() -> object:
    async with joined() as (client, server):
        client.transport.pause_reading()
        await server.fill()
        client.transport.close()
        await server.saw("lost")
        return notes(client, server)


@same
async def an_end_meets_data_that_could_not_be_sent() -> object:
    async with joined(make_server=staying) as (client, server):
        client.transport.pause_reading()
        sent = await server.fill()
        client.transport.write_eof()
        await server.saw("eof")
        client.transport.resume_reading()
        await server.saw("resume")
        await client.got(sent)
        return notes(server)


# --- back-pressure ---


@same
async def a_writer_is_paused_and_resumed() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        sent = await client.fill()
        paused = notes(client), client.transport.get_write_buffer_size() > 0
        server.transport.resume_reading()
        await client.saw("resume")
        await server.got(sent)
        return paused, notes(client), client.transport.get_write_buffer_size(), len(server.data) - sent


@same
async def limits_of_the_write_buffer() -> object:
    async with joined() as (client, server):
        before = client.transport.get_write_buffer_limits()
        client.transport.set_write_buffer_limits(high=0)
        server.transport.pause_reading()
        sent = await client.fill()
        server.transport.resume_reading()
        await client.saw("resume")
        await server.got(sent)
        return before, client.transport.get_write_buffer_limits(), notes(client)


@same
async def a_close_sends_what_is_buffered_first() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        sent = await client.fill()
        client.transport.close()
        await settle()
        before = notes(client), client.transport.is_closing()
        server.transport.resume_reading()
        await client.saw("lost")
        await server.saw("lost")
        return before, notes(client), len(server.data) - sent


@same
async def an_abort_drops_what_is_buffered() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        sent = await client.fill()
        client.transport.abort()
        await client.saw("lost")
        server.transport.resume_reading()
        await server.saw("lost")
        return notes(client), len(server.data) < sent, server.notes[-2:]


@same
async def an_abort_drops_what_is_buffered_but_not_the_end() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        await client.fill()
        client.transport.write_eof()
        client.transport.abort()
        await client.saw("lost")
        server.transport.resume_reading()
        await server.saw("lost")
        return notes(client), server.notes[-2:]


@same
async def no_read_is_larger_than_max_size() -> object:
    async with joined() as (client, server):
        sizes: list[int] = []
        server.when_data = lambda data: sizes.append(len(data))
        server.transport.max_size = 1000
        client.transport.write(bytes(10_000))
        client.transport.close()
        await server.saw("lost")
        return max(sizes), sum(sizes)


@same
async def reading_is_paused_and_resumed() -> object:
    async with joined() as (client, server):
        server.transport.pause_reading()
        states = [server.transport.is_reading()]
        client.transport.write(b"one")
        client.transport.close()
        await settle()
        before = notes(server)
        server.transport.pause_reading()
        server.transport.resume_reading()
        server.transport.resume_reading()
        states.append(server.transport.is_reading())
        await server.saw("lost")
        return before, states, notes(server)


@same
async def reading_is_paused_as_data_comes() -> object:
    async with joined() as (client, server):
        server.when_data = lambda _: server.transport.pause_reading()
        client.transport.write(b"one")
        client.transport.close()
        await server.saw("data")
        await settle()
        before = notes(server)
        server.transport.resume_reading()
        await server.saw("lost")
        return before, notes(server)


@same
async def it_is_closed_as_data_comes() -> object:
    async with joined() as (client, server):
        server.when_data = lambda _: server.transport.close()
        client.transport.write(b"one")
        await client.saw("lost")
        return notes(client, server)


# --- kinds of protocols, streams ---


@same
async def a_protocol_with_a_buffer_of_its_own() -> object:
    async with joined(make_server=BufferedSide) as (client, server):
        client.transport.write(b"one")
        await server.saw("data")
        client.transport.close()
        await server.saw("lost")
        return notes(client, server)


@same
async def a_small_buffer_is_filled_again_and_again() -> object:
    async with joined(make_server=lambda: BufferedSide(3)) as (client, server):
        client.transport.write(b"0123456789")
        client.transport.close()
        await server.saw("lost")
        return notes(server)


@same
async def a_small_buffer_and_a_pause() -> object:
    async with joined(make_server=lambda: BufferedSide(3)) as (client, server):
        server.when_data = lambda _: server.transport.pause_reading()
        client.transport.write(b"0123456789")
        client.transport.close()
        await server.saw("data")
        await settle()
        before = notes(server)
        server.when_data = None
        server.transport.resume_reading()
        await server.saw("lost")
        return before, notes(server)


@same
async def a_small_buffer_and_a_close() -> object:
    async with joined(make_server=lambda: BufferedSide(3)) as (client, server):
        server.when_data = lambda _: server.transport.close()
        client.transport.write(b"0123456789")
        await client.saw("lost")
        return notes(client, server)


@same
async def a_buffer_without_room() -> object:
    async with joined(make_server=lambda: BufferedSide(0)) as (client, server):
        told = listen_to_the_loop()
        client.transport.write(b"one")
        await server.saw("lost")
        return told, notes(client, server)


@same
async def the_protocol_is_replaced() -> object:
    async with joined() as (client, server):
        new = Side()
        server.when_data = lambda _: server.transport.set_protocol(new)
        client.transport.write(b"one")
        await server.saw("data")
        client.transport.write(b"two")
        client.transport.close()
        await new.saw("lost")
        return notes(server, new), server.transport.get_protocol() is new


@same
async def what_may_be_written() -> object:
    async with joined() as (client, server):
        changing = bytearray(b"two ")
        client.transport.write(b"one ")
        client.transport.write(changing)
        changing[:] = b"xxxx"
        client.transport.write(memoryview(b"three "))
        client.transport.write(b"")
        client.transport.writelines([b"four ", bytearray(b"five "), memoryview(b"six")])
        client.transport.writelines([])
        told = attempt(client.transport.write, "text"), attempt(client.transport.write, None)
        client.transport.close()
        await server.saw("lost")
        return told, notes(server)


@same
async def what_a_transport_says_of_itself() -> object:
    async with joined() as (client, server):

        def told(side: Side) -> object:
            it = side.transport
            return it.is_closing(), it.is_reading(), it.can_write_eof(), it.get_write_buffer_size()

        open = told(client), client.transport.get_protocol() is client
        names = [client.transport.get_extra_info(name)[0] for name in ("sockname", "peername")]
        assert client.transport.get_extra_info("sockname") == server.transport.get_extra_info("peername")
        assert client.transport.get_extra_info("peername") == server.transport.get_extra_info("sockname")
        sock = client.transport.get_extra_info("socket")
        assert sock.getsockname() == client.transport.get_extra_info("sockname")
        client.transport.close()
        closing = told(client)
        await server.saw("lost")
        await settle()
        other = client.transport.get_extra_info("nothing", "default"), sock.family, sock.type
        return names, open, closing, told(client), client.transport.get_protocol(), other


@same
async def a_server_that_is_closed_keeps_its_connections() -> object:
    loop = asyncio.get_running_loop()
    accepted: list[Side] = []

    def accept() -> Side:
        accepted.append(Side())
        return accepted[-1]

    listener = await loop.create_server(accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(Side, "127.0.0.1", port)
    await client.saw("made")
    await settle()
    listener.close()
    listener.close()
    await settle()
    refused = await outcome(loop.create_connection(Side, "127.0.0.1", port))
    client.transport.write(b"still here")
    await accepted[0].saw("data")
    client.transport.close()
    await accepted[0].saw("lost")
    await outcome(listener.wait_closed())
    return refused, listener.is_serving(), listener.sockets, notes(client, *accepted)


@same
async def the_address_of_a_listener_that_was_shut_down_is_free() -> object:
    loop = asyncio.get_running_loop()
    old = await loop.create_server(Side, "127.0.0.1", 0)
    address = old.sockets[0].getsockname()
    taken = await outcome(loop.create_server(Side, *address))
    with contextlib.suppress(NotImplementedError):
        loop.remove_reader(old.sockets[0].fileno())
    old.sockets[0].shutdown(socket.SHUT_RDWR)
    async with await loop.create_server(Side, *address):
        old.close()
        _, client = await loop.create_connection(Side, *address)
        client.transport.close()
        await client.saw("lost")
        return taken, notes(client)


@same
async def a_server_that_lets_go_of_its_clients() -> object:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(Side, "127.0.0.1", 0)
    if not hasattr(listener, "close_clients"):  # before Python 3.13
        listener.close()
        return None
    _, client = await loop.create_connection(Side, *listener.sockets[0].getsockname())
    await settle()
    listener.close()
    listener.close_clients()
    await client.saw("lost")
    _, other = await outcome(listener.wait_closed()), client
    return notes(other)


@same
async def a_server_that_has_not_begun() -> object:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(Side, "127.0.0.1", 0, start_serving=False)
    address = listener.sockets[0].getsockname()
    before = await outcome(loop.create_connection(Side, *address)), listener.is_serving()
    async with listener:
        await listener.start_serving()
        _, client = await loop.create_connection(Side, *address)
        client.transport.close()
        await client.saw("lost")
        return before, listener.is_serving(), notes(client)


# --- protocols that fail ---


def listen_to_the_loop() -> list[object]:
    """What the loop's exception handler is told from now on."""
    told: list[object] = []

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message = context["message"].partition(" callback")[0]  # the name of which is asyncio's own affair
        told.append((message, shown(context.get("exception"))))

    asyncio.get_running_loop().set_exception_handler(handler)
    return told


class Failing(Side):
    """Fails where it is told to."""

    def __init__(self, at: str, error: BaseException, **options: Any) -> None:
        super().__init__(**options)
        self.at, self.error = at, error

    def note(self, what: str, detail: object = None) -> None:
        super().note(what, detail)
        if what == self.at:
            raise self.error


def a_failure(at: str, error: type[Exception]) -> Scenario:
    async def scenario() -> object:
        told = listen_to_the_loop()
        async with joined(make_server=lambda: Failing(at, error("a bug"))) as (client, server):
            client.transport.write(b"one")
            await settle()
            client.transport.close()
            await client.saw("lost")
            await settle()
            return told, notes(client, server)

    scenario.__name__ = f"{error.__name__}_in_{at}"
    return same(scenario)


for at in ("made", "data", "eof", "lost"):
    for error in (ValueError, OSError):
        a_failure(at, error)


@same
async def each_side_keeps_its_own_context() -> object:
    who = contextvars.ContextVar("who", default="nobody")
    seen: list[object] = []

    class Telling(Side):
        def note(self, what: str, detail: object = None) -> None:
            super().note(what, detail)
            seen.append((self.name, what, who.get()))

    def telling(name: str) -> Callable[[], Side]:
        def make() -> Side:
            seen.append((name, "made by", who.get()))
            side = Telling()
            side.name = name
            return side

        return make

    loop = asyncio.get_running_loop()
    who.set("the listener")
    async with await loop.create_server(telling("server"), "127.0.0.1", 0) as listener:
        who.set("the dialer")
        _, client = await loop.create_connection(telling("client"), *listener.sockets[0].getsockname())
        who.set("the writer")
        client.transport.write(b"one")
        await settle()
        client.transport.pause_reading()
        client.transport.resume_reading()
        client.transport.close()
        await settle()
    return sorted(set(seen))


# --- names and attempts ---


@same
async def refused() -> object:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(Side, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await settle()
    try:
        await loop.create_connection(Side, "127.0.0.1", port)
    except OSError as error:
        return shown(error), str(error).replace(str(port), "PORT")


@same
async def an_unknown_name() -> object:
    loop = asyncio.get_running_loop()
    try:
        # With this flag the kernel's resolver says so itself, and asks no server.
        await loop.create_connection(Side, "no such name", 80, flags=socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        return shown(error), error.errno, str(error)


@same
async def an_address_in_use() -> object:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        try:
            await loop.create_server(Side, "127.0.0.1", port)
        except OSError as error:
            return shown(error), str(error).partition(" address (")[0]


@same
async def accepted_and_then_silence() -> object:
    async with joined() as (client, _):
        try:
            async with asyncio.timeout(0.05):
                await client.saw("data")
        except TimeoutError as error:
            return shown(error), notes(client)


@same
async def any_address_leads_to_this_machine() -> object:
    loop = asyncio.get_running_loop()
    names = []
    for host in ("0.0.0.0", None, ""):
        async with await loop.create_server(Side, host, 0, family=socket.AF_INET) as listener:
            port = listener.sockets[0].getsockname()[1]
            for target in ("127.0.0.1", "0.0.0.0", "localhost"):
                transport, side = await loop.create_connection(Side, target, port, family=socket.AF_INET)
                names.append(transport.get_extra_info("peername")[0])
                transport.close()
                await side.saw("lost")
    return names


@same
async def a_connection_that_is_given_up_while_it_is_made() -> object:
    loop = asyncio.get_running_loop()
    accepted: list[Side] = []

    def accept() -> Side:
        accepted.append(Side())
        return accepted[-1]

    async with await loop.create_server(accept, "127.0.0.1", 0) as listener:
        address = listener.sockets[0].getsockname()
        attempting = asyncio.create_task(loop.create_connection(Side, *address))
        await asyncio.sleep(0)
        attempting.cancel()
        await asyncio.wait([attempting])
        # The next one is not troubled by it.
        _, client = await loop.create_connection(Side, *address)
        await client.saw("made")
        client.transport.close()
        await client.saw("lost")
        await settle()
        return attempting.cancelled(), [side.has("lost") for side in accepted if side.transport]


@same_with_ipv6
async def a_wildcard_is_of_one_family() -> object:
    loop = asyncio.get_running_loop()
    told = []
    for bound, target in (("0.0.0.0", "::1"), ("::", "127.0.0.1"), ("::", "::1"), ("0.0.0.0", "127.0.0.1")):
        async with await loop.create_server(Side, bound, 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            come = await outcome(loop.create_connection(Side, target, port))
            if isinstance(come[0], asyncio.Transport):  # type: ignore[index]
                come[0].close()  # type: ignore[index]
                come = "connected"
            told.append((bound, target, come))
    return told


@same_with_ipv6
async def wildcards_of_both_families_share_a_port() -> object:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, "127.0.0.1", 0) as one:
        port = one.sockets[0].getsockname()[1]
        async with await loop.create_server(Side, "::", port):
            taken = await outcome(loop.create_server(Side, "0.0.0.0", port))
    async with await loop.create_server(Side, ["0.0.0.0", "::"], port) as both:
        return taken, sorted(sock.family for sock in both.sockets)


@same_with_ipv6
async def a_listener_on_all_addresses_has_both_families() -> object:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, None, 0) as listener:
        return sorted(sock.getsockname()[0] for sock in listener.sockets)


@same_with_ipv6
async def a_socket_of_both_families_stands_for_a_listener() -> object:
    loop = asyncio.get_running_loop()
    sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    port = sock.getsockname()[1]
    async with await loop.create_server(Side, sock=sock):
        taken = await outcome(loop.create_server(Side, "0.0.0.0", port))
        for target in ("127.0.0.1", "::1"):
            transport, side = await loop.create_connection(Side, target, port)
            transport.close()
            await side.saw("lost")
        return taken


@same
async def a_connected_socket_is_closed_without_a_transport() -> object:
    loop = asyncio.get_running_loop()
    sides: list[Side] = []

    def accept() -> Side:
        sides.append(Side(made=lambda side: side.transport.write(b"hello") if len(sides) > 1 else None))
        return sides[-1]

    async with await loop.create_server(accept, "127.0.0.1", 0) as listener:
        address = listener.sockets[0].getsockname()
        for _ in range(2):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                await settle()
            await sides[-1].saw("lost")
    return notes(*sides)


@same
async def arguments_that_do_not_go_together() -> object:
    loop = asyncio.get_running_loop()
    told = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        for call in (
            loop.create_server(Side, "127.0.0.1", 0, sock=sock),
            loop.create_server(Side),
            loop.create_connection(Side, "127.0.0.1", 1, sock=sock),
            loop.create_connection(Side),
            loop.create_connection(Side, "127.0.0.1", 1, server_hostname="name"),
            loop.create_connection(Side, ssl=True, sock=sock),
        ):
            try:
                told.append(await call)
            except ValueError as error:
                told.append(str(error))
    return told


@same_with_ipv6
async def an_address_of_another_family() -> object:
    loop = asyncio.get_running_loop()
    told = []
    for host, family in (("127.0.0.1", socket.AF_INET6), ("::1", socket.AF_INET)):
        try:
            told.append(await loop.getaddrinfo(host, 80, family=family))
        except socket.gaierror as error:
            told.append(str(error))
    found = await loop.getaddrinfo(None, 80, family=socket.AF_INET6, type=socket.SOCK_STREAM)
    return told, [info[4] for info in found]


@same
async def ports_as_they_may_be_given() -> object:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Side, "127.0.0.1", None) as listener:
        port = listener.sockets[0].getsockname()[1]
    async with await loop.create_server(Side, "127.0.0.1", str(port)) as again:
        same_port = again.sockets[0].getsockname()[1] == port
    try:
        await loop.create_server(Side, "127.0.0.1", 70_000)
    except OverflowError:
        return same_port


@same
async def two_listeners_share_a_port() -> object:
    """Not on the simulated network."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, SimulatedLoop):
        return True
    async with (
        await loop.create_server(Side, "127.0.0.1", 0, reuse_port=True) as one,
        await loop.create_server(Side, *one.sockets[0].getsockname(), reuse_port=True) as other,
    ):
        return other.sockets[0].getsockname() == one.sockets[0].getsockname()


# --- streams ---


@same
async def streams() -> object:
    told: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.readline())
        writer.writelines([b"an", b"swer\n"])
        await writer.drain()
        told.append(await outcome(reader.readexactly(10)))
        told.append((reader.at_eof(), await reader.read()))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"question\n")
        told.append(await reader.readline())
        writer.write(b"short")
        writer.write_eof()
        told.append(await reader.read())
        writer.close()
        told.append(await outcome(writer.wait_closed()))
    return told


@same
async def a_reset_of_streams() -> object:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        side = Side()
        side.transport = writer.transport
        await reader.readline()
        writer.write(b"a line\nand half")
        side.reset()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"question\n")
        told = [await outcome(reader.readline()), await outcome(reader.readexactly(4))]
        told.append(await outcome(reader.readline()))
        told.append(await outcome(reader.read()))
        await settle()
        writer.write(b"too late")
        told.append(await outcome(writer.drain()))
        writer.close()
        told.append(await outcome(writer.wait_closed()))
    return told


@same
async def a_drain_that_a_reset_ends() -> object:
    async with joined(staying) as (client, server):
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        client.transport.set_protocol(protocol)
        protocol.connection_made(client.transport)
        writer = asyncio.StreamWriter(client.transport, protocol, reader, asyncio.get_running_loop())
        server.transport.pause_reading()
        writer.write(bytes(20_000_000))
        draining = asyncio.create_task(writer.drain())
        await settle()
        before = draining.done()
        server.reset()
        return before, await outcome(draining), await outcome(reader.read())


@same
async def a_file_is_sent() -> object:
    async with joined() as (client, server):
        loop = asyncio.get_running_loop()
        sent = await loop.sendfile(client.transport, io.BytesIO(b"the whole file"), 4)
        client.transport.close()
        await server.saw("lost")
        return sent, notes(server)


@functools.cache
def on_the_kernel(scenario: Scenario) -> object:
    return on("real", scenario)  # type: ignore[arg-type]


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_program_sees_the_same_as_on_the_kernel(
    scenario: Scenario, clock: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "asyncio")
    assert on(clock, scenario, time_limit=10 * PATIENCE) == on_the_kernel(scenario)  # type: ignore[arg-type]


# --- what differs on purpose ---
#
# Beside these, which are shown: the sizes of pieces and of buffers; a sender whose data is never acknowledged gives up
# after about 15 minutes on the kernel, and never on the simulated network; the queue of a listener (backlog) has no
# limit; a simulated socket has no descriptor, and still tells its names once it is closed; no two listeners share an
# address (reuse_port).


def test_a_server_whose_protocol_cannot_be_made_closes_the_connection_at_once() -> None:
    """With asyncio's own loop it stays open until the garbage is collected."""

    def fail() -> Side:
        raise ValueError("a bug")

    async def main() -> object:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(fail, "127.0.0.1", 0) as listener:
            _, client = await loop.create_connection(Side, *listener.sockets[0].getsockname())
            await client.saw("lost")
            return notes(client)

    assert on("virtual", main) == [[("made", None), ("eof", None), ("lost", None)]]


def test_a_simulated_socket_has_no_descriptor() -> None:
    async def main() -> None:
        async with joined() as (client, _):
            sock = client.transport.get_extra_info("socket")
            with pytest.raises(NotImplementedError, match="use clock='hybrid' or 'real'"):
                sock.fileno()

    on("virtual", main)


def test_localhost_is_one_address_on_the_simulated_network() -> None:
    """On the kernel it may be two, and refusals then say so."""

    async def main() -> object:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        return [info[4] for info in infos]

    assert on("virtual", main) == [("127.0.0.1", 80)]
