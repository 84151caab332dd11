"""What soaks have found in the pair and in the engine, each in its smallest form."""

from __future__ import annotations

import asyncio

from pytest_wschaos import Chaos
from pytest_wschaos.simulation.run import run


def test_nothing_is_written_behind_a_cut_that_was_held_back() -> None:
    """An idle timeout fires while its cut cannot get through; what is sent meanwhile goes nowhere."""

    async def main() -> None:
        async with Chaos(seed=1) as chaos:
            chaos.client()
            await chaos.wait_for("ready")
            with chaos.idle_timeout(5):
                with chaos.silent_drop(resume=True):
                    await asyncio.sleep(35)  # a ping has been sent behind the cut
                await chaos.wait_for("cut")

    run(main, seed=1)
