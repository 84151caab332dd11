"""What the subjects in Python share: the contract's standard input and output, in forty lines.

A subject says one JSON object a line, of what its application is told, and reads one a line of what it is to do. Each
of these speaks no protocol of ours ("raw"), so that it connects to the echo, and declares what its library documents.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

URL = os.environ.get("WSCHAOS_ECHO_URL", "")


def say(event: str, **fields: Any) -> None:
    """Tell of an event."""
    print(json.dumps({"event": event, **fields}), flush=True)  # noqa: T201


def hello(can: tuple[str, ...] = ("send",), **profile: dict[str, Any]) -> None:
    """The first line; ``profile`` holds the figures that differ from the default ones."""
    say("hello", speaks="raw", can=list(can), profile={"auth": {"mode": "none"}, **profile})


def commands() -> Iterator[dict[str, Any]]:
    """What there is to do, for subjects on threads; it ends with ``exit``."""
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "exit":
            return
        yield command


async def commands_here() -> AsyncIterator[dict[str, Any]]:
    """The same on the running loop."""
    stream = asyncio.StreamReader(limit=2**24)  # a line may hold a large message
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), sys.stdin)
    while line := await stream.readline():
        command = json.loads(line)
        if command["do"] == "exit":
            return
        yield command


async def sent(ref: str, sending: Any) -> None:
    """Send something on a connection, and tell what came of it: none of these libraries knows more."""
    try:
        await sending
    except Exception as error:
        say("settled", ref=ref, ok=False, error=str(error) or type(error).__name__)
