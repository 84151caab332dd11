"""A server under test: one that runs already, one that a command is, or the reference server in this process.

:class:`Server` is what was named; :class:`Running` is one life of it, as long as a case.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shlex
import signal
import socket
import ssl
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

from ...profile import Profile
from ...reference.server import ReferenceServer
from ...reference.tokens import Tokens as ReferenceTokens
from .subject import SubjectError, Unsupported

Speaks = Literal["wschaos.v1", "raw"]
"""The reference protocol, or nothing that the suite knows: then frames are judged, and an echo where there is one."""

START_TIMEOUT = 30.0
"""Seconds in which a server that was started is healthy."""
LOOK_EVERY = 0.05
"""Seconds between two looks at its health."""
HEALTH_TIMEOUT = 2.0
"""Seconds that the health endpoint may take to answer."""
KEPT = 256 * 1024
"""Bytes of what it prints that are kept, the last ones."""
HEALTH_PATH = "/healthz"
FIRST_PORT = 20_000
PORTS = 12_000


class Tokens(ABC):
    """The credentials of the server under test."""

    @abstractmethod
    def good(self) -> str:
        """One that it accepts.

        Raises:
            Unsupported: there is none.
        """

    def bad(self) -> str:
        """One that it has never seen."""
        return secrets.token_hex(16)

    def expire(self, token: str) -> None:
        """Let a token have run out.

        Raises:
            Unsupported: nobody can.
        """
        raise Unsupported("no token can be made to expire: the server takes no WSCHAOS_TOKENS (give --command)")

    def revoke(self, token: str) -> None:
        """Withdraw a token.

        Raises:
            Unsupported: nobody can.
        """
        raise Unsupported("no token can be revoked: the server takes no WSCHAOS_TOKENS (give --command)")


class GivenTokens(Tokens):
    """Those that somebody has named: ``--token`` and ``--bad-token``."""

    def __init__(self, good: Sequence[str], bad: Sequence[str] = ()) -> None:
        self._good = list(good)
        self._bad = list(bad)

    def good(self) -> str:
        if not self._good:
            raise Unsupported("no token is known that the server accepts (--token)")
        return self._good[0]

    def bad(self) -> str:
        return self._bad[0] if self._bad else super().bad()


class FileTokens(Tokens):
    """Those of a file that the server reads at each use (``WSCHAOS_TOKENS``); rewritten in one go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lists: dict[str, list[str]] = {"good": [], "expired": [], "revoked": []}
        self.good()

    def good(self) -> str:
        token = secrets.token_hex(16)
        self._lists["good"].append(token)
        self._write()
        return token

    def expire(self, token: str) -> None:
        self._move(token, "expired")

    def revoke(self, token: str) -> None:
        self._move(token, "revoked")

    def _move(self, token: str, kind: str) -> None:
        self._lists["good"].remove(token)
        self._lists[kind].append(token)
        self._write()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self._lists), encoding="utf-8")
        os.replace(new, self.path)


class _OwnTokens(Tokens):
    """Those of a reference server in this process."""

    def __init__(self, tokens: ReferenceTokens) -> None:
        self._tokens = tokens

    def good(self) -> str:
        return self._tokens.issue()

    def expire(self, token: str) -> None:
        self._tokens.expire(token)

    def revoke(self, token: str) -> None:
        self._tokens.revoke(token)


class Running(ABC):
    """One life of a server."""

    url: str
    """Where it speaks; known once it has started."""
    tokens: Tokens

    @abstractmethod
    async def start(self, profile: Profile) -> None:
        """Start it; it is healthy when this returns.

        Raises:
            SubjectError: it is not.
        """

    @abstractmethod
    async def terminate(self) -> None:
        """Ask it to end, as SIGTERM does; does not wait until it has.

        Raises:
            Unsupported: it is somebody else's.
        """

    @abstractmethod
    async def stop(self) -> None:
        """End it, and all that it has started, at once."""

    async def ended(self, timeout: float) -> bool:
        """Whether it has ended by itself within so many seconds after :meth:`terminate`."""
        raise Unsupported("the server was not started by the suite (give --command)")

    @property
    def pid(self) -> int:
        """The id of its process.

        Raises:
            Unsupported: it is not known.
        """
        raise Unsupported("the server's process is not known: give --command")

    @property
    def failure(self) -> str:
        """How its process has ended, where it has by itself before it was asked to; else empty."""
        return ""

    @property
    def words(self) -> str:
        """What it has printed, or logged.

        Raises:
            Unsupported: nobody can know.
        """
        raise Unsupported("what the server prints is not known: give --command")


