"""What a word of a claim means as a range of values: the one table by which every claim is judged.

It was fixed before the splits were measured that the findings now draw on. A verdict holds the interval of an effect
against its range (verdicts.py), and the same range is what is printed: nothing else decides.
"""

from dataclasses import dataclass
from math import inf, log
from typing import Literal

Scale = Literal["nats", "factor", "points", "share", "count"]
"""A change in nats a character; a logarithm, shown as the factor; a difference of probabilities, shown in percentage
points; a share, in per cent; a plain number."""

NEGLIGIBLE = 0.01
"""Nats a character: 1 % of the perplexity, and the last digit that the article reports."""
LITTLE = 0.05
"""Nats a character: "a little" and "modest" are up to 5 % of the perplexity."""
ROUNDING = 0.01
"""Nats a character: the difference of two reported figures, each rounded to 0.01, may be off by so much."""
ERROR = 0.05
"""Probability that any verdict of the family is wrong by chance (Holm)."""


@dataclass(frozen=True)
class Range:
    """The values that a claim allows, ends excluded."""

    low: float = -inf
    high: float = inf
    scale: Scale = "nats"


THRESHOLDS: dict[str, Range] = {
    "helps": Range(high=-NEGLIGIBLE),
    "hurts": Range(low=NEGLIGIBLE),
    "helps a little": Range(-LITTLE, -NEGLIGIBLE),
    "changes nothing": Range(-NEGLIGIBLE, NEGLIGIBLE),
    "changes almost nothing": Range(-2 * NEGLIGIBLE, 2 * NEGLIGIBLE),
    "is lower": Range(high=0),
    "has fewer": Range(high=0, scale="count"),
    "has as many": Range(-0.5, 0.5, "count"),
    "has three times as many": Range(log(2.5), log(3.5), "factor"),
    "is smoother": Range(high=0, scale="factor"),
    "is 1.6 times": Range(log(1.5), log(1.7), "factor"),
    "agrees to a point": Range(-0.01, 0.01, "points"),
    "agrees to the digit": Range(-0.0005, 0.0005, "points"),
}
"""Word -> what it allows; losses and gaps in nats a character, below zero is better."""
