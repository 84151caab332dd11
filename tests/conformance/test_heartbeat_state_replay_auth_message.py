"""The cases for clients of five areas: the reference passes each, and one with the bug that it is for does not."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mutants import auth, heartbeat, message, reconnect, replay, state
from mutants.subjects import factory

from pytest_wschaos import Outcome, ReferenceClient
from pytest_wschaos.conformance.subjects.command import Command
from pytest_wschaos.conformance.subjects.factory import InProcess
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.conformance.suite.case import Case, cases
from pytest_wschaos.conformance.suite.play import Settings, play
from pytest_wschaos.conformance.suite.result import Result

AREAS = ("heartbeat", "state", "replay", "auth", "message")
REFERENCE = InProcess(reference)
MINE = [one for one in cases().values() if one.side == "client" and one.area in AREAS]
ALONE = [one for one in MINE if one.process]
REAL = [
    "HEARTBEAT-02/dead-both-ways",
    "HEARTBEAT-04/large-message-down",
    "STATE-01/closing",
    "STATE-03/first-connection",
    "STATE-04/not-reading",
    "REPLAY-03/mid-burst",
    "REPLAY-05/flush",
    "AUTH-03/rotated",
    "AUTH-07/query",
    "MESSAGE-03/too-large-down",
    "MESSAGE-04/heartbeats",
]
"""Cases that are played in real time as well."""
FAILS: dict[str, type[ReferenceClient]] = {
    "HEARTBEAT-01/idle": heartbeat.NoHeartbeat,
    "HEARTBEAT-01/busy": heartbeat.PingsWhenIdleOnly,
    "HEARTBEAT-01/sending": heartbeat.FirstPingTooLate,
    "HEARTBEAT-02/dead-both-ways": heartbeat.NoHeartbeat,
    "HEARTBEAT-02/dead-upwards": heartbeat.PongsNeverChecked,
    "HEARTBEAT-02/dead-downwards": heartbeat.WaitsForOnclose,
    "HEARTBEAT-02/pongs-stop": heartbeat.PongsNeverChecked,
    "HEARTBEAT-02/late-pong": heartbeat.PongsNeverChecked,
    "HEARTBEAT-02/while-it-sends": heartbeat.WaitsForOnclose,
    "HEARTBEAT-03/pongs-stop": heartbeat.AnyTrafficCountsAsPong,
    "HEARTBEAT-03/dead-upwards": heartbeat.AnyTrafficCountsAsPong,
    "HEARTBEAT-03/foreign-pong": heartbeat.AnyPongCounts,
    "HEARTBEAT-04/slow-link": heartbeat.ImpatientHeartbeat,
    "HEARTBEAT-04/large-message-down": heartbeat.LargeMessageIsNoLife,
    "HEARTBEAT-04/large-message-up": heartbeat.WritesAheadOfPings,
    "HEARTBEAT-04/paused-reader": heartbeat.PausedReaderHearsNoPong,
    "HEARTBEAT-06/idle-proxy": heartbeat.FirstPingTooLate,
    "HEARTBEAT-07/acknowledged": heartbeat.NoHeartbeat,
    "HEARTBEAT-08/next-stays": heartbeat.HeartbeatTimerSurvivesItsConnection,
    "HEARTBEAT-08/ping-rate": heartbeat.PingsMultiply,
    "STATE-01/connecting": state.OpenWhileConnecting,
    "STATE-01/waiting": state.OpenWhileConnecting,
    "STATE-01/closing": state.OpenWhileConnecting,
    "STATE-01/closed": state.OpenAfterwards,
    "STATE-01/stopped": state.OpenAfterwards,
    "STATE-02/connecting": state.DropsWhenNotOpen,
    "STATE-02/ready": state.DropsWhenNotOpen,
    "STATE-02/waiting": state.DropsWhenNotOpen,
    "STATE-02/closing": state.DropsWhenNotOpen,
    "STATE-02/closed": state.DropsWhenNotOpen,
    "STATE-02/stopped": state.DropsWhenNotOpen,
    "STATE-03/first-connection": state.ThrowsWhenNotOpen,
    "STATE-03/reconnecting": state.DropsWhenNotOpen,
    "STATE-03/unwelcomed": replay.NewestFirst,
    "STATE-04/while-down": state.BufferedIsZero,
    "STATE-04/unacknowledged": state.BufferedCountsTheUnacknowledged,
    "STATE-04/not-reading": state.NoHighMark,
    "REPLAY-01/while-down": replay.NewestFirst,
    "REPLAY-01/dead-link": replay.QueueEmptiedOnReconnect,
    "REPLAY-01/newer-behind": replay.NewestFirst,
    "REPLAY-02/not-arrived": replay.ReplayedBackwards,
    "REPLAY-02/mid-burst": replay.NoReplay,
    "REPLAY-02/fresh-session": replay.NoReplay,
    "REPLAY-03/not-arrived": replay.NoReplay,
    "REPLAY-03/ack-lost": replay.ReplayedUnderNewIds,
    "REPLAY-03/two-in-a-row": replay.ReplayedUnderNewIds,
    "REPLAY-03/mid-burst": replay.ReplaysWhatWasAcknowledged,
    "REPLAY-03/mid-frame": replay.NoReplay,
    "REPLAY-03/missed": message.TellsBackwards,
    "REPLAY-04/missed": replay.ForgetsItsSequence,
    "REPLAY-04/gap": replay.TellsNoGap,
    "REPLAY-04/new-epoch": replay.TellsNoGap,
    "REPLAY-05/flush": replay.FloodsOnReconnect,
    "REPLAY-05/full-of-messages": replay.DropsWhenFull,
    "REPLAY-05/full-of-bytes": replay.BoundlessQueue,
    "REPLAY-06/ack-lost": replay.NeverSettles,
    "REPLAY-06/acknowledged": replay.NeverSettles,
    "REPLAY-06/while-down": replay.SendsWhileDownNeverSettle,
    "REPLAY-06/closed": replay.HandsNothingBack,
    "REPLAY-06/stopped": replay.HandsNothingBack,
    "REPLAY-06/given-up": reconnect.GivesUpInSilence,
    "REPLAY-07/recovered": replay.SubscribesOnEveryConnection,
    "REPLAY-07/fresh": replay.SubscriptionsNotRestored,
    "REPLAY-07/new-epoch": replay.SubscriptionsNotRestored,
    "REPLAY-07/unsubscribed": replay.UnsubscribedComesBack,
    "REPLAY-08/gone": replay.ResumesForEver,
    "REPLAY-08/gone-twice": replay.ResumesForEver,
    "REPLAY-08/new-epoch": replay.KeepsTheOldEpoch,
    "REPLAY-09/refused-topic": replay.PoisonForEver,
    "REPLAY-09/refusal-lost": replay.PoisonForEver,
    "AUTH-01/first-message": auth.TokenInTheUrlToo,
    "AUTH-01/query": auth.AlwaysByHeader,
    "AUTH-01/cookie": auth.AlwaysByHeader,
    "AUTH-01/header": auth.TokenInTheUrlToo,
    "AUTH-02/first-frame": auth.PingsBeforeTheWelcome,
    "AUTH-02/queued": auth.QueueFlushedBeforeAuth,
    "AUTH-02/reconnected": auth.QueueFlushedBeforeAuth,
    "AUTH-03/rotated": auth.StaleToken,
    "AUTH-03/rotated-while-down": auth.NoTokenOnReconnect,
    "AUTH-03/provider-fails": auth.OldTokenWhenTheProviderFails,
    "AUTH-04/expired-once": auth.ExpiredTokenIsFatal,
    "AUTH-04/expired-for-good": auth.RefusedTokenRetried,
    "AUTH-04/revoked": auth.RefusedTokenRetried,
    "AUTH-04/http-401-once": auth.Http401IsFatal,
    "AUTH-04/http-401-for-good": auth.Http401ForEver,
    **dict.fromkeys([f"AUTH-07/{m}" for m in ("first-message", "query", "cookie", "header")], auth.TellsItsToken),
    "AUTH-07/expired": auth.TellsItsToken,
    **dict.fromkeys(
        [f"AUTH-08/other-host-{m}" for m in ("first-message", "query", "cookie", "header")], auth.FollowsRedirects
    ),
    **dict.fromkeys(
        [f"AUTH-08/other-port-{m}" for m in ("first-message", "query", "cookie", "header")], auth.FollowsToTheNextPort
    ),
    "MESSAGE-01/up": message.GuessesUpwards,
    "MESSAGE-01/down": message.GuessesDownwards,
    "MESSAGE-02/up": replay.NewestFirst,
    "MESSAGE-02/down": message.TellsBackwards,
    "MESSAGE-03/large-down": message.CutsLargeOnes,
    "MESSAGE-03/large-up": message.TakesNothingLarge,
    "MESSAGE-03/too-large-up": message.SendsTooLarge,
    "MESSAGE-03/too-large-down": message.TakesAll,
    "MESSAGE-04/heartbeats": heartbeat.WritesAheadOfPings,
    "MESSAGE-04/messages": message.OneChunk,
    "MESSAGE-04/down": message.TellsBackwards,
}
"""A bug for every case, that it must find."""


def told(result: Result) -> str:
    return f"{result.case.id}: {result.verdict}\n{result.said}"


def test_there_is_a_bug_for_every_case() -> None:
    assert {one.id for one in MINE} == {*FAILS, *(one.id for one in ALONE)}


@pytest.mark.parametrize("case", [one for one in MINE if not one.process], ids=lambda case: case.id)
def test_the_reference_passes(case: Case) -> None:
    result = play(case, REFERENCE, Settings(clock="virtual"))
    assert result.outcome is Outcome.PASS, told(result)
    assert str(result.closing) in ("OK", "UNSUPPORTED")
    assert result.record.until <= 610


@pytest.mark.parametrize("id", FAILS)
def test_a_broken_client_fails(id: str) -> None:
    result = play(cases()[id], InProcess(factory(FAILS[id])), Settings(clock="virtual"))
    assert result.outcome is Outcome.FAIL, told(result)


def test_in_real_time_and_as_a_command(tmp_path: Path) -> None:
    module = "pytest_wschaos.conformance.subjects"
    command = Command([sys.executable, "-m", f"{module}.speak", f"{module}.reference:reference"], tmp_path)
    plays = [(cases()[id], REFERENCE) for id in REAL] + [(one, command) for one in ALONE]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda play_: play(*play_, Settings(scale=0.05)), plays))
    for result in results:
        # On a busy machine nothing may be said; never that it failed.
        assert result.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE), told(result)
    passed = sum(result.outcome is Outcome.PASS for result in results)
    assert passed > len(results) / 2, "\n".join(map(told, results))
