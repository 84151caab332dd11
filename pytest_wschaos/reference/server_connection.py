"""One connection of the reference server: the I/O around a :class:`~.conversation.Conversation`, or around an echo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Event, State
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

    def __init__(
        self, protocol: ServerProtocol, server: Any, *, profile: Profile, admission: Admission, **options: Any
    ) -> None:
        super().__init__(protocol, server, **options)
        self.profile = profile
        self.admission = admission
        self.peer: str
        """The address that it is counted for: that of the TCP peer, or of whom a trusted proxy has it from."""
        figures = profile.heartbeat
        self.ending: asyncio.Future[Exception] = self.loop.create_future()
        """Set when somebody outside the connection's own tasks decides that it must end."""
        self.bucket: TokenBucket | None = TokenBucket(profile.security.rate, profile.security.burst)
        self.heartbeat = Heartbeat(figures.server_interval, figures.server_deadline)
        self.conversation: Conversation | None = None
        self.takes: Callable[[str | bytes], bool] = _left
        """Called with each whole message; False: it is left to ``recv``."""
        self._behind = 0  # messages, or pieces of one, that are left to ``recv`` and not taken there yet
        self._partial = False  # a message has begun that is left to it
        self._events = 0
        self._sending: SendDeadline | None = None
        self._timer: asyncio.TimerHandle | None = None

    def end(self, reason: Exception) -> None:
        """Let the connection end; the first who says so is heard."""
        if not self.ending.done():
            self.ending.set_result(reason)

    async def leave(self, code: int, reason: str) -> None:
        """Let the connection end, and wait until it has."""
        self.end(Ended(code, reason))
        await self.wait_closed()

    # --- what the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection stands."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else str(name)
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

    async def recv_next(self) -> str | bytes:
        """The next message of those that :attr:`takes` has left."""
        message: str | bytes = await self.recv()
        self._behind -= 1
        return message

    @property
    def writable(self) -> bool:
        """Whether what is sent now goes out without waiting."""
        return self._sending is None and self.protocol.state is State.OPEN

    def write(self, text: str) -> None:
        """Send a text now; only where it is :attr:`writable`, and no message is under way in fragments."""
        self.protocol.send_text(text.encode())
        self.send_data()

    def process_event(self, event: Event) -> None:
        """A request or a frame has come in."""
        self._events += 1
        if not isinstance(event, Frame) or event.opcode is Opcode.CLOSE:
            super().process_event(event)
            return
        now = self.loop.time()
        if self.bucket is not None and not self.bucket.take(now):
            self.end(Ended(CloseCode.RATE_LIMITED, "too many frames"))
        if not self._taken(event):
            super().process_event(event)
        if event.opcode is Opcode.PONG:
            self.heartbeat.pong(bytes(event.data), now)
        elif not event.fin:
            self.heartbeat.progress(now)

    def _taken(self, frame: Frame) -> bool:
        """Whether the frame is a message that was taken at once: the order stays, and a task need not be woken."""
        if frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            return False
        whole = frame.fin and not self._partial
        if whole and not self._behind and not self.ending.done():
            try:
                if self.takes(_payload(frame)):
                    return True
            except UnicodeDecodeError:
                pass  # the library closes 1007
        self._partial = not frame.fin
        self._behind += frame.fin
        return False

    def pause_writing(self) -> None:
        """The write buffer is full: senders wait from now on, but not for ever."""
        super().pause_writing()
        deadline = self.profile.heartbeat.server_deadline
        self._sending = SendDeadline(deadline, self.loop.time(), self.transport.get_write_buffer_size())
        self._timer = self.loop.call_later(deadline / 4, self._check_sending)

    def resume_writing(self) -> None:
        """The write buffer has room again."""
        self._stop_timer()
        self._sending = None
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


def _left(message: str | bytes) -> bool:
    """Every message is left to ``recv``."""
    return False


