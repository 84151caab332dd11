"""The figures that a client or a server declares, and against which it is judged.

All times are seconds, all sizes bytes. The defaults are the reliability spec's own figures.
A profile is immutable; :meth:`Profile.scaled` and :meth:`Profile.with_` return changed copies.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

MIB = 1024 * 1024
KIB = 1024

Reaction = Literal["stop", "retry", "later", "fatal", "refresh", "fresh", "drop"]
"""What a client does after a close code.

``stop``: stay closed, nothing to report. ``retry``: reconnect by backoff. ``later``: reconnect, one
backoff step further. ``fatal``: report the error and stay closed. ``refresh``: fetch new credentials,
retry once. ``fresh``: reconnect with a new session. ``drop``: report the oversized message, reconnect
without it.
"""

JitterShape = Literal["uniform", "full", "equal", "decorrelated", "none"]
AuthMode = Literal["first_message", "query", "cookie", "header", "none"]
Delivery = Literal["at-most-once", "at-least-once", "effectively-once"]


class ProfileError(ValueError):
    """A profile holds a figure that cannot be; the message names the figure and what it may be."""


def _require(ok: bool, figure: str, value: object, must: str) -> None:
    if not ok:
        raise ProfileError(f"{figure} = {value!r}: must be {must}")


class Bounds(NamedTuple):
    """What a figure counts, and what it may be; the schema of profiles tells the same."""

    unit: str
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    why: str = ""
    none: str = ""
    """What it means where it is None; empty: it cannot be."""

    def hold(self, value: float | None) -> bool:
        """Whether a value lies within them."""
        if value is None:
            return bool(self.none)
        low = self.at_least is None or value >= self.at_least
        return low and (self.above is None or value > self.above) and value < (self.below or math.inf)

    def __str__(self) -> str:
        unit = {"s": " s", "1/s": " per second"}.get(self.unit, "")
        if self.below is not None:
            words = f"between {self.above:g} and {self.below:g}{unit}"
        elif self.above is not None:
            words = f"above {self.above:g}{unit}"
        else:
            words = f"{self.at_least:g}{unit} or more"
        return words + (f" ({self.why})" if self.why else "") + (f", or none for {self.none}" if self.none else "")


Seconds = Annotated[float, Bounds("s", at_least=0)]
Deadline = Annotated[float, Bounds("s", above=0)]
Interval = Annotated[float | None, Bounds("s", above=0, none="no pings")]
FirstDelay = Annotated[float | None, Bounds("s", at_least=0, none="one that is drawn as all others are")]
Bytes = Annotated[int, Bounds("bytes", at_least=1)]
Messages = Annotated[int, Bounds("messages", at_least=1)]


_bounds: dict[type, Mapping[str, Bounds]] = {}


def bounds_of(kind: type) -> Mapping[str, Bounds]:
    """The bounds of an area's figures, by name."""
    if kind not in _bounds:
        hints = get_type_hints(kind, include_extras=True)
        found = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
        _bounds[kind] = {name: metadata[0] for name, metadata in found.items() if metadata}
    return _bounds[kind]


def _require_bounds(area: object) -> None:
    for name, bounds in bounds_of(type(area)).items():
        value = getattr(area, name)
        _require(bounds.hold(value), f"{type(area).__name__.lower()}.{name}", value, str(bounds))


@dataclass(frozen=True, slots=True)
class Reconnect:
    """RECONNECT: how often a client tries, and how long one attempt may take."""

    max_retries: Annotated[int | None, Bounds("retries", at_least=0, none="no limit")] = 10
    """Consecutive retries before the client gives up."""
    open_timeout: Deadline = 10.0
    """Seconds from TCP connect to ready."""

    def __post_init__(self) -> None:
        _require_bounds(self)


