"""The waits between a client's attempts: which retry each was, and between which bounds it lay.

A client may have learned of an end at several instants (a Close frame, then the end of TCP), so a wait
is an interval: counted from the last sign it is at least ``low``, from the first at most ``high``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..profile import Profile
from .ending import FINAL, asked, own_close, reaction
from .story import Client, Connection, unseen_attempts
from .tolerance import GRACE, STAMP_DELAY

Cause = Literal["backoff", "asked", "redirect", "final", "provider", "overlap", "unseen"]
"""Why a client waited, or did not: ``backoff``; the application ``asked`` for the attempt; it may have followed a
``redirect``; the end before was ``final`` by the profile; the token ``provider`` failed in between; the connections
``overlap``; attempts in between may have been ``unseen``, because they were refused."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait before a retry."""

    before: Connection
    after: Connection
    low: float
    high: float
    retry: int
    """Which consecutive retry this was, by the profile (1 is the first)."""
    reset: bool
    """Whether the connection before had been ready for long enough to start the count anew."""
    doubtful: bool
    """Whether ``retry`` is too close to call."""
    step: int
    """The n of d(n): ``retry``, one more after a close code whose reaction is ``later``."""
    nominal: float
    others: tuple[int, ...]
    """The steps that a client would take which resets its count at every handshake, or at every welcome, or
    never, or which knows no ``later``: what differs from ``step`` tells of those mistakes, not of the delay."""
    bound: float
    """Lower bound that the server asked for (Retry-After, or its farewell), 0 without one."""
    asked_at: float | None
    """When the server asked for it."""
    lag: float
    """The harness's own lag around the ends of the wait, in seconds."""
    cause: Cause = "backoff"
    unheeded: bool = False
    """Whether the application asked for it, perhaps to no effect: the count may have gone on."""

    @property
    def early(self) -> float:
        """Seconds by which the wait may look shorter than it was."""
        return STAMP_DELAY

    @property
    def at(self) -> float:
        """When it ended."""
        return self.after.attempt

    def __str__(self) -> str:
        seconds = f"{self.low:.3f} s" if self.high - self.low < 0.001 else f"{self.low:.3f} to {self.high:.3f} s"
        who = f" of client {self.after.client}" if self.after.client not in ("", "client") else ""
        return f"{seconds} before connection {self.after.number}{who} (retry {self.retry})"


@dataclass
class _Count:
    """The consecutive failures, as the profile counts them and as mistaken clients would."""

    right: int = 0
    by_handshake: int = 0
    by_welcome: int = 0
    never: int = 0
    unsure: bool = False

    def failure(self, before: Connection, *, stable: bool, doubtful: bool) -> None:
        doubtful = doubtful and self.right > 0  # the first failure is the first, whatever was before
        self.right = 1 if stable else self.right + 1
        self.by_handshake = 1 if before.opened is not None else self.by_handshake + 1
        self.by_welcome = 1 if before.ready is not None else self.by_welcome + 1
        self.never += 1
        # Once in doubt, the count stays so until something certain sets it.
        self.unsure = doubtful or (self.unsure and not stable)

    def more(self, failures: int) -> None:
        """Failures that left no trace on the wire."""
        self.right += failures
        self.by_handshake += failures
        self.by_welcome += failures
        self.never += failures


def waits(client: Client, profile: Profile) -> Iterator[Wait]:
    """The waits of a client's own backoff, counted as the profile counts failures."""
    return (wait for wait in gaps(client, profile) if wait.cause == "backoff")


def gaps(client: Client, profile: Profile) -> Iterator[Wait]:
    """The time before every attempt but the first, with its cause."""
    # Most rules ask, and always by the same profile: measured once for each client.
    if client.gaps is None or client.gaps[0] is not profile:
        client.gaps = profile, tuple(_measured(client, profile))
    return iter(client.gaps[1])


def _measured(client: Client, profile: Profile) -> Iterator[Wait]:
    count = _Count()
    if client.connections:
        # An attempt that left no trace, before the first that did, was a failure too.
        count.more(len(client.failed_fetches(0.0, client.connections[0].attempt)))
    unseen = unseen_attempts(client.record)
    for before, after in client.pairs():
        signs = [sign for sign in before.signs if sign <= after.attempt]
        first, last = (signs[0], signs[-1]) if signs else (after.attempt, after.attempt)
        # Only at its ends does the harness's lag distort a wait.
        record = client.record
        lag = record.standstill(last, GRACE) + record.standstill(after.attempt, GRACE)
        stable, doubtful = _stability(before, first, last, GRACE + 2 * lag, profile)
        count.failure(before, stable=stable, doubtful=doubtful)
        bound, asked_at = asked_bound(before) if profile.backoff.honour_retry_after else (0.0, None)
        cause: Cause = "backoff"
        lost = len(client.failed_fetches(before.attempt, after.attempt))
        if not signs:
            cause = "overlap"
        elif _asked(client, before, after) or _started_anew(count.right, after.attempt - last - bound, profile):
            cause = "asked"
        elif before.redirect == "own":
            cause = "redirect"
        elif reaction(before, profile) in FINAL:
            cause = "final"
        elif lost:
            cause = "provider"
            count.more(lost)
        elif any(start <= after.attempt and end >= first for start, end in unseen):
            cause = "unseen"
        if cause in ("overlap", "redirect", "final", "unseen"):
            count.unsure = True
        unheeded = cause == "asked" and _perhaps_unheeded(client, before, after, first, last)
        extra = 1 if _later(before, profile) else 0
        step = count.right + extra
        yield Wait(
            before,
            after,
            # An attempt that was refused may have been made up to `late` seconds before it is on record.
            low=max(0.0, after.attempt - last - after.late),
            high=after.attempt - first + before.late,
            retry=count.right,
            reset=stable,
            doubtful=count.unsure,
            step=step,
            nominal=profile.backoff.nominal(step),
            others=tuple(
                sorted(
                    {count.right, count.by_handshake + extra, count.by_welcome + extra, count.never + extra} - {step}
                )
            ),
            bound=bound,
            asked_at=asked_at,
            lag=lag,
            cause=cause,
            unheeded=unheeded,
        )
        if cause == "asked":
            count = _Count(unsure=unheeded)


