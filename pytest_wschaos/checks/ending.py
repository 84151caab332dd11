"""How a connection ended, what reaction that calls for, and whether the client stayed away or came back."""

from __future__ import annotations

from ..profile import Profile, Reaction
from ..timeline import Event, Record
from .story import Client, Connection, Story, unseen_attempts
from .tolerance import GRACE, STANDSTILLS, Timing, by, late_by
from .verdict import Finding, failed, inconclusive, passed

RESERVED = frozenset({1004, 1005, 1006, 1015})
"""Close codes that no Close frame may carry; one that does is a protocol error (1002)."""
FINAL = frozenset[Reaction]({"stop", "fatal"})
"""The reactions after which a client stays closed."""
_BROKEN_BY_SERVER = frozenset({1002, 1003, 1007})
"""Codes of a client's own Close that say what the server broke: they call for the same reaction as from the server."""
_RETRIED_STATUSES = frozenset({200, 408, 425, 429})


def http_reaction(connection: Connection) -> Reaction | None:
    """What a client does after an HTTP answer other than 101; None where there is none, or the spec leaves it open.

    It does for a redirect within the same origin; any other stops the client.
    """
    status = 101 if connection.response is None else connection.response["status"]
    if connection.redirect == "foreign":
        return "fatal"
    if status == 401:
        return "refresh"
    if status in _RETRIED_STATUSES or status >= 500:
        return "retry"
    return "fatal" if 400 <= status < 500 else None


def server_close(connection: Connection) -> Event | None:
    """The Close frame with which the server began the closing handshake, as it reached the client."""
    begun = connection.first("close")
    return begun if begun is not None and begun.way == "down" else None


def client_close(connection: Connection) -> Event | None:
    """The Close frame with which the client began it."""
    begun = connection.first("close")
    return begun if begun is not None and begun.way == "up" else None


def own_close(connection: Connection) -> Event | None:
    """The Close 1000 or 1001 by which the client ended a working connection on its own account.

    One after a farewell of the server, or with a ping unanswered, is not of its own account: clients
    use these codes for dead links, too.
    """
    close = client_close(connection)
    if close is None or close.get("code") not in (1000, 1001) or connection.ready is None:
        return None
    farewell = connection.first("farewell", way="down")
    prompted = farewell is not None and farewell.at <= close.at
    unanswered = any(
        ping.at <= close.at and (ping.answered is None or ping.answered > close.at) for ping in connection.pings
    )
    return None if prompted or unanswered else close


def reaction(connection: Connection, profile: Profile) -> Reaction | None:
    """The reaction that a connection's end calls for; None: it has not ended, or the spec leaves it open."""
    if connection.response is not None and connection.response["status"] != 101:
        return http_reaction(connection)
    if (close := server_close(connection)) is not None:
        return close_reaction(close.get("code"), profile)
    if connection.close_sent is not None and connection.close_sent.get("code") in _BROKEN_BY_SERVER:
        return profile.close.reaction(connection.close_sent["code"])
    return "retry" if connection.over is not None else None


def close_reaction(code: int | None, profile: Profile) -> Reaction:
    """The reaction to a Close frame that came with ``code`` (None: without one)."""
    return profile.close.reaction(1005 if code is None else 1002 if code in RESERVED else code)


def describe_end(connection: Connection) -> str:
    """How a connection ended, in words."""
    if connection.refused:
        return "was refused"
    if connection.response is not None and connection.response["status"] != 101:
        to = connection.response.get("to")
        return f"was answered HTTP {connection.response['status']}" + (f" to {to}" if to else "")
    if (close := server_close(connection)) is not None:
        code, reason = close.get("code"), close.get("reason")
        return f"got Close {'without a code' if code is None else code}" + (f" {reason!r}" if reason else "")
    if connection.close_sent is not None:
        return f"sent Close {connection.close_sent.get('code')}"
    if connection.end is None:
        return "did not end"
    return (
        f"was {'ended by the client' if connection.end['by'] == 'peer' else 'cut'} ({connection.end.get('how', 'fin')})"
    )


def asked(client: Client, name: str, start: float | Connection, end: float) -> float | None:
    """When the application asked for something (``close``, ``reconnect``) between two instants.

    Since a connection began: events of one instant are told apart by their order, so that what led to the connection
    is not taken for something that was asked during it.
    """
    kind = f"app.{name}"
    if isinstance(start, Connection):
        events, start = client.app[start.told :], start.attempt
    else:
        events = client.app
    return next((e.at for e in events if e.kind == kind and start <= e.at <= end), None)


