import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_wschaos.profile import Replay
from pytest_wschaos.reference.broker import MemoryBroker
from pytest_wschaos.reference.protocol import WINDOW, ProtocolError
from pytest_wschaos.reference.session import Lost, Publication, Session, Sessions
from pytest_wschaos.reference.tokens import Tokens

# A busy machine is no finding.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

REPLAY = Replay()


class Link:
    """Stands for a connection."""

    def __init__(self):
        self.woken = 0
        self.was_replaced = False

    def wake(self):
        self.woken += 1

    def replaced(self):
        self.was_replaced = True


def session(**figures):
    return Session(random.Random(1), replace(REPLAY, **figures))


def publish(subject, count=1, data="x"):
    for _ in range(count):
        subject.publish(Publication("t", data))


def pull(subject):
    """All that may go on the wire: sequences, and gaps as pairs."""
    items = []
    while (item := subject.next()) is not None:
        items.append((item.first, item.last) if isinstance(item, Lost) else item.seq)
    return items


def test_the_worked_example_of_the_protocol():
    subject = session()
    publish(subject, 12)
    pull(subject)
    subject.acknowledge(4)  # the log has 5..12
    assert subject.resume(subject.epoch, 7)
    assert pull(subject) == [8, 9, 10, 11, 12]

    subject = session(log_messages=3)  # the log has 10..12
    publish(subject, 12)
    assert subject.resume(subject.epoch, 7)
    assert pull(subject) == [(8, 9), 10, 11, 12]


def test_at_most_256_messages_are_unacknowledged_on_the_wire():
    subject = session()
    publish(subject, 300)
    assert pull(subject) == list(range(1, WINDOW + 1))
    subject.acknowledge(10)
    assert pull(subject) == list(range(WINDOW + 1, WINDOW + 11))


def test_a_reader_that_pauses_for_too_long_is_told_of_the_gap_and_goes_on():
    subject = session(log_messages=50)
    publish(subject, 10)
    assert pull(subject) == list(range(1, 11))
    publish(subject, 500)
    assert pull(subject) == [(11, 460), *range(461, 511)]
    subject.acknowledge(510)
    publish(subject)
    assert pull(subject) == [511]


def test_the_log_is_bounded_in_bytes_and_keeps_at_least_the_newest():
    subject = session(log_bytes=1000)
    publish(subject, 20, "y" * 300)
    subject.resume(subject.epoch, 0)
    first = pull(subject)[0]
    assert first == (1, 18)  # two of over 300 bytes fit, three do not
    publish(subject, 1, "z" * 5000)
    assert pull(subject) == [21]


def test_a_resume_from_before_what_was_trimmed_is_a_gap():
    subject = session()
    publish(subject, 5)
    pull(subject)
    subject.acknowledge(5)
    subject.resume(subject.epoch, 2)
    assert pull(subject) == [(3, 5)]


def test_an_ack_of_what_was_not_sent_is_refused():
    subject = session()
    publish(subject, 3)
    subject.next()
    with pytest.raises(ProtocolError, match="ack of 2"):
        subject.acknowledge(2)


def test_another_epoch_or_a_sequence_from_nowhere_starts_a_new_stream():
    for epoch, seq in [("other", 0), (None, 4)]:
        subject = session()
        publish(subject, 3)
        subject.settle(1, "no")
        subject.topics.add("t")
        old = subject.epoch
        assert not subject.resume(epoch or old, seq)
        assert (subject.seq, subject.last_id, subject.topics, subject.rejected) == (0, 0, set(), [])
        assert subject.epoch != old
        assert pull(subject) == []


def test_each_id_gets_one_verdict_and_keeps_it():
    subject = session()
    assert subject.standing(1) == "new"
    assert subject.settle(1) == {"type": "ack", "id": 1, "ok": True}
    assert subject.settle(2, "too big") == {"type": "ack", "id": 2, "ok": False, "error": "too big"}
    assert [subject.standing(id) for id in (1, 2, 3, 4)] == ["duplicate", "duplicate", "new", "skip"]
    assert subject.verdict(2) == {"type": "ack", "id": 2, "ok": False, "error": "too big"}
    assert subject.rejected == [{"id": 2, "error": "too big"}]


def test_refused_ids_are_remembered_as_far_back_as_a_client_can_have_pending():
    subject = session(queue_messages=2)
    for id in range(1, 6):
        subject.settle(id, "no")
    assert [entry["id"] for entry in subject.rejected] == [4, 5]


