"""Results as rows, once, for every place that shows them: the terminal, the README, the report. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from rungwise.analysis import verdicts
from rungwise.analysis.stats import Difference, Summary, paired, summary
from rungwise.analysis.thresholds import LITTLE, NEGLIGIBLE
from rungwise.data.words import NAMES_SHA256
from rungwise.experiment.results import Result, by_rung, losses, matches, paired_losses
from rungwise.ladder import RUNGS, Rung

HEADER = ("rung", "builds on", "parameters", "published train / test", "train", "test", "step")
TEXT_COLUMNS = 2
"""Columns from the left that hold text; numbers are set flush right."""


@dataclass(frozen=True)
class Row:
    """One rung: losses in nats a scored character, over its seeds, or over splits."""

    rung: Rung
    n_params: int | None
    published: bool
    """Are the article's figures shown? Only where its own list was scored in its way, trained as the ladder says."""
    train: Summary | None
    test: Summary | None
    step: Difference | None
    """Test loss against the rung that it builds on, paired by seed; below zero is better."""

    def cells(self) -> tuple[str, ...]:
        published = self.rung.published if self.published else None
        return (
            self.rung.title,
            RUNGS[self.rung.on].title if self.rung.on else "",
            f"{self.n_params:,}" if self.n_params else "",
            f"{published.train:.2f} / {published.test:.2f}" if published else "",
            show(self.train),
            show(self.test),
            show(self.step, signed=True),
        )


def show(value: Summary | None, signed: bool = False) -> str:
    """mean ± half the width of its 95 % CI; the mean alone for a single seed. `signed`: a change, with its sign."""
    if value is None:
        return ""
    mean = verdicts.signed(value.mean) if signed else f"{value.mean:.3f}"
    return mean if value.n == 1 else f"{mean} ± {(value.high - value.low) / 2:.3f}"


def worth(step: Difference | None) -> str:
    """A step in words, by its interval."""
    if step is None:
        return ""
    if isnan(step.low):
        return "one seed: no interval"
    if step.low <= 0 <= step.high:
        return "no measurable gain"
    large, negligible = abs(step.mean) > LITTLE, abs(step.mean) < NEGLIGIBLE
    size = "hardly any" if negligible else "a large" if large else "a small"
    return f"{size} {'gain' if step.mean < 0 else 'loss'}"


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
                bool(mine) and _as_published(mine[0], rung),
                summary(losses(mine, "train_loss")) if mine else None,
                summary(losses(mine)) if mine else None,
                paired(before, after) if before else None,
            )
        )
    return found


def _as_published(result: Result, rung: Rung) -> bool:
    return result.data_sha256 == NAMES_SHA256 and result.protocol == "article" and matches(result, rung, None)


WORDS_HEADER = ("rung", "test", "distinct", "new", "3-grams apart")
WORDS_CAPTION = (
    "Each run's first {n:,} words at temperature 1: the share of distinct ones, of ones that are not in the list, and "
    "how far their 3-grams are from those of training words (Jensen-Shannon, bits; 0: the same). The last line is the "
    "noise floor: as many real held-out words, which is what a perfect generator would get."
)


def words_of(results: Sequence[Result]) -> tuple[dict[str, Summary], float | None]:
    """distinct, new and distance of the words that results tell of, over their runs (empty: none tells of any), and the
    mean of their floors."""
    judged = [r.detail["words"] for r in results if r.detail.get("words")]
    if not judged:
        return {}, None
    floors = [words["floor"] for words in judged if words["floor"] is not None]
    found = {name: summary([words[name] for words in judged]) for name in ("distinct", "new", "distance")}
    return found, sum(floors) / len(floors) if floors else None


def word_rows(rungs: Sequence[Rung], results: Sequence[Result]) -> list[tuple[str, ...]]:
    """What the words of each rung are like, beside its loss; last, real held-out words. Empty: it is not known."""
    found, groups = [], by_rung(results)
    for rung in rungs:
        judged = [r for r in groups.get(rung.name, []) if r.detail.get("words")]
        if judged:
            of, _ = words_of(judged)
            cells = (show(of[name]) for name in ("distinct", "new", "distance"))
            found.append((rung.title, show(summary(losses(judged))), *cells))
    _, floor = words_of([r for rung in rungs for r in groups.get(rung.name, [])])
    if floor is not None:
        found.append(("real held-out words", "", "", "", f"{floor:.3f}"))
    return found
