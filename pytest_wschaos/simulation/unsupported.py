"""What a loop without descriptors cannot do. Each says so as it is called, and names the clock that can."""

from __future__ import annotations

from typing import Any

from .errors import unsupported


def _refused(what: str, *clocks: str) -> Any:
    def refuse(self: object, *args: object, **options: object) -> Any:
        raise unsupported(what, *clocks)

    refuse.__doc__ = f"Not simulated: {what}."
    return refuse


def _needs_a_descriptor(name: str) -> Any:
    return _refused(f"{name}() needs a descriptor, and the simulated network has none", "hybrid", "real")


def _needs_a_process(name: str) -> Any:
    return _refused(f"{name}() starts another process, which lives in real time", "real")


class WithoutProcesses:
    """The calls of an event loop that start another process."""

    subprocess_exec = _needs_a_process("subprocess_exec")
    subprocess_shell = _needs_a_process("subprocess_shell")


class Unsimulated(WithoutProcesses):
    """The calls of an event loop that need the kernel."""

    add_reader = _needs_a_descriptor("add_reader")
    add_writer = _needs_a_descriptor("add_writer")
    sock_accept = _needs_a_descriptor("sock_accept")
    sock_recv = _needs_a_descriptor("sock_recv")
    sock_recv_into = _needs_a_descriptor("sock_recv_into")
    sock_recvfrom = _needs_a_descriptor("sock_recvfrom")
    sock_recvfrom_into = _needs_a_descriptor("sock_recvfrom_into")
    sock_sendall = _needs_a_descriptor("sock_sendall")
    sock_sendfile = _needs_a_descriptor("sock_sendfile")
    sock_sendto = _needs_a_descriptor("sock_sendto")
    connect_accepted_socket = _needs_a_descriptor("connect_accepted_socket")
    connect_read_pipe = _needs_a_descriptor("connect_read_pipe")
    connect_write_pipe = _needs_a_descriptor("connect_write_pipe")
    create_datagram_endpoint = _refused("create_datagram_endpoint(): datagrams are not simulated", "hybrid", "real")
    create_unix_connection = _refused("create_unix_connection(): Unix sockets are not simulated", "hybrid", "real")
    create_unix_server = _refused("create_unix_server(): Unix sockets are not simulated", "hybrid", "real")

    def remove_reader(self, fd: Any) -> bool:
        """None is watched."""
        return False

    def remove_writer(self, fd: Any) -> bool:
        """None is watched."""
        return False
