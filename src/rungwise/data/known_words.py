"""Which words a list holds, told from 8 bytes a word: for `rungwise sample --new-only` and --unique. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rungwise.data.words import Vocabulary, WordList
from rungwise.errors import UserError
from rungwise.util.files import read_tensors, write_tensors
from rungwise.util.hashing import hash_words

KNOWN = "known.safetensors"


class KnownWords:
    """A set of words, as their sorted 64-bit hashes.

    A word in the set is always found. Another is taken for one of n words with probability n / 2^64: below 10^-12
    for ten million.
    """

    def __init__(self, vocabulary: Vocabulary, hashes: np.ndarray | None = None) -> None:
        self.vocabulary = vocabulary
        self.hashes = np.empty(0, dtype=np.uint64) if hashes is None else hashes

    @classmethod
    def of(cls, words: WordList) -> KnownWords:
        return cls(words.vocabulary, np.unique(hash_words(words.codes, words.offsets)))

    def __len__(self) -> int:
        return len(self.hashes)

    def hash(self, words: Sequence[str]) -> np.ndarray:
        """(words,) uint64. Characters must be in the vocabulary."""
        offsets = np.concatenate([[0], np.cumsum([len(word) for word in words], dtype=np.int64)])
        return hash_words(self.vocabulary.encode("".join(words)), offsets)

    def holds(self, hashes: np.ndarray) -> np.ndarray:
        """(words,) bool."""
        if not len(self.hashes):
            return np.zeros(len(hashes), dtype=bool)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return self.hashes[at] == hashes

    def add(self, hashes: np.ndarray) -> None:
        self.hashes = np.union1d(self.hashes, hashes)

    def save(self, folder: Path) -> None:
        write_tensors(folder / KNOWN, {"hashes": self.hashes})

    @classmethod
    def load(cls, folder: Path, vocabulary: Vocabulary) -> KnownWords | None:
        """None where the run keeps none."""
        path = folder / KNOWN
        try:
            hashes = read_tensors(path)[0].get("hashes")
        except FileNotFoundError:
            return None
        if hashes is None or hashes.dtype != np.uint64 or hashes.ndim != 1:
            raise UserError(f"{path} does not hold the words of a list.")
        return cls(vocabulary, hashes)
