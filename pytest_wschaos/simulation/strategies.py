"""Hypothesis strategies for trouble, as plain data that shrinks. Needs the extra ``simulation``.

``faults()``, ``messages()`` and ``restarts()`` are schedules to be played beside each other; ``schedules()`` mixes all
of it in one. What a schedule is: see :mod:`.schedule`. Times are whole milliseconds, written in seconds. What is
harmless comes first, so that this is what Hypothesis makes of a step that does not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(f"{__name__} needs Hypothesis: pip install 'pytest-wschaos[simulation]'") from error

from .schedule import KINDS, Step

Steps = st.SearchStrategy[list[Step]]

TOPICS = ("a", "b")
LONGEST_GAP = 20.0
"""Seconds between two steps, at most."""
LONGEST = 60.0
"""Seconds that a fault lasts, at most: longer than the default profile takes to find a dead link."""

RETRIED = (1001, 1012, 1011, 1013, 4408, 4429, 4410)
"""Close codes after which the default profile comes back."""
STATUSES = (503, 429, 500)


def gaps(most: float = LONGEST_GAP) -> st.SearchStrategy[float]:
    """Seconds between two steps: every other one within the time of a round trip, the rest up to ``most``."""
    return _GAPS.map(lambda drawn: _gap(drawn, most))


_HALF = 10_000
_SHORT = 0.1
_GAPS = st.integers(0, 2 * _HALF)


def _gap(drawn: int, most: float) -> float:
    """The lower half is spread over short gaps, the upper one over all others; never less for a larger number."""
    short = min(_SHORT, most)
    if drawn <= _HALF:
        return round(short * drawn / _HALF, 3)
    return round(short + (most - short) * (drawn - _HALF) / _HALF, 3)


def _topic() -> st.SearchStrategy[str]:
    return st.sampled_from(TOPICS)


def _direction() -> st.SearchStrategy[str]:
    return st.sampled_from(("both", "up", "down"))


_DURATIONS = frozenset({"lasts", "seconds"})
"""The arguments that are drawn in whole milliseconds, and written in seconds."""


def _milliseconds(least: float, most: float) -> st.SearchStrategy[int]:
    return st.integers(round(least * 1000), round(most * 1000))


def _arguments(kind: str, longest: float) -> dict[str, st.SearchStrategy[Any]]:
    """What the arguments of a step of a kind are drawn from, durations in milliseconds.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of step {kind!r}: there are {', '.join(sorted(KINDS))}")
    lasts = {"lasts": _milliseconds(0.0, longest)}
    drawn: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
        "send": {"topic": _topic()},
        "publish": {"topic": _topic()},
        "subscribe": {"topic": _topic()},
        "unsubscribe": {"topic": _topic()},
        "pause": lasts,
        "latency": {"seconds": _milliseconds(0.0, 2.0), "direction": _direction(), **lasts},
        "bandwidth": {"bytes_per_second": st.integers(200, 100_000), "direction": _direction(), **lasts},
        # Nearer to the heartbeat's interval none should be.
        "idle_timeout": {"seconds": _milliseconds(40.0, 120.0), **lasts},
        "close": {"code": st.sampled_from(RETRIED)},
        "silent_drop": {"direction": _direction(), "resume": st.booleans(), **lasts},
        "mute_pongs": lasts,
        "unanswered_handshake": lasts,
        "reject_handshake": {"status": st.sampled_from(STATUSES), **lasts},
        "accept_then_close": {"code": st.sampled_from(RETRIED), **lasts},
        "refuse": lasts,
        "rotate_token": {"revoke": st.booleans()},
        "restart": {"forget": st.booleans(), **lasts},
    }
    return dict(drawn.get(kind, {}))


def arguments(kind: str, longest: float = LONGEST) -> st.SearchStrategy[dict[str, Any]]:
    """The arguments of a step of a kind; what lasts does so for at most ``longest`` seconds.

    Raises:
        ValueError: there is no such kind.
    """
    return _each(_arguments(kind, longest))


def _values(draw: st.DrawFn, strategies: Mapping[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """A value of each; drawn one by one, which takes half the time of a strategy for a dictionary."""
    values = {name: draw(strategy) for name, strategy in strategies.items()}
    return {name: value / 1000 if name in _DURATIONS else value for name, value in values.items()}


@st.composite
def _each(draw: st.DrawFn, strategies: Mapping[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    return _values(draw, strategies)


MESSAGES = ("send", "subscribe", "publish", "unsubscribe", "pause")
FAULTS = (
    "latency",
    "disconnect",
    "abort",
    "close",
    "bandwidth",
    "idle_timeout",
    "refuse",
    "reject_handshake",
    "unanswered_handshake",
    "accept_then_close",
    "mute_pongs",
    "silent_drop",
)
RESTARTS = ("restart", "rotate_token", "new_epoch")


def steps(
    kinds: Collection[str], *, longest_gap: float = LONGEST_GAP, longest: float = LONGEST
) -> st.SearchStrategy[Step]:
    """One step of one of some kinds; the first kinds are what it shrinks to."""
    return _step(st.sampled_from(list(kinds)), {kind: _arguments(kind, longest) for kind in kinds}, longest_gap)


@st.composite
def _step(
    draw: st.DrawFn,
    kinds: st.SearchStrategy[str],
    strategies: Mapping[str, Mapping[str, st.SearchStrategy[Any]]],
    longest_gap: float,
) -> Step:
    gap = _gap(draw(_GAPS), longest_gap)
    kind = draw(kinds)
    return gap, kind, _values(draw, strategies[kind])


def schedules(
    kinds: Collection[str] = (*MESSAGES, *FAULTS, *RESTARTS),
    *,
    min_size: int = 0,
    max_size: int = 10,
    longest_gap: float = LONGEST_GAP,
    longest: float = LONGEST,
) -> Steps:
    """Steps of some kinds, one after the other; what lasts overlaps.

    Args:
        kinds: what may happen, the harmless first.
        min_size, max_size: how many steps.
        longest_gap: seconds between two steps, at most.
        longest: seconds that anything lasts, at most.
    """
    return st.lists(steps(kinds, longest_gap=longest_gap, longest=longest), min_size=min_size, max_size=max_size)


def faults(kinds: Collection[str] = FAULTS, **sizes: Any) -> Steps:
    """Trouble of the network and of the server; ``sizes`` as for :func:`schedules`."""
    return schedules(kinds, **sizes)


def messages(kinds: Collection[str] = MESSAGES, **sizes: Any) -> Steps:
    """What the application and the server have to say to each other."""
    return schedules(kinds, **sizes)


def restarts(kinds: Collection[str] = RESTARTS, **sizes: Any) -> Steps:
    """What a server goes through: restarts, new tokens, lost streams."""
    return schedules(kinds, **sizes)
