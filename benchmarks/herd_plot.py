"""Draws docs/herd.svg: arrivals per second after an outage, with jitter and without.

    python benchmarks/herd_plot.py

1 000 reference clients at their default figures on virtual time; the server is away for 20 s.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from pytest_wschaos import Chaos, Profile
from pytest_wschaos.simulation.herd import Herd
from pytest_wschaos.simulation.run import run

CLIENTS = 1000
OUTAGE = 20.0
"""Seconds for which connections are refused."""
SHOWN = 65
"""Seconds from the beginning of the outage on that are drawn."""
TARGET = Path(__file__).parents[1] / "docs" / "herd.svg"

WIDTH, PANEL, LEFT, TOP, GAP = 720, 150, 60, 40, 60
COLOURS = {"arrived": "#2a6f97", "refused": "#c9a227"}


def herd(shape: str) -> tuple[Herd, float]:
    """The arrivals since the outage began, and when the last client was ready again, in seconds after its end."""

    async def main() -> tuple[Herd, float]:
        profile = Profile().with_(jitter={"shape": shape})
        async with Chaos(profile=profile) as chaos, chaos.fleet(CLIENTS) as fleet:
            fleet.start(spread=30)
            await fleet.ready()
            with chaos.refuse():
                await asyncio.sleep(OUTAGE)
            healed = fleet.now
            await fleet.ready()
            return fleet.herd(window=1.0), fleet.now - healed

    return run(main, seed=1)


def panel(title: str, found: Herd, top: float) -> list[str]:
    """One chart: a bar for each second."""
    step = (WIDTH - LEFT - 20) / SHOWN
    peak = max(found.counts[:SHOWN])
    base = top + PANEL
    parts = [
        f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{title}</text>',
        f'<text x="{LEFT - 8}" y="{top + 5}" text-anchor="end">{peak}</text>',
        f'<text x="{LEFT - 8}" y="{base}" text-anchor="end">0</text>',
    ]
    for second, count in enumerate(found.counts[:SHOWN]):
        height = PANEL * count / peak
        kind = "refused" if second < OUTAGE else "arrived"
        parts.append(
            f'<rect x="{LEFT + second * step:.1f}" y="{base - height:.1f}" width="{step - 2:.1f}" '
            f'height="{height:.1f}" fill="{COLOURS[kind]}"/>'
        )
    parts.append(f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 20}" y2="{base}" stroke="#666"/>')
    marks = range(0, SHOWN + 1, 10)
    return parts + [
        f'<text x="{LEFT + second * step:.1f}" y="{base + 16}" text-anchor="middle">{second} s</text>'
        for second in marks
    ]


def main() -> None:
    """Measure and draw."""
    height = TOP + 2 * PANEL + GAP + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    top = TOP
    for shape, title in (("none", "without jitter"), ("uniform", "with jitter, 0.5 to 1.5 times the delay")):
        found, ready = herd(shape)
        after = Herd(found.since, 1.0, found.counts[int(OUTAGE) :])
        parts += panel(f"Attempts per second, {title}", found, top)
        print(f"{title}: at most {after.peak} arrivals in a second after the outage; all ready after {ready:.1f} s")
        top += PANEL + GAP
    legend = top - GAP + 40
    for index, (kind, text) in enumerate(
        {"refused": f"refused: the server is away for {OUTAGE:g} s", "arrived": "accepted"}.items()
    ):
        x = LEFT + index * 240
        parts.append(f'<rect x="{x}" y="{legend - 10}" width="12" height="12" fill="{COLOURS[kind]}"/>')
        parts.append(f'<text x="{x + 18}" y="{legend}">{text}</text>')
    parts.append("</svg>")
    TARGET.write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
