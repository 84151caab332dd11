"""The reaction to each way in which a connection can end: CLOSE and AUTH-04."""

from __future__ import annotations

import pytest

from pytest_wschaos.profile import REACTIONS, Close, Reaction
from pytest_wschaos.reference.close_policy import ClosePolicy, End, http_reaction


@pytest.mark.parametrize(("code", "reaction"), [*REACTIONS.items(), (3000, "retry"), (4001, "retry"), (4500, "fatal")])
@pytest.mark.parametrize("reason", ["", "0", '{"reconnect": true}', "go away for ever"])
def test_the_code_decides_and_the_reason_text_never(code: int, reaction: Reaction, reason: str) -> None:
    assert ClosePolicy(Close()).after(End(code=code, reason=reason)) == reaction


def test_an_attempt_that_never_opened_is_retried() -> None:
    assert ClosePolicy(Close()).after(End(reason="connection refused")) == "retry"


@pytest.mark.parametrize(
    ("status", "reaction"),
    [
        *[(status, "retry") for status in (200, 408, 425, 429, 500, 503)],
        *[(status, "fatal") for status in (301, 400, 403, 404)],
        (401, "refresh"),
    ],
)
def test_http_answers(status: int, reaction: Reaction) -> None:
    assert http_reaction(status) == reaction
    assert ClosePolicy(Close()).after(End(status=status)) == reaction


@pytest.mark.parametrize("refusal", [End(code=4401), End(status=401)])
def test_credentials_are_refreshed_once_and_refused_again_is_the_end(refusal: End) -> None:
    policy = ClosePolicy(Close())
    assert policy.after(refusal) == "refresh"
    assert policy.after(End(code=1006)) == "retry"
    assert policy.after(refusal) == "fatal"


def test_a_ready_in_between_allows_another_refresh() -> None:
    policy = ClosePolicy(Close())
    policy.after(End(code=4401))
    policy.ready()
    assert policy.after(End(code=4401)) == "refresh"


def test_what_the_client_itself_found_too_big_costs_none_of_its_own_messages() -> None:
    assert ClosePolicy(Close()).after(End(code=1009, own=True)) == "retry"


def test_a_profile_may_declare_other_reactions() -> None:
    assert ClosePolicy(Close(reactions={1001: "stop"})).after(End(code=1001)) == "stop"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (End(code=1008, reason="no"), "closed with code 1008: no"),
        (End(code=1006), "closed with code 1006"),
        (End(reason="refused"), "no connection: refused"),
        (End(status=503), "the server answered HTTP 503"),
        (End(status=426), "a proxy on the way does not forward the Upgrade header"),
    ],
)
def test_an_end_says_in_words_what_happened(end: End, words: str) -> None:
    assert words in str(end)
