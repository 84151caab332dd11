"""Clients for tests of the suite: the reference client, and ones that are broken in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_wschaos import Profile
from pytest_wschaos.conformance.subjects.reference import reference
from pytest_wschaos.reference.client import ReferenceClient


def soon_gives_up(
    url: str, *, token: Callable[[], str], profile: Profile, on_event: Callable[[dict[str, Any]], None]
) -> ReferenceClient:
    """A client that makes two retries, whatever is declared."""
    hasty = profile.with_(reconnect={"max_retries": 2})
    client = ReferenceClient(url, token=token, profile=hasty, on_event=on_event)
    client.start()
    return client


soon_gives_up.hello = reference.hello  # type: ignore[attr-defined]


def speaks_raw(
    url: str, *, token: Callable[[], str], profile: Profile, on_event: Callable[[dict[str, Any]], None]
) -> ReferenceClient:
    """A client that can do nothing of what a case may need."""
    return reference(url, token=token, profile=profile, on_event=on_event)


speaks_raw.hello = {"speaks": "wschaos.v1", "can": []}  # type: ignore[attr-defined]
NO_FUNCTION = 3
