"""Refused attempts, by looking at the SYNs (Linux, with CAP_NET_RAW)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time

from .refusals import Expected, Reservation, reserve

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_STATISTICS = 6  # reading them sets them to 0
PACKET_IGNORE_OUTGOING = 23  # loopback shows each packet on its way out and on its way in
SO_ATTACH_FILTER = 26
SO_TIMESTAMPNS = 35
EXACT = 0.001
"""Seconds within which two clocks must have been read."""
TRIES = 5
AT_ONCE = 256
"""Packets that are looked at in one turn of the loop: other processes may connect faster than they can be read."""
ALL = 4096
"""More packets than the kernel keeps for us."""

# Classic BPF over the IP header: (code, jump if true, jump if false, value).
_ONLY_SYN = [
    (0x30, 0, 0, 0),  # A = first byte
    (0x54, 0, 0, 0xF0),
    (0x15, 0, 5, 0x40),  # IPv4? else see IPv6
    (0x30, 0, 0, 9),  # A = protocol
    (0x15, 0, 8, 6),  # TCP? else drop
    (0xB1, 0, 0, 0),  # X = length of the IPv4 header
    (0x50, 0, 0, 13),  # A = TCP flags
    (0x05, 0, 0, 4),  # to the test of the flags
    (0x15, 0, 4, 0x60),  # IPv6? else drop
    (0x30, 0, 0, 6),  # A = next header
    (0x15, 0, 2, 6),  # TCP? else drop
    (0x30, 0, 0, 53),  # A = TCP flags
    (0x54, 0, 0, 0x12),  # the bits SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone? else drop
    (0x06, 0, 0, 128),  # keep so many bytes
    (0x06, 0, 0, 0),  # drop
]


def read_syn(packet: bytes) -> tuple[bytes, int, int, int]:
    """The address and port that a SYN is for, the port that it comes from, and its sequence number."""
    six = packet[0] >> 4 == 6
    start = 40 if six else (packet[0] & 0x0F) * 4
    address = packet[24:40] if six else packet[16:20]
    source, port, sequence = struct.unpack_from("!HHI", packet, start)
    return address, port, source, sequence


class Packets:
    """Tells of each attempt at the instant at which the kernel saw its SYN."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sock: socket.socket | None = None
        self._expected: dict[int, Expected] = {}
        self._sequences: dict[tuple[int, int], int] = {}

    @staticmethod
    def supported() -> bool:
        """Whether this process may look at packets."""
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
            self._loop.add_reader(self._sock.fileno(), self._read, AT_ONCE)
        self._read()  # what came while this port still listened
        self._expected[port] = expected

    def forgive(self, port: int) -> None:
        """The port is about to listen again, or is gone."""
        if port in self._expected:
            self._read()
            del self._expected[port]
            self._sequences = {ports: number for ports, number in self._sequences.items() if ports[0] != port}
        if not self._expected:
            self.stop()

    def stop(self) -> None:
        """Watch nothing any more."""
        self._expected.clear()
        self._sequences.clear()
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _read(self, most: int = ALL) -> None:
        for _ in range(most):
            if self._sock is None:
                return
            try:
                packet, ancillary, _, _ = self._sock.recvmsg(256, 64)
            except BlockingIOError:
                self._look_for_losses()
                return
            except OSError:  # an interface went away; the socket goes on
                continue
            address, port, source, sequence = read_syn(packet)
            expected = self._expected.get(port)
            # A SYN that meets the remains of an earlier connection is answered by them, and sent a second time.
            if expected is not None and expected.at(address) and self._sequences.get((port, source)) != sequence:
                self._sequences[port, source] = sequence
                expected.refused(self._seen(ancillary), 0.0)

    def _seen(self, ancillary: list[tuple[int, int, bytes]]) -> float:
        """When the kernel saw a packet, on the loop's clock."""
        for _ in range(TRIES):
            now = self._loop.time()
            at = now - _age(ancillary)
            if self._loop.time() - now < EXACT:  # else something else ran between the two clocks
                break
        return at

    def _look_for_losses(self) -> None:
        """Where the buffer was full, some attempts were not seen."""
        assert self._sock is not None
        _, dropped = struct.unpack("II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        for expected in self._expected.values() if dropped else ():
            expected.blind()


def _age(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Seconds since the kernel saw a packet; it stamps with the wall clock."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= 16:
            seconds, nanoseconds = struct.unpack_from("qq", data)
            return max(0.0, time.time() - (int(seconds) + int(nanoseconds) / 1e9))
    return 0.0


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.htons(ETH_P_ALL))
    try:
        code = b"".join(struct.pack("HBBI", *instruction) for instruction in _ONLY_SYN)
        program = _Program(code)
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program.pointer)
        sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.setblocking(False)
        # It listens on all interfaces from its first moment: what came before the filter was in place goes.
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.recv(1)
    except OSError:
        sock.close()
        raise
    return sock


class _Program:
    """A filter in memory, as the kernel takes it: ``struct sock_fprog``, a length and a pointer."""

    def __init__(self, code: bytes) -> None:
        import ctypes

        self._code = ctypes.create_string_buffer(code, len(code))
        self.pointer = struct.pack("HP", len(code) // 8, ctypes.addressof(self._code))
