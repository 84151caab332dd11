"""What must hold at the end of every calm, besides the rules: nothing left over, nothing that grows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ...engine.connection import Side
from ...harness import Chaos
from ...reference.broker import MemoryBroker
from ...reference.session import Session
from .application import TOPICS, Application

TIMERS = 12
"""Timers that a client and its connection have at most, on both sides and in the proxy."""
_HIDDEN = Side._let_go.__qualname__
EVENTS = 10_000
"""Events for each client that the timeline may carry over from one window to the next."""


def task_names() -> Counter[str]:
    """The tasks of the running loop, by what they run."""
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())


class Invariants:
    """What is looked at in every calm; the first one tells what is normal."""

    def __init__(self, chaos: Chaos, applications: Sequence[Application]) -> None:
        self._chaos = chaos
        self._applications = applications
        self._tasks: Counter[str] | None = None

    def breaches(self) -> Iterator[tuple[str, str]]:
        """What does not hold, in words, and the client concerned (empty: all)."""
        for application in self._applications:
            yield from ((what, application.name) for what in _client(application))
        yield from ((what, "") for what in self._server())
        yield from ((what, "") for what in self._loop())

    def _server(self) -> Iterator[str]:
        server, clients = self._chaos._reference, len(self._applications)
        hub, now = server._hub, asyncio.get_running_loop().time()
        if len(server.connections) != clients:
            yield f"the server has {len(server.connections)} connections of {clients} clients"
        sessions = list(hub.sessions._sessions.values())
        attached = sum(session.link is not None for session in sessions)
        if attached > clients:
            yield f"{attached} sessions of {clients} clients have a connection"
        ttl = hub.profile.replay.session_ttl
        overdue = sum(s.detached_at is not None and s.detached_at + ttl < now for s in sessions)
        if overdue:
            yield f"the server still has {overdue} sessions whose time is over"
        assert isinstance(hub.broker, MemoryBroker)
        for topic, subscribers in hub.broker._topics.items():
            known = [isinstance(s, Session) and (s in hub.sessions or s.link is not None) for s in subscribers]
            lost = known.count(False)
            if topic not in TOPICS or lost:
                yield f"the broker still has {lost} subscribers of {topic!r} that have neither session nor connection"
        held = len(server._admission._strangers)
        if held:
            yield f"the server still counts {held} connections as not yet authenticated"

    def _loop(self) -> Iterator[str]:
        loop: Any = asyncio.get_running_loop()
        # Sockets that a fault has hidden are held for a while, however many there were, and then let go.
        timers = sum(getattr(timer._callback, "__qualname__", "") != _HIDDEN for timer in loop.timers())
        if timers > TIMERS * (len(self._applications) + 1):
            yield f"{timers} timers are set, for {len(self._applications)} clients"
        tasks = task_names()
        if self._tasks is None:
            self._tasks = tasks
        elif surplus := tasks - self._tasks:
            told = ", ".join(f"{number} x {name}" for name, number in surplus.most_common(5))
            yield f"tasks were left over that were not there in the first calm: {told}"


def _client(application: Application) -> Iterator[str]:
    client = application.handle._client
    if not application.ready:
        yield "the client is not ready"
    if len(client._outbox) or application.handle.buffered_amount:
        yield f"its queue holds {len(client._outbox)} requests, {application.handle.buffered_amount} bytes"
    if len(client._inbox):
        yield f"{len(client._inbox)} messages wait for an application that reads"


def carried_too_much(events: int, clients: int) -> str | None:
    """Whether the timeline does not forget."""
    if events > EVENTS * clients:
        return f"the timeline carries {events} events over to the next window, for {clients} clients"
    return None
