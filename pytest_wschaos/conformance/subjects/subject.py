"""A client under test, as a case drives it, wherever it runs and in whatever language it is written.

:class:`Subject` starts clients; each is a :class:`Client`, of which only starting, telling it something and ending it
depend on where it runs. What it says comes back as the events of the contract, and goes on the timeline.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...checks.verdict import Finding, unsupported
from ...profile import Profile, ProfileError

if TYPE_CHECKING:
    from ...harness import Chaos

CAN = frozenset(["send", "subscribe", "resume", "token", "pause", "reconnect", "chunks"])
"""What a client may be able to do besides connecting, as its hello names it."""
ANSWER_TIMEOUT = 5.0
"""Seconds in which a client answers what it is asked (``buffered``, ``state``)."""


def blob(size: int) -> bytes:
    """The contract's blob of so many bytes: byte i is i mod 251."""
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


class SubjectError(Exception):
    """The subject cannot be started, or does not keep to the contract; one line that says how."""


class Unsupported(Exception):
    """The subject cannot do what the case needs; one line that says what."""

    @property
    def finding(self) -> Finding:
        """As a verdict."""
        return unsupported(str(self))


@dataclass(frozen=True)
class Setting:
    """What a client is told before it starts: the contract's environment."""

    url: str
    echo_url: str
    token: str
    profile: Profile
    case: str
    wait: bool = True
    """Whether one that starts by itself waits for the first command."""


@dataclass(frozen=True)
class Hello:
    """What a client says of itself first."""

    speaks: str
    """``wschaos.v1``, ``raw``, or ``""``: nothing was said, it is a black box."""
    can: frozenset[str]
    profile: Profile
    """The figures that it declares."""

    @classmethod
    def read(cls, event: Mapping[str, Any], given: Profile) -> Hello:
        """From the contract's first line.

        Raises:
            SubjectError: something in it cannot be.
        """
        speaks, can, figures = event.get("speaks"), event.get("can", []), event.get("profile") or {}
        if speaks not in ("wschaos.v1", "raw"):
            raise SubjectError(f"hello: speaks = {speaks!r:.80}: must be 'wschaos.v1' or 'raw'")
        if not isinstance(can, list) or not set(map(str, can)) <= CAN:
            raise SubjectError(f"hello: can = {can!r:.80}: must be a list of {', '.join(sorted(CAN))}")
        if not isinstance(figures, Mapping):
            raise SubjectError(f"hello: profile = {figures!r:.80}: must be an object of figures by area")
        try:
            return cls(speaks, frozenset(map(str, can)), given.with_(**figures))
        except (ProfileError, TypeError) as error:
            raise SubjectError(f"hello: profile: {error}") from None


