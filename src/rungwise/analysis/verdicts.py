"""How a number becomes a verdict: an effect, with its interval, and a rule. No torch, and no rung's name here.

A rule names a range of values that the claim allows. With I the 95 % interval of the measured effect:

- confirmed: I lies inside the range;
- refuted: I lies outside it;
- inconclusive: I reaches across its border, or there is no I (one seed).

What cannot be measured for lack of evidence is not measured: a fourth word, and not for a rule to say.

Two amendments. A claim that something has no effect is confirmed by an equivalence test, that is by the 90 % interval
lying within the margin (Schuirmann 1987), never by a large p. And a claim that something helps or hurts is refuted by
an effect that this test shows to be negligible, however surely it differs from zero.

The scale for words. Negligible is less than 0.01 nats a character, 1 % of the perplexity (the issue's margin, and the
last digit that the article reports). "A little" and "modest" are 0.01 to 0.05, up to 5 % of the perplexity. A reported
size ("gives 0.12") is met within half of itself, as it is the difference of two rounded one-seed figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, hypot, inf, isnan
from typing import Literal

import numpy as np

from rungwise.analysis.stats import bootstrap_words, both_sources, equivalence, summary

Word = Literal["confirmed", "refuted", "inconclusive", "not measured"]
SYMBOLS: dict[Word, str] = {"confirmed": "✓", "refuted": "✗", "inconclusive": "?", "not measured": "–"}

NEGLIGIBLE = 0.01
"""Nats a character."""
LITTLE = 0.05
"""Nats a character."""

Scale = Literal["nats", "factor", "points", "share", "count"]
"""A change in nats a character; a logarithm, shown as the factor; a difference of probabilities, shown in percentage
points; a share, in per cent; a plain number."""


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
    other_words: bool = False
    """Held against a figure from other test words: those are granted the same spread as ours."""
    remark: str = ""
    published: float | None = None
    """The same quantity in the article."""
    over: str = "seeds"
    """What the values are of, in words."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Over seeds and test words where losses by word are kept, else over seeds; nan for a single seed."""
        if self.exact:
            return self.mean, self.mean
        level = 1 - (1 - level) / self.tests
        if self.words is None or len(self.values) == 1:
            found = summary(self.values, level)
            return found.low, found.high
        nats, tokens = self.words
        found = both_sources(nats, tokens, level)
        if not self.other_words:
            return found.low, found.high
        theirs = bootstrap_words(nats.mean(axis=0), tokens, level=level)
        half = hypot((found.high - found.low) / 2, (theirs.high - theirs.low) / 2)
        return found.mean - half, found.mean + half

    def negligible(self, margin: float = NEGLIGIBLE) -> bool:
        """Shown to be within the margin: two one-sided tests over seeds, and with the words' spread too if kept."""
        if self.exact:
            return abs(self.mean) < margin
        low, high = self.interval(0.9)
        return equivalence(self.values, margin).equivalent and -margin < low and high < margin


@dataclass(frozen=True)
class Rule:
    """The range that a claim allows, and how the claim reads."""

    text: str
    low: float = -inf
    high: float = inf
    equivalence: bool = False
    """The claim is that there is nothing: an equivalence test with these margins."""
    more_than_nothing: bool = False
    """The claim is that there is something: a negligible effect refutes it."""

    def judge(self, effect: Effect) -> Word:
        low, high = effect.interval()
        if isnan(low):
            return "inconclusive"
        if self.more_than_nothing and effect.negligible():
            return "refuted"
        if effect.negligible(self.high) if self.equivalence else self.low < low and high < self.high:
            return "confirmed"
        return "refuted" if high <= self.low or low >= self.high else "inconclusive"


HELPS = Rule("the loss falls, by more than a negligible 0.01", high=0, more_than_nothing=True)
HURTS = Rule("the loss rises, by more than a negligible 0.01", low=0, more_than_nothing=True)
LESS = Rule("the difference is below zero", high=0)
FALLS_A_LITTLE = Rule(
    "it falls, by more than a negligible 0.01 and by less than 0.05", low=-LITTLE, high=0, more_than_nothing=True
)
GROWS = Rule("it grows, by more than a negligible 0.01", low=0, more_than_nothing=True)


def no_effect(margin: float = NEGLIGIBLE, why: str = "") -> Rule:
    return Rule(f"an effect within ±{margin:g}, by equivalence test{why}", -margin, margin, equivalence=True)


def of_size(published: float) -> Rule:
    """Within half and one and a half times a reported (negative) change."""
    low, high = 1.5 * published, 0.5 * published
    return Rule(f"within half of the reported {signed(published, 2)}: {signed(low, 2)} to {signed(high, 2)}", low, high)


def overall(words: Sequence[Word]) -> Word:
    """A claim is refuted with any of its parts and confirmed with all. Else it is inconclusive if a part is: to measure
    what is missing would not confirm it."""
    for word in ("refuted", "inconclusive"):
        if word in words:
            return word
    return "confirmed" if words and "not measured" not in words else "not measured"


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


def describe(effect: Effect) -> str:
    """The effect as the body of a sentence: value, unit, interval, and what the interval is over."""
    number, unit = FORMATS[effect.scale]
    shown = number(effect.mean) + unit
    if not effect.exact:
        shown += f" ({_interval(effect)})"
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
