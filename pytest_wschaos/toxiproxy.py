"""toxiproxy-python, with what it lacks: timeouts, errors for every refusal, and no detour through HTTP proxies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import requests
from toxiproxy import Toxiproxy
from toxiproxy import api as toxiproxy_api

TIMEOUT = 5.0
"""Seconds that one call of the API may take."""


class ToxiproxyError(RuntimeError):
    """The server refused a call in a way that toxiproxy-python does not notice, or did not answer in time."""


@contextmanager
def connected(host: str, port: int, timeout: float = TIMEOUT) -> Iterator[Toxiproxy]:
    """A client for the server at ``host:port``, as long as the block lasts.

    toxiproxy-python keeps the address in a class, so that a process talks to one server at a time: blocks
    must not overlap.

    Raises (from its calls):
        ToxiproxyError: no answer within ``timeout`` seconds, or a status that it would take for success.
    """
    with requests.Session() as session:
        session.trust_env = False  # neither HTTP_PROXY nor .netrc has a say on loopback

        def call(method: str, path: str, **options: Any) -> requests.Response:
            url = f"http://{host}:{port}{path}"
            try:
                response = session.request(method, url, timeout=timeout, **options)
            except requests.RequestException as error:
                raise ToxiproxyError(f"{method} {url}: {error}") from error
            checked: requests.Response = toxiproxy_api.validate_response(response)
            if not checked.ok:
                raise ToxiproxyError(f"{method} {url}: {checked.status_code} {checked.text.strip()}")
            return checked

        def get(path: str, params: Any = None, **options: Any) -> requests.Response:
            return call("GET", path, params=params, **options)

        def delete(path: str, **options: Any) -> requests.Response:
            return call("DELETE", path, **options)

        def post(path: str, data: Any = None, json: Any = None, **options: Any) -> requests.Response:
            return call("POST", path, data=data, json=json, **options)

        consumer = toxiproxy_api.APIConsumer
        with mock.patch.multiple(consumer, host=host, port=port, get=get, delete=delete, post=post):
            yield Toxiproxy()
