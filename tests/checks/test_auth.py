"""AUTH, judged on records written by hand. Authentication within 5 s, ceiling of the backoff 45 s."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Outcome, Verdict
from pytest_wschaos.profile import Profile
from pytest_wschaos.timeline import Record, fingerprint

from .script import Script

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
NON_STRICT, UNSUPPORTED = Outcome.NON_STRICT, Outcome.UNSUPPORTED
TELLS = ("credentials", "welcome", "message")
RULES = [f"AUTH-0{n}" for n in range(1, 9)]


def script(tells: tuple[str, ...] = TELLS) -> Script:
    return Script(tells=tells)


def verdict(rule: str, record: Record, mode: str = "first_message") -> Verdict:
    return judge(record, Profile().with_(auth={"mode": mode}), rule)[0]


def outcomes(record: Record) -> set[str]:
    """The rules that failed."""
    return {v.rule for v in judge(record, Profile(), "AUTH-*") if v.outcome is FAIL}


def opened(s: Script, at: float, **handshake: Any) -> None:
    """A connection that is opened, its upgrade request on record with a token."""
    s.attempt(at)
    for place in ("client", "server"):
        s.event(at, "handshake", place, way="up", path="/ws", **handshake)  # type: ignore[arg-type]
        s.event(at, "response", place, way="down", status=101)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES)
def test_nothing_happened(rule: str) -> None:
    found = verdict(rule, script().record(100))
    assert found.outcome is INCONCLUSIVE
    assert found.seen.startswith("not provoked: ")


@pytest.mark.parametrize("rule", RULES)
def test_a_profile_without_authentication(rule: str) -> None:
    assert verdict(rule, script().record(100), mode="none").outcome is UNSUPPORTED


@pytest.mark.parametrize("rule", RULES[:3])
def test_without_a_dialect(rule: str) -> None:
    assert "wschaos_dialect" in verdict(rule, Script().record(100)).seen
    assert verdict(rule, Script().record(100), mode="query").outcome is INCONCLUSIVE


class TestMode:
    """AUTH-01"""

    def test_first_message(self) -> None:
        s = script()
        s.live(0.0)
        assert verdict("AUTH-01", s.record(9)).outcome is PASS
        found = verdict("AUTH-01", s.record(9), mode="header")
        assert found.outcome is FAIL
        assert "presented its token by first_message; expected header" in found.seen

    @pytest.mark.parametrize("mode", ["query", "header", "cookie"])
    def test_at_the_handshake(self, mode: str) -> None:
        s = Script()
        opened(s, 0.0, mode=mode, fingerprint="f1")
        s.event(0.0, "ready")
        assert verdict("AUTH-01", s.record(9), mode=mode).outcome is PASS

    def test_twice(self) -> None:
        s = script()
        opened(s, 0.0, mode="query", fingerprint="f1")
        s.frame(0.1, "up", "credentials", mode="first_message", fingerprint="f1")
        found = verdict("AUTH-01", s.record(9))
        assert found.outcome is FAIL
        assert "by query as well as by first_message" in found.seen

    def test_another_secret_is_no_token(self) -> None:
        s = script()
        opened(s, 0.0, mode="query", fingerprint="f0")
        s.frame(0.1, "up", "credentials", mode="first_message", fingerprint="f1")
        assert verdict("AUTH-01", s.record(9)).outcome is PASS

    def test_cut_before_the_first_message(self) -> None:
        s = script()
        opened(s, 0.0, mode="query", fingerprint="f0")
        s.end(0.1)
        assert verdict("AUTH-01", s.record(9)).outcome is INCONCLUSIVE
        assert verdict("AUTH-01", s.record(9), mode="header").outcome is FAIL
        opened(s, 1.0, mode="query", fingerprint="f0")
        s.event(1.1, "ready")
        assert verdict("AUTH-01", s.record(9)).outcome is FAIL

    def test_a_cookie_may_be_anything(self) -> None:
        s = script()
        opened(s, 0.0, mode="cookie", fingerprint="f1")
        assert verdict("AUTH-01", s.record(9)).outcome is INCONCLUSIVE
        s.event(1.0, "ready")
        assert verdict("AUTH-01", s.record(9)).outcome is FAIL


class TestFirst:
    """AUTH-02"""

    def test_in_order(self) -> None:
        s = script()
        s.live(0.0)
        s.frame(0.02, "up", "message", id=1, digest="d")
        assert verdict("AUTH-02", s.record(9)).outcome is PASS

    def test_before_the_credentials(self) -> None:
        s = script()
        opened(s, 0.0)
        s.frame(0.1, "up", "message", id=1, digest="d")
        s.frame(0.2, "up", "credentials", mode="first_message", fingerprint="f1")
        found = verdict("AUTH-02", s.record(9))
        assert found.outcome is FAIL
        assert "its first frame was message" in found.seen
        assert outcomes(s.record(0.3)) == {"AUTH-02"}

    def test_before_the_welcome(self) -> None:
        s = script()
        s.live(0.0)
        s.frame(0.005, "up", "message", id=1, digest="d")
        found = verdict("AUTH-02", s.record(9))
        assert found.outcome is FAIL
        assert "message went out 0.005 s before the welcome" in found.seen

    def test_without_a_welcome(self) -> None:
        s = script()
        opened(s, 0.0)
        s.frame(0.1, "up", "credentials", mode="first_message", fingerprint="f1")
        assert verdict("AUTH-02", s.record(9)).outcome is INCONCLUSIVE
        s.frame(0.2, "up", "text", size=2)
        assert "though no welcome came" in verdict("AUTH-02", s.record(9)).seen

    def test_a_ping_at_frame_level_is_not_the_applications(self) -> None:
        s = script()
        opened(s, 0.0)
        s.ping(0.1)
        s.frame(0.2, "up", "credentials", mode="first_message", fingerprint="f1")
        s.frame(0.3, "down", "welcome", recovered=False)
        assert verdict("AUTH-02", s.record(9)).outcome is PASS
        s.frame(0.25, "up", "ping", key=1, level="app")
        assert verdict("AUTH-02", s.record(9)).outcome is FAIL

    def test_a_protocol_without_a_welcome(self) -> None:
        s = script(("credentials",))
        opened(s, 0.0)
        assert verdict("AUTH-02", s.record(9)).outcome is INCONCLUSIVE
        s.frame(0.1, "up", "credentials", mode="first_message", fingerprint="f1")
        s.frame(0.2, "up", "text", size=2)
        assert verdict("AUTH-02", s.record(9)).outcome is PASS

    def test_at_the_handshake(self) -> None:
        s = script(("welcome",))
        opened(s, 0.0, mode="query", fingerprint="f1")
        s.frame(0.1, "down", "welcome", recovered=False)
        assert verdict("AUTH-02", s.record(9), mode="query").outcome is PASS
        s.frame(0.05, "up", "text", size=2)
        assert verdict("AUTH-02", s.record(9), mode="query").outcome is FAIL


class TestEvery:
    """AUTH-03"""

    def twice(self, second: str, **token: object) -> Script:
        s = script()
        s.live(0.0, presented={"fingerprint": "old"})
        s.end(5.0)
        if token:
            s.token(float(str(token["at"])), "new", replaced="old")
        s.live(6.0, presented={"fingerprint": second})
        return s

    def test_on_each(self) -> None:
        found = verdict("AUTH-03", self.twice("old").record(9))
        assert found.outcome is NON_STRICT
        assert "no token changed meanwhile" in found.seen

    def test_fresh(self) -> None:
        found = verdict("AUTH-03", self.twice("new", at=4.0).record(9))
        assert found.outcome is PASS
        assert found.measured["fresh"] == 1

    def test_stale(self) -> None:
        found = verdict("AUTH-03", self.twice("old", at=4.0).record(9))
        assert found.outcome is FAIL
        assert "connection 2 presented a token that had been replaced 2.000 s before" in found.seen

    def test_changed_just_now(self) -> None:
        for at in (5.0, 5.98):  # it may have been fetched as soon as the connection was lost
            assert verdict("AUTH-03", self.twice("old", at=at).record(9)).outcome is NON_STRICT
        s = self.twice("old", at=5.5)
        s.app(5.9, "connecting")  # unless it says when
        assert verdict("AUTH-03", s.record(9)).outcome is FAIL

    def test_a_token_of_its_own(self) -> None:
        assert verdict("AUTH-03", self.twice("other", at=4.0).record(9)).outcome is PASS
        s = script()
        for at in (0.0, 6.0):
            s.live(at, presented={"fingerprint": "mine"})
            s.end(at + 5.0)
        s.token(4.0, "new", replaced="another's")
        assert verdict("AUTH-03", s.record(20)).outcome is NON_STRICT

    def test_one_connection(self) -> None:
        s = script()
        s.live(0.0)
        assert verdict("AUTH-03", s.record(9)).outcome is INCONCLUSIVE

    def test_none(self) -> None:
        s = self.twice("old")
        opened(s, 7.0)
        found = verdict("AUTH-03", s.record(20))
        assert found.outcome is FAIL
        assert "connection 3 presented no credentials; it was open for 13.000 s" in found.seen
        assert verdict("AUTH-03", s.record(8)).outcome is NON_STRICT

    def test_another_protocol_has_none(self) -> None:
        s = script()
        s.attempt(0.0)
        s.event(0.0, "handshake", path="/echo", way="up", spoken=False)
        s.event(0.0, "response", status=101, way="down")
        s.event(0.0, "ready")
        s.frame(1.0, "up", "text", size=3)
        for rule in ("AUTH-02", "AUTH-03", "AUTH-05"):
            assert verdict(rule, s.record(100)).seen.startswith("not provoked")

    def test_none_until_it_was_closed(self) -> None:
        s = self.twice("old")
        opened(s, 7.0)
        s.frame(10.0, "down", "close", code=4408, reason="")
        assert "it was closed 4408" in verdict("AUTH-03", s.record(20)).seen

    def test_none_but_messages(self) -> None:
        s = self.twice("old")
        opened(s, 7.0)
        s.frame(7.01, "up", "message", id=1, digest="d")
        s.frame(7.02, "down", "close", code=4401, reason="")
        assert verdict("AUTH-03", s.record(20)).outcome is FAIL

    def test_credentials_without_the_token(self) -> None:
        s = self.twice("old")
        opened(s, 7.0)
        s.frame(7.001, "up", "credentials", session="s")
        s.frame(7.002, "down", "close", code=4401, reason="")
        found = verdict("AUTH-03", s.record(20))
        assert found.outcome is FAIL
        assert "without its token" in found.seen

    def test_closed_before_it_could(self) -> None:
        s = self.twice("old")
        opened(s, 7.0)
        s.frame(7.001, "down", "close", code=4401, reason="")
        assert verdict("AUTH-03", s.record(20)).outcome is NON_STRICT

    def test_none_at_the_handshake(self) -> None:
        s = Script()
        opened(s, 0.0, mode="header", fingerprint="f1")
        opened(s, 1.0, mode="header", fingerprint="f1")
        assert verdict("AUTH-03", s.record(2), mode="header").outcome is NON_STRICT
        opened(s, 2.0)
        assert verdict("AUTH-03", s.record(3), mode="header").outcome is FAIL

    @pytest.mark.parametrize("mode", ["query", "header", "cookie"])
    def test_a_token_that_is_not_known_for_one(self, mode: str) -> None:
        s = Script()
        opened(s, 0.0)
        opened(s, 1.0)
        found = verdict("AUTH-03", s.record(20), mode=mode)
        assert found.outcome is UNSUPPORTED
        assert found.seen.startswith(f"no token was found in any handshake ({mode})")


class TestRefreshed:
    """AUTH-04"""

    def refused(self, s: Script, at: float, status: int | None = None, token: str | None = None) -> None:
        if status is not None:
            s.rejected(at, status)
            return
        opened(s, at)
        s.frame(at, "up", "credentials", mode="first_message", fingerprint=token or f"f{len(s.events)}")
        s.frame(at, "down", "close", code=4401, reason="expired")
        s.end(at)

    @pytest.mark.parametrize("status", [None, 401])
    def test_once(self, status: int | None) -> None:
        s = script()
        self.refused(s, 0.0, status)
        s.live(1.0, presented={"fingerprint": "f2"})
        assert verdict("AUTH-04", s.record(100)).outcome is PASS

    def test_the_same_token_again(self) -> None:
        s = script()
        self.refused(s, 0.0, token="f1")
        s.live(1.0)
        found = verdict("AUTH-04", s.record(100))
        assert found.outcome is NON_STRICT
        assert "with the same token" in found.seen

    @pytest.mark.parametrize("between", [False, True])
    @pytest.mark.parametrize(("second", "outcome"), [("f1", NON_STRICT), ("f2", PASS)])
    def test_the_same_token_refused_again(self, second: str, outcome: Outcome, between: bool) -> None:
        s = script()
        s.app(0.0, "connecting")
        self.refused(s, 0.0, token="f1")
        if between:
            s.refused(1.0)
        self.refused(s, 3.0, token=second)
        s.app(3.1, "gave_up", error="unauthorised", undelivered=[])
        assert verdict("AUTH-04", s.record(100)).outcome is outcome

    def test_not_tried_again(self) -> None:
        s = script()
        self.refused(s, 0.0)
        assert verdict("AUTH-04", s.record(100)).outcome is FAIL
        assert verdict("AUTH-04", s.record(40)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("reports", [None, "silent", "without a reason", "late", "told"])
    def test_refused_again(self, reports: str | None) -> None:
        s = script()
        if reports is not None:
            s.app(0.0, "connecting")
        self.refused(s, 0.0)
        self.refused(s, 1.0)
        if reports in ("told", "late"):
            s.app(1.01 if reports == "told" else 60.0, "gave_up", error="unauthorised", undelivered=[])
        elif reports == "without a reason":
            s.app(1.01, "gave_up")
        outcome = {None: NON_STRICT, "told": PASS}.get(reports, FAIL)
        # The first refusal, answered by one more attempt, is a PASS of its own, and the worse of the two counts.
        assert verdict("AUTH-04", s.record(100)).outcome is outcome

    def test_a_third_time(self) -> None:
        s = script()
        self.refused(s, 0.0)
        self.refused(s, 1.0)
        self.refused(s, 3.0)
        found = verdict("AUTH-04", s.record(100))
        assert found.outcome is FAIL
        assert "attempt 3 came 2.000 s later; expected none" in found.seen

    def test_a_ready_in_between(self) -> None:
        s = script()
        for at in (0.0, 10.0, 20.0):
            self.refused(s, at)
            s.live(at + 1, presented={"fingerprint": f"new {at}"})
            s.end(at + 5)
        assert verdict("AUTH-04", s.record(30)).outcome is PASS

    def test_the_application_starts_it_again(self) -> None:
        s = script()
        self.refused(s, 0.0)
        self.refused(s, 1.0)
        s.app(60.0, "reconnect")
        self.refused(s, 60.0)
        self.refused(s, 61.0)
        assert verdict("AUTH-04", s.record(62)).outcome is NON_STRICT
        s.live(63.0)
        assert "attempt 5 came 2.000 s later; expected none" in verdict("AUTH-04", s.record(200)).seen

    @pytest.mark.parametrize("asked", [None, 0.5, 0.95])
    def test_the_application_has_it_start_anew_after_the_first(self, asked: float | None) -> None:
        s = script()
        s.app(0.0, "connecting")
        self.refused(s, 0.0)
        if asked is not None:
            s.app(asked, "reconnect")
        s.app(0.9, "connecting")
        self.refused(s, 1.0)
        self.refused(s, 2.5)
        s.app(2.5, "gave_up", error="unauthorised", undelivered=[])
        found = verdict("AUTH-04", s.record(200))
        if asked is None:
            assert "attempt 3 came 1.500 s later; expected none" in found.seen
        else:  # asked while it connects, it may have gone on as it was
            assert found.outcome is PASS
            assert found.seen.startswith("connection 3: the token was refused again")

    def test_asked_while_it_connects_it_may_go_on_as_it_was(self) -> None:
        s = script()
        s.app(0.0, "connecting")
        self.refused(s, 0.0)
        s.app(0.9, "connecting")
        s.app(0.95, "reconnect")
        self.refused(s, 1.0)
        s.app(1.0, "gave_up", error="unauthorised", undelivered=[])
        assert verdict("AUTH-04", s.record(200)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("held", [5.0, 20.0])
    def test_never_stops_after_a_session(self, held: float) -> None:
        s = script()
        s.live(0.0)
        s.frame(held, "down", "close", code=4401, reason="expired")
        s.end(held)
        for number in range(1, 5):
            self.refused(s, held + number)
        found = verdict("AUTH-04", s.record(200))
        assert found.outcome is FAIL
        assert "attempt 5 came 1.000 s later; expected none" in found.seen

    @pytest.mark.parametrize("end", ["the attempt's time", "the ping's time"])
    def test_a_refusal_that_it_may_not_have_read(self, end: str) -> None:
        s = script()
        if end == "the attempt's time":
            opened(s, 0.0)
            at = 10.0
        else:
            s.live(0.0)
            s.ping(30.0, answered=None)
            at = 40.0
        s.frame(at, "down", "close", code=4401, reason="expired")
        s.end(at)
        self.refused(s, at + 1)
        unread = verdict("AUTH-04", s.record(200))
        assert unread.outcome is INCONCLUSIVE
        self.refused(s, at + 3)
        assert verdict("AUTH-04", s.record(200)).outcome is NON_STRICT
        s.live(at + 5)
        assert verdict("AUTH-04", s.record(200)).outcome is FAIL

    def test_all_retries_were_spent(self) -> None:
        s = script()
        for number in range(10):
            s.refused(float(number))
        self.refused(s, 10.0)
        assert verdict("AUTH-04", s.record(100)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize(("held", "outcome"), [(1.0, INCONCLUSIVE), (20.0, FAIL)])
    def test_a_short_session_gives_no_retries_back(self, held: float, outcome: Outcome) -> None:
        s = script()
        for number in range(10):
            s.refused(float(number))
        s.live(10.0)
        s.frame(10.0 + held, "down", "close", code=4401, reason="expired")
        s.end(10.0 + held)
        assert verdict("AUTH-04", s.record(100)).outcome is outcome


class TestServer:
    """AUTH-05"""

    def silent(self, closed: float | None, code: int = 4408, *, frame: str | None = None) -> Script:
        s = script()
        opened(s, 0.0)
        if frame is not None:
            s.frame(0.1, "up", frame, size=2, digest="d")
        if closed is not None:
            s.frame(closed, "down", "close", code=code, reason="")
            s.event(closed, "end", "server", by="peer", how="fin")
        return s

    def test_silent(self) -> None:
        found = verdict("AUTH-05", self.silent(5.01).record(20))
        assert found.outcome is PASS
        assert found.measured["closed_s"] == 5.01

    @pytest.mark.parametrize(("closed", "code"), [(6.0, 4408), (None, 0), (5.0, 4401), (2.0, 4408)])
    def test_silent_and_not_closed_rightly(self, closed: float | None, code: int) -> None:
        assert verdict("AUTH-05", self.silent(closed, code).record(20)).outcome is FAIL

    def test_the_record_ends_too_early(self) -> None:
        assert verdict("AUTH-05", self.silent(None).record(5)).outcome is INCONCLUSIVE
        assert verdict("AUTH-05", self.silent(None, frame="text").record(5)).outcome is INCONCLUSIVE

    def test_something_else_first(self) -> None:
        assert verdict("AUTH-05", self.silent(0.2, 4401, frame="message").record(20)).outcome is PASS

    @pytest.mark.parametrize(("closed", "code"), [(0.2, 4400), (None, 0)])
    def test_something_else_first_and_not_refused(self, closed: float | None, code: int) -> None:
        assert verdict("AUTH-05", self.silent(closed, code, frame="text").record(20)).outcome is FAIL

    def test_something_else_first_and_welcomed(self) -> None:
        s = self.silent(None, frame="message")
        s.frame(0.2, "up", "credentials", mode="first_message", fingerprint="f1")
        s.frame(0.3, "down", "welcome", recovered=False)
        found = verdict("AUTH-05", s.record(20))
        assert found.outcome is FAIL
        assert "and was welcomed" in found.seen

    def test_something_else_first_and_gone(self) -> None:
        s = self.silent(None, frame="message")
        s.event(1.0, "end", "server", by="proxy", how="fin")
        assert verdict("AUTH-05", s.record(20)).outcome is INCONCLUSIVE

    @pytest.mark.parametrize("why", ["fault", "healed fault", "drain", "client", "gone", "authenticated"])
    def test_not_the_servers_to_judge(self, why: str) -> None:
        closed = why in ("fault", "healed fault", "drain")
        s = self.silent(1.0 if closed else None, 1001 if why == "drain" else 4000)
        if why == "fault":
            s.fault(0.5, "accept_then_close", until=2.0, code=4000)
        elif why == "healed fault":  # the server had decided by then, and its answer was seen only now
            for event in s.events:
                if event.kind != "attempt":
                    s.events[s.events.index(event)] = replace(event, at=event.at + 0.02)
            s.fault(-0.5, "accept_then_close", until=0.01, code=4000)
        elif why == "client":
            s.frame(1.0, "up", "close", code=1000, reason="")
        elif why == "gone":
            s.event(1.0, "end", "server", by="proxy", how="fin")
        elif why == "authenticated":
            s.frame(0.1, "up", "credentials", mode="first_message", fingerprint="f1")
        assert verdict("AUTH-05", s.record(20)).outcome is INCONCLUSIVE


class TestRevoked:
    """AUTH-06"""

    def resumed(self, presented: str = "old", *, revoked: bool = True, session: str | None = "s") -> Script:
        s = script()
        s.live(0.0, presented={"fingerprint": "old"})
        s.end(5.0)
        s.token(5.0, "new", revoked=revoked)
        opened(s, 6.0)
        s.frame(6.0, "up", "credentials", mode="first_message", fingerprint=presented, session=session)
        return s

    def test_refused(self) -> None:
        s = self.resumed()
        assert verdict("AUTH-06", s.record(7)).outcome is INCONCLUSIVE
        s.frame(6.1, "down", "close", code=4401, reason="revoked")
        assert verdict("AUTH-06", s.record(7)).outcome is PASS

    @pytest.mark.parametrize("recovered", [True, False])
    def test_welcomed(self, recovered: bool) -> None:
        s = self.resumed()
        s.frame(6.1, "down", "welcome", recovered=recovered)
        assert verdict("AUTH-06", s.record(7)).outcome is FAIL

    @pytest.mark.parametrize("options", [{"presented": "new"}, {"revoked": False}, {"session": None}])
    def test_not_a_resume_with_a_revoked_token(self, options: dict[str, Any]) -> None:
        s = self.resumed(**options)
        s.frame(6.1, "down", "welcome", recovered=True)
        assert verdict("AUTH-06", s.record(7)).outcome is INCONCLUSIVE


class TestSecret:
    """AUTH-07"""

    def told(self, error: str) -> Script:
        s = script()
        s.live(0.0, presented={"fingerprint": fingerprint("s3cret-token")})
        s.app(1.0, "closed", code=None, reason=error)
        return s

    def test_kept(self) -> None:
        assert verdict("AUTH-07", self.told("cannot reach ws://host/ws?token=***").record(9)).outcome is PASS

    @pytest.mark.parametrize(
        "text",
        [
            "cannot reach ws://host/ws?token=s3cret-token",
            "refused: 's3cret-token'.",
            "token=s3cret%2Dtoken&x=1",
            "bad token s3cret-token.",
            "bad token `s3cret-token`",
            "bad token *s3cret-token*!",
        ],
    )
    def test_told(self, text: str) -> None:
        found = verdict("AUTH-07", self.told(text).record(9))
        assert found.outcome is FAIL
        assert "the client wrote a token into the text of app.closed" in found.seen

    def test_told_by_the_server(self) -> None:
        s = self.told("")
        s.frame(2.0, "down", "close", code=4401, reason="expired: s3cret-token")
        assert "the server wrote a token" in verdict("AUTH-07", s.record(9)).seen

    def test_no_error_was_told(self) -> None:
        assert verdict("AUTH-07", self.told("").record(9)).outcome is INCONCLUSIVE

    def test_a_client_that_does_not_report(self) -> None:
        s = script()
        s.live(0.0)
        assert verdict("AUTH-07", s.record(9)).outcome is UNSUPPORTED


class TestRedirect:
    """AUTH-08"""

    @staticmethod
    def handshake(s: Script, at: float, host: str, *, client: str | None = None, fingerprint: str = "f1") -> None:
        s.attempt(at, client=client)
        s.event(at, "handshake", client=client, way="up", path="/ws", host=host, mode="header", fingerprint=fingerprint)

    def redirected(self, to: str | None = "elsewhere:1") -> Script:
        s = Script()
        self.handshake(s, 0.0, "here:1")
        s.event(0.0, "response", way="down", status=302, to=to)
        s.end(0.0)
        return s

    def test_nothing_followed(self) -> None:
        assert verdict("AUTH-08", self.redirected().record(100), mode="header").outcome is PASS
        assert verdict("AUTH-08", self.redirected().record(9), mode="header").outcome is INCONCLUSIVE

    @pytest.mark.parametrize("client", [None, "another listener"])
    def test_followed_with_the_token(self, client: str | None) -> None:
        s = self.redirected()
        self.handshake(s, 1.0, "elsewhere:1", client=client)
        found = verdict("AUTH-08", s.record(100), mode="header")
        assert found.outcome is FAIL
        assert found.seen == "connection 1 was redirected to elsewhere:1; connection 2 presented its token there"

    def test_somebody_else_is_there_with_another_token(self) -> None:
        s = self.redirected()
        self.handshake(s, 1.0, "elsewhere:1", client="another listener", fingerprint="f2")
        assert verdict("AUTH-08", s.record(100), mode="header").outcome is PASS

    @pytest.mark.parametrize("own", ["connected before", "reports"])
    def test_a_client_of_that_address_has_the_same_token(self, own: str) -> None:
        s = Script()
        if own == "connected before":
            self.handshake(s, 0.0, "elsewhere:1", client="b")
            s.end(3.0, client="b")
        self.handshake(s, 1.0, "here:1")
        s.event(1.0, "response", way="down", status=302, to="elsewhere:1")
        s.end(1.0)
        if own == "reports":
            s.app(3.9, "connecting", client="b")
        self.handshake(s, 4.0, "elsewhere:1", client="b")
        found = verdict("AUTH-08", s.record(100), mode="header")
        assert found.outcome is INCONCLUSIVE
        assert found.seen.endswith(" presented a token there, perhaps of its own accord")

    @pytest.mark.parametrize(("known", "outcome"), [(False, FAIL), (True, INCONCLUSIVE)])
    def test_redirected_before_it_showed_a_token(self, known: bool, outcome: Outcome) -> None:
        s = script()
        if known:
            s.live(0.0, client="b")
            s.end(3.0, client="b")
        s.attempt(1.0)
        s.event(1.0, "handshake", way="up", path="/ws", host="here:1")
        s.event(1.0, "response", way="down", status=302, to="elsewhere:1")
        s.end(1.0)
        s.attempt(4.0, client="b")
        s.event(4.0, "handshake", client="b", way="up", path="/ws", host="elsewhere:1")
        s.frame(4.1, "up", "credentials", client="b", mode="first_message", fingerprint="f1")
        assert verdict("AUTH-08", s.record(100)).outcome is outcome

    @pytest.mark.parametrize("token", ["f1", "f2"])
    def test_redirected_after_it_showed_a_token(self, token: str) -> None:
        s = script()
        s.live(0.0)
        s.end(3.0)
        s.attempt(4.0)
        s.event(4.0, "handshake", way="up", path="/ws", host="here:1")
        s.event(4.0, "response", way="down", status=302, to="elsewhere:1")
        s.end(4.0)
        s.attempt(5.0, client="b")
        s.event(5.0, "handshake", client="b", way="up", path="/ws", host="elsewhere:1")
        s.frame(5.1, "up", "credentials", client="b", mode="first_message", fingerprint=token)
        assert verdict("AUTH-08", s.record(100)).outcome is (FAIL if token == "f1" else PASS)

    def test_followed_with_a_fresh_token(self) -> None:
        s = self.redirected()
        self.handshake(s, 1.0, "elsewhere:1", fingerprint="fresh")
        assert verdict("AUTH-08", s.record(100), mode="header").outcome is FAIL

    def test_an_address_that_it_had_before(self) -> None:
        s = Script()
        self.handshake(s, 0.0, "elsewhere:1")
        s.end(0.5)
        self.handshake(s, 1.0, "here:1")
        s.event(1.0, "response", way="down", status=302, to="elsewhere:1")
        s.end(1.0)
        self.handshake(s, 2.0, "elsewhere:1")
        assert verdict("AUTH-08", s.record(100), mode="header").outcome is INCONCLUSIVE

    def test_the_same_address_again(self) -> None:
        s = self.redirected()
        self.handshake(s, 1.0, "here:1")
        assert verdict("AUTH-08", s.record(2), mode="header").outcome is PASS

    @pytest.mark.parametrize("to", [None, "here:1"])
    def test_a_redirect_within_the_origin_may_be_followed(self, to: str | None) -> None:
        s = self.redirected(to)
        self.handshake(s, 1.0, "here:1")
        assert verdict("AUTH-08", s.record(100), mode="header").seen.startswith("not provoked")
