"""Which faults befall the pair, and when: plain data, drawn from a seed before the storm begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ...faults import Fault
from ...harness import Chaos
from ...profile import Profile

LONGEST_RETRY_AFTER = 40.0
"""Seconds that a server asks its clients to stay away, at most."""
MOST = 7
"""Faults in one storm, at most."""
CLOSE_CODES: tuple[int, ...] = (
    *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 3000, 4000),
    *(4400, 4401, 4403, 4408, 4409, 4410, 4429, 4499, 4500),
)
REASONS = ("", "words", "0", '{"reconnect": false}', "ü" * 40)
STATUSES = (503, 503, 503, 429, 500, 502, 504, 408, 425, 200, 401, 403, 404)
BURST = {"messages": (5, 60), "size": (10, 40_000)}
"""How many publications come at once, and how long each of them is, in characters."""


@dataclass(frozen=True)
class Spell:
    """One fault, with the time at which it begins and how long it lasts, in seconds from the storm's beginning."""

    start: float
    kind: str
    lasts: float = 0.0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """When it is healed."""
        return self.start + self.lasts


Arguments = Callable[[Random, Profile], dict[str, Any]]


def _latency(rng: Random, profile: Profile) -> dict[str, Any]:
    # From what nobody notices to what a heartbeat takes for death.
    seconds = rng.choice([0.05, 0.3, 1.0, profile.heartbeat.deadline]) * rng.uniform(0.1, 1.1)
    return {"seconds": seconds, "jitter": seconds * rng.choice([0.0, 0.5, 1.0]), **_direction(rng, profile)}


def _bandwidth(rng: Random, profile: Profile) -> dict[str, Any]:
    return {"bytes_per_second": 10 ** rng.uniform(2, 5), **_direction(rng, profile)}


def _direction(rng: Random, _: Profile) -> dict[str, Any]:
    return {"direction": rng.choice(["both", "both", "up", "down"])}


def _silent_drop(rng: Random, profile: Profile) -> dict[str, Any]:
    return {"resume": rng.random() < 0.4, **_direction(rng, profile)}


def _idle_timeout(rng: Random, profile: Profile) -> dict[str, Any]:
    interval = profile.heartbeat.interval or profile.heartbeat.server_interval or 30.0
    return {"seconds": interval * rng.choice([0.2, 0.8, 2.0, 4.0]), **_direction(rng, profile)}


def _reject(rng: Random, _: Profile) -> dict[str, Any]:
    status = rng.choice(STATUSES)
    asks = status in (429, 503) and rng.random() < 0.5
    return {"status": status, "retry_after": round(rng.uniform(0, LONGEST_RETRY_AFTER)) if asks else None}


def _close(rng: Random, _: Profile) -> dict[str, Any]:
    return {"code": rng.choice(CLOSE_CODES), "reason": rng.choice(REASONS)}


def _rotate(rng: Random, _: Profile) -> dict[str, Any]:
    return {"revoke": rng.random() < 0.3}


def _publish(rng: Random, _: Profile) -> dict[str, Any]:
    return {"messages": rng.randint(*BURST["messages"]), "size": int(10 ** rng.uniform(1, 4.6))}


def _nothing(_: Random, __: Profile) -> dict[str, Any]:
    return {}


AT_ONCE = frozenset({"abort", "disconnect", "close", "rotate_token", "drop_sessions", "new_epoch", "publish"})
"""What happens and is over."""
KINDS: Mapping[str, tuple[float, Arguments]] = {
    "latency": (2, _latency),
    "bandwidth": (1.5, _bandwidth),
    "silent_drop": (3, _silent_drop),
    "idle_timeout": (1, _idle_timeout),
    "unanswered_handshake": (1, _nothing),
    "abort": (2, _nothing),
    "disconnect": (2, _nothing),
    "refuse": (2, _nothing),
    "reject_handshake": (1.5, _reject),
    "accept_then_close": (1, _close),
    "close": (2, _close),
    "mute_pongs": (1.5, _nothing),
    "rotate_token": (1.5, _rotate),
    "drop_sessions": (1, _nothing),
    "new_epoch": (1, _nothing),
    "publish": (1, _publish),
}
"""How often each kind comes, relative to the others, and its arguments."""
ONLY_NEW = frozenset({"unanswered_handshake", "reject_handshake", "accept_then_close", "drop_sessions", "new_epoch"})
"""What clients that are connected do not notice: it mostly comes together with something that cuts them."""


def pace(profile: Profile) -> float:
    """How slow everything is by a profile, relative to the default one."""
    return profile.patience / Profile().patience


def draw(rng: Random, profile: Profile) -> list[Spell]:
    """The faults of one storm, in order; now and then there are none."""
    if rng.random() < 0.06:
        return []
    slow = pace(profile)
    kinds = {name: weight for name, (weight, _) in KINDS.items() if name != "silent_drop" or _finds_out(profile)}
    spells: list[Spell] = []
    for name in rng.choices(list(kinds), list(kinds.values()), k=rng.randint(1, MOST)):
        start = rng.uniform(0, 200) * slow
        lasts = 0.0 if name in AT_ONCE else slow * rng.choice([5, 30, 90, 90, 240]) * rng.uniform(0.3, 1)
        spells.append(Spell(start, name, lasts, KINDS[name][1](rng, profile)))
        if name in ONLY_NEW and rng.random() < 0.8:
            spells.append(Spell(start + rng.uniform(0, lasts / 2), rng.choice(["abort", "disconnect"])))
    return sorted(spells, key=lambda spell: spell.start)


def _finds_out(profile: Profile) -> bool:
    """Whether the client can find out that a link is dead: without a heartbeat it waits for ever."""
    return profile.heartbeat.interval is not None


def inject(chaos: Chaos, spell: Spell) -> Fault | None:
    """Let a fault begin; returns it where it has to be healed."""
    match spell.kind:
        case "rotate_token":
            chaos.rotate_token(**spell.arguments)
        case "drop_sessions" | "new_epoch":
            act = getattr(chaos.server, spell.kind)
            chaos._network.inject(spell.kind, act, lambda: None, must_bite=False).remove()
        case "idle_timeout":
            return chaos.idle_timeout(**spell.arguments)
        case _:
            fault: Fault = getattr(chaos, spell.kind)(**spell.arguments, must_bite=False)
            if spell.kind not in AT_ONCE:
                return fault
            fault.remove()
    return None
