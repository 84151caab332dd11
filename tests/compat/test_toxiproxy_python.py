"""toxiproxy-python, as published: synchronous, without a timeout."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from toxiproxy import Toxiproxy
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from .servers import free_port
from .wire import Http, lasting

ALL_TOXICS: dict[str, dict[str, Any]] = {
    "noop": {},
    "latency": {"latency": 5, "jitter": 1},
    "bandwidth": {"rate": 1000},
    "slow_close": {"delay": 10},
    "timeout": {"timeout": 10_000},
    "reset_peer": {"timeout": 10},
    "slicer": {"average_size": 10, "size_variation": 3, "delay": 10},
    "limit_data": {"bytes": 1000},
}


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


@pytest.fixture
def upstream() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def toxiproxy(http: Http, monkeypatch: pytest.MonkeyPatch) -> Toxiproxy:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(APIConsumer, "host", "127.0.0.1")
    monkeypatch.setattr(APIConsumer, "port", http.port)
    return Toxiproxy()


def connect(listen: str) -> socket.socket:
    host, port = listen.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=5)


def echoes(client: socket.socket) -> bool:
    client.sendall(b"ping")
    return client.recv(4) == b"ping"


def test_the_server_is_there(toxiproxy: Toxiproxy) -> None:
    assert toxiproxy.running()
    assert toxiproxy.version() == b'{"version": "2.12.0"}\n'
    assert toxiproxy.proxies() == {}


def test_where_there_is_none_it_does_not_run(toxiproxy: Toxiproxy, http: Http) -> None:
    toxiproxy.update_api_consumer("127.0.0.1", free_port())
    assert (toxiproxy.running(), toxiproxy.version()) == (False, None)
    toxiproxy.update_api_consumer("127.0.0.1", http.port)
    assert toxiproxy.running()


def test_a_proxy_is_made_used_and_destroyed(toxiproxy: Toxiproxy, upstream: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream)
    with connect(proxy.listen) as client:
        assert echoes(client)
    assert toxiproxy.get_proxy("echo").listen == proxy.listen
    with pytest.raises(ProxyExists):
        toxiproxy.create(name="echo", upstream=upstream)
    assert toxiproxy.destroy("echo") is False  # it takes proxies only
    assert toxiproxy.destroy(proxy)
    assert toxiproxy.get_proxy("echo") is None
    with pytest.raises(NotFound, match="proxy not found"):
        proxy.destroy()


def test_down_refuses_and_comes_back(toxiproxy: Toxiproxy, upstream: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream)
    with connect(proxy.listen) as client:
        assert echoes(client)
        with proxy.down():
            assert client.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                connect(proxy.listen)
            assert toxiproxy.get_proxy("echo").enabled is False
    with connect(proxy.listen) as client:
        assert echoes(client)


def test_a_disabled_proxy_gets_its_port_when_it_is_enabled(toxiproxy: Toxiproxy, upstream: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream, listen="localhost:0", enabled=False)
    assert (proxy.enabled, proxy.listen) == (False, "localhost:0")
    proxy.enable()
    listen = toxiproxy.get_proxy("echo").listen
    assert listen.startswith("127.0.0.1:")
    proxy.disable()
    proxy.enable()
    assert toxiproxy.get_proxy("echo").listen == listen


def test_several_of_a_type_have_names(toxiproxy: Toxiproxy, upstream: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream)
    for name in ("second", "first"):
        proxy.add_toxic(type="latency", name=name, attributes={"latency": 100})
    assert list(proxy.toxics()) == ["second", "first"]
    with connect(proxy.listen) as client, lasting(0.2):
        assert echoes(client)
    proxy.disable()
    proxy.enable()
    assert proxy.get_toxic("first").attributes["latency"] == 100


@pytest.mark.parametrize("kind", ALL_TOXICS)
def test_every_toxic_is_added_listed_and_destroyed(toxiproxy: Toxiproxy, upstream: str, kind: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream)
    proxy.add_toxic(type=kind, attributes=ALL_TOXICS[kind], toxicity=0.5)
    (toxic,) = proxy.toxics().values()
    assert (toxic.name, toxic.type, toxic.stream) == (f"{kind}_downstream", kind, "downstream")
    assert (toxic.attributes, toxic.toxicity) == (ALL_TOXICS[kind], 0.5)
    with pytest.raises(ProxyExists, match="toxic already exists"):
        proxy.add_toxic(type=kind)
    assert proxy.destroy_toxic(toxic.name)
    assert proxy.get_toxic(toxic.name) is None


def test_what_cannot_be_is_refused(toxiproxy: Toxiproxy, upstream: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream)
    with pytest.raises(InvalidToxic, match="invalid toxic type"):
        proxy.add_toxic(type="nonsense")
    with pytest.raises(InvalidToxic, match="stream was invalid"):
        proxy.add_toxic(type="noop", stream="sideways")
    with pytest.raises(NotFound, match="toxic not found"):
        proxy.destroy_toxic("nonsense")


def test_toxics_hit_the_connection_that_is_open(toxiproxy: Toxiproxy, upstream: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream)
    with connect(proxy.listen) as client:
        assert echoes(client)
        proxy.add_toxic(type="bandwidth", stream="upstream", attributes={"rate": 0})
        client.sendall(b"held")
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(4)
        client.settimeout(5)
        proxy.destroy_toxic("bandwidth_upstream")
        assert client.recv(4) == b"held"


def test_reset_enables_and_cleans(toxiproxy: Toxiproxy, upstream: str) -> None:
    proxy = toxiproxy.create(name="echo", upstream=upstream)
    proxy.add_toxic(type="latency", attributes={"latency": 60_000})
    proxy.disable()
    assert toxiproxy.reset()
    assert proxy.toxics() == {}
    with connect(proxy.listen) as client:
        assert echoes(client)


def test_populate_and_destroy_all(toxiproxy: Toxiproxy, upstream: str) -> None:
    entries = [{"name": name, "upstream": upstream, "listen": "127.0.0.1:0"} for name in ("a", "b")]
    assert [proxy.name for proxy in toxiproxy.populate(entries)] == ["a", "b"]
    again = [{"name": "a", "upstream": upstream, "listen": toxiproxy.get_proxy("a").listen}]
    assert toxiproxy.populate(again) == []
    toxiproxy.destroy_all()
    assert toxiproxy.proxies() == {}
