"""Results as rows, once, for every place that shows them: the terminal, the README, the report. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rungwise.analysis.stats import Difference, Summary, paired, summary
from rungwise.data.words import NAMES_SHA256
from rungwise.experiment.results import Result, by_rung, paired_losses
from rungwise.ladder import Rung

HEADER = ("rung", "stands on", "parameters", "published train / test", "train", "test", "step")


@dataclass(frozen=True)
class Row:
    """One rung: losses in nats a scored character, over its seeds."""

    rung: Rung
    n_params: int | None
    published: bool
    """Are the article's figures shown? Only beside results on its own list, scored in its way."""
    train: Summary | None
    test: Summary | None
    step: Difference | None
    """Test loss against the rung that it stands on, paired by seed; below zero is better."""

    def cells(self) -> tuple[str, ...]:
        published = self.rung.published if self.published else None
        return (
            self.rung.title,
            self.rung.on or "",
            f"{self.n_params:,}" if self.n_params else "",
            f"{published.train:.2f} / {published.test:.2f}" if published else "",
            show(self.train),
            show(self.test),
            show(self.step, signed=True),
        )


def show(value: Summary | Difference | None, signed: bool = False) -> str:
    """mean ± half the width of the 95 % interval; the mean alone for a single seed."""
    if value is None:
        return ""
    mean = f"{value.mean:+.3f}" if signed else f"{value.mean:.3f}"
    return mean if value.n == 1 else f"{mean} ± {(value.high - value.low) / 2:.3f}"


def rows(rungs: Sequence[Rung], results: Sequence[Result]) -> list[Row]:
    """A row for every rung, measured or not, from results of one list and one protocol."""
    groups, found = by_rung(results), []
    for rung in rungs:
        mine, below = groups.get(rung.name, []), groups.get(rung.on or "", [])
        before, after = paired_losses(below, mine)
        found.append(
            Row(
                rung,
                mine[0].n_params if mine else None,
                bool(mine) and mine[0].data_sha256 == NAMES_SHA256 and mine[0].protocol == "article",
                summary([r.train_loss for r in mine]) if mine else None,
                summary([r.test_loss for r in mine]) if mine else None,
                paired(before, after) if before else None,
            )
        )
    return found


def markdown(rungs: Sequence[Rung], results: Sequence[Result]) -> str:
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|--:|:-:|:-:|:-:|:-:|"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows(rungs, results)]
    return "\n".join(lines) + "\n"
