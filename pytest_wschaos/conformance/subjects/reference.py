"""The reference client as a subject: in this process, and by :mod:`.speak` as a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...profile import Profile
from ...reference.client import ReferenceClient
from .subject import CAN


def reference(
    url: str, *, token: Callable[[], str], profile: Profile, on_event: Callable[[dict[str, Any]], None]
) -> ReferenceClient:
    """A reference client that connects."""
    client = ReferenceClient(url, token=token, profile=profile, on_event=on_event)
    client.start()
    return client


reference.hello = {"speaks": "wschaos.v1", "can": sorted(CAN)}  # type: ignore[attr-defined]
