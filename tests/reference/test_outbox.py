"""What goes up: nothing is lost, doubled or reordered, and every request settles. REPLAY, without a network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wschaos.profile import Delivery
from pytest_wschaos.reference.outbox import Outbox, Outgoing, QueueFull


def outbox(max_messages: int = 1000, max_bytes: int = 1000, delivery: Delivery = "effectively-once") -> Outbox:
    return Outbox(max_messages, max_bytes, delivery)


def message(ref: str, size: int = 1, frames: int = 1) -> Outgoing:
    return Outgoing("send", "t", ref, ref=ref, size=size, frames=frames)


def filled(*refs: str, **options: Any) -> Outbox:
    box = outbox(**options)
    for ref in refs:
        box.add(message(ref))
    return box


def write(box: Outbox, count: int = 100) -> list[tuple[int | None, str | None]]:
    written: list[tuple[int | None, str | None]] = []
    while count and box.to_send(1000) is not None:
        request = box.begin()
        written.append((request.id, request.ref or request.topic))
        count -= 1
    return written


def test_ids_rise_by_one_from_one() -> None:
    assert write(filled("a", "b", "c")) == [(1, "a"), (2, "b"), (3, "c")]


def test_in_the_same_session_what_was_not_processed_is_written_again_with_the_same_ids() -> None:
    box = filled("a", "b", "c", "d")
    write(box, 3)
    settled = box.on_welcome(1, recovered=True, rejected={})
    assert [(request.ref, error) for request, error in settled] == [("a", None)]
    assert write(box) == [(2, "b"), (3, "c"), (4, "d")]


def test_a_refusal_whose_ack_was_lost_is_learnt_from_the_welcome() -> None:
    box = filled("a", "b")
    write(box)
    settled = box.on_welcome(2, recovered=True, rejected={1: "bad topic"})
    assert [(request.ref, error) for request, error in settled] == [("a", "bad topic"), ("b", None)]
    assert len(box) == 0


def test_in_a_fresh_session_pending_messages_get_new_ids_in_order() -> None:
    box = filled("a", "b", "c")
    write(box, 2)
    box.acked(1)
    assert box.on_welcome(0, recovered=False, rejected={}) == []
    assert write(box) == [(1, "b"), (2, "c")]


def test_in_a_fresh_session_subscriptions_go_first() -> None:
    box = filled("a")
    box.add(Outgoing("subscribe", "mine", ref="s"))
    box.on_welcome(0, recovered=False, rejected={})
    assert box.pending_topics() == {"mine"}
    box.restore(["x", "y"])
    assert write(box) == [(1, "x"), (2, "y"), (3, "s"), (4, "a")]


def test_at_most_once_never_writes_a_message_twice() -> None:
    box = filled("a", "b", "c", delivery="at-most-once")
    write(box, 2)
    settled = box.on_welcome(1, recovered=True, rejected={})
    assert [(request.ref, error is None) for request, error in settled] == [("a", True), ("b", False)]
    assert write(box) == [(2, "c")]


def test_the_largest_written_message_is_given_up_and_the_rest_is_numbered_anew() -> None:
    box = outbox()
    for ref, size in [("small", 1), ("big", 500), ("later", 2), ("queued", 400)]:
        box.add(message(ref, size))
    write(box, 3)
    dropped = box.drop_largest_unacked()
    assert dropped is not None
    assert dropped.ref == "big"
    box.on_welcome(1, recovered=True, rejected={})
    assert write(box) == [(2, "later"), (3, "queued")]


def test_nothing_is_dropped_where_nothing_was_written() -> None:
    assert filled("a").drop_largest_unacked() is None


def test_a_full_queue_refuses_by_number_and_by_bytes_and_says_so() -> None:
    box = filled("a", "b", max_messages=2)
    with pytest.raises(QueueFull, match="2 of 2 messages"):
        box.add(message("c"))
    box = outbox(max_bytes=10)
    box.add(message("a", 8))
    with pytest.raises(QueueFull, match="8 of 10 bytes, and this one has 3"):
        box.add(message("b", 3))


def test_written_messages_keep_their_place_in_the_queue_until_they_are_acknowledged() -> None:
    box = filled("a", "b", max_messages=2)
    write(box)
    assert not box.fits(message("c"))
    box.acked(1)
    assert box.fits(message("c"))


def test_queued_bytes_count_what_is_not_written_yet() -> None:
    box = outbox()
    box.add(message("a", 10))
    box.add(message("b", 20))
    assert box.queued_bytes == 30
    box.begin()
    assert box.queued_bytes == 20
    box.on_welcome(0, recovered=True, rejected={})
    assert box.queued_bytes == 30


def test_a_window_bounds_what_is_written_ahead_of_acknowledgements() -> None:
    box = outbox()
    for ref in "abc":
        box.add(message(ref, frames=2))
    box.begin()
    box.begin()
    assert box.to_send(5) is None
    box.acked(1)
    assert box.to_send(5) is not None


def test_a_message_larger_than_the_window_is_written_when_nothing_else_is() -> None:
    box = outbox()
    box.add(message("a", frames=50))
    assert box.to_send(5) is not None


def test_a_message_refused_before_it_is_written_takes_no_id() -> None:
    box = filled("a", "b")
    assert box.refuse().ref == "a"
    assert write(box) == [(1, "b")]


def test_a_second_verdict_is_ignored() -> None:
    box = filled("a")
    write(box)
    assert box.acked(1) is not None
    assert box.acked(1) is None
    assert box.acked(7) is None


def test_giving_up_hands_everything_back_in_order_and_leaves_room() -> None:
    box = filled("a", "b", "c", max_messages=3)
    write(box, 2)
    assert [request.ref for request in box.give_up()] == ["a", "b", "c"]
    assert len(box) == box.queued_bytes == 0
    assert box.fits(message("d"))


@given(st.lists(st.sampled_from(["add", "write", "ack", "cut", "back", "forget"]), max_size=80))
def test_a_session_processes_each_message_once_and_in_order_whatever_is_lost(script: list[str]) -> None:
    """A model of the server: it processes ids in turn, until the link is cut; what is on the way is then lost."""
    box = outbox(max_bytes=10_000)
    processed: list[int] = []
    added = last_id = 0
    unanswered: list[int] = []
    cut = forgot = False
    for action in script:
        if action == "add":
            box.add(Outgoing("send", "t", added, ref=str(added), size=1))
            added += 1
        elif action == "write" and box.to_send(1000) is not None:
            request = box.begin()
            assert request.id is not None
            if not cut:
                assert request.id == last_id + 1  # no id is skipped, none comes twice
                last_id = request.id
                processed.append(request.data)
                unanswered.append(request.id)
        elif action == "ack" and unanswered:
            assert box.acked(unanswered.pop(0)) is not None
        elif action == "cut":
            cut, unanswered = True, []
        elif action in ("back", "forget"):
            forgot = forgot or action == "forget"
            last_id = 0 if action == "forget" else last_id
            box.on_welcome(last_id, recovered=action == "back", rejected={})
            cut, unanswered = False, []
    if forgot:  # then it is at least once
        assert sorted(set(processed)) == list(range(len(set(processed))))
    else:
        assert processed == list(range(len(processed)))
