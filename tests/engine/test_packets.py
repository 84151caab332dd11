"""Refused attempts, by the SYNs: each attempt is told of once."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pytest_wschaos.engine.packets import AT_ONCE, Packets

pytestmark = [
    pytest.mark.skipif(not Packets.supported(), reason="needs CAP_NET_RAW"),
    pytest.mark.wschaos(clock="real, hybrid"),  # the kernel is watched
]


class Told:
    """Hears of attempts."""

    def __init__(self) -> None:
        self.attempts: list[float] = []
        self.blinded = 0

    def at(self, address: bytes) -> bool:
        return address == bytes([127, 0, 0, 1])

    def refused(self, at: float, late: float) -> None:
        self.attempts.append(at)

    def blind(self) -> None:
        self.blinded += 1


def connect(source: tuple[str, int], target: tuple[str, int]) -> socket.socket:
    """A connection from a port of our choice."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(source)
    try:
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


@pytest.mark.asyncio
async def test_an_attempt_whose_syn_is_sent_again_is_told_of_once() -> None:
    """From the same port as a connection that the server ended: what is left of that answers first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = listener.getsockname()
        with connect(("127.0.0.1", 0), target) as client:
            source = client.getsockname()
            listener.accept()[0].close()
            assert client.recv(1) == b""
    told = Told()
    packets = Packets(asyncio.get_running_loop())
    packets.expect(target[1], told)
    for attempts in (1, 2):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(connect, source, target)
        packets._read()
        assert len(told.attempts) == attempts
    packets.forgive(target[1])
    assert told.blinded == 0


@pytest.mark.asyncio
async def test_what_the_buffer_could_not_hold_is_owned_up_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = listener.getsockname()
    told = Told()
    packets = Packets(asyncio.get_running_loop())
    packets.expect(target[1], told)
    assert packets._sock is not None
    packets._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(200):
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(target)
    packets._read()
    assert 0 < len(told.attempts) < 200
    assert told.blinded == 1
    packets._read()
    assert told.blinded == 1
    packets.forgive(target[1])


@pytest.mark.asyncio
async def test_many_attempts_at_once_leave_the_loop_its_turns() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = listener.getsockname()
    told = Told()
    packets = Packets(asyncio.get_running_loop())
    packets.expect(target[1], told)
    for _ in range(2 * AT_ONCE):
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(target)
    while (before := len(told.attempts)) < 2 * AT_ONCE:
        await asyncio.sleep(0)
        assert len(told.attempts) - before <= AT_ONCE
    packets.forgive(target[1])
    assert told.blinded == 0
