"""n-gram models by counting: the figures that a network has to beat. No torch here.

Interpolated Kneser-Ney (Kneser & Ney 1995; Chen & Goodman 1999, section 2.7) over characters and END, with one
absolute discount D. The model of order n sees the n - 1 symbols before the one that it predicts:

    P_n(w | c) = (max(C(c w) - D, 0) + D * F(c) * P_{n-1}(w | c less its first symbol)) / sum_w C(c w)

F(c) is how many different symbols follow the context c. C is a plain count where n is the model's order; below it,
the number of different symbols that stand before c w (its continuation count). A context that was never met leaves
P_{n-1} as it is. Under order 1 lies 1 / (vocab_size - 1), every symbol but PAD, so nothing has probability zero.

Where a word begins: history ends at the start symbol, so a context near it is shorter than n - 1, contains the start
symbol, and is a context of its own. Nothing stands before the start symbol, so what begins with it keeps its plain
count at every order (as in KenLM, Heafield et al. 2013). With a start token, END is the start symbol. Without, the
first character is given: it is never predicted and never counted as predicted, and an unread start symbol stands
before it, because a network that reads the first character knows, too, that it is the first. The start symbol counts
as one of the n - 1. Only the tape's sequences are read: nothing from the word before.

How it is counted: level j holds what was met with j symbols of history. A gram (history and prediction) and a context
are each numbered by the rank of (number one level lower, the symbol further left), so any vocabulary fits into 64
bits, and only one sort a level is as long as the tape: the rest works on distinct grams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rungwise.data.batches import Tape
from rungwise.data.words import END, PAD

MAX_ORDER = 7
"""Of the baselines that a network is compared with."""
WORDS_AT_ONCE = 1 << 15


@dataclass(frozen=True, eq=False)
class Level:
    """What was met with j symbols of history. Keys are sorted; a number is a key's place among them."""

    grams: np.ndarray
    """(grams,) the gram's number one level lower * vocab_size + its leftmost symbol; level 0: the prediction."""
    contexts: np.ndarray
    """(contexts,) the context's number one level lower * vocab_size + its leftmost symbol; level 0: one 0."""
    counts: np.ndarray
    """(2, grams) plain, and continuation counts."""
    totals: np.ndarray
    """(2, contexts) counts summed over what follows the context."""
    followers: np.ndarray
    """(contexts,) how many different symbols follow."""
    context_of: np.ndarray
    """(grams,) the number of the gram's context."""


@dataclass(frozen=True, eq=False)
class Followers:
    """What follows each context of a level, context by context."""

    ends: np.ndarray
    """(contexts,) where the followers of each context end."""
    symbols: np.ndarray
    """(grams,)"""
    counts: np.ndarray
    """(2, grams) plain and continuation counts less the discount, at least 0, float32."""

    def table(self, contexts: np.ndarray, kind: int, vocab_size: int) -> np.ndarray:
        """(contexts, V) float32: the counts by symbol."""
        n = self.ends[contexts] - np.where(contexts, self.ends[contexts - 1], 0)
        places = np.arange(n.sum()) + np.repeat(self.ends[contexts] - np.cumsum(n), n)
        found = np.zeros((len(contexts), vocab_size), dtype=np.float32)
        found[np.repeat(np.arange(len(contexts)), n), self.symbols[places]] = self.counts[kind, places]
        return found


