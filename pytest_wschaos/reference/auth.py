"""What the handshake says about a client: its credentials in the four modes, its origin, and how many it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from urllib.parse import parse_qs

from websockets.http11 import Request

from ..profile import AuthMode
from .protocol import COOKIE

ALL_MODES: frozenset[AuthMode] = frozenset({"first_message", "query", "cookie", "header"})


def credential(request: Request, modes: Collection[AuthMode]) -> str | None:
    """The token that came with the upgrade: in the query, a Bearer header, or a cookie; None where there is none."""
    found = (
        _query_token(request) if "query" in modes else None,
        _bearer_token(request) if "header" in modes else None,
        _cookie_token(request) if "cookie" in modes else None,
    )
    return next((token for token in found if token), None)


def origin_refused(request: Request, allowed: tuple[str, ...] | None, modes: Collection[AuthMode]) -> str | None:
    """Why the Origin of an upgrade is refused, in words; None where it is not.

    An origin is allowed when it is listed, letter by letter. Without a list every origin is, unless the
    request carries a credential cookie: a browser adds that to requests of foreign pages too, so then the
    page must come from this server. A request without an Origin is not a browser's, and is allowed.
    """
    origins = request.headers.get_all("Origin")
    if not origins:
        return None
    if len(origins) > 1:
        return "more than one Origin"
    if allowed is not None:
        return None if origins[0] in allowed else "origin not allowed"
    foreign = origins[0].partition("://")[2] not in request.headers.get_all("Host")
    return "a cookie from a foreign origin" if foreign and "cookie" in modes and _cookie_token(request) else None


def _query_token(request: Request) -> str | None:
    values = parse_qs(request.path.partition("?")[2]).get("token", [])
    return values[0] if values else None


def _bearer_token(request: Request) -> str | None:
    for value in request.headers.get_all("Authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    return None


def _cookie_token(request: Request) -> str | None:
    for value in request.headers.get_all("Cookie"):
        for pair in value.split(";"):
            name, _, token = pair.strip().partition("=")
            if name == COOKIE:
                return token.strip('"')
    return None


def path_of(request: Request) -> str:
    """The path of a request, without its query."""
    return request.path.partition("?")[0]


def forwarded_for(request: Request, peer: str, trusted: Collection[str]) -> str:
    """Who a request comes from: the last address that no trusted proxy has, of those that lie on its way.

    Each proxy adds the address that it was called from to the right of X-Forwarded-For. What stands left of the last
    one that is not trusted may be anybody's invention.
    """
    way = [part.strip() for value in request.headers.get_all("X-Forwarded-For") for part in value.split(",")]
    while peer in trusted and way:
        peer = way.pop() or peer
    return peer


class Admission:
    """Counts connections: at most ``limit`` per peer, and ``limit`` that have not authenticated (or upgraded) yet.

    Args:
        proxies: addresses of which a connection says later for whom it is; see :meth:`peer`.
    """

    def __init__(self, limit: int, proxies: Collection[str] = ()) -> None:
        self._limit = limit
        self._proxies = frozenset(proxies)
        self._peers: Counter[str] = Counter()
        self._strangers: set[object] = set()

    def allow(self, limit: int) -> None:
        """Let at least so many in; a test of many clients has them all at one address."""
        self._limit = max(self._limit, limit)

    def enter(self, peer: str, connection: object) -> bool:
        """Count a new TCP connection; False: there are so many that it must be cut unheard."""
        self._peers[peer] += 1
        self._strangers.add(connection)
        # Up to twice the limit they are heard, so that they can be told.
        few = self._peers[peer] <= 2 * self._limit or peer in self._proxies
        return few and len(self._strangers) <= 2 * self._limit

    def peer(self, request: Request, peer: str) -> str:
        """Count a connection for whom its request comes from; that is its peer from now on."""
        whom = forwarded_for(request, peer, self._proxies)
        self._count_out(peer)
        self._peers[whom] += 1
        return whom

    def refused(self, peer: str) -> str | None:
        """Why a peer's upgrade is refused, in words; None where it is not."""
        if self._peers[peer] > self._limit:
            return "too many connections"
        if len(self._strangers) > self._limit:
            return "too many unauthenticated connections"
        return None

    def authenticated(self, connection: object) -> None:
        """A connection is no longer a stranger."""
        self._strangers.discard(connection)

    def leave(self, peer: str, connection: object) -> None:
        """A connection has ended."""
        self._strangers.discard(connection)
        self._count_out(peer)

    def _count_out(self, peer: str) -> None:
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]
