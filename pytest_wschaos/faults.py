"""The faults that a test can inject, and the guard that each of them returns."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

if TYPE_CHECKING:
    from contextlib import ExitStack

    from .network import ChaosNetwork
    from .peers import Peer

Direction = Literal["both", "up", "down"]
BadCertificate = Literal["expired", "wrong_name", "untrusted"]

Connections = int | Sequence[int] | Mapping[str, int] | None
"""Which connections of each listener a fault is for, by their number from 1 on: one, several, or ``{"nth": n}`` or
``{"every": n}`` of those that are accepted while it is in force. None: all."""

CLIENT = "client"
"""The name of the first listener, and of the client that connects to it."""


class FaultError(ValueError):
    """A fault's argument cannot be; the message names it and what it may be."""


class PeerFaultError(RuntimeError):
    """A fault of the peer was asked for where the peer is not ours."""


class Fault:
    """A fault that is in force. Leave the ``with`` (or ``async with``) block, or call :meth:`remove`, to heal it.

    Attributes:
        name: the name of the method that injected it.
        id: its number on the timeline.
        active: whether it is still in force.
    """

    def __init__(self, name: str, id: int, heal: Callable[[], None]) -> None:
        self.name = name
        self.id = id
        self.active = True
        self._heal = heal

    def remove(self) -> None:
        """Heal the fault; a second call does nothing.

        On the engine's own loop (in a handler of yours) it is healed in the loop's next turn.
        """
        if self.active:
            self._heal()
            self.active = False

    def __enter__(self) -> Self:
        if not self.active:
            raise RuntimeError(f"{self.name} #{self.id} has been removed; inject it anew")
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<{self.name} #{self.id}, {'in force' if self.active else 'removed'}>"


