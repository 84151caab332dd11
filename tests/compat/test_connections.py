"""What happens to connections, live ones and new ones."""

from __future__ import annotations

import contextlib
import os
import threading

import pytest

from .wire import Http, Proxied, Upstream, echo, eventually


def refuses(proxied: Proxied) -> bool:
    try:
        proxied.client()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_disabling_ends_connections_and_refuses(proxied: Proxied, method: str) -> None:
    client, server = proxied.pair()
    proxied.toxic("noop")
    answer = proxied.http.ask(method, "/proxies/p", {"enabled": False})
    assert (answer.status, answer.json["enabled"], len(answer.json["toxics"])) == (200, False, 1)
    assert client.rest() == server.rest() == (b"", "fin")
    assert refuses(proxied)
    assert proxied.http.post("/proxies/p", {"enabled": True})["listen"] == proxied.listen
    echo(*proxied.pair())


def test_deleting_ends_connections_and_refuses(proxied: Proxied) -> None:
    client, server = proxied.pair()
    assert proxied.http.ask("DELETE", "/proxies/p").status == 204
    assert client.rest() == server.rest() == (b"", "fin")
    assert refuses(proxied)


@pytest.mark.parametrize("change", [{"listen": "127.0.0.1:0"}, {"upstream": "127.0.0.1:1"}])
def test_a_change_ends_connections_and_keeps_toxics(proxied: Proxied, change: dict[str, str]) -> None:
    client, server = proxied.pair()
    proxied.toxic("slow_close", delay=60_000)
    shown = proxied.http.post("/proxies/p", change)
    assert (shown["enabled"], [toxic["name"] for toxic in shown["toxics"]]) == (True, ["t"])
    assert client.rest() == server.rest() == (b"", "fin")


def test_what_a_toxic_holds_is_lost_when_the_proxy_is_disabled(proxied: Proxied) -> None:
    client, server = proxied.pair()
    proxied.toxic("latency", latency=60_000)
    server.send(b"held")
    client.send(b"through")
    assert server.receive(7) == b"through"
    proxied.http.post("/proxies/p", {"enabled": False})
    assert client.rest()[0] == b""


@pytest.mark.parametrize("upstream", ["127.0.0.1:1", "a b:1", "nowhere"])
def test_without_an_upstream_a_client_is_accepted_and_closed(http: Http, upstream: str) -> None:
    listen = http.post("/proxies", {"name": "p", "listen": "127.0.0.1:0", "upstream": upstream})["listen"]
    with contextlib.closing(Upstream()) as clients:
        assert clients.connect(listen).rest() == (b"", "fin")


def test_a_client_that_has_sent_is_reset_where_the_upstream_refuses(http: Http) -> None:
    listen = http.post("/proxies", {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"})["listen"]
    with contextlib.closing(Upstream()) as clients:

        def ends() -> bool:
            client = clients.connect(listen)
            with contextlib.suppress(OSError):
                client.send(b"hello")
            return client.rest()[1] == "reset"

        eventually(ends, "it is reset; where the proxy was faster than the client it was closed")


def test_an_end_is_passed_on_and_there_is_no_half_of_a_connection(proxied: Proxied) -> None:
    client, server = proxied.pair()
    client.send(b"last")
    client.sock.shutdown(1)
    assert server.rest() == (b"last", "fin")
    assert client.rest() == (b"", "fin")  # the server has not closed
    client, server = proxied.pair()
    server.send(b"last")
    server.close()
    assert client.rest() == (b"last", "fin")


@pytest.mark.parametrize("by", ["client", "server"])
def test_a_reset_is_passed_on_as_an_end(proxied: Proxied, by: str) -> None:
    client, server = proxied.pair()
    echo(client, server)
    one, other = (client, server) if by == "client" else (server, client)
    one.reset()
    assert other.rest() == (b"", "fin")


@pytest.mark.parametrize("chain", [[], ["noop", "latency", "bandwidth", "slicer", "slow_close", "limit_data"]])
def test_large_data_comes_whole_both_ways_at_once(proxied: Proxied, chain: list[str]) -> None:
    attributes = {
        "latency": {"latency": 20, "jitter": 15},
        "bandwidth": {"rate": 100_000},
        "slicer": {"average_size": 20_000, "size_variation": 9_000, "delay": 10},
        "limit_data": {"bytes": 10**9},
    }
    for kind in chain:
        for stream in ("upstream", "downstream"):
            proxied.toxic(kind, stream, name=f"{kind}-{stream}", **attributes.get(kind, {}))
    client, server = proxied.pair()
    data = os.urandom(1_000_000)
    senders = [threading.Thread(target=peer.send, args=(data,)) for peer in (client, server)]
    for sender in senders:
        sender.start()
    got: dict[str, bytes] = {}
    reader = threading.Thread(target=lambda: got.update(up=server.receive(len(data))))
    reader.start()
    assert client.receive(len(data)) == data
    for thread in (*senders, reader):
        thread.join()
    assert got["up"] == data


def test_nothing_is_lost_while_toxics_come_and_go(proxied: Proxied) -> None:
    client, server = proxied.pair()
    count = 3000
    messages = b"".join(number.to_bytes(2, "big") for number in range(count))
    done = threading.Event()

    def send() -> None:
        for at in range(0, len(messages), 2):
            client.send(messages[at : at + 2])
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    while not done.is_set():
        proxied.toxic("latency", "upstream", latency=3)
        proxied.toxic("noop", "upstream", name="n")
        proxied.remove("n")
        proxied.remove()
    sender.join()
    assert server.receive(len(messages)) == messages


def test_a_toxic_of_one_direction_leaves_the_other_alone(proxied: Proxied) -> None:
    proxied.toxic("latency", "downstream", latency=60_000)
    client, server = proxied.pair()
    client.send(b"up")
    assert server.receive(2) == b"up"
    server.send(b"down")
    assert client.quiet()
