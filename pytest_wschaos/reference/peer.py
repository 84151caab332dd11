"""The peer's own faults, and a WebSocket server for any handler that can have them.

The network's faults are the engine's business; these are what a *server* does wrong: it mutes its pongs,
refuses the upgrade, or accepts and closes at once. Each can be active several times over, independently.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ..dialect import Dialect, Pong
from .protocol import CloseCode, clip_reason

logger = logging.getLogger("pytest_wschaos.server")

# The library logs requests as they came, tokens in them; what matters is told by the logger above.
_silent = logging.getLogger("pytest_wschaos.server.websockets")
_silent.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Reject:
    """Upgrades are answered with an HTTP status; ``retry_after`` (seconds) goes into the header of that name, and
    ``location`` (a URL) into that of a redirect.

    Raises:
        ValueError: the status is none that ends a handshake, the time is negative, or the location cannot be.
    """

    status: int
    retry_after: float | None = None
    location: str | None = None

    def __post_init__(self) -> None:
        if self.status < 200 or self.status not in set(HTTPStatus):
            raise ValueError(f"status = {self.status!r}: must be an HTTP status from 200 to 511")
        if self.retry_after is not None and not (self.retry_after >= 0 and math.isfinite(self.retry_after)):
            raise ValueError(f"retry_after = {self.retry_after!r}: must be 0 s or more")
        if self.location is not None:
            if not 300 <= self.status < 400:
                raise ValueError(f"location goes with a redirect (status 300 to 399), not with {self.status}")
            if not self.location.isascii() or not self.location.isprintable() or " " in self.location:
                raise ValueError(f"location = {self.location!r}: must be a URL")


@dataclass(frozen=True, slots=True, eq=False)
class CloseOnAccept:
    """Connections are accepted and closed at once.

    Raises:
        ValueError: the code must not be sent, or the reason is longer than 123 bytes.
    """

    code: int = CloseCode.SERVER_ERROR
    reason: str = ""

    def __post_init__(self) -> None:
        check_close(self.code, self.reason)


@dataclass(frozen=True, slots=True, eq=False)
class MutePongs:
    """Pings stay unanswered, at frame level and (where a dialect tells pongs) in the application."""


PeerFault = Reject | CloseOnAccept | MutePongs
_F = TypeVar("_F", bound=PeerFault)


def check_close(code: int, reason: str) -> None:
    """Raise ValueError for a close code that must not be sent, or a reason that does not fit."""
    if not (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) and not 3000 <= code <= 4999:
        raise ValueError(f"code = {code!r}: must be 1000 to 1014 (not 1004, 1005, 1006) or 3000 to 4999")
    if clip_reason(reason) != reason:
        raise ValueError(f"reason has {len(reason.encode())} bytes: must be 123 or fewer")


class PeerFaults:
    """The faults that are active now; of several alike, the one added last counts."""

    def __init__(self) -> None:
        self._active: list[PeerFault] = []

    def add(self, fault: _F) -> _F:
        """Let a fault begin; returns it."""
        self._active.append(fault)
        return fault

    def remove(self, fault: PeerFault) -> None:
        """Let a fault end; others like it stay. Nothing happens where it has ended before."""
        if fault in self._active:
            self._active.remove(fault)

    @property
    def reject(self) -> Reject | None:
        """How upgrades are refused; None: they are not."""
        return self._last(Reject)

    @property
    def close_on_accept(self) -> CloseOnAccept | None:
        """How connections are closed as soon as they are accepted; None: they are not."""
        return self._last(CloseOnAccept)

    @property
    def mute_pongs(self) -> bool:
        """Whether pings stay unanswered."""
        return self._last(MutePongs) is not None

    def _last(self, kind: type[_F]) -> _F | None:
        if not self._active:  # as in most cases, and this is asked for every frame that is sent
            return None
        return next((fault for fault in reversed(self._active) if isinstance(fault, kind)), None)


class FaultyConnection(ServerConnection):
    """A connection that has the faults of its listener."""

    def __init__(self, protocol: ServerProtocol, server: Server, *, listener: HandlerServer, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        self.listener = listener
        self._send_frame = protocol.send_frame
        # The protocol object answers pings by itself, deep inside its parser. All that it sends passes
        # through this one method, so that is where a pong can be held back.
        protocol.send_frame = self._send_unless_muted  # type: ignore[method-assign]

    def _send_unless_muted(self, frame: Frame) -> None:
        if self.listener.faults.mute_pongs and self._is_pong(frame):
            return
        self._send_frame(frame)

    def _is_pong(self, frame: Frame) -> bool:
        dialect = self.listener.dialect
        if frame.opcode is Opcode.PONG or dialect is None or not frame.fin:
            return frame.opcode is Opcode.PONG
        data = bytes(frame.data)
        try:
            if frame.opcode is Opcode.TEXT:
                return isinstance(dialect.read("down", data.decode()), Pong)
            return frame.opcode is Opcode.BINARY and isinstance(dialect.read("down", data), Pong)
        except Exception as error:  # a dialect is the user's code
            logger.debug("the dialect could not read a message: %s", type(error).__name__)
            return False

    def say(self, payload: bytes, opcode: Opcode) -> None:
        """Write one frame of a test's own making, whatever faults are active."""
        self._send_frame(Frame(opcode, payload))
        self.send_data()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection stands."""
        super().connection_made(transport)
        self.listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended."""
        self.listener.connections.discard(self)
        super().connection_lost(exc)
        # It is over. What of it refers to itself would otherwise wait for a collector of garbage.
        for own in ("send_frame", "select_subprotocol"):
            vars(self.protocol).pop(own, None)

    async def finish(self, code: int, reason: str = "", *, last: str | None = None, discard: bool = False) -> None:
        """Send ``last`` and a Close, and wait for the peer's; cut the connection after the close timeout.

        ``discard``: nobody reads any more, so what still comes is thrown away.
        """
        try:
            async with asyncio.timeout(self.close_timeout):
                try:
                    if last is not None:
                        await self.send(last)
                except WebSocketException:
                    pass  # it is closing already, or in the middle of a fragmented message
                # The library's queue of messages must not fill up, or the peer's Close would never be read.
                reading = asyncio.create_task(self._discard()) if discard else None
                try:
                    await self.close(code, clip_reason(reason))
                finally:
                    if reading is not None:
                        reading.cancel()
                        await asyncio.wait([reading])
        except TimeoutError:
            logger.debug("a close handshake was cut after %s s", self.close_timeout)
        finally:
            self.transport.abort()

    async def _discard(self) -> None:
        try:
            while True:
                await self.recv()
        except WebSocketException:
            pass

    async def leave(self, code: int, reason: str) -> None:
        """Let the connection end because the server wants it to, and wait until it has."""
        await self.finish(code, reason)

    def give_up(self, code: int, reason: str) -> None:
        """Write a Close and cut the connection at once: for a peer that is as good as dead."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, clip_reason(reason))
            self.send_data()
        self.transport.abort()


Handler = Callable[[ServerConnection], Awaitable[None]]
RequestHook = Callable[[ServerConnection, Request], Response | None]


class HandlerServer:
    """Serves any ``async def handler(websocket)`` of websockets' asyncio API, with the peer's faults.

    ``async with`` starts and stops it, on the running loop.

    Args:
        handler: called for every connection that is accepted.
        host: the address to listen on.
        port: the port; 0: a free one, to be had from ``port`` after the start.
        faults: the faults to have; its own by default.
        dialect: tells which messages are pongs, for ``MutePongs`` in the application.
        subprotocols: those that are selected where the client offers them.
        close_timeout: seconds that a close handshake may take.
        connection: makes the connections, from what websockets gives and ``listener``.
        process_request: looks at each upgrade, before it is accepted; may answer it.
        options: passed on to websockets' ``serve``.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: PeerFaults | None = None,
        dialect: Dialect | None = None,
        subprotocols: Sequence[str] = (),
        close_timeout: float = 5.0,
        connection: Callable[..., FaultyConnection] = FaultyConnection,
        process_request: RequestHook | None = None,
        **options: Any,
    ) -> None:
        self.host = host
        self.faults = PeerFaults() if faults is None else faults
        self.dialect = dialect
        self.connections: set[FaultyConnection] = set()
        """All TCP connections, those in the handshake included."""
        self._port = port
        self._handler = handler
        self._subprotocols = subprotocols
        self._close_timeout = close_timeout
        self._connection = connection
        self._process_request = process_request
        self._options = options
        self._server: Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def running(self) -> bool:
        """Whether it was started, and nobody has begun to stop it."""
        return self._server is not None

    @property
    def url(self) -> str:
        """The WebSocket URL of the root path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}/"

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
        if self._server is not None:
            raise RuntimeError(f"the server on {self.host}:{self.port} runs already")
        # websockets' own keepalive and compression would be seen by the checks as the subject's doing.
        defaults = {"compression": None, "ping_interval": None, "close_timeout": self._close_timeout, "logger": _silent}
        # No class of each server's own: what the interpreter has learned of one is lost on the next.
        connection: Any = functools.partial(self._connection, listener=self)
        try:
            self._server = await serve(
                self._run,
                self.host,
                self.port,
                process_request=self._hook,
                select_subprotocol=self._select_subprotocol,
                create_connection=connection,
                **{**defaults, **self._options},
            )
        except OSError as error:
            reason = error.strerror or str(error)
            number = errno.EADDRNOTAVAIL if error.errno is None else error.errno
            raise OSError(number, f"cannot listen on {self.host}:{self.port}: {reason}") from error
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self, grace: float | None = None) -> None:
        """Close all connections with 1001 and stop listening.

        ``grace`` is how long, in seconds, close handshakes and handlers may take; the close timeout by default.
        Afterwards nothing of it is left running.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.server.close()  # at once: the library does it in a task, and the loop may be about to end
        server.close(close_connections=False)
        grace = self._close_timeout if grace is None else grace
        try:
            async with asyncio.timeout(grace):
                await self.close_all(CloseCode.GOING_AWAY, "server stopping")
                if self._running:
                    await asyncio.wait(self._running)
        except TimeoutError:
            pass
        for connection in tuple(self.connections):
            connection.transport.abort()
        if self._running:
            # A handler that does not look at its connection would never end by itself.
            await asyncio.wait(self._running, timeout=0 if grace == 0 else min(0.1, grace))
            for task in self._running:
                task.cancel()
        await server.wait_closed()

    async def close_all(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close every open connection; returns when all have ended, at the latest after the close timeout.

        Raises:
            ValueError: the code must not be sent, or the reason is longer than 123 bytes.
        """
        check_close(code, reason)
        async with asyncio.TaskGroup() as group:
            for connection in tuple(self.connections):
                if connection.protocol.state is not State.CONNECTING:
                    group.create_task(connection.leave(code, reason))

    # --- what websockets calls ---

    async def _run(self, websocket: ServerConnection) -> None:
        assert isinstance(websocket, FaultyConnection)
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            if (fault := self.faults.close_on_accept) is not None:
                await websocket.finish(fault.code, fault.reason, discard=True)
            else:
                await self._handler(websocket)
        except ConnectionClosed as closed:
            logger.debug("a connection ended: %s", closed)
        except Exception:
            logger.exception("the handler failed")
            await websocket.finish(CloseCode.SERVER_ERROR, "internal error", discard=True)
        finally:
            self._running.discard(task)

    def _hook(self, connection: ServerConnection, request: Request) -> Response | None:
        if (fault := self.faults.reject) is not None and is_upgrade(request):
            response = respond(connection, fault.status, "rejected by a fault", fault.retry_after)
            if fault.location is not None:
                response.headers["Location"] = fault.location
            return response
        return None if self._process_request is None else self._process_request(connection, request)

    def _select_subprotocol(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((name for name in offered if name in self._subprotocols), None)


def is_upgrade(request: Request) -> bool:
    """Whether a request wants to become a WebSocket."""
    return any("websocket" in value.lower() for value in request.headers.get_all("Upgrade"))


def respond(connection: ServerConnection, status: int, text: str, retry_after: float | None = None) -> Response:
    """A plain HTTP answer, with a Retry-After (seconds) where one is given."""
    response = connection.respond(HTTPStatus(status), text + "\n")
    if retry_after is not None:
        # The standard knows whole seconds only; a scaled profile needs fractions of them.
        response.headers["Retry-After"] = f"{retry_after:.3f}".rstrip("0").rstrip(".")
    return response
