"""The floors of src/rungwise as a picture, drawn from what the files import. write_docs.py keeps it in docs/floors.svg.

Rooms of a floor are in a row. An arrow leads down from a room to one that it imports; one that follows from two
others is left out. Where an arrow crosses a floor it has a place of its own there, so that no room hides it.
"""

from __future__ import annotations

from itertools import pairwise

from scripts import floors

WIDTH, ROW, BOX, HEIGHT, LEFT = 640, 62, 96, 30, 34
"""Units of the picture: its width, from floor to floor, a room's box, and where the floors' numbers end."""
SWEEPS = 24

Place = tuple[str, ...]
"""A room (name,), or where an arrow crosses a floor (from, to, floor's number)."""


def needed() -> list[tuple[str, str]]:
    """(importing room, imported room), without what follows from others."""
    pairs = {pair for pair in floors.arrows() if "__init__" not in pair and "__main__" not in pair}
    below = {name: {b for a, b in pairs if a == name} for floor in floors.FLOORS for name in floor}

    def reach(name: str) -> set[str]:
        return below[name].union(*(reach(other) for other in below[name]))

    return sorted((a, b) for a, direct in below.items() for b in direct if not any(b in reach(c) for c in direct))


def rows() -> tuple[list[list[Place]], list[list[Place]]]:
    """Places of every floor, the highest floor first, and the places that each arrow runs through."""
    number = {name: n for n, floor in enumerate(floors.FLOORS) for name in floor}
    levels: list[list[Place]] = [[(name,) for name in floor] for floor in floors.FLOORS[:-1]]
    paths: list[list[Place]] = []
    for a, b in needed():
        crossed = [(a, b, str(n)) for n in range(number[a] - 1, number[b], -1)]
        for place in crossed:
            levels[int(place[2])].append(place)
        paths.append([(a,), *crossed, (b,)])
    return levels[::-1], paths


def positions() -> tuple[dict[Place, tuple[float, float]], list[list[Place]]]:
    """Where the middle of each place lies: every place goes near the middle of those it has arrows to."""
    levels, paths = rows()
    links: dict[Place, list[Place]] = {}
    for path in paths:
        for upper, lower in pairwise(path):
            links.setdefault(upper, []).append(lower)
            links.setdefault(lower, []).append(upper)
    x: dict[Place, float] = {}

    def spread(level: list[Place]) -> None:
        """Evenly over the width, a crossing arrow taking a third of a room's space."""
        shares = [1.0 if len(place) == 1 else 1 / 3 for place in level]
        unit, at = (WIDTH - LEFT) / sum(shares), float(LEFT)
        for place, share in zip(level, shares, strict=True):
            x[place] = at + unit * share / 2
            at += unit * share

    for level in levels:
        spread(level)
    for sweep in range(SWEEPS):
        for level in levels if sweep % 2 else levels[::-1]:
            level.sort(key=lambda place: sum(x[other] for other in links[place]) / len(links[place]))
            spread(level)
    return {place: (x[place], ROW * (i + 0.5)) for i, level in enumerate(levels) for place in level}, paths


def svg() -> str:
    """The picture, in the colours of the page that shows it: var(--ink), var(--quiet), var(--rule), var(--band)."""
    at, paths = positions()
    n = len(floors.FLOORS) - 1
    title = "The floors of src/rungwise, the highest first; an arrow leads from a room to one that it imports"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {ROW * n}" role="img" aria-label="{title}">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 1 7 4 0 7z" fill="var(--quiet)"/></marker></defs>',
    ]
    for i in range(n):
        y = ROW * (i + 0.5)
        parts.append(f'<rect x="0" y="{y - 22:g}" width="{WIDTH}" height="44" rx="4" fill="var(--band)"/>')
        parts.append(f'<text x="10" y="{y + 4:g}" font-size="11" fill="var(--quiet)">{n - i}</text>')
    for path in paths:
        first, *rest = (at[place] for place in path)
        x, y = first[0], first[1] + HEIGHT / 2
        line = f"M{x:.1f} {y:g}"
        for i, (to_x, to_y) in enumerate(rest, 1):
            top = to_y - HEIGHT / 2
            line += f"C{x:.1f} {(y + top) / 2:g} {to_x:.1f} {(y + top) / 2:g} {to_x:.1f} {top:g}"
            x, y = to_x, top
            if i < len(rest):  # straight down through the floor that it crosses
                y = to_y + HEIGHT / 2
                line += f"V{y:g}"
        parts.append(f'<path d="{line}" fill="none" stroke="var(--quiet)" marker-end="url(#tip)"/>')
    for place, (x, y) in at.items():
        if len(place) == 1:
            name = place[0] + ("/" if (floors.SRC / floors.PACKAGE / place[0]).is_dir() else ".py")
            parts.append(
                f'<rect x="{x - BOX / 2:.1f}" y="{y - HEIGHT / 2:g}" width="{BOX}" height="{HEIGHT}" rx="5" '
                'fill="var(--paper)" stroke="var(--ink)"/>'
                f'<text x="{x:.1f}" y="{y + 4:g}" font-size="13" text-anchor="middle" fill="var(--ink)">{name}</text>'
            )
    return "".join(parts) + "</svg>"
