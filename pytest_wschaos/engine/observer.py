"""What the engine tells of itself to whoever wants to know: the timeline, the stream of events, a tally."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .proxy import Toxic

Place = Literal["client", "server"]
Way = Literal["up", "down"]
ProxyChange = Literal["proxy_created", "proxy_enabled", "proxy_disabled", "proxy_deleted"]
ToxicChange = Literal["toxic_added", "toxic_updated", "toxic_removed"]


class Tap:
    """Told of everything on one connection, at the instant at which it happens. This one ignores it all."""

    __slots__ = ()

    watching: bool = False
    """Whether it wants to be told of data. Once it is False it stays so, since a stream cannot be read from its middle;
    the piece that is on its way is told all the same."""

    def accepted(self, address: str) -> None:
        """The client is connected, from ``host:port``."""

    def dialling(self, upstream: str) -> None:
        """The upstream is being connected to."""

    def connected(self) -> None:
        """The upstream is connected."""

    def error(self, text: str) -> None:
        """The upstream cannot be reached."""

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Bytes passed one side of the proxy: came from it, or are about to be written to it."""

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """One side's TCP ended. Told once for each side."""

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """The engine ends the connection."""

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """A toxic has done something to what passes in a direction."""


class Observer:
    """Makes a tap for each connection, and is told of proxies and toxics. This one ignores it all."""

    def attempt(self, proxy: str, number: int) -> Tap | None:
        """A client has connected, the proxy's ``number``-th; None: not of interest."""
        return None

    def refused(self, proxy: str, at: float, late: float) -> None:
        """A client was refused at ``at`` (loop time), or up to ``late`` seconds before."""

    def blind(self, proxy: str) -> None:
        """Some refused attempt, of this proxy's clients or of others, could not be told."""

    def proxy_changed(self, proxy: str, change: ProxyChange, listen: str, upstream: str) -> None:
        """A proxy came, listens, no longer listens, or is forgotten."""

    def toxic_changed(self, proxy: str, change: ToxicChange, toxic: Toxic) -> None:
        """A toxic came, has other attributes, or is gone."""


class Taps(Tap):
    """A tap that tells several."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._taps = taps

    @property
    def watching(self) -> bool:  # type: ignore[override]
        """Whether one of them is."""
        return any(tap.watching for tap in self._taps)

    def accepted(self, address: str) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.accepted(address)

    def dialling(self, upstream: str) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.dialling(upstream)

    def connected(self) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.connected()

    def error(self, text: str) -> None:
        """Passed on."""
        for tap in self._taps:
            tap.error(text)

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Passed on to those that watch."""
        for tap in self._taps:
            if tap.watching:
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


class Observers(Observer):
    """An observer that tells several, who come and go."""

    def __init__(self, *observers: Observer) -> None:
        self._all = list(observers)

    def add(self, observer: Observer) -> bool:
        """Tell one more, from now on; returns whether it was not told already."""
        if observer in self._all:
            return False
        self._all.append(observer)
        return True

    def remove(self, observer: Observer) -> None:
        """Tell one no longer. Its taps are told of their connections until these end."""
        if observer in self._all:
            self._all.remove(observer)

    def attempt(self, proxy: str, number: int) -> Tap | None:
        """Passed on."""
        return together([one.attempt(proxy, number) for one in self._all])

    def refused(self, proxy: str, at: float, late: float) -> None:
        """Passed on."""
        for one in self._all:
            one.refused(proxy, at, late)

    def blind(self, proxy: str) -> None:
        """Passed on."""
        for one in self._all:
            one.blind(proxy)

    def proxy_changed(self, proxy: str, change: ProxyChange, listen: str, upstream: str) -> None:
        """Passed on."""
        for one in self._all:
            one.proxy_changed(proxy, change, listen, upstream)

    def toxic_changed(self, proxy: str, change: ToxicChange, toxic: Toxic) -> None:
        """Passed on."""
        for one in self._all:
            one.toxic_changed(proxy, change, toxic)


def together(taps: Sequence[Tap | None]) -> Tap | None:
    """One tap for those that there are; None: there is none."""
    some = [tap for tap in taps if tap is not None]
    return Taps(some) if len(some) > 1 else next(iter(some), None)


SILENT_TAP = Tap()
SILENT = Observer()
