"""STATE, judged on records written by hand."""

from __future__ import annotations

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record, digest

from .script import Script
from .test_replay import Chat

PASS, FAIL, INCONCLUSIVE, UNSUPPORTED = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED


def verdict(rule: str, record: Record, profile: Profile | None = None) -> Verdict:
    return judge(record, profile or Profile(), rule)[0]


class TestReadyState:
    """STATE-01."""

    def life(self, *answers: tuple[float, object]) -> Script:
        """Connecting at 0, ready at 1, broken and waiting at 10, ready at 12, close() at 20, closed at 22."""
        s = Script()
        s.app(0, "connecting").live(0.99)
        s.app(1, "ready", recovered=False)
        s.end(10).app(10.001, "closed", code=1006).app(10.002, "waiting", attempt=1, delay=2)
        s.app(11.9, "connecting").live(11.99)
        s.app(12, "ready", recovered=True)
        s.app(20, "close").app(22, "closed", code=1000)
        for at, value in answers:
            s.app(at, "state", value=value)
        return s

    def test_nobody_asked(self) -> None:
        assert verdict("STATE-01", self.life().record(30)).outcome is INCONCLUSIVE

    def test_right_in_every_state(self) -> None:
        found = verdict("STATE-01", self.life((0.5, 0), (2, 1), (11, 0), (21, 2), (23, 3)).record(30))
        assert found.outcome is PASS
        assert "0 CONNECTING, 1 OPEN, 2 CLOSING, 3 CLOSED" in found.seen

    @pytest.mark.parametrize(
        ("at", "value", "expected"),
        [
            (0.5, 1, "after connecting, the ready state was 1 (OPEN); expected 0 (CONNECTING)"),
            (2, 0, "after ready, the ready state was 0 (CONNECTING); expected 1 (OPEN)"),
            (11, 3, "after waiting, the ready state was 3 (CLOSED); expected 0 (CONNECTING)"),
            (21, 1, "after close(), the ready state was 1 (OPEN); expected 2 (CLOSING) or 3 (CLOSED)"),
            (23, 2, "after it was closed on purpose, the ready state was 2 (CLOSING); expected 3 (CLOSED)"),
            (2, 4, "the ready state was 4; expected 0 to 3"),
            (2, "open", "the ready state was 'open'; expected 0 to 3"),
        ],
    )
    def test_wrong(self, at: float, value: object, expected: str) -> None:
        found = verdict("STATE-01", self.life((at, value)).record(30))
        assert (found.outcome, found.seen, found.at) == (FAIL, expected, at)

    def test_a_link_that_has_just_broken_may_be_known_to_be(self) -> None:
        assert verdict("STATE-01", self.life((10.0005, 0)).record(30)).outcome is PASS

    def test_a_connection_that_is_ready_and_was_not_told_of_is_open(self) -> None:
        s = Script()
        s.app(0, "connecting").live(0.99)
        s.app(2, "state", value=1)
        assert verdict("STATE-01", s.record(5)).outcome is PASS

    def test_after_it_gave_up(self) -> None:
        s = Script()
        s.app(0, "connecting").app(1, "closed", code=None).app(1, "gave_up", error="no", undelivered=[])
        s.app(2, "close").app(3, "state", value=2)
        assert verdict("STATE-01", s.record(5)).outcome is FAIL

    @pytest.mark.parametrize("value", [0, 1, 2, 3])
    def test_what_is_under_way_is_not_judged(self, value: int) -> None:
        s = self.life()
        s.app(15, "reconnect").app(15.1, "state", value=value)
        s.app(10.0015, "state", value=value)
        assert verdict("STATE-01", s.record(30)).outcome is INCONCLUSIVE


