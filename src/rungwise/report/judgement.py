"""The page of `rungwise judge`: a judgement as tables and plots. No torch."""

from __future__ import annotations

import textwrap

import numpy as np

from rungwise.judge.estimates import Estimate
from rungwise.judge.figures import Figure, Judgement
from rungwise.report import plots
from rungwise.report.build import html
from rungwise.report.document import Block, Paragraph, Section, Table
from rungwise.report.document import Figure as Drawn
from rungwise.report.plots import INK, QUIET, SERIES, Canvas, Line, is_narrow

OWN, REAL = "generated", "held out"


def page(found: Judgement, listed: str, samples: str) -> str:
    """One self-contained HTML page."""
    times = [(word, f"{n:,}") for word, n in found.most_frequent]
    frequent = Table("Words that were generated most often", ("Word", "Times"), times)
    sections = [
        Section("judgement", f"{samples}, judged by {listed}", [*_lead(found), *_drawn(found)], level=1),
        Section("figures", "All figures", [_table(found)]),
        Section("lengths", "By length", _lengths(found)),
        Section("frequent", "The most frequent words", [frequent]),
        Section("meaning", "What the figures mean", [Paragraph(text) for text in MEANING]),
    ]
    return html([section for section in sections if section.blocks])


MEANING = (
    "Each figure stands beside that of real words that were held out from the list. A perfect generator would get the "
    "figures of held-out words: a difference that is larger than both intervals says that the generated words differ "
    "from real ones.",
    "The list is divided at random. If the generator has seen the whole list, copies of held-out words mean as much as "
    "copies of training words, and the ratio of the two is near 1.",
    "Intervals are 95 %: Wilson's for shares, a bootstrap over words for the other figures. Distances are measured on "
    "as many generated as held-out words, because fewer words have larger distances.",
    "Where the list holds no word twice, held-out words are no training words. So copies of training words are left "
    "aside where nearness is compared, and have figures of their own.",
    "At the list's lengths: each length counts as often as in the list. Short words are more often copies and nearer "
    "to other words, so a generator of shorter words looks like a copier without this.",
)


def _lead(found: Judgement) -> list[Block]:
    sizes = found.sizes
    counted = (
        f"{sizes['samples']:,} generated words, {sizes['distinct_samples']:,} of them distinct, against "
        f"{sizes['training']:,} training and {sizes['held_out']:,} held-out words."
    )
    apart = [f.title for f in found.figures if f.floor and f.samples and f.name != "rediscovered" and _apart(f)]
    verdict = (
        f"The generated words differ from real held-out words in: {'; '.join(apart)}."
        if apart
        else "No figure tells the generated words from real held-out words."
    )
    return [Paragraph(verdict), Paragraph(counted), *(Paragraph(note, quiet=True) for note in found.notes)]


def _apart(figure: Figure) -> bool:
    """Do the two intervals leave each other free?"""
    a, b = figure.samples, figure.floor
    return a is not None and b is not None and (a.low > b.high or b.low > a.high)


