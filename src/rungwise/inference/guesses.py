"""Guess numbers: how many guesses somebody needs for a word who tries the model's words in order, the most probable
first. Estimated from words that the model draws (Dell'Amico and Filippone 2015, Monte Carlo Strength Evaluation)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rungwise.config import WordStart
from rungwise.data.sources import comparable
from rungwise.data.tokens import CHARS
from rungwise.data.words import FIRST_CHARACTER, Vocabulary
from rungwise.errors import UserError
from rungwise.inference.evaluate import Assessment, scored
from rungwise.inference.mixture import Mixture
from rungwise.inference.prefix_tree import Drawer, Sampling
from rungwise.model.transformer import Transformer

DRAWS = 1 << 17
"""Words that are drawn: an estimate is good to about 1 % where words vary little in probability."""
AT_ONCE = 1 << 14
TIE = 1e-4
"""Nats: words nearer than this are equally probable. The same word differs by less between two ways to compute it."""


@dataclass(frozen=True, eq=False)
class Guesses:
    """Of each word of a list."""

    number: np.ndarray
    """(words,) 1 and the estimated number of words that are more probable; inf: the model never writes the word."""
    error: np.ndarray
    """(words,) its standard error."""

    def summary(self) -> dict[str, Any]:
        """JSON values: quantiles over the words, each with its standard error, and the share that is guessed."""
        order = np.argsort(self.number)
        found: dict[str, Any] = {"draws": DRAWS}
        for name, share in (("tenth", 0.1), ("median", 0.5), ("nine_tenths", 0.9)):
            i = order[min(len(order) - 1, int(share * len(order)))]
            found[name] = [finite(float(self.number[i])), finite(float(self.error[i]))]
        found["guessed_within"] = {f"1e{k}": float((self.number <= 10**k).mean()) for k in (1, 2, 3, 4, 6, 9, 12)}
        return found


def finite(value: float, digits: int = 2) -> float | None:
    """None for a number that is infinite: JSON has none."""
    return round(value, digits) if math.isfinite(value) else None


def guess_numbers(
    found: Assessment, model: Transformer | Mixture, vocabulary: Vocabulary, firsts: np.ndarray | None, seed: int = 0
) -> Guesses:
    """Of the words that could be scored. `firsts` as for sample.generate(); the words in order are those that
    generate() can give, at most as long as the longest that the model was made for.

    The number of words more probable than a word is the sum of 1 over all of them, which is the mean of 1 / q over
    draws, where q is the probability with which a word is drawn.
    """
    if vocabulary.conditions:
        raise UserError("--guess-number is of models without a condition: another value is another order of guesses.")
    end_fed = found.start.end_fed
    drawer = Drawer(model, vocabulary, firsts, Sampling(), seed)
    with np.errstate(divide="ignore"):
        first = np.zeros(len(vocabulary)) if firsts is None else -np.log(firsts / firsts.sum())
    words, nats, q = found.words, [], []
    for begin in range(0, DRAWS, AT_ONCE):
        ids, log_likelihood, log_drawn = drawer.draw(begin, AT_ONCE)
        kept = _listed(vocabulary, ids[:, int(end_fed) :])
        nats.append((first[ids[:, 0]] - log_likelihood)[kept])
        q.append(log_drawn[kept])
    own = scored(model, words, WordStart(end_fed, first_scored=end_fed)).words + first[words.codes[words.offsets[:-1]]]
    own[words.lengths > drawer.longest] = np.inf
    return _estimated(np.concatenate(nats), np.exp(-np.concatenate(q)), own)


def _listed(vocabulary: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """(n,) bool: would a list hold these words, (n, width) ids, as they are?"""
    if vocabulary.tokens == CHARS:
        texts = vocabulary.decode_rows(ids)
        return np.fromiter((comparable(text) == text for text in texts), dtype=bool, count=len(texts))
    rows = ([i for i in row if i >= FIRST_CHARACTER] for row in ids.tolist())
    return np.fromiter((vocabulary.listed(row) is not None for row in rows), dtype=bool, count=len(ids))


def _estimated(drawn: np.ndarray, weight: np.ndarray, own: np.ndarray) -> Guesses:
    """drawn: nats of the words drawn; weight: 1 / q of each; own: nats of the words asked about."""
    order = np.argsort(drawn)
    before = np.searchsorted(drawn[order], own - TIE)
    sums, squares = (np.concatenate([[0], np.cumsum(weight[order] ** k)])[before] / DRAWS for k in (1, 2))
    error = np.sqrt(np.maximum(squares - sums**2, 0) / DRAWS)
    never = np.isinf(own)
    return Guesses(np.where(never, np.inf, 1 + sums), np.where(never, np.inf, error))
