"""The stages of one direction of one connection, in order. Without I/O: whoever owns it asks when to run it again."""

from __future__ import annotations

from collections.abc import Callable

from .stage import End, Item, Stage


class Chain:
    """Passes items through its stages to ``out``, each when it is due.

    Args:
        out: called with each item that has come through.
    """

    def __init__(self, out: Callable[[Item], None]) -> None:
        self.stages: list[Stage] = []
        self._out = out

    def feed(self, item: Item, now: float) -> None:
        """Put an item in at the front, and run."""
        self._enter(0, item, now)
        self.run(now)

    def run(self, now: float) -> None:
        """Pass on all that is due by now."""
        for place, stage in enumerate(list(self.stages)):
            if stage.deadline is not None and stage.deadline <= now:
                due, stage.deadline = stage.deadline, None
                stage.on_deadline(due)
            while stage.queue and stage.queue[0][0] <= now:
                due, item = stage.pop()
                self._enter(place + 1, item, due)

    @property
    def next_at(self) -> float | None:
        """When to run again at the latest; None: not before something is fed."""
        earliest: float | None = None
        for stage in self.stages:  # asked for each chunk: written out, for speed
            due = stage.queue[0][0] if stage.queue else None
            if stage.deadline is not None and (due is None or stage.deadline < due):
                due = stage.deadline
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    @property
    def full(self) -> bool:
        """Whether some stage holds all that it may, so that the source should not be read."""
        for stage in self.stages:  # noqa: SIM110 - asked for each chunk
            if stage.full:
                return True
        return False

    def add(self, stage: Stage, now: float) -> None:
        """Put a stage at the end of those of its rank."""
        place = sum(other.rank <= stage.rank for other in self.stages)
        self._interrupt(place - 1, stage, now)
        self.stages.insert(place, stage)
        stage.start(now)

    def remove(self, stage: Stage, now: float) -> None:
        """Take a stage out, unless it is sticky; what it holds goes on before anything newer."""
        if stage not in self.stages:
            return
        stage.on_remove(now)
        if stage.active and stage.sticky:
            self.run(now)
            return
        place = self.stages.index(stage)
        while stage.queue:
            _, item = stage.pop()
            self._enter(place + 1, item, now)
        self.stages.remove(stage)
        self._interrupt(place - 1, stage, now)
        self.run(now)

    def _interrupt(self, place: int, other: Stage, now: float) -> None:
        """Another stage comes or goes behind the one at a place."""
        if place >= 0 and other.interrupts:
            stage = self.stages[place]
            stage.rerun(now, stage.on_interrupt)
            self.run(now)

    def _enter(self, place: int, item: Item, at: float) -> None:
        while place < len(self.stages) and not self.stages[place].active:
            place += 1
        if place >= len(self.stages):
            self._out(item)
        elif isinstance(item, End):
            self.stages[place].on_end(item, at)
        else:
            self.stages[place].on_data(item, at)