class Client(ABC):
    """One client under test.

    Args:
        chaos: what it connects through; all that it does is on its timeline.
        name: of its listener.
    """

    def __init__(self, chaos: Chaos, name: str) -> None:
        self.chaos = chaos
        self.name = name
        self.hello = Hello("", frozenset(), chaos.profile)
        self.connecting_since: float | None = None
        """When it was told to connect, on the clock of the case."""
        self._refs = 0
        self._answers: dict[str, asyncio.Future[int]] = {}

    # --- what depends on where it runs

    @abstractmethod
    async def start(self, setting: Setting) -> None:
        """Start it, without connecting yet where it can wait; its hello is known when this returns.

        Raises:
            SubjectError: it cannot be started.
            Unsupported: it says that it cannot do this case.
        """

    @abstractmethod
    async def tell(self, command: Mapping[str, Any]) -> None:
        """Have it do something: a command of the contract."""

    @abstractmethod
    async def stop(self) -> None:
        """End it, and all that it has started, at once."""

    @property
    def pid(self) -> int:
        """The id of its process.

        Raises:
            Unsupported: it has none of its own.
        """
        raise Unsupported("the client has no process of its own: give it as a command")

    @property
    def failure(self) -> str:
        """How its process has ended, where it has by itself, and not well; else empty."""
        return ""

    @property
    def words(self) -> str:
        """What it said besides events."""
        return ""

    # --- what a case asks of it

    def require(self, needs: Iterable[str]) -> None:
        """Make sure that it can do something.

        Raises:
            Unsupported: it cannot.
        """
        if missing := sorted(set(needs) - self.hello.can):
            raise Unsupported(f"the client cannot do it: {', '.join(missing)} (its hello says what it can)")

    async def connect(self) -> None:
        """Begin to connect."""
        self.connecting_since = asyncio.get_running_loop().time()
        await self.tell({"do": "connect"})

    async def send(self, data: Any, topic: str = "news") -> str:
        """Have the application send something; returns its ref."""
        self._refs += 1
        ref = f"send-{self._refs}"
        self.chaos.sent(data, topic=topic, ref=ref, client=self.name)
        await self.tell({"do": "send", "ref": ref, "topic": topic, "data": data})
        return ref

    async def send_binary(self, size: int, topic: str = "news") -> str:
        """Have it send a blob, of which byte i is i mod 251."""
        self._refs += 1
        ref = f"send-{self._refs}"
        self.chaos.sent(blob(size), topic=topic, ref=ref, client=self.name)
        await self.tell({"do": "send_binary", "ref": ref, "topic": topic, "size": size})
        return ref

    async def subscribe(self, topic: str) -> None:
        """Have it ask for a topic."""
        self._asked("subscribe", topic=topic)
        await self.tell({"do": "subscribe", "topic": topic, "ref": f"subscribe-{topic}"})

    async def unsubscribe(self, topic: str) -> None:
        """Have it ask for a topic no longer."""
        self._asked("unsubscribe", topic=topic)
        await self.tell({"do": "unsubscribe", "topic": topic, "ref": f"unsubscribe-{topic}"})

    async def token(self, token: str) -> None:
        """What its token provider answers from now on."""
        await self.tell({"do": "token", "token": token})

    async def token_fails(self, times: int) -> None:
        """Let its token provider raise, so many times."""
        await self.tell({"do": "token_fails", "times": times})

    async def pause_reading(self) -> None:
        """The application stops reading."""
        await self.tell({"do": "pause_reading"})

    async def resume_reading(self) -> None:
        """The application reads again."""
        await self.tell({"do": "resume_reading"})

    async def reconnect(self) -> None:
        """The application asks for a connection now."""
        self._asked("reconnect")
        await self.tell({"do": "reconnect"})

    async def close(self) -> None:
        """The application closes it on purpose."""
        self._asked("close")
        await self.tell({"do": "close"})

    async def buffered(self) -> int:
        """Bytes that it has accepted and not yet handed to the network.

        Raises:
            Unsupported: it does not answer.
        """
        return await self._question("buffered")

    async def state(self) -> int:
        """Its ready state, 0 to 3.

        Raises:
            Unsupported: it does not answer.
        """
        return await self._question("state")

    def _asked(self, what: str, **detail: Any) -> None:
        self.chaos.timeline.record(f"app.{what}", "app", client=self.name, **detail)

    async def _question(self, what: str) -> int:
        self._answers[what] = asyncio.get_running_loop().create_future()
        await self.tell({"do": what})
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._answers[what]
        except TimeoutError:
            raise Unsupported(f"the client was asked for {what!r}, and did not answer") from None

    # --- what it says

    def said(self, event: Mapping[str, Any]) -> None:
        """Put on record what it has told its application; on the loop of the case."""
        kind = event["event"]
        if kind in ("buffered", "state"):
            answer = self._answers.get(kind)
            value = event.get("bytes" if kind == "buffered" else "value")
            if answer is not None and not answer.done() and isinstance(value, int):
                answer.set_result(value)
        self.chaos.report(event, self.name)


class Subject(ABC):
    """What is under test: makes clients of it."""

    name: str
    """As reports call it."""
    process = False
    """Whether each client is a process of its own."""

    @abstractmethod
    def client(self, chaos: Chaos, name: str) -> Client:
        """A client, not yet started."""


Factory = Callable[..., Any]
