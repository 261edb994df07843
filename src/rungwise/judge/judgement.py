"""All figures of generated words, each beside that of real held-out words. No torch."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rungwise.errors import UserError
from rungwise.judge import counts, estimates
from rungwise.judge.estimates import ROUNDS, Estimate
from rungwise.util.machine import cores

MOST_NEAREST = 1_000
"""Words whose nearest neighbour is looked for: each is compared with every training word."""
MOST_PIECES = 20_000
"""Words whose longest shared piece is looked for."""
MOST_PAIRS = 20_000
FEWEST = 30
"""Words of a length, generated and held out, that make a row of their own."""
NO_RAPIDFUZZ = "Nearest words and diversity are left out: they need RapidFuzz (pip install rapidfuzz)."


@dataclass(frozen=True)
class Figure:
    name: str
    title: str
    unit: str
    samples: Estimate | None
    """None: there are too few words for it."""
    floor: Estimate | None = None
    """Of real held-out words: what a perfect generator would get. None: it has none, or the list is too small."""
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
    notes: list[str] = field(default_factory=list)

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


Measure = Callable[[Sequence[str]], np.ndarray]
"""A number for each word."""


@dataclass(frozen=True)
class _Part:
    """What is drawn at random from the generated words, and from the held-out ones, for one figure."""

    words: list[str]
    values: np.ndarray
    lengths: np.ndarray


class _Judge:
    def __init__(self, train: list[str], held_out: list[str], samples: list[str], seed: int) -> None:
        self.train, self.held_out, self.samples = train, held_out, samples
        self.rng = np.random.default_rng([seed, 19])
        lengths = Counter(map(len, train))
        self.share_of_length = {length: n / len(train) for length, n in lengths.items()}

    def some(self, words: list[str], most: int) -> list[str]:
        """At most so many, at random."""
        if len(words) <= most:
            return words
        return [words[i] for i in self.rng.choice(len(words), most, replace=False)]

    def part(self, words: list[str], measure: Measure, most: int) -> _Part:
        chosen = self.some(words, most)
        return _Part(chosen, measure(chosen), np.fromiter(map(len, chosen), dtype=np.int64, count=len(chosen)))

    def weights(self, lengths: np.ndarray) -> np.ndarray:
        """(words,) so that each length has its share of the list; 0 for lengths that the list lacks."""
        n = np.bincount(lengths)
        wanted = np.array([self.share_of_length.get(length, 0.0) for length in range(len(n))])
        return (wanted / np.maximum(n, 1))[lengths]

    def figure(self, name: str, title: str, unit: str, own: _Part, real: _Part | None) -> Figure:
        """A mean over words; of yes and no a share."""

        def one(part: _Part) -> Estimate:
            if part.values.dtype == bool:
                return estimates.share(part.values)
            return estimates.mean(part.values, None, self.rng)

        weights = self.weights(own.lengths)
        same = estimates.mean(own.values.astype(float), weights, self.rng) if weights.any() else None
        return Figure(name, title, unit, one(own), None if real is None else one(real), same)


def judge(
    train: Sequence[str],
    held_out: Sequence[str],
    samples: Sequence[str],
    seed: int = 0,
    valid: Callable[[str], bool] | None = None,
) -> Judgement:
    """Figures of `samples`, words as they were generated, repeats included, for a list that is divided into words to
    train on and held-out words. All words as sources.comparable() has them. `valid`: a rule that words should keep.
    UserError where there is nothing to judge."""
    if not samples:
        raise UserError("There are no generated words to judge.")
    if not train or not held_out:
        raise UserError("The list is too small: it needs words to compare with, and words to hold out.")
    of = _Judge(list(train), list(held_out), list(samples), seed)
    lengths = _lengths_apart(of)
    copies, copy_parts = _copies(of)
    found = [*_validity(of, valid), *_uniqueness(of), *copies]
    pieces, piece_parts = _pieces(of)
    found += pieces
    near, near_parts, notes = _near(of)
    found += [*near, *lengths]
    sizes = {"training": len(of.train), "held_out": len(of.held_out), "samples": len(of.samples)}
    sizes["distinct_samples"] = len(set(of.samples))
    histogram = {name: np.bincount(part.values.astype(int)).tolist() for name, part in near_parts.items()}
    rows = _by_length(of, {"new": copy_parts, "longest_piece": piece_parts, "nearest": near_parts})
    return Judgement(sizes, found, rows, histogram, Counter(of.samples).most_common(10), notes)


def _validity(of: _Judge, valid: Callable[[str], bool] | None) -> list[Figure]:
    if valid is None:
        return []

    def measure(words: Sequence[str]) -> np.ndarray:
        known = {word: valid(word) for word in dict.fromkeys(words)}
        return np.fromiter((known[word] for word in words), dtype=bool, count=len(words))

    own, real = (of.part(words, measure, len(words)) for words in (of.samples, of.held_out))
    return [of.figure("valid", "Valid words", "share", own, real)]


def _uniqueness(of: _Judge) -> list[Figure]:
    often, listed = Counter(of.samples), Counter([*of.train, *of.held_out])
    every, real = (np.fromiter(times.values(), dtype=np.int64) for times in (often, listed))
    repeats = int(real.max()) > 1  # a list without repeats says nothing of how often words should repeat
    sizes = [k for k in (1_000, 10_000) if k <= len(of.samples)] or [len(of.samples)]
    found = [
        Figure(
            f"unique_at_{k}",
            f"Distinct words among {k:,}",
            "share",
            estimates.unique_at(every, k),
            estimates.unique_at(real, k) if repeats else None,
        )
        for k in sizes
    ]

    def most(times: np.ndarray) -> Estimate:
        return estimates.share(np.arange(times.sum()) < times.max())

    title = "The most frequent word alone"
    return [*found, Figure("most_frequent", title, "share", most(every), most(real) if repeats else None)]


def _copies(of: _Judge) -> tuple[list[Figure], dict[str, _Part]]:
    train, held_out = set(of.train), set(of.held_out)
    like = set(map(counts.folded, train))
    like_any = like | set(map(counts.folded, held_out))

    def holds(words: set[str], inside: bool = True, change: Callable[[str], str] = str) -> Measure:
        return lambda asked: np.fromiter(((change(w) in words) == inside for w in asked), dtype=bool, count=len(asked))

    apart = train.isdisjoint(held_out)  # then held-out words are no copies by construction, which says nothing

    def pair(name: str, title: str, own: Measure, real: Measure | None = None) -> Figure:
        parts = [of.part(words, m, len(words)) for words, m in ((of.samples, own), (of.held_out, real)) if m]
        return of.figure(name, title, "share", parts[0], parts[1] if real else None)

    new = holds(train | held_out, False)
    from_train, from_held_out = holds(train), holds(held_out)
    parts = {"samples": of.part(of.samples, new, len(of.samples))}
    found = [
        of.figure("new", "New: not in the list", "share", parts["samples"], None),
        pair(
            "new_folded",
            "New up to case and accents",
            holds(like_any, False, counts.folded),
            None if like.isdisjoint(map(counts.folded, held_out)) else holds(like, False, counts.folded),
        ),
        pair("copies_of_training", "Copies of training words", from_train, None if apart else from_train),
        pair("copies_of_held_out", "Copies of held-out words", from_held_out),
        _rediscovery(of),
        _copy_ratio(of),
    ]
    return found, parts


def _rediscovery(of: _Judge) -> Figure:
    """The share of held-out words that were generated; its floor is what chance gives: as many words of independent
    letters, with the lengths and the letters of the training words."""
    drawn, wanted = set(of.samples), list(dict.fromkeys(of.held_out))
    found = estimates.share(np.fromiter((word in drawn for word in wanted), dtype=bool, count=len(wanted)))
    letters = Counter("".join(of.train))
    total = sum(letters.values())
    nats = {letter: np.log(n / total) for letter, n in letters.items()}
    chance = []
    for word in wanted:
        length = of.share_of_length.get(len(word), 0.0)
        p = length * np.exp(sum(nats.get(letter, -np.inf) for letter in word)) if length else 0.0
        chance.append(-np.expm1(len(of.samples) * np.log1p(-min(p, 1 - 1e-12))))
    expected = estimates.mean(np.array(chance), None, of.rng)
    return Figure("rediscovered", "Held-out words found again (beside: by chance)", "share", found, expected)


def _copy_ratio(of: _Judge) -> Figure:
    """How much more often a training word is generated than a held-out word. 1: the generator does not tell them
    apart, as a perfect one does not. Listed words are resampled, for which of them are held out is chance, and some
    (short ones) are generated much more often than others."""
    times = Counter(of.samples)
    train, held_out = (
        np.array([times[word] for word in dict.fromkeys(words)], dtype=float) for words in (of.train, of.held_out)
    )
    name, title = "copy_ratio", "Training words as often as held-out ones"
    if not held_out.any() or not train.any():
        return Figure(name, title, "times", None)
    again = []
    for _ in range(ROUNDS):
        a, b = (float(x[of.rng.integers(len(x), size=len(x))].mean()) for x in (train, held_out))
        again.append(a / b if b else np.inf)
    low, high = (float(x) for x in np.percentile(again, [2.5, 97.5], method="nearest"))
    value = float(train.mean() / held_out.mean())
    if not np.isfinite(high):  # so few copies of held-out words that some rounds have none
        return Figure(name, title, "times", None)
    return Figure(name, title, "times", Estimate(value, min(low, value), max(high, value)), Estimate(1, 1, 1))


def _pieces(of: _Judge) -> tuple[list[Figure], dict[str, _Part]]:
    def longest(words: Sequence[str]) -> np.ndarray:
        return counts.longest_shared(words, of.train).astype(float)

    parts = {
        name: of.part(words, longest, MOST_PIECES)
        for name, words in (("samples", of.samples), ("held_out", of.held_out))
    }
    title = "Longest piece shared with a training word"
    return [of.figure("longest_piece", title, "characters", parts["samples"], parts["held_out"])], parts


def _near(of: _Judge) -> tuple[list[Figure], dict[str, _Part], list[str]]:
    if importlib.util.find_spec("rapidfuzz") is None:
        return [], {}, [NO_RAPIDFUZZ]
    workers = cores()
    training = list(dict.fromkeys(of.train))

    def near(words: Sequence[str]) -> np.ndarray:
        return counts.nearest(words, training, workers)

    def pairs(words: list[str]) -> Estimate | None:
        mixed = of.some(words, 2 * MOST_PAIRS)
        half = len(mixed) // 2
        order = of.rng.permutation(len(mixed))
        first, second = ([mixed[i] for i in part] for part in (order[:half], order[half : 2 * half]))
        return estimates.mean(counts.pairwise(first, second, workers), None, of.rng) if half else None

    parts = {
        name: of.part(words, near, MOST_NEAREST) for name, words in (("samples", of.samples), ("held_out", of.held_out))
    }
    found = of.figure("nearest", "Edits to the nearest training word", "edits", parts["samples"], parts["held_out"])
    title = "Diversity: edits between two words"
    diversity = Figure("diversity", title, "share of the longer", pairs(of.samples), pairs(of.held_out))
    return [found, diversity], parts, []


def _lengths_apart(of: _Judge) -> list[Figure]:
    """Distances of distributions to the training words', of as many generated as held-out words: with fewer words a
    distance is larger."""
    size = min(len(of.samples), len(of.held_out))
    tapes = [counts.Tape(of.some(words, size)) for words in (of.samples, of.held_out)]
    training = counts.Tape(of.train)

    def spread(kind: int) -> counts.Spread:
        if kind == 0:
            first, *others = ((t.lengths, np.arange(len(t.lengths))) for t in (training, *tapes))
        else:
            first, *others = (t.grams(kind) for t in (training, *tapes))
        return counts.Spread(first, others)

    found = []
    for kind, what in enumerate(("length", "letter", "2-gram", "3-gram")):
        compared = spread(kind)

        def one(which: int, compared: counts.Spread = compared) -> Estimate:
            value = compared.distance(which, np.ones(size))
            again = [
                compared.distance(which, np.bincount(of.rng.integers(size, size=size), minlength=size))
                for _ in range(ROUNDS if size < 20_000 else ROUNDS // 4)
            ]
            return estimates.around(value, np.array(again), 0.0, 1.0)

        name = f"{what.replace('-', '_')}_distance"
        found.append(Figure(name, f"Jensen-Shannon divergence of {what}s", "bits", one(0), one(1)))
    return found


def _by_length(of: _Judge, parts: dict[str, dict[str, _Part]]) -> list[dict[str, Any]]:
    """Means of figures for words of one length: short words are copies, and near to others, more often."""
    own, real = Counter(map(len, of.samples)), Counter(map(len, of.held_out))
    rows = []
    for length in sorted(own):
        if own[length] < FEWEST or real[length] < FEWEST:
            continue
        row: dict[str, Any] = {"length": length, "samples": own[length], "held_out": real[length]}
        for name, kinds in parts.items():
            for kind, part in kinds.items():
                mine = part.values[part.lengths == length]
                row[f"{name}_{kind}"] = round(float(mine.mean()), 6) if len(mine) else None
        rows.append(row)
    return rows
