"""Targets that are distributions: what n-grams say of each training position without having counted it. No torch here.

Interpolated Kneser-Ney (ngram.py) of the whole list would know every training word. So each position is taught by the
model of all other positions: its own occurrence is taken out of every count that it is part of. At the model's order
that is the plain count of its gram. Below, it is the continuation count of a shorter gram, which falls where the
longer gram was met here alone, for then one symbol less stands before it. What training meets is thus as surprised
by a word as the same model is by words held out.

A row depends on the longest gram of a position alone (its history and what follows), so each gram has one row,
whatever the number of positions. Dimensions: G grams, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from rungwise.data.batches import Tape
from rungwise.data.ngram import KneserNey, fit_and_number
from rungwise.data.words import PAD
from rungwise.errors import UserError
from rungwise.util.machine import memory

ORDER, DISCOUNT = 6, 0.85
GRAMS_AT_ONCE = 1 << 12
"""Whose rows are computed together: they stay in the cache."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A distribution for each position of a tape."""

    rows: np.ndarray
    """(1 + G, V) float32: the distributions; the first is all zero, for what is never predicted."""
    at: np.ndarray
    """(tape tokens,) int32: the row of each predicted token, by its place on the tape; 0 where nothing predicts it."""
    weight: float = 1.0
    """Its share in the targets; the rest is the character that follows."""


def leave_one_out(tape: Tape, vocab_size: int, order: int = ORDER, discount: float = DISCOUNT) -> Teacher:
    """Kneser-Ney's distribution at each position of the tape's sequences, the position's own occurrence left out."""
    model, longest = fit_and_number(tape, vocab_size, order, discount)
    met = np.zeros(sum(len(level.grams) for level in model.levels), dtype=bool)
    met[longest] = True  # the grams that no longer one takes the place of
    numbers = np.cumsum(met, dtype=np.int32)
    at = np.zeros(len(tape.tokens), dtype=np.int32)
    at[tape.targets(tape.starts, tape.lengths)] = numbers[longest]
    if (need := 4 * (1 + np.count_nonzero(met)) * vocab_size) > (have := memory()) / 2:
        raise UserError(
            f"Smoothed targets would take {need / 2**30:,.1f} GiB of memory; this machine has {have / 2**30:,.1f}, of "
            "which half may be theirs. Use targets=words."
        )
    rows = np.zeros((1 + np.count_nonzero(met), vocab_size), dtype=np.float32)
    first, below = 1, 0
    for depth, level in enumerate(model.levels):
        own = np.flatnonzero(met[below : below + len(level.grams)])
        below += len(level.grams)
        for begin in range(0, len(own), GRAMS_AT_ONCE):
            some = own[begin : begin + GRAMS_AT_ONCE]
            rows[first : first + len(some)] = _rows(model, depth, some)
            first += len(some)
    return Teacher(rows, at)


def _rows(model: KneserNey, depth: int, grams: np.ndarray) -> np.ndarray:
    """(n, V) float32: what follows the contexts of grams of the level `depth`, each gram met once less."""
    chain = [grams]  # the same predictions with less and less history
    for level in model.levels[depth:0:-1]:
        chain.append(level.grams[chain[-1]] // model.vocab_size)
    chain.reverse()
    predicted, each = model.levels[0].grams[chain[0]], np.arange(len(grams))
    p = np.full((len(grams), model.vocab_size), 1 / (model.vocab_size - 1), dtype=np.float32)
    p[:, PAD] = 0
    for j, (level, gram) in enumerate(zip(model.levels, chain, strict=False)):
        kind = int(j < depth)  # plain counts, or below, continuation counts
        alone = model.levels[j + 1].counts[0, chain[j + 1]] == 1 if kind else np.ones(len(gram), dtype=bool)
        count, context = level.counts[kind, gram], level.context_of[gram]
        total = level.totals[kind, context] - alone
        kinds = level.followers[context] - (alone & (count == 1))
        # A context that was met here alone was never met: the shorter one's distribution stays.
        share = np.divide(1, total, out=np.zeros(len(total)), where=total > 0)
        distinct, which = np.unique(context, return_inverse=True)
        p *= np.where(total > 0, model.discount * kinds * share, 1).astype(np.float32)[:, None]
        p += model.followers[j].table(distinct, kind, model.vocab_size)[which] * share.astype(np.float32)[:, None]
        less = np.maximum(count - alone - model.discount, 0) - np.maximum(count - model.discount, 0)
        p[each, predicted] += (share * less).astype(np.float32)
    return p
