"""toxiproxy-cli, as published: every command, and what it prints."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from . import servers
from .servers import PATIENCE
from .wire import Http

CLI = "WSCHAOS_TOXIPROXY_CLI"
HOW = (
    f"no toxiproxy-cli: put it on PATH or its path in {CLI}; to build it: GOBIN=$PWD go install "
    f"-ldflags '-X github.com/Shopify/toxiproxy/v2.Version={servers.VERSION}' "
    f"github.com/Shopify/toxiproxy/v2/cmd/cli@v{servers.VERSION} && mv cli toxiproxy-cli"
)


@pytest.fixture(scope="module")
def program() -> str:
    found = os.environ.get(CLI) or shutil.which("toxiproxy-cli")
    if found:
        return found
    if os.environ.get(servers.REQUIRE) == "1":
        pytest.fail(HOW, pytrace=False)
    pytest.skip(HOW)


SESSION = (
    ("list", ""),
    ("create -l 127.0.0.1:0 -u 127.0.0.1:9 web", "Created new proxy web"),
    ("create -l 127.0.0.1:0 -u 127.0.0.1:9 web", "Failed to create proxy: Create: HTTP 409: proxy already exists"),
    ("list", "web\tLISTEN\t127.0.0.1:9\tenabled\t0"),
    (
        "toxic add -t latency -a latency=100 -a jitter=5 web",
        "Added downstream latency toxic 'latency_downstream' on proxy 'web'",
    ),
    (
        "toxic add -t bandwidth -n slow -a rate=10 -u --tox 0.5 web",
        "Added upstream bandwidth toxic 'slow' on proxy 'web'",
    ),
    (
        "inspect web",
        "slow\ttype=bandwidth\tstream=upstream\ttoxicity=0.50\tattributes=[\trate=10\t]\n"
        "latency_downstream\ttype=latency\tstream=downstream\ttoxicity=1.00\tattributes=[\tjitter=5\tlatency=100\t]",
    ),
    ("toxic update -n slow -a rate=20 --tox 1 web", "Updated toxic 'slow' on proxy 'web'"),
    ("toxic remove -n latency_downstream web", "Removed toxic 'latency_downstream' on proxy 'web'"),
    ("inspect web", "slow\ttype=bandwidth\tstream=upstream\ttoxicity=1.00\tattributes=[\trate=20\t]"),
    ("toggle web", "Proxy web is now disabled"),
    ("list", "web\tLISTEN\t127.0.0.1:9\tdisabled\t1"),
    ("toggle web", "Proxy web is now enabled"),
    ("inspect nosuch", "Failed to retrieve proxy nosuch: HTTP 404: proxy not found"),
    (
        "toxic add -t nonsense web",
        "Failed to add toxic: failed to add toxic to proxy web: AddToxic: HTTP 400: invalid toxic type",
    ),
    ("delete web", "Deleted proxy web"),
    ("list", ""),
)


def test_a_session_with_every_command(program: str, http: Http) -> None:
    for command, told in SESSION:
        words = [program, "-h", f"http://127.0.0.1:{http.port}", *command.split()]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
        proxies = http.get("/proxies")
        listen = proxies["web"]["listen"] if proxies else ""
        expected = told.replace("LISTEN", listen)
        assert (ran.stdout + ran.stderr).strip() == expected, command
        assert ran.returncode == told.startswith("Failed"), command
