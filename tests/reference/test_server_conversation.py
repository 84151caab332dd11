"""The server's half of the protocol without any I/O."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_wschaos.profile import Profile
from pytest_wschaos.reference.conversation import Conversation, Ended, Hub
from pytest_wschaos.reference.send_deadline import SendDeadline

# A busy machine is no finding.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Caller:
    """Stands for a connection."""

    def __init__(self):
        self.was_replaced = False
        self.pongs = []

    def wake(self):
        pass

    def replaced(self):
        self.was_replaced = True

    def ponged(self, key):
        self.pongs.append(key)


def hub(**areas):
    return Hub(Profile().with_(**areas), random.Random(1), modes=["none", "first_message"])


def begin(shared, caller=None, now=0.0, **fields):
    conversation = Conversation(shared, None, caller or Caller())
    (welcome,) = say(conversation, now, type="auth", **fields)
    return conversation, welcome


def say(conversation, now=0.0, **frame):
    return conversation.receive(json.dumps(frame), now)


def resuming(welcome, seq=0):
    return {name: welcome[name] for name in ("session", "resume_token", "epoch")} | {"seq": seq}


def test_what_an_older_connection_still_says_after_a_takeover_is_not_processed():
    shared, caller = hub(), Caller()
    older, welcome = begin(shared, caller)
    newer, again = begin(shared, **resuming(welcome))
    assert caller.was_replaced
    assert again["recovered"]
    with pytest.raises(Ended) as caught:
        say(older, type="send", id=1, topic="t", data="late")
    assert caught.value.code == 4409
    assert not shared.received
    say(newer, type="subscribe", id=1, topic="t")
    shared.broker.publish(shared.publication("t", 1))
    assert older.next() is None
    assert newer.next().seq == 1
    older.leave(1.0)
    assert newer.session.detached_at is None


def test_a_session_that_expired_gives_its_subscriptions_back():
    shared = hub(replay={"session_ttl": 10})
    conversation, welcome = begin(shared)
    say(conversation, type="subscribe", id=1, topic="t")
    conversation.leave(100.0)
    shared.forget_expired(109.0)
    assert shared.broker.topics == {"t"}
    shared.forget_expired(110.0)
    assert shared.broker.topics == set()
    with pytest.raises(Ended, match="4410"):
        begin(shared, now=110.0, **resuming(welcome))


def test_sessions_that_were_forgotten_give_their_subscriptions_back_when_their_connection_ends():
    shared = hub()
    live, _ = begin(shared)
    left, _ = begin(shared)
    say(live, type="subscribe", id=1, topic="live")
    say(left, type="subscribe", id=1, topic="left")
    left.leave(1.0)
    shared.forget_all()
    assert shared.broker.topics == {"live"}
    live.leave(2.0)
    assert shared.broker.topics == set()


def test_a_resume_that_is_not_recovered_unsubscribes():
    shared = hub()
    conversation, welcome = begin(shared)
    say(conversation, type="subscribe", id=1, topic="t")
    conversation.leave(1.0)
    _, again = begin(shared, now=2.0, **resuming(welcome, seq=7))
    assert not again["recovered"]
    assert shared.broker.topics == set()


def test_nobody_who_has_not_authenticated_has_anything_to_send_or_to_leave():
    conversation = Conversation(hub(), None, Caller())
    assert conversation.next() is None
    conversation.leave(0.0)


def test_pongs_are_told_to_the_connection():
    caller = Caller()
    conversation, _ = begin(hub(), caller)
    say(conversation, type="pong", n=3)
    assert caller.pongs == [3]


def test_a_text_with_the_id_of_an_unfinished_blob_takes_its_place():
    shared = hub()
    conversation, _ = begin(shared)
    header = b'{"type":"send","id":1,"topic":"t","chunk":[1,2]}'
    assert conversation.receive(len(header).to_bytes(4, "big") + header + b"half", 0.0) == []
    assert say(conversation, type="send", id=1, topic="t", data="instead") == [{"type": "ack", "id": 1, "ok": True}]
    header = b'{"type":"send","id":2,"topic":"t","chunk":[2,2]}'
    (ack,) = conversation.receive(len(header).to_bytes(4, "big") + header + b"half", 0.0)
    assert not ack["ok"]
    assert [received.data for received in shared.received] == ["instead"]


frames = st.fixed_dictionaries(
    {"type": st.sampled_from(["send", "subscribe", "unsubscribe", "ack", "ping", "pong", "auth"])},
    optional={
        "id": st.integers(-1, 4) | st.none() | st.text(max_size=2),
        "topic": st.text(max_size=3) | st.none(),
        "data": st.none() | st.integers(),
        "seq": st.integers(-1, 3),
        "n": st.none(),
        "session": st.text(max_size=2),
    },
)


@patient
@given(st.lists(frames, max_size=20))
def test_whatever_frames_come_each_well_formed_id_gets_one_verdict(sent):
    """REPLAY-06 and SECURITY-03 as a property: no crash, and verdicts for 1, 2, 3 ... once each."""
    conversation, _ = begin(hub())
    verdicts = []
    for frame in sent:
        try:
            answers = say(conversation, **frame)
        except Ended:
            break
        verdicts += [answer["id"] for answer in answers if answer["type"] == "ack" and "duplicate" not in answer]
    assert verdicts == list(range(1, len(verdicts) + 1))


def test_the_send_deadline_counts_from_the_last_byte_that_moved():
    deadline = SendDeadline(10, now=0, waiting=1000)
    assert not deadline.stalled(9, 1000)
    assert not deadline.stalled(9.5, 900)
    assert not deadline.stalled(19, 2000)
    assert deadline.stalled(19.5, 2000)
