"""What a client owes its application whatever happened, once the trouble is over. Sans-I/O.

It does not look at the wire: these are the promises that a user would notice, in the words of the spec's rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..profile import Profile
    from .application import TestApplication


@dataclass
class Kept:
    """How the client recovered."""

    patience: float
    """Seconds that it had for it."""
    ready: bool = False
    delivered: bool = False
    """Whether a message that was sent when the trouble was over was acknowledged."""
    silent: list[str] = field(default_factory=list)
    """Topics that it had asked for, and on which nothing came any more."""
    stayed: bool = True
    """Whether its connection then lasted."""


def broken_promises(application: TestApplication, kept: Kept, connections: int, profile: Profile) -> list[str]:
    """The promises that were not kept, in words; the gravest first.

    Args:
        application: closed.
        connections: how many there were before it was.
    """
    return [
        *_recovered(application, kept),
        *_one_connection(kept, connections),
        *_settled(application, profile),
        *_delivered(application, profile),
        *_told(application),
    ]


def _recovered(application: TestApplication, kept: Kept) -> Iterator[str]:
    if not kept.ready:
        last = f"; it gave up: {application.gave_up[-1]}" if application.gave_up else ""
        yield f"liveness: it was not ready again {kept.patience:g} s after the last trouble had ended{last}"
    elif not kept.delivered:
        yield f"liveness: a message sent after the trouble was not acknowledged within {kept.patience:g} s"
    if kept.silent:
        yield f"subscriptions: it is ready, and nothing comes on {', '.join(map(repr, kept.silent))} any more"
    if application.broke:
        yield f"stability: a connection ended at {application.broke[0]:.3f} s, and nothing had disturbed it"
    elif not kept.stayed:
        yield "stability: it was ready, and is so no longer, though nothing disturbs it any more"


def _one_connection(kept: Kept, connections: int) -> Iterator[str]:
    if kept.ready and connections > 1:
        yield f"one connection: {connections} were open at the same time when all was well again"


def _settled(application: TestApplication, profile: Profile) -> Iterator[str]:
    lossy = profile.replay.delivery == "at-most-once"
    for request in application.requests:
        if request.ok is None or (request.sent is not None and not request.sent.done):
            yield f"settled: the {request.kind} {request.ref!r} at {request.at:.3f} s never settled"
        elif not request.ok and request.sent is not None and not (application.gave_up or lossy):
            yield f"settled: the {request.kind} {request.ref!r} at {request.at:.3f} s failed, and nobody gave up"


def _delivered(application: TestApplication, profile: Profile) -> Iterator[str]:
    """Up: none is lost, none comes twice in one session, and they come in the order in which they were sent."""
    received = application.received
    times = Counter(received)
    for request in application.requests:
        count = times[request.number]
        if request.kind == "send" and request.ok and not count:
            yield f"delivery: {request.ref!r} was acknowledged, and never reached the server's application"
        # In a fresh session what is pending is sent anew, for nobody knows whether the old one had it (REPLAY-02).
        anew = sum(request.at <= at <= request.settled_at for at in application.fresh)
        allowed = {"at-most-once": 1, "effectively-once": 1 + anew}.get(profile.replay.delivery)
        if allowed is not None and count > allowed:
            yield f"once: the server's application got {request.ref!r} {count} times"
    for before, after in pairwise(dict.fromkeys(received)):
        if after < before:
            yield f"order: 'send-{before}' reached the server's application before 'send-{after}'"


def _told(application: TestApplication) -> Iterator[str]:
    """Down: none is told twice, they are told in order, and one that is missing is said to be."""
    published = {publication.number for publication in application.published}
    numbers = [told.number for told in application.told if told.number in published]
    for number, count in Counter(numbers).items():
        if count > 1:
            yield f"once: the application was told publication {number} {count} times"
    for before, after in pairwise(dict.fromkeys(numbers)):
        if after < before:
            yield f"order: the application was told publication {before} before {after}"
    seen = set(numbers)
    for publication in application.published:
        if publication.owed and publication.number not in seen:
            rest = application.told[publication.told_before :]
            newer = (i for i, told in enumerate(rest) if (told.number or 0) > publication.number)
            # A gap is said before anything newer.
            if not any(told.number is None for told in rest[: next(newer, len(rest))]):
                yield f"continuity: publication {publication.number} was not told, and no gap said so"
