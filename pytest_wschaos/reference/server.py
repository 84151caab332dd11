"""The reference server: ``wschaos.v1`` at ``/ws``, a plain echo at ``/echo``, health at ``/healthz``.

Any number of servers can live in one process and on one loop; all that a server knows is in its object.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

from websockets.asyncio.server import ServerConnection
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from ..profile import AuthMode, Profile
from .auth import Admission, origin_refused, path_of
from .conversation import Ended, Hub, Received
from .dialect import ReferenceDialect
from .peer import HandlerServer, PeerFaults, is_upgrade, logger, respond
from .protocol import MAX_TOPIC, SUBPROTOCOL, CloseCode, is_topic
from .server_connection import WRITE_LIMIT, ReferenceConnection, converse, echo
from .tokens import Tokens


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One open connection: its path, its session (None before it has authenticated), and the bytes that wait."""

    path: str
    session: str | None
    waiting: int


class ReferenceServer:
    """A server that keeps every rule of the spec, in memory. ``async with`` starts and stops it, on the running loop.

    Args:
        host: the address to listen on.
        port: the port; 0: a free one, to be had from ``port`` after the start.
        profile: its figures.
        tokens: the credentials that it accepts; by default none, until ``tokens.issue()`` makes one.
        seed: makes session ids and tokens repeatable. On a public network, pass one that nobody can guess.
        modes: how credentials may travel; all four modes by default. ``none``: without a token, too.
    """

    # The parts that a subclass may replace by its own.
    connection_type: ClassVar[type[ReferenceConnection]] = ReferenceConnection
    hub_type: ClassVar[type[Hub]] = Hub

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        profile: Profile | None = None,
        tokens: Tokens | None = None,
        seed: int = 0,
        modes: Collection[AuthMode] | None = None,
    ) -> None:
        self.profile = profile = Profile() if profile is None else profile
        self.draining = False
        self._hub = self.hub_type(profile, random.Random(seed), tokens=tokens, modes=modes)
        self._retry_after: float | None = None
        self._sweep: asyncio.TimerHandle | None = None
        admission = Admission(profile.security.connections, profile.security.trusted_proxies or ())
        self._admission = admission
        self._listener = HandlerServer(
            self._serve,
            host=host,
            port=port,
            dialect=ReferenceDialect(),
            subprotocols=[SUBPROTOCOL],
            close_timeout=profile.close.timeout,
            connection=functools.partial(self.connection_type, profile=profile, admission=admission),
            process_request=self._answer_request,
            open_timeout=profile.security.handshake_timeout,
            max_size=profile.message.max_size,
            write_limit=WRITE_LIMIT,
        )

    # --- what it is ---

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._listener.port

    @property
    def running(self) -> bool:
        """Whether it was started, and nobody has begun to stop it."""
        return self._listener.running

    @property
    def url(self) -> str:
        """Where it speaks ``wschaos.v1``."""
        return self._listener.url + "ws"

    @property
    def echo_url(self) -> str:
        """Where it sends every message back."""
        return self._listener.url + "echo"

    @property
    def tokens(self) -> Tokens:
        """The credentials that it accepts."""
        return self._hub.tokens

    @property
    def faults(self) -> PeerFaults:
        """What it does wrong on purpose."""
        return self._listener.faults

    @property
    def received(self) -> deque[Received]:
        """What applications have published, once each, in order; the newest 10 000."""
        return self._hub.received

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """The open connections, in no particular order."""
        return tuple(_info(connection) for connection in self._open())

    # --- life ---

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is in use, or the address is not this machine's; the message names both.
            RuntimeError: it runs already.
        """
        await self._listener.start()

    async def stop(self, grace: float | None = None) -> None:
        """Close all connections with 1001, and stop; ``grace`` is how many seconds that may take (close timeout)."""
        await self._listener.stop(grace)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    async def close_all(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close every open connection; returns when all have ended, at the latest after the close timeout.

        Raises:
            ValueError: the code must not be sent, or the reason is longer than 123 bytes.
        """
        await self._listener.close_all(code, reason)

    async def drain(self, retry_after: float = 1.0, window: float = 10.0, deadline: float = 30.0) -> None:
        """Send everybody away: from now on upgrades and ``/healthz`` are answered 503, and the listener stays open.

        Each client gets ``going_away`` and Close 1001, spread evenly over ``window`` seconds. Returns when all
        have left, and cuts those who have not by ``deadline`` seconds. Call :meth:`stop` afterwards.
        ``retry_after`` is the number of seconds that clients are asked to stay away.
        """
        self.draining = True
        self._retry_after = retry_after
        loop = asyncio.get_running_loop()
        start = loop.time()
        leaving = list(self._open())
        try:
            async with asyncio.timeout_at(start + deadline):
                for number, connection in enumerate(leaving):
                    await asyncio.sleep(start + window * number / len(leaving) - loop.time())
                    farewell = {"type": "going_away", "retry_after": retry_after}
                    spoken = connection.conversation is not None and connection.conversation.session is not None
                    connection.end(Ended(CloseCode.GOING_AWAY, "draining", farewell if spoken else None))
                for connection in leaving:
                    await connection.wait_closed()
        except TimeoutError:
            logger.info("clients that had not left by the drain deadline were cut")
            for connection in leaving:
                connection.transport.abort()

    # --- what it does ---

    def allow_connections(self, limit: int) -> None:
        """Let one address have at least so many connections, and as many be unauthenticated, from now on."""
        self._admission.allow(limit)

    def publish(self, topic: str, data: Any) -> None:
        """Publish to every session that is subscribed to ``topic``; ``data`` is any JSON value, or bytes.

        Raises:
            ValueError: the topic is not 1 to 256 characters, or the data is no JSON value, or too big.
        """
        if not is_topic(topic):
            raise ValueError(f"topic = {topic!r:.80}: must be a string of 1 to {MAX_TOPIC} characters")
        self._hub.broker.publish(self._hub.publication(topic, data))

    def say(self, message: str | bytes) -> None:
        """Write a message, as it is, to every open connection; a ``str`` as text, ``bytes`` as binary."""
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else message
        for connection in self._open():
            connection.say(payload, Opcode.TEXT if text else Opcode.BINARY)

    def say_pong(self, payload: bytes) -> None:
        """Write a pong that nobody has asked for to every open connection; ``payload`` has 125 bytes at most."""
        for connection in self._open():
            connection.say(payload, Opcode.PONG)

    def drop_sessions(self) -> None:
        """Forget every session: a resume gets Close 4410. Connections that stand go on."""
        self._hub.forget_all()

    def refuse_topic(self, topic: str) -> None:
        """Refuse every message on a topic from now on, as an application that finds it invalid: ``ack`` not ok."""
        self._hub.refused_topics.add(topic)

    def new_epoch(self) -> None:
        """Give every session another stream: a resume gets ``recovered: false``. Connections that stand go on."""
        self._hub.sessions.new_epoch()

    # --- requests and connections ---

    def _open(self) -> list[ReferenceConnection]:
        return [
            connection
            for connection in self._listener.connections
            if isinstance(connection, ReferenceConnection) and connection.protocol.state is State.OPEN
        ]

    def _answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, ReferenceConnection)
        path = path_of(request)
        if path == "/healthz":
            return self._health(connection)
        if path not in ("/ws", "/echo"):
            return respond(connection, 404, "there is /ws, /echo and /healthz")
        if not is_upgrade(request):
            return _not_an_upgrade(connection)
        if self.draining:
            return respond(connection, 503, "draining", self._retry_after)
        connection.peer = self._admission.peer(request, connection.peer)
        if (reason := self._admission.refused(connection.peer)) is not None:
            return _refuse(connection, 429, reason)
        if (reason := origin_refused(request, self.profile.security.origins, self._hub.modes)) is not None:
            return _refuse(connection, 403, reason)
        return None

    def _health(self, connection: ReferenceConnection) -> Response:
        response = respond(connection, 503 if self.draining else 200, "")
        response.body = json.dumps({"status": "draining" if self.draining else "ok"}).encode()
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(response.body)))):
            del response.headers[name]
            response.headers[name] = value
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, ReferenceConnection)
        assert connection.request is not None
        if self.draining:  # its handshake was under way when the drain began
            connection.end(Ended(CloseCode.GOING_AWAY, "draining"))
        if path_of(connection.request) == "/echo":
            await echo(connection)
            return
        try:
            await converse(connection, self._hub)
        finally:
            self._forget_expired()

    def _forget_expired(self) -> None:
        """Forget sessions whose time is over, now and whenever the next one's is."""
        loop = asyncio.get_running_loop()
        self._hub.forget_expired(loop.time())
        at = self._hub.sessions.next_expiry()
        if self._sweep is not None:
            if self._sweep.when() == at and not self._sweep.cancelled():
                return
            self._sweep.cancel()
        self._sweep = None if at is None else loop.call_at(at, self._forget_expired)


def _not_an_upgrade(connection: ReferenceConnection) -> Response:
    # The likeliest reason is a reverse proxy that was not told to forward these two (PROXY-02).
    text = "not a WebSocket upgrade: no 'Upgrade: websocket' and 'Connection: Upgrade'; does a proxy drop them?"
    response = respond(connection, 426, text)
    response.headers["Upgrade"] = "websocket"
    return response


def _refuse(connection: ReferenceConnection, status: int, reason: str) -> Response:
    logger.info("an upgrade was refused: %s", reason)
    return respond(connection, status, reason)


def _info(connection: ReferenceConnection) -> ConnectionInfo:
    request, conversation = connection.request, connection.conversation
    session = None if conversation is None else conversation.session
    return ConnectionInfo(
        path="" if request is None else path_of(request),
        session=None if session is None else session.id,
        waiting=connection.transport.get_write_buffer_size(),
    )