class NetworkFaults:
    """The faults of the network. They apply to live connections and to new ones, on every listener of the test.

    Each is in force at once when the method returns, and until it is removed. Times are seconds. A fault that meets
    nothing makes the test fail, unless ``must_bite`` is False.
    """

    _network: ChaosNetwork

    def latency(
        self, seconds: float, jitter: float = 0.0, direction: Direction = "both", *, must_bite: bool = True
    ) -> Fault:
        """Delay data by ``seconds`` each way, plus or minus up to ``jitter``; a round trip takes twice that.

        Raises:
            FaultError: a time below 0, or ``jitter`` above ``seconds``.
        """
        delay, spread = _seconds("seconds", seconds), _seconds("jitter", jitter)
        if spread > delay:
            raise FaultError(f"jitter = {jitter!r}: must not be above seconds ({delay:g})")
        attributes = {"latency": delay * 1000, "jitter": spread * 1000}
        details = {"seconds": delay, "jitter": spread}
        return self._network.toxic(
            "latency", "latency", _direction(direction), attributes, details=details, must_bite=must_bite
        )

    def bandwidth(self, bytes_per_second: float, direction: Direction = "both", *, must_bite: bool = True) -> Fault:
        """Let at most ``bytes_per_second`` through on each connection, each way.

        Raises:
            FaultError: a rate that is not above 0 (to let nothing through, use :meth:`silent_drop`).
        """
        rate = _number("bytes_per_second", bytes_per_second, "a number of bytes")
        if rate <= 0:
            raise FaultError(f"bytes_per_second = {rate!r}: must be above 0; silent_drop() lets nothing through")
        attributes = {"rate": rate / 1000}
        details = {"bytes_per_second": rate}
        return self._network.toxic(
            "bandwidth", "bandwidth", _direction(direction), attributes, details=details, must_bite=must_bite
        )

    def silent_drop(self, direction: Direction = "both", *, resume: bool = False, must_bite: bool = True) -> Fault:
        """Let nothing through and tell nobody: no FIN, no RST, Close frames swallowed.

        Connections that met the drop stay dead after its removal, as behind a NAT that forgot them. With
        ``resume`` the bytes are held instead (1 MiB each way, then the sender waits) and released in order.
        """
        toxic = "stall" if _boolean("resume", resume) else "blackhole"
        details = {"resume": resume}
        return self._network.toxic("silent_drop", toxic, _direction(direction), details=details, must_bite=must_bite)

    def idle_timeout(self, seconds: float, direction: Direction = "both") -> Fault:
        """Cut (FIN, no Close frame) each connection on which a direction has been silent for ``seconds``.

        Traffic keeps it, as with a reverse proxy's read timeout. ``direction`` says whose silence counts;
        ``both``: that of each direction by itself.

        Raises:
            FaultError: a time that is not above 0.
        """
        limit = _seconds("seconds", seconds, positive=True)
        attributes = {"timeout": limit * 1000}
        return self._network.toxic(
            "idle_timeout", "idle_timeout", _direction(direction), attributes, details={"seconds": limit}
        )

    def stall(self, direction: Direction = "both", *, must_bite: bool = True) -> Fault:
        """Hold what is sent, and let it go in order at removal: :meth:`silent_drop` with ``resume``, in one word."""
        return self.silent_drop(direction, resume=True, must_bite=must_bite)

    def lifetime(
        self, seconds: float, *, reset: bool = False, connections: Connections = None, must_bite: bool = True
    ) -> Fault:
        """Cut each connection ``seconds`` after it opened (a live one: after this call), whatever passes on it.

        With a FIN and no Close frame, as a load balancer's maximum age does; ``reset``: with a RST.

        Raises:
            FaultError: a time that is not above 0, or connections that cannot be.
        """
        limit = _seconds("seconds", seconds, positive=True)
        attributes = {"timeout": limit * 1000, "reset": _boolean("reset", reset)}
        return self._network.toxic(
            "lifetime",
            "lifetime",
            "down",
            attributes,
            details={"seconds": limit, "reset": reset},
            connections=_connections(connections),
            must_bite=must_bite,
        )

    def reset_now(self, *, connections: Connections = None, must_bite: bool = True) -> Fault:
        """Reset (RST) the connections that are live, idle ones too, and each new one as soon as it is accepted.

        Raises:
            FaultError: connections that cannot be.
        """
        return self._network.toxic(
            "reset_now", "reset_now", "down", connections=_connections(connections), must_bite=must_bite
        )

    def frame(
        self,
        action: Literal["drop", "delay", "duplicate", "reorder", "truncate", "corrupt", "close"],
        direction: Direction = "both",
        *,
        opcodes: Sequence[str] = (),
        match: str = "",
        start: int = 1,
        every: int = 1,
        count: int = 0,
        probability: float = 1.0,
        seconds: float = 0.0,
        keep: int = 0,
        bits: int = 1,
        code: int = 1011,
        reason: str = "",
        compression: bool = False,
        connections: Connections = None,
        must_bite: bool = True,
    ) -> Fault:
        """Do something to chosen messages (with all their frames) and control frames; docs/faults.md says it in full.

        ``opcodes`` names kinds (text, binary, close, ping, pong; none: all), ``match`` is text that the payload
        contains. Of those that fit, counted from 1 for each connection and direction, it is every ``every``-th from
        number ``start`` on, ``count`` in all (0: no limit), each with ``probability``, drawn from the seed.

        ``seconds`` is for ``delay``, and how long ``reorder`` may hold; ``keep`` bytes pass of a truncated payload;
        ``bits`` are flipped in a corrupt one; ``code`` and ``reason`` are those of the Close that ``close`` injects.

        Connections that open meanwhile do not get compression, unless ``compression`` is True: compressed messages
        cannot be dropped, duplicated or reordered, and are matched as they are.

        Raises:
            FaultError: an argument that cannot be.
        """
        asked = {
            "action": _text("action", action),
            "opcodes": [_text("opcodes", name) for name in _sequence("opcodes", opcodes)],
            "match": _text("match", match),
            "start": _whole("start", start),
            "every": _whole("every", every),
            "count": _whole("count", count),
            "probability": _number("probability", probability, "a number from 0 to 1"),
            "keep": _whole("keep", keep),
            "bits": _whole("bits", bits),
            "code": _whole("code", code),
            "reason": _text("reason", reason),
        }
        delay = _seconds("seconds", seconds)
        compressed = _boolean("compression", compression)
        return self._network.toxic(
            "frame",
            "frame",
            _direction(direction),
            {**asked, "delay": delay * 1000, "compression": compressed},
            details={**self._network.unusual("frame", asked), **({"seconds": delay} if delay else {})},
            others=None if compressed else {"compression": False},  # it is offered upwards, whichever way is meant
            connections=_connections(connections),
            must_bite=must_bite,
        )

    def handshake(
        self,
        status: int | None = None,
        *,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        accept: str = "",
        silence: bool = False,
        byte_delay: float = 0.0,
        connections: Connections = None,
        must_bite: bool = True,
    ) -> Fault:
        """Change the server's answer to the upgrade, on the way: what a gateway does, in front of any server.

        ``status`` and ``reason`` are answered in the server's place, and both sides end; None: the server's own
        answer. ``headers`` and ``retry_after`` (s) go into the answer; ``accept`` is a wrong Sec-WebSocket-Accept.
        ``silence`` swallows the answer; ``byte_delay`` is the time in seconds before each of its bytes.

        Raises:
            FaultError: an argument that cannot be.
        """
        asked = {
            "status": 0 if status is None else _whole("status", status),
            "reason": _text("reason", reason),
            "retry_after": -1 if retry_after is None else _seconds("retry_after", retry_after),
            "accept": _text("accept", accept),
            "silence": _boolean("silence", silence),
        }
        delay = _seconds("byte_delay", byte_delay)
        attributes = {**asked, "headers": dict(_mapping("headers", headers or {})), "delay": delay * 1000}
        return self._network.toxic(
            "handshake",
            "handshake",
            "down",
            attributes,
            details={**self._network.unusual("handshake", asked), **({"byte_delay": delay} if delay else {})},
            connections=_connections(connections),
            must_bite=must_bite,
        )

    def schedule(
        self,
        toxic: str,
        times: Sequence[tuple[float, float]],
        direction: Direction = "both",
        *,
        attributes: Mapping[str, Any] | None = None,
        period: float = 0.0,
        connections: Connections = None,
        must_bite: bool = True,
    ) -> Fault:
        """Let a toxic come and go: at each ``(at, lasts)`` of ``times``, in seconds from now.

        With ``period`` they come again every so many seconds, until removal. ``toxic`` and ``attributes`` are as in
        the HTTP API (milliseconds, for most): ``schedule("latency", [(1, 0.5)], attributes={"latency": 300})``.

        Raises:
            FaultError: an argument that cannot be; there is no such toxic, or no such attribute.
        """
        spells = []
        for time in _sequence("times", times):
            if len(pair := list(_sequence("times", time))) != 2:
                raise FaultError(f"times = {times!r:.80}: must be pairs of seconds, (at, lasts)")
            spells.append({"at": _seconds("times", pair[0]) * 1000, "lasts": _seconds("times", pair[1]) * 1000})
        return self._network.toxic(
            "schedule",
            "schedule",
            _direction(direction),
            {
                "type": _text("toxic", toxic),
                "attributes": dict(_mapping("attributes", attributes or {})),
                "times": spells,
                "period": _seconds("period", period) * 1000,
            },
            details={
                "toxic": toxic,
                "times": [list(time) for time in times],
                **({"period": period} if period else {}),
            },
            connections=_connections(connections),
            must_bite=must_bite,
        )

    def unanswered_handshake(self, *, must_bite: bool = True) -> Fault:
        """Accept new connections and never answer: their upgrade request is swallowed. Live ones go on."""
        return self._network.toxic(
            "unanswered_handshake", "blackhole", "both", connections={"every": 1}, must_bite=must_bite
        )

    def abort(self, *, must_bite: bool = True) -> Fault:
        """Reset (RST) the connections that are live now, idle ones too. New ones are not touched."""
        return self._network.cut("abort", "reset", must_bite=must_bite)

    def disconnect(self, *, must_bite: bool = True) -> Fault:
        """End (FIN, no Close frame) the connections that are live now. New ones are not touched."""
        return self._network.cut("disconnect", "fin", must_bite=must_bite)

    def bad_certificate(self, which: BadCertificate = "expired", *, must_bite: bool = True) -> Fault:
        """Present a bad certificate in new TLS handshakes: ``expired``, for another host (``wrong_name``), or of an
        authority that the client does not know (``untrusted``). Live connections go on.

        It concerns the listeners on which the proxy ends TLS (``wss_url``); of several the last one is presented.

        Raises:
            FaultError: there is no such certificate, or the proxy passes the server's own TLS through.
            TrustmeMissing: the extra ``tls`` is not installed.
        """
        if which not in get_args(BadCertificate):
            raise FaultError(f"which = {which!r}: must be 'expired', 'wrong_name' or 'untrusted'")
        return self._network.bad_certificate(which, must_bite=must_bite)

    def refuse(self, *, must_bite: bool = True) -> Fault:
        """Stop listening, as a server that is down: live connections end (FIN), attempts are refused until removal.

        The attempts are on record although nobody listens: see docs/faults.md.
        """
        return self._network.refuse(must_bite=must_bite)

    def unanswered(self) -> Fault:
        """Leave attempts to connect without any answer, as a firewall does; live connections end (FIN).

        The clients' kernels repeat their SYNs, and connect after removal if their clients still wait. Such attempts are
        not on record, and rules that count attempts are INCONCLUSIVE. Where it cannot be done (it takes Linux, or the
        simulated network) attempts are accepted and never answered; the event of the fault has ``silent`` then.
        """
        return self._network.unanswered()


