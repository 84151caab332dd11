"""Ten bugs, each planted into the reference client by a few lines, and the trouble that is to find them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mutants.auth import StaleToken
from mutants.backoff import BackoffResetByHandshake
from mutants.replay import ReplayedBackwards, ReplayedUnderNewIds, SubscriptionsNotRestored

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.inbox import Delivery, Inbox
from pytest_wschaos.reference.link import Link
from pytest_wschaos.reference.outbox import Outbox, Outgoing, Settled


@dataclass(frozen=True)
class Planted:
    """A bug, and how it is looked for."""

    client: type[ReferenceClient]
    kinds: tuple[str, ...]
    """What happens while it is looked for."""
    shows: str | tuple[str, ...]
    """How what was broken begins, or the rule."""
    profile: Profile = field(default_factory=Profile)
    rules: tuple[str, ...] = ()
    """The rules that are judged, where no promise is broken."""
    min_size: int = 0
    longest_gap: float = 2.0
    longest: float = 20.0

    @property
    def name(self) -> str:
        """What the bug is called."""
        return self.client.__name__


class _Careless(Outbox):
    def on_welcome(self, last_id: int, recovered: bool, rejected: Mapping[int, str]) -> list[Settled]:
        written = list(self._unacked.values())
        self._unacked.clear()
        self._kept -= sum(request.size for request in written)
        return [*((request, None) for request in written), *super().on_welcome(last_id, recovered, rejected)]


class LostBetweenSendAndAck(ReferenceClient):
    """What was written counts as delivered."""

    outbox_type = _Careless


class _Haunted(Link):
    def _ping(self, now: float) -> None:
        super()._ping(now)
        self._loop.call_later(self._profile.heartbeat.deadline, self._late, self._key)

    def _late(self, key: int) -> None:
        if any(asked == key for asked, _ in self._heartbeat._asked) and self._owner._link is not None:  # type: ignore[attr-defined]
            self._owner._link._abandon(1011, "no pong")  # type: ignore[attr-defined]


class StaleHeartbeatTimer(ReferenceClient):
    """The deadline of a ping outlives its connection, and ends the next one."""

    link_type = _Haunted


class TwoReconnectLoops(ReferenceClient):
    """Asked to reconnect while it waits, it does so at once, and after the wait a second time."""

    def reconnect(self) -> None:
        if self._nudge is None:
            super().reconnect()
        else:
            self._second = asyncio.get_running_loop().create_task(self._live())


class _Trusting(Inbox):
    def resume_fields(self) -> dict[str, object]:
        fields = super().resume_fields()
        return {**fields, "seq": self._acked} if fields else fields

    def on_message(self, seq: int, topic: str, data: Any) -> None:
        self.received = max(self.received, seq)
        self._waiting.append(Delivery(seq, topic, data))


class ToldTwiceAfterAResume(ReferenceClient):
    """It resumes from what it has acknowledged, and not from what it has told."""

    inbox_type = _Trusting


class GivesUpAndForgets(ReferenceClient):
    """What waits when it gives up is thrown away, and nobody is told."""

    def _abandon_requests(self, error: str) -> list[Outgoing]:
        self._outbox.give_up()
        return []


# The other five are among the mutants: `StaleToken` keeps the token of its first connection for all,
# `ReplayedUnderNewIds` does not look at what the server already has, `ReplayedBackwards` puts what has to be sent again
# back one by one, `SubscriptionsNotRestored` asks for none of its topics in a fresh session, and for
# `BackoffResetByHandshake` an open handshake clears the count of failures.


BRISK = Profile().with_(
    heartbeat={"interval": 1.0, "deadline": 2.0, "server_interval": None},
    backoff={"base": 0.2},
    reconnect={"open_timeout": 4.0},
)
SOON_TIRED = Profile().with_(reconnect={"max_retries": 2})

PLANTED = (
    Planted(LostBetweenSendAndAck, ("send", "abort", "silent_drop"), "delivery"),
    Planted(ReplayedUnderNewIds, ("send", "abort", "silent_drop"), "once", min_size=4),
    Planted(
        StaleHeartbeatTimer,
        ("send", "abort", "mute_pongs", "latency"),
        ("stability", "HEARTBEAT-04"),
        BRISK,
        rules=("HEARTBEAT-04",),
        min_size=5,
        longest_gap=4.0,
        longest=3.0,
    ),
    Planted(TwoReconnectLoops, ("send", "reconnect", "latency", "disconnect"), ("one connection", "stability")),
    Planted(ReplayedBackwards, ("send", "abort", "silent_drop"), "order", min_size=3),
    Planted(SubscriptionsNotRestored, ("subscribe", "restart", "new_epoch"), "subscriptions", min_size=3),
    Planted(ToldTwiceAfterAResume, ("subscribe", "publish", "abort"), "once", min_size=4),
    Planted(
        BackoffResetByHandshake,
        ("send", "disconnect", "accept_then_close"),
        "BACKOFF-03",
        rules=("BACKOFF-03",),
    ),
    Planted(GivesUpAndForgets, ("send", "disconnect", "refuse"), "settled", SOON_TIRED),
    Planted(StaleToken, ("send", "latency", "disconnect", "rotate_token"), "liveness"),
)
