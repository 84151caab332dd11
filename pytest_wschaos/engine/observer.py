"""What the engine tells of its connections to whoever wants to know."""

from __future__ import annotations

from typing import Any, Literal, Protocol

Place = Literal["client", "server"]
Way = Literal["up", "down"]


class Tap(Protocol):
    """Told of everything on one connection, at the instant at which it happens."""

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Bytes passed one side of the proxy: came from it, or are about to be written to it."""

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """One side's TCP ended. Told once for each side."""

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """The engine ends the connection."""

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """A toxic has done something to what passes in a direction."""

    def error(self, text: str) -> None:
        """The upstream cannot be reached."""


class Observer(Protocol):
    """Makes a tap for each connection."""

    def attempt(self, proxy: str) -> Tap | None:
        """A client has connected; None: not of interest."""

    def refused(self, proxy: str, at: float, late: float) -> None:
        """A client was refused at ``at`` (loop time), or up to ``late`` seconds before."""

    def blind(self, proxy: str) -> None:
        """Some refused attempt, of this proxy's clients or of others, could not be told."""


class Both:
    """A tap that tells two."""

    def __init__(self, one: Tap, other: Tap) -> None:
        self._taps = (one, other)

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.data(place, way, data)

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.ended(place, by, how)

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.cut(fault, how)

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.acted(toxic, way, **what)

    def error(self, text: str) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.error(text)


class Silent:
    """A tap, and an observer, that want to know nothing."""

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Ignored."""

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """Ignored."""

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """Ignored."""

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """Ignored."""

    def error(self, text: str) -> None:
        """Ignored."""

    def attempt(self, proxy: str) -> Tap | None:
        """Ignored."""
        return None

    def refused(self, proxy: str, at: float, late: float) -> None:
        """Ignored."""

    def blind(self, proxy: str) -> None:
        """Ignored."""


SILENT = Silent()
