"""What one client was subscribed to, link by link, and what it made of that after a reconnect: REPLAY-07."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..timeline import Event
from .delivery import QUIET, Link, Traffic
from .story import Client
from .verdict import Finding, failed, inconclusive, passed


def _tell(event: str, topic: str) -> str:
    """How a test puts on record what its application asks for."""
    return f"wschaos.report({{'event': {event!r}, 'topic': {topic!r}}})"


@dataclass(frozen=True, slots=True)
class Wish:
    """A topic that the client subscribed to, and how far that had got in the session."""

    topic: str
    id: object = None
    """Of its last request in this session."""
    sent: bool = False
    """Whether it was asked for in this session."""
    held: bool = False
    """Whether the server had confirmed it in this session."""
    debts: int = 0
    """Requests without a verdict that the client surely read: each may rightly be sent once more."""

    @property
    def sure(self) -> bool:
        """Whether the client must know that the session has it."""
        return self.held and not self.debts

    def afresh(self) -> Wish:
        """The same in a session that knows nothing of it."""
        return Wish(self.topic, debts=max(1, self.debts + self.held))

    def owed(self, link: Link) -> bool | None:
        """Whether a link must carry it again; None: nobody can tell whether the server has it."""
        if not self.sent:
            return True
        if self.held or link.covers(self.id):
            return False
        last = link.welcome.get("last_id") if link.welcome is not None else None
        return True if isinstance(last, int) and isinstance(self.id, int) else None


class Asks:
    """What the application is on record to have asked for. Each request on the wire uses one of them up."""

    def __init__(self, client: Client) -> None:
        self._asks = [e for e in client.app if e.kind in ("app.subscribe", "app.unsubscribe")]
        self._topics = {e.get("topic") for e in self._asks if e.kind == "app.subscribe"}
        self._read = 0
        self._open: Counter[object] = Counter()

    def known(self, topic: str) -> bool:
        """Whether the application's own subscriptions to a topic are on record."""
        return topic in self._topics

    def withdrawn(self, topic: str, instant: float) -> bool:
        """Whether the last that it asked for by an instant was to be unsubscribed."""
        asks = [e for e in self._asks if e.get("topic") == topic and e.at <= instant]
        return bool(asks) and asks[-1].kind == "app.unsubscribe"

    def explain(self, event: Event) -> bool:
        """Whether the application had asked for a subscription, and for no earlier one, by that ask."""
        while self._read < len(self._asks) and self._asks[self._read].at <= event.at:
            ask = self._asks[self._read]
            self._open[ask.get("topic")] = self._open[ask.get("topic")] + 1 if ask.kind == "app.subscribe" else 0
            self._read += 1
        explained = self._open[event["topic"]] > 0
        self._open[event["topic"]] -= explained
        return explained


def restored(traffic: Traffic) -> Iterator[Finding]:
    """What is to be said of each link that followed another."""
    asks = Asks(traffic.client)
    wishes: dict[str, Wish] = {}
    for before, link in zip([None, *traffic.links], traffic.links, strict=False):
        if before is not None and traffic.handed_back_between(before, link):
            # What had not settled by then was given back to the application, which may ask again or not.
            wishes = {topic: wish for topic, wish in wishes.items() if wish.sure}
        if not link.recovered:
            wishes = {topic: wish.afresh() for topic, wish in wishes.items()}
        after, extra = _followed(traffic, link, wishes, asks)
        if wishes and before is not None:
            yield _repeated(link, wishes, extra, asks) or _complete(traffic, link, wishes, asks)
        wishes = after


def _requests(link: Link) -> list[Event]:
    """What the client asked for on a link, each id once; an unsubscription frees the ids of its topic."""
    seen: set[tuple[str, object]] = set()
    found = []
    for event in link.connection.seen("subscribe", "unsubscribe", way="up"):
        topic, id = event["topic"], event.get("id")
        if event.kind == "unsubscribe":
            seen = {key for key in seen if key[0] != topic}
        elif id is not None and (topic, id) in seen:
            continue
        else:
            seen.add((topic, id))
        found.append(event)
    return found


def _refused(link: Link, event: Event) -> bool:
    verdict = link.verdicts.get(event.get("id"))
    return verdict is not None and not verdict.get("ok", True)


def _followed(
    traffic: Traffic, link: Link, wishes: Mapping[str, Wish], asks: Asks
) -> tuple[dict[str, Wish], list[Event]]:
    """What is wished for after a link, and the subscriptions on it for which there was no reason on record."""
    after, extra = dict(wishes), []
    left = Counter({topic: wish.debts for topic, wish in wishes.items()})
    renewed: set[str] = set()
    for event in _requests(link):
        topic = event["topic"]
        explained = event.kind == "subscribe" and asks.explain(event)
        if event.kind == "subscribe" and not explained and not left[topic] and topic in wishes.keys() - renewed:
            extra.append(event)
        renewed.discard(topic)
        if event.kind == "unsubscribe" or _refused(link, event):
            after.pop(topic, None)
            left[topic] = 0
            renewed.add(topic)  # the next subscription is a new one
            continue
        paid = not explained and left[topic] > 0
        left[topic] -= paid
        after[topic] = _sent(traffic, link, after.get(topic, Wish(topic)), event, new=not paid)
    return after, extra