def _perhaps_unheeded(client: Client, before: Connection, after: Connection, first: float, last: float) -> bool:
    """Whether what the application asked may have had no effect on the count of retries.

    Asked while it connects, a client does nothing, and goes on counting. So may one whose connection is at its end,
    from the ``first`` sign of it to the ``last``, and one that comes back though it was closed.
    """
    reopened = asked(client, "reconnect", before, after.attempt + STAMP_DELAY) is not None
    connecting = asked(client, "reconnect", before, last if before.ready is None else before.ready) is not None
    ending = any(first <= e.at < last for e in client.told("reconnect"))
    closed = asked(client, "close", before, after.attempt + STAMP_DELAY) is not None
    return connecting or ending or (closed and not reopened)


def _stability(before: Connection, first: float, last: float, slack: float, profile: Profile) -> tuple[bool, bool]:
    """Whether a connection had been ready for long enough, and whether that is too close to call."""
    if before.ready is None:
        return False, False
    stable_after = profile.backoff.stable_after
    stable = first - before.ready >= stable_after
    doubtful = stable_after > 0 and first - before.ready - slack <= stable_after <= last - before.ready + slack
    return stable, doubtful


def _asked(client: Client, before: Connection, after: Connection) -> bool:
    if own_close(before) is not None:
        return True
    return any(asked(client, what, before, after.attempt + STAMP_DELAY) for what in ("reconnect", "close"))


def _started_anew(retry: int, quiet: float, profile: Profile) -> bool:
    """Whether a client that had to give up kept quiet, and was then started by somebody."""
    allowed = profile.reconnect.max_retries
    return allowed is not None and retry > allowed and quiet > profile.backoff.ceiling + GRACE


def _later(before: Connection, profile: Profile) -> bool:
    close = before.close_received
    return close is not None and close["code"] is not None and profile.close.reaction(close["code"]) == "later"


def asked_bound(connection: Connection) -> tuple[float, float | None]:
    """The lower bound that the server asked for when it ended a connection (0: none), and when it did."""
    events = (connection.response, connection.first("farewell", way="down"))
    told = [(e, e.get("retry_after")) for e in events if e is not None]
    return max(((float(seconds), e.at) for e, seconds in told if seconds is not None), default=(0.0, None))


def longest_wait(connection: Connection, profile: Profile) -> float:
    """No retry after a connection waits longer than this, in seconds."""
    return max(profile.backoff.ceiling, profile.backoff.first_high or 0.0) + asked_bound(connection)[0]


class Course:
    """A client's connections with the retries that led to each."""

    def __init__(self, client: Client, profile: Profile) -> None:
        self.client = client
        self.profile = profile
        self.gaps = list(gaps(client, profile))
        self._into = {gap.after.number: gap for gap in self.gaps}
        self._out_of = {gap.before.number: gap for gap in self.gaps}

    def next(self, connection: Connection) -> Wait | None:
        """The wait that followed a connection."""
        return self._out_of.get(connection.number)

    def into(self, connection: Connection) -> Wait | None:
        """The wait that led to a connection."""
        return self._into.get(connection.number)

    def retries(self, connection: Connection) -> int:
        """How many consecutive retries had been made when a connection ended, itself included."""
        into = self._into.get(connection.number)
        held = connection.signs[0] - connection.ready if connection.ready is not None and connection.signs else None
        if into is None or into.cause == "asked" or (held is not None and held >= self.profile.backoff.stable_after):
            return 0
        return into.retry

    def certain(self, connection: Connection) -> bool:
        """Whether that number is beyond doubt."""
        into = self._into.get(connection.number)
        return into is None or not (into.doubtful or into.unheeded)

    def spent(self, connection: Connection) -> bool:
        """Whether the retries may have been used up by then, so that no attempt is due."""
        limit = self.profile.reconnect.max_retries
        if limit is None:
            return False
        unseen = len(self.client.failed_fetches(connection.attempt, self.client.record.until))
        return self.retries(connection) + unseen >= limit or not self.certain(connection)
