"""Thousands of clients at once: what a server sees after an outage, and how long it takes to reach them all.

    async with wschaos.fleet(1000) as fleet:
        fleet.start(spread=30)
        await fleet.ready()
        wschaos.abort()                   # all of them, at one instant
        await fleet.ready()
        assert fleet.herd().peak < 1000   # arrivals in any one second

It is meant for the virtual clock. On the real one it works for as many clients as there are descriptors.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..recorder import Recorder
from ..reference.client import ReferenceClient
from .herd import Drained, FanOut, Herd
from .progress import Progress
from .tally import Tally

if TYPE_CHECKING:
    from ..harness import Chaos

Report = Callable[[dict[str, Any]], None]
Factory = Callable[[str, int, Report], Any]
"""``factory(url, number, report)`` makes a client: the coroutine that is its whole life, or an object with ``start()``
and ``close()`` (plain or ``async``) and perhaps ``is_ready``. ``report({"event": "message"})`` tells that it has
received a message, which only :meth:`Fleet.fan_out` needs."""

POLL = 0.02
"""Seconds between two looks at whether all are ready."""
DESCRIPTORS = 4
"""Sockets that a client needs outside of the simulated network: its own, two of the proxy, one of the server."""
GENERATIONS = 2
"""Connections that the server must allow for each client: a dead one, which it has not found out yet, and the next."""


class FleetError(AssertionError):
    """A fleet did not come as far as was waited for; the message says how far it came."""


class _Member:
    """One client of a fleet, of whatever kind."""

    __slots__ = ("_ended", "client", "task")

    def __init__(self, client: Any, ended: list[str]) -> None:
        if not inspect.iscoroutine(client) and not (_can(client, "start") and _can(client, "close")):
            raise TypeError(f"the factory returned {client!r:.80}: must be a coroutine, or have start() and close()")
        self.client = client
        self.task: asyncio.Future[Any] | None = None
        self._ended = ended

    def start(self) -> None:
        with self._crash_told():
            life = self.client if inspect.iscoroutine(self.client) else self.client.start()
        if inspect.isawaitable(life):
            self.task = asyncio.ensure_future(self._live(life))

    async def _live(self, life: Awaitable[Any]) -> None:
        with self._crash_told():
            result = await life
        if inspect.iscoroutine(self.client):  # an object goes on when its start() returns
            self._ended.append(f"by returning {result!r:.80}")

    @contextmanager
    def _crash_told(self) -> Iterator[None]:
        """It is raised all the same: where nobody waits for the fleet, the loop logs it."""
        try:
            yield
        except Exception as error:
            self._ended.append("with " + "".join(traceback.format_exception_only(error)).strip())
            raise

    @property
    def ready(self) -> bool:
        """Whether it says so; one that cannot say is ready when its connection is open."""
        return bool(getattr(self.client, "is_ready", True))

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        closed = self.client.close()  # of a coroutine: where it has not begun
        if inspect.isawaitable(closed):
            await closed


def _can(client: object, name: str) -> bool:
    return callable(getattr(client, name, None))


class Fleet:
    """Many clients, which :meth:`.Chaos.fleet` makes. They belong to the loop that is running."""

    def __init__(
        self,
        chaos: Chaos,
        n: int,
        factory: Factory | None,
        recorder: Recorder,
        *,
        name: str,
        lanes: int,
        progress: bool | None,
        options: dict[str, Any],
    ) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n = {n!r}: must be a number of clients, 1 or more")
        if isinstance(lanes, bool) or not isinstance(lanes, int) or lanes < 0:
            raise ValueError(f"lanes = {lanes!r}: must be a number of clients, 0 or more")
        if factory is not None and not callable(factory):
            raise TypeError(f"factory = {factory!r:.80}: must be a function that makes a client")
        if factory is not None and options:
            raise TypeError(f"{', '.join(options)}: options of the reference client, and the factory makes another")
        self._loop = asyncio.get_running_loop()
        _require_descriptors(self._loop, n)
        self._chaos = chaos
        self._progress = Progress(self._told, progress)
        self._tally = Tally(chaos.timeline, name, self._progress.look if self._progress.shown else None)
        self._received: dict[int, float] | None = None  # while a fan-out is under way
        self._all = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []
        self._members: list[_Member] = []
        self._ended: list[str] = []
        """How the lives of clients have ended by themselves, in that order."""
        self._lanes = [f"{name}-{number}" for number in range(min(n, lanes))]
        chaos.server.allow_connections(GENERATIONS * n)
        recorder.count(name, self._tally, only=True)
        url = chaos.url_for(name)
        make = self._reference(name, options) if factory is None else factory
        for number in range(n):
            lane = self._lanes[number] if number < len(self._lanes) else None
            if lane is not None:
                recorder.count(lane, self._tally, only=False)
            report = self._reporter(number, lane)
            self._members.append(
                _Member(make(url if lane is None else chaos.url_for(lane), number, report), self._ended)
            )

    def _reference(self, name: str, options: dict[str, Any]) -> Factory:
        chaos = self._chaos

        def make(url: str, number: int, report: Report) -> ReferenceClient:
            settings: dict[str, Any] = {
                "token": lambda: chaos.token,
                "profile": chaos.profile,
                "seed": random.Random(f"{name}-{number}/{chaos.seed}").getrandbits(64),
                **options,
            }
            return ReferenceClient(url, on_event=report, **settings)

        return make

    def _reporter(self, number: int, lane: str | None) -> Report:
        def report(event: dict[str, Any]) -> None:
            if lane is not None:
                self._chaos.report(event, lane)
            if self._received is not None and event.get("event") == "message":
                self._received.setdefault(number, self._loop.time())
                if len(self._received) == len(self._members):
                    self._all.set()

        return report

    # --- life

    def start(self, spread: float = 0.0) -> None:
        """Start them all: at once, or evenly over ``spread`` seconds. It does not wait: see :meth:`ready`.

        Started at once they ping at once too, for ever; spread over an interval of their heartbeat they do not.

        Raises:
            ValueError: ``spread`` is below 0 s.
            RuntimeError: they were started before.
        """
        if not spread >= 0:
            raise ValueError(f"spread = {spread!r}: must be 0 s or more")
        if self._timers:
            raise RuntimeError("the fleet was started before")
        for number, member in enumerate(self._members):
            self._timers.append(self._loop.call_later(spread * number / len(self._members), member.start))

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until all are connected, and ready by their own word where they have one.

        Args:
            timeout: seconds; None: the profile's patience, and as long as :meth:`start` spreads them.

        Raises:
            FleetError: they are not by then, or cannot be, as the life of one has ended by itself.
            RuntimeError: :meth:`start` was not called.
        """
        __tracebackhide__ = True
        if not self._timers:
            raise RuntimeError("the fleet is not going to be ready: start() was not called")
        if timeout is None:
            started = max(timer.when() for timer in self._timers)
            timeout = self._chaos.profile.patience + max(0.0, started - self._loop.time())
        deadline = self._loop.time() + timeout
        while not self.is_ready:
            if self._ended:
                many = f"{len(self._ended)} {'has' if len(self._ended) == 1 else 'have'} ended"
                raise FleetError(
                    f"{self.ready_count} of {len(self._members)} clients are ready, {many}, the first {self._ended[0]}"
                )
            if self._loop.time() >= deadline:
                raise FleetError(f"{self.ready_count} of {len(self._members)} clients were ready after {timeout:g} s")
            await asyncio.sleep(min(POLL, max(0.0, deadline - self._loop.time())))

    @property
    def is_ready(self) -> bool:
        """Whether all are ready now."""
        return self._tally.open >= len(self._members) and all(member.ready for member in self._members)

    @property
    def ready_count(self) -> int:
        """How many are ready now."""
        return min(self._tally.open, sum(member.ready for member in self._members))

    async def close(self) -> None:
        """Close them all; returns when that is done."""
        for timer in self._timers:
            timer.cancel()
        for lane in self._lanes:
            self._chaos.closing(lane)
        await asyncio.gather(*(member.close() for member in self._members))
        self._progress.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def clients(self) -> list[Any]:
        """What the factory has made, in order of number."""
        return [member.client for member in self._members]

    def __len__(self) -> int:
        return len(self._members)

    # --- what is measured

    @property
    def now(self) -> float:
        """The instant on the clock of the herd, in seconds."""
        return self._tally.now()

    def herd(self, since: float | None = None, window: float = 1.0) -> Herd:
        """The arrivals at the proxy, refused ones too, counted by the window.

        Args:
            since: an instant of :attr:`now`; None: when the last fault was injected (without one: the beginning).
            window: seconds.

        Raises:
            ValueError: ``window`` is not above 0 s.
        """
        if since is None:
            since = next((e.at for e in reversed(list(self._chaos.timeline)) if e.kind == "fault"), None)
        if since is None:
            since = min(self._tally.attempts, default=0.0)
        return Herd.of(self._tally.attempts, since, window)

    async def subscribe(self, topic: str) -> None:
        """Let each client subscribe to a topic; returns when all have been confirmed. For reference clients only.

        Raises:
            TypeError: a client has no ``subscribe``.
            SendFailed, ClientClosed: as the reference client does.
        """
        if not all(hasattr(client, "subscribe") for client in self.clients):
            raise TypeError("a client of the fleet has no subscribe(): let the factory's clients subscribe themselves")
        receipts = [await client.subscribe(topic) for client in self.clients]
        for receipt in receipts:
            await receipt

    async def fan_out(
        self, topic: str, data: Any, timeout: float = 30.0, *, publish: Callable[[str, Any], Any] | None = None
    ) -> FanOut:
        """Publish to all, and wait until each has told of a message, or for ``timeout`` seconds.

        Args:
            publish: how to; None: by the reference server. What it raises is raised.
        """
        self._all.clear()
        received: dict[int, float] = {}
        self._received = received
        start = self._loop.time()
        try:
            published = (self._chaos.server.publish if publish is None else publish)(topic, data)
            if inspect.isawaitable(published):
                await published
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._all.wait()
        finally:
            self._received = None
        return FanOut(len(self._members), tuple(sorted(at - start for at in received.values())))

    async def drain(self, retry_after: float = 1.0, window: float = 10.0, deadline: float = 30.0) -> Drained:
        """Let the reference server send everybody away, as before a deployment; see :meth:`.ReferenceServer.drain`.

        Afterwards it turns everybody away.
        """
        start, came = self.now, len(self._tally.attempts)
        await self._chaos.server.drain(retry_after, window, deadline)
        ended = Herd.of(self._tally.ended, start, 1.0)
        return Drained(self.now - start, ended.total, len(self._tally.attempts) - came, ended.peak)

    def _told(self) -> str:
        tally = self._tally
        return (
            f"{len(self)} clients: {tally.open} connected, {len(tally.attempts)} arrivals, "
            f"{len(tally.refusals)} refused, {tally.now():.0f} s"
        )


def _require_descriptors(loop: asyncio.AbstractEventLoop, n: int) -> None:
    """Refuse a fleet for which the kernel has too few sockets.

    Raises:
        ValueError: so it is; the message names the clock that needs none.
    """
    if hasattr(loop, "network"):
        return
    try:
        import resource
    except ImportError:  # not a Unix
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and n * DESCRIPTORS > limit:
        raise ValueError(
            f"n = {n}: each client takes {DESCRIPTORS} descriptors, and this process may have {limit} (ulimit -n): "
            "use clock='virtual', whose network needs none"
        )
