"""What soaks have found in the pair and in the engine, each in its smallest form."""

from __future__ import annotations

import asyncio

from pytest_wschaos import Chaos, Outcome, Profile
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


def test_a_close_that_came_counts_even_where_the_attempt_runs_out_of_time() -> None:
    """On a slow link the server's Close comes just before the deadline, and the end of TCP after it."""

    async def main() -> None:
        async with Chaos(seed=1) as chaos:
            chaos.client()
            await chaos.wait_for("ready")
            chaos.server.drop_sessions()
            with chaos.latency(2.2):
                chaos.abort()
                await chaos.wait_for("close", client="client", place="client", timeout=60)
                closed = await chaos.wait_for("app.closed")
                assert closed["code"] == 4410
            await chaos.wait_for("ready")
            assert chaos.check("REPLAY-08")[0].outcome is Outcome.PASS

    run(main, seed=1)


def test_a_client_that_was_asked_amid_an_attempt_may_have_gone_on_counting() -> None:
    """It was asked to reconnect while it did, which changes nothing, and gave up when its retries were used up."""

    async def main() -> None:
        async with Chaos(profile=Profile().with_(reconnect={"max_retries": 2}), seed=1) as chaos:
            client = chaos.client()
            await chaos.wait_for("ready")
            with chaos.reject_handshake(504):
                with chaos.unanswered_handshake():
                    chaos.abort()
                    await chaos.wait_for("attempt")
                    client.reconnect()
                    await chaos.wait_for("app.closed", timeout=60)
                await chaos.wait_for("app.gave_up", timeout=60)
                await asyncio.sleep(100)
            assert chaos.check("CLOSE-05")[0].outcome is Outcome.INCONCLUSIVE

    run(main, seed=1)