class Server(ABC):
    """What is under test.

    Args:
        speaks: the protocol that it speaks at its URL.
        name: as reports call it.
    """

    process = False
    """Whether each of its lives is a process that the suite has started."""
    takes_profile = True
    """Whether the figures of a case reach it: else it is judged by those that it has."""
    virtual = False
    """Whether it runs on virtual time."""
    together = True
    """Whether it has several lives at the same time, so that cases may be played side by side."""

    def __init__(self, name: str, speaks: Speaks) -> None:
        self.name = name
        self.speaks: Speaks = speaks

    @abstractmethod
    def life(self) -> Running:
        """A life, not yet begun."""


# --- one that runs already


class RunningServer(Server):
    """A server that somebody else has started, and that goes on from case to case.

    Args:
        url: ``ws://`` or ``wss://``.
        health: the URL of its health endpoint; by default ``/healthz`` on the same host.
        tokens: the credentials that are known.

    Raises:
        SubjectError: a URL is none.
    """

    takes_profile = False
    together = False

    def __init__(
        self, url: str, *, speaks: Speaks = "wschaos.v1", health: str = "", tokens: Tokens | None = None
    ) -> None:
        super().__init__(url, speaks)
        self.url, self.health = _urls(url, health)
        self.tokens = tokens or GivenTokens(())

    def life(self) -> Running:
        return _Foreign(self)


class _Foreign(Running):
    def __init__(self, server: RunningServer) -> None:
        self.url = urlunsplit(server.url)
        self.tokens = server.tokens

    async def start(self, profile: Profile) -> None:
        pass  # the proxy in front of it says where nothing listens

    async def terminate(self) -> None:
        raise Unsupported("the server was not started by the suite, and is not ended by it (give --command)")

    async def stop(self) -> None:
        pass


# --- one that a command is


class CommandServer(Server):
    """Servers that a command is: each case has a fresh one, in a process group of its own.

    Args:
        url: where it speaks. With port 0 each gets a free one, told by ``WSCHAOS_PORT``.
        command: the words of it.
        folder: of the files that tell it profile and tokens.
        speaks, health: as for :class:`RunningServer`.
        tokens: credentials that it accepts; by default those of a file that it is told by ``WSCHAOS_TOKENS``.

    Raises:
        SubjectError: a URL is none.
    """

    process = True

    def __init__(
        self,
        url: str,
        command: Sequence[str],
        folder: Path,
        *,
        speaks: Speaks = "wschaos.v1",
        health: str = "",
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__(shlex.join(command), speaks)
        self.url, self.health = _urls(url, health)
        self.command = list(command)
        self.folder = folder
        self.tokens = tokens
        self.together = self.url.port == 0

    def life(self) -> Running:
        return _Process(self)


class _Process(Running):
    def __init__(self, server: CommandServer) -> None:
        self._server = server
        port = server.url.port or _free_port()
        self._port = port
        self.url = urlunsplit(_with_port(server.url, port))
        same = server.health.port == server.url.port
        self._health = _with_port(server.health, port) if same else server.health
        self._folder = Path(tempfile.mkdtemp(prefix="server-", dir=server.folder))
        self.tokens = server.tokens or FileTokens(self._folder / "tokens.json")
        self._process: asyncio.subprocess.Process | None = None
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._asked = False

    async def start(self, profile: Profile) -> None:
        path = self._folder / "profile.json"
        path.write_text(json.dumps(profile.to_dict()), encoding="utf-8")
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._server.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={**os.environ, **self._environment(profile, path)},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SubjectError(f"{self._server.name}: cannot be started: {reason}") from None
        await self._healthy()

    def _environment(self, profile: Profile, path: Path) -> dict[str, str]:
        return {
            "WSCHAOS_PORT": str(self._port),
            "WSCHAOS_PROFILE": str(path),
            "WSCHAOS_ORIGINS": ",".join(profile.security.origins or ()),
            **({"WSCHAOS_TOKENS": str(self.tokens.path)} if isinstance(self.tokens, FileTokens) else {}),
        }

    async def _healthy(self) -> None:
        """Wait until its health endpoint answers 200.

        Raises:
            SubjectError: it ends, or does not in time.
        """
        assert self._process is not None
        seen = ""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while (seen := await health(self._health)) != "200":
                    if self._process.returncode is not None:
                        raise SubjectError(f"{self._server.name}: {self._ending} before it served{self._last_words()}")
                    await asyncio.sleep(LOOK_EVERY)
        except TimeoutError:
            where = urlunsplit(self._health)
            raise SubjectError(
                f"{self._server.name}: not healthy after {START_TIMEOUT:g} s: {where} answers {seen or 'nothing'}, "
                f"must be 200 (--health URL){self._last_words()}"
            ) from None

    async def terminate(self) -> None:
        self._asked = True
        self._signal(signal.SIGTERM)

    async def ended(self, timeout: float) -> bool:
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._process.wait()
        return self._process.returncode is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def _ending(self) -> str:
        assert self._process is not None
        status = self._process.returncode
        assert status is not None
        return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

    @property
    def failure(self) -> str:
        return "" if self._asked or self._process is None or self._process.returncode is None else self._ending

    @property
    def words(self) -> str:
        self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, self._output.tell() - KEPT))
        return self._output.read().decode(errors="replace").strip()

    def _last_words(self) -> str:
        return f"; its last words:\n{self.words[-2000:]}" if self.words else ""

    async def stop(self) -> None:
        self._asked = True
        if self._process is not None:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        self._output.close()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