class TestNothingVanishes:
    """STATE-02."""

    def test_without_a_word_of_what_was_asked(self) -> None:
        s = Chat()
        s.live(0)
        assert verdict("STATE-02", s.record(10)).outcome is UNSUPPORTED

    def test_sent_refused_and_handed_back(self) -> None:
        s = Chat()
        s.live(0)
        s.ask(1, "a", "1").send(1, 1, "a")
        s.ask(2, "b", "2").app(2, "settled", ref="2", ok=False, error="full")
        s.ask(3, "c", "3").app(3.1, "settled", ref="3", ok=True)
        s.ask(4, "d", "4").app(5, "gave_up", error="no", undelivered=["4"])
        found = verdict("STATE-02", s.record(10))
        assert found.outcome is PASS
        assert found.seen == "4 sends, and none has vanished: 2 sent, 1 refused, 1 handed back"

    def test_neither_sent_nor_refused(self) -> None:
        s = Chat()
        s.live(0)
        s.app(0.01, "ready")
        s.cut(5)
        s.ask(6, "a", "1")
        s.live(8, recovered=True)
        found = verdict("STATE-02", s.record(20))
        assert found.outcome is FAIL
        assert "the client was ready, and did not send it" in found.seen

    def test_of_a_client_that_does_not_report_a_refusal_is_not_seen(self) -> None:
        s = Chat()
        s.live(0)
        s.cut(5)
        s.ask(6, "a", "1")
        s.live(8, recovered=True)
        assert verdict("STATE-02", s.record(20)).outcome is INCONCLUSIVE

    def test_it_may_still_be_queued(self) -> None:
        s = Chat()
        s.live(0)
        s.app(0.01, "ready")
        s.cut(5)
        s.ask(6, "a", "1")
        assert verdict("STATE-02", s.record(20)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("how", ["close", "gave_up"])
    def test_too_late(self, how: str) -> None:
        s = Chat()
        s.live(0)
        s.app(0.01, "ready").app(5, how)
        s.end(5, by="peer")
        s.ask(6, "a", "1")
        found = verdict("STATE-02", s.record(20))
        assert found.outcome is FAIL
        assert "the client was closed already" in found.seen

    def test_after_a_restart_it_is_not_too_late(self) -> None:
        s = Chat()
        s.live(0)
        s.app(0.01, "ready").app(5, "gave_up", error="no", undelivered=[])
        s.end(5, by="peer")
        s.app(5.5, "reconnect")
        s.ask(6, "a", "1")
        assert verdict("STATE-02", s.record(6.2)).outcome is INCONCLUSIVE


class TestWhileConnecting:
    """STATE-03."""

    def early(self, *, sent: tuple[str, ...] = ("a", "b", "c")) -> Chat:
        """Two sends while an attempt is under way, one after its ready."""
        s = Chat()
        s.ask(0.003, "a", "1").ask(0.004, "b", "2")
        s.live(0)
        s.ask(1, "c", "3")
        for number, data in enumerate(sent, 1):
            s.send(1 + number / 100, number, data)
        return s

    def test_in_order(self) -> None:
        found = verdict("STATE-03", self.early().record(10))
        assert found.outcome is PASS
        assert found.seen == "2 messages sent while connecting were delivered after ready, in order"

    def test_overtaken(self) -> None:
        found = verdict("STATE-03", self.early(sent=("c", "a", "b")).record(10))
        assert found.outcome is FAIL
        assert "a message sent while connecting" in found.seen

    def test_lost(self) -> None:
        assert verdict("STATE-03", self.early(sent=("b", "c")).record(10)).outcome is FAIL

    def test_nothing_was_sent_early(self) -> None:
        s = Chat()
        s.live(0)
        s.ask(1, "a", "1").send(1, 1, "a")
        assert verdict("STATE-03", s.record(10)).outcome is INCONCLUSIVE
        assert verdict("STATE-03", Chat().record(10)).outcome is UNSUPPORTED


class TestBufferedAmount:
    """STATE-04."""

    SMALL = Profile().with_(state={"high_water": 64_000, "low_water": 16_000}, replay={"queue_bytes": 64_000})

    def down(self, value: object) -> Chat:
        """Three messages of 10 000 bytes wait for a link."""
        s = Chat()
        s.live(0)
        s.cut(5)
        for number in range(3):
            s.app(6, "send", ref=f"{number}", digest=digest(number), size=10_000)
        s.app(7, "buffered", bytes=value)
        return s

    def written(self, value: int, *, size: int = 10_000) -> Chat:
        """Three messages are written, and not acknowledged."""
        s = Chat()
        s.live(0)
        for number in range(3):
            s.app(1, "send", ref=f"{number}", digest=digest(number), size=size)
            s.frame(1.1, "up", "message", id=number + 1, topic="news", digest=digest(number))
        s.app(2, "buffered", bytes=value)
        return s

    def test_what_is_queued_while_down_counts(self) -> None:
        assert verdict("STATE-04", self.down(30_200).record(10)).outcome is PASS
        found = verdict("STATE-04", self.down(0).record(10))
        assert found.outcome is FAIL
        assert "0 bytes were told as buffered while the client was down and 3 messages of 30000 bytes" in found.seen

    def test_what_had_settled_does_not_count(self) -> None:
        s = self.down(0)
        for number in range(3):
            s.app(6.5, "settled", ref=f"{number}", ok=False, error="full")
        assert verdict("STATE-04", s.record(10)).outcome is INCONCLUSIVE

    def test_what_is_written_does_not_count(self) -> None:
        assert verdict("STATE-04", self.written(0).record(10)).outcome is PASS
        found = verdict("STATE-04", self.written(30_000).record(10))
        assert found.outcome is FAIL
        assert "3 messages of 30000 bytes were with the network, unacknowledged" in found.seen

    def test_of_little_nothing_can_be_said(self) -> None:
        assert verdict("STATE-04", self.written(0, size=100).record(10)).outcome is INCONCLUSIVE

    def test_above_the_high_mark(self) -> None:
        assert verdict("STATE-04", self.written(70_000).record(10), self.SMALL).outcome is FAIL
        s = Chat()
        s.live(0)
        s.app(1, "send", ref="1", digest=digest(1), size=60_000)
        s.app(2, "buffered", bytes=60_000)
        assert verdict("STATE-04", s.record(10), self.SMALL).outcome is PASS
        assert verdict("STATE-04", self.down(200_000).record(10), self.SMALL).outcome is FAIL

    def test_no_number(self) -> None:
        assert verdict("STATE-04", self.down("much").record(10)).outcome is FAIL

    def test_how_much_of_a_blob_waits_is_not_seen(self) -> None:
        s = self.down(0)
        s.app(6, "send", ref="blob", digest=digest(b"blob"), size=10_000, binary=True)
        assert verdict("STATE-04", s.record(10)).outcome is INCONCLUSIVE

    def test_what_was_written_on_an_earlier_link_may_be_queued_again(self) -> None:
        s = self.written(0)
        s.cut(3)
        s.live(4, recovered=True)
        s.app(5, "buffered", bytes=30_000)
        assert verdict("STATE-04", s.record(10)).outcome is PASS  # of the first answer

    def test_nobody_asked(self) -> None:
        assert verdict("STATE-04", Chat().record(10)).outcome is INCONCLUSIVE
