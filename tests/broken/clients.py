"""All broken clients, by the areas of the spec."""

from __future__ import annotations

from . import auth, backoff, heartbeat, reconnect, replay
from .registry import BROKEN, Broken

__all__ = ["BROKEN", "Broken", "auth", "backoff", "heartbeat", "reconnect", "replay"]