def _payload(frame: Frame) -> str | bytes:
    """The message in a frame.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    data = bytes(frame.data)
    return data.decode() if frame.opcode is Opcode.TEXT else data


async def converse(connection: ReferenceConnection, hub: Hub) -> None:
    """Speak ``wschaos.v1`` until the connection ends."""
    shell = _Shell(connection, hub)
    try:
        await _run(connection, shell.read(), shell.stop)
    finally:
        shell.conversation.leave(connection.loop.time())
        connection.takes, connection.conversation = _left, None
        shell.let_go()


async def echo(connection: ReferenceConnection) -> None:
    """Send every message back until the connection ends; ping at frame level. There is no rate limit here."""
    connection.bucket = None
    connection.admission.authenticated(connection)

    async def answer() -> None:
        while True:
            await connection.send(await connection.recv())

    async def ping(number: int) -> None:
        await connection.ping(str(number).encode())

    beat = _Beat(connection, lambda number: str(number).encode(), ping)
    beat.start()
    await _run(connection, answer(), beat.stop)


class _Shell:
    """The I/O of a conversation.

    What can be done without waiting is done where it comes up: a message is answered, the stream is written, a ping
    is sent. Only where the client does not read does a task wait, one for each of the three.
    """

    def __init__(self, connection: ReferenceConnection, hub: Hub) -> None:
        request: Request | None = connection.request
        assert request is not None
        self._connection = connection
        self._profile = hub.profile
        self._ready = False  # the client has been welcomed
        self._idle = False  # nothing is being answered
        self._fragments = 0  # messages that are being sent, or wait to be, in fragments
        self._pumping: asyncio.Handle | None = None
        self._writer: asyncio.Task[None] | None = None
        self.beat = _Beat(connection, lambda number: number, self._ping, self._ping_now)
        self.conversation = hub.conversation_type(hub, credential(request, hub.modes), self)
        connection.conversation = self.conversation

    # --- what the conversation calls ---

    def wake(self) -> None:
        if self._ready and self._pumping is None and self._writer is None:
            self._pumping = self._connection.loop.call_soon(self._pump)

    def replaced(self) -> None:
        self._connection.end(replaced())

    def ponged(self, key: object) -> None:
        self._connection.heartbeat.pong(key, self._now())

    # --- in ---

    async def read(self) -> None:
        connection = self._connection
        try:
            async with asyncio.timeout(self._profile.auth.timeout):
                first = await connection.recv_next()
        except TimeoutError:
            raise Ended(CloseCode.AUTH_TIMEOUT, "no auth in time") from None
        await self._answer(first)
        connection.admission.authenticated(connection)
        self._ready = True
        self.beat.start()
        self.wake()
        connection.takes = self._take
        while not connection.ending.done():
            self._idle = True
            message = await connection.recv_next()
            self._idle = False
            await self._answer(message)

    def _take(self, message: str | bytes) -> bool:
        """Answer a message at once, where that needs no waiting."""
        if not self._idle or not self._free:
            return False
        try:
            for frame in self.conversation.receive(message, self._now()):
                self._connection.write(encode_text(frame))
        except Exception as error:
            self._connection.end(error)
        return True

    async def _answer(self, message: str | bytes) -> None:
        for frame in self.conversation.receive(message, self._now()):
            await self._send(encode_text(frame))

    # --- out ---

    @property
    def _free(self) -> bool:
        """Whether a whole message can be sent now without waiting."""
        return not self._fragments and self._connection.writable

    def _pump(self) -> None:
        """Write the stream as far as that needs no waiting; a task does the rest."""
        self._pumping = None
        try:
            while (item := self.conversation.next()) is not None:
                text = self._whole(item) if self._free else None
                if text is None:
                    self._writer = self._connection.loop.create_task(self._write(item))
                    return
                self._connection.write(text)
        except Exception as error:
            self._connection.end(error)

    async def _write(self, item: Logged | Lost | None) -> None:
        try:
            while item is not None:
                await self._send_item(item)
                item = self.conversation.next()
            self._writer = None
        except Exception as error:
            self._connection.end(error)

    def _whole(self, item: Logged | Lost) -> str | None:
        """The one frame in which an item travels; None: it travels in pieces."""
        if isinstance(item, Lost):
            return encode_text(item.frame())
        if isinstance(item.publication.data, bytes) or item.publication.size > self._profile.message.chunk:
            return None
        return encode_text(item.publication.frame(item.seq))

    async def _send_item(self, item: Logged | Lost) -> None:
        if isinstance(item, Logged) and isinstance(item.publication.data, bytes):
            frame = item.publication.frame(item.seq)
            for part in chunks(frame, item.publication.data, self._profile.message.chunk):
                await self._connection.send(part)
        elif isinstance(item, Logged):
            await self._send(encode_text(item.publication.frame(item.seq)))
        else:
            await self._send(encode_text(item.frame()))

    async def _send(self, text: str) -> None:
        size = self._profile.message.chunk
        data = text.encode()
        if len(data) <= size:
            await self._connection.send(text)
            return
        # In fragments, so that never more than one of them is ahead of a Close or a ping in the write buffer.
        self._fragments += 1
        try:
            await self._connection.send((data[at : at + size] for at in range(0, len(data), size)), text=True)
        finally:
            self._fragments -= 1

    async def _ping(self, number: int) -> None:
        await self._connection.send(encode_text({"type": "ping", "n": number}))

    def _ping_now(self, number: int) -> bool:
        if not self._free:
            return False
        self._connection.write(encode_text({"type": "ping", "n": number}))
        return True

    def stop(self) -> list[asyncio.Task[None]]:
        """Do nothing more; returns the tasks that are left to be cancelled."""
        self._ready = self._idle = False
        if self._pumping is not None:
            self._pumping.cancel()
        return self.beat.stop() + ([] if self._writer is None else [self._writer])

    def let_go(self) -> None:
        """It is over. Apart from each other, its parts need not wait for a collector of garbage."""
        del self.conversation, self.beat

    def _now(self) -> float:
        return self._connection.loop.time()


class _Beat:
    """Pings the client on the server's clock.

    Args:
        name: turns a ping's number into the key that its pong repeats.
        ping: sends the ping of a number, and waits where it has to.
        now: sends it at once; False: it would have to wait.
    """

    def __init__(
        self,
        connection: ReferenceConnection,
        name: Callable[[int], object],
        ping: Callable[[int], Coroutine[Any, Any, None]],
        now: Callable[[int], bool] = lambda number: False,
    ) -> None:
        self._connection = connection
        self._name = name
        self._ping = ping
        self._now = now
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The connection is ready."""
        self._connection.heartbeat.start(self._connection.loop.time())
        self._schedule()

    def stop(self) -> list[asyncio.Task[None]]:
        """Ping no more; returns the task that is left to be cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        return [] if self._waiting is None else [self._waiting]

    def _schedule(self) -> None:
        at = self._connection.heartbeat.next_at()
        self._timer = None if at is None else self._connection.loop.call_at(at, self._look)

    def _look(self) -> None:
        heartbeat, now = self._connection.heartbeat, self._connection.loop.time()
        if heartbeat.jumped(now):
            heartbeat.test(now)  # this process was suspended: the client had no chance
        elif heartbeat.dead(now):
            self._connection.end(Reaped())
            return
        if heartbeat.due(now):
            self._number += 1
            if not self._now(self._number):
                self._timer = None
                self._waiting = self._connection.loop.create_task(self._ping_later())
                return
            heartbeat.sent(self._name(self._number), now)
        self._schedule()

    async def _ping_later(self) -> None:
        try:
            await self._ping(self._number)
        except Exception as error:
            self._connection.end(error)
            return
        # The deadline counts from here: a ping that waited behind a full write buffer was not sent before.
        self._connection.heartbeat.sent(self._name(self._number), self._connection.loop.time())
        self._waiting = None
        self._schedule()


async def _run(
    connection: ReferenceConnection, part: Coroutine[Any, Any, None], stop: Callable[[], list[asyncio.Task[None]]]
) -> None:
    """Run a part until it ends or the connection must; then stop what runs beside it, and end the connection."""
    task = asyncio.create_task(part)
    waited: list[asyncio.Future[Any]] = [task, connection.ending]
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        tasks = [task, *stop()]
        for one in tasks:
            one.cancel()
        await asyncio.wait(tasks)
    errors: list[BaseException] = [connection.ending.result()] if connection.ending.done() else []
    if not task.cancelled() and (failed := task.exception()) is not None:
        errors.append(failed)
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
