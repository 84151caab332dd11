"""How long cases last: by the last run, else by the profile's figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...profile import Profile
from .case import Case


def seconds_of(
    figures: Callable[[Case], Profile], clock: str, last: Mapping[str, float] | None = None
) -> Callable[[Case], float]:
    """What tells the seconds of a case.

    Args:
        figures: those by which a case is played.
        last: seconds by id, of the last run with the same settings.
    """
    known = last or {}

    def seconds(case: Case) -> float:
        if case.id in known:
            return known[case.id]
        return 1.0 if clock != "real" else _by_figures(case, figures(case))

    return seconds


def _by_figures(case: Case, profile: Profile) -> float:
    """What a case of its area mostly waits for."""
    backoff, heartbeat = profile.backoff, profile.heartbeat
    retries = profile.reconnect.max_retries or 8
    refused = sum(backoff.nominal(retry) for retry in range(1, retries + 1)) + backoff.ceiling
    if case.rule == "HEARTBEAT-06" and heartbeat.interval is not None:
        return 20 * heartbeat.interval  # an idle link, for ten minutes by default
    matters = {
        "backoff": refused,
        "jitter": refused,
        "heartbeat": 2 * profile.detection,
        "reconnect": max(profile.detection, refused if case.rule in ("RECONNECT-06", "RECONNECT-07") else 0.0),
        "close": backoff.ceiling,
        "auth": backoff.ceiling,
        "security": heartbeat.server_deadline,
    }
    return backoff.stable_after + matters.get(case.area, backoff.stable_after)


def left(seconds: Callable[[Case], float], waiting: Iterable[Case], playing: Iterable[float], limit: int) -> float:
    """Seconds until all have ended: no earlier than the longest, and no earlier than their sum side by side.

    Args:
        waiting: the cases that have not begun.
        playing: seconds that those have left which have begun.
    """
    to_come = [seconds(case) for case in waiting]
    running = [max(0.0, one) for one in playing]
    return max([0.0, (sum(to_come) + sum(running)) / max(1, limit), *to_come, *running])
