"""Each broken client fails the rules that its bug breaks, and no other, over all scenarios together."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest
from scenarios import Result, play_all

from pytest_wschaos import Outcome
from pytest_wschaos.checks.rule import rules
from pytest_wschaos.report import timeline_text, verdict_text

from .clients import BROKEN, Broken

ALONE = "PYTEST_XDIST_WORKER" in os.environ
SIDE_BY_SIDE = 1 if ALONE else min(4, os.cpu_count() or 1)


AGAIN = 3
"""How often a scenario in which a bug went unseen is played again: every check forgives what the harness may cause."""


def play_client(name: str) -> list[Result]:
    """Play one of them through all scenarios; on a busy machine those again in which a bug has gone unseen."""
    client = next(client for client in BROKEN if client.name == name)
    results = play_all(client.kind)
    for _ in range(AGAIN):
        hidden = set(client.fails) - failed(results) | set(client.bends) - bent(results)
        again = {r.scenario.name for r in results if hidden.intersection(r.scenario.provokes)}
        if not again:
            break
        results += play_all(client.kind, names=again)
    return results


def failed(results: list[Result]) -> set[str]:
    """The rules that failed in any of them."""
    return {rule for result in results for rule in result.failed}


def bent(results: list[Result]) -> set[str]:
    """The SHOULD rules that were not followed in any of them."""
    should = {rule for rule in rules() if rules()[rule].level == "SHOULD"}
    return {
        verdict.rule
        for result in results
        for verdict in result.verdicts
        if verdict.rule in should and verdict.outcome is Outcome.NON_STRICT
    }


class Plays:
    """Plays clients in processes of their own: the next ones while one is waited for, since they mostly wait."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._pool = ProcessPoolExecutor(SIDE_BY_SIDE, multiprocessing.get_context("spawn"))
        self._begun: dict[str, Future[list[Result]]] = {}

    def results(self, name: str) -> list[Result]:
        """What came of one client."""
        place = self._names.index(name)
        for ahead in self._names[place : place + SIDE_BY_SIDE]:
            if ahead not in self._begun:
                self._begun[ahead] = self._pool.submit(play_client, ahead)
        return self._begun[name].result()

    def stop(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def plays(request: pytest.FixtureRequest) -> Iterator[Plays]:
    """The plays of those that were chosen to be run."""
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    plays = Plays([call["client"].name for call in calls if isinstance(call.get("client"), Broken)])
    yield plays
    plays.stop()


def of_rule(results: list[Result], rule: str, outcome: Outcome | None = None) -> str:
    """The verdicts on a rule, and what happened: where it failed, else in the scenarios that are for it."""
    texts = []
    for result in results:
        for verdict in result.verdicts:
            wanted = verdict.outcome is outcome if outcome else rule in result.scenario.provokes
            if verdict.rule == rule and wanted:
                texts.append(
                    f"--- {result.scenario.name}\n{verdict_text(verdict)}\n{timeline_text(result.record, verdict.at)}"
                )
    return "\n".join(texts)


def difference(results: list[Result], expected: set[str], seen: set[str], outcome: Outcome) -> str:
    """What was not expected, and what was and did not come."""
    told = [f"{rule}: unexpected {outcome}\n{of_rule(results, rule, outcome)}" for rule in sorted(seen - expected)]
    told += [f"{rule}: expected {outcome}\n{of_rule(results, rule)}" for rule in sorted(expected - seen)]
    return "\n".join(told)


def test_at_least_fifteen_clients_are_broken_each_in_its_own_way() -> None:
    assert len(BROKEN) >= 15
    assert len({client.name for client in BROKEN}) == len(BROKEN)
    for client in BROKEN:
        assert client.fails or client.bends, f"{client.name} breaks no rule"
        assert client.fails.keys() | client.bends.keys() <= rules().keys()
        assert all([client.seen_in, *client.fails.values(), *client.bends.values()]), f"{client.name}: no reason"


@pytest.mark.parametrize("client", BROKEN, ids=lambda client: client.name)
def test_fails_exactly_the_rules_that_its_bug_breaks(client: Broken, plays: Plays) -> None:
    results = plays.results(client.name)
    assert failed(results) == set(client.fails), difference(results, set(client.fails), failed(results), Outcome.FAIL)
    assert bent(results) == set(client.bends), difference(results, set(client.bends), bent(results), Outcome.NON_STRICT)
