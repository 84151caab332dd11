"""The contract's standard input and output around an in-process client: ``python -m ... package.module:factory``.

What a factory makes can so be put into a process of its own, to be stopped, suspended and started many times.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from ...profile import Profile
from .factory import Caller, Provider
from .subject import Factory, SubjectError, Unsupported


async def speak(factory: Factory, hello: Mapping[str, Any]) -> None:
    """Be a subject, until standard input ends or ``exit`` is read."""

    def say(event: Mapping[str, Any]) -> None:
        print(json.dumps(event, default=_plain), flush=True)  # noqa: T201 - this is how it speaks

    say({"event": "hello", **hello})
    environment = os.environ
    provider = Provider(environment.get("WSCHAOS_TOKEN", ""))
    profile = Profile.load(environment["WSCHAOS_PROFILE"]) if "WSCHAOS_PROFILE" in environment else Profile()
    raw = hello.get("speaks") == "raw"
    url = environment.get("WSCHAOS_ECHO_URL") if raw else None
    caller = Caller(factory, url or environment["WSCHAOS_URL"], provider, profile, say)
    lines = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "exit":
            break
        try:
            await caller.tell(command)
        except Unsupported as error:
            print(error, file=sys.stderr)  # noqa: T201 - what waits for an answer is told by the silence
    await caller.stop()


def _plain(value: object) -> object:
    """A blob, in a form that JSON has."""
    return {"bytes": len(value)} if isinstance(value, bytes) else repr(value)


def main() -> None:
    """``python -m pytest_wschaos.conformance.subjects.speak package.module:factory``."""
    from .factory import InProcess

    try:
        subject = InProcess.named(sys.argv[1])
    except SubjectError as error:
        sys.exit(str(error))
    asyncio.run(speak(subject.factory, subject.hello))


if __name__ == "__main__":
    main()