@dataclass(frozen=True, slots=True)
class Backoff:
    """BACKOFF: the nominal delay before the n-th consecutive retry, ``min(cap, base * factor**(n-1))``."""

    base: Seconds = 1.0
    """Seconds of the first retry's delay, before jitter."""
    factor: Annotated[float, Bounds("", at_least=1, why="delays must not shrink")] = 2.0
    """By what each further delay is longer than the one before."""
    cap: Seconds = 30.0
    """No nominal delay is longer than this; the base at least."""
    ceiling: Seconds = 45.0
    """No wait is longer than this; jitter is applied after the cap, so it lies above the cap."""
    stable_after: Seconds = 10.0
    """Seconds of ready after which the count of failures starts anew; 0: the handshake alone resets it."""
    honour_retry_after: bool = True
    """Whether the server's Retry-After, and the retry_after of its farewell, is a lower bound of the delay."""
    first_low: FirstDelay = None
    """Lower bound of the first retry's delay, where a client draws that one differently (RFC 6455: 0 to 5 s)."""
    first_high: FirstDelay = None
    """Upper bound of it; both are given, or neither is."""

    def __post_init__(self) -> None:
        _require_bounds(self)
        _require(self.cap >= self.base, "backoff.cap", self.cap, f"backoff.base ({self.base}) or more")
        _require(self.ceiling >= self.cap, "backoff.ceiling", self.ceiling, f"backoff.cap ({self.cap}) or more")
        _require(
            (self.first_low is None) == (self.first_high is None) and (self.first_low or 0) <= (self.first_high or 0),
            "backoff.first_low, backoff.first_high",
            (self.first_low, self.first_high),
            "given together, low first",
        )

    def nominal(self, retry: int) -> float:
        """Seconds before the ``retry``-th consecutive retry (1 is the first), before jitter."""
        if self.base == 0:
            return 0.0
        # Past this exponent the cap has long been reached; the power itself would overflow.
        exponent = min(retry - 1, 1000.0 if self.factor == 1 else math.log(self.cap / self.base, self.factor) + 1)
        return float(min(self.cap, self.base * self.factor**exponent))


@dataclass(frozen=True, slots=True)
class Jitter:
    """JITTER: the actual delay is the nominal one times a number drawn from a distribution."""

    shape: JitterShape = "uniform"
    """How the factor is drawn: uniform (low to high), full (0 to 1), equal (0.5 to 1), decorrelated, none (1)."""
    low: Annotated[float, Bounds("", at_least=0)] = 0.5
    """Smallest factor of the shape ``uniform``; the other shapes have their own."""
    high: Annotated[float, Bounds("", at_least=0)] = 1.5
    """Largest factor of the shape ``uniform``."""
    alpha: Annotated[float, Bounds("", above=0, below=1)] = 1e-6
    """Probability with which a verdict may call a correct client wrong."""

    def __post_init__(self) -> None:
        _require(
            self.shape in get_args(JitterShape),
            "jitter.shape",
            self.shape,
            f"one of {', '.join(get_args(JitterShape))}",
        )
        _require_bounds(self)
        _require(self.low <= self.high, "jitter.low, jitter.high", (self.low, self.high), "0 <= low <= high")

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest factor on the nominal delay."""
        if self.shape == "uniform":
            return self.low, self.high
        return {"full": (0.0, 1.0), "equal": (0.5, 1.0), "decorrelated": (0.0, 3.0), "none": (1.0, 1.0)}[self.shape]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """HEARTBEAT: how soon a dead link is found out, by the client and by the server."""

    interval: Interval = 30.0
    """Seconds between the client's pings."""
    deadline: Deadline = 10.0
    """Seconds that a pong may take."""
    proof_of_life: Literal["pong", "any"] = "pong"
    """``any``: other traffic counts as an answer too (HEARTBEAT-03 is then NON-STRICT at best)."""
    server_interval: Interval = 30.0
    """Seconds between the server's pings."""
    server_deadline: Deadline = 10.0
    """Seconds that the answer to the server's ping may take."""

    def __post_init__(self) -> None:
        _require_bounds(self)
        _require(self.proof_of_life in ("pong", "any"), "heartbeat.proof_of_life", self.proof_of_life, "pong or any")


