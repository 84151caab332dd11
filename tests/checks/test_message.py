"""MESSAGE, judged on records written by hand."""

from __future__ import annotations

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record, digest

from .script import Script
from .test_replay import Chat

PASS, FAIL, INCONCLUSIVE, UNSUPPORTED = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED
MAX = Profile().message.max_size
CHUNK = Profile().message.chunk
RULES = [f"MESSAGE-0{number}" for number in range(1, 5)]


def verdict(rule: str, record: Record) -> Verdict:
    return judge(record, Profile(), rule)[0]


@pytest.mark.parametrize("rule", RULES)
def test_nothing_happened(rule: str) -> None:
    assert verdict(rule, Chat().record(10)).outcome is INCONCLUSIVE
    assert verdict(rule, Script().record(10)).outcome is UNSUPPORTED


class TestKinds:
    """MESSAGE-01."""

    def up(self, *, asked: bool, sent: bool) -> Chat:
        s = Chat()
        s.live(0)
        s.app(1, "send", ref="1", digest=digest("a"), size=100, **({"binary": True} if asked else {}))
        return s.send(1, 1, "a", **({"binary": True} if sent else {}))

    @pytest.mark.parametrize("blob", [False, True])
    def test_as_it_was_asked(self, blob: bool) -> None:
        assert verdict("MESSAGE-01", self.up(asked=blob, sent=blob).record(10)).outcome is PASS

    @pytest.mark.parametrize(
        ("blob", "words"), [(True, "a blob was sent as a text"), (False, "JSON was sent as a binary")]
    )
    def test_guessed(self, blob: bool, words: str) -> None:
        found = verdict("MESSAGE-01", self.up(asked=blob, sent=not blob).record(10))
        assert found.outcome is FAIL
        assert words in found.seen

    def test_a_blob_that_was_acknowledged_and_never_seen(self) -> None:
        s = Chat()
        s.live(0)
        s.app(1, "send", ref="1", digest=digest(b"a"), size=100, binary=True)
        s.send(1, 1, "a").app(1.1, "settled", ref="1", ok=True)
        assert verdict("MESSAGE-01", s.record(10)).outcome is FAIL

    def test_told_as_it_came(self) -> None:
        s = Chat()
        s.live(0)
        s.publish(1, 1, '{"a": 1}', told=True)
        assert verdict("MESSAGE-01", s.record(10)).outcome is PASS

    def test_told_as_something_else(self) -> None:
        s = Chat()
        s.live(0)
        s.publish(1, 1, '{"a": 1}').app(1.1, "message", topic="news", digest=digest({"a": 1, "b": 2}))
        assert verdict("MESSAGE-01", s.record(10)).outcome is FAIL

    def test_what_was_lost_is_another_rules_affair(self) -> None:
        s = Chat()
        s.live(0)
        s.publish(1, 1, "a", told=True).publish(2, 2, "b")
        assert verdict("MESSAGE-01", s.record(10)).outcome is INCONCLUSIVE


class TestOrder:
    """MESSAGE-02."""

    @pytest.mark.parametrize(("order", "outcome"), [("ab", PASS), ("ba", FAIL)])
    def test_up(self, order: str, outcome: Outcome) -> None:
        s = Chat()
        s.live(0)
        s.ask(1, "a", "1").ask(1.1, "b", "2")
        for number, data in enumerate(order, 1):
            s.send(2 + number / 10, number, data)
        assert verdict("MESSAGE-02", s.record(10)).outcome is outcome

    @pytest.mark.parametrize(("order", "outcome"), [("ab", PASS), ("ba", FAIL)])
    def test_down(self, order: str, outcome: Outcome) -> None:
        s = Chat()
        s.live(0)
        s.publish(1, 1, "a").publish(1.1, 2, "b")
        for number, data in enumerate(order, 1):
            s.app(2 + number / 10, "message", topic="news", digest=digest(data))
        assert verdict("MESSAGE-02", s.record(10)).outcome is outcome

    def test_alike_messages_tell_no_order(self) -> None:
        s = Chat()
        s.live(0)
        s.ask(1, "a", "1").ask(1.1, "a", "2").ask(1.2, "b", "3")
        s.send(2, 1, "b").send(2.1, 2, "a").send(2.2, 3, "a")
        assert verdict("MESSAGE-02", s.record(10)).outcome is INCONCLUSIVE


