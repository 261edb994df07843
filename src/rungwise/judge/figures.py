"""Figures of generated words beside the same of real held-out words. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from rungwise.config.fields import FINITE
from rungwise.judge import estimates
from rungwise.judge.estimates import Estimate
from rungwise.util.progress import Bar, silent

Measure = Callable[[Sequence[str]], np.ndarray]
"""(words,) bool or numbers."""


@dataclass(frozen=True)
class Figure:
    name: str
    title: str
    unit: str
    samples: Estimate | None
    """None: there are too few words for it."""
    floor: Estimate | None = None
    """Of real held-out words: what a perfect generator would get. None: that cannot be told from the list."""
    same_lengths: Estimate | None = None
    """Of the generated words, each length weighted as often as in the list; None for figures that are no mean."""


@dataclass(frozen=True)
class Judgement:
    sizes: dict[str, int]
    figures: list[Figure]
    by_length: list[dict[str, Any]]
    """A row for each length that enough generated and held-out words have."""
    distances: dict[str, list[int]]
    """How many words are 0, 1, 2, ... edits from the nearest training word: of samples, and held out."""
    most_frequent: list[tuple[str, int]]
    notes: list[str]

    def summary(self) -> dict[str, Any]:
        """For programs: JSON values."""

        def one(estimate: Estimate | None) -> dict[str, float] | None:
            return None if estimate is None else estimate.rounded()

        named = {
            f.name: {
                "title": f.title,
                "unit": f.unit,
                "samples": one(f.samples),
                "held_out": one(f.floor),
                "samples_at_the_lists_lengths": one(f.same_lengths),
            }
            for f in self.figures
        }
        return {**vars(self), "figures": named, "most_frequent": [list(pair) for pair in self.most_frequent]}


@dataclass(frozen=True)
class Brief:
    """What a run and a climb tell of their own words."""

    __pydantic_config__: ClassVar = FINITE

    n: int
    """Words that were drawn."""
    distinct: float
    """Share of distinct words among them."""
    new: float
    """Share of them that the list does not hold."""
    distance: float
    """Jensen-Shannon divergence of their 3-grams from those of the training words, bits."""
    floor: float | None = None
    """The same of as many real held-out words: the noise floor. None where fewer words are held out."""


@dataclass(frozen=True)
class Part:
    """What a figure was measured on: some words' values and lengths."""

    values: np.ndarray
    lengths: np.ndarray


@dataclass(eq=False)
class Lists:
    """What is compared, and the figures found so far."""

    train: list[str]
    held_out: list[str]
    samples: list[str]
    rng: np.random.Generator
    bar: Bar = silent
    """Shows how far what takes long is."""
    figures: list[Figure] = field(default_factory=list)
    parts: dict[str, dict[str, Part]] = field(default_factory=dict)
    """By figure: samples, and held_out."""

    def __post_init__(self) -> None:
        self.distinct_train, self.often = dict.fromkeys(self.train), Counter(self.samples)
        self.share_of_length = {n: k / len(self.train) for n, k in Counter(map(len, self.train)).items()}
        self.apart = self.distinct_train.keys().isdisjoint(self.held_out)
        """Held-out words are no training words by construction, while a perfect generator would write some."""

    def some(self, words: list[str], most: int) -> list[str]:
        """At most so many, at random."""
        if len(words) <= most:
            return words
        return [words[i] for i in self.rng.choice(len(words), most, replace=False)]

    def weights(self, lengths: np.ndarray) -> np.ndarray:
        """(words,) so that each length has its share of the list; 0 for lengths that the list lacks."""
        n = np.bincount(lengths)
        wanted = np.array([self.share_of_length.get(length, 0.0) for length in range(len(n))])
        return (wanted / np.maximum(n, 1))[lengths]

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)

    def mean(
        self,
        name: str,
        title: str,
        unit: str,
        measure: Measure,
        floor: bool = True,
        copies: bool = True,
        most: int | None = None,
    ) -> None:
        """A figure that is a mean over words, of yes and no a share. `floor`: held-out words have it, too; `copies`:
        of all generated words, else of those that are no training words; `most`: of so many words at most."""
        own = self.samples if copies else [word for word in self.samples if word not in self.distinct_train]
        parts = {}
        for kind, words in (("samples", own), *([("held_out", self.held_out)] if floor else [])):
            chosen = self.some(words, most) if most else words
            lengths = np.fromiter(map(len, chosen), dtype=np.int64, count=len(chosen))
            parts[kind] = Part(measure(chosen), lengths)

        def one(kind: str) -> Estimate | None:
            part = parts.get(kind)
            if part is None or not len(part.values):
                return None
            share = part.values.dtype == bool
            return estimates.share(part.values) if share else estimates.mean(part.values, None, self.rng)

        self.parts[name], part = parts, parts["samples"]
        weights = self.weights(part.lengths) if len(part.lengths) else np.zeros(1)
        same = estimates.mean(part.values.astype(float), weights, self.rng) if weights.any() else None
        self.add(Figure(name, title, unit, one("samples"), one("held_out"), same))
