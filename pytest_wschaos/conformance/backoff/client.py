"""Cases of BACKOFF, for clients."""

from __future__ import annotations

from typing import Any

from ..suite.case import case
from ..suite.failures import FAILURES, failures
from ..suite.stage import Stage

LONGER: dict[str, Any] = {"backoff": {"base": 0.2}}
"""A longer base where figures are scaled: delays must be told from each other on a busy machine, too."""

# --- BACKOFF-01, BACKOFF-02 and BACKOFF-04


@case("BACKOFF-01/{way}", "The delays are the declared ones where every attempt {fails}.", each=failures(),
      scaled=LONGER)  # fmt: skip
@case("BACKOFF-04/{way}", "No retry comes before its delay where every attempt {fails}.", each=failures(),
      scaled=LONGER)  # fmt: skip
async def failing(stage: Stage, way: str, fails: str) -> None:
    with FAILURES[way].begin(stage.chaos):
        await stage.client()
        allowed = stage.waits(4) + 5 * stage.profile.reconnect.open_timeout
        await stage.saw("attempt", 5, timeout=allowed)


@case("BACKOFF-01/to-the-cap", "The delays grow as declared up to the cap, and stay there.")
@case("BACKOFF-02/to-the-cap", "The delays grow up to the cap, and none is longer than the ceiling.")
async def failing_to_the_cap(stage: Stage) -> None:
    retries = stage.steps_to_cap + 2
    with stage.chaos.refuse():
        await stage.client()
        # A client whose delays go on growing is waited for.
        await stage.saw("attempt", retries + 1, timeout=stage.waits(retries) + 5 * stage.profile.backoff.cap)


@case("BACKOFF-04/first-retry", "The first retry after a link that was up for long waits, too.", scaled=LONGER)
async def first_retry(stage: Stage) -> None:
    await stage.client()
    await stage.saw("ready")
    await stage.settle()
    stage.chaos.abort()
    await stage.saw("attempt", timeout=stage.waits(1))
    await stage.pause(stage.slack)


# --- BACKOFF-03


async def two_failures(stage: Stage) -> None:
    """The first attempt and the first retry are refused, so that what comes then is told from a first failure."""
    with stage.chaos.refuse():
        await stage.client()
        await stage.saw("attempt", 2, timeout=stage.waits(1))


AT_ONCE = [{"code": code} for code in (1001, 1011, 1012, 1013, 3000, 4000, 4408, 4429)]
"""Codes after which a client comes back, by the default profile."""


@case(
    "BACKOFF-03/accept-then-close-{code}",
    "A connection that is accepted and closed at once with {code} is one more failure.",
    each=AT_ONCE,
    scaled=LONGER,
)
async def accept_then_close(stage: Stage, code: int) -> None:
    with stage.chaos.accept_then_close(code):
        await two_failures(stage)
        await stage.saw("attempt", 3, timeout=stage.waits(5))


@case(
    "BACKOFF-03/accept-then-{how}",
    "A connection that ends by {words} right after its handshake is one more failure.",
    each=[{"how": "reset", "words": "a reset"}, {"how": "fin", "words": "the end of TCP"}],
    scaled=LONGER,
)
async def accept_then_cut(stage: Stage, how: str, words: str) -> None:
    await two_failures(stage)
    for _ in range(2):
        if not await stage.saw("response", timeout=stage.waits(4)):
            return
        (stage.chaos.abort if how == "reset" else stage.chaos.disconnect)()
    await stage.saw("attempt", timeout=stage.waits(4))


@case(
    "BACKOFF-03/never-ready",
    "A connection that opens and is closed before it is ready is one more failure.",
    scaled=LONGER,
)
async def never_ready(stage: Stage) -> None:
    with stage.chaos.frame("close", "down", opcodes=["text"], code=1011):
        await two_failures(stage)
        stage.require_protocol("on a plain echo, open is ready")
        await stage.saw("attempt", 3, timeout=stage.waits(4))


# Longer: what is lost at once must be told from what was stable on a busy machine, too.
@case(
    "BACKOFF-03/flapping",
    "Connections that are ready, and lost long before they are stable, are failures, one more each.",
    scaled={"backoff": {"base": 0.2, "stable_after": 2.0}},
)
async def flapping(stage: Stage) -> None:
    await two_failures(stage)
    for _ in range(2):
        if not await stage.saw("ready", timeout=stage.waits(4)):
            return
        await stage.pause(stage.profile.backoff.stable_after / 10)
        stage.chaos.abort()
    await stage.saw("attempt", timeout=stage.waits(4))


@case(
    "BACKOFF-03/not-quite-stable",
    "A connection that is lost halfway to stable is one more failure.",
    scaled={"backoff": {"base": 0.2, "stable_after": 2.0}},
)
async def not_quite_stable(stage: Stage) -> None:
    await two_failures(stage)
    await stage.saw("ready", timeout=stage.waits(3))
    await stage.pause(stage.profile.backoff.stable_after / 2)
    stage.chaos.abort()
    await stage.saw("attempt", timeout=stage.waits(3))
    await stage.pause(stage.slack)


@case(
    "BACKOFF-03/stable",
    "The count starts anew with a connection that was stable, and not with a short-lived one before it.",
    scaled=LONGER,
)
async def stable(stage: Stage) -> None:
    with stage.chaos.accept_then_close(1011):
        await two_failures(stage)
        await stage.saw("attempt", 2, timeout=stage.waits(4))
    await stage.saw("ready", timeout=stage.waits(5))
    await stage.settle()
    stage.chaos.abort()
    await stage.saw("attempt", timeout=stage.waits(5))
    await stage.pause(stage.slack)


# --- BACKOFF-05

WIDER: dict[str, Any] = {"backoff": {"base": 0.8}}
"""A longer base where figures are scaled: what is drawn must show beside what the server asks for."""


@case(
    "BACKOFF-05/{status}-retry-after",
    "The Retry-After of a {status} is a lower bound, to which the drawn delay is added.",
    each=[{"status": 429}, {"status": 503}],
    scaled=WIDER,
)
async def come_back_later(stage: Stage, status: int) -> None:
    with stage.chaos.handshake(status, retry_after=3 * stage.profile.longest_first_delay, connections=[1, 2]):
        await stage.client()
        await stage.saw("ready", timeout=stage.waits(2) + 6 * stage.profile.longest_first_delay)
    await stage.pause(stage.slack)


@case("BACKOFF-05/farewell", "The retry_after of a farewell is a lower bound, to which the drawn delay is added.",
      scaled=WIDER)  # fmt: skip
async def sent_away(stage: Stage) -> None:
    await stage.client()
    stage.require_protocol("a farewell is a message of it")
    await stage.saw("ready")
    bound = 3 * stage.profile.longest_first_delay
    await stage.chaos.server.drain(retry_after=bound, window=0.0, deadline=stage.profile.close.timeout)
    await stage.saw("attempt", timeout=bound + stage.waits(1))
    await stage.pause(stage.slack)
