"""SECURITY: what a server lets in, how fast, and what it does with bad input."""

from __future__ import annotations

from collections.abc import Iterator

from ..profile import Profile, Security
from ..timeline import Event
from .links import during
from .rule import check
from .story import Connection, Story
from .tolerance import GRACE
from .verdict import Finding, failed, inconclusive, passed, unsupported, worst

REFUSED = 403
LIMITED = 4429
TOO_MANY = 1.5
"""How many times the allowance must have been used up before a connection that goes on is a broken rule: what is sent
and what the server has read by then are two things."""
BY_THE_SUITE = "seen by the clients of 'wschaos check --server' alone"


@check(
    "SECURITY-01",
    "The Origin is checked at the handshake: what the allow-list does not name is refused with 403.",
    figures=("security.origins",),
    side="server",
)
def origins(story: Story, profile: Profile) -> Finding:
    """Who is on the list gets in, who is not gets 403; without an Origin it is no browser's request."""
    allowed = profile.security.origins
    if allowed is None:
        return unsupported("the profile declares no allow-list (security.origins)")
    return worst(
        (finding for connection in story.connections if (finding := _origin(connection, allowed)) is not None),
        otherwise=inconclusive("not provoked: no handshake with an Origin was answered"),
    )


def _origin(connection: Connection, allowed: tuple[str, ...]) -> Finding | None:
    request, response = connection.first("handshake", way="up"), connection.response
    if request is None or request.get("origin") is None:
        return None
    origin = request["origin"]
    what = f"connection {connection.number} came with Origin {origin!r}"
    if response is None:
        if connection.over is None or origin in allowed:
            return None
        return failed(f"{what}, and TCP was ended without an answer; expected {REFUSED}", at=connection.over)
    status = response["status"]
    if origin in allowed:
        if status == REFUSED:
            return failed(f"{what}, which is allowed, and was answered {status}", at=response.at)
        return passed(f"{what}, which is allowed, and was let in") if status == 101 else None
    if status != REFUSED:
        return failed(f"{what}, which is not allowed, and was answered {status}; expected {REFUSED}", at=response.at)
    return passed(f"{what}, which is not allowed, and was answered {status}")


@check(
    "SECURITY-02",
    "A connection over the rate limit, charged for every frame, valid or not, is closed 4429; one under it is not.",
    figures=("security.rate", "security.burst"),
    needs=("welcome",),
    side="server",
)
def rate_limit(story: Story, profile: Profile) -> Finding:
    """The frames that reached the server are counted against the profile's bucket."""
    return worst(
        (
            finding
            for connection in story.connections
            if connection.speaks and not _closed_for_a_test(story, connection)
            for finding in _limited(connection, profile.security)
        ),
        otherwise=inconclusive(
            f"not provoked: no client sent more than a burst of {profile.security.burst} frames and "
            f"{profile.security.rate:g} per second"
        ),
    )


def _closed_for_a_test(story: Story, connection: Connection) -> bool:
    """Whether a fault made the server close it, with whatever code."""
    close = connection.first("close", place="server", way="down")
    return close is not None and bool(during(story, connection.attempt, close.at, "accept_then_close", "close"))


def _limited(connection: Connection, figures: Security) -> Iterator[Finding]:
    frames = [e for e in connection.events if _charged(e)]
    close = connection.first("close", place="server", way="down")
    until = close.at if close is not None else None
    seen = [e.at for e in frames if until is None or e.at <= until]
    over = _over(seen, figures)
    what = f"connection {connection.number}: {len(seen)} frames in {seen[-1] - seen[0]:.3f} s" if seen else ""
    if close is not None and close.get("code") == LIMITED:
        if _over(seen, figures, slack=GRACE) <= 0:
            yield failed(f"{what}, and Close {LIMITED}: that is within the limit", at=close.at)
        else:
            yield passed(f"{what}, then Close {LIMITED}", frames=len(seen))
    elif over > (TOO_MANY - 1) * figures.burst:
        told = "no Close" if close is None else f"Close {close.get('code')}"
        yield failed(
            f"{what}, {over:.0f} over the limit, and {told}; expected Close {LIMITED}", at=seen[-1], frames=len(seen)
        )


def _charged(event: Event) -> bool:
    return (
        event.place == "server"
        and event.way == "up"
        and event.kind not in ("handshake", "response", "close", "attempt", "end", "error")
    )


def _over(instants: list[float], figures: Security, *, slack: float = 0.0) -> float:
    """By how many frames a bucket would have been overdrawn at most; below 0: what was left of it."""
    level, last, most = 0.0, instants[0] if instants else 0.0, -float(figures.burst)
    for at in instants:
        level = max(0.0, level - (at - last) * figures.rate) + 1
        last = at
        most = max(most, level - figures.burst)
    return most + slack * figures.rate


@check(
    "SECURITY-03",
    "Every message is validated; a bad one crashes nothing, and no other connection notices.",
    side="server",
)
def validated(story: Story, profile: Profile) -> Finding:
    return unsupported(f"what was wrong with a message is not on a timeline: {BY_THE_SUITE}")


@check(
    "SECURITY-04",
    "Connections per peer, unauthenticated connections and the time of a handshake are bounded.",
    figures=("security.connections", "security.trusted_proxies", "security.handshake_timeout"),
    side="server",
)
def bounded(story: Story, profile: Profile) -> Finding:
    return unsupported(f"how many connections a peer has is not on a timeline: {BY_THE_SUITE}")
