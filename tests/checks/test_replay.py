"""REPLAY, judged on records written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record, digest

from .script import Script

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
NON_STRICT, UNSUPPORTED = Outcome.NON_STRICT, Outcome.UNSUPPORTED
TELLS = (
    *("credentials", "welcome", "ping", "pong", "message", "ack"),
    *("subscribe", "unsubscribe", "gap", "refusal", "farewell"),
)


class Chat(Script):
    """A script with the messages of a reliable protocol. The client is ready 10 ms after it connects."""

    def __init__(self, tells: tuple[str, ...] = TELLS) -> None:
        super().__init__(tells=tells)

    def ask(self, at: float, data: str, ref: str | None = None) -> Chat:
        """The application asks for a send."""
        self.app(at, "send", ref=ref, topic="news", digest=digest(data), size=len(data))
        return self

    def send(
        self, at: float, id: int | None, data: str, *, acked: bool = True, lost: bool = False, **detail: Any
    ) -> Chat:
        """The client sends; unless not ``acked``, the verdict is back 10 ms later."""
        self.frame(at, "up", "message", lost=lost, id=id, topic="news", digest=digest(data), **detail)
        if acked and not lost:
            self.frame(at + 0.01, "down", "ack", id=id, ok=True, duplicate=False)
        return self

    def publish(self, at: float, seq: int | None, data: str, *, lost: bool = False, told: bool = False) -> Chat:
        """The server sends; ``told``: the client tells its application."""
        self.frame(at, "down", "message", lost=lost, seq=seq, topic="news", digest=digest(data))
        if told:
            self.app(at + 0.001, "message", topic="news", digest=digest(data))
        return self

    def cut(self, at: float) -> Chat:
        """The link breaks."""
        self.event(at, "cut", "proxy", conn=self._connections, fault="abort", how="reset")
        self.end(at, how="reset")
        return self


def verdict(rule: str, record: Record, **replay: object) -> Verdict:
    return judge(record, Profile().with_(replay=replay), rule)[0]


def outcomes(record: Record, **replay: object) -> dict[str, Outcome]:
    """What failed, by rule."""
    return {v.rule: v.outcome for v in judge(record, Profile().with_(replay=replay), "REPLAY-*") if v.outcome is FAIL}


@pytest.mark.parametrize("rule", [f"REPLAY-0{n}" for n in range(2, 10) if n != 6])
def test_nothing_happened(rule: str) -> None:
    found = verdict(rule, Chat().record(100))
    assert found.outcome is INCONCLUSIVE
    assert found.seen.startswith("not provoked: ")


@pytest.mark.parametrize("rule", [f"REPLAY-0{n}" for n in range(1, 10) if n != 6])
def test_without_a_dialect(rule: str) -> None:
    assert verdict(rule, Script().record(100)).outcome is UNSUPPORTED


def broken(**welcome: Any) -> Chat:
    """Id 1 is acknowledged and id 2 is not when the link breaks; a recovered connection follows at 10 s."""
    s = Chat()
    s.live(0.0)
    s.ask(1.0, "one", "r1").send(1.0, 1, "one")
    s.ask(2.0, "two", "r2").send(2.0, 2, "two", acked=False, lost=True)
    s.cut(3.0)
    s.live(10.0, presented={"session": "s", "seq": 0}, **{"recovered": True, "last_id": 1, **welcome})
    return s


def left_behind() -> Chat:
    """Ids 2 to 4 reach the server after the application has closed; only 2 was processed."""
    s = Chat()
    s.live(0.0)
    s.send(1.0, 1, "one")
    s.fault(1.5, "silent_drop", until=9.0, resume=True)
    s.send(2.0, 2, "two", acked=False, lost=True).send(2.1, 3, "three", acked=False, lost=True)
    s.frame(2.2, "up", "subscribe", lost=True, id=4, topic="news")
    s.frame(3.0, "up", "ping", lost=True, key=1, level="app")
    s.app(3.5, "close")
    s.frame(3.51, "up", "close", lost=True, code=1000, reason="").end(8.51, by="peer")
    for id, data in enumerate(("two", "three"), 2):
        s.event(9.0, "message", "server", way="up", id=id, topic="news", digest=digest(data))
    s.event(9.0, "subscribe", "server", way="up", id=4, topic="news")
    s.app(20.0, "reconnect")
    s.live(20.0, recovered=True, last_id=2)
    return s


class TestQueued:
    """REPLAY-01"""

    def test_delivered_in_order(self) -> None:
        s = broken().ask(5.0, "three").ask(6.0, "four").ask(11.0, "five")
        s.send(10.02, 2, "two").send(10.03, 3, "three").send(10.04, 4, "four").send(11.0, 5, "five")
        found = verdict("REPLAY-01", s.record(20))
        assert found.outcome is PASS
        assert found.measured["delivered"] == 2
        assert outcomes(s.record(20)) == {}

    def test_before_the_first_ready(self) -> None:
        s = Chat()
        s.ask(0.0, "one")
        s.live(1.0)
        s.send(1.02, 1, "one")
        assert verdict("REPLAY-01", s.record(2)).outcome is PASS

    def test_overtaken(self) -> None:
        s = broken().send(10.02, 2, "two").ask(5.0, "three").ask(11.0, "four")
        s.send(11.0, 3, "four").send(11.1, 4, "three")
        found = verdict("REPLAY-01", s.record(20))
        assert found.outcome is FAIL
        assert "0.100 s after one that was sent 6.000 s later" in found.seen

    def test_of_equal_payloads_nobody_can_tell_which_is_which(self) -> None:
        s = broken().send(10.02, 2, "two").ask(5.0, "same").ask(11.0, "four").ask(12.0, "same")
        s.send(11.0, 3, "four").send(12.0, 4, "same").send(12.1, 5, "same")
        assert verdict("REPLAY-01", s.record(20)).outcome is PASS

    def test_a_blob_ends_later_than_it_begins(self) -> None:
        s = broken().ask(5.0, "blob").ask(6.0, "small").send(10.02, 2, "two")
        s.send(10.1, 4, "small").send(10.2, 3, "blob")
        s.frame(10.05, "up", "binary", size=60_000)
        assert verdict("REPLAY-01", s.record(20)).outcome is PASS

    def test_lost(self) -> None:
        s = broken().ask(5.0, "three").send(10.02, 2, "two")
        found = verdict("REPLAY-01", s.record(20))
        assert found.outcome is FAIL
        assert "(5.000 s after the start) was not sent after the next ready" in found.seen
        assert verdict("REPLAY-01", s.record(10.1)).outcome is INCONCLUSIVE
        assert verdict("REPLAY-01", s.record(20), delivery="at-most-once").outcome is NON_STRICT

    def test_a_queue_takes_its_time(self) -> None:
        s = broken(rate=10, burst=5).send(10.02, 2, "two")
        for number in range(20):
            s.ask(5.0, f"message {number}")
        assert verdict("REPLAY-01", s.record(14)).outcome is INCONCLUSIVE
        assert verdict("REPLAY-01", s.record(16)).outcome is FAIL

    def test_a_disturbed_link_may_hold_it_back(self) -> None:
        s = broken().ask(5.0, "three").send(10.02, 2, "two")
        s.fault(10.05, "silent_drop", direction="both")
        assert verdict("REPLAY-01", s.record(20)).outcome is INCONCLUSIVE

    def test_sent_and_not_arrived_is_another_rules_matter(self) -> None:
        s = broken().ask(5.0, "three").send(10.02, 2, "two").send(10.03, 3, "three", lost=True)
        assert verdict("REPLAY-01", s.record(20)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("told", ["settled", "gave_up", "close"])
    def test_the_application_knows(self, told: str) -> None:
        s = broken().ask(5.0, "three", "r3").send(10.02, 2, "two")
        if told == "settled":
            s.app(5.1, "settled", ref="r3", ok=False, error="the queue is full")
        elif told == "gave_up":
            s.app(7.0, "gave_up", error="refused", undelivered=["r3"])
        else:
            s.app(7.0, "close")
        assert verdict("REPLAY-01", s.record(20), queue_messages=1).outcome is INCONCLUSIVE

    def refusing(self, size: int | None = 10, *, told: float = 5.001) -> Chat:
        """Of ten messages sent while down the first is delivered; the others are refused, one after the other."""
        s = broken().send(10.02, 2, "two")
        s.app(10.04, "settled", ref="r1", ok=True).app(10.04, "settled", ref="r2", ok=True)
        for number in range(10):
            s.app(5.0 + number / 100, "send", ref=f"q{number}", digest=digest(f"queued {number}"), size=size)
            if number:
                s.app(told + number / 100, "settled", ref=f"q{number}", ok=False, error="not connected")
        return s.send(10.05, 3, "queued 0")

    def test_refused_though_the_queue_had_room(self) -> None:
        found = verdict("REPLAY-01", self.refusing().record(20))
        assert found.outcome is FAIL
        assert "was refused ('not connected'), though the declared queue had room" in found.seen
        assert verdict("REPLAY-01", self.refusing().record(20), delivery="at-most-once").outcome is NON_STRICT

    @pytest.mark.parametrize("bound", [{"queue_messages": 2}, {"queue_bytes": 500}])
    def test_refused_for_want_of_room(self, bound: dict[str, int]) -> None:
        assert verdict("REPLAY-01", self.refusing().record(20), **bound).outcome is PASS

    def test_whether_there_was_room_is_not_on_record(self) -> None:
        assert verdict("REPLAY-01", self.refusing(None).record(20)).outcome is INCONCLUSIVE
        # Once it is ready the server's own limits may be the reason.
        assert verdict("REPLAY-01", self.refusing(told=11.0).record(20)).outcome is INCONCLUSIVE
        blob = self.refusing()
        blob.app(12.0, "settled", ref="blob", ok=True)
        assert verdict("REPLAY-01", blob.record(20)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("why", ["gave_up", "close", "reconnect", "fatal"])
    def test_a_client_that_does_not_run_refuses(self, why: str) -> None:
        s = self.refusing()
        if why == "fatal":
            s.frame(2.9, "down", "close", conn=1, code=4403, reason="")
        else:
            s.app(4.0, why)
        assert verdict("REPLAY-01", s.record(20)).outcome is PASS

    def test_nothing_was_sent_while_down(self) -> None:
        assert verdict("REPLAY-01", broken().record(20)).outcome is INCONCLUSIVE

    def test_the_wire_alone_proves_disorder_only(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 1, "one").send(2.0, 3, "three")
        found = verdict("REPLAY-01", s.record(20))
        assert found.outcome is UNSUPPORTED
        assert "wschaos.sent(data)" in found.seen
        s.send(3.0, 2, "two")
        found = verdict("REPLAY-01", s.record(20))
        assert found.outcome is FAIL
        assert "id 2 reached the server after id 3" in found.seen

    @pytest.mark.parametrize("kind", ["message", "subscribe"])
    def test_ids_of_either_kind_are_in_order(self, kind: str) -> None:
        s = Chat()
        s.live(0.0)
        for number, id in enumerate((2, 4, 3)):
            s.frame(1.0 + number, "up", kind, id=id, topic="news", digest="d")
        found = verdict("REPLAY-01", s.record(20))
        assert found.outcome is FAIL
        assert "id 3 reached the server after id 4" in found.seen

    def test_subscriptions_may_be_counted_apart(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 5, "one").send(2.0, 6, "two").send(3.0, 7, "three")
        s.frame(4.0, "up", "subscribe", id=1, topic="news")
        assert verdict("REPLAY-01", s.record(20)).outcome is UNSUPPORTED
        s.send(5.0, 9, "five").send(6.0, 8, "four")
        assert verdict("REPLAY-01", s.record(20)).outcome is FAIL

    def test_or_together_with_messages(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 1, "one").frame(2.0, "up", "subscribe", id=2, topic="news")
        s.send(3.0, 4, "four").send(4.0, 3, "three")
        assert verdict("REPLAY-01", s.record(20)).outcome is FAIL

    def test_random_ids_tell_no_order(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 2**62, "one").send(2.0, 77, "two").send(3.0, 2**40, "three").send(4.0, 78, "four")
        assert verdict("REPLAY-01", s.record(20)).outcome is UNSUPPORTED

    def test_what_was_handed_back_at_a_close_leaves_its_ids_to_others(self) -> None:
        s = left_behind()
        s.frame(21.0, "up", "subscribe", id=3, topic="weather").send(22.0, 4, "four").send(23.0, 5, "five")
        assert outcomes(s.record(40)) == {}

    def test_which_are_in_order_too(self) -> None:
        s = left_behind()
        s.send(21.0, 4, "four").send(22.0, 3, "five")
        assert "id 3 reached the server after id 4" in verdict("REPLAY-01", s.record(40)).seen

    def test_after_a_mere_cut_nothing_is_renumbered(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 1, "one").send(2.0, 3, "three", acked=False).cut(3.0)
        s.live(10.0, recovered=True, last_id=1)
        s.send(11.0, 2, "two")
        assert "id 2 reached the server after id 3" in verdict("REPLAY-01", s.record(40)).seen

    def test_ids_start_again_in_a_fresh_session(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 1, "one").send(2.0, 2, "two").send(2.0, None, "any").send(2.5, 2, "two")
        s.cut(3.0)
        s.live(4.0)
        s.send(5.0, 1, "three")
        assert verdict("REPLAY-01", s.record(20)).outcome is UNSUPPORTED


class TestSentAgain:
    """REPLAY-02"""

    def test_not_what_was_handed_back_at_a_close(self) -> None:
        found = outcomes(left_behind().record(40))
        assert not {"REPLAY-02", "REPLAY-07"} & set(found)

    def test_with_the_same_id(self) -> None:
        s = broken().send(10.02, 2, "two")
        assert verdict("REPLAY-02", s.record(20)).outcome is PASS

    def test_not(self) -> None:
        s = broken()
        found = verdict("REPLAY-02", s.record(20))
        assert found.outcome is FAIL
        assert "id 2 was acknowledged; it was not sent again on connection 2" in found.seen
        assert outcomes(s.record(20)) == {"REPLAY-02": FAIL, "REPLAY-03": FAIL}
        assert verdict("REPLAY-02", s.record(10.3)).outcome is INCONCLUSIVE
        assert verdict("REPLAY-02", s.record(20), delivery="at-most-once").outcome is UNSUPPORTED

    def test_under_another_id(self) -> None:
        s = broken().send(10.02, 3, "two")
        assert "only as id 3 sent again" in verdict("REPLAY-02", s.record(20)).seen
        assert outcomes(s.record(20)) == {"REPLAY-02": FAIL}

    def test_the_server_had_it(self) -> None:
        assert verdict("REPLAY-02", broken(last_id=2).record(20)).outcome is INCONCLUSIVE

    def test_in_a_fresh_session_under_any_id(self) -> None:
        s = broken(recovered=False, last_id=0).send(10.02, 1, "two")
        assert verdict("REPLAY-02", s.record(20)).outcome is PASS

    def test_in_a_fresh_session_as_often_as_it_was_sent(self) -> None:
        def twice(again: int) -> Verdict:
            s = Chat()
            s.live(0.0)
            s.send(2.0, 1, "two", lost=True).send(2.1, 2, "two", lost=True).cut(3.0)
            s.live(10.0)
            for number in range(again):
                s.send(10.02, number + 1, "two")
            return verdict("REPLAY-02", s.record(20))

        assert twice(2).outcome is PASS
        assert twice(1).outcome is FAIL

    def test_a_short_connection_in_between(self) -> None:
        s = broken().cut(10.1)
        s.live(20.0, presented={"session": "s", "seq": 0}, recovered=True, last_id=1)
        s.send(20.02, 2, "two")
        assert verdict("REPLAY-02", s.record(30)).outcome is PASS

    @pytest.mark.parametrize("why", ["gave_up", "closed", "exhausted", "sent away"])
    def test_handed_back(self, why: str) -> None:
        s = Chat()
        s.live(0.0)
        s.send(2.0, 1, "two", lost=True)
        if why == "closed":
            s.frame(3.0, "up", "close", code=1000, reason="")
        s.cut(3.0)
        if why == "gave_up":
            s.app(5.0, "gave_up", error="refused", undelivered=["x"])
        elif why == "exhausted":
            for number in range(10):
                s.refused(4.0 + number / 10)
        elif why == "sent away":  # by a server that says goodbye at once
            s.opened(5.0, ready=False)
            s.frame(5.1, "down", "close", code=1000, reason="")
            s.end(5.1)
        s.live(10.0)
        assert verdict("REPLAY-02", s.record(20)).outcome is INCONCLUSIVE

    def test_too_big(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 1, "big", acked=False, size=900_000).send(1.1, 2, "small", lost=True, size=10)
        s.frame(1.2, "down", "close", code=1009, reason="")
        s.end(1.2)
        s.live(10.0, recovered=True, last_id=0)
        s.send(10.02, 1, "small")
        assert verdict("REPLAY-02", s.record(20)).outcome is PASS


class TestDelivery:
    """REPLAY-03"""

    def test_neither_lost_nor_repeated(self) -> None:
        s = broken().send(10.02, 2, "two")
        found = verdict("REPLAY-03", s.record(20))
        assert found.outcome is PASS
        assert found.figures == {"replay.delivery": "effectively-once"}

    def test_without_a_break(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 1, "one")
        assert verdict("REPLAY-03", s.record(20)).outcome is INCONCLUSIVE

    def test_what_arrived_is_not_lost(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(2.0, 1, "one", acked=False).cut(3.0)
        s.live(10.0)
        assert outcomes(s.record(20)) == {"REPLAY-02": FAIL}

    def test_repeated_after_its_ack(self) -> None:
        s = broken().send(10.02, 1, "one").send(10.03, 2, "two")
        found = verdict("REPLAY-03", s.record(20))
        assert found.outcome is FAIL
        assert "id 1 was sent again on connection 2, though its ack had come on connection 1" in found.seen

    def test_an_ack_at_the_last_moment_may_not_have_been_read(self) -> None:
        s = Chat()
        s.live(0.0)
        s.send(2.0, 1, "one").cut(2.02)
        s.live(10.0, recovered=True, last_id=0)
        s.send(10.02, 1, "one")
        assert verdict("REPLAY-03", s.record(20)).outcome is INCONCLUSIVE

    def test_a_repetition_is_recognised_by_its_id(self) -> None:
        s = broken(last_id=2).send(10.02, 2, "two")
        assert outcomes(s.record(20)) == {}

    def test_new_ids_after_a_message_was_given_up(self) -> None:
        s = Chat()
        s.live(0.0)
        s.ask(1.0, "too big").ask(1.0, "two")
        s.send(2.0, 1, "too big", acked=False).send(2.01, 2, "two", acked=False)
        s.frame(2.1, "down", "close", code=1009, reason="")
        s.cut(2.2)
        s.live(10.0, recovered=True, last_id=0)
        s.send(10.02, 1, "two")
        assert verdict("REPLAY-03", s.record(20)).outcome is PASS

    def test_under_two_ids(self) -> None:
        s = broken().send(10.02, 2, "two").send(10.03, 3, "two")
        found = verdict("REPLAY-03", s.record(20))
        assert found.outcome is FAIL
        assert "asked for 1 times reached the server under ids 2, 3" in found.seen
        s.ask(10.03, "two")
        assert verdict("REPLAY-03", s.record(20)).outcome is PASS

    @pytest.mark.parametrize("id", [1, 7])
    def test_at_most_once(self, id: int) -> None:
        s = broken()
        assert verdict("REPLAY-03", s.record(20), delivery="at-most-once").outcome is PASS
        s.send(10.02, id, "one")
        assert verdict("REPLAY-03", s.record(20), delivery="at-most-once").outcome is FAIL

    def test_at_least_once_may_repeat(self) -> None:
        s = broken().send(10.02, 1, "one").send(10.03, 2, "two")
        assert verdict("REPLAY-03", s.record(20), delivery="at-least-once").outcome is PASS

    def missed(self, *, told: tuple[str, ...] = ()) -> Script:
        s = Chat()
        s.live(0.0)
        s.publish(1.0, 1, "a").publish(2.0, 2, "b", lost=True)
        s.cut(3.0)
        s.live(10.0, presented={"session": "s", "seq": 1}, recovered=True)
        s.publish(10.1, 2, "b")
        for number, data in enumerate(told):
            s.app(11.0 + number, "message", topic="news", digest=digest(data))
        return s

    @pytest.mark.parametrize(
        ("told", "outcome"), [(("a", "b"), PASS), ((), NON_STRICT), (("a", "b", "b"), FAIL), (("a",), FAIL)]
    )
    def test_as_the_application_sees_it(self, told: tuple[str, ...], outcome: Outcome) -> None:
        assert verdict("REPLAY-03", self.missed(told=told).record(20)).outcome is outcome

    def test_what_came_just_now_may_yet_be_told(self) -> None:
        s = self.missed(told=("a", "b"))
        s.frame(19.9, "down", "message", seq=3, topic="news", digest=digest("c"))
        assert verdict("REPLAY-03", s.record(20)).outcome is PASS

    def test_without_sequences_every_message_counts(self) -> None:
        s = Chat()
        s.live(0.0)
        s.publish(1.0, None, "a", told=True).publish(2.0, None, "a", told=True)
        assert verdict("REPLAY-03", s.record(20)).outcome is INCONCLUSIVE


class TestReplayed:
    """REPLAY-04"""

    def resumed(self, presented: int | None, *, acked: int = 0, welcome_seq: int = 4, until: float = 20.0) -> Chat:
        """1 and 2 came, 3 and 4 were lost with the link."""
        s = Chat()
        s.live(0.0, seq=0)
        s.publish(1.0, 1, "a").publish(1.1, 2, "b")
        if acked:
            s.frame(1.2, "up", "ack", seq=acked)
        s.publish(2.0, 3, "c", lost=True)
        s.cut(3.0)
        s.live(10.0, presented={"session": "s", "seq": presented}, recovered=True, seq=welcome_seq)
        return s

    def test_from_where_it_was(self) -> None:
        s = self.resumed(2).publish(10.1, 3, "c").publish(10.2, 4, "d").publish(11.0, 5, "e")
        found = verdict("REPLAY-04", s.record(20))
        assert found.outcome is PASS
        assert found.measured["missed"] == 2

    def test_a_gap_that_is_told(self) -> None:
        s = self.resumed(2)
        s.frame(10.05, "down", "gap", first=3, last=3)
        s.publish(10.1, 4, "d")
        found = verdict("REPLAY-04", s.record(20))
        assert found.outcome is PASS
        assert found.measured["gaps"] == 1

    def test_a_hole(self) -> None:
        found = verdict("REPLAY-04", self.resumed(2).publish(10.1, 4, "d").record(20))
        assert found.outcome is FAIL
        assert "sequence 4 came after 2, and no gap was told" in found.seen

    def test_nothing_replayed(self) -> None:
        assert verdict("REPLAY-04", self.resumed(2).record(20)).outcome is FAIL
        assert verdict("REPLAY-04", self.resumed(2).record(10.2)).outcome is INCONCLUSIVE

    def test_part_of_it(self) -> None:
        assert verdict("REPLAY-04", self.resumed(2).publish(10.1, 3, "c").record(20)).outcome is INCONCLUSIVE

    def test_the_client_claims_too_much(self) -> None:
        found = verdict("REPLAY-04", self.resumed(3).publish(10.2, 4, "d").record(20))
        assert found.outcome is FAIL
        assert "claims sequence 3; 2 is the last that reached it" in found.seen

    def test_the_client_has_acknowledged_more(self) -> None:
        found = verdict("REPLAY-04", self.resumed(None, acked=2).record(20))
        assert found.outcome is FAIL
        assert "it had acknowledged 2" in found.seen

    def test_nothing_was_missed(self) -> None:
        s = Chat()
        s.live(0.0)
        s.publish(1.0, None, "no sequence").cut(3.0)
        s.live(10.0, presented={"session": "s", "seq": 0}, recovered=True)
        s.publish(10.1, None, "no sequence")
        assert verdict("REPLAY-04", s.record(20)).outcome is INCONCLUSIVE

    def test_messages_without_a_sequence_say_nothing(self) -> None:
        s = self.resumed(2).publish(10.05, None, "?").publish(10.1, 3, "c").publish(10.2, 4, "d")
        assert verdict("REPLAY-04", s.record(20)).outcome is PASS


class TestFlush:
    """REPLAY-05"""

    def flushed(self, count: int, every: float, *, rate: float | None = 50.0) -> Chat:
        s = Chat()
        s.live(0.0, rate=rate, burst=100 if rate else None)
        s.ping(0.5)
        for number in range(count):
            s.send(1.0 + number * every, number + 1, f"message {number}")
        return s

    def test_paced(self) -> None:
        found = verdict("REPLAY-05", self.flushed(200, 0.021).record(20))
        assert found.outcome is PASS

    def test_the_burst_then_the_rate(self) -> None:
        s = Chat()
        s.live(0.0, rate=50.0, burst=100)
        for number in range(150):
            s.send(1.0 + max(0, number - 99) / 50, number + 1, f"message {number}")
        assert verdict("REPLAY-05", s.record(20)).outcome is PASS

    def test_all_at_once(self) -> None:
        found = verdict("REPLAY-05", self.flushed(200, 0.001).record(20))
        assert found.outcome is FAIL
        assert "more than a rate of 50 per second with a burst of 100 allows" in found.seen

    def test_the_harness_may_have_bunched_them(self) -> None:
        s = self.flushed(120, 0.002)
        s.lag(1.3, 0.2)
        assert verdict("REPLAY-05", s.record(20)).outcome is INCONCLUSIVE

    def test_few(self) -> None:
        assert verdict("REPLAY-05", self.flushed(50, 0.001).record(20)).outcome is INCONCLUSIVE

    def test_no_rate_told(self) -> None:
        assert verdict("REPLAY-05", self.flushed(50, 0.001, rate=None).record(20)).outcome is UNSUPPORTED

    @pytest.mark.parametrize(("count", "outcome"), [(5, INCONCLUSIVE), (6, FAIL)])
    def test_more_than_the_queue_holds(self, count: int, outcome: Outcome) -> None:
        s = Chat()
        s.live(0.0, rate=50.0, burst=100)
        s.cut(1.0)
        for number in range(count):
            s.ask(2.0, f"message {number}", f"r{number}")
        s.live(10.0, rate=50.0, burst=100)
        for number in range(count):
            s.send(10.1 + number, number + 1, f"message {number}")
        assert verdict("REPLAY-05", s.record(30), queue_messages=5).outcome is outcome

    def test_rate_limited(self) -> None:
        s = self.flushed(50, 0.001)
        s.frame(2.0, "down", "close", code=4429, reason="")
        assert verdict("REPLAY-05", s.record(20)).outcome is FAIL
        s.fault(1.9, "close", code=4429)
        assert verdict("REPLAY-05", s.record(20)).outcome is INCONCLUSIVE

    def test_a_close_4429_that_was_injected_and_came_later_is_not_the_clients_doing(self) -> None:
        s = self.flushed(50, 0.001)
        s.fault(1.9, "close", until=1.9, code=4429)
        s.frame(2.0, "down", "close", code=4429, reason="")
        assert verdict("REPLAY-05", s.record(20)).outcome is INCONCLUSIVE


class TestSettles:
    """REPLAY-06"""

    def sends(self) -> Chat:
        s = broken().send(10.02, 2, "two")
        s.app(0.01, "ready", recovered=False)
        s.app(1.02, "settled", ref="r1", ok=True, error=None)
        return s

    def test_all(self) -> None:
        s = self.sends()
        s.app(10.04, "settled", ref="r2", ok=True, error=None)
        found = verdict("REPLAY-06", s.record(20))
        assert found.outcome is PASS
        assert found.measured["sends"] == 2

    def test_not_after_its_ack(self) -> None:
        found = verdict("REPLAY-06", self.sends().record(20))
        assert found.outcome is FAIL
        assert "the send 'r2'" in found.seen
        assert "its ack came on connection 2" in found.seen
        assert verdict("REPLAY-06", self.sends().record(10.1)).outcome is INCONCLUSIVE

    def test_handed_back(self) -> None:
        s = self.sends().ask(12.0, "three", "r3").cut(11.5)
        s.app(10.04, "settled", ref="r2", ok=True, error=None)
        s.app(15.0, "gave_up", error="refused", undelivered=["r3"])
        assert verdict("REPLAY-06", s.record(20)).outcome is PASS

    @pytest.mark.parametrize(("end", "at"), [("gave_up", 13.0), ("close", 13.0)])
    def test_forgotten(self, end: str, at: float) -> None:
        s = self.sends().cut(11.5).ask(12.0, "three", "r3")
        s.app(10.04, "settled", ref="r2", ok=True, error=None)
        s.app(at, end, **({"error": "refused", "undelivered": []} if end == "gave_up" else {}))
        assert verdict("REPLAY-06", s.record(20)).outcome is FAIL

    def test_never_sent(self) -> None:
        s = self.sends().ask(5.0, "three", "r3")
        s.app(10.04, "settled", ref="r2", ok=True, error=None)
        found = verdict("REPLAY-06", s.record(20))
        assert found.outcome is FAIL
        assert "was ready, and did not send it" in found.seen

    def test_given_up_in_silence(self) -> None:
        s = self.sends().cut(11.5).ask(12.0, "three", "r3")
        s.app(10.04, "settled", ref="r2", ok=True, error=None)
        for retry in range(10):
            s.refused(13.0 + retry)
        s.app(90.0, "reconnect")
        s.live(90.0)
        found = verdict("REPLAY-06", s.record(100))
        assert found.outcome is FAIL
        assert "was ready, and did not send it" in found.seen

    def test_a_client_that_does_not_report(self) -> None:
        assert "on_event=wschaos.report" in verdict("REPLAY-06", broken().record(20)).seen

    def test_no_send(self) -> None:
        s = Chat()
        s.app(0.0, "connecting")
        assert verdict("REPLAY-06", s.record(20)).outcome is INCONCLUSIVE


class TestDroppedLater:
    """REPLAY-02, where an attempt that never was ready is closed 1009: the client gives up what it wrote before."""

    def dropped(self, code: int) -> Chat:
        s = Chat()
        s.live(0.0)
        s.send(1.0, 1, "one", acked=False, lost=True).send(1.0, 2, "two", acked=False, lost=True).cut(3.0)
        s.opened(10.0, ready=False)
        s.frame(10.1, "down", "close", code=code, reason="").end(10.1)
        s.live(20.0, recovered=True)
        s.send(20.1, 1, "two")
        return s

    def test_what_was_written_may_be_given_up_and_the_rest_renumbered(self) -> None:
        s = self.dropped(1009)
        assert outcomes(s.record(40)) == {}

    def test_but_not_at_another_code(self) -> None:
        assert set(outcomes(self.dropped(1012).record(40))) == {"REPLAY-02", "REPLAY-03"}


class TestBegunInTheMiddle:
    """Records whose beginning was forgotten: their first connection goes on with a session."""

    def test_the_sequence_that_a_resume_began_with_had_reached_the_client_before(self) -> None:
        s = Chat()
        s.live(0.0, recovered=True, seq=57, presented={"session": "s", "seq": 57})
        s.cut(3.0)
        s.live(10.0, recovered=True, seq=58, presented={"session": "s", "seq": 57})
        s.frame(10.1, "down", "message", seq=58, topic="news", digest="d")
        assert verdict("REPLAY-04", s.record(20)).outcome is PASS

    def test_and_no_more_than_that(self) -> None:
        s = Chat()
        s.live(0.0, recovered=True, seq=57, presented={"session": "s", "seq": 57})
        s.cut(3.0)
        s.live(10.0, recovered=True, seq=58, presented={"session": "s", "seq": 58})
        assert "the client claims sequence 58; 57 is the last" in verdict("REPLAY-04", s.record(20)).seen


class TestSubscriptions:
    """REPLAY-07"""

    def subscribed(self, *topics: str, recovered: bool = False) -> Chat:
        s = Chat()
        s.live(0.0)
        self.subscribe(s, 1.0, *(topics or ("news",)))
        s.cut(3.0)
        s.live(10.0, recovered=recovered)
        return s

    def subscribe(self, s: Chat, at: float, *topics: str, ok: bool = True, acked: bool = True) -> None:
        for number, topic in enumerate(topics, 1):
            s.frame(at, "up", "subscribe", id=number, topic=topic)
            if acked:
                s.frame(at + 0.01, "down", "ack", id=number, ok=ok)

    def test_restored(self) -> None:
        s = self.subscribed("news", "weather")
        self.subscribe(s, 10.02, "news", "weather")
        found = verdict("REPLAY-07", s.record(20))
        assert found.outcome is PASS
        assert found.measured["topics"] == 2

    def test_forgotten(self) -> None:
        s = self.subscribed("news", "weather")
        self.subscribe(s, 10.02, "news")
        assert "'weather' was not subscribed to again" in verdict("REPLAY-07", s.record(20)).seen
        assert verdict("REPLAY-07", s.record(10.3)).outcome is INCONCLUSIVE

    def test_twice(self) -> None:
        s = self.subscribed()
        self.subscribe(s, 10.02, "news", "news")
        assert "subscribed to 2 times" in verdict("REPLAY-07", s.record(20)).seen

    def test_recovered(self) -> None:
        s = self.subscribed(recovered=True)
        assert verdict("REPLAY-07", s.record(20)).outcome is PASS
        self.subscribe(s, 10.02, "news")
        assert "though the session was recovered" in verdict("REPLAY-07", s.record(20)).seen

    def test_unconfirmed_is_asked_for_again(self) -> None:
        s = Chat()
        s.live(0.0)
        self.subscribe(s, 1.0, "news", acked=False)
        s.cut(3.0)
        s.live(10.0, recovered=True)
        self.subscribe(s, 10.02, "news")
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE

    def test_unconfirmed_and_handed_back_by_a_close_is_asked_for_by_nobody(self) -> None:
        s = Chat()
        s.live(0.0)
        self.subscribe(s, 1.0, "news", acked=False)
        s.app(2.0, "close").cut(2.0)
        s.app(9.0, "reconnect")
        s.live(10.0)
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE

    def test_asked_for_twice_by_the_application_and_sent_again_unconfirmed(self) -> None:
        s = Chat()
        s.live(0.0)
        self.subscribe(s, 1.0, "news")
        s.frame(2.0, "up", "subscribe", id=2, topic="news", lost=True)
        s.cut(3.0)
        s.live(10.0, recovered=True, last_id=1)
        s.frame(10.02, "up", "subscribe", id=2, topic="news")
        s.frame(10.03, "down", "ack", id=2, ok=True)
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE

    def test_refused_or_given_up(self) -> None:
        s = Chat()
        s.live(0.0)
        self.subscribe(s, 1.0, "secret", ok=False)
        self.subscribe(s, 2.0, "news")
        s.frame(2.1, "up", "unsubscribe", id=3, topic="news")
        s.cut(3.0)
        s.live(10.0)
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE

    def test_given_up_and_wanted_again(self) -> None:
        s = self.subscribed()
        self.subscribe(s, 10.02, "news")
        s.frame(10.1, "up", "unsubscribe", id=2, topic="news")
        s.frame(10.11, "up", "subscribe", id=3, topic="news")
        assert verdict("REPLAY-07", s.record(20)).outcome is PASS

    @pytest.mark.parametrize(("at", "outcome"), [(10.4, PASS), (10.7, FAIL), (80.0, FAIL)])
    def test_restored_in_time(self, at: float, outcome: Outcome) -> None:
        s = self.subscribed()
        self.subscribe(s, at, "news")
        assert verdict("REPLAY-07", s.record(100)).outcome is outcome

    def test_what_was_queued_before_takes_its_time(self) -> None:
        def after(messages: int) -> Outcome:
            s = Chat()
            s.live(0.0)
            self.subscribe(s, 1.0, "news")
            s.cut(3.0)
            s.live(10.0, rate=10, burst=5)
            for number in range(messages):
                s.send(10.02 + number / 10, 10 + number, f"message {number}")
            self.subscribe(s, 13.0, "news")
            return verdict("REPLAY-07", s.record(100)).outcome

        assert after(29) is PASS
        assert after(2) is FAIL

    def test_one_after_the_other(self) -> None:
        topics = ("one", "two", "three", "four")
        s = self.subscribed(*topics)
        for number, topic in enumerate(topics):
            s.frame(10.3 + 0.4 * number, "up", "subscribe", id=10 + number, topic=topic)
        assert verdict("REPLAY-07", s.record(20)).outcome is PASS

    def test_late_on_a_disturbed_link(self) -> None:
        s = self.subscribed().fault(10.1, "latency", until=12.0, latency=1.0)
        assert isinstance(s, Chat)
        self.subscribe(s, 11.5, "news")
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("at", [10.1, 10.3, 60.0])
    def test_twice_on_one_link(self, at: float) -> None:
        s = self.subscribed("news", "weather")
        self.subscribe(s, 10.02, "news", "weather")
        s.frame(at, "up", "subscribe", id=3, topic="news")
        found = verdict("REPLAY-07", s.record(100))
        assert found.outcome is INCONCLUSIVE  # the application may have asked a second time
        assert "wschaos.report({'event': 'subscribe', 'topic': 'news'})" in found.seen
        s.app(0.9, "subscribe", topic="news")
        assert verdict("REPLAY-07", s.record(100)).outcome is FAIL
        s.app(at - 0.001, "subscribe", topic="news")
        assert verdict("REPLAY-07", s.record(100)).outcome is PASS

    def test_sent_again_with_its_id_is_one(self) -> None:
        s = self.subscribed()
        s.frame(10.02, "up", "subscribe", id=1, topic="news")
        s.frame(10.2, "up", "subscribe", id=1, topic="news")
        assert verdict("REPLAY-07", s.record(20)).outcome is PASS

    def test_refused_and_tried_again_is_not_twice(self) -> None:
        s = self.subscribed()
        s.app(0.9, "subscribe", topic="news")
        self.subscribe(s, 10.02, "news", ok=False)
        s.frame(10.05, "up", "subscribe", id=2, topic="news")
        s.frame(10.06, "down", "ack", id=2, ok=True)
        assert verdict("REPLAY-07", s.record(20)).outcome is PASS

    @pytest.mark.parametrize("asked", [True, False])
    def test_one_of_several_again_though_recovered(self, asked: bool) -> None:
        s = self.subscribed("news", "weather", recovered=True)
        s.frame(10.03, "up", "subscribe", id=3, topic="weather")
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE
        s.app(0.9, "subscribe", topic="weather")
        if asked:
            s.app(10.02, "subscribe", topic="weather")
        assert verdict("REPLAY-07", s.record(20)).outcome is (PASS if asked else FAIL)

    def test_several_again_though_recovered(self) -> None:
        s = self.subscribed("news", "weather", "sports", recovered=True)
        s.frame(10.03, "up", "subscribe", id=4, topic="news")
        s.frame(10.03, "up", "subscribe", id=5, topic="weather")
        assert verdict("REPLAY-07", s.record(20)).outcome is FAIL

    def test_given_up_and_wanted_again_unconfirmed(self) -> None:
        s = Chat()
        s.live(0.0)
        self.subscribe(s, 1.0, "news", "weather")
        s.app(0.9, "subscribe", topic="news").app(1.9, "unsubscribe", topic="news").app(2.8, "subscribe", topic="news")
        s.frame(2.0, "up", "unsubscribe", id=3, topic="news").frame(2.01, "down", "ack", id=3, ok=True)
        s.frame(2.9, "up", "subscribe", id=4, topic="news", lost=True)
        s.event(3.0, "cut", "proxy", conn=1, fault="abort", how="reset").end(3.0, how="reset")
        s.live(10.0, recovered=True, last_id=3)
        assert "not subscribed to again in the recovered session" in verdict("REPLAY-07", s.record(20)).seen
        s.frame(10.02, "up", "subscribe", id=4, topic="news")
        assert verdict("REPLAY-07", s.record(20)).outcome is PASS

    def test_given_up_while_down(self) -> None:
        s = self.subscribed("news", "weather")
        self.subscribe(s, 10.02, "news")
        found = verdict("REPLAY-07", s.record(20))
        assert found.outcome is FAIL
        assert "wschaos.report({'event': 'unsubscribe', 'topic': 'weather'})" in found.seen
        s.app(5.0, "unsubscribe", topic="weather")
        found = verdict("REPLAY-07", s.record(20))
        assert (found.outcome, found.measured) == (PASS, {"topics": 1})
        s.app(6.0, "subscribe", topic="weather")
        assert verdict("REPLAY-07", s.record(20)).outcome is FAIL

    def test_all_given_up_while_down(self) -> None:
        s = self.subscribed()
        s.app(5.0, "unsubscribe", topic="news")
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(("last_id", "outcome"), [(1, FAIL), (2, PASS), (None, INCONCLUSIVE)])
    def test_unconfirmed_and_never_asked_for_again(self, last_id: int | None, outcome: Outcome) -> None:
        s = Chat()
        s.live(0.0)
        self.subscribe(s, 1.0, "news")
        s.frame(2.99, "up", "subscribe", id=2, topic="weather", lost=True)
        s.cut(3.0)
        s.live(10.0, recovered=True, last_id=last_id)
        assert verdict("REPLAY-07", s.record(20)).outcome is outcome
        s.frame(10.02, "up", "subscribe", id=2, topic="weather")
        assert verdict("REPLAY-07", s.record(20)).outcome is PASS

    def test_a_fresh_session_that_broke_before_and_then_went_on(self) -> None:
        s = self.subscribed().cut(10.1)
        s.live(20.0, recovered=True)
        found = verdict("REPLAY-07", s.record(30))
        assert found.outcome is FAIL
        assert "not subscribed to again in the recovered session, which did not have it" in found.seen

    def test_the_restoring_request_was_lost(self) -> None:
        s = self.subscribed()
        s.frame(10.02, "up", "subscribe", id=1, topic="news", lost=True)
        assert verdict("REPLAY-07", s.record(20)).outcome is INCONCLUSIVE


class TestAfresh:
    """REPLAY-08"""

    def gone(self, code: int, *, session: str | None, again: bool = True) -> Script:
        s = Chat()
        s.live(0.0, session="s1")
        s.frame(3.0, "down", "close", code=code, reason="")
        s.end(3.0)
        if again:
            s.refused(4.0)
            s.live(5.0, presented={"session": session})
        return s

    @pytest.mark.parametrize(("session", "outcome"), [(None, PASS), ("s1", FAIL)])
    def test_after_4410(self, session: str | None, outcome: Outcome) -> None:
        assert verdict("REPLAY-08", self.gone(4410, session=session).record(20)).outcome is outcome

    def test_after_another_code(self) -> None:
        assert verdict("REPLAY-08", self.gone(1011, session="s1").record(20)).outcome is INCONCLUSIVE

    def test_nothing_followed(self) -> None:
        assert verdict("REPLAY-08", self.gone(4410, session=None, again=False).record(20)).outcome is INCONCLUSIVE

    def test_a_client_without_sessions(self) -> None:
        s = Chat()
        s.live(0.0)
        s.frame(3.0, "down", "close", code=4410, reason="")
        s.live(5.0)
        assert verdict("REPLAY-08", s.record(20)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(("epoch", "outcome"), [("e2", PASS), ("e1", FAIL)])
    def test_after_a_resume_that_recovered_nothing(self, epoch: str, outcome: Outcome) -> None:
        s = Chat()
        s.live(0.0, session="s1", epoch="e1")
        s.cut(3.0)
        s.live(5.0, presented={"session": "s1", "epoch": "e1"}, recovered=False, session="s1", epoch="e2")
        s.cut(8.0)
        s.live(9.0, presented={"session": "s1", "epoch": epoch}, recovered=False, session="s1", epoch="e2")
        assert verdict("REPLAY-08", s.record(20)).outcome is outcome

    def test_a_welcome_that_comes_after_the_clients_own_close_is_not_read(self) -> None:
        s = Chat()
        s.live(0.0, session="s1", epoch="e1")
        s.cut(3.0)
        s.opened(5.0, ready=False)
        s.frame(5.0, "up", "credentials", session="s1", epoch="e1")
        s.frame(5.5, "up", "close", code=1000, reason="")
        s.frame(6.0, "down", "welcome", recovered=False, session="s1", epoch="e2").event(6.0, "ready")
        s.end(7.0, by="peer")
        s.live(9.0, presented={"session": "s1", "epoch": "e1"}, recovered=False, session="s1", epoch="e3")
        assert verdict("REPLAY-08", s.record(20)).outcome is INCONCLUSIVE


class TestRejected:
    """REPLAY-09"""

    def rejected(self) -> Chat:
        s = Chat()
        s.live(0.0)
        s.ask(1.0, "poison", "r1").send(1.0, 1, "poison", acked=False)
        s.frame(1.01, "down", "ack", id=1, ok=False, error="forbidden")
        s.app(1.02, "settled", ref="r1", ok=False, error="forbidden")
        return s

    def test_dropped(self) -> None:
        s = self.rejected().cut(3.0)
        s.live(10.0, recovered=True, last_id=1)
        assert verdict("REPLAY-09", s.record(20)).outcome is PASS
        assert verdict("REPLAY-09", s.record(1.15)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(("id", "recovered"), [(1, True), (2, True), (1, False)])
    def test_sent_again(self, id: int, recovered: bool) -> None:
        s = self.rejected().cut(3.0)
        s.live(10.0, recovered=recovered, last_id=0)
        s.send(10.02, id, "poison", acked=False)
        found = verdict("REPLAY-09", s.record(20))
        assert found.outcome is FAIL
        assert "id 1 was rejected (forbidden) on connection 1, and sent again" in found.seen

    def test_asked_for_again(self) -> None:
        s = self.rejected().ask(5.0, "poison").send(5.0, 2, "poison")
        assert verdict("REPLAY-09", s.record(20)).outcome is NON_STRICT

    @pytest.mark.parametrize("settled", [True, None])
    def test_not_surfaced(self, settled: bool | None) -> None:
        s = self.rejected()
        s.events.pop()
        s.app(1.02, "settled", ref="r1" if settled else "other", ok=True, error=None)
        assert verdict("REPLAY-09", s.record(20)).outcome is FAIL

    def test_a_client_that_does_not_report(self) -> None:
        s = self.rejected()
        s.events.pop()
        assert verdict("REPLAY-09", s.record(20)).outcome is NON_STRICT
