"""The engine in a process of its own, with Toxiproxy's API: `python serve.py PORT [frames]`, until SIGTERM.

With ``frames`` each frame is read, on its way in and on its way out, as in the fixtures.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from pytest_wschaos.engine.api import Api
from pytest_wschaos.engine.engine import Engine
from pytest_wschaos.engine.frames import StreamReader
from pytest_wschaos.engine.observer import Place, Silent, Way
from pytest_wschaos.engine.relay import new_loop


class Frames(Silent):
    """Reads the frames of one connection."""

    def __init__(self) -> None:
        self._readers = {(place, way): StreamReader() for place in ("client", "server") for way in ("up", "down")}
        self.count = 0

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Bytes passed one side."""
        for _ in self._readers[place, way].feed(data):
            self.count += 1


class Reading(Silent):
    """Has the frames of each connection read."""

    def attempt(self, proxy: str) -> Frames:
        """A client has connected."""
        return Frames()


async def main(port: int, *, frames: bool) -> None:
    engine = Engine(observer=Reading() if frames else Silent())
    api = Api(engine)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await api.start("127.0.0.1", port)
    await stop.wait()
    await api.stop()
    engine.stop()


with asyncio.Runner(loop_factory=new_loop) as runner:
    runner.run(main(int(sys.argv[1]), frames=sys.argv[2:] == ["frames"]))
