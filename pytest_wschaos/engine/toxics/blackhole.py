"""blackhole: swallows data and ends alike, without a sign to the other side: a link that has died silently."""

from __future__ import annotations

import random

from ..stage import Attributes, End, Stage


class Blackhole(Stage):
    """Nothing passes any more, and nobody is told. A connection that met it stays dead when it is removed.

    No attributes. A network address translator that has forgotten a connection does the same.
    """

    type = "blackhole"
    silences = True

    def __init__(self, attributes: Attributes, rng: random.Random) -> None:
        super().__init__(attributes, rng)
        self.sticky = True

    def on_data(self, data: bytes, at: float) -> None:
        pass

    def on_end(self, end: End, at: float) -> None:
        pass
