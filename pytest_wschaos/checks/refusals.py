"""The refusals of a client's credentials: which in a row each of them was, as far as that can be told."""

from __future__ import annotations

from dataclasses import dataclass

from ..profile import Profile
from .ending import reaction
from .links import dead_pings
from .story import Client, Connection, Story
from .tolerance import GRACE, STAMP_DELAY, STANDSTILLS
from .waits import Course, Wait


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection by whose end the server refused the client's credentials, by Close or by HTTP.

    Since the client was last ready, or was started anew by its application, it is refusal number ``least`` to ``most``:
    some before it the client may not have read, or its application may have had it forget.
    """

    connection: Connection
    least: int
    most: int
    read: bool
    """Whether the client has certainly read this one."""


def refusals(story: Story, course: Course) -> list[Refusal]:
    """The refusals that one client met, in order."""
    found = []
    least = most = 0
    for connection in course.client.connections:
        into = course.into(connection)
        if connection.ready is not None or (into is not None and _reconnected(course.client, into)):
            least = most = 0
        elif into is not None and into.cause == "asked":
            least = 0
        if reaction(connection, course.profile) == "refresh":
            read = not _perhaps_unread(story, connection, course.profile)
            least, most = least + read, most + 1
            found.append(Refusal(connection, least, most, read))
    return found


def _reconnected(client: Client, into: Wait) -> bool:
    """Whether the application certainly had a client start anew: asked while it connects, it goes on as it was."""
    if into.cause != "asked" or into.unheeded:
        return False
    ended = into.before.signs[0]
    told = (e.kind for e in client.app[into.before.told :] if ended <= e.at <= into.at + STAMP_DELAY)
    return next((kind for kind in told if kind in ("app.connecting", "app.reconnect")), None) == "app.reconnect"


def _perhaps_unread(story: Story, connection: Connection, profile: Profile) -> bool:
    """Whether a refusal came when the client may have given the connection up, by its own clock."""
    at = connection.signs[0]
    if connection.ready is None:
        slack = GRACE + STANDSTILLS * story.record.lag(connection.attempt, at)
        return at - connection.attempt >= profile.reconnect.open_timeout - slack
    deadline = profile.heartbeat.deadline
    return any(
        ping.at + deadline <= at + GRACE + STANDSTILLS * story.record.lag(ping.at, at)
        for ping in dead_pings(story, connection, deadline)
    )