def test_the_presented_resume_token_stays_valid_until_the_first_frame():
    subject = session()
    first = subject.issue_token()
    lost = subject.issue_token(first)  # this welcome never arrives
    assert subject.accepts(first)
    assert subject.accepts(lost)
    second = subject.issue_token(first)
    assert subject.accepts(first)
    assert not subject.accepts(lost)
    subject.confirm()
    assert subject.accepts(second)
    assert not subject.accepts(first)


def test_a_newer_link_replaces_the_older_and_only_the_live_one_detaches():
    subject, older, newer = session(), Link(), Link()
    subject.attach(older)
    subject.attach(newer)
    assert older.was_replaced
    assert not newer.was_replaced
    subject.detach(older, 5.0)
    assert subject.detached_at is None
    publish(subject)
    assert (older.woken, newer.woken) == (0, 1)
    subject.detach(newer, 6.0)
    assert (subject.link, subject.detached_at) == (None, 6.0)


def test_a_session_without_a_connection_expires_after_its_time():
    sessions = Sessions(random.Random(2), REPLAY)
    live, left, link = sessions.create(), sessions.create(), Link()
    token = left.issue_token()
    live.attach(Link())
    left.attach(link)
    assert sessions.next_expiry() is None
    left.detach(link, 10.0)
    assert sessions.next_expiry() == 130.0
    assert sessions.find(left.id, token, 129.9) is left
    assert sessions.find(left.id, "wrong", 129.9) is None
    assert sessions.find("unknown", token, 129.9) is None
    assert sessions.find(left.id, token, 130.0) is None
    assert sessions.expire(129.0) == []
    assert sessions.expire(130.0) == [left]
    assert left not in sessions
    assert live in sessions
    assert len(sessions) == 1


def test_all_sessions_can_be_forgotten():
    sessions = Sessions(random.Random(2), REPLAY)
    live, left, link = sessions.create(), sessions.create(), Link()
    live.attach(link)
    left.attach(link)
    left.detach(link, 1.0)
    assert sessions.forget_all() == [left]
    assert len(sessions) == 0


def test_a_new_epoch_is_for_all():
    sessions = Sessions(random.Random(2), REPLAY)
    subject = sessions.create()
    old = subject.epoch
    sessions.new_epoch()
    assert not subject.resume(old, 0)


def test_the_same_seed_makes_the_same_secrets():
    def secrets(seed):
        made = Sessions(random.Random(seed), REPLAY).create()
        return made.id, made.epoch, made.issue_token()

    assert secrets(3) == secrets(3) != secrets(4)


@patient
@given(st.lists(st.sampled_from(["publish", "pull", "ack", "resume"]), max_size=120), st.integers(1, 8))
def test_whatever_happens_a_client_gets_each_sequence_in_order_or_is_told(steps, log_messages):
    """REPLAY-04 as a property: messages and gaps that the client gets continue each other without a hole."""
    subject, seen = session(log_messages=log_messages), 0
    for step in steps:
        match step:
            case "publish":
                publish(subject, 3)
            case "pull":
                item = subject.next()
                if isinstance(item, Lost):
                    assert item.first == seen + 1
                    seen = item.last
                elif item is not None:
                    assert item.seq == seen + 1
                    seen = item.seq
            case "ack":
                subject.acknowledge(seen)
            case "resume":
                assert subject.resume(subject.epoch, seen)
    remaining = pull(subject)
    for item in remaining:
        first, last = item if isinstance(item, tuple) else (item, item)
        assert first == seen + 1
        seen = last
    assert seen == subject.seq


def test_the_broker_delivers_to_the_subscribed_in_order_and_once():
    broker, got = MemoryBroker(), []

    class Subscriber:
        def __init__(self, name):
            self.name = name

        def publish(self, publication):
            got.append((self.name, publication.data))

    a, b = Subscriber("a"), Subscriber("b")
    broker.subscribe("t", b)
    broker.subscribe("t", a)
    broker.subscribe("t", b)
    broker.publish(Publication("t", 1))
    broker.publish(Publication("other", 2))
    broker.unsubscribe("t", b)
    broker.publish(Publication("t", 3))
    broker.unsubscribe("t", a)
    broker.unsubscribe("t", a)
    assert got == [("b", 1), ("a", 1), ("a", 3)]
    assert broker.topics == frozenset()


def test_tokens_stand_as_they_were_put():
    tokens = Tokens(random.Random(5), good=["mine"])
    issued = tokens.issue()
    tokens.add("later")
    assert [tokens.check(token) for token in ("mine", issued, "later", "?")] == ["good", "good", "good", "unknown"]
    tokens.expire(issued)
    tokens.revoke("mine")
    assert (tokens.check(issued), tokens.check("mine")) == ("expired", "revoked")
