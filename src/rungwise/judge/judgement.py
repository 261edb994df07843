"""All figures of generated words, each beside that of real held-out words. No torch."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rungwise.errors import UserError
from rungwise.judge import counts, estimates, molecules
from rungwise.judge.estimates import ROUNDS, Estimate
from rungwise.judge.figures import Brief, Figure, Judgement, Lists, Measure
from rungwise.util.machine import cores
from rungwise.util.progress import Bar, silent

MOST_NEAREST = 3_000
"""Words whose nearest neighbour is looked for: each is compared with every training word."""
MOST_PIECES = 20_000
"""Words whose longest shared piece is looked for."""
MOST_PAIRS = 20_000
AT_ONCE = 100
"""Words whose validity is asked before one is told how far it is."""
FEWEST = 30
"""Words of a length, generated and held out, that make a row of their own."""
NO_RAPIDFUZZ = "Nearest words and diversity are left out: they need RapidFuzz (pip install rapidfuzz)."
ASIDE = (
    "Pieces and edits: of words that are no copies. Held-out words are no training words by construction, while a "
    "perfect generator would write some."
)
ALL_VALID = "Every word, generated or listed, keeps the rule of --valid: it tells nothing apart."


def judge(
    train: Sequence[str],
    held_out: Sequence[str],
    samples: Sequence[str],
    seed: int = 0,
    valid: Callable[[str], bool] | None = None,
    bar: Bar = silent,
) -> Judgement:
    """Figures of `samples`, words as they were generated, repeats included, for a list that is divided into words to
    train on and held-out words. All words as sources.comparable() has them. `valid`: a rule that words should keep.
    UserError where there is nothing to judge."""
    if not samples:
        raise UserError("There are no generated words to judge.")
    if not train or not held_out:
        raise UserError("The list is too small: it needs words to compare with, and words to hold out.")
    of = Lists(list(train), list(held_out), list(samples), np.random.default_rng([seed, 19]), bar)
    notes = _validity(of, valid) if valid else []
    _uniqueness(of)
    _copies(of)
    _memory(of)
    notes += [] if "nearest" in of.parts else [NO_RAPIDFUZZ]
    notes += [ASIDE] if of.apart else []
    _distances(of)
    sizes = {"training": len(of.train), "held_out": len(of.held_out), "samples": len(of.samples)}
    sizes["distinct_samples"] = len(of.often)
    near = of.parts.get("nearest", {})
    histogram = {kind: np.bincount(part.values.astype(int)).tolist() for kind, part in near.items()}
    return Judgement(sizes, of.figures, _by_length(of), histogram, of.often.most_common(10), notes)


def _validity(of: Lists, valid: Callable[[str], bool]) -> list[str]:
    known, words = dict[str, bool](), dict.fromkeys([*of.train, *of.held_out, *of.samples])
    with of.bar(len(words), what="words") as advance:
        for i, word in enumerate(words, 1):
            known[word] = valid(word)
            if not i % AT_ONCE:
                advance(i, "asked whether they are valid")
    if not any(known[word] for word in of.distinct_train) and not any(known[word] for word in of.held_out):
        raise UserError("--valid: no word of the list keeps the rule. Is it meant for other words?")
    of.mean("valid", "Valid words", "share", _flags(known.__getitem__))
    if valid is molecules.is_valid:
        molecules.add(of)
    return [ALL_VALID] if all(known.values()) else []


def _flags(of_word: Callable[[str], bool]) -> Measure:
    return lambda words: np.fromiter(map(of_word, words), dtype=bool, count=len(words))


def _uniqueness(of: Lists) -> None:
    every, real = (
        np.fromiter(times.values(), dtype=np.int64) for times in (of.often, Counter([*of.train, *of.held_out]))
    )
    repeats = int(real.max()) > 1  # a list without repeats says nothing of how often words should repeat
    for k in [k for k in (1_000, 10_000) if k <= len(of.samples)] or [len(of.samples)]:
        floor = estimates.unique_at(real, k) if repeats else None
        name, title = f"unique_at_{k}", f"Distinct words among {k:,}"
        of.add(Figure(name, title, "share", estimates.unique_at(every, k), floor))

    def most(times: np.ndarray) -> Estimate:
        return estimates.share(np.arange(times.sum()) < times.max())

    of.add(
        Figure("most_frequent", "The most frequent word alone", "share", most(every), most(real) if repeats else None)
    )


def _copies(of: Lists) -> None:
    held_out = set(of.held_out)
    listed = of.distinct_train.keys() | held_out
    like = set(map(counts.folded, listed))
    of.mean("new", "New: not in the list", "share", _flags(lambda w: w not in listed), floor=False)
    folded = _flags(lambda w: counts.folded(w) not in like)
    of.mean("new_folded", "New up to case and accents", "share", folded, floor=False)
    trained = _flags(of.distinct_train.__contains__)
    of.mean("copies_of_training", "Copies of training words", "share", trained, floor=not of.apart)
    of.mean("copies_of_held_out", "Copies of held-out words", "share", _flags(held_out.__contains__), floor=False)
    of.add(_rediscovery(of))
    of.add(_copy_ratio(of))


def _rediscovery(of: Lists) -> Figure:
    """The share of held-out words that were generated; its floor is what chance gives: as many words of independent
    letters, with the lengths and the letters of the training words."""
    wanted = list(dict.fromkeys(of.held_out))
    found = estimates.share(_flags(of.often.__contains__)(wanted))
    letters = Counter("".join(of.train))
    total = sum(letters.values())
    nats = {letter: np.log(n / total) for letter, n in letters.items()}
    p = [of.share_of_length.get(len(word), 0.0) * np.exp(sum(nats.get(c, -np.inf) for c in word)) for word in wanted]
    chance = -np.expm1(len(of.samples) * np.log1p(-np.minimum(p, 1 - 1e-12)))
    title = "Held-out words found again (beside: by chance)"
    return Figure("rediscovered", title, "share", found, estimates.mean(chance, None, of.rng))


def _copy_ratio(of: Lists) -> Figure:
    """How much more often a training word is generated than a held-out word. 1: the generator does not tell them
    apart. Listed words are resampled, for which of them are held out is chance, and some (short ones) are generated
    much more often than others. None where copies of held-out words are so few that some rounds have none."""
    train, held_out = (
        np.array([of.often[word] for word in dict.fromkeys(words)], dtype=float) for words in (of.train, of.held_out)
    )

    def resampled(x: np.ndarray) -> float:
        return float(x[of.rng.integers(len(x), size=len(x))].mean())

    again = [(resampled(train), resampled(held_out)) for _ in range(ROUNDS)]
    found = None
    if held_out.any() and train.any() and all(b for _, b in again):
        value = float(train.mean() / held_out.mean())
        low, high = (float(x) for x in np.percentile([a / b for a, b in again], [2.5, 97.5]))
        found = Estimate(value, min(low, value), max(high, value))
    return Figure("copy_ratio", "Training words as often as held-out ones", "times", found, Estimate(1, 1, 1))


def _memory(of: Lists) -> None:
    """How near words come to training words, and to each other. Where held-out words are no training words by
    construction, copies are left aside among the generated ones, too (ASIDE): the figures of copies tell of them."""

    def pieces(words: Sequence[str]) -> np.ndarray:
        return counts.longest_shared(words, list(of.distinct_train)).astype(float)

    title = "Longest piece of a training word"
    of.mean("longest_piece", title, "characters", pieces, copies=not of.apart, most=MOST_PIECES)
    if importlib.util.find_spec("rapidfuzz") is None:
        return
    workers = cores()

    def near(words: Sequence[str]) -> np.ndarray:
        return counts.nearest(words, list(of.distinct_train), workers, of.bar)

    title = "Edits to the nearest training word"
    of.mean("nearest", title, "edits", near, copies=not of.apart, most=MOST_NEAREST)

    def pairs(words: list[str]) -> Estimate | None:
        mixed = of.some(words, 2 * MOST_PAIRS)
        order, half = of.rng.permutation(len(mixed)), len(mixed) // 2
        first, second = ([mixed[i] for i in part] for part in (order[:half], order[half : 2 * half]))
        return estimates.mean(counts.pairwise(first, second, workers), None, of.rng) if half else None

    title = "Diversity: edits between two words"
    of.add(Figure("diversity", title, "share of the longer", pairs(of.samples), pairs(of.held_out)))


def _distances(of: Lists) -> None:
    """Distances of distributions to the training words', of as many generated as held-out words: with fewer words a
    distance is larger."""
    size = min(len(of.samples), len(of.held_out))
    tapes = [counts.Tape(of.some(words, size)) for words in (of.samples, of.held_out)]
    training, rounds = counts.Tape(of.train), ROUNDS if size < 20_000 else ROUNDS // 4
    lists_lengths = of.weights(tapes[0].lengths) * size
    for n, name in enumerate(("length", "letter", "2-gram", "3-gram")):
        spread = counts.Spread(training.things(n), [tape.things(n) for tape in tapes])

        def one(which: int, weights: np.ndarray, spread: counts.Spread = spread) -> Estimate | None:
            if not weights.any():
                return None
            drawn = (np.bincount(of.rng.integers(size, size=size), minlength=size) for _ in range(rounds))
            again = np.array([spread.distance(which, weights * times) for times in drawn])
            return estimates.around(spread.distance(which, weights), again, 0.0, 1.0)

        same = one(0, lists_lengths) if n else None
        own, real = (one(which, np.ones(size)) for which in (0, 1))
        title = f"Divergence of {name}s"
        of.add(Figure(f"{name.replace('-', '_')}_distance", title, "bits", own, real, same))


def _by_length(of: Lists) -> list[dict[str, Any]]:
    """Means of figures for words of one length: short words are copies, and near to others, more often."""
    own, real = Counter(map(len, of.samples)), Counter(map(len, of.held_out))
    rows = []
    for length in sorted(own):
        if own[length] < FEWEST or real[length] < FEWEST:
            continue
        row: dict[str, Any] = {"length": length, "samples": own[length], "held_out": real[length]}
        for name in ("valid", "new", "copies_of_training", "longest_piece", "nearest"):
            for kind, part in of.parts.get(name, {}).items():
                mine = part.values[part.lengths == length]
                row[f"{name}_{kind}"] = round(float(mine.mean()), 6) if len(mine) else None
        rows.append(row)
    return rows


def brief(
    train: Sequence[str], held_out: Sequence[str], samples: Sequence[str], new: Sequence[bool] | np.ndarray
) -> Brief:
    """`new`: of each sample, is it not in the list? The same held-out words each time, so that runs of one list have
    one floor."""
    n = len(samples)
    compared = [list(samples)]
    if len(held_out) >= n:
        compared.append([held_out[int(i)] for i in np.random.default_rng(19).choice(len(held_out), n, replace=False)])
    spread = counts.Spread(counts.Tape(train).things(3), [counts.Tape(words).things(3) for words in compared])
    own, *real = (spread.distance(which, np.ones(n)) for which in range(len(compared)))
    return Brief(n, len(set(samples)) / n, float(np.mean(new)), own, *real)
