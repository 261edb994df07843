"""A figure with its 95 % interval: shares, means, distinct words. No torch."""

import math
from dataclasses import dataclass

import numpy as np

Z = 1.959964
"""Of a 95 % interval."""
ROUNDS = 200
"""Of the bootstrap."""


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 6) for name, value in vars(self).items()}


def share(hits: np.ndarray) -> Estimate:
    """Of (words,) bool, with Wilson's interval: resampling words of which none hits would give one of width 0."""
    n, p = len(hits), float(hits.mean())
    middle, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return Estimate(p, max(0.0, min(p, (middle - half) / scale)), min(1.0, max(p, (middle + half) / scale)))


def mean(values: np.ndarray, weights: np.ndarray | None, rng: np.random.Generator) -> Estimate:
    """Of (words,) values, weighted; the bootstrap's percentiles over words."""
    weights = np.ones(len(values)) if weights is None else weights
    value = float(np.average(values, weights=weights))
    n = len(values)
    found = []
    for _ in range(ROUNDS):
        times = weights * np.bincount(rng.integers(n, size=n), minlength=n)
        if (total := times.sum()) > 0:
            found.append(float(times @ values / total))
    low, high = np.percentile(found, [2.5, 97.5]) if found else (value, value)
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def around(value: float, again: np.ndarray, least: float = 0.0, most: float = math.inf) -> Estimate:
    """value +- 1.96 standard deviations of the bootstrap's (rounds,) values: of figures that resampling makes larger,
    such as distances of distributions, whose percentiles would lie beside the value."""
    half = Z * float(np.std(again, ddof=1))
    return Estimate(value, max(least, value - half), min(most, value + half))


def unique_at(counts: np.ndarray, k: int) -> Estimate | None:
    """The share of distinct words among k: exactly what k words drawn from those at hand, without putting back, have on
    average. counts: how often each distinct word was generated. None where there are fewer than k.

    The interval is that of a number of distinct words, whose variance is at most their mean, and at most about the mean
    number of repeats: each is a sum of indicators that exclude each other.
    """
    n = int(counts.sum())
    if k > n:
        return None
    missing = 0.0
    for copies, words in zip(*np.unique(counts, return_counts=True), strict=True):
        if copies <= n - k:  # the probability that none of a word's copies is among the k
            before = np.arange(copies)
            missing += float(words * np.exp(np.log((n - k - before) / (n - before)).sum()))
    distinct = len(counts) - missing
    half = Z * math.sqrt(max(0.0, min(distinct, k - distinct)))
    return Estimate(distinct / k, max(0.0, (distinct - half) / k), min(1.0, (distinct + half) / k))
