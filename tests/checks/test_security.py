"""SECURITY on records written by hand."""

from __future__ import annotations

import pytest

from pytest_wschaos import Outcome, Profile
from pytest_wschaos.checks.rule import judge
from pytest_wschaos.checks.verdict import Verdict

from .script import Script

LISTED = Profile().with_(security={"origins": ["https://app.example"]})


def _judged(script: Script, rule: str, profile: Profile) -> Verdict:
    return judge(script.record(10.0), profile, rule)[0]


def _upgrade(origin: str | None, status: int) -> Script:
    script = Script()
    script.attempt(1.0)
    detail = {} if origin is None else {"origin": origin}
    script.event(1.0, "handshake", path="/ws", way="up", **detail)
    return script.event(1.0, "response", status=status, way="down")


@pytest.mark.parametrize(
    ("origin", "status", "outcome"),
    [
        ("https://evil.test", 403, Outcome.PASS),
        ("https://evil.test", 101, Outcome.FAIL),
        ("https://evil.test", 400, Outcome.FAIL),
        ("https://app.example.evil.test", 101, Outcome.FAIL),
        ("null", 101, Outcome.FAIL),
        ("https://app.example", 101, Outcome.PASS),
        ("https://app.example", 403, Outcome.FAIL),
        ("https://app.example", 503, Outcome.INCONCLUSIVE),
        (None, 101, Outcome.INCONCLUSIVE),
    ],
)
def test_origins(origin: str | None, status: int, outcome: Outcome) -> None:
    assert _judged(_upgrade(origin, status), "SECURITY-01", LISTED).outcome is outcome


def test_a_foreign_origin_that_is_cut_without_an_answer_is_not_refused() -> None:
    script = Script()
    script.attempt(1.0)
    script.event(1.0, "handshake", path="/ws", way="up", origin="https://evil.test")
    script.end(1.1)
    verdict = _judged(script, "SECURITY-01", LISTED)
    assert verdict.outcome is Outcome.FAIL
    assert "without an answer; expected 403" in verdict.seen


def test_without_an_allow_list_there_is_nothing_to_judge() -> None:
    assert _judged(_upgrade("https://evil.test", 101), "SECURITY-01", Profile()).outcome is Outcome.UNSUPPORTED


def _flood(frames: int, every: float, code: int | None) -> Verdict:
    """So many frames up, then a Close."""
    script = Script(tells=("welcome",))
    script.opened(0.0)
    for number in range(frames):
        script.frame(1.0 + number * every, "up", "text", size=1)
    if code is not None:
        script.frame(1.0 + frames * every, "down", "close", code=code, reason="")
    return _judged(script, "SECURITY-02", Profile())


@pytest.mark.parametrize(
    ("frames", "every", "code", "outcome"),
    [
        (200, 0.001, 4429, Outcome.PASS),
        (200, 0.001, None, Outcome.FAIL),
        (200, 0.001, 1008, Outcome.FAIL),
        (50, 0.001, 4429, Outcome.FAIL),
        (200, 0.03, 4429, Outcome.FAIL),
        (200, 0.03, None, Outcome.INCONCLUSIVE),
        (120, 0.001, None, Outcome.INCONCLUSIVE),
        (0, 0.0, None, Outcome.INCONCLUSIVE),
    ],
)
def test_the_rate_limit(frames: int, every: float, code: int | None, outcome: Outcome) -> None:
    verdict = _flood(frames, every, code)
    assert verdict.outcome is outcome, verdict.seen


@pytest.mark.parametrize("rule", ["SECURITY-03", "SECURITY-04", "SCALE-03", "SCALE-05"])
def test_what_only_the_clients_of_the_suite_see_is_not_judged(rule: str) -> None:
    verdict = _judged(_upgrade(None, 101), rule, Profile())
    assert verdict.outcome is Outcome.UNSUPPORTED
    assert "wschaos check --server" in verdict.seen
