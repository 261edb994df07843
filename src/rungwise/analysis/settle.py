"""Until settled: after which splits one looks, and what is settled then, at an error that holds over all looks.

Looking again and again, and stopping when one likes what one sees, errs more often than one look. So the error is spent
over the looks (Lan & DeMets 1983): the k-th may use error / (k (k + 1)), which sums to the whole however many there
are, and the questions of a climb share it. At each look a question is held against its interval at that level: the same
where it lies within the margin, better or worse where it lies outside. By the union bound, the probability that any
such answer is wrong is below the error, whatever stops the climb. No torch here.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from math import ceil, isnan

import numpy as np

from rungwise.analysis.stats import replicates_needed, spread
from rungwise.experiment.ladder_file import Question
from rungwise.experiment.results import Result, by_rung, paired_losses

FIRST = 3
"""Splits at the first look."""
GROWTH = 1.5
"""From the splits of one look to those of the next."""


@dataclass(frozen=True)
class Look:
    """A question after so many splits."""

    question: Question
    splits: int
    mean: float
    """Change in test loss, nats a character."""
    low: float
    high: float
    answer: str
    """the same, better or worse; empty: not settled."""
    needed: int | None
    """Splits that would settle it at this level, if mean and spread stay; None: more than 10,000."""


def looks(most: int) -> list[int]:
    """Numbers of splits at which one looks; the last is `most`."""
    found = [min(FIRST, most)]
    while found[-1] < most:
        found.append(min(most, ceil(GROWTH * found[-1])))
    return found


def spent(look: int, error: float, questions: int = 1) -> float:
    """Of the error, what the look (from 1) of one of so many questions may use."""
    return error / (look * (look + 1) * questions)


def look_at(question: Question, differences: Sequence[float], alpha: float) -> Look:
    """What differences (n_splits,) in test loss say at the level 1 - alpha; n_splits at least 1."""
    found = spread(differences)
    low, high = found.interval(1 - alpha)
    margin, n = question.margin, len(differences)
    answer, needed = "", None
    if isnan(low):
        pass
    elif -margin < low and high < margin:
        answer = "the same"
    elif high < -margin or low > margin:
        answer = "better" if found.mean < 0 else "worse"
    else:
        gap, sd = abs(abs(found.mean) - margin), float(np.std(differences, ddof=1))
        needed = replicates_needed(gap, sd, level=1 - alpha)
        needed = needed and max(needed, n + 1)
    return Look(question, n, found.mean, low, high, answer, needed)


def differences(question: Question, results: Sequence[Result], splits: Container[int]) -> list[float]:
    """Of each of these splits that both rungs have: the change in test loss, its mean over seeds."""
    found = []
    for split in sorted({r.split_seed for r in results if r.split_seed in splits}):
        groups = by_rung(r for r in results if r.split_seed == split)
        before, after = paired_losses(groups.get(question.before, []), groups.get(question.after, []))
        if before:
            found.append(float(np.mean(after) - np.mean(before)))
    return found


def follow(
    question: Question, results: Sequence[Result], first: int, at: Sequence[int], error: float, questions: int = 1
) -> tuple[Look | None, int | None]:
    """The last look at a question that the results allow, and the splits that the next one needs; None: no more.

    `first`: the split seed of the first split. Each look reads its own splits alone, whatever else was measured, so a
    climb that is stopped and goes on comes to the same answer.
    """
    found = None
    for k, n in enumerate(at, 1):
        values = differences(question, results, range(first, first + n))
        if len(values) < n:
            return found, n
        found = look_at(question, values, spent(k, error, questions))
        if found.answer:
            break
    return found, None
