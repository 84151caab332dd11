"""SCALE: what one connection costs a server, and that it costs the others nothing."""

from __future__ import annotations

from ..profile import Profile
from .rule import check
from .story import Story
from .verdict import Finding, unsupported

BY_THE_SUITE = "seen by the clients of 'wschaos check --server' alone"


@check("SCALE-03", "The memory of a connection is known and bounded.", side="server")
def memory_is_bounded(story: Story, profile: Profile) -> Finding:
    return unsupported(f"what a server's process holds is not on a timeline: {BY_THE_SUITE}")


@check("SCALE-05", "One stalled client delays nobody else.", side="server")
def nobody_is_delayed(story: Story, profile: Profile) -> Finding:
    return unsupported(f"who waited for whom is not on a timeline: {BY_THE_SUITE}")
