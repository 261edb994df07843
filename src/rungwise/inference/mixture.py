"""Several models as one: the mean of their distributions, with a share of an n-gram model's where that helps.

It is sampled and scored as a model is (prefix_tree.py, score.py), but it is no single model: no other library holds
it. Dimensions: P prefixes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rungwise.config import ModelConfig
from rungwise.data.batches import Tape
from rungwise.data.ngram import KneserNey
from rungwise.data.words import END
from rungwise.inference.prefix_tree import ROOT, Grower, grown, make_tree
from rungwise.inference.score import Scores, scored
from rungwise.model.transformer import Transformer

WORDS_TOGETHER = 1 << 11
"""Neighbours in the alphabet, of which a prefix is computed once."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """What `generate` and `score` take where they take a Transformer. All models are of one vocabulary."""

    models: Sequence[Transformer]
    ngram: KneserNey | None = None
    share: float = 0.0
    """Of the n-gram model."""
    end_fed: bool = True
    """Words begin with END (config.WordStart)."""

    @property
    def config(self) -> ModelConfig:
        """The first model's."""
        return self.models[0].config

    def tree(self, rows: int, length: int) -> Grower:
        """A tree of prefixes, as prefix_tree.make_tree."""
        return _MixtureTree(self, rows, length)

    def score(self, tape: Tape) -> Scores:
        """As score.score of a model, of all words at once: (prefixes, V) is in memory."""
        rows, at = distributions(self, tape)
        follows = tape.packed(tape.starts, tape.lengths)[1]
        with np.errstate(divide="ignore"):
            nats = -np.log(rows[at, follows], dtype=np.float64)
        return scored(tape, nats, rows.argmax(axis=1)[at] == follows)


class _MixtureTree:
    """The models' trees, grown together; its logits are log-probabilities."""

    def __init__(self, mixture: Mixture, rows: int, length: int) -> None:
        self.mixture, self.trees = mixture, [make_tree(model, rows, length) for model in mixture.models]
        self.tokens = np.zeros(rows * length, dtype=np.int32)

    def grow(self, tokens: np.ndarray, paths: np.ndarray) -> np.ndarray:
        self.tokens[paths[:, -1]] = tokens
        p = np.mean([softmax(tree.grow(tokens, paths)) for tree in self.trees], axis=0)
        if self.mixture.ngram is not None:
            history = self.tokens[paths]
            if not self.mixture.end_fed:  # an unread start symbol stands before the first character
                history = np.concatenate([np.full((len(history), 1), END, dtype=np.int32), history], axis=1)
            p += self.mixture.share * (self.mixture.ngram.after(history) - p)
        with np.errstate(divide="ignore"):  # a probability of 0 is a logit of -inf
            return np.log(p).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, float64."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return p / p.sum(axis=-1, keepdims=True)


def distributions(model: Transformer | Mixture, tape: Tape) -> tuple[np.ndarray, np.ndarray]:
    """What a model says after each prefix of a tape's words, (P, V) float32, and which of these each target follows,
    (tokens,) as Tape.packed."""
    width, size = int(tape.lengths.max()), model.config.vocab_size
    inputs, _ = tape.padded(tape.starts, tape.lengths, width)
    first, at = np.cumsum(tape.lengths) - tape.lengths, np.empty(tape.n_tokens, dtype=np.int64)
    order, tree = np.lexsort(inputs.T[::-1]), make_tree(model, WORDS_TOGETHER, width)
    rows: list[np.ndarray] = []
    n_rows = 0
    for begin in range(0, len(order), WORDS_TOGETHER):
        words = order[begin : begin + WORDS_TOGETHER]
        prefix, paths = np.zeros(len(words), dtype=np.int64), ROOT
        for t in range(width):
            goes_on = tape.lengths[words] > t
            words, prefix = words[goes_on], prefix[goes_on]
            if not len(words):
                break
            keys, prefix = np.unique(prefix * size + inputs[words, t], return_inverse=True)
            parents, tokens = np.divmod(keys, size)
            paths = grown(paths, parents)
            rows.append(softmax(tree.grow(tokens, paths)).astype(np.float32))
            at[first[words] + t] = n_rows + prefix
            n_rows += len(keys)
    return np.concatenate(rows), at
