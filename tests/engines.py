"""The engines on which each test marked ``engine`` runs, in one list."""

from __future__ import annotations

import argparse
import atexit
import functools
import os

import pytest
from compat import servers

ENGINES = ("embedded", "process", "binary", "docker", "url")
"""As ``--wschaos-engine`` has them; the URL is that of a Toxiproxy that was started here, outside of our code."""
REAL = ("binary", "docker", "url")
"""Those that are, or are behind, a real Toxiproxy."""
USUAL = ("embedded", "process", "binary")
"""Those of a run that does not say: docker and url run the same program as binary."""
NOT_BEHIND_A_REAL_ONE = {
    # It passes a reset on as an end.
    "test_abort_is_a_reset_for_the_client": "test_a_reset_reaches_the_client_as_an_end",
    "test_abort_is_a_reset_in_tls_too": "test_a_reset_reaches_a_client_on_wss_as_an_end",
    # It connects to the engine after a client has connected to it.
    "test_a_client_that_has_just_connected_is_live": "test_a_client_is_live_when_the_engine_has_it",
    # What it has not passed on when the engine ends the connection becomes a reset.
    "test_disconnect_is_a_fin_though_the_client_has_bytes_under_way": "test_bytes_under_way_may_become_a_reset",
    # What a client gets is on record before its toxics.
    "test_latency_in_one_direction_leaves_the_other": "test_what_a_client_gets_is_on_record_before_its_latency",
    # Its upstream is the engine, which has the upward half of what it does.
    "test_the_proxy_of_the_test_is_there": "test_the_proxy_in_front_is_the_real_one",
    "test_faults_and_the_api_work_on_the_same_proxy": "test_the_api_has_the_downward_half_of_a_fault",
    # Its kernel answers SYNs.
    "test_unanswered_attempts_hang_until_removal": "test_where_its_kernel_answers_a_client_waits_for_the_engine",
}
"""Tests of what is otherwise, or not there, behind a real one, and what tests/test_engine_real.py has instead."""
HELP = f"engines of the tests marked 'engine': some of {','.join(ENGINES)} (default: {','.join(USUAL)})"


def some(given: str) -> tuple[str, ...]:
    """The engines of an option's value."""
    names = given.split(",")
    if not set(names) <= set(ENGINES):
        raise argparse.ArgumentTypeError(f"{given!r}: must be {', '.join(ENGINES)}, or several with commas")
    return tuple(dict.fromkeys(names))


def required(engine: str) -> str:
    """What the fixtures are to be told for an engine; without the program the test is skipped, or fails."""
    if engine == "binary":
        return f"binary:{program()}"
    return url() if engine == "url" else engine


def program() -> str:
    """Where the real one is; the test is skipped without it, or fails where it must be there."""
    if (found := servers.binary()) is not None:
        return found
    if os.environ.get(servers.REQUIRE) == "1":
        pytest.fail(servers.HOW, pytrace=False)
    pytest.skip(servers.HOW)


@functools.cache
def url() -> str:
    """Where one runs already."""
    server = servers.Plain(program())
    atexit.register(server.stop)
    servers.answers(server.port)
    return f"http://127.0.0.1:{server.port}"