@dataclass(frozen=True, slots=True)
class State:
    """STATE: when senders wait."""

    high_water: Annotated[int, Bounds("bytes", at_least=0)] = MIB
    """Bytes that are accepted and not yet handed to the network, above which senders wait."""
    low_water: Annotated[int, Bounds("bytes", at_least=0)] = 256 * KIB
    """Bytes below which they go on; no more than high_water."""

    def __post_init__(self) -> None:
        _require(
            0 <= self.low_water <= self.high_water, "state.low_water", self.low_water, "between 0 and state.high_water"
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """REPLAY: what survives a lost connection, on both sides."""

    delivery: Delivery = "effectively-once"
    """What the application may count on: no duplicate, no loss, or neither."""
    queue_messages: Messages = 1000
    """Messages that the client keeps while they are not acknowledged; a further one is refused."""
    queue_bytes: Bytes = MIB
    """Bytes of them."""
    session_ttl: Seconds = 120.0
    """Seconds for which the server keeps the session of a client that is away."""
    log_messages: Messages = 1000
    """Messages that the server keeps for a session, to send them again."""
    log_bytes: Bytes = MIB
    """Bytes of them."""

    def __post_init__(self) -> None:
        _require(
            self.delivery in get_args(Delivery),
            "replay.delivery",
            self.delivery,
            f"one of {', '.join(get_args(Delivery))}",
        )
        _require_bounds(self)


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH: how credentials travel, and how long the server waits for them."""

    mode: AuthMode = "first_message"
    """How credentials travel: first message, query of the URL, cookie, Authorization header, or not at all."""
    timeout: Deadline = 5.0
    """Seconds from the handshake in which a client has to present them."""

    def __post_init__(self) -> None:
        _require_bounds(self)
        _require(self.mode in get_args(AuthMode), "auth.mode", self.mode, f"one of {', '.join(get_args(AuthMode))}")


REACTIONS: Mapping[int, Reaction] = {
    1000: "stop",
    1001: "retry",
    1002: "fatal",
    1003: "fatal",
    1005: "retry",
    1006: "retry",
    1007: "fatal",
    1008: "fatal",
    1009: "drop",
    1010: "stop",
    1011: "retry",
    1012: "retry",
    1013: "later",
    1014: "retry",
    4400: "fatal",
    4401: "refresh",
    4403: "fatal",
    4408: "retry",
    4409: "stop",
    4410: "fresh",
    4429: "later",
}
"""The spec's table of close codes; codes that are not in it follow their range (:meth:`Close.reaction`)."""


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE: what a client does after each close code, and how long a close handshake may take."""

    timeout: Deadline = 5.0
    """Seconds that a close handshake may take."""
    reactions: Mapping[int, Reaction] = field(default_factory=lambda: dict(REACTIONS))
    """What the client does after a close code; a table in a file changes those that it names."""

    def __post_init__(self) -> None:
        _require_bounds(self)
        known = get_args(Reaction)
        one_of_them = f"one of {', '.join(known)}"
        for code, reaction in self.reactions.items():
            _require(1000 <= code <= 4999, "close.reactions", code, "keyed by a close code, 1000 to 4999")
            _require(reaction in known, f"close.reactions.{code}", reaction, one_of_them)

    def reaction(self, code: int) -> Reaction:
        """What the client does after ``code``: by the table, else by range (4500-4999 stop, all others retry)."""
        if code in self.reactions:
            return self.reactions[code]
        return "fatal" if 4500 <= code <= 4999 else "retry"


@dataclass(frozen=True, slots=True)
class Message:
    """MESSAGE: how large a message may be, and in what pieces a blob travels."""

    max_size: Bytes = MIB
    """Bytes of a message, reassembled and decompressed, above which it is refused with 1009."""
    chunk: Bytes = 64 * KIB
    """Bytes of a piece in which a blob travels; no more than max_size."""

    def __post_init__(self) -> None:
        _require_bounds(self)
        _require(self.chunk <= self.max_size, "message.chunk", self.chunk, "between 1 and message.max_size")


@dataclass(frozen=True, slots=True)
class Security:
    """SECURITY: what a server allows one connection and one peer."""

    rate: Annotated[float, Bounds("1/s", above=0)] = 50.0
    """Frames per second that a connection may send, valid or not."""
    burst: Annotated[int, Bounds("frames", at_least=1)] = 100
    """Frames that it may send at once."""
    connections: Annotated[int, Bounds("connections", at_least=1)] = 100
    """Connections per peer address."""
    handshake_timeout: Deadline = 5.0
    """Seconds that a handshake may take."""
    origins: tuple[str, ...] | None = None
    """Allowed values of the Origin header; a request without one is allowed. None: any origin."""
    trusted_proxies: tuple[str, ...] | None = None
    """IP addresses of the proxies whose X-Forwarded-For names a peer. None: the peer is always that of TCP."""

    def __post_init__(self) -> None:
        _require_bounds(self)


@dataclass(frozen=True, slots=True)
class Profile:
    """All figures, nested by area of the spec."""

    reconnect: Reconnect = field(default_factory=Reconnect)
    backoff: Backoff = field(default_factory=Backoff)
    jitter: Jitter = field(default_factory=Jitter)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    state: State = field(default_factory=State)
    replay: Replay = field(default_factory=Replay)
    auth: Auth = field(default_factory=Auth)
    close: Close = field(default_factory=Close)
    message: Message = field(default_factory=Message)
    security: Security = field(default_factory=Security)

    def __post_init__(self) -> None:
        for area in dataclasses.fields(self):
            value, wanted = getattr(self, area.name), area.default_factory
            _require(
                isinstance(wanted, type) and isinstance(value, wanted),
                area.name,
                value,
                f"a {area.type}; from a table of figures: Profile().with_({area.name}={{...}})",
            )

    @classmethod
    def preset(cls, name: str) -> Profile:
        """A named profile: ``default``, ``rfc6455`` or ``websockets``.

        Raises:
            ProfileError: there is no preset of that name.
        """
        if not isinstance(name, str) or name not in PRESETS:
            known = ", ".join(sorted(PRESETS))
            raise ProfileError(f"no preset named {name!r}: there are {known} (a file ends in .toml or .json)")
        return cls().with_(**PRESETS[name])

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> Profile:
        """Build a profile from tables by area; ``preset`` at the top names what they change.

        Raises:
            ProfileError: an unknown area or figure, or a value that cannot be.
        """
        figures = dict(figures)
        return cls.preset(figures.pop("preset", "default")).with_(**figures)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile from a ``.toml`` or ``.json`` file.

        Raises:
            ProfileError: the file is missing, is not TOML or JSON, or holds what no profile can.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            figures = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ProfileError(f"{path}: not a readable profile: {reason}") from error
        if not isinstance(figures, dict):
            raise ProfileError(f"{path}: a profile is a table of areas, not {type(figures).__name__}")
        try:
            return cls.from_dict(figures)
        except ProfileError as error:
            raise ProfileError(f"{path}: {error}") from error

    def with_(self, /, **areas: Mapping[str, Any]) -> Profile:
        """A copy with some figures changed: ``profile.with_(backoff={"cap": 10, "ceiling": 15})``.

        A ``ceiling`` that is not given follows ``cap`` and the jitter's upper bound.

        Raises:
            ProfileError: an unknown area or figure, or a value that cannot be.
        """
        changed: dict[str, Any] = {}
        # Jitter comes first: the ceiling that follows a new cap depends on it.
        for area, figures in sorted(areas.items(), key=lambda item: item[0] != "jitter"):
            if area not in _areas():
                raise ProfileError(f"no area named {area!r} in a profile: there are {', '.join(_areas())}")
            if not isinstance(figures, Mapping):
                raise ProfileError(f"{area} = {figures!r}: must be a table of figures")
            if area == "backoff" and isinstance(figures.get("cap"), int | float) and "ceiling" not in figures:
                top = max(1.0, changed.get("jitter", self.jitter).bounds[1])
                figures = {**figures, "ceiling": figures["cap"] * top}
            changed[area] = _replace(area, getattr(self, area), figures)
        return dataclasses.replace(self, **changed)

    def scaled(self, factor: float) -> Profile:
        """A copy with every time multiplied by ``factor`` and the rate divided by it.

        Raises:
            ProfileError: ``factor`` is not above 0.
        """
        _require(factor > 0 and math.isfinite(factor), "scale", factor, "above 0")
        changed = {}
        for area in _areas():
            values = getattr(self, area)
            figures = {name: (getattr(values, name), bounds.unit) for name, bounds in bounds_of(type(values)).items()}
            times = {
                name: value * factor for name, (value, unit) in figures.items() if unit == "s" and value is not None
            }
            times |= {name: value / factor for name, (value, unit) in figures.items() if unit == "1/s"}
            changed[area] = dataclasses.replace(values, **times)
        return dataclasses.replace(self, **changed)

    @property
    def detection(self) -> float:
        """Seconds from the death of a link to its being found dead, at worst (0 without a heartbeat)."""
        return 0.0 if self.heartbeat.interval is None else self.heartbeat.interval + self.heartbeat.deadline

    @property
    def longest_first_delay(self) -> float:
        """Upper bound of the first retry's delay, in seconds."""
        if self.backoff.first_high is not None:
            return self.backoff.first_high
        return self.backoff.nominal(1) * self.jitter.bounds[1]

    @property
    def patience(self) -> float:
        """Seconds in which a conforming client is ready again, whatever single thing went wrong; plus 5 s of grace."""
        return self.detection + self.reconnect.open_timeout * 2 + self.backoff.ceiling + self.close.timeout + 5.0

    def to_dict(self) -> dict[str, Any]:
        """The figures as tables by area, as :meth:`from_dict` reads them."""
        tables = dataclasses.asdict(self)
        tables["close"]["reactions"] = {str(code): reaction for code, reaction in self.close.reactions.items()}
        return tables


def _areas() -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(Profile))


