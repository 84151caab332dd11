"""toxiproxy-python, with what it lacks.

It knows one address for a whole process, has no timeouts, takes a status of 500 for success, goes through HTTP proxies,
and cannot change a toxic. Here each client has a server of its own; all else is the library's.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from time import monotonic, sleep
from typing import Any

import requests
import toxiproxy
import toxiproxy.proxy
from toxiproxy.api import APIConsumer, validate_response

TIMEOUT = 5.0
"""Seconds that one call of the API may take."""


class ToxiproxyError(RuntimeError):
    """The server refused a call in a way that toxiproxy-python does not notice, or did not answer in time."""


class Server:
    """The API at ``host:port``.

    Args:
        timeout: seconds that a call may take.
        prefix: what the names of our proxies begin with, where others have some there too; clients do not see it.
    """

    def __init__(self, host: str, port: int, timeout: float = TIMEOUT, prefix: str = "") -> None:
        self.host = host
        self.port = port
        self.prefix = prefix
        self._timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = False  # neither HTTP_PROXY nor .netrc has a say

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """The answer to a request.

        Raises:
            ToxiproxyError: none came in time, or its status is one that the library would take for success.
            NotFound, ProxyExists, InvalidToxic: the library's own.
        """
        if path.startswith("/proxies/"):
            path = f"/proxies/{self.prefix}{path.removeprefix('/proxies/')}"
        elif path == "/proxies" and method == "POST":
            options["json"] = {**options["json"], "name": self.prefix + options["json"]["name"]}
        url = f"http://{self.host}:{self.port}{path}"
        try:
            response = self._session.request(method, url, timeout=self._timeout, **options)
        except requests.RequestException as error:
            raise ToxiproxyError(f"{method} {url}: {error}") from error
        checked: requests.Response = validate_response(response)
        if not checked.ok:
            raise ToxiproxyError(f"{method} {url}: {checked.status_code} {checked.text.strip()}")
        return checked

    def version(self) -> str:
        """The version that it says it is.

        Raises:
            ToxiproxyError: what answers is no Toxiproxy, or nothing does.
        """
        try:
            return str(self.call("GET", "/version").json()["version"])
        except ToxiproxyError:
            raise
        except Exception as error:  # whatever listens there may answer anything
            raise ToxiproxyError(f"GET http://{self.host}:{self.port}/version: {error}") from error

    def close(self) -> None:
        """Let go of the connections to it."""
        self._session.close()


def answers(port: int, alive: Callable[[], bool], timeout: float) -> bool:
    """Wait until a server answers on 127.0.0.1 that was just started; whether it does.

    Args:
        alive: whether it still runs.
        timeout: seconds that it has.
    """
    end = monotonic() + timeout
    with closing(Server("127.0.0.1", port)) as server:
        while True:
            with suppress(ToxiproxyError):
                server.version()
                return True
            if not alive() or monotonic() > end:
                return False
            sleep(0.005)


_asked: ContextVar[Server | None] = ContextVar("_asked", default=None)
"""The server of the call that is being made; None: a client makes it that is not ours."""


def _divert(method: str) -> None:
    """Have the library's calls go to the server of the client that makes them."""
    original = vars(APIConsumer)[method].__func__

    @functools.wraps(original)
    def call(consumer: type, url: str, *args: Any, **options: Any) -> Any:
        server = _asked.get()
        if server is None:
            return original(consumer, url, *args, **options)
        return server.call(method.upper(), url, **options)

    setattr(APIConsumer, method, classmethod(call))


for _method in ("get", "delete", "post"):
    _divert(_method)


def _of_its_server(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the library's, asking the server of its object."""

    @functools.wraps(method)
    def call(self: Client | Proxy, *args: Any, **options: Any) -> Any:
        token = _asked.set(self.server)
        try:
            return _adopted(method(self, *args, **options), self.server)
        finally:
            _asked.reset(token)

    return call


def _adopted(answer: Any, server: Server) -> Any:
    """What the library has made, with its proxies as ours; those of others are left out."""
    match answer:
        case toxiproxy.proxy.Proxy() if not isinstance(answer, Proxy):
            return Proxy(server, {**vars(answer), "name": answer.name.removeprefix(server.prefix)})
        case dict():
            adopted = [(one, _adopted(one, server)) for one in answer.values()]
            return {new.name: new for old, new in adopted if _ours(old, server)}
    return answer


def _ours(thing: Any, server: Server) -> bool:
    return not isinstance(thing, toxiproxy.proxy.Proxy) or thing.name.startswith(server.prefix)


class Proxy(toxiproxy.proxy.Proxy):  # type: ignore[misc]  # the library has no types
    """A proxy of a server; as the library's, and its toxics can be changed."""

    def __init__(self, server: Server, fields: Mapping[str, Any]) -> None:
        super().__init__(**fields)
        self.server = server

    def update_toxic(
        self, name: str, attributes: Mapping[str, Any] | None = None, toxicity: float | None = None
    ) -> None:
        """Change attributes (those given) and toxicity (from 0 to 1) of a toxic."""
        given = {"attributes": attributes, "toxicity": toxicity}
        changed = {field: value for field, value in given.items() if value is not None}
        self.server.call("POST", f"/proxies/{self.name}/toxics/{name}", json=changed)


class Client(toxiproxy.Toxiproxy):  # type: ignore[misc]
    """The library's client, for a server of its own: several can be used side by side."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def running(self) -> bool:
        """Whether somebody listens there."""
        try:
            socket.create_connection((self.server.host, self.server.port), TIMEOUT).close()
        except OSError:
            return False
        return True

    def reset(self) -> bool:
        """Enable the proxies, and remove their toxics; not those of others."""
        if not self.server.prefix:
            return bool(self.server.call("POST", "/reset"))
        for proxy in self.proxies().values():
            proxy.enable()
            for name in proxy.toxics():
                proxy.destroy_toxic(name)
        return True

    def update_api_consumer(self, host: str, port: int) -> None:
        """Ask another server from now on."""
        self.server.close()
        self.server = Server(host, port)


for _kind in (Proxy, Client):
    for _name, _function in vars(_kind.__base__).items():
        if callable(_function) and not _name.startswith("_") and _name not in vars(_kind):
            setattr(_kind, _name, _of_its_server(_function))


@contextmanager
def connected(host: str, port: int, timeout: float = TIMEOUT, prefix: str = "") -> Iterator[Client]:
    """A client for the server at ``host:port``, as long as the block lasts; see :class:`Server`.

    Raises (from its calls):
        ToxiproxyError: no answer within ``timeout`` seconds, or a status that it would take for success.
    """
    client = Client(Server(host, port, timeout, prefix))
    try:
        yield client
    finally:
        client.server.close()
