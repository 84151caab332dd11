"""The waits of a case's clients before each retry, drawn against the band that the profile declares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from html import escape

from ...checks.backoff import bounds
from ...checks.story import Story
from ...checks.waits import Wait, waits
from ...profile import Profile
from ...timeline import Record

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40
FEWEST = 2
"""Waits from which on they are drawn."""
MOST = 400


def delays(record: Record, profile: Profile) -> str:
    """A drawing in SVG; empty where there are too few waits to draw."""
    found = [wait for client in Story(record).clients for wait in waits(client, profile) if not wait.bound][:MOST]
    if len(found) < FEWEST:
        return ""
    by_step: dict[int, list[Wait]] = defaultdict(list)
    for wait in found:
        by_step[wait.step].append(wait)
    order = sorted(by_step)
    bands = {step: bounds(step, profile) for step in order}
    top = max(max(wait.low for wait in found), max(high for _, high in bands.values())) * 1.08 or 1.0
    width = (WIDTH - LEFT - RIGHT) / len(order)
    parts = [
        f'<svg class="delays" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        'aria-label="The waits before each retry, and the band that the profile declares">',
        *_axes(top),
    ]
    for place, step in enumerate(order):
        x = LEFT + place * width
        parts += _column(by_step[step], step, bands[step], x, width, top)
    parts.append("</svg>")
    return "".join(parts)


def _y(seconds: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - seconds / top)


def _axes(top: float) -> Iterator[str]:
    for part in range(5):
        seconds = top * part / 4
        y = _y(seconds, top)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{seconds:.3g} s</text>'
    yield f'<text class="tick" x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">retry</text>'


def _column(
    found: list[Wait], step: int, band: tuple[float, float], x: float, width: float, top: float
) -> Iterator[str]:
    """One step: its band, and the waits in it, side by side."""
    low, high = _y(band[0], top), _y(band[1], top)
    told = f"retry {step}: declared {band[0]:.3f} to {band[1]:.3f} s"
    yield (
        f'<rect class="band" x="{x + width * 0.08:.1f}" y="{high:.1f}" width="{width * 0.84:.1f}" '
        f'height="{max(1.5, low - high):.1f}"><title>{told}</title></rect>'
    )
    yield f'<text class="tick" x="{x + width / 2:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{step}</text>'
    for number, wait in enumerate(found, 1):
        place = x + width * (0.15 + 0.7 * number / (len(found) + 1))
        yield (
            f'<circle class="wait" cx="{place:.1f}" cy="{_y(wait.low, top):.1f}" r="3.2">'
            f"<title>{escape(str(wait))}</title></circle>"
        )