class PeerFaults:
    """The faults of the server itself. In front of a server that is not ours they raise :class:`PeerFaultError`."""

    _peer: Peer | None
    _network: ChaosNetwork

    def reject_handshake(
        self,
        status: int = 503,
        retry_after: float | None = None,
        location: str | None = None,
        *,
        must_bite: bool = True,
    ) -> Fault:
        """Answer upgrades with an HTTP ``status``, and a Retry-After header of ``retry_after`` seconds.

        ``location`` is where a redirect (a status of 300 to 399) points.

        Raises:
            FaultError: no HTTP status that ends a handshake, a time below 0, or a location that is no URL or goes
                with another status.
        """
        _whole("status", status)
        if retry_after is not None:
            _seconds("retry_after", retry_after)
        if location is not None:
            _text("location", location)
        return self._inject("reject_handshake", must_bite, status=status, retry_after=retry_after, location=location)

    def accept_then_close(self, code: int = 1011, reason: str = "", *, must_bite: bool = True) -> Fault:
        """Complete the handshake of new connections, and close them at once.

        Raises:
            FaultError: a code that must not be sent, or a reason of more than 123 bytes.
        """
        return self._inject("accept_then_close", must_bite, code=_whole("code", code), reason=_text("reason", reason))

    def close(self, code: int = 1001, reason: str = "", *, must_bite: bool = True) -> Fault:
        """Close the connections that are live now, with a Close frame. New ones are not touched.

        Raises:
            FaultError: a code that must not be sent, or a reason of more than 123 bytes.
        """
        return self._inject("close", must_bite, code=_whole("code", code), reason=_text("reason", reason))

    def mute_pongs(self, *, must_bite: bool = True) -> Fault:
        """Leave pings unanswered, at frame level and in the application's protocol; all else goes on."""
        return self._inject("mute_pongs", must_bite)

    def _inject(self, name: str, must_bite: bool, **details: Any) -> Fault:
        if self._peer is None:
            raise PeerFaultError(
                f"{name}() is a fault of the server, and the server behind this proxy is not ours: "
                "use the fixture wschaos, or its serve(handler) for a handler of your own"
            )
        peer = self._peer
        try:
            fault = peer.fault(name, **details)
        except ValueError as error:
            raise FaultError(f"{name}(): {error}") from None
        return self._network.inject(
            name, lambda: peer.add(fault), lambda: peer.remove(fault), details, must_bite=must_bite
        )


