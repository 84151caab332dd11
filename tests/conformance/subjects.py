"""Clients for tests of the suite: the reference client, and ones that are broken in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pytest_wschaos import Profile
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.reference.client import ReferenceClient


def soon_gives_up(
    url: str, *, token: Callable[[], str], profile: Profile, on_event: Callable[[dict[str, Any]], None]
) -> ReferenceClient:
    """A client that makes two retries, whatever is declared."""
    hasty = profile.with_(reconnect={"max_retries": 2})
    client = ReferenceClient(url, token=token, profile=hasty, on_event=on_event)
    client.start()
    return client


soon_gives_up.hello = reference.hello  # type: ignore[attr-defined]


def speaks_raw(
    url: str, *, token: Callable[[], str], profile: Profile, on_event: Callable[[dict[str, Any]], None]
) -> ReferenceClient:
    """A client that can do nothing of what a case may need."""
    return reference(url, token=token, profile=profile, on_event=on_event)


speaks_raw.hello = {"speaks": "wschaos.v1", "can": []}  # type: ignore[attr-defined]
NO_FUNCTION = 3


class Raw:
    """``async for`` of websockets, as its documentation has it, without a protocol."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        async for websocket in connect(self._url, proxy=None):
            try:
                async for _ in websocket:
                    pass
            except ConnectionClosed:
                continue

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def raw(url: str, **_: object) -> Raw:
    """A factory without a hello: it makes clients that speak raw."""
    return Raw(url)
