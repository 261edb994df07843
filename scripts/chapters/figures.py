"""The chapters' figures: one each, small enough for a phone, drawn from results/ in the report's colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rungwise.ladder import RUNGS
from rungwise.report import plots
from rungwise.report.document import Figure
from rungwise.report.plots import INK, QUIET, SERIES, Canvas
from scripts.chapters.numbers import Numbers

WIDTH = 4.5
"""Inches of 72 units: text is legible at 340 pixels, too."""
COLOURS = tuple(SERIES[i] for i in (0, 5, 2, 7))
MARKERS = "osD^"
TEST = "test loss, nats a character"


def figure(name: str, title: str, numbers: str, height: float, paint: Callable[[Canvas], None]) -> Figure:
    def sized(canvas: Canvas) -> None:
        canvas.set_size_inches(WIDTH, height)
        paint(canvas)

    return plots.figure(f"chapter-{name}", title, numbers, "", height, sized)


def levels(
    numbers: Numbers, name: str, rungs: Sequence[str], train: bool = False, ngrams: Sequence[int] = ()
) -> Figure:
    """The test loss of several rungs, with the train loss on request and with n-gram baselines as dashed lines."""
    labels = [RUNGS[rung].title for rung in rungs]
    found = {"test": [numbers.summary(rung) for rung in rungs]}
    if train:
        found = {"train": [numbers.summary(rung, "train loss") for rung in rungs]} | found

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for i, (what, summaries) in enumerate(reversed(found.items())):
            for y, x in zip(plots.rows(axes, labels), summaries, strict=True):
                plots.band(axes, (x.low, x.high), y, COLOURS[i])
                axes.plot(x.mean, y, MARKERS[i], color=COLOURS[i], label=None if y else f"{what} loss")
        for order in ngrams:
            loss = numbers.measured.baselines[order]["test_loss"]
            axes.axvline(loss, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(f"{order}-gram", (loss, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                          textcoords="offset points", ha="center", va="bottom", color=INK)  # fmt: skip
        axes.set_xlabel("nats a character (lower is better)" if train else f"{TEST} (lower is better)")
        if train:
            _legend(canvas)

    said = "; ".join(
        f"{label}: " + ", ".join(f"{what} {summaries[i].mean:.3f}" for what, summaries in found.items())
        for i, label in enumerate(labels)
    )
    return figure(name, "Losses", f"{said}.", 0.9 + 0.3 * len(rungs) + 0.25 * train + 0.15 * bool(ngrams), paint)


def _legend(canvas: Canvas) -> None:
    canvas.legend(loc="outside lower center", frameon=False, ncols=2)


def places(numbers: Numbers, name: str, rungs: Sequence[str], longest: int = 9) -> Figure:
    """The test loss of the second, third, ... character of a name."""
    lines = [(RUNGS[rung].title, *(values[: longest - 1] for values in numbers.places(rung))) for rung in rungs]

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for i, (label, x, y) in enumerate(lines):
            axes.plot(x, y, marker=MARKERS[i], markersize=4, color=COLOURS[i], label=label)
        axes.set_xlabel("place in the name (the first character is given)")
        axes.set_ylabel(TEST)
        axes.grid()
        _legend(canvas)

    said = "; ".join(f"{label}: from {y[0]:.2f} at place 2 to {y[-1]:.2f} at place {x[-1]}" for label, x, y in lines)
    return figure(name, "Loss by place in the name", f"{said}.", 3.0, paint)


def curves(numbers: Numbers, name: str, rungs: Sequence[str]) -> Figure:
    """The loss of the training batches, mean of 256 steps and over seeds; without the fall at the start."""
    lines = []
    for rung in rungs:
        if (found := numbers.measured.curve(rung)) is None:
            raise LookupError(f"results/ has no learning curves of {rung}.")
        lines.append((RUNGS[rung].title, found[0], found[1].mean(axis=0)))

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for i, (label, x, y) in enumerate(lines):
            axes.plot(x, y, color=COLOURS[i], label=label, linewidth=1.2)
        rest = np.concatenate([y[len(y) // 12 :] for _, _, y in lines])
        axes.set_ylim(rest.min() - 0.02, rest.max() + 0.02)
        axes.set_xlabel("step")
        axes.set_ylabel("training loss, nats a character")
        axes.grid()
        _legend(canvas)

    said = "; ".join(f"{label}: ends at {y[-1]:.3f} after {x[-1]:,} steps" for label, x, y in lines)
    return figure(name, "Learning curves", f"{said}.", 3.0, paint)


def rates(numbers: Numbers, name: str, rungs: Sequence[str]) -> Figure:
    """Test loss by learning rate (protocol strict)."""
    lines = [(RUNGS[rung].title, numbers.learning_rates(rung)) for rung in rungs]

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for i, (label, found) in enumerate(lines):
            means = [s.mean for s in found.values()]
            half = [(s.high - s.low) / 2 for s in found.values()]
            axes.errorbar(list(found), means, half, marker=MARKERS[i], color=COLOURS[i], capsize=3, label=label)
        axes.set_xscale("log")
        axes.set_xticks(list(lines[0][1]), [f"{rate:g}" for rate in lines[0][1]])
        axes.minorticks_off()
        axes.set_xlabel("learning rate")
        axes.set_ylabel(TEST)
        axes.grid()
        _legend(canvas)

    said = "; ".join(
        f"{label}: " + ", ".join(f"{s.mean:.3f} at {r:g}" for r, s in found.items()) for label, found in lines
    )
    return figure(name, "Test loss by learning rate", f"{said}.", 3.0, paint)


def seeds(numbers: Numbers, name: str, pairs: Sequence[tuple[str, str]]) -> Figure:
    """What changes from one rung to another: a ring for each seed, and the mean with its interval."""
    measured = numbers.measured
    found = [(measured.combine({after: 1, before: -1}), measured.change(before, after)) for before, after in pairs]
    labels = [f"{RUNGS[before].title}\nto {RUNGS[after].title}" for before, after in pairs]
    each_of = f"a {measured.over(pairs[0])[:-1]} each"

    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        for y, (each, mean) in zip(plots.rows(axes, labels), found, strict=True):
            axes.plot([mean.low, mean.high], [y, y], color=COLOURS[0], linewidth=5, alpha=0.35)
            axes.plot(mean.mean, y, "o", color=COLOURS[0], label=None if y else "mean, 95 % CI")
            axes.plot(each, [y + 0.22] * len(each), "o", markerfacecolor="none", markersize=4,
                      markeredgecolor=COLOURS[1], label=None if y else each_of)  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("change in test loss (below 0 is better)")
        _legend(canvas)

    said = "; ".join(f"{label}: {mean.mean:+.3f}" for label, (_, mean) in zip(labels, found, strict=True))
    return figure(name, "Change in test loss, one by one", f"{said}.".replace("\n", " ").replace("-", "−"),
                  1.3 + 0.5 * len(pairs), paint)  # fmt: skip
