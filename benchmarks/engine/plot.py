"""Draws ratios as bars."""

from __future__ import annotations

from collections.abc import Mapping

WIDTH, LEFT, BAR, GAP, TOP = 720, 270, 12, 14, 50
COLOURS = ("#2a6f97", "#a9c6d9", "#c9a227", "#8a8a8a", "#d9d9d9")


def draw(title: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """An SVG: for each row a bar for each name, as long as its ratio."""
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    colours = dict(zip(names, COLOURS, strict=False))
    longest = max(value for row in found.values() for value in row.values())
    scale = (WIDTH - LEFT - 60) / longest
    parts, top = [f'<text x="10" y="18" font-weight="bold">{title}</text>'], TOP
    for number, name in enumerate(names):
        x = 10 + number * 130
        parts += [
            f'<rect x="{x}" y="28" width="10" height="10" fill="{colours[name]}"/>',
            f'<text x="{x + 15}" y="37">{name}</text>',
        ]
    for label, row in found.items():
        parts.append(f'<text x="{LEFT - 8}" y="{top + BAR}" text-anchor="end">{label}</text>')
        for name, value in row.items():
            width = value * scale
            parts += [
                f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 2}" fill="{colours[name]}"/>',
                f'<text x="{LEFT + width + 4:.1f}" y="{top + BAR - 3}" font-size="10">{value:.2f}</text>',
            ]
            top += BAR
        top += GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" '
    return "\n".join(
        [
            f'{head}font-size="12" fill="#333">',
            f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>',
            *parts,
            "</svg>\n",
        ]
    )
