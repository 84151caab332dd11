"""A reference client in a process of its own, which sends something all the time: it can be put to sleep."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pytest_wschaos import Chaos, Profile, ReferenceClient

PAUSE = 0.05
"""Seconds between two messages."""


@contextmanager
def sleeper(chaos: Chaos, kind: type[ReferenceClient]) -> Iterator[int]:
    """Run a client of a kind in a process; yields its id."""
    told = {"kind": [kind.__module__, kind.__qualname__], "url": chaos.url, "token": chaos.token}
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps({**told, "profile": chaos.profile.to_dict()}) + "\n")
        process.stdin.flush()
        yield process.pid
    finally:
        process.kill()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


async def _live(module: str, name: str, url: str, token: str, profile: Profile) -> None:
    kind = getattr(importlib.import_module(module), name)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), task.cancel)  # its parent is gone
    async with kind(url, token=token, profile=profile) as client:
        number = 0
        while True:
            number += 1
            await client.send("news", number)
            await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    asyncio.run(_live(*given["kind"], given["url"], given["token"], Profile.from_dict(given["profile"])))
