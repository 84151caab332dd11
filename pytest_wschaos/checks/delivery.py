"""What one client was asked to send, sent and got, told per session: what the REPLAY checks read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..profile import Profile
from ..timeline import Event
from .ending import asked, own_close, reaction
from .links import during
from .story import Client, Connection, Story
from .tolerance import GRACE, STANDSTILLS

FLUSH = 0.5
"""Seconds within which a client that is ready must have begun to send what it kept."""
QUIET = 0.2
"""Seconds after ready in which a client would have repeated what it must not."""
DISTURBING = ("silent_drop", "mute_pongs", "bandwidth", "latency")
"""Faults under which a client may rightly wait before it sends on."""
REQUESTS = ("message", "subscribe", "unsubscribe")


@dataclass(frozen=True)
class Link:
    """A connection that became ready, and the session that it carried on."""

    connection: Connection
    session: int
    """Counted from 0 for each client; a welcome that recovers nothing starts the next one."""
    until: float
    """When the client learned of its end; the record's end while it lasted."""

    @cached_property
    def ready(self) -> float:
        """When it became ready."""
        assert self.connection.ready is not None
        return self.connection.ready

    @cached_property
    def welcome(self) -> Event | None:
        """The server's welcome, as it reached the client."""
        return self.connection.first("welcome", way="down")

    @cached_property
    def recovered(self) -> bool:
        """Whether the server went on with the session before."""
        return self.welcome is not None and bool(self.welcome.get("recovered"))

    @cached_property
    def sent(self) -> list[Event]:
        """The application's messages that the client sent on it."""
        return self.connection.seen("message", way="up")

    @cached_property
    def arrived(self) -> list[Event]:
        """Those that reached the server."""
        return self.connection.seen("message", place="server", way="up")

    @cached_property
    def verdicts(self) -> dict[object, Event]:
        """The server's verdict on each id, as it reached the client."""
        return {e.get("id"): e for e in reversed(self.connection.seen("ack", way="down")) if e.get("id") is not None}

    @property
    def name(self) -> str:
        """How a verdict names it."""
        return f"connection {self.connection.number}"

    def covers(self, id: object) -> bool:
        """Whether the welcome said that the server has processed an id."""
        last = self.welcome.get("last_id") if self.welcome is not None else None
        return self.recovered and isinstance(last, int) and isinstance(id, int) and id <= last

    def pace(self, frames: int) -> float:
        """Seconds that a client may take to send some frames under the welcome's rate, with room to spare."""
        rate = self.welcome.get("rate") if self.welcome is not None else None
        return 2 * frames / rate if rate else 0.0


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A message that was sent, and whose verdict had not come when its connection broke."""

    message: Event
    link: Link
    again: Link | None
    """Where it was sent again."""
    covered: bool
    """Whether a later welcome said that the server had it."""
    missing: Link | None
    """The first later connection that lasted long enough to send it again, and did not."""


class Traffic:
    """One client's messages, in both directions."""

    def __init__(self, story: Story, client: Client, profile: Profile) -> None:
        self.story = story
        self.client = client
        self.profile = profile
        self.asks = client.told("send")
        """What the application asked it to send."""
        self.links = list(self._links())

    def _links(self) -> Iterator[Link]:
        session = -1
        for connection in self.client.connections:
            if connection.ready is not None:
                welcome = connection.first("welcome", way="down")
                if session < 0 or welcome is None or not welcome.get("recovered"):
                    session += 1
                yield Link(connection, session, min([*connection.signs, self.story.record.until]))

    def when(self, event: Event) -> str:
        """When something happened, for a person."""
        return f"{event.at:.3f} s after the start"

    def after(self, link: Link) -> list[Link]:
        """The links that followed one."""
        return self.links[self.links.index(link) + 1 :]

    def before(self, link: Link) -> list[Link]:
        """The links of the same session that came before one."""
        return [earlier for earlier in self.links[: self.links.index(link)] if earlier.session == link.session]

    def due(self, link: Link, frames: int, since: float | None = None) -> float:
        """When a client that was ready must have sent what it kept; ``since``: a later instant to count from."""
        start = link.ready if since is None else since
        due = start + FLUSH + link.pace(frames)
        return due + STANDSTILLS * self.story.record.lag(start, due)

    def had_time(self, link: Link, frames: int, since: float | None = None) -> bool:
        """Whether a link lasted, undisturbed, for as long as it may take to send what was kept."""
        due = self.due(link, frames, since)
        return link.until >= due and not during(self.story, link.ready, due, *DISTURBING)

    def down_at(self, instant: float) -> bool:
        """Whether the client was not ready at an instant."""
        return not any(link.ready <= instant < link.until for link in self.links)

    def handed_back(self, start: float, end: float) -> bool:
        """Whether the client gave up, or was to stay closed, between two instants: it owes nothing from before."""
        gave_up = any(start <= e.at <= end for e in self.client.told("gave_up"))
        stopped = any(
            c.over is not None and start <= c.over <= end and reaction(c, self.profile) in ("stop", "fatal")
            for c in self.client.connections
        )
        failures = sum(start <= c.attempt <= end and c.ready is None for c in self.client.connections)
        allowed = self.profile.reconnect.max_retries
        exhausted = allowed is not None and failures >= allowed
        return gave_up or stopped or exhausted or asked(self.client, "close", start, end) is not None

    def handed_back_between(self, before: Link, after: Link) -> bool:
        """Whether the client owes nothing from before, when a link has followed another."""
        # The application may have asked for a close while the first one was ready, and so a little before its end.
        closed = asked(self.client, "close", before.connection, after.ready) is not None
        return closed or self.handed_back(before.until, after.ready)

    def renumbered(self, before: Link, after: Link) -> bool:
        """Whether ids were left behind between two connections, so that what is pending takes new ones."""
        close = before.connection.close_received
        bad_id = close is not None and close["code"] == 4400
        dropped = reaction(before.connection, self.profile) == "drop"
        return dropped or bad_id or self.dropped_between(before, after) or self.handed_back_between(before, after)

    def dropped_between(self, before: Link, after: Link) -> bool:
        """Whether an attempt between two links ended so that the client gave up something it had written before."""
        return any(
            reaction(c, self.profile) == "drop"
            for c in self.client.connections
            if before.connection.attempt < c.attempt < after.connection.attempt
        )

    def distinct(self, place: str) -> Counter[str]:
        """How often each payload was sent (place client), or arrived (place server), repetitions not counted."""
        seen: Counter[str] = Counter()
        for session in {link.session for link in self.links}:
            ids: set[tuple[object, object]] = set()
            for link in self.links:
                for e in link.sent if place == "client" else link.arrived:
                    key = (e.get("id"), e["digest"])
                    if link.session == session and (key[0] is None or key not in ids):
                        ids.add(key)
                        seen[e["digest"]] += 1
        return seen

    @cached_property
    def unsettled(self) -> list[Unsettled]:
        """The messages that were under way when their connection broke, and what became of them."""
        found = []
        for link in self.links:
            if link.connection.over is None or own_close(link.connection) is not None:
                continue
            pending = [e for e in link.sent if e.get("id") is not None and e["id"] not in link.verdicts]
            if pending and reaction(link.connection, self.profile) == "drop":
                # The server found one of them too big and did not say which; the client gives up the largest.
                pending.remove(max(pending, key=lambda e: e.get("size") or 0))
            wanted: Counter[str] = Counter()
            for message in pending:
                wanted[message["digest"]] += 1
                found.append(self._fate(message, link, wanted[message["digest"]], len(pending)))
        return found

    def _fate(self, message: Event, link: Link, copies: int, pending: int) -> Unsettled:
        """What became of a message; ``copies`` counts it among those with the same payload."""
        for later in self.after(link):
            if self.handed_back_between(link, later) or self.dropped_between(link, later):
                break
            if later.covers(message["id"]) and later.session == link.session:
                return Unsettled(message, link, None, True, None)
            same = [e for e in later.sent if e["digest"] == message["digest"]]
            if later.session == link.session and reaction(link.connection, self.profile) != "drop":
                again = any(e.get("id") == message["id"] for e in same)
            else:
                again = len(same) >= copies
            if again:
                return Unsettled(message, link, later, False, None)
            if self.had_time(later, pending):
                return Unsettled(message, link, None, False, later)
        return Unsettled(message, link, None, False, None)

    def arrived(self, unsettled: Unsettled) -> bool:
        """Whether a message reached the server on the connection on which it was first sent."""
        return any(e.get("id") == unsettled.message["id"] for e in unsettled.link.arrived)

    def surely(self, event: Event, link: Link) -> bool:
        """Whether the client must have read what reached it; what came just before the end may be lost unread."""
        if link.connection.over is None:
            return self.story.record.until - event.at > GRACE
        return link.until - event.at > GRACE + STANDSTILLS * self.story.record.lag(event.at, link.until)


def traffics(story: Story, profile: Profile) -> list[Traffic]:
    """The traffic of every client."""
    return [Traffic(story, client, profile) for client in story.clients]
