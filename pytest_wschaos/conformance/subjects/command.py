"""A client in a process of its own, in any language: JSON lines on its standard input and output.

One that says no hello is a black box: it is told nothing, and judged by what the wire shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cursor import Cursor, EventTimeout
from ...profile import Profile
from .left_over import end_all
from .subject import Client, Hello, Setting, Subject, SubjectError, Unsupported

if TYPE_CHECKING:
    from ...harness import ChaosProxy

HELLO_TIMEOUT = 5.0
"""Seconds after which a command that has said nothing is a black box."""
LONGEST_HELLO = 30.0
"""The same where the machine is busy."""
BUSY = 0.5
"""Share of the time in which some process of the machine waited for a core, from which on it is busy."""
EXIT_TIMEOUT = 2.0
"""Seconds that a command has to end by itself."""
UNSUPPORTED = 127
"""Exit status by which a command says, before anything else, that it cannot do a case."""
LONGEST_LINE = 8 * 1024 * 1024
"""Bytes of a line; a message may be in it."""
TELL_TIMEOUT = 10.0
"""Seconds in which it reads what it is told, where the pipe is full."""
MOST_LINES = 50_000
"""Lines on standard output in one case, after which a command is taken for one that floods."""
MOST_BYTES = 128 * 1024 * 1024
"""And bytes, on standard output and standard error each."""
STRANGE = 20
"""Lines of standard output that are no events, of which so many are shown."""
KEPT = 64 * 1024
"""Bytes of standard error that are kept, the last ones."""
BREATH = 100
"""Lines after which the loop may do something else."""
LOOK_EVERY = 0.02
"""Seconds between two looks whether a process has ended."""


class Command(Subject):
    """Clients that a command is, each a process (in a process group) of its own.

    Args:
        command: the words of it.
        folder: of the files that tell clients their profile.
    """

    process = True

    def __init__(self, command: Sequence[str], folder: Path, name: str = "") -> None:
        self.command = list(command)
        self.folder = folder
        self.name = name or shlex.join(command)

    def client(self, chaos: ChaosProxy, name: str) -> Client:
        return Process(chaos, name, self.command, self.folder)


class Process(Client):
    """One process."""

    def __init__(self, chaos: ChaosProxy, name: str, command: Sequence[str], folder: Path) -> None:
        super().__init__(chaos, name)
        self._command = command
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._profile = ""
        """The path of the file with its figures; in the environment of all that it starts, by which they are found."""
        self._last_errors = b""
        self._readers: list[asyncio.Task[None]] = []
        self._first: asyncio.Future[Any] | None = None
        self._ending = False
        self._flooded = ""
        self._strange: list[str] = []
        """Lines that were no events."""

    async def start(self, setting: Setting) -> None:
        self._profile = _write(setting.profile, self._folder)
        starting = asyncio.ensure_future(self._started(setting))
        try:
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(SubjectError):
                self._process = await starting  # what runs already must be known, to be ended
            raise
        self._first = asyncio.get_running_loop().create_future()
        self._readers = [asyncio.create_task(read()) for read in (self._read, self._read_errors, self._until_exit)]
        await self._hear(setting)

    async def _started(self, setting: Setting) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **_environment(setting, self._profile)},
                limit=LONGEST_LINE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SubjectError(f"{shlex.join(self._command)}: cannot be started: {reason}") from None

    async def _hear(self, setting: Setting) -> None:
        """Wait for its hello, or for what shows that there will be none: it ends, says something else, or connects."""
        assert self._process is not None
        assert self._first is not None
        loop, cursor = asyncio.get_running_loop(), Cursor(self.chaos.timeline)
        begun, waited, seen = loop.time(), _waited(), False
        while not (seen or self._first.done()):
            attempt = loop.create_task(cursor.wait_for("attempt", 1, HELLO_TIMEOUT, self.name, None))
            await asyncio.wait({self._first, attempt}, return_when=asyncio.FIRST_COMPLETED)
            attempt.cancel()
            (outcome,) = await asyncio.gather(attempt, return_exceptions=True)
            seen = not isinstance(outcome, EventTimeout)  # an attempt, or nothing is seen any more
            took = loop.time() - begun
            if took >= LONGEST_HELLO or (took >= HELLO_TIMEOUT and _waited() - waited < BUSY * took):
                break
        if not self._first.done():
            self._first.set_result(None)  # a black box
            return
        first = self._first.result()
        if first is not None:
            self.hello = Hello.read(first, setting.profile)
            return
        if self._process.returncode is not None:
            await asyncio.wait(self._readers, timeout=LOOK_EVERY)  # its last words may still be under way
        if self._process.returncode == UNSUPPORTED:
            raise Unsupported("the client says that it cannot do this case (exit status 127)")
        if self._process.returncode is not None:
            raise SubjectError(f"{shlex.join(self._command)}: {self.ended}{self._last_words()}")

    async def _read(self) -> None:
        """Hear what it says, to the end."""
        assert self._process is not None
        assert self._process.stdout is not None
        lines = size = 0
        while line := await self._line(self._process.stdout):
            lines, size = lines + 1, size + len(line)
            if lines > MOST_LINES or size > MOST_BYTES:
                self._flood("standard output")
                return
            self._heard(line)
            if lines % BREATH == 0:
                await asyncio.sleep(0)

    async def _read_errors(self) -> None:
        """Keep the last of what it says on standard error."""
        assert self._process is not None
        assert self._process.stderr is not None
        size = 0
        while some := await self._process.stderr.read(KEPT):
            size += len(some)
            self._last_errors = (self._last_errors + some)[-KEPT:]
            if size > MOST_BYTES:
                self._flood("standard error")
                return

    def _flood(self, where: str) -> None:
        self._flooded = f"wrote without end on {where} (more than {MOST_LINES} lines or {MOST_BYTES >> 20} MiB)"
        self._kill()

    async def _until_exit(self) -> None:
        """Put on record that it has ended by itself. What it has started may hold its output open for longer."""
        await self._ended()
        assert self._process is not None
        assert self._first is not None
        if not self._first.done():
            # What it said right before comes first.
            await asyncio.wait(self._readers[:1], timeout=LOOK_EVERY)
        if not self._first.done():
            self._first.set_result(None)
        elif not self._ending:
            self.chaos.timeline.record("app.exited", "app", client=self.name, status=self._process.returncode)

    async def _ended(self) -> None:
        """Its process has; ``wait()`` of asyncio waits for pipes too, which what it has started may hold open."""
        assert self._process is not None
        while self._process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY)

    async def _line(self, stream: asyncio.StreamReader) -> bytes:
        try:
            return await stream.readline()
        except ValueError:  # longer than the limit
            if len(self._strange) < STRANGE:
                self._strange.append(f"(a line of more than {LONGEST_LINE} bytes)")
            return b"\n" * LONGEST_LINE

    def _heard(self, line: bytes) -> None:
        assert self._first is not None
        try:
            event = json.loads(line)
            known = isinstance(event, dict) and isinstance(event.get("event"), str)
        except (ValueError, RecursionError):
            known = False
        if not known:
            if line.strip() and len(self._strange) < STRANGE:
                self._strange.append(line[:200].decode(errors="replace").strip())
            if not self._first.done():
                self._first.set_result(None)
        elif not self._first.done():
            self._first.set_result(event if event["event"] == "hello" else None)
        elif self.hello.speaks:
            self.said(event)

    async def tell(self, command: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        if not self.hello.speaks:
            if command["do"] != "connect":
                raise Unsupported("the client is a black box: it says no hello, so it cannot be told anything")
            return
        self._ending = self._ending or command["do"] == "exit"
        with contextlib.suppress(ConnectionError):  # it has ended, which is on record
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            await self._read_by_now()

    async def _read_by_now(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            async with asyncio.timeout(TELL_TIMEOUT):
                await self._process.stdin.drain()
        except TimeoutError:
            raise SubjectError(f"the client has not read its standard input for {TELL_TIMEOUT:g} s") from None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> str:
        """How its process has ended, in words; empty: it runs."""
        status = None if self._process is None else self._process.returncode
        if status is None:
            return ""
        return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

    @property
    def errors(self) -> str:
        """The last of what it said on standard error."""
        return self._last_errors.decode(errors="replace").strip()

    @property
    def failure(self) -> str:
        if self._flooded:
            return self._flooded
        return "" if self._ending or self._process is None or not self._process.returncode else self.ended

    @property
    def words(self) -> str:
        return "\n".join([*self._strange[:STRANGE], *([self.errors] if self.errors else [])])

    def _last_words(self) -> str:
        return f"; its last words:\n{self.errors[-2000:]}" if self.errors else ""

    async def stop(self) -> None:
        ends, self._ending = not self._ending, True
        try:
            if self._process is not None:
                await self._end(ends)
            for reader in self._readers:
                reader.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)
        finally:  # whoever cancels this leaves nothing behind
            if self._process is not None:
                self._kill()
                self._process._transport.close()  # type: ignore[attr-defined]  # its pipes may be held open by others
            if self._profile:
                os.unlink(self._profile)
                self._profile = ""

    async def _end(self, ends: bool) -> None:
        """End the process, and what it has started; ``ends``: it has not been told to yet."""
        assert self._process is not None
        if self._process.returncode is None and ends:
            if self.hello.speaks:
                with contextlib.suppress(SubjectError):
                    await self.tell({"do": "exit"})
            else:
                self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_TIMEOUT):
                await self._ended()
        self._kill()
        await self._ended()
        await asyncio.to_thread(end_all, "WSCHAOS_PROFILE", self._profile)

    def _kill(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _waited() -> float:
    """Seconds for which some process of this machine has waited for a core so far; 0 where nobody knows."""
    try:
        some = Path("/proc/pressure/cpu").read_text(encoding="ascii").splitlines()[0]
        return int(some.rpartition("total=")[2]) / 1_000_000
    except (OSError, ValueError, IndexError):
        return 0.0


def _write(profile: Profile, folder: Path) -> str:
    handle, path = tempfile.mkstemp(prefix="profile-", suffix=".json", dir=folder)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(profile.to_dict(), file)
    return path


def _environment(setting: Setting, profile: str) -> dict[str, str]:
    return {
        "WSCHAOS_URL": setting.url,
        "WSCHAOS_ECHO_URL": setting.echo_url,
        "WSCHAOS_TOKEN": setting.token,
        "WSCHAOS_PROFILE": profile,
        "WSCHAOS_CASE": setting.case,
        **({"WSCHAOS_WAIT": "1"} if setting.wait else {}),
    }