def _sent(traffic: Traffic, link: Link, wish: Wish, event: Event, *, new: bool) -> Wish:
    """A wish after a request for it, and the verdict on that; ``new``: it was not one of its debts."""
    verdict = link.verdicts.get(event.get("id"))
    read = verdict is not None and traffic.surely(verdict, link)
    debts = max(0, wish.debts + new - read)
    return replace(wish, id=event.get("id"), sent=True, held=wish.held or verdict is not None, debts=debts)


def _repeated(link: Link, wishes: Mapping[str, Wish], extra: list[Event], asks: Asks) -> Finding | None:
    """What is to be said of subscriptions without a reason.

    On the wire an application that asks a second time looks like a client that repeats itself. Where what the
    application asks is not on record, only several topics at once, or all of them, can be the client's doing.
    """
    if not extra:
        return None
    proven = [event for event in extra if asks.known(event["topic"])]
    at_once = [event for event in extra if event.at <= link.ready + QUIET]
    topics = {event["topic"] for event in at_once}
    if len(topics) > 1 or (topics and topics >= {t for t, wish in wishes.items() if wish.sure or not link.recovered}):
        proven += at_once
    event = (proven or extra)[0]
    topic = event["topic"]
    if wishes[topic].sure:
        seen = f"{link.name}: topic {topic!r} was subscribed to again, though the session was recovered"
    else:
        times = sum(e.kind == "subscribe" and e["topic"] == topic for e in _requests(link))
        seen = f"{link.name}: topic {topic!r} was subscribed to {times} times; expected once"
    if proven:
        return failed(seen, at=event.at)
    return inconclusive(
        f"{seen}; the application may have asked for it: say at each what it asks, {_tell('subscribe', topic)}",
        at=event.at,
    )


def _complete(traffic: Traffic, link: Link, wishes: Mapping[str, Wish], asks: Asks) -> Finding:
    """Whether all that the session lacks was asked for again, in time, and got through."""
    open_, done = 0, 0
    for wish in wishes.values():
        owed = wish.owed(link)
        if owed is False:
            continue
        first = next((e for e in _requests(link) if e["topic"] == wish.topic), None)
        due, had_time = _due(traffic, link, len(wishes), first)
        if first is not None and first.at <= due:
            # An unsubscription ends the wish; what did not get through restored nothing.
            open_ += first.kind == "subscribe" and not _got_through(link, wish.topic)
            done += first.kind == "subscribe" and _got_through(link, wish.topic)
        elif asks.withdrawn(wish.topic, due):
            continue
        elif owed and had_time:
            return _missed(link, wish, first, asks)
        else:
            open_ += 1
    if open_:
        return inconclusive(
            f"{link.name}: {open_} of {len(wishes)} subscriptions were not restored before its end, or not for certain"
        )
    if link.recovered:
        return _left_alone(link, wishes.values())
    if not done:
        return inconclusive(f"{link.name}: the application had unsubscribed from all topics meanwhile")
    return passed(f"{link.name}: {done} subscriptions restored, once each", topics=done)


def _left_alone(link: Link, wishes: Iterable[Wish]) -> Finding:
    sure = sum(wish.sure for wish in wishes)
    if link.until < link.ready + QUIET or not sure:
        return inconclusive(f"{link.name} was ready for too short a time, or no subscription had been confirmed")
    return passed(f"{link.name}: recovered, and none of {sure} subscriptions repeated", topics=sure)


def _due(traffic: Traffic, link: Link, topics: int, first: Event | None) -> tuple[float, bool]:
    """Until when a topic must have been asked for, and whether the link lasted undisturbed until then.

    Clients may ask for one topic after the other, or send what they kept before; each step starts the time anew.
    """
    frames = topics + sum(first is None or message.at < first.at for message in link.sent)
    since, due = link.ready, traffic.due(link, frames)
    for step in _steps(link) if first is None or first.at > due else ():
        if step is first or step.at > due:
            break
        since = max(since, step.at)
        due = traffic.due(link, frames, since)
    return due, traffic.had_time(link, frames, since)


def _steps(link: Link) -> list[Event]:
    """The subscriptions on a link and their verdicts, in the order in which they came."""
    asked = link.connection.seen("subscribe", way="up")
    verdicts = [verdict for e in asked if (verdict := link.verdicts.get(e.get("id"))) is not None]
    return sorted([*asked, *verdicts], key=lambda event: event.at)


def _got_through(link: Link, topic: str) -> bool:
    """Whether a subscription was confirmed, or at least reached the server and was not refused."""
    arrived = {e.get("id") for e in link.connection.seen("subscribe", place="server", way="up") if e["topic"] == topic}
    asked = [e for e in _requests(link) if e.kind == "subscribe" and e["topic"] == topic]
    confirmed = any(e.get("id") in link.verdicts and not _refused(link, e) for e in asked)
    return confirmed or any(e.get("id") in arrived and not _refused(link, e) for e in asked)


def _missed(link: Link, wish: Wish, first: Event | None, asks: Asks) -> Finding:
    where = "in the recovered session, which did not have it" if link.recovered else "in the fresh session"
    if first is None:
        seen = f"{link.name}: topic {wish.topic!r} was not subscribed to again {where}"
    else:
        seen = (
            f"{link.name}: topic {wish.topic!r} was not subscribed to again {where} until {first.at - link.ready:.3f} s"
            " after ready"
        )
    if not asks.known(wish.topic):
        seen += f" (if the application had given it up, say so: {_tell('unsubscribe', wish.topic)})"
    return failed(seen, at=link.ready)
