"""Results as SVG, to be set into a page: text stays text, colours are the page's, and the same numbers give the same
bytes. No torch, and no pyplot: a figure here is a value, not a window.

Colours are CSS variables of the page (--ink, --quiet, --c0 to --c7), so that a figure follows its light and dark
themes. matplotlib knows no variables: it draws in stand-in colours that are replaced in its output.
"""

import csv
import html
import io
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rungwise.report.document import Figure
from rungwise.util.machine import cache

# No style of the user's, and no home: matplotlib looks for both as it is imported.
os.environ.setdefault("MPLCONFIGDIR", str(cache() / "matplotlib"))
import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

INK, QUIET = "#010203", "#040506"
SERIES = tuple(f"#0a0b{i:02x}" for i in range(8))
_VARIABLES = {INK: "var(--ink)", QUIET: "var(--quiet)", **{c: f"var(--c{i})" for i, c in enumerate(SERIES)}}
WIDTH, NARROW = 6.4, 3.5
"""Inches at 72 units each: the page scales a figure to its column. Each is drawn twice, for a phone again."""
NARROW_LABEL = 32
"""Characters of an axis' name in a line of a narrow figure."""
UNIT = "nats a character"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": QUIET,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.35,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "figure.constrained_layout.use": True,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # names may hold dollar signs
}


@dataclass(frozen=True)
class Level:
    """One rung's place on an axis, with an interval where there is one (else nan)."""

    label: str
    mean: float
    low: float
    high: float
    published: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """Of the line that is drawn: the mean itself where there is no interval."""
        return (self.mean, self.mean) if np.isnan(self.low) else (self.low, self.high)


@dataclass(frozen=True)
class Line:
    label: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    """May hold nan, where the line breaks."""


def _svg(name: str, title: str, description: str, width: float, height: float, paint: Callable[[Canvas], None]) -> str:
    """A painted canvas as an SVG element: no date, metadata or size, and ids only where something refers to them."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):  # a salt each: ids differ between figures of a page
        canvas = Canvas(figsize=(width, height), facecolor="none")
        FigureCanvasSVG(canvas)
        paint(canvas)
        for axes in canvas.axes:
            axes.set_facecolor("none")
            if is_narrow(canvas):
                axes.set_xlabel(textwrap.fill(axes.get_xlabel(), NARROW_LABEL))
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    _, view, svg = re.split(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', stream.getvalue())
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style type=\"text/css\">.*?</style>\s*", "", svg, flags=re.DOTALL)  # it would reach the whole page
    used = set(re.findall(r"#([\w-]+)[)\"]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)  # the page's own fonts
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return (
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" '
        f'{view} role="img" aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{html.escape(title)}'
        f'</title><desc id="{name}-desc">{html.escape(description)}</desc>{svg.strip()}'
    )


Table = Sequence[Sequence[object]]
"""What a figure shows, as rows of a CSV file; the first holds the names."""


def figure(
    name: str,
    title: str,
    description: str,
    caption: str,
    height: float,
    paint: Callable[[Canvas], None],
    data: Table = (),
    narrow_height: float | None = None,
) -> Figure:
    """`paint` is called twice, for a wide and a narrow canvas. `height`: inches; `data`: the numbers behind it."""
    wide, narrow = (
        _svg(id_, title, description, width, tall, paint)
        for id_, width, tall in ((name, WIDTH, height), (f"{name}-narrow", NARROW, narrow_height or height))
    )
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(data)
    return Figure(name, title, description, caption, wide, narrow, table.getvalue())


def is_narrow(canvas: Canvas) -> bool:
    return canvas.get_figwidth() < WIDTH


def band(axes: Any, ends: tuple[float, float], place: float, color: str = SERIES[0]) -> None:
    """An interval in a row."""
    axes.plot(ends, [place, place], color=color, linewidth=5, alpha=0.35, solid_capstyle="round")


def rows(axes: Any, labels: Sequence[str]) -> range:
    """Places for labelled rows, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return range(len(labels))


