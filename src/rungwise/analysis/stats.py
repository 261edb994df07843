"""Differences between rungs, with intervals: how much, how sure, and over what.

Losses are in nats per scored token. A difference is always b - a: below zero, b predicts better. An interval
answers for what may have come out otherwise by chance, and for nothing else:

| function        | another draw of ... would move the figure | held fixed                  |
|-----------------|-------------------------------------------|-----------------------------|
| summary, paired | seeds                                     | the test words              |
| bootstrap_words | test words                                | the trained models          |
| both_sources    | seeds and test words                      | the split's training words  |

One run has no interval: where n = 1, spread, interval and p are nan. "Negligible" is never a large p, which a
noisy experiment gives as well: it is a small p from `equivalence`.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_CELLS = 1 << 18  # word indices drawn at a time: 2 MiB, whatever the number of words and resamples


@dataclass(frozen=True)
class Summary:
    """Loss over seeds, nats per token: mean, sample standard deviation, number of seeds, t interval."""

    mean: float
    sd: float
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Summary):
    """b - a by seed, nats per token; sd is that of the differences; p (two-sided) tests "no difference"."""

    p: float


@dataclass(frozen=True)
class Equivalence:
    """Is |mean difference| shown to be below a margin? p, and the 1 - 2 alpha interval, nats per token."""

    p: float
    low: float
    high: float
    equivalent: bool


@dataclass(frozen=True)
class Interval:
    """A token-weighted mean difference b - a with its interval, nats per token."""

    mean: float
    low: float
    high: float


def summary(values: ArrayLike, level: float = 0.95) -> Summary:
    """Mean and t interval of one rung's losses, values (n_seeds,)."""
    x = _finite("values", values)
    mean, sd = _mean_sd(x)
    half = _half_width(sd / sqrt(x.size), x.size - 1, level)
    return Summary(mean, sd, x.size, mean - half, mean + half)


