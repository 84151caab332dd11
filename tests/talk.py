"""A client of the tests and its server talk, or do not."""

from __future__ import annotations

import asyncio
import ssl

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


def of_threads(trusting: ssl.SSLContext) -> ssl.SSLContext:
    """The same trust for websockets' threaded client, which loses its request now and then on TLS 1.3.

    One of its threads reads the tickets that come after that handshake, while the other writes: OpenSSL forbids it
    (python/cpython#143756). Before 1.3 nothing comes then.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=b"".join(trusting.get_ca_certs(binary_form=True)))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context
