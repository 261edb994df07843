"""How a number becomes a verdict: one rule for all claims. No torch, and no rung's name here.

A claim allows a range of values (thresholds.py). With I the 95 % interval of the measured effect:

- confirmed: I lies inside the range;
- refuted: I lies outside it;
- inconclusive: I reaches across its border, or there is no I (one seed).

That holds for a single assertion. As many are judged at once, each p is adjusted (Holm 1979), and a verdict holds only
where the adjusted p is below 5 %. p is the smallest error level at which the interval still leaves the same verdict.
"Nothing" is a range around zero, so a large p never confirms it. What lacks evidence is not measured.

A claim answers three questions apart: direction (does it do what is said?), reported size (is the reported effect
within the interval, rounding granted?) and attribution (is it the named part, and nothing that came with it?). A
verdict that turns into its contrary at another value of a setting that the article does not publish hangs on an
inferred setting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isinf, isnan, nan, sqrt
from typing import Literal

import numpy as np

from rungwise.analysis.stats import Spread, holm, replicates_needed, spread, spread_of_words
from rungwise.analysis.thresholds import ERROR, ROUNDING, THRESHOLDS, Range, Scale

Word = Literal[
    "confirmed", "understated", "overstated", "refuted", "inconclusive", "not measured", "hangs on an inferred setting"
]
SYMBOLS: dict[Word, str] = {
    "confirmed": "✓",
    "understated": "↑",
    "overstated": "↓",
    "refuted": "✗",
    "inconclusive": "?",
    "not measured": "–",
    "hangs on an inferred setting": "±",
}
Answer = Literal["direction", "reported size", "attribution"]


@dataclass(frozen=True, eq=False)
class Effect:
    """A measured quantity by seed, and by test word where that was kept; or by split."""

    values: np.ndarray
    """(n,) of each seed, or of each split; (1,) where exact."""
    words: tuple[np.ndarray, np.ndarray] | None = None
    """The same in nats (n_seeds, n_words), with the words' tokens (n_words,): the interval then covers both."""
    scale: Scale = "nats"
    exact: bool = False
    """A count, or arithmetic: the value is its own interval."""
    tests: int = 1
    """How many effects this one was the extreme of: intervals are widened so that all hold at once (Bonferroni)."""
    remark: str = ""
    published: float | None = None
    """The same quantity in the article."""
    over: str = "seeds"
    """What the values are of, in words."""

    @property
    def spread(self) -> Spread:
        """Over seeds and test words where losses by word are kept, else over the values; nan for a single one."""
        if self.exact:
            return Spread(float(np.mean(self.values)), 0.0, inf)
        if self.words is None or len(self.values) == 1:
            return spread(self.values)
        return spread_of_words(*self.words)

    @property
    def mean(self) -> float:
        return self.spread.mean

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        return self.spread.interval(1 - (1 - level) / self.tests)

    def beyond(self, border: float) -> float:
        """Two-sided p for "the true value lies on the other side of the border, or on it"; nan for a single seed."""
        return min(1.0, self.tests * self.spread.p(border))


@dataclass(frozen=True, eq=False)
class Judgement:
    """An effect held against a range. What is printed and what decides are the same object."""

    effect: Effect
    allowed: Range
    adjusted: float | None = None
    """p among all tests of the family; None: judged alone."""

    @property
    def inside(self) -> bool:
        return self.allowed.low < self.effect.mean < self.allowed.high

    @property
    def p(self) -> float:
        """Of the verdict that the mean suggests, judged alone: for "inside", the less certain border counts; for
        "outside", the border that was passed."""
        if self.effect.exact:
            return 0.0
        borders = [self.effect.beyond(b) for b in (self.allowed.low, self.allowed.high) if not isinf(b)]
        if self.inside:
            return max(borders)
        above = self.effect.mean >= self.allowed.high
        return self.effect.beyond(self.allowed.high if above else self.allowed.low)

    @property
    def word(self) -> Word:
        p = self.p if self.adjusted is None else self.adjusted
        if isnan(p) or p >= ERROR:
            return "inconclusive"
        return "confirmed" if self.inside else "refuted"

    @property
    def asked(self) -> str:
        """The range in words."""
        return shown_range(self.allowed)

    @property
    def sentence(self) -> str:
        """The effect, and the p that decided."""
        p = self.p if self.adjusted is None else self.adjusted
        if self.effect.exact or isnan(p):
            return describe(self.effect)
        shown = f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}{', Holm' * (self.adjusted is not None)}"
        return describe(self.effect, shown + needed(self))


