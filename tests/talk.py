"""A client of the tests and its server talk, or do not."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

LATER = 10.0
"""Seconds after which a test is given up; nothing takes this long."""
NOTHING = 0.15
"""Seconds in which nothing has come where nothing must come."""


async def echoes(client: ClientConnection, text: str = "hello") -> None:
    await client.send(text)
    async with asyncio.timeout(LATER):
        assert await client.recv() == text


async def silent(client: ClientConnection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(NOTHING):
            await client.recv()


async def ended(client: ClientConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        async with asyncio.timeout(LATER):
            await client.recv()
    return caught.value
