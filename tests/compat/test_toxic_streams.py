"""What each toxic does to a stream: on new connections and live ones, at update and at removal."""

from __future__ import annotations

import select
import socket
import time

import pytest

from .wire import Peer, Proxied, echo, eventually, lasting

LONG = 60_000
"""Milliseconds that no test waits for."""

live = pytest.mark.parametrize("live", [False, True], ids=["new", "live"])
each_way = pytest.mark.parametrize("stream", ["upstream", "downstream"])


def meet(proxied: Proxied, live: bool, type: str, stream: str = "downstream", **attributes: int) -> tuple[Peer, Peer]:
    """A connection that meets a toxic, which is there before it or comes later."""
    if live:
        pair = proxied.pair()
        echo(*pair)
        proxied.toxic(type, stream, **attributes)
    else:
        proxied.toxic(type, stream, **attributes)
        pair = proxied.pair()
    return pair


def along(stream: str, client: Peer, server: Peer) -> tuple[Peer, Peer]:
    """The end that a stream comes from, and the one that it goes to."""
    return (client, server) if stream == "upstream" else (server, client)


def let_go(proxied: Proxied, client: Peer, **attributes: int) -> None:
    """Update a toxic until the client gets something: what is sent may still be on its way to the toxic."""

    def updated() -> bool:
        proxied.update(**attributes)
        return client.ready

    eventually(updated, "an update lets something go")


# --- noop, latency ---


@live
def test_noop_passes_everything(proxied: Proxied, live: bool) -> None:
    client, server = meet(proxied, live, "noop")
    echo(client, server)
    proxied.update()
    echo(client, server)
    server.close()
    assert client.rest() == (b"", "fin")


@live
@each_way
def test_latency_delays_one_direction(proxied: Proxied, live: bool, stream: str) -> None:
    client, server = meet(proxied, live, "latency", stream, latency=300)
    there, back = along(stream, client, server)
    with lasting(0.3):
        there.send(b"slow")
        assert back.receive(4) == b"slow"
    proxied.remove()
    echo(client, server)


def test_latencies_add_up_and_jitter_keeps_the_order(proxied: Proxied) -> None:
    proxied.toxic("latency", name="a", latency=150, jitter=100)
    proxied.toxic("latency", name="b", latency=250)
    client, server = proxied.pair()
    with lasting(0.3):
        for number in range(20):
            server.send(bytes([number]))
        assert client.receive(20) == bytes(range(20))


def test_latency_does_not_delay_an_end_but_the_end_follows_the_data(proxied: Proxied) -> None:
    proxied.toxic("latency", latency=LONG)
    client, server = proxied.pair()
    server.close()
    assert client.rest() == (b"", "fin")
    proxied.update(latency=400)
    client, server = proxied.pair()
    with lasting(0.4):
        server.send(b"last")
        server.close()
        assert client.rest() == (b"last", "fin")


def test_an_update_lets_the_first_chunk_go_and_a_removal_all(proxied: Proxied) -> None:
    proxied.toxic("latency", latency=LONG)
    client, server = proxied.pair()
    server.send(b"a")
    let_go(proxied, client, latency=LONG)
    assert client.receive(1) == b"a"
    server.send(b"bc")
    assert client.quiet()
    proxied.remove()
    assert client.receive(2) == b"bc"
    echo(client, server)


def test_an_update_counts_for_what_waits(proxied: Proxied) -> None:
    proxied.toxic("latency", latency=LONG)
    client, server = proxied.pair()
    for _ in range(3):
        server.send(b"x")
        client.quiet(0.05)  # chunks of their own, most likely
    proxied.update(latency=200)
    assert client.receive(3) == b"xxx"


def test_an_update_of_a_latency_counts_for_what_comes(proxied: Proxied) -> None:
    client, server = meet(proxied, True, "latency", latency=0)
    echo(client, server)
    proxied.update(latency=300)
    with lasting(0.3):
        server.send(b"slow")
        assert client.receive(4) == b"slow"


def test_a_toxic_behind_it_lets_the_first_chunk_go(proxied: Proxied) -> None:
    proxied.toxic("latency", latency=LONG)
    client, server = proxied.pair()
    server.send(b"a")

    def added() -> bool:
        proxied.toxic("noop", name="n")
        proxied.remove("n")
        return client.ready

    eventually(added, "the chunk is let go")
    assert client.receive(1) == b"a"


