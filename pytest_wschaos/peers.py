"""The server behind the proxy, as a test may handle it: from any thread, while it runs on the engine's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .inline import Runner
from .reference.conversation import Received
from .reference.peer import CloseOnAccept, HandlerServer, MutePongs, PeerFault, Reject, check_close
from .reference.server import ConnectionInfo, ReferenceServer


@dataclass(frozen=True, slots=True)
class _CloseNow:
    """Close what is open: carried out once, there is nothing to heal."""

    code: int
    reason: str

    def __post_init__(self) -> None:
        check_close(self.code, self.reason)


_KINDS: Mapping[str, Callable[..., PeerFault | _CloseNow]] = {
    "reject_handshake": Reject,
    "accept_then_close": CloseOnAccept,
    "mute_pongs": MutePongs,
    "close": _CloseNow,
}


class Peer:
    """Carries out the peer's faults on a server of ours. Its methods belong to the server's loop."""

    def __init__(self, server: ReferenceServer | HandlerServer) -> None:
        self.server = server
        self._closing: set[asyncio.Task[None]] = set()

    @staticmethod
    def fault(name: str, **details: Any) -> PeerFault | _CloseNow:
        """The fault of a name, its arguments checked; from any thread.

        Raises:
            ValueError: an argument cannot be.
        """
        return _KINDS[name](**details)

    def add(self, fault: PeerFault | _CloseNow) -> None:
        """Put a fault in force."""
        if not isinstance(fault, _CloseNow):
            self.server.faults.add(fault)
            return
        task = asyncio.get_running_loop().create_task(self.server.close_all(fault.code, fault.reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def remove(self, fault: PeerFault | _CloseNow) -> None:
        """Heal a fault."""
        if not isinstance(fault, _CloseNow):
            self.server.faults.remove(fault)


class ServerHandle:
    """The reference server of a test; every method may be called from any thread, and returns when it is done."""

    def __init__(self, server: ReferenceServer, runner: Runner) -> None:
        self._server = server
        self._runner = runner

    @property
    def url(self) -> str:
        """Where it speaks ``wschaos.v1`` itself, with no proxy in between."""
        return self._server.url

    @property
    def echo_url(self) -> str:
        """Where it echoes, with no proxy in between."""
        return self._server.echo_url

    @property
    def port(self) -> int:
        """The port that it listens on, on 127.0.0.1."""
        return self._server.port

    @property
    def received(self) -> list[Received]:
        """What applications have published, once each, in order."""
        return self._runner.call(lambda: list(self._server.received))

    def take_received(self) -> list[Received]:
        """:attr:`received`, which is empty afterwards: for a test that runs for long."""

        def take() -> list[Received]:
            taken = list(self._server.received)
            self._server.received.clear()
            return taken

        return self._runner.call(take)

    @property
    def connections(self) -> list[ConnectionInfo]:
        """The connections that are open."""
        return self._runner.call(lambda: list(self._server.connections))

    def publish(self, topic: str, data: Any) -> None:
        """Send data to every subscriber of a topic."""
        self._runner.call(self._server.publish, topic, data)

    def say(self, message: str | bytes) -> None:
        """Write a message, as it is, to every open connection: what no protocol has, or what breaks it."""
        self._runner.call(self._server.say, message)

    def say_pong(self, payload: bytes) -> None:
        """Write a pong that nobody has asked for to every open connection, muted or not."""
        self._runner.call(self._server.say_pong, payload)

    def allow_connections(self, limit: int) -> None:
        """Let one address have at least so many connections from now on."""
        self._runner.call(self._server.allow_connections, limit)

    async def drain(self, retry_after: float = 1.0, window: float = 10.0, deadline: float = 30.0) -> None:
        """Send everybody away, evenly over ``window`` seconds, and turn away who comes; see the server's own."""
        await self._runner.wait(self._server.drain(retry_after, window, deadline))

    def issue_token(self) -> str:
        """A new token that the server accepts."""
        return self._runner.call(self._server.tokens.issue)

    def expire(self, token: str) -> None:
        """Let a token have run out: Close 4401 at its next use."""
        self._runner.call(self._server.tokens.expire, token)

    def revoke(self, token: str) -> None:
        """Withdraw a token: it authenticates nobody and resumes no session any more."""
        self._runner.call(self._server.tokens.revoke, token)

    def drop_sessions(self) -> None:
        """Forget every session: the next resume is answered with Close 4410."""
        self._runner.call(self._server.drop_sessions)

    def refuse_topic(self, topic: str) -> None:
        """Refuse every message on a topic from now on: ``ack`` not ok."""
        self._runner.call(self._server.refuse_topic, topic)

    def new_epoch(self) -> None:
        """Start the streams of all sessions anew: the next resume is not a recovery."""
        self._runner.call(self._server.new_epoch)
