"""Refused attempts, as the simulated network tells of them."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ..engine.refusals import Expected, Refusals, Reservation
from .sockets import Address

if TYPE_CHECKING:
    from .loop import SimulatedLoop

__all__ = ["Refusals", "SimulatedRefusals"]


class SimulatedRefusals:
    """Exact, and at once."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._expected: dict[int, Expected] = {}
        loop.network.refused.append(self._refused)

    def reserve(self, host: str, port: int) -> Reservation | None:
        """No other is given a port that was given once."""
        return None

    def expect(self, port: int, expected: Expected) -> None:
        """From now on tell of each attempt on ``port``."""
        self._expected[port] = expected

    def forgive(self, port: int) -> None:
        """The port is about to listen again, or is gone."""
        self._expected.pop(port, None)

    def stop(self) -> None:
        """Watch nothing any more."""
        self._expected.clear()
        if self._refused in self._loop.network.refused:
            self._loop.network.refused.remove(self._refused)

    def _refused(self, address: Address) -> None:
        expected = self._expected.get(address[1])
        if expected is not None and expected.at(ipaddress.ip_address(address[0]).packed):
            expected.refused(self._loop.time(), 0.0)