def ladder(name: str, title: str, caption: str, levels: Sequence[Level], marks: Sequence[tuple[str, float]]) -> Figure:
    """Test losses with intervals, published ones to compare, and vertical marks (an n-gram baseline, a peer)."""

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for place, level in zip(rows(axes, [level.label for level in levels]), levels, strict=True):
            measured, published = (None, None) if place else ("measured", "published")  # once in the legend
            band(axes, level.ends, place)
            axes.plot(level.mean, place, "o", color=SERIES[0], label=measured)
            if level.published is not None:
                axes.plot(level.published, place, "D", color=SERIES[5], fillstyle="none", markersize=6, label=published)
        for label, loss in marks:
            axes.axvline(loss, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(label, (loss, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), **_ABOVE)
        axes.set_xlabel(f"test loss, {UNIT} (lower is better)")
        if any(level.published is not None for level in levels):
            canvas.legend(loc="outside lower center", frameon=False, ncols=2)

    values = [_text(level) for level in levels] + [f"{label}: {loss:.3f}" for label, loss in marks]
    data = [("rung", "test_loss", "low", "high", "published")]
    data += [(v.label, v.mean, v.low, v.high, v.published) for v in levels]
    data += [(label, loss, "", "", "") for label, loss in marks]
    about = f"Test losses in {UNIT}. " + "; ".join(values) + "."
    return figure(name, title, about, caption, 1.3 + 0.3 * len(levels), paint, data)


_ABOVE: dict[str, Any] = dict(textcoords="offset points", ha="center", va="bottom", fontsize=8.5, color=INK)


def _text(level: Level) -> str:
    interval = f" ({level.low:.3f} to {level.high:.3f})" if np.isfinite(level.low) else ""
    published = f", published {level.published:.2f}" if level.published is not None else ""
    return f"{level.label} {level.mean:.3f}{interval}{published}".replace("-", "−")


def bars(name: str, title: str, caption: str, label: str, groups: Sequence[tuple[str, Sequence[Level]]]) -> Figure:
    """Horizontal bars with intervals. groups: (series, its levels); the first has every row, others may lack some."""
    names = [level.label for level in groups[0][1]]
    thickness = 0.72 / len(groups)

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        rows(axes, names)
        for series, (group, levels) in enumerate(groups):
            shift = (series - (len(groups) - 1) / 2) * thickness
            places, means = [names.index(level.label) + shift for level in levels], [level.mean for level in levels]
            axes.barh(places, means, thickness * 0.9, color=SERIES[5 * series], alpha=0.75, label=group)
            for place, level in zip(places, levels, strict=True):
                axes.plot(level.ends, [place, place], color=INK, linewidth=1)
        axes.axvline(0, color=QUIET, linewidth=0.8)
        axes.set_xlabel(f"{label}, {UNIT}")
        if len(groups) > 1:
            canvas.legend(loc="outside upper left", frameon=False, ncols=1 if is_narrow(canvas) else 2)

    values = [f"{group}: " + ", ".join(_text(level) for level in levels) for group, levels in groups]
    data = [("series", "rung", label, "low", "high")]
    data += [(group, v.label, v.mean, v.low, v.high) for group, levels in groups for v in levels]
    about = f"{label}, {UNIT}. " + "; ".join(values) + "."
    return figure(name, title, about, caption, 1 + 0.32 * len(names), paint, data)


def lines(name: str, title: str, caption: str, panels: Sequence[tuple[str, Sequence[Line]]], ylabel: str) -> Figure:
    """Curves in one or two panels with one y-axis, side by side or, on a phone, one above the other; each curve is
    named at its end."""
    places = {label: i for i, label in enumerate(dict.fromkeys(line.label for _, group in panels for line in group))}

    def paint(canvas: Canvas) -> None:
        first, rows = None, len(panels) if is_narrow(canvas) else 1
        for i, (xlabel, group) in enumerate(panels):
            axes = first = canvas.add_subplot(rows, len(panels) // rows, i + 1, sharey=first)
            for line in group:
                marker = "o" if len(line.x) <= 24 else ""
                axes.plot(line.x, line.y, marker=marker, markersize=3, color=color(places, line), label=line.label)
            axes.set_xlabel(xlabel)
            axes.grid()
            if i == 0 or rows > 1:
                axes.set_ylabel(ylabel)
            if len(panels) == 1:
                _cut_start(axes, group)
        for i in range(len(panels)) if rows > 1 else [len(panels) - 1]:  # where the next panel is not in the way
            _name_ends(canvas.axes[i], [(line, color(places, line)) for line in panels[i][1]])

    ends = [f"{line.label} ends at {_last(line.y):.3f}" for line in panels[0][1]]
    axes_named = " and against ".join(xlabel for xlabel, _ in panels)
    named = [(panel, line) for panel, group in panels for line in group]
    data = [("panel", "series", "x", ylabel)]
    data += [(panel, line.label, x, y) for panel, line in named for x, y in zip(line.x, line.y, strict=True)]
    about = f"{ylabel} against {axes_named}. " + "; ".join(ends) + "."
    return figure(name, title, about, caption, 3.6, paint, data, 3.6 * len(panels))


Points = Sequence[tuple[str, Sequence[tuple[float, float]]]]
"""Names, and the (x, y) of each one's seeds."""


def scatter(
    name: str, title: str, caption: str, labels: tuple[str, str], points: Points, floor: float | None
) -> Figure:
    """A dot at the mean of each name's seeds, which are faint, with its name where there is room; a dashed line at
    the floor."""
    means = [(label, *np.mean(seeds, axis=0).tolist()) for label, seeds in points]
    near = np.ptp([place for _, *place in means], axis=0) * (0.15, 0.05)

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for _, seeds in points:
            axes.plot(*zip(*seeds, strict=True), "o", color=SERIES[0], alpha=0.3, markersize=3)
        named: list[tuple[float, float]] = []
        for label, x, y in means:
            axes.plot(x, y, "o", color=SERIES[0])
            free = all(abs(x - a) > near[0] or abs(y - b) > near[1] for a, b in named)
            if free and not is_narrow(canvas):  # of dots that lie together, the first is named
                named.append((x, y))
                axes.annotate(label, (x, y), xytext=(5, 3), textcoords="offset points", fontsize=7.5)
        if floor is not None:
            axes.axhline(floor, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid()

    data: list[tuple[object, ...]] = [("name", *labels)]
    data += [(label, x, y) for label, seeds in points for x, y in seeds]
    shown = "; ".join(f"{label}: {x:.3f}, {y:.3f}" for label, x, y in means)
    about = f"{labels[1]} against {labels[0]}. {shown}. " + ("" if floor is None else f"Noise floor: {floor:.3f}.")
    return figure(name, title, about, caption, 4.2, paint, data)


def color(places: dict[str, int], line: Line) -> str:
    """Spread over the palette, so that few lines differ most."""
    few = (0, 5, 2, 7)
    return SERIES[few[places[line.label]] if len(places) <= len(few) else places[line.label] % len(SERIES)]


def _last(values: Sequence[float] | np.ndarray) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return finite[-1] if finite else float("nan")


def _cut_start(axes: Any, group: Sequence[Line]) -> None:
    """The first steps fall from ln V: an axis that showed them would squeeze all that differs later."""
    rest = np.concatenate([np.asarray(line.y, float)[len(line.y) // 12 :] for line in group])
    low, high = float(np.nanmin(rest)), float(np.nanmax(rest))
    margin = 0.04 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)


def _name_ends(axes: Any, group: Sequence[tuple[Line, str]]) -> None:
    """Each line's name at its right end, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ordered = sorted(group, key=lambda item: _last(item[0].y))
    at = _apart([_last(line.y) for line, _ in ordered], (high - low) * 0.055)
    x = max(float(line.x[-1]) for line, _ in ordered)
    for (line, color), y in zip(ordered, at, strict=True):
        axes.annotate(
            line.label,
            (float(line.x[-1]), _last(line.y)),
            xytext=(1.06 * x, y),
            textcoords="data",
            va="center",
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color=color, linewidth=0.7, shrinkA=1, shrinkB=1),
        )


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Rising places moved as little as possible (least squares) so that neighbours are at least a gap apart.

    Less i gaps each, that is isotonic regression: pool neighbours that are out of order, and give them their mean.
    """
    pools: list[list[float]] = []
    for i, place in enumerate(places):
        pools.append([place - i * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = [float(np.mean(pool)) for pool in pools for _ in pool]
    return [value + i * gap for i, value in enumerate(level)]
