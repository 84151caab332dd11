"""The reference client as a test may handle it: it runs on the engine's loop, and is called from any thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Self

from .background import CALL_TIMEOUT
from .inline import Runner
from .reference.client import ReadyState, ReferenceClient
from .reference.credentials import TokenSource
from .reference.receipt import Receipt


class Sent:
    """A message on its way. Block in :meth:`result`, or await it."""

    def __init__(self, receipt: Receipt, runner: Runner) -> None:
        self._receipt = receipt
        self._runner = runner

    def result(self, timeout: float = 10.0) -> None:
        """Wait until the message has settled.

        Raises:
            SendFailed: it was refused, or the client stopped before it was acknowledged.
            LoopStuck: it did not settle within ``timeout`` seconds.
        """
        self._runner.run(self._settled(), timeout)

    @property
    def done(self) -> bool:
        """Whether it has settled."""
        return self._receipt.done

    def __await__(self) -> Generator[Any, None, None]:
        return self._runner.wait(self._settled()).__await__()

    async def _settled(self) -> None:
        await self._receipt


class ClientHandle:
    """A running reference client. Every method may be called from any thread, and returns when it is done.

    Args:
        client: not yet started.
        sent: told of each send that the application asks for.
        asked: told of each close and reconnect, and of each subscription and its end with the topic.
        close_timeout: seconds that the client's close handshake may take.
    """

    def __init__(
        self,
        runner: Runner,
        client: ReferenceClient,
        sent: Callable[[str, Any, str], None],
        asked: Callable[[str, Mapping[str, Any]], None],
        close_timeout: float,
    ) -> None:
        self._runner = runner
        self._sent = sent
        self._asked = asked
        self._refs = 0
        self._close_timeout = CALL_TIMEOUT + close_timeout
        self._client = client
        runner.call(self._client.start)

    def send(self, topic: str, data: Any, *, ref: str | None = None) -> Sent:
        """Publish ``data``; returns when it is accepted.

        Raises:
            QueueFull, ClientClosed, ValueError: as the reference client does.
        """
        self._refs += 1
        name = ref or f"send-{self._refs}"
        self._sent(topic, data, name)
        return Sent(self._runner.run(self._client.send(topic, data, ref=name)), self._runner)

    def send_binary(self, topic: str, data: bytes, *, ref: str | None = None) -> Sent:
        """Publish a blob, in chunks."""
        return Sent(self._runner.run(self._client.send_binary(topic, data, ref=ref)), self._runner)

    def subscribe(self, topic: str, *, ref: str | None = None) -> Sent:
        """Ask for a topic's messages."""
        self._asked("subscribe", {"topic": topic})
        return Sent(self._runner.run(self._client.subscribe(topic, ref=ref)), self._runner)

    def unsubscribe(self, topic: str, *, ref: str | None = None) -> Sent:
        """Ask for them no longer."""
        self._asked("unsubscribe", {"topic": topic})
        return Sent(self._runner.run(self._client.unsubscribe(topic, ref=ref)), self._runner)

    def set_token(self, token: TokenSource) -> None:
        """Present this from the next connection on."""
        self._runner.call(self._client.set_token, token)

    def pause_reading(self) -> None:
        """The application stops reading."""
        self._runner.call(self._client.pause_reading)

    def resume_reading(self) -> None:
        """The application reads again."""
        self._runner.call(self._client.resume_reading)

    def reconnect(self) -> None:
        """Connect anew, now."""
        self._asked("reconnect", {})
        self._runner.call(self._client.reconnect)

    @property
    def ready_state(self) -> ReadyState:
        """0 connecting, 1 open, 2 closing, 3 closed."""
        return self._runner.call(lambda: self._client.ready_state)

    @property
    def buffered_amount(self) -> int:
        """Bytes accepted and not yet handed to the network."""
        return self._runner.call(lambda: self._client.buffered_amount)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End everything, in any state; after the test's chaos has ended it does nothing.

        Returns when it is done; on virtual time at once (:meth:`aclose` waits).
        """
        if self._runner.stopped:
            return
        self._asked("close", {})
        self._runner.finish(self._client.close(code, reason), self._close_timeout)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """:meth:`close`, for asynchronous tests."""
        if self._runner.stopped:
            return
        self._asked("close", {})
        await self._runner.wait(self._client.close(code, reason))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
