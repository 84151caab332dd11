"""What ``websocket-client``'s ``run_forever(reconnect=1)`` does when things go wrong; from tests that are not async.

Its wait is one second, whatever has happened: it overruns nobody, and it never backs off either.
"""

import time

import pytest
from popular_clients import websocket_client

from pytest_wschaos import EventTimeout, Profile

# The settings of its pings in the test below, and how long an attempt may take, as the rules want to know them.
FIGURES = Profile().with_(heartbeat={"interval": 1, "deadline": 0.5}, reconnect={"open_timeout": 1})


def test_it_waits_a_second_and_never_longer(wschaos, verdict):
    with wschaos.refuse(), websocket_client(wschaos.echo_url):
        first = wschaos.wait("attempt")
        fifth = wschaos.wait("attempt", 4)
    assert fifth.at - first.at > 3.5
    assert verdict("BACKOFF-04").outcome != "PASS"  # the fourth retry is due after 4 to 12 s


@pytest.mark.parametrize("code", [1000, 4403])
def test_it_comes_back_whatever_the_server_says(wschaos, verdict, code):
    """1000 says that all is done, 4403 that one is not wanted."""
    with wschaos.accept_then_close(code), websocket_client(wschaos.echo_url):
        wschaos.wait("attempt", 2)
    assert verdict("CLOSE-01").outcome != "PASS"


def test_closed_while_it_waits_it_connects_once_more(wschaos, verdict):
    with wschaos.refuse(), websocket_client(wschaos.echo_url):
        wschaos.wait("attempt")
        time.sleep(0.3)  # into the middle of its wait of a second
        wschaos.closing()  # tells the record that the application closes the client now
    wschaos.wait("attempt")
    assert verdict("RECONNECT-05").outcome != "PASS"


def test_a_dead_link_is_found_out_but_the_next_attempt_may_hang_for_ever(wschaos, verdict):
    with websocket_client(wschaos.echo_url, ping_interval=1, ping_timeout=0.5):
        wschaos.wait("pong")
        with wschaos.silent_drop():
            swallowed = wschaos.wait("attempt")  # it meets the drop, so no answer will ever come
        with pytest.raises(EventTimeout):
            wschaos.wait("attempt", timeout=2)  # the network is well again, but it still waits for that answer
        assert verdict("RECONNECT-04", FIGURES).outcome != "PASS"  # an attempt must have a deadline
        wschaos.abort()  # a reset wakes it
        assert wschaos.wait("ready").conn > swallowed.conn
    assert verdict("HEARTBEAT-07", FIGURES).outcome == "PASS"  # it did find out, though TCP said that all was well
    assert verdict("HEARTBEAT-02", FIGURES).outcome != "PASS"  # and held the dead link for a second
