"""schedule: another toxic that comes and goes, at the same instants on all connections.

``type`` and ``attributes`` are those of the other toxic. ``times`` is a list of ``{"at": ms, "lasts": ms}``, counted
from when the schedule was made; with ``period`` above 0 they come again every so many milliseconds. Each time the
other toxic comes anew, and goes as if it were removed.
"""

from __future__ import annotations

import math
import random

from ..chain import Chain
from ..errors import BadRequest
from ..go_json import Fields
from ..stage import Attributes, End, Item, Stage

EARLY = 1e-6
"""Seconds by which an instant may be missed in sums of floating point."""


class Schedule(Stage):
    """A stage that contains another one while that is due."""

    type = "schedule"
    defaults = {"type": "", "attributes": {}, "times": [], "period": 0}

    def __init__(self, attributes: Attributes, rng: random.Random) -> None:
        super().__init__(attributes, rng)
        self.rank = _kind(attributes).rank
        self._chain = Chain(self._through)
        self._inner: Stage | None = None
        self._switch: float | None = None  # when it comes or goes next
        self._now = 0.0
        self._passed = False  # whether there has been data
        self._met = False  # and whether there has been since it came

    @classmethod
    def check(cls, attributes: Attributes) -> None:
        if attributes["period"] < 0:
            raise cls.wrong("period", attributes["period"], "above 0 ms, or 0 for none")
        _inner_attributes(attributes)
        if not attributes["times"]:
            raise cls.wrong("times", attributes["times"], 'a list of {"at": ms, "lasts": ms}')
        for time in attributes["times"]:
            if not isinstance(time, dict) or time.keys() != {"at", "lasts"} or not all(map(_number, time.values())):
                raise cls.wrong("times", time, '{"at": ms, "lasts": ms}')
            if time["at"] < 0 or time["lasts"] <= 0 or 0 < attributes["period"] < time["at"] + time["lasts"]:
                raise cls.wrong("times", time, "at 0 ms or later, last above 0 ms, and end within the period")

    @property
    def full(self) -> bool:
        return super().full or self._chain.full

    @property
    def empty(self) -> bool:
        return super().empty and all(stage.empty for stage in self._chain.stages)

    def on_start(self, at: float) -> None:
        self.since = at if self.since is None else self.since
        self._turn(at)
        self._settle()

    def on_data(self, data: bytes, at: float) -> None:
        self._advance(at)
        if self._inner is not None and not self._met:
            self._met = True
            self.tell(did="met", what=self._inner.type)
        self._chain.feed(data, at)
        self._passed = True
        self._settle()

    def on_end(self, end: End, at: float) -> None:
        self._advance(at)
        self._chain.feed(end, at)
        self._settle()

    def on_deadline(self, at: float) -> None:
        self._advance(at)
        self._settle()

    def on_update(self, at: float) -> None:
        self._advance(at)
        self._go(at)
        self._turn(at)
        self._settle()

    def on_remove(self, at: float) -> None:
        self._switch = None
        self._advance(at)
        self._go(at)
        self._settle()
        self.release(at)

    def _advance(self, at: float) -> None:
        """All that is due by an instant has happened."""
        while self._switch is not None and self._switch <= at:
            self._turn(self._switch)
        self._now = at
        self._chain.run(at)

    def _turn(self, at: float) -> None:
        """Come or go, whichever it is time for, and find out until when."""
        assert self.since is not None
        self._now = at
        passed = (at - self.since + EARLY) * 1000
        period = self.attributes["period"]
        rounds = passed // period if period else 0
        passed -= rounds * period
        spells = [(time["at"], time["at"] + time["lasts"]) for time in self.attributes["times"]]
        later = [instant for spell in spells for instant in spell if instant > passed]
        if period:
            later.append(period + min(spells)[0])
        self._switch = self.since + (rounds * period + min(later)) / 1000 if later else None
        due = any(start <= passed < end for start, end in spells)
        if due and self._inner is None:
            self._come(at)
        elif not due:
            self._go(at)

    def _come(self, at: float) -> None:
        self._inner = inner = _kind(self.attributes)(_inner_attributes(self.attributes), self.rng)
        inner.upstream, inner.tell = self.upstream, self.tell
        inner.opened_with = self.opened_with and not self._passed
        self._met = False
        self._chain.add(inner, at)
        self._chain.run(at)

    def _go(self, at: float) -> None:
        if self._inner is not None:
            inner, self._inner = self._inner, None
            self._chain.remove(inner, at)

    def _through(self, item: Item) -> None:
        self.cuts = self.cuts or any(stage.cuts for stage in self._chain.stages)
        self.put(self._now, item)

    def _settle(self) -> None:
        stages = self._chain.stages
        self.silences = any(stage.silences for stage in stages)
        self.sticky = any(stage.sticky for stage in stages)
        self.deadline = min((at for at in (self._switch, self._chain.next_at) if at is not None), default=None)


def _kind(attributes: Attributes) -> type[Stage]:
    from . import TOXICS  # which names this one too

    kind = TOXICS.get(attributes["type"])
    if kind is None or kind is Schedule:
        names = ", ".join(sorted(TOXICS.keys() - {Schedule.type}))
        raise Schedule.wrong("type", attributes["type"], f"one of {names}")
    return kind


def _inner_attributes(attributes: Attributes) -> Attributes:
    """All attributes of the other toxic."""
    kind, given = _kind(attributes), attributes["attributes"]
    if unknown := given.keys() - kind.defaults.keys():
        names = ", ".join(kind.defaults) or "no attributes"
        raise Schedule.wrong("attributes", given, f"those of {kind.type}: {names}; {sorted(unknown)[0]} is none")
    fields = Fields(given, "Toxic.attributes.attributes")
    complete = {name: default if (value := fields.like(name, default)) is None else value
                for name, default in kind.defaults.items()}  # fmt: skip
    try:
        kind.check(complete)
    except BadRequest as error:
        raise BadRequest(f"toxic {Schedule.type}: {error}") from None
    return complete


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