class ClientFaults:
    """What happens to the client itself, where it is a process of its own."""

    _network: ChaosNetwork
    _started: ExitStack

    def suspend(self, pid: int, client: str = CLIENT) -> Fault:
        """Stop the process ``pid`` (SIGSTOP), as a machine that goes to sleep; removal lets it go on (SIGCONT).

        ``client`` says whose process it is. Its clock jumps: the rule HEARTBEAT-09 asks what it does then.

        Raises:
            FaultError: there is no such process, it is this one, one that this one lives in or not ours, ``client``
                is no name, or the platform cannot stop a process.
        """
        _whole("pid", pid)
        _text("client", client)
        if self._network.virtual:
            raise FaultError("suspend() stops another process, which lives in real time: use clock='real'")
        if not hasattr(signal, "SIGSTOP"):
            raise FaultError("suspend() needs a platform that can stop a process (SIGSTOP)")
        if pid <= 1 or pid in _lineage():
            raise FaultError(f"pid = {pid}: must be a process that the test has started")
        try:
            os.kill(pid, 0)
        except (OSError, OverflowError) as error:
            raise FaultError(f"pid = {pid}: cannot be suspended: {getattr(error, 'strerror', error)}") from None

        def wake() -> None:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGCONT)

        details = {"client": client, "pid": pid}
        fault = self._network.inject("suspend", lambda: os.kill(pid, signal.SIGSTOP), wake, details)
        self._started.callback(fault.remove)  # nobody is left asleep, however the test ends
        return fault


def _lineage() -> set[int]:
    """This process and those that it descends from, as far as the platform tells: asleep, none of them would wake."""
    lineage, pid = {os.getpid()}, os.getppid()
    while pid > 0 and pid not in lineage:
        lineage.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # no Linux, or not to be seen from here
            break
        pid = int(stat.rpartition(")")[2].split()[1])  # the name before may hold anything
    return lineage


def _number(name: str, value: object, what: str) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise FaultError(f"{name} = {value!r:.80}: must be {what}")


def _seconds(name: str, value: object, *, positive: bool = False) -> float:
    time = _number(name, value, "a number of seconds")
    if time < 0 or (positive and time == 0):
        raise FaultError(f"{name} = {value!r}: must be {'above 0 s' if positive else '0 s or more'}")
    return time


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FaultError(f"{name} = {value!r}: must be a whole number")
    return int(value)


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise FaultError(f"{name} = {value!r}: must be True or False")
    return value


def _sequence(name: str, value: object) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise FaultError(f"{name} = {value!r:.80}: must be a list")
    return value


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise FaultError(f"{name} = {value!r:.80}: must be a dict, with names for keys")
    return value


def _connections(value: Connections) -> Any:
    """As the engine takes them."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise FaultError(f"{name} = {value!r}: must be a string")
    return value


def _direction(value: Direction) -> Direction:
    if value not in get_args(Direction):
        raise FaultError(f"direction = {value!r}: must be 'both', 'up' (client to server) or 'down'")
    return value
