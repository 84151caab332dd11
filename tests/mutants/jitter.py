"""Clients that come back too regularly, and all at once."""

from __future__ import annotations

from random import Random
from typing import Any

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.profile import Backoff as Figures
from pytest_wschaos.profile import Jitter
from pytest_wschaos.reference.backoff import Backoff

from .registry import OtherFigures, mutant


@mutant(
    "M19, django/channels#568, phoenixframework/phoenix#4045: no jitter",
    fails={
        "JITTER-01": "each delay is the nominal one",
        "JITTER-02": "nothing is drawn, so all clients have the same delays",
        "JITTER-03": "all delays of a step are one value",
        "JITTER-04": "a herd that lost its links at one instant comes back at one instant",
    },
)
class NoJitter(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(jitter={"shape": "none"})


class _DrawnOnce(Backoff):
    FACTOR = Random("this process").uniform(0.5, 1.5)

    def _draw(self, step: int) -> float:
        return self._figures.nominal(step) * self.FACTOR


@mutant(
    "M20, pladaria/reconnecting-websocket: one random number, drawn when the module is loaded",
    fails={
        "JITTER-01": "each delay is the nominal one times one and the same number",
        "JITTER-02": "it is not drawn anew, and all clients of the process share it",
        "JITTER-03": "all delays of a step are one value",
        "JITTER-04": "the clients of one process come back at one instant",
    },
)
class JitterOncePerProcess(ReferenceClient):
    backoff_type = _DrawnOnce


class _Clamped(Backoff):
    def _draw(self, step: int) -> float:
        return min(super()._draw(step), self._figures.cap)


@mutant(
    "M21, backo2 in socket.io-client: clamped after the jitter",
    fails={
        "JITTER-01": "at the cap half of the declared range is cut off",
        "JITTER-03": "half of the delays at the cap are the cap itself",
    },
)
class JitterClampedAtTheCap(ReferenceClient):
    backoff_type = _Clamped


@mutant(
    "made up: every client has a generator of its own, with the same seed",
    fails={
        "JITTER-01": "thirty clients bring no more draws than one, and so few of them are no uniform distribution",
        "JITTER-02": "at each step all clients draw the same number",
        "JITTER-03": "so their delays are one value at each step",
        "JITTER-04": "and they come back at one instant",
    },
)
class SameSeedInEveryClient(ReferenceClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **{**options, "seed": 0})


class _InSeconds(Backoff):
    def _draw(self, step: int) -> float:
        return max(0.0, self._figures.nominal(step) + self._rng.uniform(-0.5, 0.5))


@mutant(
    "M22, miguelgrinberg/python-socketio: the factor of the jitter is taken for seconds",
    fails={
        "JITTER-01": "half a second more or less is nothing at the later delays",
        "JITTER-02": "so all clients have nearly the same",
        "JITTER-03": "and at the cap they pile up",
    },
)
class JitterInSeconds(ReferenceClient):
    backoff_type = _InSeconds


class _FirstOnly(Backoff):
    def _draw(self, step: int) -> float:
        return super()._draw(step) if step == 1 else self._figures.nominal(step)


@mutant(
    "`async for` of python-websockets: only the first delay has jitter",
    fails={
        "JITTER-01": "each later delay is the nominal one",
        "JITTER-02": "nothing is drawn for it, so all clients have the same",
        "JITTER-03": "all delays of a later step are one value",
    },
)
class JitterOnTheFirstDelayOnly(ReferenceClient):
    backoff_type = _FirstOnly


class _Upwards(Backoff):
    def _draw(self, step: int) -> float:
        high = self._jitter.bounds[1]
        nominal = self._figures.nominal(step)
        return self._rng.uniform(nominal, nominal * high)


@mutant(
    "made up, as of graphql-ws, which adds 0.3 to 3 s: the jitter only ever adds",
    fails={
        "JITTER-01": "the lower half of the declared range is never drawn",
        "JITTER-03": "at each step all delays lie in the upper half",
    },
)
class JitterOnlyAdds(ReferenceClient):
    backoff_type = _Upwards


class _SeededAlike(Backoff):
    """One generator for all clients of a process, and the same in all processes."""

    SHARED = Random("the same in every worker")

    def __init__(self, figures: Figures, jitter: Jitter, max_retries: int | None, rng: Random) -> None:
        super().__init__(figures, jitter, max_retries, self.SHARED)


@mutant(
    "M25, derived: workers that were forked after the generator was seeded",
    fails={"JITTER-02": "two processes that start at one instant draw the same delays"},
    alone=True,
)
class SeededAlikeInEveryProcess(ReferenceClient):
    backoff_type = _SeededAlike
