"""What may be told of a WebSocket handshake: where it went and how it was answered, and no secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..retry_after import retry_after
from ..timeline import SECRET_PARAMETERS, fingerprint
from .frames import Head

LONGEST_NAME = 32
"""Characters of a subprotocol's name above which it is taken for a token."""
SECRET_COOKIE = "wschaos_token"


def request(head: Head) -> dict[str, Any]:
    """What is told of an upgrade request: query values and credentials only by fingerprint."""
    path, _, query = head.start[1].partition("?")
    if query:  # what has no name may be a secret as a whole
        names = [part.partition("=")[0] + "=***" if "=" in part else "***" for part in query.split("&")]
        path = f"{path}?{'&'.join(names)}"
    detail: dict[str, Any] = {"path": path, "host": _host(head.headers.get("host", ""))}
    if "origin" in head.headers:
        detail["origin"] = head.headers["origin"]
    if "sec-websocket-protocol" in head.headers:
        # Browsers have no other header to put a token into, and so it is found among the subprotocols.
        offered = [name.strip() for name in head.headers["sec-websocket-protocol"].split(",")]
        detail["subprotocol"] = ", ".join(name if len(name) <= LONGEST_NAME else fingerprint(name) for name in offered)
    token = next((value for name, value in parse_qsl(query) if name.lower() in SECRET_PARAMETERS), None)
    found: tuple[tuple[str, Callable[[], str | None]], ...] = (
        ("query", lambda: token),
        ("header", lambda: head.headers.get("authorization", "").rpartition(" ")[2] or None),
        ("cookie", lambda: _cookie(head.headers.get("cookie", ""))),
    )
    for mode, read in found:
        if secret := read():
            return detail | {"mode": mode, "fingerprint": fingerprint(secret)}
    return detail


def response(head: Head) -> dict[str, Any]:
    """What is told of the answer to it."""
    detail: dict[str, Any] = {"status": status(head)}
    if "retry-after" in head.headers:
        asked = retry_after({"Retry-After": head.headers["retry-after"], "Date": head.headers.get("date", "")})
        if asked is not None:
            detail["retry_after"] = asked
    if to := _target(head.headers.get("location", "")):
        detail["to"] = to
    return detail


def status(head: Head) -> int:
    """The status of an answer; 0 where it is no number."""
    code = head.start[1]
    return int(code) if len(code) == 3 and code.isascii() and code.isdigit() else 0


def _host(authority: str) -> str:
    """Host and port as they are compared: lower case, without a scheme's own port."""
    return re.sub(r":(80|443)$", "", authority.lower())


def _target(location: str) -> str:
    """The host that a redirect points to; empty where it is the same one, as far as can be read."""
    try:
        return _host(urlsplit(location).netloc.rpartition("@")[2])
    except ValueError:
        return ""


def _cookie(header: str) -> str | None:
    """The cookie that holds the token; of other cookies the whole header, since any of them may."""
    if not header:
        return None
    try:
        cookies = SimpleCookie(header)
    except CookieError:
        return header
    return cookies[SECRET_COOKIE].value if SECRET_COOKIE in cookies else header
