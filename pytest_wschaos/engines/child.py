"""The process of engines that run beside the tests: a front for each test, asked and told over a socket of its own.

Nothing heavy is imported here: the time from the start to the first answer is what a test waits for.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import signal
import socket
from collections.abc import Callable
from itertools import count
from typing import Any, Literal
from weakref import WeakValueDictionary, finalize

from ..engine.front import Front
from ..engine.observer import Observer, Place, Tap, Way
from ..engine.relay import new_loop
from ..lag import LagMeter
from .wire import Unpacker, pack

CONNECT = b"c"
"""Comes with the descriptor of a test's socket."""


def main(fd: int) -> None:
    """Serve the tests of the process at the other end of the socket ``fd``, until that is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; their end is this one's too
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(socket.socket(fileno=fd)))


async def serve(control: socket.socket) -> None:
    """Make a front for each socket that comes over ``control``, until that is closed."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    sessions: set[Session] = set()

    def look() -> None:
        data, fds, _, _ = socket.recv_fds(control, len(CONNECT), 1)
        if not data:
            loop.remove_reader(control)
            ended.set()
        for fd in fds:
            session = Session(sessions.discard)
            sessions.add(session)
            task = loop.create_task(session.begin(socket.socket(fileno=fd)))
            task.add_done_callback(lambda task: task.result())

    with control:
        loop.add_reader(control, look)
        await ended.wait()
    for session in tuple(sessions):
        await session.end()
        session.hang_up()
    await asyncio.sleep(0)  # in which they are closed


class Session(asyncio.Protocol):
    """One test's front, and what it sees."""

    def __init__(self, gone: Callable[[Session], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.taps: WeakValueDictionary[int, RemoteTap] = WeakValueDictionary()
        self._gone = gone
        self._unpacker = Unpacker()
        self._transport: asyncio.WriteTransport
        self._front: Front | None = None
        self._meter = LagMeter(self.loop, self.late)
        self._told: list[tuple[Any, ...]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, sock: socket.socket) -> None:
        """Speak with the test over a socket."""
        await self.loop.create_connection(lambda: self, sock=sock)

    async def end(self) -> None:
        """The test has ended."""
        self._meter.stop()
        if self._front is not None:
            front, self._front = self._front, None
            await front.stop()

    def hang_up(self) -> None:
        """Nobody is there any more to be told."""
        if hasattr(self, "_transport"):
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._spawn(self.end())
        self._gone(self)

    def data_received(self, data: bytes) -> None:
        for what, *rest in self._unpacker.feed(data):
            if what == "do":
                self._spawn(self._do(*rest))
            elif what == "look_away":
                if (tap := self.taps.get(rest[0])) is not None:
                    tap.watching = False
            else:
                upstream, trust, seed = rest
                self._front = Front(upstream, trust, seed=seed, observer=RemoteObserver(self), tell=self.tell)
                self._meter.start()

    def _spawn(self, coroutine: Any) -> None:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, number: int, asked: bytes) -> None:
        try:
            method, args = pickle.loads(asked)  # where it is of a class that is not there, that is the answer
            answer = method(self._front, *args)
            done = True, await answer if inspect.isawaitable(answer) else answer
            pickle.dumps(done)
        except Exception as error:
            done = False, _sendable(error)
        self.send("answer", number, *done)

    # --- what is told, each with its instant

    def send(self, what: str, *rest: Any) -> None:
        """Send something to the test, with all else that this turn of the loop has to tell."""
        if not self._told:
            self.loop.call_soon(self._flush)
        self._told.append((what, self.loop.time(), *rest))

    def _flush(self) -> None:
        told, self._told = self._told, []
        if not self._transport.is_closing():
            self._transport.write(pack(told))

    def tell(self, kind: str, **detail: Any) -> None:
        """An event of what the engine does."""
        self.send("event", kind, detail)

    def forget(self, key: int) -> None:
        """Nothing more will be told of a connection."""
        if self._front is not None:
            self.send("gone", key)

    def late(self, lag: float) -> None:
        """The engine's clock came late."""
        self.send("late", lag)


async def settled(front: Front) -> None:
    """What has come by now takes a turn of the loop, and timers that are due another."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # it takes more than a message to be made
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class RemoteObserver(Observer):
    """Tells the test of what the engine sees."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._numbers = count(1)

    def attempt(self, proxy: str, number: int) -> Tap:
        key = next(self._numbers)
        self._session.send("attempt", key, proxy, number)
        self._session.taps[key] = tap = RemoteTap(self._session, key)
        return tap

    def refused(self, proxy: str, at: float, late: float) -> None:
        self._session.send("refused", proxy, at, late)

    def blind(self, proxy: str) -> None:
        self._session.send("blind", proxy)


class RemoteTap(Tap):
    """Tells the test of one connection. What passes both sides as it is goes over the socket once."""

    __slots__ = ("__weakref__", "_key", "_last", "_session", "watching")

    def __init__(self, session: Session, key: int) -> None:
        self.watching = True
        self._session = session
        self._key = key
        self._last: dict[Way, bytes] = {}
        finalize(self, session.forget, key).atexit = False

    def error(self, text: str) -> None:
        self._tell("error", text)

    def data(self, place: Place, way: Way, data: bytes) -> None:
        if self._last.get(way) is data:
            self._session.send("again", self._key, place, way)
        else:
            self._last[way] = data
            self._session.send("data", self._key, place, way, data)

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        self._tell("ended", place, by, how)

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        self._tell("cut", fault, how)

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        self._session.send("acted", self._key, toxic, way, what)

    def _tell(self, method: str, *args: Any) -> None:
        self._session.send("tap", self._key, method, args)