# --- one in this process


class InProcessServer(Server):
    """A reference server on the loop of the case, on virtual time too.

    Args:
        kind: makes one: the reference server, or a subclass.
    """

    virtual = True

    def __init__(self, kind: Callable[..., ReferenceServer] = ReferenceServer, name: str = "") -> None:
        super().__init__(name or getattr(kind, "__name__", repr(kind)), "wschaos.v1")
        self.kind = kind

    def life(self) -> Running:
        return _InProcess(self.kind)


class _InProcess(Running):
    def __init__(self, kind: Callable[..., ReferenceServer]) -> None:
        self._kind = kind
        self._server: ReferenceServer | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._log = _Log()

    async def start(self, profile: Profile) -> None:
        self._server = self._kind(profile=profile)
        self.tokens = _OwnTokens(self._server.tokens)
        self._log.begin()
        await self._server.start()
        self.url = self._server.url

    async def terminate(self) -> None:
        self._leaving = asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        assert self._server is not None
        await self._server.drain()
        await self._server.stop()

    async def ended(self, timeout: float) -> bool:
        assert self._leaving is not None
        return bool((await asyncio.wait([self._leaving], timeout=timeout))[0])

    @property
    def words(self) -> str:
        return "\n".join(self._log.lines)

    async def stop(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            await asyncio.gather(self._leaving, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(grace=0)
        self._log.end()


class _Log(logging.Handler):
    """What is logged in this process, whatever the level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._logger = logging.getLogger("pytest_wschaos")
        self._level = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def begin(self) -> None:
        """Listen."""
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)

    def end(self) -> None:
        """Listen no more."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


# --- where it is


async def health(url: SplitResult) -> str:
    """The status with which a health endpoint answers; empty: none."""
    host, secure = url.hostname or "", url.scheme == "https"
    context: Any = ssl.create_default_context() if secure else None
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, url.port or (443 if secure else 80), ssl=context)
            try:
                target = url.path + (f"?{url.query}" if url.query else "")
                writer.write(f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, ValueError):
        return ""
    return [*line.decode("latin-1").split(), "", ""][1]


def _urls(url: str, health: str) -> tuple[SplitResult, SplitResult]:
    """Where a server speaks, and where its health endpoint is."""
    served = _parsed("--server", url, ("ws", "wss"))
    if health:
        return served, _parsed("--health", health, ("http", "https"))
    return served, served._replace(scheme={"ws": "http", "wss": "https"}[served.scheme], path=HEALTH_PATH, query="")


def _parsed(option: str, text: str, schemes: tuple[str, ...]) -> SplitResult:
    wrong = SubjectError(f"{option} {text!r}: must be a {' or '.join(f'{scheme}://' for scheme in schemes)} URL")
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise wrong from None
    if url.scheme not in schemes or not url.hostname:
        raise wrong
    return url._replace(path=url.path or "/", fragment="")


def _with_port(url: SplitResult, port: int) -> SplitResult:
    host = url.hostname or ""
    return url._replace(netloc=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _free_port() -> int:
    """A port to listen on, of those from which no system takes the ports of outgoing connections."""
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
