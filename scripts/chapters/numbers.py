"""What a chapter says in numbers: every one is computed from results/ when the chapter is written.

All but the `rate` functions are about the article's list in the article's protocol. Losses are in nats a scored
character: the mean over splits, or over the seeds of one, and half the width of its 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rungwise.analysis.evidence import Evidence
from rungwise.analysis.stats import Summary, paired, summary
from rungwise.analysis.tables import rows, show
from rungwise.experiment.results import losses, paired_losses
from rungwise.ladder import RUNGS

LETTERS = 26


class Numbers:
    """The functions that the templates in text/ call."""

    def __init__(self, evidence: Evidence) -> None:
        self.measured = evidence.main
        self.tuned = evidence.on("strict").tuned

    def n(self, *rungs: str) -> int:
        """How many seeds, or splits, all these rungs have in common."""
        return len(self.measured.combine(dict.fromkeys(rungs, 0)))

    def over(self, *rungs: str) -> str:
        """seeds, or splits."""
        return self.measured.over(rungs)

    def summary(self, rung: str, metric: str = "test loss") -> Summary:
        return self.measured.summary(rung, metric)

    def test(self, rung: str) -> str:
        return show(self.summary(rung))

    def gap(self, rung: str) -> str:
        """Test loss less train loss."""
        return show(self.summary(rung, "train-test gap")).replace("-", "−")

    def diff(self, before: str, after: str, metric: str = "test loss") -> str:
        """What changes from one rung to another, paired by seed; below zero: the second is better."""
        return show(self.measured.change(before, after, metric), signed=True)

    def step(self, rung: str) -> str:
        return self.diff(str(RUNGS[rung].on), rung)

    def params(self, rung: str) -> str:
        return f"{self.measured.by_rung[rung][0].n_params:,}"

    def ngram(self, order: int) -> str:
        return f"{self.measured.baselines[order]['test_loss']:.3f}"

    def uniform(self) -> str:
        """The loss of a guess that gives each letter and the end the same probability."""
        return f"{math.log(LETTERS + 1):.2f}"

    def batch(self) -> str:
        """Characters and ends in a batch of 32 names."""
        detail = self.measured.by_rung["gelu"][0].detail
        scored = detail["n_test_tokens"] / detail["n_test_words"]
        return f"{32 * (scored + 1):.0f}"

    def best_rate(self, rung: str) -> str:
        """The learning rate with the lowest validation loss (protocol strict)."""
        return f"{self.tuned[rung].best:g}"

    def at_best_rates(self, before: str, after: str) -> str:
        """What changes from one rung to another, each at its best learning rate (protocol strict), with n."""
        a, b = (self.tuned[rung].tried[self.tuned[rung].best] for rung in (before, after))
        step = paired(*paired_losses(a, b))
        return f"{show(step, signed=True)} (n = {step.n})"

    def learning_rates(self, rung: str) -> dict[float, Summary]:
        """Rate -> test losses (protocol strict)."""
        return {rate: summary(losses(found)) for rate, found in sorted(self.tuned[rung].tried.items())}

    def places(self, rung: str) -> tuple[np.ndarray, np.ndarray]:
        """Characters 2, 3, ..., and the mean loss of each."""
        found = self.measured.by_index(rung, "by_position")
        return np.arange(2, 2 + len(found)), found

    def table(self, rung: str) -> Sequence[str]:
        """Lines of Markdown: what the article reports, what was measured, and the step."""
        row = rows([RUNGS[rung]], self.measured.results)[0]
        lines = ["| test and train loss, nats a character | train | test |", "|---|:-:|:-:|"]
        if published := row.rung.published:
            lines.append(f"| the article reports (one seed) | {published.train:.2f} | {published.test:.2f} |")
        n = f"{self.n(rung)} {self.measured.over([rung])}"
        lines.append(f"| measured (n = {n}, ± 95 % CI) | {show(row.train)} | {show(row.test)} |")
        if row.step and row.rung.on:
            below = RUNGS[row.rung.on]
            lines += [
                "",
                f"The step from {below.title}, paired: **{show(row.step, signed=True)}** in test loss",
            ]
            lines[-1] += f" (n = {row.step.n}; below zero is better)."
        return lines
