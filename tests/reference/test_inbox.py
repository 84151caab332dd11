"""What came down: order, repetitions, gaps, acknowledgements and the session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_wschaos.reference.inbox import ACK_EVERY, Delivery, Inbox


def welcome(session: str = "s", *, recovered: bool = False, epoch: str = "e", seq: int = 0) -> dict[str, object]:
    return {"session": session, "resume_token": "secret", "epoch": epoch, "recovered": recovered, "seq": seq}


def welcomed() -> Inbox:
    inbox = Inbox(1.0)
    inbox.on_welcome(welcome())
    return inbox


def drain(inbox: Inbox, now: float = 0.0) -> list[Delivery]:
    return [inbox.take(now) for _ in range(len(inbox))]


def test_a_first_connection_has_nothing_to_resume() -> None:
    assert Inbox(1.0).resume_fields() == {}


def test_a_later_one_resumes_after_the_last_message_received() -> None:
    inbox = welcomed()
    inbox.on_message(1, "t", "a")
    assert inbox.resume_fields() == {"session": "s", "resume_token": "secret", "epoch": "e", "seq": 1}


@given(st.lists(st.integers(1, 20), max_size=60))
def test_whatever_is_replayed_each_message_is_delivered_once_and_in_order(replayed: list[int]) -> None:
    inbox = welcomed()
    for seq in replayed:
        inbox.on_message(seq, "t", seq)
    delivered = drain(inbox)
    messages = [d.data for d in delivered if d.topic is not None]
    assert messages == sorted(set(messages))
    told = [seq for d in delivered for seq in ([d.seq] if d.topic else range(d.seq, (d.to or 0) + 1))]
    assert told == list(range(1, max(replayed, default=0) + 1))  # every sequence is either delivered or said to be lost


def test_an_announced_gap_is_said_once_before_what_follows() -> None:
    inbox = welcomed()
    inbox.on_message(1, "t", "a")
    inbox.on_gap(2, 4)
    inbox.on_gap(1, 4)
    inbox.on_message(5, "t", "b")
    assert drain(inbox) == [Delivery(1, "t", "a"), Delivery(2, to=4), Delivery(5, "t", "b")]


def test_a_new_epoch_says_that_continuity_is_lost_and_counts_from_the_start() -> None:
    inbox = welcomed()
    inbox.on_message(1, "t", "a")
    inbox.on_welcome(welcome(epoch="e2"))
    inbox.on_message(1, "t", "b")
    assert [(d.data, d.to) for d in drain(inbox)] == [("a", None), (None, None), ("b", None)]
    assert inbox.resume_fields()["epoch"] == "e2"


def test_a_forgotten_session_is_said_once_and_not_presented_again() -> None:
    inbox = welcomed()
    inbox.on_message(1, "t", "a")
    drain(inbox)
    inbox.forget()
    inbox.forget()
    assert inbox.resume_fields() == {}
    inbox.on_welcome(welcome("s2"))
    assert drain(inbox) == [Delivery(2, to=None)]


def test_a_recovered_session_says_no_gap() -> None:
    inbox = welcomed()
    inbox.on_message(1, "t", "a")
    drain(inbox)
    inbox.on_welcome(welcome(recovered=True, seq=1))
    assert len(inbox) == 0


def test_an_acknowledgement_waits_for_others_but_not_for_ever() -> None:
    inbox = welcomed()
    inbox.on_message(1, "t", "a")
    assert inbox.next_at() is None
    inbox.take(10.0)
    assert inbox.next_at() == 11.0
    assert inbox.ack(10.5) is None
    assert inbox.ack(11.0) == 1
    inbox.ack_sent(1)
    assert inbox.ack(12.0) is None


def test_many_deliveries_are_acknowledged_at_once() -> None:
    inbox = welcomed()
    for seq in range(1, ACK_EVERY + 1):
        inbox.on_message(seq, "t", seq)
    drain(inbox, 5.0)
    assert inbox.ack(5.0) == ACK_EVERY


def test_what_the_application_has_not_taken_is_not_acknowledged() -> None:
    inbox = welcomed()
    for seq in range(1, 200):
        inbox.on_message(seq, "t", seq)
    inbox.take(0.0)
    assert inbox.ack(100.0) == 1


def test_messages_of_an_ended_stream_are_delivered_but_not_acknowledged_to_the_new_one() -> None:
    inbox = welcomed()
    inbox.on_message(1, "t", "old")
    inbox.on_welcome(welcome("s2"))
    assert drain(inbox)[0].data == "old"
    assert inbox.ack(100.0) is None
