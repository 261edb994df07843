"""Words -> arrays: what every step of every seed reads. Any step can be had without the ones before it, so a resumed
run meets the same batches.

Every kind of batch is sequences cut from one tape of tokens, END w1 END w2 END ... END: a sequence of length n at
position s reads tape[s : s + n] and predicts tape[s + 1 : s + n + 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np

from rungwise.config import Protocol, TrainConfig, WordStart
from rungwise.data.words import END, PAD, WordList
from rungwise.errors import UserError
from rungwise.util.hashing import WORDS_A_BLOCK, derive_seed

STEPS_A_BLOCK = 256
"""Batches are drawn in blocks of so many steps: few large array operations instead of many small ones."""


@dataclass(frozen=True, eq=False)
class Tape:
    """The words of one part of a split, one after the other, and where each word's sequence lies."""

    tokens: np.ndarray
    """END w1 END w2 END ...: unsigned integers."""
    starts: np.ndarray
    """(words,) where the sequence of each word begins."""
    lengths: np.ndarray
    """(words,) how many tokens of it are predicted."""
    unscored: int = 0
    """So many of the first predictions of each sequence count in no loss."""

    @classmethod
    def of(cls, words: WordList, indices: np.ndarray, how: Protocol | WordStart) -> Tape:
        """Where END is fed, a word's sequence begins at the END before it; else at its first character. `how`: the
        word start of a model, or a protocol for models that are trained on words."""
        start = how.word_start if isinstance(how, Protocol) else how
        n_characters = words.lengths[indices]
        ends = np.cumsum(n_characters + 1)  # where the END after each word lies
        tokens = np.full(ends[-1] + 1 if len(ends) else 1, END, dtype=words.codes.dtype)
        for first in range(0, len(indices), WORDS_A_BLOCK):  # a large list must not be held in wide integers
            some = slice(first, first + WORDS_A_BLOCK)
            n, begins = n_characters[some], ends[some] - n_characters[some]
            within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
            tokens[np.repeat(begins, n) + within] = words.codes[np.repeat(words.offsets[indices[some]], n) + within]
        unscored = int(start.end_fed and not start.first_scored)
        return cls(tokens, ends - n_characters - start.end_fed, n_characters + start.end_fed, unscored)

    @property
    def n_tokens(self) -> int:
        """Tokens that are predicted when every word is read once."""
        return int(self.lengths.sum())

    @property
    def mean_length(self) -> float:
        """Predicted tokens of a word."""
        return float(self.lengths.mean())

    def windows(self, length: int) -> Tape:
        """The same tokens as one stream, cut into windows that score each token after the first word's first once."""
        starts = np.arange(1, len(self.tokens) - 1, length)
        return Tape(self.tokens, starts, np.minimum(length, len(self.tokens) - 1 - starts))

    def beginnings(self, rng: np.random.Generator | None = None) -> Tape:
        """Each beginning of each word with two characters or more before its last one, as a sequence of its own; with
        `rng`, all before the last are shuffled. An END that is fed stays first, and each sequence scores its end alone.
        """
        found = []
        for start, length in zip(self.starts, self.lengths, strict=True):
            fixed = int(self.tokens[start] == END)
            for n in range(fixed + 3, length + 1):
                part = self.tokens[start : start + n + 1].copy()
                if rng is not None:
                    rng.shuffle(part[fixed : n - 1])
                found.append(part)
        lengths = np.array([len(part) for part in found], dtype=np.int64)
        tokens = np.concatenate(found) if found else self.tokens[:0]
        return Tape(tokens, np.cumsum(lengths) - lengths, lengths - 1)

    def padded(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (..., width) int64, PAD after each sequence's end. Any shape of starts and lengths."""
        columns = np.arange(width + 1)
        tokens = self.tokens[np.minimum(starts[..., None] + columns, len(self.tokens) - 1)].astype(np.int64)
        inside = columns[:-1] < lengths[..., None]
        return np.where(inside, tokens[..., :-1], PAD), np.where(inside, tokens[..., 1:], PAD)

    def packed(self, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (tokens,) int32 of the sequences one after the other, nothing between them."""
        at = self.targets(starts, lengths)
        return self.tokens[at - 1].astype(np.int32), self.tokens[at].astype(np.int32)

    @staticmethod
    def targets(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Where packed targets lie on the tape, (tokens,)."""
        starts, lengths = starts.ravel(), lengths.ravel()
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(starts, lengths) + within + 1


def check_windows(tape: Tape, config: TrainConfig) -> None:
    """Are there words enough to cut one window of the stream?"""
    if config.batching == "stream" and len(tape.tokens) <= config.window + 1:
        raise UserError(f"The training words make {len(tape.tokens)} tokens; a window of {config.window} needs more.")


def draw(tape: Tape, config: TrainConfig, seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths, (STEPS_A_BLOCK, batch_size) each, of a block of steps: words or windows, with replacement."""
    rng = np.random.default_rng([derive_seed(seed, "batches"), block])
    shape = (STEPS_A_BLOCK, config.batch_size)
    if config.batching == "words":
        chosen = rng.integers(len(tape.starts), size=shape)
        return tape.starts[chosen], tape.lengths[chosen]
    check_windows(tape, config)
    # Position 0 is the END before the first word, which the article's stream does not have.
    starts = rng.integers(1, len(tape.tokens) - config.window, size=shape)
    return starts, np.full(shape, config.window)


class Source(Interface):
    """What batches come from. Any step can be had without the ones before it, and any part of it alone."""

    @property
    def mean_length(self) -> float:
        """Scored tokens of a word."""
        ...

    def rows(self, step: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of words first, ..., last - 1 of a step's batch, (last - first, T) int64, PAD where a word
        has ended; T is the longest of them."""
        ...


class Drawn:
    """Batches drawn with replacement from a tape: the same as those of the other engines."""

    def __init__(self, tape: Tape, config: TrainConfig, seed: int) -> None:
        self.tape, self.config, self.seed = tape, config, seed
        self.block: tuple[int, np.ndarray, np.ndarray] | None = None

    @property
    def mean_length(self) -> float:
        return self.tape.mean_length

    def rows(self, step: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        block, within = divmod(step, STEPS_A_BLOCK)
        if self.block is None or self.block[0] != block:
            self.block = (block, *draw(self.tape, self.config, self.seed, block))
        starts, lengths = (drawn[within, first:last] for drawn in self.block[1:])
        return self.tape.padded(starts, lengths, int(lengths.max()))
