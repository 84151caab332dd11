"""What the script of a case for clients plays on: chaos, and clients of one subject.

Scripts are written once, in terms of the profile's figures. On virtual time waiting costs nothing and nothing is
blurred; in real time a machine may be busy, for which :attr:`Stage.slack` allows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ...checks.tolerance import GRACE
from ...cursor import EventTimeout
from ...timeline import Place
from ..subjects.subject import Client, Setting, Subject, Unsupported

if TYPE_CHECKING:
    from ...harness import Chaos
    from .case import Case

ENOUGH_AT_CAP = 140
"""Waits at the cap that tell one distribution from another: 117 by the spec, and some that a busy machine spoils."""


class Stage:
    """Chaos and clients.

    Args:
        case: which is played.
        endpoint: ``ws``, or ``echo`` for subjects that speak no protocol of ours.
        slack: seconds for which a busy machine may be late.
    """

    def __init__(self, chaos: Chaos, subject: Subject, case: Case, *, endpoint: str = "ws", slack: float = 0.0) -> None:
        self.chaos = chaos
        self.profile = chaos.profile
        self.case = case
        self.slack = slack
        self.clients: list[Client] = []
        self._subject = subject
        self._endpoint = endpoint

    # --- clients

    async def client(self, name: str = "client", *, token: str | None = None, connect: bool = True) -> Client:
        """A client that begins to connect; the case's needs are what it can do."""
        client = self._subject.client(self.chaos, name)
        self.clients.append(client)
        await client.start(self._setting(name, token))
        client.require(self.case.needs)
        self._require_figures(client)
        # What it declares goes for all that follows.
        self.profile = client.hello.profile
        if connect:
            await client.connect()
        return client

    async def ready(self, *topics: str) -> Client:
        """A client that is ready, and subscribed."""
        client = await self.client()
        await self.saw("ready")
        for topic in topics:
            await client.subscribe(topic)
        if topics:
            await self.saw("ack", len(topics), self.profile.heartbeat.deadline)
        return client

    def _require_figures(self, client: Client) -> None:
        """Make sure that a client can go by other figures than it would by itself."""
        if self.case.figures and not client.hello.speaks:
            changed = ", ".join(f"{area}.{name}" for area, figures in self.case.figures.items() for name in figures)
            raise Unsupported(f"the case is played by another {changed}, and a black box keeps its own")

    def require_protocol(self, why: str) -> None:
        """Make sure that the client speaks the protocol, and not raw frames to an echo.

        Raises:
            Unsupported: it does not.
        """
        if self._endpoint == "echo" or any(client.hello.speaks == "raw" for client in self.clients):
            raise Unsupported(f"the client speaks no protocol: {why}")

    def require_limit(self) -> None:
        """Make sure that the client gives up some time.

        Raises:
            Unsupported: it does not.
        """
        if self.profile.reconnect.max_retries is None:
            raise Unsupported("the client never gives up: it declares no limit of retries (reconnect.max_retries)")

    def _setting(self, name: str, token: str | None) -> Setting:
        url, echo = self.chaos.url_for(name), self.chaos.echo_url_for(name)
        return Setting(
            url=echo if self._endpoint == "echo" else url,
            echo_url=echo,
            token=self.chaos.token if token is None else token,
            profile=self.profile,
            case=self.case.id,
        )

    async def stop(self) -> None:
        """End all clients, at once."""
        await asyncio.gather(*(client.stop() for client in self.clients), return_exceptions=True)

    # --- waiting

    async def saw(
        self,
        kind: str,
        count: int = 1,
        timeout: float | None = None,
        *,
        client: str | None = None,
        place: Place | None = None,
    ) -> bool:
        """Wait for events, for ``timeout`` seconds (by default the profile's patience); False: they do not come."""
        longest = self.profile.patience if timeout is None else timeout
        try:
            await self.chaos.wait_for(kind, count, longest + self.slack, client=client, place=place)
        except EventTimeout:
            return False
        return True

    async def heard(self, client: Client, kind: str) -> None:
        """Wait until a client itself has told of something that the wire has shown; a black box tells nothing."""
        if client.hello.speaks:
            await self.saw(kind, client=client.name, timeout=self.profile.close.timeout)

    async def pause(self, seconds: float) -> None:
        """Let time pass: what is asked for here is that nothing happens."""
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        """Let a connection become stable."""
        await self.pause(self.profile.backoff.stable_after + 4 * GRACE + self.slack)

    # --- how long things take

    @property
    def absence(self) -> float:
        """Seconds after which a client that has not come back never will."""
        return self.profile.backoff.ceiling * 1.1 + self.slack

    @property
    def comeback(self) -> float:
        """Seconds in which a client that has lost a stable connection is ready again."""
        return self.profile.longest_first_delay + self.profile.reconnect.open_timeout

    @property
    def quiet(self) -> float:
        """Seconds for which a client that was closed on purpose is watched: twice the cap."""
        return 2 * self.profile.backoff.cap + 0.1 + self.slack

    def waits(self, retries: int) -> float:
        """Seconds that a client's first so many waits take at the longest."""
        figures = self.profile.backoff
        longest = (
            min(figures.nominal(n) * self.profile.jitter.bounds[1], figures.ceiling) for n in range(1, retries + 1)
        )
        return max(math.fsum(longest), retries * (figures.first_high or 0.0))

    @property
    def found_out(self) -> float:
        """Seconds in which a client that has met a dead link tries again."""
        return self.profile.detection + self.profile.longest_first_delay

    @property
    def exhaustion(self) -> float:
        """Seconds in which a client that is refused for ever has made its last retry; all that is declared counts."""
        backoff, retries = self.profile.backoff, self.retries
        waits = math.fsum(backoff.nominal(retry) for retry in range(1, retries + 1))
        return waits * self.profile.jitter.bounds[1] + backoff.ceiling

    @property
    def retries(self) -> int:
        """Retries that are waited for: those after which it gives up, or as many as take it to the cap twice."""
        if self.profile.reconnect.max_retries is not None:
            return self.profile.reconnect.max_retries
        return self.steps_to_cap + 2

    @property
    def steps_to_cap(self) -> int:
        """The first retry that waits the cap."""
        backoff = self.profile.backoff
        return next((n for n in range(1, 64) if backoff.nominal(n) >= backoff.cap), 64)

    @property
    def herd(self) -> int:
        """Clients that it takes until enough waits at the cap were seen; of those that give up before, enough waits."""
        at_cap = self.retries - self.steps_to_cap + 1
        return max(2, math.ceil(ENOUGH_AT_CAP / max(1, at_cap if at_cap > 0 else self.retries)))

    @asynccontextmanager
    async def guest(self, name: str, say: str | None = None) -> AsyncIterator[None]:
        """A client of ours that says one thing at most, and pings nobody."""
        from websockets.asyncio.client import connect

        async with connect(self.chaos.url_for(name), ping_interval=None, proxy=None) as guest:
            if say is not None:
                await guest.send(say)
            yield
