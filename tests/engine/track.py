"""A chain of toxics on a clock that is set by hand."""

from __future__ import annotations

import random
from typing import Any

from pytest_wschaos.engine.chain import Chain
from pytest_wschaos.engine.stage import Item, Stage
from pytest_wschaos.engine.toxics import TOXICS


def stage(
    type: str,
    /,
    *,
    seed: int = 1,
    upstream: bool = False,
    opened_with: bool = True,
    since: float = 0.0,
    **attributes: Any,
) -> Stage:
    """A toxic as a proxy makes it; attributes that are not given have their defaults.

    What it tells of is in ``acts``.
    """
    kind = TOXICS[type]
    assert attributes.keys() <= kind.defaults.keys()
    values = {**kind.defaults, **attributes}
    kind.check(values)
    one = kind(values, random.Random(seed))
    one.upstream, one.opened_with, one.since = upstream, opened_with, since
    one.acts = []  # type: ignore[attr-defined]
    one.tell = lambda **what: one.acts.append((what["did"], what["what"]))  # type: ignore[attr-defined]
    return one


class Track:
    """Runs a chain exactly when it asks for it, and notes what comes out and when."""

    def __init__(self, *stages: Stage) -> None:
        self.now = 0.0
        self.out: list[tuple[float, Item]] = []
        self.chain = Chain(lambda item: self.out.append((round(self.now, 9), item)))
        for one in stages:
            self.chain.add(one, 0.0)

    def feed(self, item: Item, at: float | None = None) -> None:
        """Something comes at an instant."""
        self.until(self.now if at is None else at)
        self.chain.feed(item, self.now)

    def until(self, instant: float) -> None:
        """Let time pass."""
        while (due := self.chain.next_at) is not None and due <= instant:
            self.now = max(self.now, due)
            self.chain.run(self.now)
        self.now = instant

    def update(self, one: Stage, at: float, **attributes: Any) -> None:
        """Change a toxic's attributes."""
        self.until(at)
        one.attributes.update(attributes)
        one.rerun(at, one.on_update)
        self.chain.run(at)

    def remove(self, one: Stage, at: float) -> None:
        """Take a toxic out."""
        self.until(at)
        self.chain.remove(one, at)

    @property
    def data(self) -> bytes:
        """All bytes that have come out."""
        return b"".join(item for _, item in self.out if isinstance(item, bytes))
