"""A real Toxiproxy in a container: beside this machine's processes, and in a network of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from compat import servers
from docker import DockerClient
from docker.errors import DockerException, ImageNotFound, NotFound
from registry import registry
from talk import LATER
from websockets.sync.client import connect

from pytest_wschaos import Chaos, Profile
from pytest_wschaos.engines import docker as engine
from pytest_wschaos.engines import image as images
from pytest_wschaos.engines import real
from pytest_wschaos.engines.link import EngineMissing
from pytest_wschaos.engines.owner import owner
from pytest_wschaos.toxiproxy import connected

QUICK = Profile.preset("default").scaled(0.05)
NETWORKS = ("host", "ports")
HOW = f"no Docker with {engine.IMAGE}: start its daemon, and pull or build the image"


@pytest.fixture(scope="module", autouse=True)
def daemon() -> Iterator[DockerClient]:
    """The daemon, which has the image."""
    try:
        client = docker.from_env()
        client.images.get(engine.IMAGE)
    except DockerException:
        if os.environ.get(servers.REQUIRE) == "1":
            pytest.fail(HOW, pytrace=False)
        pytest.skip(HOW)
    yield client
    client.close()


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chaos(network: str) -> Iterator[Chaos]:
    with Chaos(profile=QUICK, engine=f"docker:?network={network}") as chaos:
        yield chaos


@pytest.fixture
def image(daemon: DockerClient) -> Iterator[Callable[..., str]]:
    """Makes images that are like the official one, and start another way."""
    made = []

    def make(*entrypoint: str) -> str:
        lines = f"FROM {engine.IMAGE}\nCOPY new /\nENTRYPOINT {json.dumps(entrypoint)}\n"
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as files:
            for name, content in (("Dockerfile", lines.encode()), ("new", os.urandom(1_000_000))):
                about = tarfile.TarInfo(name)
                about.size = len(content)
                files.addfile(about, io.BytesIO(content))
        context.seek(0)
        made.append(f"wschaos-test-{owner()}-{len(made)}:1")
        daemon.images.build(fileobj=context, custom_context=True, tag=made[-1], rm=True)
        return made[-1]

    yield make
    for name in made:
        with contextlib.suppress(ImageNotFound):
            daemon.images.remove(name, force=True)


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
        "wschaos_engine = docker\n"
    )
    return pytester


def ours(daemon: DockerClient, whose: str) -> list[str]:
    """The containers of a process."""
    return [one["Id"] for one in daemon.api.containers(all=True, filters={"label": f"{engine.LABEL}={whose}"})]


def test_the_proxy_in_front_is_in_a_container(chaos: Chaos, daemon: DockerClient, network: str) -> None:
    assert ours(daemon, owner())
    with connected(chaos.api.host, chaos.api.port) as client:
        assert client.version() == b'{"version": "2.12.0"}\n'
        (proxy,) = client.proxies().values()
        assert (proxy.listen == f"{chaos.host}:{chaos.port}") == (network == "host")
        with connect(chaos.echo_url) as echo, chaos.latency(0.01):
            assert list(proxy.toxics()) == ["wschaos-latency-1-downstream"]
            echo.send("through both")
            assert echo.recv(LATER) == "through both"
        chaos.stop()
        assert client.proxies() == {}


def test_a_client_is_judged_behind_it(chaos: Chaos) -> None:
    client = chaos.client()
    chaos.wait("ready", timeout=LATER)
    for fault in (chaos.silent_drop, chaos.disconnect, chaos.refuse):
        with fault():
            chaos.wait("attempt", timeout=LATER)
        chaos.wait("ready", timeout=LATER)
    client.send("topic", "after all")
    chaos.wait("ack", timeout=LATER, place="client")
    chaos.assert_rules("RECONNECT-03", "REPLAY-06", "AUTH-01")  # those that a busy machine does not blur


def test_a_client_over_tls_and_a_second_one_have_listeners_of_their_own(chaos: Chaos) -> None:
    for url, trust in ((chaos.wss_echo_url, chaos.ssl_context), (chaos.url_for("b").replace("/ws", "/echo"), None)):
        with connect(url, ssl=trust) as echo:
            echo.send("there")
            assert echo.recv(LATER) == "there"


def test_behind_published_ports_a_refused_attempt_is_accepted_and_ended() -> None:
    with Chaos(profile=QUICK, engine="docker:?network=ports") as chaos:
        with chaos.refuse():
            for _ in range(3):
                attempt = socket.create_connection((chaos.host, chaos.port), LATER)
                with attempt, contextlib.suppress(ConnectionResetError):
                    assert attempt.recv(1) == b""
                assert chaos.wait("attempt", timeout=LATER)["refused"] is True
            assert chaos.freeze().sees_refused
        with connect(chaos.echo_url) as echo:
            echo.send("there again")
            assert echo.recv(LATER) == "there again"


def test_published_ports_that_are_used_up_are_told_and_used_again() -> None:
    for _ in range(2):
        with Chaos(engine="docker:?network=ports:2") as chaos:
            chaos.url_for("second")
            told = "each of the 2 published ports has its listener: have more .* wschaos_docker_network = ports:4"
            for _ in range(2):
                with pytest.raises(engine.PortsUsedUp, match=told):
                    chaos.url_for("third")


@pytest.mark.parametrize("removed", [False, True])
def test_one_that_has_ended_is_followed_by_another(daemon: DockerClient, removed: bool) -> None:
    first = engine.shared(None, "host")
    found = daemon.containers.get(first._container.id)
    found.remove(force=True) if removed else found.kill()
    with Chaos(engine="docker:?network=host") as chaos, connect(chaos.echo_url) as echo:
        echo.send("anew")
        assert echo.recv(LATER) == "anew"
    with pytest.raises(NotFound):
        daemon.containers.get(first._container.id)


WORKERS = """
import pytest
from pytest_wschaos.engines.owner import owner
from websockets.sync.client import connect