def test_negative_latency_is_none(proxied: Proxied) -> None:
    proxied.toxic("latency", latency=-LONG)
    echo(*proxied.pair())


# --- bandwidth ---


@live
def test_bandwidth_lets_a_tenth_of_a_second_go_at_once(proxied: Proxied, live: bool) -> None:
    client, server = meet(proxied, live, "bandwidth", rate=10)
    with lasting(0.5):
        with lasting(0.1):
            server.send(bytes(5000))
            client.receive(1)
        client.receive(4999)


def test_bandwidth_is_for_each_connection_and_small_chunks_wait_their_share(proxied: Proxied) -> None:
    proxied.toxic("bandwidth", rate=1)
    pairs = [proxied.pair() for _ in range(5)]
    with lasting(0.05):
        for _, server in pairs:
            server.send(bytes(50))
        for client, _ in pairs:
            client.receive(50)


@live
@each_way
def test_rate_0_holds_everything_and_removal_delivers_it(proxied: Proxied, live: bool, stream: str) -> None:
    client, server = meet(proxied, live, "bandwidth", stream, rate=0)
    there, back = along(stream, client, server)
    there.send(b"held")
    assert back.quiet()
    back.send(b"other")
    assert there.receive(5) == b"other"
    proxied.remove()
    assert back.receive(4) == b"held"
    echo(client, server)


def test_rate_0_holds_an_end_behind_data_and_lets_one_pass_alone(proxied: Proxied) -> None:
    proxied.toxic("bandwidth", rate=0)
    client, server = proxied.pair()
    server.close()
    assert client.rest() == (b"", "fin")
    client, server = proxied.pair()
    server.send(b"held")
    server.close()
    assert client.quiet()
    proxied.remove()
    assert client.rest() == (b"held", "fin")


def test_an_update_of_the_rate_lets_the_chunk_on_its_way_go(proxied: Proxied) -> None:
    proxied.toxic("bandwidth", rate=0)
    client, server = proxied.pair()
    server.send(b"held")
    let_go(proxied, client, rate=0)
    assert client.receive(4) == b"held"
    server.send(b"more")
    assert client.quiet()
    proxied.update(rate=1000)
    assert client.receive(4) == b"more"


def test_rate_0_stops_the_sender(proxied: Proxied) -> None:
    proxied.toxic("bandwidth", "upstream", rate=0)
    client, server = proxied.pair()
    client.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.send(bytes(100_000_000))
    assert server.quiet(0)


# --- slow_close ---


@live
@each_way
def test_slow_close_delays_the_end_of_its_direction(proxied: Proxied, live: bool, stream: str) -> None:
    client, server = meet(proxied, live, "slow_close", stream, delay=400)
    echo(client, server)
    there, back = along(stream, client, server)
    with lasting(0.4):
        there.close()
        assert back.rest() == (b"", "fin")


def test_slow_close_lets_the_other_end_pass(proxied: Proxied) -> None:
    proxied.toxic("slow_close", "upstream", delay=LONG)
    client, server = proxied.pair()
    server.close()
    assert client.rest() == (b"", "fin")


def test_slow_close_is_ended_by_removal_and_waits_anew_after_an_update(proxied: Proxied) -> None:
    proxied.toxic("slow_close", delay=LONG)
    client, server = proxied.pair()
    server.close()
    assert client.quiet()
    with lasting(0.4):
        proxied.update(delay=400)
        assert client.rest() == (b"", "fin")
    proxied.update(delay=LONG)
    client, server = proxied.pair()
    server.close()
    assert client.quiet()
    proxied.remove()
    assert client.rest() == (b"", "fin")


# --- timeout ---


@live
@each_way
def test_timeout_0_discards_until_it_is_removed_and_then_closes(proxied: Proxied, live: bool, stream: str) -> None:
    client, server = meet(proxied, live, "timeout", stream, timeout=0)
    there, back = along(stream, client, server)
    there.send(b"lost")
    back.send(b"other")
    assert there.receive(5) == b"other"
    assert back.quiet()
    proxied.remove()
    assert client.rest() == server.rest() == (b"", "fin")


def test_reset_of_all_closes_what_a_timeout_has_discarded_from(proxied: Proxied) -> None:
    proxied.toxic("timeout", timeout=0)
    client, server = proxied.pair()
    proxied.http.post("/reset")
    assert client.rest() == server.rest() == (b"", "fin")


