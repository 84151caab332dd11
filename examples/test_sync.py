"""The same idea in a plain ``def`` test: ``wait`` blocks, and there is no event loop to care for.

The client here is the reference client; it keeps every rule, so it shows what a good answer looks like.
``wschaos_client()`` starts it behind the proxy, with the test's profile and a token.
"""

import pytest

from pytest_wschaos import Profile

# Everything twenty times as fast: a ping every 1.5 s, 0.5 s for its answer, a first wait of about 50 ms. The client
# is a little faster than it is judged by, so that a busy machine changes nothing.
FAST = Profile().scaled(0.05)
FASTER = Profile().scaled(0.04)


@pytest.mark.wschaos(profile=FAST)
def test_the_reference_client_survives_a_dead_link_and_loses_nothing(wschaos, wschaos_client):
    client = wschaos_client(profile=FASTER)
    wschaos.wait("ready")
    fault = wschaos.silent_drop()  # faults can be healed by hand, too
    lost = client.send("orders", "one pizza")  # into a link that is dead already
    wschaos.wait("attempt")
    fault.remove()
    lost.result(timeout=10)  # the server has it now
    client.close()
    assert [message.data for message in wschaos.server.received] == ["one pizza"]
    wschaos.assert_rules("RECONNECT-01", "HEARTBEAT-02", "REPLAY-02", "AUTH-*")