@pytest.mark.parametrize("number", range(6))
def test_it(wschaos, number, worker_id):
    with open(f"{worker_id}.txt", "w") as file:
        file.write(f"{owner()} {wschaos.api.port}")
    with connect(wschaos.echo_url) as echo, wschaos.latency(0.001):
        echo.send("hello")
        assert echo.recv(10) == "hello"
"""


def test_each_worker_has_a_container_of_its_own(project: pytest.Pytester, daemon: DockerClient, network: str) -> None:
    project.makepyfile(WORKERS)
    result = project.runpytest_subprocess("-n", "2", "--dist=each", f"--wschaos-docker-network={network}")
    result.assert_outcomes(passed=12)
    owners, ports = zip(*(file.read_text().split() for file in project.path.glob("gw*.txt")), strict=True)
    assert len(set(ports)) == 2
    assert [ours(daemon, owner) for owner in owners] == [[], []]


SLOW = """
import time
from pytest_wschaos.engines.docker import Container
from xdist.workermanage import NodeManager

NodeManager.EXIT_TIMEOUT = 0.2  # seconds that a worker has to end when it has said that it is done
stop = Container.stop

def slowly(self):
    time.sleep(2)
    stop(self)

Container.stop = slowly
"""


def test_a_worker_has_the_time_to_remove_it(project: pytest.Pytester, daemon: DockerClient) -> None:
    project.makeconftest(SLOW)
    project.makepyfile(KILLED.format("pass"))
    project.runpytest_subprocess("-n", "1").assert_outcomes(passed=1)
    assert ours(daemon, (project.path / "owner.txt").read_text()) == []


KILLED = """
import os, pathlib, signal
from pytest_wschaos.engines.owner import owner

def test_it(wschaos):
    pathlib.Path("owner.txt").write_text(owner())
    {}
