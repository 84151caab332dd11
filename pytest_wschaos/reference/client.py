"""The reference client: a life over many connections. The rules that it keeps are in the modules around it.

======================= ==================================================================
:mod:`.backoff`         when to try again
:mod:`.close_policy`    whether to
:mod:`.credentials`     who to be
:mod:`.dial`            how to connect
:mod:`.link`            what to say on one connection, and :mod:`.heartbeat` when it is dead
:mod:`.pacer`           how fast
:mod:`.outbox`          what is on its way up
:mod:`.inbox`           what has come down
:mod:`.requests`        how requests are accepted, and settle (:mod:`.receipt`)
:mod:`.reading`         how messages reach the application
:mod:`.subscriptions`   what to hear of
======================= ==================================================================
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import AsyncIterator
from enum import IntEnum
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Self

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from ..profile import Profile
from .backoff import Backoff
from .close_policy import ClosePolicy, End
from .credentials import TokenError, TokenSource, fetch, scrub
from .dial import dial
from .events import EventHandler, Events, report
from .inbox import Inbox
from .link import Link
from .outbox import Outbox, Outgoing, QueueFull
from .protocol import Frame, redact_url
from .reading import Reading
from .receipt import Receipt, SendFailed
from .requests import ClientClosed, Requests
from .subscriptions import Subscriptions

__all__ = ["ClientClosed", "QueueFull", "ReadyState", "Receipt", "ReferenceClient", "SendFailed"]


class ReadyState(IntEnum):
    """The field's values for the state of a WebSocket."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class ReferenceClient:
    """Keeps a WebSocket link to a ``wschaos.v1`` server alive, and loses nothing on it.

    Use it in ``async with``, or call :meth:`start` and :meth:`close`. All of it belongs to one event loop.

    Args:
        url: ``ws://`` or ``wss://``.
        token: the token, or a function that returns it or an awaitable of it; asked before every connection.
        profile: the figures.
        on_event: called with each event as a dict: ``connecting``, ``ready``, ``closed``, ``waiting``,
            ``gave_up``, ``message``, ``settled``, ``gap``. A blob's ``data`` is bytes.
        seed: for delays that can be repeated; None: chance.
        ssl: the TLS context of a ``wss://`` URL; None: the system's.
        origin: the ``Origin`` header; None: none.

    Raises:
        ValueError: ``url`` is no WebSocket URL.
    """

    # The parts that a subclass may replace by its own.
    backoff_type: ClassVar[type[Backoff]] = Backoff
    policy_type: ClassVar[type[ClosePolicy]] = ClosePolicy
    outbox_type: ClassVar[type[Outbox]] = Outbox
    inbox_type: ClassVar[type[Inbox]] = Inbox
    subscriptions_type: ClassVar[type[Subscriptions]] = Subscriptions
    link_type: ClassVar[type[Link]] = Link

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource = None,
        profile: Profile | None = None,
        on_event: EventHandler | None = None,
        seed: int | None = None,
        ssl: tls.SSLContext | None = None,
        origin: str | None = None,
    ) -> None:
        try:
            parse_uri(url)
        except InvalidURI:
            raise ValueError(f"url = {redact_url(url)!r}: must be a ws:// or wss:// URL") from None
        self._url = url
        self._token = token
        self._presented: str | None = None
        self._profile = profile = Profile() if profile is None else profile
        self._ssl = ssl
        self._origin = origin
        self._backoff = self.backoff_type(profile.backoff, profile.jitter, profile.reconnect.max_retries, Random(seed))
        self._policy = self.policy_type(profile.close)
        replay = profile.replay
        self._outbox = self.outbox_type(replay.queue_messages, replay.queue_bytes, replay.delivery)
        self._inbox = self.inbox_type((profile.heartbeat.interval or 30.0) / 30)
        self._subscriptions = self.subscriptions_type()
        self._events = Events(on_event)
        self._requests = Requests(self, self._outbox, profile, self._events)
        self._reading = Reading(self._inbox, self._events, self._pump)
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._nudge: asyncio.Future[None] | None = None
        self._closing = False
        self._again = False
        self._error = "the client is not started"

    # --- life

    def start(self) -> None:
        """Begin to connect. Needs a running loop.

        Raises:
            RuntimeError: it runs already.
        """
        if self._task is not None:
            raise RuntimeError("the client runs already")
        self._closing = self._again = False
        self._error = "the client was closed"
        self._backoff.reset()
        self._policy.ready()
        self._task = asyncio.get_running_loop().create_task(self._live())
        self._task.add_done_callback(self._ended)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, code: int = 1000, reason: str = "closed by the application") -> None:
        """End everything, in any state; returns when it is done. What is pending settles as failed."""
        task = self._task
        if task is None:
            return
        if not self._closing:
            self._closing = True
            if self._link is not None:
                self._link.close(code, reason)
            else:
                task.cancel()
        await asyncio.wait([task])

    def reconnect(self) -> None:
        """Connect anew: at once where the client waits, and also after it has given up or was closed.

        While it is ready this sends Close 1000 and opens one new connection; while it connects, nothing happens.
        """
        if self._task is None:
            self.start()
        elif self._nudge is not None:
            self._backoff.reset()
            self._policy.ready()
            if not self._nudge.done():
                self._nudge.set_result(None)
        elif self._link is not None and self._link.ready:
            self._again = True
            self._link.close(1000, "reconnect")

    def set_token(self, token: TokenSource) -> None:
        """Present this from the next connection on."""
        self._token = token

    @property
    def ready_state(self) -> ReadyState:
        """0 while connecting and while waiting to, 1 ready, 2 closing, 3 not started or ended."""
        if self._task is None:
            return ReadyState.CLOSED
        if self._closing or self._again:
            return ReadyState.CLOSING
        return ReadyState.OPEN if self.is_ready else ReadyState.CONNECTING

    @property
    def is_ready(self) -> bool:
        """Whether there is a link, open and welcomed."""
        return self._link is not None and self._link.ready

    def require_running(self) -> None:
        """Raise :class:`ClientClosed` where the client is not started, or has ended."""
        if self._task is None or self._closing:
            raise ClientClosed(self._error)

    async def wait_ready(self) -> None:
        """Wait until the client is ready.

        Raises:
            ClientClosed: it never will be.
        """
        while not self.is_ready:
            self.require_running()
            await self._events.changed()

    async def _live(self) -> None:
        task = asyncio.current_task()
        try:
            while True:
                end = await self._connect()
                self._events.tell("closed", code=end.code, reason=scrub(end.reason, self._presented))
                if self._closing:
                    return
                if self._again:
                    self._again = False
                    self._backoff.reset()
                elif (delay := self._react(end)) is None:
                    return
                else:
                    await self._wait(delay)
        except asyncio.CancelledError:  # close() amid an attempt or a wait
            self._events.tell("closed", code=None, reason=self._error)
            raise
        finally:
            self._finish(task)

    async def _connect(self) -> End:
        """One attempt, and the connection that came of it, to its end."""
        self._events.tell("connecting")
        loop = asyncio.get_running_loop()
        limit = self._profile.reconnect.open_timeout
        try:
            async with asyncio.timeout(limit):
                self._presented = await fetch(self._token)
        except TokenError as error:
            return End(reason=str(error))
        except TimeoutError:
            return End(reason=f"the token provider took longer than {limit:g} s")
        deadline = loop.time() + limit
        wire = await dial(
            self._url, self._presented, self._profile, deadline=deadline, tls=self._ssl, origin=self._origin
        )
        if isinstance(wire, End):
            return wire
        self._link = self.link_type(wire, self._profile, self._outbox, self._inbox, self)
        try:
            return await self._link.run(self._presented, deadline)
        finally:
            self._link = None

    def _react(self, end: End) -> float | None:
        """The delay before the next attempt; None: there is none, and the application knows."""
        error = scrub(str(end), self._presented)
        reaction = self._policy.after(end)
        if reaction == "drop" and (dropped := self._outbox.drop_largest_unacked()) is not None:
            self.settled(dropped, error)
        elif reaction == "fresh":
            self._inbox.forget()
            self.arrived()
        elif reaction == "stop" and end.code == 1000:
            self._error = f"the server said goodbye: {error}"
            return None
        if reaction in ("stop", "fatal"):
            self._give_up(error)
            return None
        now = asyncio.get_running_loop().time()
        delay = self._backoff.failed(now, end.retry_after, later=reaction == "later")
        if delay is None:
            self._give_up(f"gave up after {self._backoff.retry} retries; the last failure: {error}")
        return delay

    async def _wait(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._nudge = loop.create_future()
        self._events.tell("waiting", attempt=self._backoff.retry, delay=delay)
        timer = loop.call_later(delay, _wake, self._nudge)
        try:
            await self._nudge
        finally:
            self._nudge = None
            timer.cancel()

    def _give_up(self, error: str) -> None:
        self._error = error
        self._task = None  # first of all, so that the application may reconnect as soon as it hears of it
        undelivered = self._abandon_requests(error)
        self._events.tell("gave_up", error=error, undelivered=[r.ref for r in undelivered if r.ref is not None])
        self._events.wake()

    def _abandon_requests(self, error: str) -> list[Outgoing]:
        undelivered = self._outbox.give_up()
        for request in undelivered:
            if isinstance(request, Receipt):
                request.settle(error)
            else:
                self._subscriptions.owe(request.topic)  # to be restored when there is a link again
        return undelivered

    def _finish(self, task: asyncio.Task[None] | None) -> None:
        """The client has stopped without giving up: what is pending fails, and who waits is told."""
        if self._task is not task:
            return  # it has given up, and may run again already
        self._task = None
        for request in self._abandon_requests(self._error):
            self._requests.tell(request, self._error)
        self._events.wake()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._finish(task)  # a task that was cancelled before it began did not do so itself
        if not task.cancelled() and (fault := task.exception()) is not None:
            report("the reference client failed", fault)
            self._error = f"internal error: {type(fault).__name__}"
            self._events.tell("gave_up", error=self._error, undelivered=[])

    # --- requests

    async def send(self, topic: str, data: Any, *, ref: str | None = None) -> Receipt:
        """Publish ``data`` (JSON). Returns when the message is accepted: at once, or when the queue has drained.

        Await the receipt for the server's verdict. ``ref`` names the message in events; one is made up if absent.

        Raises:
            ValueError: ``topic`` or ``data`` cannot be sent.
            QueueFull: the queue is full while there is no connection that would drain it.
            ClientClosed: the client does not run.
        """
        if isinstance(data, bytes):
            raise ValueError("data is bytes, which JSON cannot hold: use send_binary")
        return self._accepted(await self._requests.send(topic, data, ref))

    async def send_binary(self, topic: str, data: bytes, *, ref: str | None = None) -> Receipt:
        """Publish a blob, in chunks of 64 KiB (by the profile). Otherwise like :meth:`send`."""
        return self._accepted(await self._requests.send(topic, bytes(data), ref))

    async def subscribe(self, topic: str, *, ref: str | None = None) -> Receipt:
        """Ask for a topic's messages, from now on and after every reconnect. Otherwise like :meth:`send`."""
        return self._accepted(await self._requests.accept("subscribe", topic, None, ref, len(topic)))

    async def unsubscribe(self, topic: str, *, ref: str | None = None) -> Receipt:
        """Ask for them no longer. Otherwise like :meth:`send`."""
        return self._accepted(await self._requests.accept("unsubscribe", topic, None, ref, len(topic)))

    def _accepted(self, receipt: Receipt) -> Receipt:
        self._pump()
        return receipt

    def _pump(self) -> None:
        if self._link is not None:
            self._link.pump()

    @property
    def buffered_amount(self) -> int:
        """Bytes accepted and not yet handed to the network."""
        return self._outbox.queued_bytes + (0 if self._link is None else self._link.unwritten)

    # --- reading

    def pause_reading(self) -> None:
        """Hand no message to the application. The server stops after a window of them; heartbeats go on."""
        self._reading.pause()

    def resume_reading(self) -> None:
        """Go on."""
        self._reading.resume()

    def messages(self) -> AsyncIterator[dict[str, object]]:
        """The messages, as the events ``message``, until the client ends; ``on_event`` gets each as it is taken.

        Raises:
            RuntimeError: somebody else iterates already.
        """
        return self._reading.messages(lambda: self._task is not None)

    # --- what the link tells

    def welcomed(self, welcome: Frame) -> None:
        """The server accepted: settle what it has, restore what it lacks."""
        self._backoff.ready(asyncio.get_running_loop().time())
        self._policy.ready()
        # All is brought up to date before anybody hears of it: who does may at once cause something to be written.
        self._inbox.on_welcome(welcome)
        rejected = {entry["id"]: str(entry.get("error", "refused")) for entry in welcome.get("rejected", [])}
        settled = self._outbox.on_welcome(welcome["last_id"], welcome["recovered"], rejected)
        missing = self._subscriptions.owed if welcome["recovered"] else self._subscriptions.restore
        self._outbox.restore(missing(self._outbox.pending_topics()))
        self._events.tell("ready", recovered=welcome["recovered"])
        for request, error in settled:
            self.settled(request, error)
        self.arrived()
        self._events.wake()

    def settled(self, request: Outgoing, error: str | None) -> None:
        """A request ended."""
        if error is None and request.kind != "send":
            self._subscriptions.confirmed(request.kind, request.topic)
        if isinstance(request, Receipt):
            request.settle(error)
        self._requests.tell(request, error)

    def arrived(self) -> None:
        """The inbox has something for the application."""
        self._reading.arrived()

    def moved(self) -> None:
        """There may be room for more."""
        self._events.wake()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
