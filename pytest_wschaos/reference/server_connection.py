"""One connection of the reference server: the I/O around a :class:`~.conversation.Conversation`, or around an echo."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, NoReturn

from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Event
from websockets.server import ServerProtocol

from ..profile import Profile
from .auth import Admission, credential
from .conversation import Conversation, Ended, Hub, replaced
from .heartbeat import Heartbeat
from .peer import FaultyConnection, logger
from .protocol import CloseCode, chunks, encode_text
from .send_deadline import SendDeadline
from .session import Logged, Lost
from .token_bucket import TokenBucket

WRITE_LIMIT = 64 * 1024
"""Bytes that may wait in a connection's write buffer before its senders do."""


class Reaped(Exception):
    """The client has not answered a ping in time."""


class ReferenceConnection(FaultyConnection):
    """A connection that knows its limits: rate, send deadline, and a heartbeat that is told of every pong."""

    profile: ClassVar[Profile]
    admission: ClassVar[Admission]

    def __init__(self, protocol: ServerProtocol, server: Any, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        figures = self.profile.heartbeat
        self.ending: asyncio.Future[Ended] = self.loop.create_future()
        """Set when somebody outside the connection's own tasks decides that it must end."""
        self.bucket: TokenBucket | None = TokenBucket(self.profile.security.rate, self.profile.security.burst)
        self.heartbeat = Heartbeat(figures.server_interval, figures.server_deadline)
        self.conversation: Conversation | None = None
        self._events = 0
        self._sending: SendDeadline | None = None
        self._timer: asyncio.TimerHandle | None = None

    def end(self, ended: Ended) -> None:
        """Let the connection end; the first who says so is heard."""
        if not self.ending.done():
            self.ending.set_result(ended)

    async def leave(self, code: int, reason: str) -> None:
        """Let the connection end, and wait until it has."""
        self.end(Ended(code, reason))
        await self.wait_closed()

    @property
    def peer(self) -> str:
        """The address of the TCP peer, without its port."""
        name = self.transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else str(name)

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection stands."""
        super().connection_made(transport)
        if not self.admission.enter(self.peer, self):
            logger.info("a connection was cut unheard: there are too many")
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended."""
        self.admission.leave(self.peer, self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come in."""
        before = self._events
        super().data_received(data)
        if self._events == before:  # they completed nothing: a piece of something large
            self.heartbeat.progress(self.loop.time())

    def process_event(self, event: Event) -> None:
        """A request or a frame has come in."""
        super().process_event(event)
        self._events += 1
        if not isinstance(event, Frame) or event.opcode is Opcode.CLOSE:
            return
        now = self.loop.time()
        if self.bucket is not None and not self.bucket.take(now):
            self.end(Ended(CloseCode.RATE_LIMITED, "too many frames"))
        if event.opcode is Opcode.PONG:
            self.heartbeat.pong(bytes(event.data), now)
        elif not event.fin:
            self.heartbeat.progress(now)

    def pause_writing(self) -> None:
        """The write buffer is full: senders wait from now on, but not for ever."""
        super().pause_writing()
        deadline = self.profile.heartbeat.server_deadline
        self._sending = SendDeadline(deadline, self.loop.time(), self.transport.get_write_buffer_size())
        self._timer = self.loop.call_later(deadline / 4, self._check_sending)

    def resume_writing(self) -> None:
        """The write buffer has room again."""
        self._stop_timer()
        super().resume_writing()

    def _check_sending(self) -> None:
        assert self._sending is not None
        if self._sending.stalled(self.loop.time(), self.transport.get_write_buffer_size()):
            logger.info("a client takes nothing in: connection cut")
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(self.profile.heartbeat.server_deadline / 4, self._check_sending)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def converse(connection: ReferenceConnection, hub: Hub) -> None:
    """Speak ``wschaos.v1`` until the connection ends."""
    shell = _Shell(connection, hub)
    try:
        await _run(connection, shell.read(), shell.write(), shell.beat())
    finally:
        shell.conversation.leave(connection.loop.time())


async def echo(connection: ReferenceConnection) -> None:
    """Send every message back until the connection ends; ping at frame level. There is no rate limit here."""
    connection.bucket = None
    connection.admission.authenticated(connection)

    async def answer() -> None:
        while True:
            await connection.send(await connection.recv())

    await _run(connection, answer(), _beat(connection, lambda key: str(key).encode(), connection.ping))


class _Shell:
    """The I/O of a conversation: one task reads and answers, one writes the stream, one pings."""

    def __init__(self, connection: ReferenceConnection, hub: Hub) -> None:
        request: Request | None = connection.request
        assert request is not None
        self._connection = connection
        self._profile = hub.profile
        self._ready = asyncio.Event()
        self._more = asyncio.Event()
        self.conversation = Conversation(hub, credential(request, hub.modes), self)
        connection.conversation = self.conversation

    # --- what the conversation calls ---

    def wake(self) -> None:
        self._more.set()

    def replaced(self) -> None:
        self._connection.end(replaced())

    def ponged(self, key: object) -> None:
        self._connection.heartbeat.pong(key, self._now())

    # --- the three tasks ---

    async def read(self) -> None:
        connection = self._connection
        try:
            async with asyncio.timeout(self._profile.auth.timeout):
                first = await connection.recv()
        except TimeoutError:
            raise Ended(CloseCode.AUTH_TIMEOUT, "no auth in time") from None
        await self._answer(first)
        connection.admission.authenticated(connection)
        self._ready.set()
        while not connection.ending.done():
            await self._answer(await connection.recv())

    async def _answer(self, message: str | bytes) -> None:
        for frame in self.conversation.receive(message, self._now()):
            await self._send(encode_text(frame))

    async def write(self) -> None:
        await self._ready.wait()
        while True:
            self._more.clear()
            while (item := self.conversation.next()) is not None:
                await self._send_item(item)
            await self._more.wait()

    async def _send_item(self, item: Logged | Lost) -> None:
        if isinstance(item, Lost):
            await self._send(encode_text(item.frame()))
            return
        frame = item.publication.frame(item.seq)
        if isinstance(item.publication.data, bytes):
            for part in chunks(frame, item.publication.data, self._profile.message.chunk):
                await self._connection.send(part)
        else:
            await self._send(encode_text(frame))

    async def _send(self, text: str) -> None:
        size = self._profile.message.chunk
        data = text.encode()
        if len(data) <= size:
            await self._connection.send(text)
        else:
            # In fragments, so that never more than one of them is ahead of a Close or a ping in the write buffer.
            await self._connection.send((data[at : at + size] for at in range(0, len(data), size)), text=True)

    async def beat(self) -> None:
        await self._ready.wait()

        async def ping(key: int) -> None:
            await self._connection.send(encode_text({"type": "ping", "n": key}))

        await _beat(self._connection, lambda key: key, ping)

    def _now(self) -> float:
        return self._connection.loop.time()


async def _beat(
    connection: ReferenceConnection, name: Callable[[int], object], ping: Callable[[Any], Awaitable[Any]]
) -> NoReturn:
    """Ping the client on the server's clock; ``name`` turns a number into the key that its pong repeats."""
    loop, heartbeat = connection.loop, connection.heartbeat
    heartbeat.start(loop.time())
    number = 0
    while True:
        at = heartbeat.next_at()
        if at is None:
            await asyncio.Future()  # no pings: cancelled with the connection
        else:
            await asyncio.sleep(at - loop.time())
        now = loop.time()
        if heartbeat.jumped(now):
            heartbeat.test(now)  # this process was suspended: the client had no chance
        elif heartbeat.dead(now):
            raise Reaped
        if heartbeat.due(now):
            number += 1
            key = name(number)
            await ping(key)
            # The deadline counts from here: a ping that waited behind a full write buffer was not sent before.
            heartbeat.sent(key, loop.time())


async def _run(connection: ReferenceConnection, *parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until one ends or the connection must, then end the others and the connection."""
    tasks = [asyncio.create_task(part) for part in parts]
    waited: list[asyncio.Future[Any]] = [*tasks, connection.ending]
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if connection.ending.done():
        errors.insert(0, connection.ending.result())
    for error in errors:
        if isinstance(error, Ended):
            logger.info("closing a connection: %s", error)
            last = None if error.last is None else encode_text(error.last)
            await connection.finish(error.code, error.reason, last=last, discard=True)
        elif isinstance(error, Reaped):
            logger.info("a client answers no ping: connection cut")
            connection.give_up(CloseCode.SERVER_ERROR, "no pong")
        elif not isinstance(error, ConnectionClosed):
            raise error
        return