"""


def test_what_a_killed_session_has_left_is_removed_by_the_next(project: pytest.Pytester, daemon: DockerClient) -> None:
    project.makepyfile(KILLED.format("os.kill(os.getpid(), signal.SIGKILL)"))
    assert project.runpytest_subprocess().ret == -signal.SIGKILL
    killed = (project.path / "owner.txt").read_text()
    assert len(ours(daemon, killed)) == 1
    project.makepyfile(KILLED.format("pass"))
    project.runpytest_subprocess().assert_outcomes(passed=1)
    assert ours(daemon, killed) == ours(daemon, (project.path / "owner.txt").read_text()) == []


def test_what_is_somebody_elses_stays(daemon: DockerClient) -> None:
    theirs = daemon.containers.create(engine.IMAGE, labels={engine.LABEL: "elsewhere-1"})
    try:
        engine._clean(daemon)
        theirs.reload()
    finally:
        theirs.remove()


def test_an_image_that_is_not_there_is_pulled_and_that_is_shown(
    daemon: DockerClient,
    image: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(images, "TELL_EVERY", 0)
    made = image("/toxiproxy")
    saved = list(daemon.images.get(made).save())
    daemon.images.remove(made)  # else there is nothing to pull
    with registry(saved, "shopify/toxiproxy:2.12.0") as name:
        try:
            engine.Container(name).stop()
            first, *amid, last = capsys.readouterr().err.strip().splitlines()
            assert first == f"wschaos: {name} is not on this machine: pulling it"
            assert all(re.fullmatch(rf"wschaos: pulling {name}: [\d.]+ of [\d.]+ MB", line) for line in amid)
            assert amid
            assert re.fullmatch(rf"wschaos: pulled {name} in [\d.]+ s", last)
            engine.Container(name).stop()
            assert capsys.readouterr().err == ""
        finally:
            daemon.images.remove(name)


def test_a_pull_that_fails_amid_is_told_with_the_reason() -> None:
    class Full:
        """A daemon whose disk is full."""

        images = api = property(lambda self: self)

        def get(self, image: str) -> None:
            raise ImageNotFound(image)

        def pull(self, *_: object, **__: object) -> Iterator[dict[str, object]]:
            yield {"status": "Downloading", "id": "1", "progressDetail": {"current": 1, "total": 2}}
            yield {"status": "Downloading", "id": "1", "progressDetail": {}}
            yield {"error": "no space left"}

    for _ in range(2):
        with pytest.raises(
            EngineMissing, match=r"no image full on this machine, .* pulled \(no space left\): docker load"
        ):
            images.require(Full(), "full")  # type: ignore[arg-type]


def test_an_image_that_is_nowhere_is_one_line_a_test(project: pytest.Pytester) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        name = f"localhost:{free.getsockname()[1]}/no/such:1"
        project.makepyfile("def test_it(wschaos): pass\ndef test_again(wschaos): pass")
        result = project.runpytest_subprocess(f"--wschaos-engine=docker:{name}")
        result.assert_outcomes(errors=2)
        told = rf"^engine 'docker': there is no image {name} on this machine, and it cannot be pulled \(.*refused\): "
        assert len(re.findall(told, result.stdout.str(), re.MULTILINE)) == 2
        assert result.stderr.str().count("pulling it") == 1  # though output is captured
        project.runpytest_subprocess(f"--wschaos-engine=docker:{name}", "--wschaos-skip-missing").assert_outcomes(
            skipped=2
        )


def test_a_daemon_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for where in (f"unix://{tmp_path}/none", "tcp://127.0.0.1:9", "nonsense://"):
        monkeypatch.setenv("DOCKER_HOST", where)
        told = rf"engine 'docker': no daemon of Docker answers \({where}\): start it, or name it by DOCKER_HOST"
        with pytest.raises(EngineMissing, match=told):
            engine.Container()


def test_a_daemon_that_may_not_be_spoken_with_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").chmod(0)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
        us = os.geteuid()
        if us == 0:  # nothing is forbidden to root
            os.seteuid(65534)
        try:
            with pytest.raises(EngineMissing, match=r"engine 'docker': no permission to speak .*: join the group"):
                engine.Container()
        finally:
            os.seteuid(us)


def test_an_image_that_is_no_toxiproxy_is_told_with_what_it_says(image: Callable[..., str], network: str) -> None:
    name = image("/toxiproxy", "-nonsense")
    told = f"engine 'docker': {name} ended at once, with status 2: is it a Toxiproxy.; it said:\nflag provided but"
    with pytest.raises(EngineMissing, match=told):
        engine.Container(name, network)
    name = image("/nothing")
    with pytest.raises(EngineMissing, match=f"engine 'docker': {name} cannot be started: .*/nothing"):
        engine.Container(name, network)


def test_one_that_does_not_answer_is_told_so(image: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "START_TIMEOUT", 0.3)
    name = image("/toxiproxy", "--")  # it listens where nobody comes: what is said of it is not read
    with pytest.raises(EngineMissing, match=rf"engine 'docker': {name} does not answer on 127.0.0.1:\d+: is it a Tox"):
        engine.Container(name, "ports")


def test_one_that_does_not_reach_us_is_told_so(daemon: DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_near", lambda _: "127.0.0.1")
    monkeypatch.setattr(real, "REACH_TIMEOUT", 0.2)
    container = engine.Container(None, "ports:1")
    monkeypatch.setattr(engine, "shared", lambda *_: container)
    try:
        with pytest.raises(EngineMissing, match=r"do not reach each other .*: does a firewall .* = host"):
            Chaos(engine="docker")
    finally:
        container.stop()


def test_where_a_machine_is_not_the_containers_host_its_loopback_is(daemon: DockerClient) -> None:
    class Elsewhere:
        attrs = {"NetworkSettings": {"Networks": {"bridge": {"Gateway": "192.0.2.1"}}}}

    assert engine._near(Elsewhere()) == "127.0.0.1"


CHOSEN = """
import pytest

