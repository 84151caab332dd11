"""Where a client's token comes from, how it travels in each mode, and how it stays out of texts."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit, urlunsplit

from ..profile import AuthMode
from .protocol import COOKIE, redact_url

TokenProvider = Callable[[], str | Awaitable[str]]
TokenSource = str | TokenProvider | None


class TokenError(Exception):
    """The token provider failed. The text names the kind of error only: its own text might hold a token."""


async def fetch(source: TokenSource) -> str | None:
    """The token to present now; a provider is asked anew for every connection.

    Raises:
        TokenError: the provider raised, or returned no string.
    """
    if source is None or isinstance(source, str):
        return source
    try:
        token = source()
        if inspect.isawaitable(token):
            token = await token
    except Exception as error:
        raise TokenError(f"the token provider failed: {type(error).__name__}") from None
    if not isinstance(token, str):
        raise TokenError(f"the token provider returned {type(token).__name__}, not a string")
    return token


def headers(mode: AuthMode, token: str | None) -> dict[str, str]:
    """The headers that carry the token in the modes ``cookie`` and ``header``."""
    if token is not None and mode == "cookie":
        return {"Cookie": f"{COOKIE}={token}"}
    if token is not None and mode == "header":
        return {"Authorization": f"Bearer {token}"}
    return {}


def url_with_token(url: str, mode: AuthMode, token: str | None) -> str:
    """The URL to connect to: with the token in its query in the mode ``query``."""
    if token is None or mode != "query":
        return url
    parts = urlsplit(url)
    pair = f"token={quote(token, safe='')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{pair}" if parts.query else pair))


def scrub(text: str, token: str | None) -> str:
    """A text for people, without the token in any form in which it may have got there."""
    for form in (token, quote(token, safe="")) if token else ():
        text = text.replace(form, "***")
    return redact_url(text)
