"""Refused attempts, from the sockets that the kernel frees (Linux, without privilege).

Linux announces every TCP socket that is freed to whoever listens on the netlink group for that (``ss --events``
does), with the port that it had tried. The announcement is a kernel worker's job: on an idle machine it came within
0.1 ms, at most 12; with both cores busy one in twenty came more than 5 ms late, the worst 444 ms.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct

from .refusals import Expected, Reservation, reserve

NETLINK_SOCK_DIAG = 4
DESTROYED_TCP4 = 1 << 0  # the groups are counted from 1 and given as bits
DESTROYED_TCP6 = 1 << 2
_HEADER = 16  # struct nlmsghdr
_IDENTITY = struct.Struct("!B3xHH16x16s")  # struct inet_diag_msg: family, local and remote port, remote address
_MESSAGE = 72  # its length; attributes follow
_INFO = 2  # INET_DIAG_INFO, a struct tcp_info
_RCV_SPACE = 96  # offset in tcp_info of a figure that is 0 until a connection is established, and never again
_MARK = "@wschaos-refuses-"
"""Prefix of the abstract socket by which an engine says to others on this machine that it refuses."""
LATE_WHEN_IDLE = 0.015
LATE_WHEN_BUSY = 0.5
"""Seconds by which the news may come late: measured, see above."""
IDLE_ENOUGH = 0.2
"""Share of idle time that each core must have for the shorter figure to hold."""
MEASURED_TICKS = 5
"""Ticks (of 10 ms) below which a share says nothing."""


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((0, DESTROYED_TCP4 | DESTROYED_TCP6))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def attempted(message: bytes) -> tuple[bytes, int] | None:
    """The address and port that a freed socket had tried in vain; None: it did not try in vain.

    The port is 0 where the kernel has wiped it: where the client's connect() was a blocking one.
    """
    family, _, remote, address = _IDENTITY.unpack_from(message, _HEADER)
    if not any(address):  # it listened
        return None
    if family == socket.AF_INET:
        address = address[:4]
    offset = _HEADER + _MESSAGE
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if kind == _INFO and length >= 4 + _RCV_SPACE + 4:
            (space,) = struct.unpack_from("=I", message, offset + 4 + _RCV_SPACE)
            return None if space else (address, int(remote))
        offset += max(4, (length + 3) & ~3)
    return None


class FreedSockets:
    """Tells of each attempt soon after it; how late that may be depends on how busy the machine is.

    An attempt whose port was wiped is put down to the only port that refuses. While several do, in this process or
    in another, it cannot be told whose it was: all of them are told that they are blind.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sock: socket.socket | None = None
        self._mark: socket.socket | None = None
        self._expected: dict[int, Expected] = {}
        self._idle = IdleShare()

    @staticmethod
    def supported() -> bool:
        """Whether the kernel tells of freed sockets."""
        try:
            _open().close()
        except (OSError, AttributeError):
            return False
        return True

    def reserve(self, host: str, port: int) -> Reservation | None:
        """Keep a port without listening on it."""
        return reserve(host, port)

    def expect(self, port: int, expected: Expected) -> None:
        """From now on tell of each attempt on ``port``."""
        if self._sock is None:
            self._sock = _open()
            self._mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._mark.bind(f"\0{_MARK[1:]}{os.getpid()}-{id(self)}")
            self._loop.add_reader(self._sock.fileno(), self._read)
            self._idle.start()
        self._expected[port] = expected

    def forgive(self, port: int) -> None:
        """The port is about to listen again, or is gone."""
        if port in self._expected:
            self._read()
            del self._expected[port]
        if not self._expected:
            self.stop()

    def stop(self) -> None:
        """Watch nothing any more."""
        self._expected.clear()
        for sock in (self._sock, self._mark):
            if sock is not None:
                self._loop.remove_reader(sock.fileno())
                sock.close()
        self._sock = self._mark = None

    def _read(self) -> None:
        while self._sock is not None:
            try:
                message = self._sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:  # more came than the buffer holds
                self._blind()
                continue
            if (target := attempted(message)) is None:
                continue
            address, port = target
            if port == 0 and not any(expected.at(address) for expected in self._expected.values()):
                continue
            if port == 0 and len(self._expected) == 1 and not _others():
                port = next(iter(self._expected))
            if port == 0:
                self._blind()
            elif port in self._expected and self._expected[port].at(address):
                late = LATE_WHEN_IDLE if self._idle.least() >= IDLE_ENOUGH else LATE_WHEN_BUSY
                self._expected[port].refused(self._loop.time(), late)

    def _blind(self) -> None:
        for expected in self._expected.values():
            expected.blind()


class IdleShare:
    """How idle the busiest core has been lately, from ``/proc/stat``."""

    def __init__(self) -> None:
        self._before: list[tuple[int, int]] = []
        self._least = 1.0

    def start(self) -> None:
        """Measure from now on."""
        self._before, self._least = _cores(), 1.0

    def least(self) -> float:
        """Share of idle time, 0 to 1, of the core that had least of it since the last measure."""
        now = _cores()
        shares = [
            (idle - idle_before) / (total - before)
            for (idle, total), (idle_before, before) in zip(now, self._before, strict=False)
            if total - before >= MEASURED_TICKS
        ]
        if shares:
            self._before, self._least = now, min(shares)
        return self._least


def _cores() -> list[tuple[int, int]]:
    """Idle and total time of each core, in the kernel's ticks (10 ms)."""
    with open("/proc/stat", encoding="ascii") as stat:
        lines = [line.split() for line in stat if line.startswith("cpu") and line[3] != " "]
    return [(int(line[4]), sum(map(int, line[1:]))) for line in lines]


def _others() -> bool:
    """Whether another engine on this machine refuses too."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as sockets:
        return sum(_MARK in line for line in sockets) > 1
