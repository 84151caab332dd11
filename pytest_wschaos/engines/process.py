"""The embedded engine in a process of its own: tests that keep the interpreter busy do not make its timers late.

One process serves all tests of a session, each over a socket pair of its own. It stamps what it sees with the clock
that both processes read (CLOCK_MONOTONIC), so that a test that is late to read it changes nothing. What it tells is
read on the loop of the test's thread, where the server is and the recorder; whoever asks it for something waits there.
"""

from __future__ import annotations

import contextlib
import pickle
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from ..background import CALL_TIMEOUT, LoopThread
from ..engine.front import Action, Front, Trust
from ..engine.observer import Place, Tap, Way
from ..recorder import Recorder
from ..timeline import Timeline
from .child import CONNECT, settled
from .link import Api, EngineMissing, Link
from .shared import Shared, Started
from .wire import Unpacker, pack

ANSWER_TIMEOUT = 0.8 * CALL_TIMEOUT
"""Seconds after which a process that does not answer is ended, so that the tests that follow have another."""
END_TIMEOUT = 5.0
"""Seconds that the process has to end."""
READ_SIZE = 1024 * 1024
START = """\
import sys
sys.path.append(sys.argv[2])
from pytest_wschaos.engines.child import main
main(int(sys.argv[1]))
"""
"""What the process runs: the standard library, and of what is installed this package alone."""


class EngineDied(RuntimeError):
    """The engine's process has ended amid a test."""


class EngineProcess(Started):
    """The process. It ends with this one, and what this one has forked.

    Raises:
        EngineMissing: this platform cannot hand sockets to another process.
    """

    def __init__(self) -> None:
        if not hasattr(socket, "send_fds"):
            raise EngineMissing("engine 'process': sockets cannot be handed over on this platform: use 'embedded'")
        self._why = ""
        folder = str(Path(__file__).parents[2])
        with contextlib.ExitStack() as stack:
            self._control, theirs = map(stack.enter_context, socket.socketpair())
            self._output = stack.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, str(theirs.fileno()), folder],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
            )
            stack.pop_all()  # both are closed by stop()
            theirs.close()

    def connect(self) -> socket.socket:
        """A socket over which it serves a test.

        Raises:
            EngineDied: it has ended.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [CONNECT], [theirs.fileno()])
            except OSError:
                ours.close()
                raise self.died() from None
        return ours

    def died(self) -> EngineDied:
        """Why it is not there any more."""
        try:
            status = self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            return EngineDied("the engine's process has closed its socket, and goes on: a bug of pytest-wschaos")
        how = self._why or (f"was ended by signal {-status}" if status < 0 else f"ended with status {status}")
        said = self.said
        return EngineDied(f"the engine's process {how}" + (f"; its last words:\n{said[-2000:]}" if said else ""))

    def give_up(self, why: str) -> None:
        """Kill it."""
        self._why = why
        self._process.kill()

    def stop(self) -> None:
        """End it, and pass on what it said, which is nothing while all goes well."""
        self._control.close()
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._output:
            if said := self.said:
                sys.stderr.write(f"the engine's process said:\n{said}\n")


shared: Shared[EngineProcess] = Shared(lambda: EngineProcess())
"""The process that serves all tests of this one."""


class Instants:
    """The clock of a timeline on which another process puts instants of its own.

    Args:
        now: tells the time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._thread = 0
        self._told = 0.0

    def __call__(self) -> float:
        return self._told if self._thread == threading.get_ident() else self._now()

    @contextlib.contextmanager
    def at(self, told: float) -> Iterator[None]:
        """In the block it is another instant, for the thread that calls this."""
        before = self._told, self._thread
        self._told, self._thread = told, threading.get_ident()
        try:
            yield
        finally:
            self._told, self._thread = before


