"""What comes before the reader is there waits for it."""

from __future__ import annotations

import asyncio

from pytest_wschaos.simulation.run import run


def test_an_end_that_came_before_the_connection_was_handed_over_is_seen() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        loop.network.link("localhost", latency=0.1)  # type: ignore[attr-defined]

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 4000)
        reader, writer = await asyncio.open_connection("127.0.0.1", 4000)
        async with asyncio.timeout(10):
            seen = await reader.read()
        writer.close()
        server.close()
        return seen

    assert run(main) == b""