def _text(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _table(found: Judgement) -> Table:
    rows = [(f.title, _text(f.samples), _text(f.floor), _text(f.same_lengths), f.unit) for f in found.figures]
    header = ("Figure", "Generated", "Held out", "At the list's lengths", "Unit")
    return Table("Each figure with its 95 % interval", header, rows)


def _drawn(found: Judgement) -> list[Block]:
    by_name = {f.name: f for f in found.figures}
    shares = [by_name[n] for n in ("new_folded", "copies_of_training", "rediscovered", "most_frequent") if n in by_name]
    shares = [f for f in found.figures if f.name == "valid" or f.name.startswith("unique_at")] + shares
    apart = [f for f in found.figures if f.name.endswith("_distance")]
    blocks: list[Block] = [
        pairs(
            "shares", "Shares of the words", "Dots with 95 % intervals; a hollow dot is real words.", shares, "share"
        ),
        pairs(
            "distances",
            "Distances of distributions",
            "Jensen-Shannon: nearer to 0 is more like the list.",
            apart,
            "bits",
        ),
    ]
    if found.distances:
        blocks.append(_histogram(found))
    return blocks


def pairs(name: str, title: str, caption: str, figures: list[Figure], label: str) -> Drawn:
    """A row a figure: generated words as a dot, held-out words as a hollow one, each on its interval."""
    names = [figure.title for figure in figures]

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        places = np.arange(len(names))[::-1]
        axes.set_yticks(places, [textwrap.fill(n, 18) if is_narrow(canvas) else n for n in names])
        for series, color, face, shift in ((OWN, SERIES[0], SERIES[0], 0.14), (REAL, SERIES[5], "none", -0.14)):
            labelled: str | None = series
            for place, figure in zip(places, figures, strict=True):
                value = figure.samples if series == OWN else figure.floor
                if value is not None:
                    axes.plot([value.low, value.high], [place + shift] * 2, color=color, linewidth=1.4)
                    at = ([value.value], [place + shift])
                    axes.plot(*at, marker="o", linestyle="", color=color, markerfacecolor=face, label=labelled)
                    labelled = None
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.axvline(0, color=QUIET, linewidth=0.8)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        canvas.legend(loc="outside upper left", frameon=False, ncols=2)

    data: list[tuple[object, ...]] = [("figure", "series", label, "low", "high")]
    told = []
    for figure in figures:
        for series, value in ((OWN, figure.samples), (REAL, figure.floor)):
            if value is not None:
                data.append((figure.title, series, value.value, value.low, value.high))
        told.append(f"{figure.title}: {_text(figure.samples)}, held out {_text(figure.floor)}")
    return plots.figure(name, title, "; ".join(told) + ".", caption, 1 + 0.5 * len(names), paint, data)


def _histogram(found: Judgement) -> Drawn:
    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for i, (name, color) in enumerate((("samples", SERIES[0]), ("held_out", SERIES[5]))):
            times = np.array(found.distances[name]) / sum(found.distances[name])
            label = OWN if name == "samples" else REAL
            axes.bar(np.arange(len(times)) + (i - 0.5) * 0.4, times, 0.38, color=color, label=label)
        axes.set_xlabel("edits to the nearest training word")
        axes.set_ylabel("share of words")
        axes.locator_params(axis="x", integer=True)
        axes.axhline(0, color=INK, linewidth=0.6)
        canvas.legend(loc="outside upper left", frameon=False, ncols=2)

    data: list[tuple[object, ...]] = [("words", "edits", "number")]
    data += [(name, i, n) for name, times in found.distances.items() for i, n in enumerate(times)]
    about = "; ".join(
        f"{name}: {', '.join(map(str, times))} words at 0, 1, ... edits" for name, times in found.distances.items()
    )
    caption = "A generator that has memorised words has more of them near training words than real held-out words are."
    return plots.figure("nearest", "Edits to the nearest training word", about + ".", caption, 3.0, paint, data)


def _lengths(found: Judgement) -> list[Block]:
    rows = found.by_length
    if not rows:
        return []
    columns = [name for name in rows[0] if name != "length"]
    header = ("Length", *(name.replace("_", " ") for name in columns))
    cells = [(str(row["length"]), *("-" if row.get(c) is None else f"{row[c]:,.4g}" for c in columns)) for row in rows]
    blocks: list[Block] = [Table("Means of the words of one length", header, cells)]
    x = [float(row["length"]) for row in rows]
    curves = [
        Line(label, np.array(x), np.array([row[key] for row in rows], dtype=float))
        for label, key in ((OWN, "longest_piece_samples"), (REAL, "longest_piece_held_out"))
        if all(row.get(key) is not None for row in rows)
    ]
    if len(rows) > 1 and curves:
        caption = "Long words share longer pieces with training words."
        title = "The longest shared piece, by length"
        blocks.append(plots.lines("pieces", title, caption, [("characters of the word", curves)], "characters"))
    return blocks