class Process(Link):
    """The link to a front in the engine's process.

    Args:
        runner: its loop reads what the process tells.
        recorder: is told of what the engine sees.
        instants: the clock of the recorder's timeline.
        upstream, trust, seed: as for the front.

    Raises:
        EngineMissing: no such process on this platform.
        RuntimeError: trust in what only this process knows.
        EngineDied: it ended while it was started.
    """

    def __init__(
        self, runner: LoopThread, recorder: Recorder, instants: Instants, upstream: str, trust: Trust, *, seed: int
    ) -> None:
        if isinstance(trust, ssl.SSLContext):
            raise RuntimeError("upstream_ssl cannot be handed to the engine's process: use engine 'embedded'")
        self._runner = runner
        self._recorder = recorder
        self._timeline: Timeline = recorder.timeline
        self._instants = instants
        self._process = shared.get()
        self._sock = self._process.connect()
        self._numbers = count(1)
        self._unpacker = Unpacker()
        self._pending: deque[tuple[Any, ...]] = deque()
        self._answers: dict[int, tuple[bool, Any]] = {}
        self._taps: dict[int, Tap | None] = {}
        self._last: dict[tuple[int, Way], bytes] = {}
        self._died: EngineDied | None = None
        self._stopped = False
        try:
            runner.call(self._begin, upstream, trust, seed)
        except BaseException:
            self._sock.close()
            raise

    # --- asking

    def listen(self, name: str, certificate: bytes | None = None) -> str:
        return self._request(Front.listen, name, certificate)  # type: ignore[no-any-return]

    def redirect(self, upstream: str) -> None:
        self._request(Front.redirect, upstream)

    def serve_api(self) -> Api:
        return Api("127.0.0.1", self._request(Front.serve_api))

    def begin(self, id: int, fault: str, told: Mapping[str, Any], action: Action) -> None:
        self._request(Front.begin, id, fault, told, action)

    def heal(self, id: int, fault: str, action: Action) -> None:
        self._request(Front.heal, id, fault, action)

    def catch_up(self) -> None:
        if not (self._stopped or self._runner.stopped):
            self._request(settled)
            self._runner.catch_up()

    def stop(self) -> None:
        if not self._stopped:
            self._runner.call(self._end)

    def _request(self, method: Callable[..., Any], *args: Any) -> Any:
        return self._runner.call(self._ask, method, *args)

    def _begin(self, *setting: Any) -> None:
        self._sock.setblocking(False)
        self._runner.loop.add_reader(self._sock, self._read)
        self._send(("front", *setting))

    def _end(self) -> None:
        try:
            if self._died is None:
                self._ask(Front.stop)  # what it has still to tell is on record then
        finally:
            self._stopped = True
            self._runner.loop.remove_reader(self._sock)
            self._sock.close()

    def _ask(self, method: Callable[..., Any], *args: Any) -> Any:
        """The answer, for which the loop waits: it takes no part in giving it."""
        number = next(self._numbers)
        self._send(("do", number, pickle.dumps((method, args))))
        end = monotonic() + ANSWER_TIMEOUT
        while number not in self._answers:
            if self._died is not None:
                raise self._died
            self._wait(select.POLLIN, end)
            if self._died is None:
                self._read()
        done, answer = self._answers.pop(number)
        if not done:
            raise answer
        return answer

    def _wait(self, event: int, end: float) -> None:
        poll = select.poll()
        poll.register(self._sock, event)
        if not poll.poll(max(0.0, end - monotonic()) * 1000):
            self._process.give_up(f"did not answer within {ANSWER_TIMEOUT:g} s, and was ended")
            self._lost()

    def _send(self, thing: tuple[Any, ...]) -> None:
        if self._died is not None:
            raise self._died
        data, end = memoryview(pack(thing)), monotonic() + ANSWER_TIMEOUT
        while data:
            if self._died is not None:
                raise self._died
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, end)
            except OSError:
                self._lost()
                raise self._died from None  # type: ignore[misc]

    # --- being told

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        for batch in self._unpacker.feed(data):
            self._pending.extend(batch)
        while self._pending:  # a dialect of the user's that asks for something comes here again: it goes on in order
            what, at, *rest = self._pending.popleft()
            with self._instants.at(at):
                getattr(self, f"_on_{what}")(*rest)

    def _lost(self) -> None:
        """The process has ended. Whoever waits for an event is told."""
        if self._died is None:
            self._runner.loop.remove_reader(self._sock)
            self._died = self._process.died()
            self._timeline.tell("error", error=str(self._died).partition("\n")[0])
            self._timeline.close(self._died)

    def _on_answer(self, number: int, done: bool, answer: Any) -> None:
        self._answers[number] = done, answer

    def _on_event(self, kind: str, detail: dict[str, Any]) -> None:
        self._timeline.tell(kind, **detail)

    def _on_late(self, lag: float) -> None:
        self._timeline.late(lag)

    def _on_attempt(self, key: int, proxy: str, number: int) -> None:
        self._taps[key] = tap = self._recorder.attempt(proxy, number)
        self._look(key, tap)

    def _on_refused(self, proxy: str, at: float, late: float) -> None:
        self._recorder.refused(proxy, at, late)

    def _on_blind(self, proxy: str) -> None:
        self._recorder.blind(proxy)

    def _on_data(self, key: int, place: Place, way: Way, data: bytes) -> None:
        tap = self._taps.get(key)
        if tap is not None and tap.watching:
            self._last[key, way] = data
            tap.data(place, way, data)
            self._look(key, tap)

    def _on_again(self, key: int, place: Place, way: Way) -> None:
        if (data := self._last.get((key, way))) is not None:
            self._on_data(key, place, way, data)

    def _on_tap(self, key: int, method: str, args: tuple[Any, ...]) -> None:
        if (tap := self._taps.get(key)) is not None:
            getattr(tap, method)(*args)

    def _on_gone(self, key: int) -> None:
        self._taps.pop(key, None)
        for way in ("up", "down"):
            self._last.pop((key, way), None)

    def _on_acted(self, key: int, toxic: str, way: Way, what: dict[str, Any]) -> None:
        if (tap := self._taps.get(key)) is not None:
            tap.acted(toxic, way, **what)

    def _look(self, key: int, tap: Tap | None) -> None:
        """Have a connection's data told no longer that nobody wants to be told of."""
        if (tap is None or not tap.watching) and self._died is None:
            self._send(("look_away", key))
