"""Toxicity: for each direction of each connection, drawn anew whenever the toxic is run anew."""

from __future__ import annotations

import select
import time

from .servers import PATIENCE
from .wire import Peer, Proxied, echo, eventually

COUNT = 24
"""Connections: that none of them changes by a new draw happens once in 2 ** 24 runs."""
DELAY = 1000
"""Milliseconds of the toxic that is drawn."""


def hit(pairs: list[tuple[Peer, Peer]]) -> set[int]:
    """The connections of which the server's data comes late."""
    waiting = {}
    for number, (client, server) in enumerate(pairs):
        waiting[client.sock] = number, time.monotonic()
        server.send(b"x")
    late = set()
    while waiting:
        ready = select.select(list(waiting), [], [], PATIENCE)[0]
        assert ready, "it never comes"
        for sock in ready:
            assert sock.recv(1) == b"x"
            number, sent = waiting.pop(sock)
            if time.monotonic() - sent >= DELAY / 1000 - 0.01:
                late.add(number)
    return late


def same(pairs: list[tuple[Peer, Peer]], before: set[int]) -> None:
    """Assert that the draw still stands; a machine that sleeps may need several looks."""
    eventually(lambda: hit(pairs) == before, "the same connections are hit")


def test_a_draw_stands_until_the_toxic_is_run_anew(proxied: Proxied) -> None:
    pairs = [proxied.pair() for _ in range(COUNT)]
    proxied.toxic("latency", toxicity=0.5, latency=DELAY)
    added = hit(pairs)
    assert 2 <= len(added) <= COUNT - 2
    proxied.toxic("noop", "upstream", name="other direction")
    same(pairs, added)
    proxied.toxic("noop", name="a")
    behind_came = hit(pairs)
    assert behind_came != added
    proxied.toxic("noop", name="b")
    proxied.remove("b")
    same(pairs, behind_came)
    proxied.remove("a")
    behind_went = hit(pairs)
    assert behind_went != behind_came
    proxied.update()
    assert hit(pairs) != behind_went
    new = [proxied.pair() for _ in range(COUNT)]
    assert 2 <= len(hit(new)) <= COUNT - 2


def test_0_is_never_and_1_is_always(proxied: Proxied) -> None:
    proxied.toxic("latency", toxicity=0, latency=60_000)
    pairs = [proxied.pair() for _ in range(5)]
    for pair in pairs:
        echo(*pair)
    proxied.http.post("/proxies/p/toxics/t", {"toxicity": 1, "attributes": {"latency": DELAY}})
    assert hit(pairs) == set(range(5))
    proxied.http.post("/proxies/p/toxics/t", {"toxicity": -3})
    for pair in pairs:
        echo(*pair)


def test_a_timeout_that_was_spared_closes_when_it_is_removed(proxied: Proxied) -> None:
    proxied.toxic("timeout", toxicity=0, timeout=1)
    client, server = proxied.pair()
    echo(client, server)
    proxied.remove()
    assert client.rest() == server.rest() == (b"", "fin")


def test_what_was_held_is_let_go_where_a_new_draw_is_lost(proxied: Proxied) -> None:
    proxied.toxic("bandwidth", rate=0)
    client, server = proxied.pair()
    server.send(b"held")
    assert client.quiet()
    proxied.http.post("/proxies/p/toxics/t", {"toxicity": 0})
    assert client.receive(4) == b"held"
    echo(client, server)
