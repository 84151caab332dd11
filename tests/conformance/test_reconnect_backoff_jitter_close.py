"""The cases for clients of four areas: the reference passes each, and one with the bug that it is for does not."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from mutants import backoff, close, jitter, message, reconnect, state

from pytest_wschaos import Outcome, Profile, ReferenceClient
from pytest_wschaos.conformance.subjects.command import Command
from pytest_wschaos.conformance.subjects.factory import InProcess
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.conformance.suite.case import Case, cases, select
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.result import Result

from .subjects import raw

AREAS = ("reconnect", "backoff", "jitter", "close")
REFERENCE = InProcess(reference)
MINE = [one for one in cases().values() if one.side == "client" and one.area in AREAS]
ALONE = [one for one in MINE if one.process]
REAL = [
    "RECONNECT-01/silent-drop",
    "RECONNECT-04/unanswered-syn",
    "RECONNECT-05/waiting",
    "BACKOFF-03/accept-then-close-1013",
    "BACKOFF-05/farewell",
    "CLOSE-01/1009",
    "CLOSE-01/no-code",
    "CLOSE-03/received-1005",
    "CLOSE-04/tcp-left-open",
    "CLOSE-05/302-elsewhere",
]
"""Cases that are played in real time as well."""
FAILS: dict[str, type[ReferenceClient]] = {
    "RECONNECT-01/*": reconnect.DeadLinkTakenForGoodbye,
    "RECONNECT-02/*": reconnect.BrokenLinkIsFinal,
    "RECONNECT-03/asked-*": reconnect.TwoLives,
    "RECONNECT-03/slow-attempts": reconnect.StartsBesideASlowAttempt,
    "RECONNECT-04/*": reconnect.NoOpenTimeout,
    "RECONNECT-05/*": reconnect.ComesBackAfterItsClose,
    "RECONNECT-06/*": reconnect.OneRetryMore,
    "RECONNECT-07/*": reconnect.DeafAfterGivingUp,
    "RECONNECT-08/first-attempt": reconnect.EndsWhenTheProviderFails,
    "RECONNECT-08/last-retry": reconnect.EndsWhenTheProviderFails,
    "RECONNECT-08/once": reconnect.TriesTheProviderAtOnce,
    "RECONNECT-08/thrice": reconnect.TriesTheProviderAtOnce,
    "RECONNECT-09/[at]*": reconnect.CallsTwice,
    "RECONNECT-09/unwelcomed": state.ReadyBeforeTheWelcome,
    "BACKOFF-01/*": backoff.FirstRetryAtOnce,
    "BACKOFF-02/*": backoff.NoCap,
    "BACKOFF-03/accept-*": backoff.NoWaitAfterAHandshake,
    "BACKOFF-03/never-ready": backoff.NoWaitAfterAHandshake,
    "BACKOFF-03/flapping": backoff.BackoffResetByWelcome,
    "BACKOFF-03/not-quite-stable": backoff.BackoffResetByWelcome,
    "BACKOFF-03/stable": backoff.BackoffNeverReset,
    "BACKOFF-04/*": backoff.FirstRetryAtOnce,
    "JITTER-0[1234]/[rh]*": jitter.JitterOncePerProcess,
    "CLOSE-01/10*[03478]": close.CloseCodesIgnored,
    "CLOSE-01/1002": close.CloseCodesIgnored,
    "CLOSE-01/440[03]": close.CloseCodesIgnored,
    "CLOSE-01/4409": close.CloseCodesIgnored,
    "CLOSE-01/4500": close.CloseCodesIgnored,
    "CLOSE-01/4999": close.CloseCodesIgnored,
    "CLOSE-01/accept-*": close.CloseCodesIgnored,
    "CLOSE-01/1001": close.RetriedCodesAreFinal,
    "CLOSE-01/101[12]*": close.RetriedCodesAreFinal,
    "CLOSE-01/3000": close.RetriedCodesAreFinal,
    "CLOSE-01/4000": close.RetriedCodesAreFinal,
    "CLOSE-01/4401": close.RetriedCodesAreFinal,
    "CLOSE-01/4408": close.RetriedCodesAreFinal,
    "CLOSE-01/4410": close.RetriedCodesAreFinal,
    "CLOSE-01/no-code": close.RetriedCodesAreFinal,
    "CLOSE-01/*-reason-*": close.ReadsTheReason,
    "CLOSE-01/*-later": close.LaterIsNoLater,
    "CLOSE-01/1009": message.TooLargeSentForEver,
    "CLOSE-02/application": close.EndsWithoutClose,
    "CLOSE-04/unanswered": close.WaitsForTheCloseHandshake,
    "CLOSE-04/dead-link": close.WaitsForTheCloseHandshake,
    "CLOSE-04/tcp-left-open": close.WaitsForTheCloseHandshake,
    "CLOSE-05/*": close.HttpStatusTurnedRound,
}
"""Cases, by globs, and a client that each of them fails."""
BENDS = {"BACKOFF-05/*": backoff.IgnoresRetryAfter}
"""The same of rules that are none but advice."""
BROKEN = [
    (one, kind, outcome)
    for outcome, table in ((Outcome.FAIL, FAILS), (Outcome.NON_STRICT, BENDS))
    for pattern, kind in table.items()
    for one in select(pattern, side="client")
    if one not in ALONE
]


def named(case: Case) -> str:
    return case.id


def subject(kind: type[ReferenceClient]) -> InProcess:
    """Clients of a kind, with seeds of their own."""
    rng = Random("clients under test")  # so that a run can be repeated

    def factory(url: str, *, token: Any, profile: Profile, on_event: Callable[[dict[str, Any]], None]) -> Any:
        client = kind(url, token=token, profile=profile, on_event=on_event, seed=rng.getrandbits(64))
        client.start()
        return client

    factory.hello = reference.hello  # type: ignore[attr-defined]
    return InProcess(factory, kind.__name__)


def virtually(case: Case, under_test: InProcess = REFERENCE) -> Result:
    return play(case, under_test, Settings(clock="virtual"))


@pytest.mark.parametrize("case", [one for one in MINE if one not in ALONE], ids=named)
def test_the_reference_passes(case: Case) -> None:
    result = virtually(case, subject(ReferenceClient))
    assert result.outcome is Outcome.PASS, result.verdict.seen
    assert result.closing in ("OK", "UNSUPPORTED")


@pytest.mark.parametrize(
    ("case", "kind", "outcome"), BROKEN, ids=[f"{one.id}-{kind.__name__}" for one, kind, _ in BROKEN]
)
def test_a_client_with_the_bug_does_not(case: Case, kind: type[ReferenceClient], outcome: Outcome) -> None:
    result = virtually(case, subject(kind))
    assert result.outcome is outcome, result.verdict.seen
    assert result.verdict.seen


def test_the_reference_passes_in_real_time() -> None:
    chosen = [cases()[name] for name in REAL]
    with ThreadPoolExecutor(len(chosen)) as pool:
        played = list(pool.map(lambda case: play(case, REFERENCE, Settings(scale=0.05)), chosen))
    # Where the machine is busy some cases have nothing to say.
    assert {(one.case.id, one.outcome, one.verdict.seen) for one in played if one.outcome is Outcome.FAIL} == set()
    assert Outcome.PASS in {one.outcome for one in played}


class TestAClientThatSpeaksRaw:
    """``async for`` of websockets is judged by what the wire shows."""

    @pytest.mark.parametrize(
        ("name", "outcome", "told"),
        [
            ("RECONNECT-02/reset", Outcome.PASS, "the next attempt came 0.000 s later"),
            ("RECONNECT-04/unanswered-handshake", Outcome.PASS, "given up after 10.000 s"),
            ("RECONNECT-04/unanswered-syn", Outcome.UNSUPPORTED, "leave no trace"),
            ("RECONNECT-04/no-welcome", Outcome.UNSUPPORTED, "speaks no protocol"),
            ("RECONNECT-08/once", Outcome.UNSUPPORTED, "token"),
            ("BACKOFF-03/accept-then-close-1011", Outcome.FAIL, "the count started anew: 0.000 s before"),
            ("BACKOFF-04/first-retry", Outcome.FAIL, "0.000 s before connection 2"),
            ("CLOSE-01/1001", Outcome.PASS, "got Close 1001"),
            ("CLOSE-01/1008", Outcome.FAIL, "yet attempt 2 came 0.000 s later"),
            ("CLOSE-03/received-1006", Outcome.PASS, "1002"),
            ("CLOSE-05/503", Outcome.PASS, "HTTP 503"),
            ("CLOSE-05/404", Outcome.NON_STRICT, "HTTP 404"),
        ],
    )
    def test_verdict(self, name: str, outcome: Outcome, told: str) -> None:
        result = virtually(cases()[name], InProcess(raw))
        assert (result.outcome, told in result.verdict.seen) == (outcome, True), result.verdict.seen


def command(factory: str, folder: Path) -> Command:
    speak = "pytest_wschaos.conformance.subjects.speak"
    path = str(Path(__file__).parents[1])
    program = f"import sys; sys.path.insert(0, {path!r}); from {speak} import main; main()"
    return Command([sys.executable, "-c", program, factory], folder)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(ReferenceClient, Outcome.PASS), (jitter.SameSeedInEveryClient, Outcome.FAIL)],
    ids=["fresh", "alike"],
)
def test_two_that_draw_alike_are_told_from_others(kind: type[ReferenceClient], outcome: Outcome) -> None:
    case = dataclasses.replace(cases()["JITTER-02/two-processes"], process=False)
    result = virtually(case, subject(kind))
    assert result.outcome is outcome, result.verdict.seen


def test_two_processes(tmp_path: Path) -> None:
    case = cases()["JITTER-02/two-processes"]
    subjects = (
        command("pytest_wschaos.conformance.subjects.reference:reference", tmp_path),
        command("mutants.subjects:SameSeedInEveryClient", tmp_path),
    )
    with ThreadPoolExecutor(2) as pool:
        good, bad = pool.map(lambda one: play(case, one, Settings(scale=0.05)), subjects)
    assert good.outcome is not Outcome.FAIL, good.verdict.seen
    # A busy machine hides that two draws are the same, and never shows that they are not.
    assert bad.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE), (bad.verdict.seen, bad.said)
    assert "2 processes were started" in bad.verdict.seen


def test_cases_that_change_figures_are_not_for_a_black_box(tmp_path: Path) -> None:
    """It keeps its own figures, so that it would be blamed for what it was never told."""
    silent = Command([sys.executable, "-c", "print('no hello'); import time; time.sleep(60)"], tmp_path)
    result = play(cases()["RECONNECT-06/3-retries-refused"], silent, Settings(scale=0.05))
    assert result.outcome is Outcome.UNSUPPORTED
    assert "reconnect.max_retries" in result.verdict.seen


def test_every_rule_of_the_four_areas_has_a_case() -> None:
    numbers = {"RECONNECT": 9, "BACKOFF": 5, "JITTER": 4, "CLOSE": 5}
    rules = {f"{area}-{number:02}" for area, last in numbers.items() for number in range(1, last + 1)}
    assert rules <= {one.rule for one in MINE}