def paired(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Difference:
    """Paired t test and interval of b - a; a, b (n_seeds,), the same seed at the same place.

    The same seed draws the same batches on every rung, so what a seed does to both cancels in the difference.
    """
    a, b = _finite("a", a), _finite("b", b)
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape, got {a.shape} and {b.shape}")
    s = summary(b - a, level)
    # Two-sided: twice the p of the side that the mean is on. Capped for mean = sd = 0, where one side has 1.
    p = min(1.0, 2 * _p_below(-abs(s.mean), s.sd, s.n))
    return Difference(s.mean, s.sd, s.n, s.low, s.high, p if s.n > 1 else nan)


def equivalence(differences: ArrayLike, margin: float = 0.01, alpha: float = 0.05) -> Equivalence:
    """Two one-sided t tests (Schuirmann 1987) that the mean of differences (n_seeds,) lies within +-margin.

    margin in nats per token. p is the larger of the two; p < alpha just when low and high are within it.
    """
    if not (margin > 0 and 0 < alpha < 0.5):
        raise ValueError(f"margin must be positive and alpha in (0, 0.5), got {margin} and {alpha}")
    s = summary(differences, 1 - 2 * alpha)
    p = _p_below(abs(s.mean) - margin, s.sd, s.n)  # the nearer margin has the larger p
    return Equivalence(p, s.low, s.high, p < alpha)


def bootstrap_words(
    nats: ArrayLike, tokens: ArrayLike, n_boot: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile bootstrap over test words of sum(nats) / sum(tokens).

    nats (n_words,): b - a, summed over each word's scored tokens and averaged over seeds.
    tokens (n_words,): how many those are. Words are drawn, as the tokens of one word are not independent.
    """
    diff, tokens = _by_word(nats, tokens, ndim=1)
    if n_boot < 1:
        raise ValueError(f"n_boot must be at least 1, got {n_boot}")
    mean = float(diff.sum() / tokens.sum())
    n = tokens.size
    if n == 1:
        return Interval(mean, nan, nan)
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // n)
    means = np.empty(n_boot)
    for start in range(0, n_boot, rows):
        drawn = rng.integers(n, size=(min(rows, n_boot - start), n))  # (rows, n_words)
        means[start : start + rows] = diff[drawn].sum(1) / tokens[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


@dataclass(frozen=True)
class Spread:
    """A mean, its standard error, and the degrees of freedom of that: what intervals and p values follow from."""

    mean: float
    se: float
    df: float
    """inf: exact."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        half = 0.0 if self.se == 0 else _half_width(self.se, self.df, level)
        return self.mean - half, self.mean + half

    def p(self, border: float) -> float:
        """The level at which the interval touches a border, as two-sided p: below alpha just when the 1 - alpha
        interval does not reach it. nan without a standard error."""
        from scipy.special import stdtr

        gap = abs(self.mean - border)
        if self.se == 0:
            return float(gap == 0)
        return 2 * float(stdtr(self.df, -gap / self.se)) if self.df > 0 else nan


def words_to_tell(nats: ArrayLike, tokens: ArrayLike) -> int | None:
    """Of how many words like these somebody would have to see both losses to tell a difference from none (95 %).

    nats (n_words,): b - a, summed over each word's scored tokens; tokens (n_words,). None: there is no difference.
    """
    diff, tokens = _by_word(nats, tokens, ndim=1)
    mean = float(diff.sum() / tokens.sum())
    sd = _mean_sd((diff - mean * tokens) / tokens.mean())[1]
    return ceil(max(1.0, (1.96 * sd / mean) ** 2)) if mean and not isnan(sd) else None


def replicates_needed(gap: float, sd: float, fixed: float = 0.0, level: float = 0.95, most: int = 10_000) -> int | None:
    """The fewest replicates with which an interval around the same mean would end before a border that is `gap` away.

    sd between replicates; `fixed`: the part of the standard error that more of them do not lower (the test words of a
    fixed split). None: not with `most`.
    """

    def ends_before(n: int) -> bool:
        return _half_width(sqrt(sd**2 / n + fixed**2), n - 1, level) < gap

    if not ends_before(most):
        return None
    return bisect_left(range(most), True, lo=2, key=ends_before)


def spread(values: ArrayLike) -> Spread:
    """Of the mean of values (n,)."""
    x = _finite("values", values)
    mean, sd = _mean_sd(x)
    return Spread(mean, sd / sqrt(x.size), x.size - 1)


def spread_of_words(nats: ArrayLike, tokens: ArrayLike) -> Spread:
    """Of sum(nats) / sum(tokens) over other seeds and other test words at once.

    nats (n_seeds, n_words): b - a, summed over each word's scored tokens; tokens (n_words,).

    The ratio is linearised; the variances of its row means and its column means add (what seed and word do
    together is in both, which errs towards width); Satterthwaite (1946) gives the sum's degrees of freedom.

    A bootstrap of seeds and words (Owen 2007) is too narrow for few seeds. With seeds the main source, 95 % intervals
    of this / of that cover, in % of 600 simulated experiments: 2 seeds 89 / 63, 3 seeds 94 / 77, 10 seeds 94 / 90.
    """
    diff, tokens = _by_word(nats, tokens, ndim=2)
    seeds, words = diff.shape
    mean = float(diff.mean(0).sum() / tokens.sum())
    if min(seeds, words) == 1:
        return Spread(mean, nan, 0)
    residual = (diff - mean * tokens) / tokens.mean()  # (n_seeds, n_words)
    var_seeds = _mean_sd(residual.mean(1))[1] ** 2 / seeds
    var_words = _mean_sd(residual.mean(0))[1] ** 2 / words
    total = var_seeds + var_words
    if total == 0:
        return Spread(mean, 0.0, inf)
    share = var_seeds / total
    return Spread(mean, sqrt(total), 1 / (share**2 / (seeds - 1) + (1 - share) ** 2 / (words - 1)))


def both_sources(nats: ArrayLike, tokens: ArrayLike, level: float = 0.95) -> Interval:
    """The interval of spread_of_words."""
    found = spread_of_words(nats, tokens)
    return Interval(found.mean, *found.interval(level))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values, in the order given: compare them with alpha as they are.

    nan (no test was possible) passes through and is not counted as a test.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(p)
    if p.ndim != 1 or p.size == 0 or not np.all((p[tested] >= 0) & (p[tested] <= 1)):
        raise ValueError("p_values must be a non-empty list of numbers in [0, 1], or nan")
    order = np.argsort(p)[: tested.sum()]  # nan sorts last
    adjusted = p.copy()
    # The i-th smallest of m is held against alpha / (m - i), and none may pass that a smaller one did not.
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return adjusted.tolist()


def _finite(name: str, values: ArrayLike, ndim: int = 1) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != ndim or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite numbers in {ndim} dimension(s), at least one; got shape {x.shape}")
    return x


def _by_word(nats: ArrayLike, tokens: ArrayLike, ndim: int) -> tuple[Floats, Floats]:
    """nats (..., n_words) and tokens (n_words,), checked."""
    nats, tokens = _finite("nats", nats, ndim), _finite("tokens", tokens)
    if nats.shape[-1:] != tokens.shape:
        raise ValueError(f"nats and tokens must be of the same words, got shapes {nats.shape} and {tokens.shape}")
    if tokens.min() <= 0:
        raise ValueError("tokens must be positive: a word without scored tokens has no loss")
    return nats, tokens


def _mean_sd(x: Floats) -> tuple[float, float]:
    if x.size == 1:
        return float(x[0]), nan
    if np.ptp(x) == 0:  # exactly: rounding in the mean would leave an sd of 1e-17
        return float(x[0]), 0.0
    return float(x.mean()), float(x.std(ddof=1))


def _half_width(standard_error: float, df: float, level: float) -> float:
    from scipy.special import stdtrit  # the t quantile; scipy.stats, which calls it, takes four times as long to import

    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    return standard_error * float(stdtrit(df, (1 + level) / 2)) if df > 0 else nan


def _p_below(gap: float, sd: float, n: int) -> float:
    """One-sided p for "the true mean is below a bound", gap being sample mean - bound."""
    from scipy.special import stdtr  # the t distribution

    if sd == 0:  # no spread, no doubt
        return 0.0 if gap < 0 else 1.0
    return float(stdtr(n - 1, gap / (sd / sqrt(n)))) if n > 1 else nan


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's, of (n,) and (n,): nan where one of them is constant."""
    ranks = [_ranks(_finite(name, values)) for name, values in (("a", a), ("b", b))]
    if any(np.ptp(r) == 0 for r in ranks):
        return nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(x: NDArray) -> NDArray:
    """Equal values share the mean of their ranks."""
    _, place, times = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(times) - (times - 1) / 2)[place]
