"""The application of a simulated world: it uses one client as a schedule says, and remembers what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..reference.client import ClientClosed, QueueFull, ReadyState, ReferenceClient

if TYPE_CHECKING:
    from ..client_handle import Sent
    from ..harness import Chaos

PROBE = "wschaos/probe"
"""The topic of the message by which the application finds out whether sending works at last."""


@dataclass
class Request:
    """Something that the application asked for."""

    kind: str
    topic: str
    number: int
    """What tells its payload from all others."""
    ref: str
    at: float
    sent: Sent | None = None
    """Where it was accepted."""
    ok: bool | None = None
    """How it ended, as told; None: not told yet."""
    settled_at: float = float("inf")


@dataclass
class Told:
    """A message, or a gap (``number`` None), that the client told the application."""

    topic: str | None
    number: int | None


@dataclass
class Published:
    """A message that the server published."""

    topic: str
    number: int
    owed: bool
    """Whether the client's subscription to its topic had been confirmed, and stood for all that one can tell."""
    told_before: int
    """How many messages and gaps the application had been told by then."""


class TestApplication:
    """One client, and what its user did and was told."""

    __test__ = False  # no test, whatever pytest makes of its name

    def __init__(self, chaos: Chaos, kind: type[ReferenceClient]) -> None:
        self._chaos = chaos
        self._loop = asyncio.get_running_loop()
        self._changed: list[asyncio.Future[None]] = []
        self._numbers = 0
        self._pauses = 0
        self._wanted: dict[str, bool] = {}
        """The topics asked for, and whether the server has confirmed it."""
        self._unsure: set[str] = set()
        """Those of which the client has said that continuity is lost, and nothing has come since: until it has asked
        for them anew, which it does by itself, nothing will."""
        self.requests: list[Request] = []
        self._by_ref: dict[str, Request] = {}
        self.told: list[Told] = []
        self.published: list[Published] = []
        self.over: float | None = None
        """Since when nothing disturbs the client any more."""
        self._began = 0.0
        self._undisturbed = False
        self.broke: list[float] = []
        """When a connection that nothing had ever disturbed ended all the same."""
        self.gave_up: list[str] = []
        """The errors with which the client gave up."""
        self.fresh: list[float] = []
        """When it was ready with a fresh session."""
        self._left = False
        self.client = chaos.client(kind=kind, on_event=self._on_event)

    # --- what it does

    def act(self, kind: str, arguments: Mapping[str, Any]) -> Callable[[], object] | None:
        """Do what a step of a schedule says."""
        if kind == "pause":
            self._pauses += 1
            self.client.pause_reading()
            return self._resume
        if kind == "reconnect":
            self.client.reconnect()
        elif kind == "publish":
            self._publish(**arguments)
        elif kind != "subscribe" or arguments.get("topic") not in self._wanted:  # it asks for nothing twice
            self._ask(kind, **arguments)
        return None

    def _resume(self) -> None:
        self._pauses -= 1
        if not self._pauses:
            self.client.resume_reading()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _ask(self, kind: str, topic: str = "t", size: int = 0) -> Request:
        number = self._number()
        request = Request(kind, topic, number, f"{kind}-{number}", self._loop.time())
        self.requests.append(request)
        self._by_ref[request.ref] = request
        if kind == "subscribe":
            self._wanted.setdefault(topic, False)
        elif kind == "unsubscribe":
            self._wanted.pop(topic, None)
        try:
            if kind == "send":
                request.sent = self.client.send(topic, payload(number, size), ref=request.ref)
            else:
                request.sent = getattr(self.client, kind)(topic, ref=request.ref)
        except (ClientClosed, QueueFull):
            request.ok = False
        return request

    def _publish(self, topic: str = "t", size: int = 0) -> int:
        number = self._number()
        owed = self._wanted.get(topic, False) and topic not in self._unsure
        self.published.append(Published(topic, number, owed, len(self.told)))
        self._chaos.server.publish(topic, payload(number, size))
        return number

    # --- what it is told

    def _on_event(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "connecting":
                self._began = self._loop.time()
            case "ready":
                if not event["recovered"]:
                    self.fresh.append(self._loop.time())
                self._undisturbed = self.over is not None and self._began >= self.over
            case "closed":
                if self._undisturbed and not self._left:
                    self.broke.append(self._loop.time())
                self._undisturbed = False
            case "gave_up":
                self.gave_up.append(str(event["error"]))
                for ref in event["undelivered"]:  # handed back
                    self._settled({"ref": ref, "ok": False})
            case "settled":
                self._settled(event)
            case "message":
                self.told.append(Told(event["topic"], event["data"]["n"]))
                self._unsure.discard(event["topic"])
            case "gap":
                self.told.append(Told(None, None))
                if event["to"] is None:
                    self._unsure.update(self._wanted)
        for waiter in self._changed:
            if not waiter.done():
                waiter.set_result(None)
        self._changed.clear()

    def _settled(self, event: dict[str, Any]) -> None:
        request = self._by_ref.get(event["ref"])
        if request is None:
            return
        request.ok, request.settled_at = bool(event["ok"]), self._loop.time()
        if request.ok and request.kind == "subscribe" and request.topic in self._wanted:
            self._wanted[request.topic] = True
            self._unsure.discard(request.topic)

    # --- how it finds out whether all is well again

    @property
    def ready(self) -> bool:
        """Whether the client is ready."""
        return self.client.ready_state is ReadyState.OPEN

    async def _until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait for something, up to an instant; tells whether it came."""
        while not condition():
            wait = deadline - self._loop.time()
            if wait <= 0:
                return False
            waiter = self._loop.create_future()
            self._changed.append(waiter)
            timer = self._loop.call_later(wait, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
        return True

    async def recover(self, deadline: float) -> bool:
        """Whether the client is ready by an instant. One that has given up is asked to reconnect, once."""
        stopped = self.client.ready_state is ReadyState.CLOSED
        if stopped:
            self.client.reconnect()
        before = len(self.gave_up)
        await self._until(lambda: self.ready or len(self.gave_up) > before, deadline)
        if not self.ready and len(self.gave_up) > before and not stopped:
            return await self.recover(deadline)  # its last retries were spent on the trouble
        return self.ready

    async def probe_up(self, deadline: float) -> bool:
        """Whether a message that is sent now, and so all that was sent before it, is acknowledged by an instant."""
        before = len(self.gave_up)
        probe = self._ask("send", PROBE)
        await self._until(lambda: probe.ok is not None, deadline)
        if probe.ok is False and len(self.gave_up) > before and await self.recover(deadline):
            probe = self._ask("send", PROBE)
            await self._until(lambda: probe.ok is not None, deadline)
        return bool(probe.ok)

    async def probe_down(self, deadline: float) -> list[str]:
        """The topics on which nothing comes any more, though the application has asked for them."""
        topics = list(self._wanted)
        for topic in topics:
            if not self._wanted[topic]:  # a client that gave up has lost it
                self._ask("subscribe", topic)
        await self._until(lambda: all(self._wanted.get(topic) for topic in topics), deadline)
        numbers = {self._publish(topic): topic for topic in topics}
        came = lambda: numbers.keys() <= {told.number for told in self.told}  # noqa: E731
        await self._until(came, deadline)
        seen = {told.number for told in self.told}
        return [topic for number, topic in numbers.items() if number not in seen]

    async def close(self) -> None:
        """The application has had enough."""
        self._left = True
        await self.client.aclose()

    @property
    def received(self) -> list[int]:
        """The numbers of the messages that the server took from it, in order."""
        return [message.data["n"] for message in self._chaos.server.received]


def payload(number: int, size: int = 0) -> dict[str, Any]:
    """A message's data, told from all others by its number."""
    return {"n": number, "fill": "x" * size} if size else {"n": number}


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
