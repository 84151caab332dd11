"""One client's application: what it asks of the client, and what it must never see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ...client_handle import Sent
from ...harness import Chaos
from ...reference.client import ClientClosed, QueueFull, ReadyState, ReferenceClient, SendFailed
from ...reference.conversation import Received

TOPICS = tuple(f"news-{number}" for number in range(5))
"""What the server publishes on."""
UP = "up"
"""What the applications publish on; nobody is subscribed to it."""
FORBIDDEN = "forbidden"
"""A topic on which the server refuses everything."""
MOST_PENDING = 200
"""Requests that an application leaves unsettled, at most."""


@dataclass
class Counts:
    """What one application did, and what came of it."""

    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    handed_back: int = 0
    heard: int = 0
    gaps: int = 0
    ready: int = 0
    gave_up: int = 0
    closed: int = 0
    """How often the application itself closed, or asked to connect anew."""
    repeated: int = 0
    """Messages that came twice, after a session was lost."""


@dataclass
class _Message:
    """One message on its way up."""

    number: int
    topic: str
    receipt: Sent | None = None
    """None: it was refused at once."""
    copies: int = 1
    """How often it may arrive: once more for each session that was lost while it was pending."""
    arrived: int = 0
    ok: bool | None = None
    """The verdict; None: none yet."""


@dataclass
class _Topic:
    """A subscription."""

    request: Sent | None
    """The request that is not yet settled."""
    since: int
    """The number of the last publication before it was asked for: up to there an earlier subscription may tell."""
    confirmed: bool = False
    last: int | None = None
    """The number of the last publication that was heard."""
    hole: bool = True
    """Whether publications may be missing before the next one: a gap was told, or it was not yet subscribed."""
    leaving: Sent | None = None
    unsure: bool = False
    """Whether a request was handed back: it may have been carried out or not, until the topic has been left."""


@dataclass
class Application:
    """An application with one client.

    Args:
        breach: told, in words and with the client's name, of whatever must not be.
        published: the number of the last publication of each topic.
    """

    chaos: Chaos
    name: str
    kind: type[ReferenceClient]
    rng: Random
    breach: Callable[[str, str], None]
    published: Mapping[str, int]
    counts: Counts = field(default_factory=Counts)
    ready: bool = False
    since: float = 0.0
    """When it last became ready, or was started, on the loop's clock."""
    calm: bool = False
    """Whether its link must not be lost."""
    restart_at: float | None = None
    """When the application will start it again, after it has stopped."""
    paused_until: float | None = None

    def __post_init__(self) -> None:
        self.delivery = self.chaos.profile.replay.delivery
        self.pending: dict[str, _Message] = {}
        self.topics: dict[str, _Topic] = {}
        self._settled: dict[int, _Message] = {}
        """What has settled in this window, by number."""
        self._highest = 0
        self._number = 0
        self._stopped = False
        self.handle = self.chaos.client(self.name, kind=self.kind, on_event=self._told)
        for topic in self.rng.sample(TOPICS, self.rng.randint(1, 3)):
            self.subscribe(topic)

    # --- what it asks for ---

    def act(self, now: float) -> None:
        """Do something, as chance will have it."""
        if self.stopped:
            return
        chance = self.rng.random()
        if chance < 0.80:
            for _ in range(self.rng.choices([1, 2, 5, 30], [80, 15, 4, 1])[0]):
                self.send()
        elif chance < 0.84:
            self.send(FORBIDDEN)
        elif chance < 0.90:
            self._change_a_subscription()
        elif chance < 0.94:
            self.handle.pause_reading()
            self.paused_until = now + self.rng.uniform(1, 60)
        elif chance < 0.97:
            self._asked()
            self.handle.reconnect()
        else:
            self._asked()
            self.handle.close(*self.rng.choice([(1000, "done"), (1001, ""), (1000, "")]))
            self.restart_at = now + self.rng.uniform(1, 100)

    def send(self, topic: str = UP) -> None:
        """Publish a message that is like no other."""
        if self.stopped or len(self.pending) >= min(MOST_PENDING, self.chaos.profile.replay.queue_messages // 2):
            return
        self._number += 1
        number, ref = self._number, f"{self.name}-{self._number}"
        data = {"from": self.name, "n": number, "pad": "x" * self.rng.choice([0, 0, 10, 200])}
        with suppress(ClientClosed, QueueFull):
            message = self.pending[ref] = _Message(number, topic)
            message.receipt = self.handle.send(topic, data, ref=ref)
            self.counts.sent += 1

    def subscribe(self, topic: str) -> None:
        """Ask for a topic's publications."""
        with suppress(ClientClosed, QueueFull):
            self.topics[topic] = _Topic(self.handle.subscribe(topic), self.published[topic])

    def _change_a_subscription(self) -> None:
        topic = self.rng.choice(TOPICS)
        held = self.topics.get(topic)
        if held is None:
            self.subscribe(topic)
        elif held.confirmed and held.leaving is None and len(self.topics) > 1:
            self._leave(topic)

    def _leave(self, topic: str) -> None:
        with suppress(ClientClosed, QueueFull):
            self.topics[topic].leaving = self.handle.unsubscribe(topic)

    def _asked(self) -> None:
        self.calm = False
        self.counts.closed += 1

    # --- from time to time ---

    @property
    def stopped(self) -> bool:
        """Whether the client does not run."""
        return self._stopped or self.restart_at is not None

    def look(self, now: float) -> None:
        """See what has settled, and start the client again where that is due."""
        if self.paused_until is not None and now >= self.paused_until:
            self.resume()
        if not self.ready and self.restart_at is None and self.handle.ready_state is ReadyState.CLOSED:
            self._stopped = True
            self.restart_at = now + self.rng.uniform(1, 100)
        if self.restart_at is not None and now >= self.restart_at:
            self.restart(now)
        for topic, held in list(self.topics.items()):
            if held.request is not None and held.request.done:
                held.confirmed, held.request = _succeeded(held.request), None
                held.unsure = not held.confirmed
            elif held.leaving is not None and held.leaving.done:
                left, held.leaving = _succeeded(held.leaving), None
                held.unsure, held.confirmed = True, False
                if left:
                    del self.topics[topic]
            elif held.unsure and held.request is None and held.leaving is None and self.ready:
                self._leave(topic)

    def restart(self, now: float) -> None:
        """Connect anew, after the client has stopped."""
        if self.handle.ready_state is not ReadyState.CLOSED:
            self.restart_at = now + 1.0  # its close handshake is not over
            return
        self.restart_at, self._stopped, self.since = None, False, now
        self.handle.reconnect()

    def resume(self) -> None:
        """Read again."""
        self.paused_until = None
        self.handle.resume_reading()

    # --- what it hears ---

    def _told(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "ready":
                self._became_ready(bool(event["recovered"]))
            case "closed":
                self._lost(event)
            case "gave_up":
                self.counts.gave_up += 1
                self._stopped = True
                for ref in event["undelivered"]:
                    self._verdict(ref, False, "handed back")
            case "settled":
                self._verdict(event["ref"], bool(event["ok"]), str(event["error"]))
            case "message":
                self._heard(event["topic"], event["data"])
            case "gap":
                self.counts.gaps += 1
                for held in self.topics.values():
                    held.hole = True

    def _became_ready(self, recovered: bool) -> None:
        self.ready = True
        self.since = self.chaos.timeline.now()
        self.counts.ready += 1
        if not recovered:
            for message in self.pending.values():
                message.copies += 1

    def _lost(self, event: Mapping[str, Any]) -> None:
        was, self.ready = self.ready, False
        if was and self.calm:
            self.breach(
                f"a healthy link was lost in a calm: closed with code {event.get('code')} {event.get('reason') or ''}",
                self.name,
            )

    def _verdict(self, ref: str, ok: bool, error: str) -> None:
        message = self.pending.pop(ref, None)
        if message is None:
            self.breach(f"the send {ref!r} settled twice", self.name)
            return
        message.ok = ok
        self._settled[message.number] = message
        if message.topic == FORBIDDEN and ok:
            self.breach(f"the send {ref!r} was acknowledged, though the server refuses its topic", self.name)
        if ok:
            self.counts.acknowledged += 1
        elif message.topic == FORBIDDEN:
            self.counts.refused += 1
        elif message.receipt is not None:
            self.counts.handed_back += 1

    def _heard(self, topic: str, data: Mapping[str, Any]) -> None:
        self.counts.heard += 1
        held = self.topics.get(topic)
        if held is None:
            return  # it has left, and what was on its way still comes
        number, last = int(data["n"]), held.last
        held.last = number
        if held.unsure:
            held.hole = True
        if last is not None and number <= last and self.delivery != "at-least-once":
            how = "twice" if number == last else "out of order"
            self.breach(f"publication {number} of {topic} came {how}, after {last}", self.name)
        if last is not None and number > last + 1 and not held.hole:
            self.breach(f"publications {last + 1} to {number - 1} of {topic} are missing; no gap was told", self.name)
        if number > held.since:
            held.hole = False

    # --- what the server got of it ---

    def arrived(self, received: Received) -> None:
        """A message of this client has reached the server's application."""
        number = int(received.data["n"])
        message = self._find(number)
        if message is None:
            self.breach(f"message {number} arrived in a window in which it was not under way", self.name)
            return
        message.arrived += 1
        if message.arrived > 1:
            self.counts.repeated += 1
            if message.arrived > message.copies or self.delivery == "at-most-once":
                self.breach(
                    f"message {number} reached the server {message.arrived} times; {message.copies - 1} sessions "
                    "were lost while it was pending",
                    self.name,
                )
        elif number < self._highest:
            self.breach(f"message {number} reached the server after message {self._highest}", self.name)
        self._highest = max(self._highest, number)

    def _find(self, number: int) -> _Message | None:
        return self._settled.get(number) or self.pending.get(f"{self.name}-{number}")

    def settle_up(self) -> None:
        """At the end of a calm: what was acknowledged has arrived, and nothing is left; then forget it."""
        for message in self._settled.values():
            if message.ok and not message.arrived:
                self.breach(f"message {message.number} was acknowledged, and has not arrived", self.name)
            if message.receipt is not None and not message.receipt.done:
                self.breach(f"message {message.number} was told as settled, and its receipt is not", self.name)
        for ref in self.pending:
            self.breach(f"the send {ref!r} has not settled, though the client was ready all the time", self.name)
        self._settled.clear()

    @property
    def misses(self) -> str:
        """What it has not heard of the topics that it is subscribed to, in words; empty: it is up to date."""
        for topic, held in self.topics.items():
            newest = self.published[topic]
            if held.confirmed and held.leaving is None and held.last != newest:
                return f"publication {newest} of {topic} has not come, the last one was {held.last}"
        return ""

    @property
    def owes(self) -> str:
        """What of its requests is not settled, in words; empty: all are."""
        if self.pending:
            return f"the send {next(iter(self.pending))!r} has not settled"
        waiting = [topic for topic, held in self.topics.items() if held.request or held.leaving]
        return f"the subscription to {waiting[0]} has not settled" if waiting else ""


def _succeeded(request: Sent) -> bool:
    try:
        request.result()
    except SendFailed:
        return False
    return True
