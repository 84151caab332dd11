"""When to ping and when a link is dead: HEARTBEAT, without a network."""

from __future__ import annotations

from pytest_wschaos.reference.heartbeat import Heartbeat


def beating(now: float = 0.0) -> Heartbeat:
    heartbeat = Heartbeat(30.0, 10.0)
    heartbeat.start(now)
    return heartbeat


def test_the_first_ping_is_due_after_one_interval_and_each_next_one_after_another() -> None:
    heartbeat = beating(100.0)
    assert not heartbeat.due(129.9)
    assert heartbeat.due(130.0)
    heartbeat.sent(1, 130.0)
    assert heartbeat.pong(1, 131.0)
    assert heartbeat.next_at() == 160.0


def test_a_ping_before_its_time_does_not_move_the_clock() -> None:
    heartbeat = beating()
    heartbeat.sent(1, 10.0)
    heartbeat.pong(1, 11.0)
    assert heartbeat.next_at() == 30.0


def test_a_link_is_dead_when_the_deadline_passes_without_the_pong() -> None:
    heartbeat = beating()
    heartbeat.sent(1, 30.0)
    assert heartbeat.next_at() == 40.0
    assert not heartbeat.dead(39.9)
    assert heartbeat.dead(40.0)


def test_only_the_answer_to_this_ping_counts() -> None:
    heartbeat = beating()
    heartbeat.sent(2, 30.0)
    heartbeat.traffic(35.0)
    assert not heartbeat.pong(1, 35.0)
    assert heartbeat.dead(40.0)


def test_a_late_pong_does_not_count() -> None:
    heartbeat = beating()
    heartbeat.sent(1, 30.0)
    assert not heartbeat.pong(1, 40.5)
    assert heartbeat.dead(40.5)


def test_the_answer_to_a_newer_ping_shows_that_the_older_one_came_through() -> None:
    heartbeat = Heartbeat(5.0, 10.0)
    heartbeat.start(0.0)
    heartbeat.sent(1, 5.0)
    heartbeat.sent(2, 10.0)
    assert heartbeat.pong(2, 12.0)
    assert not heartbeat.dead(19.0)


def test_the_answer_to_an_older_ping_does_not_answer_the_newer_one() -> None:
    heartbeat = Heartbeat(5.0, 10.0)
    heartbeat.start(0.0)
    heartbeat.sent(1, 5.0)
    heartbeat.sent(2, 10.0)
    assert heartbeat.pong(1, 12.0)
    assert heartbeat.dead(20.0)


def test_progress_of_an_unfinished_message_starts_the_deadline_anew() -> None:
    heartbeat = beating()
    heartbeat.sent(1, 30.0)
    for now in range(31, 200):
        heartbeat.progress(float(now))
        assert not heartbeat.dead(now + 9.9)
    assert heartbeat.dead(209.0)


def test_any_traffic_counts_where_the_profile_says_so() -> None:
    heartbeat = Heartbeat(30.0, 10.0, "any")
    heartbeat.start(0.0)
    heartbeat.sent(1, 30.0)
    heartbeat.traffic(35.0)
    assert not heartbeat.dead(40.0)


def test_without_an_interval_nothing_is_ever_due_but_a_ping_still_has_its_deadline() -> None:
    heartbeat = Heartbeat(None, 10.0)
    heartbeat.start(0.0)
    assert not heartbeat.due(1e9)
    assert heartbeat.next_at() is None
    assert not heartbeat.jumped(1e9)
    heartbeat.sent(1, 5.0)
    heartbeat.test(6.0)
    assert heartbeat.next_at() is None


def test_a_new_connection_starts_without_the_old_ones_pings() -> None:
    heartbeat = beating()
    heartbeat.sent(1, 30.0)
    heartbeat.start(35.0)
    assert not heartbeat.dead(45.0)
    assert heartbeat.next_at() == 65.0


def test_after_a_jump_of_the_clock_it_asks_at_once_and_judges_by_that_answer_alone() -> None:
    heartbeat = beating()
    heartbeat.sent(1, 30.0)
    assert not heartbeat.jumped(41.0)
    assert heartbeat.jumped(100.0)
    heartbeat.test(100.0)
    assert heartbeat.due(100.0)
    assert not heartbeat.dead(100.0)
    heartbeat.sent(2, 100.0)
    assert not heartbeat.pong(1, 101.0)
    assert heartbeat.dead(110.0)
