"""A real Toxiproxy in a container that is started for the session, and ends with it."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import docker
from docker import DockerClient
from docker.errors import APIError, DockerException
from requests import RequestException

from ..engine.refusals import reserve
from ..toxiproxy import Server, answers
from . import image as images
from .link import EngineMissing
from .owner import left_behind, owner
from .route import Route
from .shared import Shared

IMAGE = "ghcr.io/shopify/toxiproxy:2.12.0"
"""The official one."""
LABEL = "pytest-wschaos"
"""The label of our containers; its value says whose it is."""
API_PORT = 8474
"""Of the API, in a container with a network of its own."""
FIRST_PORT = 8666
"""Of those that are published for proxies."""
PUBLISHED = 16
"""So many are, unless it is said otherwise: each takes about 45 ms at the start, and 60 at the end."""
HOST_NAME = "host.docker.internal"
"""What a container calls the machine that it runs on."""
CONNECT_TIMEOUT = 10
"""Seconds that the daemon has to answer at first."""
CALL_TIMEOUT = 60
"""Seconds that it has to answer from then on; a pull takes as long as it takes, and tells how far it is."""
START_TIMEOUT = 20.0
"""Seconds that a container which runs has to answer."""


class PortsUsedUp(RuntimeError):
    """There are as many listeners as published ports."""


class Published(Route):
    """Proxies are in a container with a network of its own, of which some ports are published on 127.0.0.1.

    Args:
        host: where the engine listens, so that the container reaches it.
        ports: the published port of each of the container's.
    """

    refuses = False  # what publishes a port accepts, whether a proxy listens on it or not
    advice = "does a firewall keep containers from this machine? Or try wschaos_docker_network = host"

    def __init__(self, host: str, ports: Mapping[int, int]) -> None:
        self.host = host
        self._ports = ports
        self._turn = itertools.cycle(ports)

    def listen(self, server: Server) -> str:
        taken = {_port(proxy["listen"]) for proxy in server.call("GET", "/proxies").json().values()}
        for port in itertools.islice(self._turn, len(self._ports)):  # in turn: another thread may ask at this moment
            if port not in taken:
                return f"0.0.0.0:{port}"
        count = len(self._ports)
        raise PortsUsedUp(
            f"engine 'docker': each of the {count} published ports has its listener: have more of them with "
            f"wschaos_docker_network = ports:{2 * count}, or use 'host'"
        )

    def upstream(self, address: str) -> str:
        return f"{HOST_NAME}:{_port(address)}"

    def public(self, listen: str) -> str:
        return f"127.0.0.1:{self._ports[_port(listen)]}"


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


class Container:
    """The server, in a container of its own.

    Args:
        image: pulled where it is not there; None: the official one.
        network: ``host``, ``ports`` or ``ports:COUNT``; None: the first on Linux, the second elsewhere.

    Raises:
        EngineMissing: no daemon, no permission, no image, or no answer in time; with what it said.
    """

    port: int
    """Of its API, on 127.0.0.1."""
    route: Route
    """How its proxies are reached."""

    def __init__(self, image: str | None = None, network: str | None = None) -> None:
        self._image = image or IMAGE
        self._container: Any = None
        self._client = _connect()
        try:
            with _told("the daemon does not do what it should"):
                images.require(self._client, self._image)
                _clean(self._client)
            kind, _, count = (network or ("host" if sys.platform == "linux" else "ports")).partition(":")
            if kind == "host":
                self._start_beside_us()
            else:
                self._start_apart(int(count or PUBLISHED))
        except BaseException:
            self.stop()
            raise

    def _start_beside_us(self) -> None:
        """In the network of this machine."""
        kept = reserve("127.0.0.1", 0)
        assert kept is not None
        with kept:  # nobody else is given the port until it listens
            self.port = kept.getsockname()[1]
            self._start(["-host", "127.0.0.1", "-port", str(self.port)], network_mode="host")
            self._wait("is the daemon on another machine, or a virtual one? Try wschaos_docker_network = ports")
        self.route = Route()

    def _start_apart(self, count: int) -> None:
        """In a network of its own, with so many ports for proxies."""
        ports = (API_PORT, *range(FIRST_PORT, FIRST_PORT + count))
        self._start(
            ["-host", "0.0.0.0"],
            ports={f"{port}/tcp": ("127.0.0.1", None) for port in ports},
            extra_hosts={HOST_NAME: "host-gateway"},
        )
        with _told(f"{self._image} is gone"):
            self._container.reload()
        published = {_number(name): int(there[0]["HostPort"]) for name, there in self._container.ports.items() if there}
        self.port = published.pop(API_PORT, 0)  # none: it has ended
        self._wait("is it a Toxiproxy?")
        self.route = Published(_near(self._container), published)

    def _start(self, command: list[str], **options: Any) -> None:
        # It is removed by us, not at its end: its last words would be, too.
        with _told(f"{self._image} cannot be started"):
            self._container = self._client.containers.create(self._image, command, labels={LABEL: owner()}, **options)
            self._container.start()

    def _wait(self, advice: str) -> None:
        if answers(self.port, lambda: self.alive, START_TIMEOUT):
            return
        how = f"does not answer on 127.0.0.1:{self.port}: {advice}"
        if not self.alive:
            how = f"ended at once, with status {self._container.attrs['State']['ExitCode']}: is it a Toxiproxy?"
        with _told(f"{self._image} {how}"):
            said = self._container.logs(tail=20).decode(errors="replace").strip()[-2000:]
        raise EngineMissing(f"engine 'docker': {self._image} {how}; it said:\n{said or '(nothing)'}")

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        try:
            self._container.reload()
        except (DockerException, RequestException):
            return False
        return bool(self._container.status == "running")

    def stop(self) -> None:
        """Remove it."""
        if self._container is not None:
            with contextlib.suppress(DockerException, RequestException):  # somebody else has, or the daemon is gone
                self._container.remove(force=True, v=True)
        self._client.close()


def _number(port: str) -> int:
    return int(port.removesuffix("/tcp"))


def _connect() -> DockerClient:
    try:
        client = docker.from_env(timeout=CONNECT_TIMEOUT)
    except DockerException as error:
        why = str(error)
    else:
        client.api.timeout = CALL_TIMEOUT
        return client
    with warnings.catch_warnings():  # docker leaves the socket open that could not connect
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    where = os.environ.get("DOCKER_HOST") or "where it usually is, or the current context says"
    if "Permission denied" in why:
        raise EngineMissing(
            f"engine 'docker': no permission to speak with Docker's daemon ({where}): join the group of its socket "
            "(docker), or name another daemon by DOCKER_HOST"
        )
    raise EngineMissing(
        f"engine 'docker': no daemon of Docker answers ({where}): start it, or name it by DOCKER_HOST; {why}"
    )


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Where the daemon refuses, or is gone, the engine is missing."""
    try:
        yield
    except (DockerException, RequestException) as error:
        why = (error.explanation if isinstance(error, APIError) else None) or error
        raise EngineMissing(f"engine 'docker': {what}: {why}") from None


def _clean(client: DockerClient) -> None:
    """Remove the containers of processes of ours that were killed."""
    for found in client.api.containers(all=True, filters={"label": LABEL}):
        if left_behind(found["Labels"][LABEL]):
            with contextlib.suppress(APIError):  # another process of ours was quicker
                client.api.remove_container(found["Id"], force=True, v=True)


def _near(container: Any) -> str:
    """The address of this machine that a container reaches: its gateway, where that is this machine and no other."""
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    try:
        with socket.socket() as there:
            there.bind((network["Gateway"], 0))
    except OSError:  # Docker Desktop: what it calls its host reaches 127.0.0.1
        return "127.0.0.1"
    return str(network["Gateway"])


_shared: dict[tuple[str | None, str | None], Shared[Container]] = {}


def shared(image: str | None = None, network: str | None = None) -> Container:
    """The container that all tests of this process share, of an image and in a network."""
    if (image, network) not in _shared:
        _shared[image, network] = Shared(lambda: Container(image, network))
    return _shared[image, network].get()


def end() -> None:
    """Remove the containers of this process; who asks for one then gets another."""
    for one in _shared.values():
        one.end()
