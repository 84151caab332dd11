"""The images and the compose file, built and run as a team would: needs Docker, and the images they are made from.

It is not among the tests of the package, which need no Docker; ``.ci/run`` runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect

ROOT = Path(__file__).parent.parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LATER = 20.0
HEALTHY_WITHIN = 60.0
TOXIPROXY = "http://127.0.0.1:8474"


def run(*command: str, timeout: float = 300.0, **environment: str) -> str:
    """What a command prints, which must succeed; what it told goes with the error if it does not."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}"
    return done.stdout.strip()


def asked(container: str, template: str) -> str:
    return run("docker", "inspect", "--format", template, container)


@contextmanager
def container(image: str, *options: str, command: tuple[str, ...] = ()) -> Iterator[str]:
    """A container that is healthy; afterwards it is gone."""
    # Its standard output is the id alone, which warnings must not join.
    id = subprocess.check_output(["docker", "run", "--detach", *options, image, *command], text=True).strip()
    try:
        deadline = time.monotonic() + HEALTHY_WITHIN
        while (health := asked(id, "{{.State.Health.Status}}")) == "starting" and time.monotonic() < deadline:
            time.sleep(0.2)
        assert health == "healthy", run("docker", "logs", id) + asked(id, "{{json .State.Health}}")
        yield id
    finally:
        run("docker", "rm", "--force", "--volumes", id)


def assert_not_root(container: str) -> None:
    assert run("docker", "exec", container, "python", "-c", "import os; print(os.getuid() and os.getgid())") != "0"


def assert_sigterm_ends(container: str, last_words: str | None = None) -> None:
    run("docker", "stop", "--time", "40", container)
    assert asked(container, "{{.State.ExitCode}}") == "0"
    if last_words is not None:
        assert run("docker", "logs", container).splitlines()[-1] == last_words


@pytest.fixture(scope="module")
def built() -> Iterator[None]:
    """The images, as the heads of their files say, on the Python that runs this."""
    for image in ("reference-server", "engine"):
        file = f"docker/{image}.Dockerfile"
        command = f"docker build -f {file} -t wschaos-{image} ."
        assert f"#   {command}\n" in (ROOT / file).read_text(encoding="utf-8")
        run(*command.split(), "--force-rm", "--build-arg", f"PYTHON={PYTHON}")
    yield
    run("docker", "rmi", "--force", "wschaos-reference-server", "wschaos-engine")


def got(url: str) -> object:
    with urlopen(url, timeout=LATER) as answer:
        return json.load(answer)


def welcomed(port: str, token: str) -> bool:
    with connect(f"ws://127.0.0.1:{port}/ws", close_timeout=LATER) as client:
        client.send(json.dumps({"type": "auth", "token": token}))
        return bool(json.loads(client.recv(LATER))["type"] == "welcome")


@pytest.mark.usefixtures("built")
def test_the_reference_server_serves_and_drains(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text('{"good": ["first"]}')
    tokens.chmod(0o644)
    tmp_path.chmod(0o755)
    options = ["--publish", "127.0.0.1::9000", "--env", "WSCHAOS_PORT=9000"]
    options += ["--volume", f"{tmp_path}:/run/wschaos:ro", "--env", "WSCHAOS_TOKENS=/run/wschaos/tokens.json"]
    with container("wschaos-reference-server", *options) as id:
        assert_not_root(id)
        port = run("docker", "port", id, "9000/tcp").rpartition(":")[2]
        assert got(f"http://127.0.0.1:{port}/healthz") == {"status": "ok"}
        assert welcomed(port, "first")
        tokens.write_text('{"good": ["second"]}')
        assert welcomed(port, "second")
        assert_sigterm_ends(id, "stopped")


def assert_examples_pass(engine: str) -> None:
    run(
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "examples/test_first.py", f"--wschaos-engine={engine}"
    )
    assert got(f"{TOXIPROXY}/proxies") == {}


@pytest.mark.usefixtures("built")
def test_the_engine_is_a_toxiproxy() -> None:
    with container("wschaos-engine", "--network", "host", command=("--host", "127.0.0.1")) as id:
        assert_not_root(id)
        assert_examples_pass(TOXIPROXY)
        assert_sigterm_ends(id)


@pytest.fixture(scope="module")
def composed(built: None) -> Iterator[None]:
    """What the compose file starts, as its head says."""
    name = shutil.which("docker-compose")
    compose = [name] if name else ["docker", "compose"]
    compose += ["--project-name", f"wschaos-ci-{os.getpid()}", "-f", "docker/compose.yaml"]
    try:
        run(*compose, "build", "--force-rm", "--build-arg", f"PYTHON={PYTHON}")
        run(*compose, "up", "-d")
        yield
    finally:
        print(run(*compose, "logs", "--no-color"))  # noqa: T201
        run(*compose, "down", "--volumes")


@pytest.mark.usefixtures("composed")
def test_examples_pass_behind_the_toxiproxy_of_the_compose_file() -> None:
    assert got(f"{TOXIPROXY}/version") == {"version": "2.12.0"}
    assert_examples_pass(TOXIPROXY)


@pytest.mark.usefixtures("composed")
@pytest.mark.wschaos(engine=TOXIPROXY)
def test_chaos_in_front_of_the_server_of_the_compose_file(request: pytest.FixtureRequest) -> None:
    # Not an argument: it must come after the Toxiproxy.
    proxy = request.getfixturevalue("wschaos_proxy")("ws://127.0.0.1:8765/ws")
    with connect(proxy.url, close_timeout=LATER) as client:
        client.send(json.dumps({"type": "auth", "token": "test-token"}))
        with proxy.latency(0.1):
            assert json.loads(client.recv(LATER))["type"] == "welcome"