def _replace(area: str, values: Any, figures: Mapping[str, Any]) -> Any:
    hints = get_type_hints(type(values))
    clean: dict[str, Any] = {}
    for name, value in figures.items():
        if name not in hints:
            raise ProfileError(f"no figure named {name!r} in {area}: there are {', '.join(hints)}")
        clean[name] = _clean(f"{area}.{name}", name, hints[name], value, values)
    return dataclasses.replace(values, **clean)


def _clean(figure: str, name: str, hint: Any, value: Any, values: Any) -> Any:
    """Bring a value from a file into its type; TOML has no null, so ``"none"`` stands for it."""
    if name == "reactions":
        _require(isinstance(value, Mapping), figure, value, "a table of reactions by close code")
        try:
            return {**values.reactions, **{int(code): reaction for code, reaction in value.items()}}
        except (TypeError, ValueError):
            raise ProfileError(f"{figure} = {value!r}: must be keyed by close codes") from None
    if name in ("origins", "trusted_proxies"):
        if value is None or value == "none":
            return None
        is_list = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        _require(is_list, figure, value, "a list of origins" if name == "origins" else "a list of IP addresses")
        return tuple(value)
    wanted = set(get_args(hint)) or {hint}
    if type(None) in wanted and (value is None or value == "none"):
        return None
    if wanted & {int, float}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(
            is_number and (float in wanted or float(value).is_integer()),
            figure,
            value,
            "a number" if float in wanted else "a whole number",
        )
        return float(value) if float in wanted else int(value)
    if wanted == {bool}:
        _require(isinstance(value, bool), figure, value, "true or false")
    return value


PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    # RFC 6455 section 7.2.3: a first delay drawn from 0 to 5 s, then truncated binary exponential
    # backoff. It asks for no heartbeat, no limit of retries and no replay, and names no cap: 60 s is ours.
    "rfc6455": {
        "reconnect": {"max_retries": None},
        "backoff": {
            "base": 5,
            "cap": 60,
            "first_low": 0,
            "first_high": 5,
            "stable_after": 0,
            "honour_retry_after": False,
        },
        "jitter": {"shape": "full"},
        "heartbeat": {"interval": None},
        "replay": {"delivery": "at-most-once"},
        "auth": {"mode": "none"},
    },
    # What `async for ws in websockets.connect(...)` declares (websockets 17.4, asyncio/client.py and
    # its documentation of keepalive): see docs/profiles.md.
    "websockets": {
        "reconnect": {"max_retries": None},
        "backoff": {
            "base": 3.1 / 1.618,  # the second wait is 3.1 s
            "factor": 1.618,
            "cap": 90,
            "first_low": 0,
            "first_high": 5,
            "stable_after": 0,
            "honour_retry_after": False,
        },
        "jitter": {"shape": "none"},
        "heartbeat": {"interval": 20, "deadline": 20, "server_interval": 20, "server_deadline": 20},
        "replay": {"delivery": "at-most-once"},
        "auth": {"mode": "none"},
        "close": {"timeout": 10},
    },
}
