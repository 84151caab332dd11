"""The hybrid loop: a virtual clock over real loopback sockets. It jumps only when the kernel has nothing to say.

On Linux what is written to a loopback socket can be read at once, so an empty poll means that nothing is on its way.
Two things must be seen to, in which the kernel waits for a timer of its own, and it would be a jump too early: Nagle's
algorithm waits for an acknowledgement, and a congestion control that paces, as BBR does, sends in steps.
A busy machine puts delivery off, too. So before a jump the kernel is asked how much each end has sent, and how much the
other has received.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import ipaddress
import selectors
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from .clock import TIME_LIMIT, VirtualClock, pending
from .determinism import counted
from .errors import Deadlock
from .unsupported import WithoutProcesses

PATIENCE = 0.05
"""Real seconds between two looks while a thread works for the loop; no virtual time passes meanwhile."""
LONGEST_WORK = 60.0
"""Real seconds without any event for which a thread is waited for: it may itself be waiting for the clock."""
CONGESTION_CONTROL = b"reno"
"""The one that every Linux has; it sends at once what fits into the window."""


LONGEST_DELIVERY = 2000
"""Real milliseconds for which a delivery is waited for. Longer only where a peer's bytes are nobody's here."""
MOST_ASKED = 500
"""Sockets up to which the kernel is asked before each jump; with more of them it takes too long."""
_OF_SOCKETS = {"sock", "family", "flags", "reuse_address", "reuse_port", "keep_alive"}
"""Options of a server about the sockets that it makes: with them asyncio makes them."""
_TCP_INFO = 256  # bytes of struct tcp_info that are read, and in it:
_RECEIVED = 128
_NOT_SENT = 144
_SENT = 200  # and then how much of it was a repetition


class _Selector:
    """Asks the kernel without waiting, and jumps where it has nothing."""

    def __init__(self, loop: HybridLoop, real: selectors.BaseSelector) -> None:
        self._loop = loop
        self._real = real
        self._waited = 0.0
        """Real seconds for which threads have been waited for, and nothing has happened."""

    def select(self, timeout: float | None = None) -> list[Any]:
        """What the kernel has; else go to the next timer."""
        loop, events = self._loop, self._real.select(0)
        if not events and (timeout is None or timeout > 0):
            if loop.working:
                return self._while_threads_work()
            events = self._settled()
            if not events:
                loop._jump(loop._scheduled[0].when() if loop._scheduled else None)
                return events
        loop._turn()
        return events

    def _while_threads_work(self) -> list[Any]:
        """No time passes meanwhile.

        Raises:
            Deadlock: they take too long.
        """
        events = self._real.select(PATIENCE)
        self._waited = 0.0 if events else self._waited + PATIENCE
        if self._waited > LONGEST_WORK:
            self._waited = 0.0
            raise Deadlock(
                f"at {self._loop.time():.3f} s nothing has happened for {LONGEST_WORK:g} s of real time, in which the "
                f"clock stands still for what threads are doing: {', '.join(self._loop.working.values())}. A thread "
                f"that waits for the loop waits for ever, as the loop waits for it; clock='real' can do both\n"
                + pending(self._loop)
            )
        return events

    def _settled(self) -> list[Any]:
        """Wait, in real time, for what the kernel has taken and not delivered yet."""
        events: list[Any] = []
        for _ in range(LONGEST_DELIVERY):
            if events or not in_flight(self._loop._transports.values()):  # type: ignore[attr-defined]
                break
            events = self._real.select(0.001)
        return events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class HybridLoop(WithoutProcesses, VirtualClock, asyncio.SelectorEventLoop):
    """An event loop with the kernel's own sockets, on which waiting costs nothing.

    Args:
        seed: where all randomness of the process comes from while the loop runs.
        time_limit: virtual seconds after which :class:`.TimeLimit` is raised.
    """

    clock_name = "hybrid"
    _default_executor: concurrent.futures.Executor | None

    def __init__(self, seed: int = 0, time_limit: float = TIME_LIMIT) -> None:
        real = selectors.DefaultSelector()
        super().__init__(real)
        self._selector = _Selector(self, real)
        self.working: dict[object, str] = {}
        """The calls that threads are making for the loop, by name."""
        self._start_clock(seed, time_limit)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """As on any loop; at an address (which is no name) it never has to wait."""
        begin = options.pop("start_serving", True)
        family = _family(host) if type(port) is int and options.keys().isdisjoint(_OF_SOCKETS) else None
        if family is None:
            server = await super().create_server(protocol_factory, host, port, start_serving=False, **options)
        else:
            sock = _bound(family, host, port)
            try:
                server = await super().create_server(protocol_factory, sock=sock, start_serving=False, **options)
            except BaseException:
                sock.close()
                raise

        async def start_serving() -> None:
            server._start_serving()  # type: ignore[attr-defined]

        server.start_serving = start_serving  # type: ignore[method-assign]  # asyncio's own lets a turn pass
        if begin:
            await start_serving()
        return server

    def _start_serving(self, protocol_factory: Any, sock: socket.socket, *args: Any, **options: Any) -> None:
        _send_at_once(sock)  # and so do the connections that it accepts
        super()._start_serving(protocol_factory, sock, *args, **options)  # type: ignore[misc]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """As on any loop."""
        _send_at_once(sock)
        await super().sock_connect(sock, address)

    def _make_socket_transport(self, sock: socket.socket, protocol: Any, *args: Any, **options: Any) -> Any:
        _send_at_once(sock)  # one that was connected elsewhere
        protocol = counted(protocol, self.next_number())
        return super()._make_socket_transport(sock, protocol, *args, **options)  # type: ignore[misc]

    def _make_ssl_transport(self, sock: socket.socket, protocol: Any, *args: Any, **options: Any) -> Any:
        _send_at_once(sock)
        protocol = counted(protocol, self.next_number())
        return super()._make_ssl_transport(sock, protocol, *args, **options)  # type: ignore[misc]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """As on any loop; until the thread is done, be it waited for or not, no virtual time passes."""
        self._check_closed()  # type: ignore[attr-defined]
        working = (self._default() if executor is None else executor).submit(func, *args)
        future = asyncio.wrap_future(working, loop=self)
        self.working[working] = _name(func, args)
        future.add_done_callback(lambda _: self._is_over(working))
        return future

    def _default(self) -> concurrent.futures.Executor:
        self._check_default_executor()  # type: ignore[attr-defined]
        if (executor := self._default_executor) is None:
            executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
            self.set_default_executor(executor)
        return executor

    def _is_over(self, working: concurrent.futures.Future[Any]) -> None:
        """Nobody waits for it any more; a thread that could not be cancelled goes on."""
        if working.done():
            del self.working[working]
        else:
            working.add_done_callback(self._is_late)

    def _is_late(self, working: concurrent.futures.Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.call_soon_threadsafe(self.working.pop, working)

    @property
    def unfinished(self) -> bool:
        """What is being closed takes turns of the loop, of which only the kernel knows."""
        return True

    async def shutdown_default_executor(self, *timeout: Any) -> None:
        """Let the threads end, in real time."""
        ending = object()
        self.working[ending] = "shutdown_default_executor()"
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            del self.working[ending]


def _name(func: Any, args: tuple[Any, ...]) -> str:
    """What a call in a thread is told by; that of to_thread() runs in a context, and is its first argument."""
    while isinstance(func, functools.partial):
        func, args = func.func, (*func.args, *args)
    if args and getattr(func, "__name__", "") == "run":
        func = args[0]
    code = getattr(func, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return getattr(func, "__qualname__", repr(func)) + place


def _send_at_once(sock: socket.socket) -> None:
    """Let the kernel keep nothing back for a timer of its own."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_CONGESTION"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does it only where proto is given
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)


