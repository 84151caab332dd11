"""The first test: the link dies without a word; does my client notice, and does it come back with manners?

``wschaos.url`` leads through a chaos proxy to a reference server. ``MY_PROFILE`` holds the figures that my client
promises; the rules judge it by these. It does a little better than it promises, so that a busy machine changes nothing.
"""

import pytest
from my_client import MyClient

from pytest_wschaos import Profile

MY_PROFILE = Profile().with_(  # what my client promises
    heartbeat={"interval": 1.5, "deadline": 1},
    backoff={"base": 0.5, "factor": 2, "cap": 8},
    reconnect={"open_timeout": 1, "max_retries": None},
)


@pytest.mark.asyncio
@pytest.mark.wschaos(profile=MY_PROFILE)
async def test_my_client_survives_a_dead_link(wschaos):
    client = MyClient(wschaos.url, token=wschaos.token)
    await wschaos.wait_for("ready")
    with wschaos.silent_drop():  # no FIN, no RST, Close frames swallowed
        await wschaos.wait_for("attempt")  # the client noticed, and tries again
    await wschaos.wait_for("ready")
    await client.close()
    wschaos.assert_rules("RECONNECT-01", "HEARTBEAT-02", "BACKOFF-*")