def came_back(story: Story, client: Client, connection: Connection, longest: float) -> Finding:
    """Whether a new attempt followed a connection's end by itself within ``longest`` seconds."""
    signs = connection.signs
    if not signs:
        return inconclusive(f"connection {connection.number} had not ended when the record did")
    what = f"connection {connection.number} {describe_end(connection)}"
    due = signs[-1] + longest
    # What began before the end is no answer to it; what began just before may have been.
    later = [c for c in client.connections if c is not connection and c.attempt >= signs[0] - GRACE]
    at = later[0].attempt if later else None
    if at is None and (other := _held_besides(client, connection, signs[-1])) is not None:
        return inconclusive(f"{what}, when the client had connection {other.number} as well")
    if unseen := client.failed_fetches(signs[0], due if at is None else at):
        at = unseen[0].at
    if asked(client, "close", connection, due if at is None else min(at, due)) is not None:
        return inconclusive(f"{what}, and the application closed")
    restart = asked(client, "reconnect", connection, due)
    if restart is not None and (at is None or restart <= at):
        return inconclusive(f"{what}, and the application itself asked to reconnect")
    begun = _began(client, signs[0], at)
    match by(story.record, due, begun, since=signs[0]):
        case Timing.KEPT:
            took = (begun or 0.0) - signs[0]
            return passed(f"{what}; the next attempt came {took:.3f} s later", reconnect_s=took)
        case Timing.BROKEN if _unseen(story, signs[0], due):
            return inconclusive(f"{what}; later attempts were refused, and are not seen")
        case Timing.DOUBTFUL if at is None:
            return inconclusive(
                f"{what}; no attempt within {story.record.until - signs[-1]:.3f} s, when the record ended "
                f"(allowed: {longest:.3f} s)"
            )
        case Timing.DOUBTFUL:
            return inconclusive(f"{what}; the attempt came late, but {late_by(story.record, signs[0], due)}")
        case _:
            came = "no attempt followed" if at is None else f"the next attempt came only {at - signs[-1]:.3f} s later"
            return failed(f"{what}; {came}, expected within {longest:.3f} s", at=signs[-1])


def _began(client: Client, since: float, attempt: float | None) -> float | None:
    """When a client began with an attempt: where it tells so, with the fetch of its token, which may take a while."""
    if attempt is None:
        return None
    # The last one: at the instant of the end the attempt that has ended may have begun, too.
    return next((e.at for e in reversed(client.told("connecting")) if since <= e.at <= attempt), attempt)


def _held_besides(client: Client, connection: Connection, at: float) -> Connection | None:
    """Another connection that the client held at an instant."""
    return next((c for c in client.connections if c is not connection and c.alive_at(at)), None)


def stayed_away(
    story: Story,
    client: Client,
    since: float | Connection,
    quiet: float,
    what: str,
    *,
    underway: float = 0.0,
) -> Finding:
    """Whether a client that must stay closed made no attempt for ``quiet`` seconds after ``since``.

    ``since`` may be the connection of whose end the client learned then: what came after that one counts, at the
    same instant too. An attempt within ``underway`` seconds may have left before the client could know, and is let
    pass.
    """
    surely = isinstance(since, Connection)  # that it knew: it had no other connection under way
    if isinstance(since, Connection):
        ended, since = since, since.signs[0]
        end = _first_sign(ended)
        others = [c for c in client.connections if c is not ended and since + underway <= c.attempt]
        candidates = [c for c in others if comes_first(story.record, end, c.events[0])]
    else:
        candidates = [c for c in client.connections if since + underway < c.attempt]
    record, until = story.record, since + quiet
    # For good means for as long as the record goes: a client that is a moment late has not stayed away.
    restart = asked(client, "reconnect", since, record.until)
    attempts = [c for c in candidates if restart is None or c.attempt < restart]
    if attempts:
        first = attempts[0]
        lag = record.lag(since, first.attempt)
        if (lag or not surely) and first.attempt - since - underway <= STANDSTILLS * lag:
            return inconclusive(
                f"{what}; attempt {first.number} came at once, but {late_by(record, since, first.attempt)}"
            )
        return failed(
            f"{what}; yet attempt {first.number} came {first.attempt - since:.3f} s later; expected none",
            at=first.attempt,
            attempts=len(attempts),
        )
    if _unseen(story, since, until if restart is None else min(until, restart)):
        return inconclusive(f"{what}; attempts were refused in this time, and are not seen")
    if restart is not None and restart < until:
        return inconclusive(
            f"{what}; the application asked to reconnect after {restart - since:.3f} s, too soon to tell "
            f"(needed: {quiet:.3f} s)"
        )
    if record.until < until:
        return inconclusive(
            f"{what}; no attempt for {record.until - since:.3f} s, when the record ended (needed: {quiet:.3f} s)"
        )
    return passed(f"{what}; no attempt for {quiet:.3f} s", quiet_s=record.until - since)


def _first_sign(connection: Connection) -> Event:
    """The event by which the client learned of the end first, or decided on it."""
    rejected = connection.response is not None and connection.response["status"] != 101
    events = [
        connection.close_received,
        connection.close_sent,
        connection.response if rejected else None,
        connection.end,
        connection.events[0],  # a refusal
    ]
    return next(e for e in events if e is not None and e.at == connection.signs[0])


def comes_first(record: Record, one: Event, other: Event) -> bool:
    """Whether an event came before another; of those of one instant the record has kept the order."""
    if one.at != other.at:
        return one.at < other.at
    return next(e for e in record.events if e is one or e is other) is one


def _unseen(story: Story, start: float, end: float) -> bool:
    return any(begin <= end and until >= start for begin, until in unseen_attempts(story.record))