def _family(host: object) -> socket.AddressFamily | None:
    """The family of an address; None for anything else."""
    try:
        version = ipaddress.ip_address(host).version if isinstance(host, str) else None
    except ValueError:
        return None
    return {4: socket.AF_INET, 6: socket.AF_INET6, None: None}[version]


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet.

    Raises:
        OSError: the address is taken, or is not this machine's.
    """
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        told = f"error while attempting to bind on address {(host, port)!r}: {(error.strerror or '').lower()}"
        raise OSError(error.errno, told) from None
    except BaseException:
        sock.close()
        raise
    return sock


def in_flight(transports: Iterable[Any]) -> bool:
    """Whether one end has sent what the other, in this process, has not received though it reads."""
    sent: dict[tuple[Any, Any], int] = {}
    received: dict[tuple[Any, Any], int] = {}
    known = list(transports)
    if len(known) > MOST_ASKED or not hasattr(socket, "TCP_INFO"):
        return False
    for transport in known:
        sock = transport.get_extra_info("socket")
        names = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
        except OSError:  # it is closed, or no TCP
            continue
        if len(info) < _SENT + 16:
            return False  # an old kernel
        total, repeated = struct.unpack_from("=QQ", info, _SENT)
        (waiting,) = struct.unpack_from("=I", info, _NOT_SENT)
        sent[names] = total - repeated + waiting
        if transport.is_reading():
            (received[names],) = struct.unpack_from("=Q", info, _RECEIVED)
    return any(received.get((peer, own), count) < count for (own, peer), count in sent.items())