class TestSize:
    """MESSAGE-03."""

    def test_whole(self) -> None:
        s = Chat()
        s.live(0)
        s.app(1, "send", ref="1", digest=digest("a"), size=CHUNK * 2).send(1, 1, "a")
        assert verdict("MESSAGE-03", s.record(10)).outcome is PASS

    def test_told_whole(self) -> None:
        s = Chat()
        s.live(0)
        s.frame(1, "down", "message", seq=1, digest=digest("a"), size=CHUNK * 2)
        s.app(1.1, "message", topic="news", digest=digest("a"))
        assert verdict("MESSAGE-03", s.record(10)).outcome is PASS

    def too_big(self, *, ok: bool | None) -> Chat:
        s = Chat()
        s.live(0)
        s.app(0.01, "ready").app(1, "send", ref="1", digest=digest("a"), size=MAX + 1)
        return s if ok is None else s.app(1.1, "settled", ref="1", ok=ok, error="")  # type: ignore[return-value]

    def test_refused_by_itself(self) -> None:
        assert verdict("MESSAGE-03", self.too_big(ok=False).record(10)).outcome is PASS

    @pytest.mark.parametrize("ok", [True, None])
    def test_not_refused(self, ok: bool | None) -> None:
        assert verdict("MESSAGE-03", self.too_big(ok=ok).record(10)).outcome is FAIL

    def test_it_may_yet_be_refused(self) -> None:
        assert verdict("MESSAGE-03", self.too_big(ok=None).record(1.1)).outcome is INCONCLUSIVE

    def test_sent_all_the_same(self) -> None:
        s = self.too_big(ok=False)
        s.send(2, 1, "a", size=MAX + 100)
        found = verdict("MESSAGE-03", s.record(10))
        assert found.outcome is FAIL
        assert f"the limit is {MAX}" in found.seen

    def test_refused_by_the_server(self) -> None:
        s = self.too_big(ok=False)
        s.frame(2, "down", "close", code=1009, reason="too big").end(2)
        found = verdict("MESSAGE-03", s.record(10))
        assert found.outcome is FAIL
        assert "closed 1009" in found.seen

    @pytest.mark.parametrize(("code", "outcome"), [(1009, PASS), (1002, FAIL), (None, FAIL)])
    def test_too_big_a_message_comes(self, code: int | None, outcome: Outcome) -> None:
        s = Chat()
        s.live(0)
        s.frame(1, "down", "text", size=MAX + 1)
        if code is not None:
            s.frame(1.1, "up", "close", code=code, reason="")
        assert verdict("MESSAGE-03", s.record(10)).outcome is outcome

    def test_it_ends_without_a_close(self) -> None:
        s = Chat()
        s.live(0)
        s.frame(1, "down", "text", size=MAX + 1)
        s.end(1.1, by="peer")
        found = verdict("MESSAGE-03", s.record(10))
        assert found.outcome is FAIL
        assert "without a Close" in found.seen


class TestChunks:
    """MESSAGE-04."""

    def blob(self, *sizes: int) -> Chat:
        """Frames of a blob, a second apart."""
        s = Chat()
        s.live(0)
        for number, size in enumerate(sizes, 1):
            s.frame(number, "up", "message" if number == len(sizes) else "binary", size=size, binary=True, digest="d")
        return s

    def test_in_chunks(self) -> None:
        found = verdict("MESSAGE-04", self.blob(CHUNK + 50, CHUNK + 50, 10).ping(1.5).record(30))
        assert found.outcome is PASS
        assert found.measured["pings"] == 1

    def test_too_large(self) -> None:
        found = verdict("MESSAGE-04", self.blob(CHUNK * 3).record(30))
        assert found.outcome is FAIL
        assert f"expected chunks of {CHUNK}" in found.seen

    def test_one_chunk_says_nothing(self) -> None:
        assert verdict("MESSAGE-04", self.blob(CHUNK).record(30)).outcome is INCONCLUSIVE

    def test_a_ping_that_is_not_answered(self) -> None:
        assert verdict("MESSAGE-04", self.blob(CHUNK, 10).ping(1.5, answered=None).record(30)).outcome is FAIL

    def test_the_harness_was_late(self) -> None:
        s = self.blob(CHUNK, 10)
        s.ping(1.5, answered=12).lag(3, 2)
        assert verdict("MESSAGE-04", s.record(30)).outcome is INCONCLUSIVE
