"""What the engine refuses, with Toxiproxy's words and HTTP status."""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Base: a request that the engine refuses. ``status`` is the HTTP status that says so."""

    status: ClassVar[int] = 500


class BadRequest(EngineError):
    """A field that is missing or cannot be."""

    status = 400


class NotFound(EngineError):
    """There is no proxy, or no toxic, of that name."""

    status = 404


class Exists(EngineError):
    """There is one of that name already."""

    status = 409


class Busy(EngineError):
    """As many are served as can be."""

    status = 503


class CannotListen(EngineError):
    """The address cannot be listened on."""
