"""The toxics, one file each. The registry is the list of files."""

from __future__ import annotations

from collections.abc import Mapping

from ..stage import Stage
from .bandwidth import Bandwidth
from .blackhole import Blackhole
from .frame import Frame
from .handshake import Handshake
from .idle_timeout import IdleTimeout
from .latency import Latency
from .lifetime import Lifetime
from .limit_data import LimitData
from .noop import Noop
from .reset_now import ResetNow
from .reset_peer import ResetPeer
from .schedule import Schedule
from .slicer import Slicer
from .slow_close import SlowClose
from .stall import Stall
from .timeout import Timeout

STANDARD: tuple[type[Stage], ...] = (Noop, Latency, Bandwidth, SlowClose, Timeout, ResetPeer, Slicer, LimitData)
"""Toxiproxy's own, with its names and behaviour."""
BEYOND: tuple[type[Stage], ...] = (
    Blackhole, Stall, IdleTimeout, Lifetime, ResetNow, Frame, Handshake, Schedule,
)  # fmt: skip
"""What Toxiproxy cannot do, under names of their own."""

TOXICS: Mapping[str, type[Stage]] = {kind.type: kind for kind in STANDARD + BEYOND}