def test_an_end_passes_a_timeout_at_once(proxied: Proxied) -> None:
    proxied.toxic("timeout", timeout=LONG)
    client, server = proxied.pair()
    server.close()
    assert client.rest() == (b"", "fin")


@live
@each_way
def test_timeout_closes_a_silent_direction(proxied: Proxied, live: bool, stream: str) -> None:
    with lasting(0.3):
        client, server = meet(proxied, live, "timeout", stream, timeout=300)
        assert client.rest() == server.rest() == (b"", "fin")


def test_an_update_of_a_timeout_counts_from_then_on(proxied: Proxied) -> None:
    proxied.toxic("timeout", timeout=LONG)
    client, server = proxied.pair()
    with lasting(0.3):
        proxied.update(timeout=300)
        assert client.rest() == server.rest() == (b"", "fin")


def test_traffic_in_its_direction_starts_a_timeout_anew(proxied: Proxied) -> None:
    timeout = 1.0
    proxied.toxic("timeout", timeout=int(timeout * 1000))
    for _ in range(5):
        client, server = proxied.pair()
        start = last = time.monotonic()
        longest = 0.0
        while time.monotonic() - start < timeout * 1.5:
            server.send(b"x")
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            ended = not client.quiet(0.05)
            if ended:
                break
        if not ended:
            assert client.rest() == server.rest() == (b"", "fin")
            return
        assert longest > timeout / 2, "it was closed amid traffic"  # else this machine has slept: again


# --- reset_peer ---


@pytest.mark.parametrize("timeout", [0, 300])
@each_way
def test_reset_peer_resets_at_the_first_data(proxied: Proxied, stream: str, timeout: int) -> None:
    client, server = meet(proxied, False, "reset_peer", stream, timeout=timeout)
    there, back = along(stream, client, server)
    assert client.quiet()  # while idle nothing happens
    assert not server.ready
    with lasting(timeout / 1000):
        there.send(b"dropped")
        assert back.rest() == (b"", "reset")
    assert there.rest() == (b"", "reset")


@each_way
def test_reset_peer_closes_a_connection_that_was_open_before(proxied: Proxied, stream: str) -> None:
    client, server = meet(proxied, True, "reset_peer", stream)
    along(stream, client, server)[0].send(b"dropped")
    assert client.rest() == server.rest() == (b"", "fin")


def test_reset_peer_resets_at_an_end_too(proxied: Proxied) -> None:
    client, server = meet(proxied, False, "reset_peer", "upstream")
    server.send(b"hello")
    assert client.receive(5) == b"hello"  # the proxy has both of them by now
    client.sock.shutdown(socket.SHUT_WR)
    assert server.rest() == (b"", "reset")


def test_an_update_of_reset_peer_counts_for_what_comes(proxied: Proxied) -> None:
    client, server = meet(proxied, False, "reset_peer", timeout=LONG)
    proxied.update(timeout=0)
    server.send(b"dropped")
    assert client.rest() == server.rest() == (b"", "reset")


@pytest.mark.parametrize("toxicity", [0, 1])
def test_a_connection_that_opened_with_reset_peer_ends_with_a_reset_for_ever(proxied: Proxied, toxicity: int) -> None:
    proxied.toxic("reset_peer", toxicity=toxicity)
    client, server = proxied.pair()
    if toxicity:
        proxied.remove()
    echo(client, server)
    client.close()
    assert server.rest() == (b"", "reset")


# --- slicer ---


def slices(proxied: Proxied, **attributes: int) -> list[int]:
    """The sizes in which 100 bytes come, each read as soon as it is there."""
    proxied.toxic("slicer", delay=20_000, **attributes)
    client, server = proxied.pair()
    server.send(bytes(100))
    sizes = []
    while sum(sizes) < 100:
        assert select.select([client.sock], [], [], 10)[0]
        sizes.append(len(client.sock.recv(100)))
    return sizes


def test_slicer_halves_until_the_parts_are_small_enough(proxied: Proxied) -> None:
    sizes = slices(proxied, average_size=10)  # 6 6 6 7 and so on, where this machine reads in time
    assert sum(size in (6, 7) for size in sizes) >= len(sizes) / 2
    assert len(sizes) <= 16
    assert len(sizes) > 4


def test_slicer_varies_the_sizes_within_bounds(proxied: Proxied) -> None:
    sizes = slices(proxied, average_size=20, size_variation=10)
    assert 2 <= len(sizes) <= 20