def test_it(wschaos):
    print("it:", wschaos.engine)

@pytest.mark.wschaos(engine="docker:?network=host")
def test_marked(wschaos):
    print("marked:", wschaos.engine)

def test_factory(wschaos, wschaos_proxy):
    print("factory:", wschaos_proxy(f"127.0.0.1:{wschaos.server.port}", engine="docker").engine)
    assert False
"""


def test_image_and_network_are_chosen_by_option_or_ini_value(project: pytest.Pytester) -> None:
    project.makepyfile(CHOSEN)
    options = ("--wschaos-docker-network=ports:3", "-o", f"wschaos_toxiproxy_image={engine.IMAGE}")
    result = project.runpytest_subprocess("-s", *options)
    result.assert_outcomes(passed=2, failed=1)
    assert dict(re.findall(r"(it|marked|factory): (\S+)", result.stdout.str())) == {
        "it": f"docker:{engine.IMAGE}?network=ports:3",
        "marked": f"docker:{engine.IMAGE}?network=host",
        "factory": f"docker:{engine.IMAGE}?network=ports:3",
    }
    assert result.stdout.str().count(" --wschaos-docker-network=ports:3\n") >= 1


@pytest.mark.parametrize("network", ["bridge", "ports:", "ports:0", "ports:x", "ports:1001", "host:1", ""])
def test_a_network_that_cannot_be_is_told_before_any_test(project: pytest.Pytester, network: str) -> None:
    result = project.runpytest_inprocess(f"--wschaos-docker-network={network}")
    result.stderr.fnmatch_lines([f"ERROR: --wschaos-docker-network = '{network}': must be host, ports, or ports:COUNT"])
    with pytest.raises(ValueError, match="must be embedded, process, binary, docker, auto, or"):
        Chaos(engine=f"docker:?network={network}")
