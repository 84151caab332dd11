"""A client in this process: a function that makes one, on the loop of the case, on virtual time too."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...profile import Profile
from .subject import Client, Factory, Hello, Setting, Subject, SubjectError, Unsupported, blob

if TYPE_CHECKING:
    from ...harness import ChaosProxy

END_TIMEOUT = 10.0
"""Seconds that a client has to end when its case is over."""
RAW = {"speaks": "raw", "can": []}
"""The hello of a factory that has none."""


class TokenFailed(Exception):
    """What the token provider of a case raises when it was told to fail."""


class Provider:
    """The token provider that a factory gets: called before each attempt, it returns the token, or raises."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.fails = 0

    def __call__(self) -> str:
        if self.fails:
            self.fails -= 1
            raise TokenFailed("the token provider was told to fail")
        return self.token


class Caller:
    """Carries the contract's commands out on a client that a factory makes.

    Args:
        say: is told of the events.
    """

    def __init__(
        self, factory: Factory, url: str, provider: Provider, profile: Profile, say: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._factory = factory
        self._url = url
        self._provider = provider
        self._profile = profile
        self._say = say
        self._client: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled: set[object] = set()

    async def tell(self, command: Mapping[str, Any]) -> None:
        """Carry one out.

        Raises:
            Unsupported: the client has no such method.
        """
        get = command.get
        match command["do"]:
            case "connect":
                made = self._factory(self._url, token=self._provider, profile=self._profile, on_event=self._hear)
                self._client = await made if inspect.isawaitable(made) else made
            case "token":
                self._provider.token = command["token"]
            case "token_fails":
                self._provider.fails = command["times"]
            case "buffered":
                self._say({"event": "buffered", "bytes": int(self._get("buffered_amount"))})
            case "state":
                self._say({"event": "state", "value": int(self._get("ready_state"))})
            case "send_binary":
                await self._begin("send_binary", get("ref"), command["topic"], blob(command["size"]))
            case "send":
                await self._begin("send", get("ref"), command["topic"], command["data"])
            case "subscribe" | "unsubscribe" as what:
                await self._begin(what, get("ref"), command["topic"])
            case "close":
                await self._run(self._close())
            case what:
                await self._call(what)

    def _hear(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "settled":
            self._settled.add(event.get("ref"))
        self._say(event)

    async def _begin(self, name: str, ref: str | None, *arguments: Any) -> None:
        """Begin with what settles; one that waits for room keeps nobody from asking for something else."""
        self._get(name)
        await self._run(self._request(name, ref, *arguments))

    async def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(0)  # those that are begun in order are in order

    async def _close(self) -> None:
        with suppress(Exception):  # whatever ails it was seen before
            await self._call("close")

    async def _request(self, name: str, ref: str | None, *arguments: Any) -> None:
        """What settles; refused at once it has settled, too."""
        try:
            await self._call(name, *arguments, ref=ref)
        except Exception as error:
            if ref not in self._settled:  # a client may tell and raise
                self._say({"event": "settled", "ref": ref, "ok": False, "error": str(error) or repr(error)})

    def _get(self, name: str) -> Any:
        try:
            return getattr(self._client, name)
        except AttributeError:
            raise Unsupported(f"the client has no {name}") from None

    async def _call(self, name: str, *arguments: Any, **named: Any) -> None:
        method: Callable[..., Any] = self._get(name)
        done = method(*arguments, **named)
        if inspect.isawaitable(done) and (inspect.iscoroutine(done) or name == "close"):
            await done

    async def stop(self) -> None:
        """Close the client; one that does not end is left to the end of the loop."""
        if self._client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_TIMEOUT):
                    await self._close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def named(path: str, option: str) -> Factory:
    """The function that ``package.module:name`` is; the current directory counts, as for ``python -m``.

    Raises:
        SubjectError: there is none.
    """
    module, _, name = path.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        factory: Factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SubjectError(f"{option} {path}: {error}: must be package.module:name") from None
    if not callable(factory):
        raise SubjectError(f"{option} {path}: is no function")
    return factory


class InProcess(Subject):
    """Clients that a factory makes: ``factory(url, *, token, profile, on_event) -> client``, async where it likes.

    ``token`` is a function that returns the token to present, to be asked before each attempt. The client begins to
    connect when the factory is called. What it can do is told by the factory's attribute ``hello``, of the form of the
    contract's first line; its methods are named as the reference client's are.
    """

    def __init__(self, factory: Factory, name: str = "") -> None:
        self.factory = factory
        self.name = name or f"{factory.__module__}:{factory.__qualname__}"
        self.hello: Mapping[str, Any] = getattr(factory, "hello", RAW)

    @classmethod
    def named(cls, path: str) -> InProcess:
        """By ``package.module:factory``.

        Raises:
            SubjectError: there is none.
        """
        return cls(named(path, "--subject"), path)

    def client(self, chaos: ChaosProxy, name: str) -> Client:
        return _Client(chaos, name, self)


class _Client(Client):
    def __init__(self, chaos: ChaosProxy, name: str, subject: InProcess) -> None:
        super().__init__(chaos, name)
        self._subject = subject
        self._caller: Caller | None = None
        self._provider = Provider("")

    async def start(self, setting: Setting) -> None:
        self.hello = Hello.read(self._subject.hello, setting.profile)
        self._provider.token = setting.token
        url = setting.echo_url if self.hello.speaks == "raw" else setting.url
        self._caller = Caller(self._subject.factory, url, self._provider, self.hello.profile, self.said)

    async def tell(self, command: Mapping[str, Any]) -> None:
        assert self._caller is not None
        await self._caller.tell(command)

    async def stop(self) -> None:
        if self._caller is not None:
            await self._caller.stop()
