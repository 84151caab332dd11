"""A protocol of one's own. All that the rules must be told is what its messages mean: ``chat_dialect.py``, 30 lines.

``wschaos_dialect`` is a fixture; override it, here or in a conftest, to have the rules that need to read messages.
"""

import pytest
from chat import ChatClient, chat_server
from chat_dialect import ChatDialect

from pytest_wschaos import Profile

MY_PROFILE = Profile().with_(
    heartbeat={"interval": 0.5, "deadline": 0.5},
    backoff={"base": 0.5, "cap": 8, "stable_after": 0},
    reconnect={"open_timeout": 2, "max_retries": None},
    replay={"delivery": "at-least-once"},
)

pytestmark = [pytest.mark.asyncio, pytest.mark.wschaos(profile=MY_PROFILE)]


@pytest.fixture
def wschaos_dialect():
    return ChatDialect()


async def test_the_chat_survives_a_dead_link(wschaos, verdict):
    client = ChatClient(wschaos.serve(chat_server))

    def say(text):
        wschaos.sent(text)  # what the application wants sent, only the application can tell
        client.say(text)

    await wschaos.wait_for("ready")
    say("is anybody there?")
    await wschaos.wait_for("ack")
    with wschaos.silent_drop():
        say("hello?")  # written into a link that is dead
        await wschaos.wait_for("end")  # its ping went unanswered
        say("I was gone for a moment")  # said while it is down
    await wschaos.wait_for("ready")
    await wschaos.wait_for("ack")
    await wschaos.wait_for("pong", 3)  # it has had its time
    await client.close()

    # What it keeps: it logs in on every connection before anything else, and says later what was said while down.
    wschaos.assert_rules("AUTH-02", "AUTH-03")
    assert verdict("REPLAY-01").outcome == "PASS"
    # It finds out that the link is dead by messages of its own, and lets go of it at once.
    assert verdict("HEARTBEAT-01").outcome != "FAIL"
    assert verdict("HEARTBEAT-02").outcome != "FAIL"
    assert verdict("HEARTBEAT-07").outcome == "PASS"
    # What it forgot: "hello?" was written and never acknowledged, and nobody says it again.
    reached = [event["id"] for event in wschaos.timeline if event.kind == "message" and event.place == "server"]
    assert reached == [1, 3]
    assert verdict("REPLAY-02").outcome != "PASS"
    assert verdict("REPLAY-03").outcome != "PASS"


async def test_an_answer_to_its_ping_is_missed_though_the_link_is_well(wschaos, verdict):
    """The dialect tells the server's faults, too, what a pong is: this one leaves the chat's pings unanswered."""
    client = ChatClient(wschaos.serve(chat_server))
    await wschaos.wait_for("ready")
    with wschaos.mute_pongs():
        await wschaos.wait_for("end")
    await wschaos.wait_for("pong")
    await client.close()
    assert verdict("HEARTBEAT-02").outcome != "FAIL"
    assert verdict("BACKOFF-04").outcome != "FAIL"