@dataclass(frozen=True, eq=False)
class KneserNey:
    """A fitted model; its order is the number of its levels."""

    levels: tuple[Level, ...]
    vocab_size: int
    discount: float

    @property
    def order(self) -> int:
        return len(self.levels)

    def at(self, order: int) -> KneserNey:
        """The model of a lower order, exactly as if fitted alone; nothing is copied."""
        if not 1 <= order <= self.order:
            raise ValueError(f"order must be 1 to {self.order}, but is {order}.")
        return replace(self, levels=self.levels[:order])

    def score(self, tape: Tape) -> np.ndarray:
        """Nats of every scored token, (tokens,) float64: the tape's words one after the other, as Tape.packed."""
        nats = [np.empty(0)]
        for part in _parts(tape):
            *_, own = self._probabilities(part)  # orders 1, 2, ...: the last is the model's own
            nats.append(-np.log(own))
        return np.concatenate(nats)

    def loss(self, tape: Tape) -> float:
        """Nats per scored token, over the whole tape."""
        return float(self.score(tape).mean())

    def losses(self, tape: Tape) -> dict[int, float]:
        """Nats per scored token of every order up to this model's, for little more than the price of one."""
        total = np.zeros(self.order)
        for part in _parts(tape):
            total -= [np.log(probability).sum() for probability in self._probabilities(part)]
        return {n: float(nats) for n, nats in enumerate(total / tape.n_tokens, start=1)}

    def best_order(self, held_out: Tape) -> int:
        """The order of the lowest loss on words held out; of equal ones, the lowest order."""
        if not len(held_out.starts):
            raise ValueError("there are no words held out to choose an order by.")
        losses = self.losses(held_out)
        return min(losses, key=losses.__getitem__)

    @cached_property
    def followers(self) -> list[Followers]:
        """Of each level's contexts."""
        found, predicted = [], np.zeros(0, dtype=np.int64)
        for j, level in enumerate(self.levels):
            predicted = predicted[level.grams // self.vocab_size] if j else level.grams
            order = np.argsort(level.context_of, kind="stable")
            counts = np.maximum(level.counts[:, order] - self.discount, 0).astype(np.float32)
            found.append(Followers(np.cumsum(level.followers), predicted[order], counts))
        return found

    def after(self, history: np.ndarray) -> np.ndarray:
        """What follows each of n histories, (n, V) float64. history: (n, T) tokens from the start symbol on."""
        p = np.full((len(history), self.vocab_size), 1 / (self.vocab_size - 1))
        p[:, PAD] = 0
        index, context = np.arange(len(history)), np.zeros(len(history), dtype=np.int64)
        for j, level in enumerate(self.levels[: history.shape[1] + 1]):
            if j:
                context = _find(level.contexts, context * self.vocab_size + history[index, -j])
                index, context = index[context >= 0], context[context >= 0]
            kind = int(j + 1 < self.order)  # plain counts at the model's order, below continuation counts
            share = 1 / level.totals[kind, context]
            distinct, which = np.unique(context, return_inverse=True)
            below = (self.discount * level.followers[context] * share)[:, None] * p[index]
            p[index] = below + self.followers[j].table(distinct, kind, self.vocab_size)[which] * share[:, None]
        return p

    def _probabilities(self, tape: Tape) -> Iterator[np.ndarray]:
        """What the model of order 1, 2, ... gives each scored token, (tokens,) each."""
        events = _Events.of(tape, self.vocab_size)
        lower = np.full(len(events.at), 1 / (self.vocab_size - 1))  # by continuation counts: below the next level
        index, context = np.arange(len(events.at)), np.zeros(len(events.at), dtype=np.int64)
        gram = _find(self.levels[0].grams, events.predicted)
        for j, level in enumerate(self.levels):
            if j:
                deep = events.depth[index] >= j
                index, context, gram = index[deep], context[deep], gram[deep]
                symbol = events.symbol(index, j)
                context = _find(level.contexts, context * self.vocab_size + symbol)
                gram = _find(level.grams, gram * self.vocab_size + symbol)  # -1 (not met) makes a negative key
                known = context >= 0
                index, context, gram = index[known], context[known], gram[known]
            below = self.discount * level.followers[context] * lower[index]
            counts = np.where(gram >= 0, level.counts[:, gram], 0) if len(level.grams) else np.zeros((2, len(index)))
            plain, continued = (np.maximum(counts - self.discount, 0) + below) / level.totals[:, context]
            probability = lower.copy()
            probability[index] = plain
            lower[index] = continued
            yield probability


def fit(tape: Tape, vocab_size: int, order: int = MAX_ORDER, discount: float = 0.75) -> KneserNey:
    """Count the tape's sequences. `vocab_size` is len(vocabulary): the characters, END and PAD."""
    return fit_and_number(tape, vocab_size, order, discount)[0]


def fit_and_number(tape: Tape, vocab_size: int, order: int, discount: float) -> tuple[KneserNey, np.ndarray]:
    """What fit() gives, and the longest gram of each prediction, (tokens,) as Tape.packed: its place among the grams of
    its level, after all grams of the levels below."""
    if order < 1:
        raise ValueError(f"order must be at least 1, but is {order}.")
    if not 0 < discount <= 1:  # at 0 nothing is left for what was never met; above 1 counts would be negative
        raise ValueError(f"discount must be above 0 and at most 1, but is {discount}.")
    if not len(tape.starts):
        raise ValueError("there are no words to count.")
    events = _Events.of(tape, vocab_size)
    number = events.at.dtype  # narrow: what is as long as the tape decides how much memory a large list takes
    index = np.arange(len(events.at), dtype=number)
    grams, gram, plain = np.unique(events.predicted, return_inverse=True, return_counts=True)
    contexts, context_of = np.zeros(1, dtype=np.int64), np.zeros(len(grams), dtype=np.int64)
    levels, longest, below = [], gram.astype(number), 0
    for j in range(1, order):
        deep = events.depth[index] >= j
        index, gram = index[deep], gram[deep].astype(number)
        keys = np.multiply(gram, vocab_size, dtype=np.int64) + events.symbol(index, j)
        longer, gram, n_longer = np.unique(keys, return_inverse=True, return_counts=True)
        below += len(grams)
        longest[index] = below + gram
        parent, symbol = np.divmod(longer, vocab_size)
        continued = np.bincount(parent, minlength=len(grams))
        # What nothing stands before begins with the start symbol, always: it keeps its plain count.
        continued = np.where(continued == 0, plain, continued)
        levels.append(_level(grams, contexts, context_of, plain, continued))
        contexts, context_of = np.unique(context_of[parent] * vocab_size + symbol, return_inverse=True)
        grams, plain = longer, n_longer
    levels.append(_level(grams, contexts, context_of, plain, plain))  # nothing reads continuations of the top
    return KneserNey(tuple(levels), vocab_size, discount), longest


def best_share(models: np.ndarray, ngram: np.ndarray) -> float:
    """The share of the n-gram model with which a mixture's loss is lowest. Both: (tokens,) probabilities of what came.

    By expectation maximisation: the share is the mean probability that the n-gram model was the one that spoke.
    """
    share = 0.5
    for _ in range(100):
        share = float(np.mean(share * ngram / (share * ngram + (1 - share) * models)))
    return share


@dataclass(frozen=True, eq=False)
class _Events:
    """The predictions that a tape asks for: where each lies, and what stands before it in its sequence."""

    tokens: np.ndarray
    at: np.ndarray
    """(events,) where the predicted token lies on the tape."""
    read: np.ndarray
    """(events,) how many tokens of its sequence stand before it."""
    depth: np.ndarray
    """(events,) how many symbols of history it has: `read`, and the start symbol where the sequence has none."""

    @classmethod
    def of(cls, tape: Tape, vocab_size: int) -> _Events:
        place = np.int32 if len(tape.tokens) < 2**31 else np.int64
        before = np.repeat((np.cumsum(tape.lengths) - tape.lengths).astype(place), tape.lengths)
        read = np.arange(1, len(before) + 1, dtype=place) - before
        at = np.repeat(tape.starts.astype(place), tape.lengths) + read
        if len(at) and (largest := max(tape.tokens[at].max(), tape.tokens[tape.starts].max())) >= vocab_size:
            raise ValueError(f"the tape holds token {largest}, beyond a vocabulary of {vocab_size}.")
        unread = np.repeat(tape.tokens[tape.starts] != END, tape.lengths)  # the first character is given
        return cls(tape.tokens, at, read, read + unread)

    @property
    def predicted(self) -> np.ndarray:
        return self.tokens[self.at].astype(np.int64)

    def symbol(self, index: np.ndarray, j: int) -> np.ndarray:
        """The j-th symbol to the left of the events at `index`, all of which have that many; the start is END."""
        return np.where(self.read[index] >= j, self.tokens[self.at[index] - j], END).astype(np.int64)


def _level(
    grams: np.ndarray, contexts: np.ndarray, context_of: np.ndarray, plain: np.ndarray, continued: np.ndarray
) -> Level:
    """Sum what follows each context; `context_of` is the context's number of each gram."""
    counts, n = np.stack([plain, continued], dtype=np.int32, casting="same_kind"), len(contexts)
    totals = np.stack([np.bincount(context_of, weights, n) for weights in counts])
    return Level(grams, contexts, counts, totals, np.bincount(context_of, minlength=n), context_of)


def _parts(tape: Tape) -> Iterator[Tape]:
    """The same words, some at a time, so that scoring takes little memory however long the tape is."""
    for first in range(0, len(tape.starts), WORDS_AT_ONCE):
        some = slice(first, first + WORDS_AT_ONCE)
        yield Tape(tape.tokens, tape.starts[some], tape.lengths[some])


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place of each wanted key among the sorted keys, -1 where it is not there."""
    if not len(keys):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)
