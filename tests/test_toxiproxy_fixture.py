"""toxiproxy-python, as it is, in control of the embedded engine."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from toxiproxy.exceptions import NotFound
from websockets.sync.client import connect

from pytest_wschaos import Chaos
from pytest_wschaos.toxiproxy import Client, ToxiproxyError, connected

if TYPE_CHECKING:
    from toxiproxy import Toxiproxy


def round_trip(chaos: Chaos) -> float:
    with connect(chaos.echo_url) as client:
        start = time.monotonic()
        client.send("hello")
        assert client.recv(10) == "hello"
        return time.monotonic() - start


def test_the_proxy_of_the_test_is_there(toxiproxy: Toxiproxy, wschaos: Chaos) -> None:
    assert toxiproxy.running()
    assert list(toxiproxy.proxies()) == ["client"]
    proxy = toxiproxy.get_proxy("client")
    assert proxy.listen == f"127.0.0.1:{wschaos.port}"
    assert proxy.upstream == f"127.0.0.1:{wschaos.server.port}"


def test_a_toxic_is_felt_until_it_is_removed(toxiproxy: Toxiproxy, wschaos: Chaos) -> None:
    proxy = toxiproxy.get_proxy("client")
    proxy.add_toxic(type="latency", attributes={"latency": 100})
    assert round_trip(wschaos) >= 0.099
    proxy.destroy_toxic("latency_downstream")
    assert min(round_trip(wschaos) for _ in range(5)) < 0.09


def test_faults_and_the_api_work_on_the_same_proxy(toxiproxy: Toxiproxy, wschaos: Chaos) -> None:
    fault = wschaos.latency(0.05, must_bite=False)
    assert len(toxiproxy.get_proxy("client").toxics()) == 2
    assert toxiproxy.reset()
    assert toxiproxy.get_proxy("client").toxics() == {}
    fault.remove()
    assert wschaos.wait("healed")["fault"] == "latency"


def test_a_proxy_of_ones_own_and_its_end(toxiproxy: Toxiproxy, wschaos: Chaos) -> None:
    other = toxiproxy.create(name="other", upstream=f"127.0.0.1:{wschaos.server.port}", listen="127.0.0.1:0")
    port = int(other.listen.rpartition(":")[2])
    with connect(f"ws://127.0.0.1:{port}/echo") as client:
        client.send("hello")
        assert client.recv(10) == "hello"
    other.destroy()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_what_the_library_would_take_for_success_is_an_error(toxiproxy: Toxiproxy) -> None:
    proxy = toxiproxy.get_proxy("client")
    with pytest.raises(Exception, match="invalid toxic type"):
        proxy.add_toxic(type="nonsense", attributes={})


def test_a_port_in_use_is_named(toxiproxy: Toxiproxy, wschaos: Chaos) -> None:
    with pytest.raises(Exception, match=f"127.0.0.1:{wschaos.server.port}.*address already in use"):
        toxiproxy.create(name="taken", upstream="127.0.0.1:9", listen=f"127.0.0.1:{wschaos.server.port}")
    assert list(toxiproxy.proxies()) == ["client"]


def test_no_http_proxy_stands_in_between(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toxiproxy: Toxiproxy) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert toxiproxy.get_proxy("client").name == "client"


def test_a_server_that_does_not_answer_is_an_error_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        start = time.monotonic()
        with (
            connected("127.0.0.1", port, timeout=0.1) as client,
            pytest.raises(ToxiproxyError, match=f"GET http://127.0.0.1:{port}/proxies: .*timed out"),
        ):
            client.proxies()
        assert time.monotonic() - start < 5


def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with (
            connected("127.0.0.1", port) as client,
            pytest.raises(ToxiproxyError, match=f"http://127.0.0.1:{port}/proxies"),
        ):
            client.proxies()


def test_clients_that_are_not_ours_ask_whom_they_always_asked(wschaos: Chaos) -> None:
    import toxiproxy

    with connected(*wschaos.api[:2], prefix=wschaos.api.prefix) as client, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = toxiproxy.Toxiproxy()
        other.update_api_consumer("127.0.0.1", free.getsockname()[1])
        try:
            assert list(client.proxies()) == ["client"]
            with pytest.raises(requests.ConnectionError):
                other.proxies()
        finally:
            other.update_api_consumer("127.0.0.1", 8474)


def test_several_servers_are_controlled_side_by_side(wschaos: Chaos) -> None:
    with (
        Chaos() as second,
        connected(*wschaos.api[:2], prefix=wschaos.api.prefix) as client,
        connected("127.0.0.1", second.api.port) as other,
    ):
        here, there = client.get_proxy("client"), other.get_proxy("client")
        here.add_toxic(type="latency", name="slow", attributes={"latency": 1})
        assert (list(here.toxics()), list(there.toxics())) == (["slow"], [])
        with there.down():
            assert (client.get_proxy("client").enabled, other.get_proxy("client").enabled) == (True, False)
        assert other.get_proxy("client").enabled
        assert [client.running(), other.running()] == [True, True]
        client.update_api_consumer("127.0.0.1", other.server.port)
        assert list(client.get_proxy("client").toxics()) == []


def test_a_toxic_can_be_changed(toxiproxy: Client) -> None:
    proxy = toxiproxy.get_proxy("client")
    proxy.add_toxic(type="latency", name="slow", attributes={"latency": 1, "jitter": 1})
    proxy.update_toxic("slow", {"latency": 20}, 0.5)
    toxic = proxy.get_toxic("slow")
    assert (toxic.attributes, toxic.toxicity) == ({"latency": 20, "jitter": 1}, 0.5)
    with pytest.raises(NotFound):
        proxy.update_toxic("fast", toxicity=1)


def test_a_server_that_is_gone_does_not_run() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with connected("127.0.0.1", free.getsockname()[1]) as client:
            assert not client.running()


def test_the_api_is_started_once_a_test(wschaos: Chaos) -> None:
    assert wschaos.serve_api() == wschaos.serve_api()
