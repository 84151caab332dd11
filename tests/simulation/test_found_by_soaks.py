"""What soaks have found in the pair and in the engine, each in its smallest form."""

from __future__ import annotations

import asyncio

import pytest

from pytest_wschaos import Chaos, Outcome, Profile
from pytest_wschaos.faults import Fault
from pytest_wschaos.simulation.loop import SimulatedLoop
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


REFUSALS = ("AUTH-04", "CLOSE-01", "CLOSE-05")


@pytest.mark.parametrize("first", [401, 4401])
@pytest.mark.parametrize("second", [401, 4401])
@pytest.mark.parametrize("between", [False, True])
def test_refusals_count_together_whatever_their_kind(first: int, second: int, between: bool) -> None:
    """A token refused in one way, and after an attempt that found nobody in another, was refused twice."""

    def refusing(chaos: Chaos, how: int) -> Fault:
        return chaos.reject_handshake(how) if how < 1000 else chaos.accept_then_close(how)

    async def main() -> None:
        async with Chaos(seed=1) as chaos:
            with refusing(chaos, first):
                chaos.client()
                await chaos.wait_for("app.closed")
            with refusing(chaos, second):
                if between:
                    with chaos.refuse():
                        await chaos.wait_for("app.closed")
                await chaos.wait_for("app.gave_up", timeout=100)
                await asyncio.sleep(100)
            verdicts = {verdict.rule: verdict for verdict in chaos.check(*REFUSALS)}
            assert verdicts["AUTH-04"].outcome in (Outcome.PASS, Outcome.NON_STRICT)
            assert not [v for v in verdicts.values() if v.outcome is Outcome.FAIL]

    run(main, seed=1)


def test_a_short_session_gives_no_retries_back() -> None:
    """Its token expires half a second after the last retry succeeded: another attempt would be one too many."""

    async def main() -> None:
        async with Chaos(profile=Profile().with_(reconnect={"max_retries": 2}), seed=1) as chaos:
            with chaos.refuse():
                chaos.client()
                for _ in range(2):
                    await chaos.wait_for("app.closed", timeout=30)
            await chaos.wait_for("app.ready", timeout=60)
            await asyncio.sleep(0.5)
            chaos.close(4401)
            await chaos.wait_for("app.gave_up", timeout=100)
            await asyncio.sleep(100)
            assert not [v for v in chaos.check(*REFUSALS, "RECONNECT-06") if v.outcome is Outcome.FAIL]

    run(main, seed=1)


@pytest.mark.parametrize("latency", [0.0, 0.01])
def test_who_reconnects_after_a_refusal_starts_anew(latency: float) -> None:
    """The application asks amid the wait, so that the token which is then refused is refused for the first time."""

    async def main() -> None:
        async with Chaos(seed=1) as chaos:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, SimulatedLoop)
            loop.network.link("localhost", latency=latency)
            with chaos.reject_handshake(401):
                client = chaos.client()
                await chaos.wait_for("app.waiting")
                await asyncio.sleep(0.2)
                client.reconnect()
                await chaos.wait_for("app.closed")
            await chaos.wait_for("ready", timeout=60)
            await asyncio.sleep(100)
            assert chaos.check("AUTH-04")[0].outcome is Outcome.PASS

    run(main, seed=1)
