"""The engine in a process of its own, with Toxiproxy's API: `python serve.py PORT`, until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys

from pytest_wschaos.engine.api import Api
from pytest_wschaos.engine.engine import Engine
from pytest_wschaos.engine.relay import new_loop


async def main(port: int) -> None:
    engine = Engine()
    api = Api(engine)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await api.start("127.0.0.1", port)
    await stop.wait()
    await api.stop()
    engine.stop()


with asyncio.Runner(loop_factory=new_loop) as runner:
    runner.run(main(int(sys.argv[1])))