def needed(judgement: Judgement) -> str:
    """For what is inconclusive: how many seeds or splits would settle it, if mean and spread stay as they are."""
    effect, allowed = judgement.effect, judgement.allowed
    n = len(effect.values)
    if judgement.word != "inconclusive" or n < 2:
        return ""
    sd, alone = float(np.std(effect.values, ddof=1)), spread(effect.values).se
    fixed = sqrt(max(0.0, effect.spread.se**2 - alone**2))
    p = judgement.p if judgement.adjusted is None else judgement.adjusted
    level = 1 - ERROR * (judgement.p / p if p < 1 else 1) / effect.tests
    gap = min(abs(effect.mean - border) for border in (allowed.low, allowed.high) if not isinf(border))
    found = replicates_needed(gap, sd, fixed, level)
    if found is None:
        return f"; more {effect.over} alone would not settle it" + "; more splits would" * (effect.over == "seeds")
    return f"; about {max(found, n + 1):,} {effect.over} would settle it"


def judge(effect: Effect, word: str) -> Judgement:
    return Judgement(effect, THRESHOLDS[word])


def size(effect: Effect) -> Judgement | None:
    """A reported loss, held against the interval: may the true effect be what was printed?"""
    if effect.published is None or effect.scale != "nats":
        return None
    allowed = Range(effect.published - ROUNDING, effect.published + ROUNDING, effect.scale)
    return Judgement(effect, allowed)


def size_word(judgement: Judgement, asserted: Range) -> Word:
    """Of a reported size: within the interval, or too small, or too large, in the direction that the claim asserts;
    where it asserts none, in that of the figure."""
    if judgement.word != "refuted":
        return "inconclusive" if isnan(judgement.p) else "confirmed"
    printed, mean = judgement.effect.published or 0.0, judgement.effect.mean
    downward = asserted.high <= 0 or (asserted.low < 0 and (printed or mean) < 0)
    return "understated" if (mean < printed) == downward else "overstated"


def adjust(family: Sequence[Judgement]) -> list[Judgement]:
    """All judgements of a family at once; what is exact is no test."""
    if not family:
        return []
    adjusted = holm([nan if j.effect.exact else j.p for j in family])
    return [j if j.effect.exact else replace(j, adjusted=p) for j, p in zip(family, adjusted, strict=True)]


def overall(words: Sequence[Word], printed: Word | None = None) -> Word:
    """A claim is refuted with any of its parts and confirmed with all. Else it is inconclusive if a part is: to measure
    what is missing would not confirm it. One that is confirmed may still have been printed too small or too large."""
    for word in ("refuted", "inconclusive"):
        if word in words:
            return word
    if not words or "not measured" in words:
        return "not measured"
    return printed if printed in ("understated", "overstated") else "confirmed"


def signed(value: float, digits: int = 3) -> str:
    """With a true minus sign, as in sentences; what rounds to zero has none."""
    return f"{round(value, digits) or 0:+.{digits}f}".replace("-", "−").replace(f"+{0:.{digits}f}", f"{0:.{digits}f}")


FORMATS: dict[Scale, tuple[Callable[[float], str], str]] = {
    "nats": (signed, " nats a character"),
    "factor": (lambda x: f"×{exp(x):.2f}", ""),
    "points": (lambda x: signed(100 * x, 1), " percentage points"),
    "share": (lambda x: f"{100 * x:.1f} %", ""),
    "count": (lambda x: f"{x:,.0f}".replace("-", "−"), ""),
}
"""Scale -> how a number is written, and its unit."""
BORDERS: dict[Scale, Callable[[float], str]] = {
    "nats": lambda x: signed(x, 2) if x else "0",
    "factor": lambda x: f"×{exp(x):.3g}",
    "points": lambda x: signed(100 * x, 2),
    "share": lambda x: f"{100 * x:g} %",
    "count": lambda x: f"{x:g}".replace("-", "−"),
}
"""Scale -> how a border of a range is written: to the last digit that it has."""


def shown_range(allowed: Range) -> str:
    number, unit = BORDERS[allowed.scale], FORMATS[allowed.scale][1]
    if isinf(allowed.low):
        return f"below {number(allowed.high)}{unit}"
    if isinf(allowed.high):
        return f"above {number(allowed.low)}{unit}"
    return f"between {number(allowed.low)} and {number(allowed.high)}{unit}"


def describe(effect: Effect, p: str = "") -> str:
    """The effect as the body of a sentence: value, unit, interval, what the interval is over, and a p."""
    number, unit = FORMATS[effect.scale]
    shown = number(effect.mean) + unit
    if not effect.exact:
        shown += f" ({_interval(effect)}{f', {p}' * bool(p)})"
    if effect.published is not None:
        digits = signed(effect.published, 2) if effect.scale == "nats" else number(effect.published)
        shown += f"; published {digits}"
    return shown + (f". {effect.remark}" if effect.remark else ".")


def _interval(effect: Effect) -> str:
    n = len(effect.values)
    if n == 1:
        return f"one {effect.over.removesuffix('s')}: no interval"
    low, high = map(FORMATS[effect.scale][0], effect.interval())
    level = f"{100 - 5 / effect.tests:.4g} %"
    over = f"{n} {effect.over}" + (f" and {effect.words[1].size:,} test words" if effect.words else "")
    return f"{level} interval {low} to {high}, over {over}"