@live
@each_way
def test_slicer_waits_after_each_piece_and_before_the_end(proxied: Proxied, live: bool, stream: str) -> None:
    client, server = meet(proxied, live, "slicer", stream, average_size=1, delay=100_000)
    there, back = along(stream, client, server)
    with lasting(0.4):
        with lasting(0.3):
            there.send(b"abcd")
            there.close()
            assert back.receive(4) == b"abcd"
        assert back.rest() == (b"", "fin")


def test_removal_of_a_slicer_sends_the_rest(proxied: Proxied) -> None:
    client, server = meet(proxied, False, "slicer", average_size=1, delay=LONG * 1000)
    server.send(b"abcd")
    assert client.receive(1) == b"a"
    assert client.quiet()
    proxied.remove()
    assert client.receive(3) == b"bcd"
    echo(client, server)


def test_an_update_of_a_slicer_sends_the_rest_of_the_chunk(proxied: Proxied) -> None:
    client, server = meet(proxied, False, "slicer", average_size=1, delay=LONG * 1000)
    server.send(b"abcd")
    assert client.receive(1) == b"a"
    proxied.update(delay=LONG * 1000)
    assert client.receive(3) == b"bcd"
    server.send(b"ef")
    assert client.receive(1) == b"e"
    assert client.quiet()


# --- limit_data ---


@live
@each_way
def test_limit_data_passes_so_many_bytes_and_closes_at_once(proxied: Proxied, live: bool, stream: str) -> None:
    client, server = meet(proxied, live, "limit_data", stream, bytes=10)
    there, back = along(stream, client, server)
    there.send(b"0123456")
    assert back.receive(7) == b"0123456"
    assert back.quiet()
    there.send(b"789")
    assert back.rest() == (b"789", "fin")
    assert there.rest() == (b"", "fin")


def test_limit_data_cuts_what_is_too_long(proxied: Proxied) -> None:
    client, server = meet(proxied, False, "limit_data", bytes=10)
    server.send(b"0123456789more")
    assert client.rest()[0] == b"0123456789"


@pytest.mark.parametrize("limit", [0, -5])
def test_limit_data_0_closes_at_the_first_data(proxied: Proxied, limit: int) -> None:
    client, server = meet(proxied, False, "limit_data", bytes=limit)
    assert client.quiet()
    server.send(b"x")
    assert client.rest() == server.rest() == (b"", "fin")


def test_an_update_of_limit_data_keeps_the_count(proxied: Proxied) -> None:
    client, server = meet(proxied, False, "limit_data", bytes=10)
    server.send(b"01234")
    client.receive(5)
    proxied.update(bytes=12)
    server.send(b"56789a")
    assert client.receive(6) == b"56789a"
    proxied.update(bytes=4)
    assert client.quiet()
    server.send(b"b")
    assert client.rest() == (b"", "fin")


def test_removal_of_limit_data_lets_the_connection_live(proxied: Proxied) -> None:
    client, server = meet(proxied, False, "limit_data", bytes=10)
    server.send(b"01234")
    client.receive(5)
    proxied.remove()
    echo(client, server, b"longer than that")


# --- several ---


@each_way
@pytest.mark.parametrize("first", ["latency", "limit_data"])
def test_toxics_work_in_the_order_in_which_they_came(proxied: Proxied, stream: str, first: str) -> None:
    attributes = {"latency": {"latency": LONG}, "limit_data": {"bytes": 0}}
    for kind in sorted(attributes, key=lambda kind: kind != first):
        proxied.toxic(kind, stream, name=kind, **attributes[kind])
    proxied.update(first, **attributes[first])  # an update does not move it
    there, back = along(stream, *proxied.pair())
    there.send(b"x")
    if first == "latency":
        assert back.quiet()
    else:
        assert back.rest() == there.rest() == (b"", "fin")


def test_a_latency_before_a_timeout_can_be_removed(proxied: Proxied) -> None:
    proxied.toxic("latency", name="l", latency=LONG)
    proxied.toxic("timeout", timeout=0)
    client, server = proxied.pair()
    server.send(b"x")
    proxied.remove("l")
    proxied.remove()
    assert client.rest() == (b"", "fin")


def test_noops_come_and_go_while_an_echo_runs(proxied: Proxied) -> None:
    client, server = proxied.pair()
    for _ in range(30):
        proxied.toxic("noop")
        echo(client, server)
        proxied.remove()
        echo(client, server)
