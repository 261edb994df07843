"""Which words a list holds, and which of them train, told from 8 bytes a word. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rungwise.data.words import Vocabulary, WordList
from rungwise.errors import UserError
from rungwise.util.files import read_tensors, write_tensors
from rungwise.util.hashing import hash_words

KNOWN = "known.safetensors"

Part = Literal["training", "held out", "in the list", "new"]
"""Where a word is: among the training words; in the list, but only held out for validation or test; in the list of a
run that does not say which of its words trained; or nowhere."""
OF_A_SPLIT: dict[str, Part] = {"test": "held out", "validation": "held out"}
"""Results name the part of the split; their other names are those of Part."""
MARKS = {"training": "*", "held out": "°", "in the list": "*", "new": ""}
LEGEND = "* in training, ° held out, the others are new"


def marked(text: str, part: str | None = None) -> str:
    """A word as a line of several shows it: in quotes where it has a blank, and with the mark of its part."""
    shown = f'"{text}"' if any(map(str.isspace, text)) else text
    return shown + MARKS.get(part or "new", "")


class KnownWords:
    """A set of words, as their sorted 64-bit hashes.

    A word in the set is always found. Another is taken for one of n words with probability n / 2^64: below 10^-12
    for ten million.
    """

    def __init__(
        self, vocabulary: Vocabulary, hashes: np.ndarray | None = None, held_out: np.ndarray | None = None
    ) -> None:
        self.vocabulary = vocabulary
        self.hashes = np.empty(0, dtype=np.uint64) if hashes is None else hashes
        self.held_out = held_out
        """Those of them that do not train, sorted; None: not known."""

    @classmethod
    def of(cls, words: WordList, train: np.ndarray | None = None) -> KnownWords:
        """`train`: the indices of the words that train."""
        words = words.spelled  # whatever they are given
        hashes = hash_words(words.codes, words.offsets)
        known = np.unique(hashes)
        return cls(words.vocabulary, known, None if train is None else np.setdiff1d(known, hashes[train]))

    def __len__(self) -> int:
        return len(self.hashes)

    def hash(self, words: Sequence[str]) -> np.ndarray:
        """(words,) uint64. Symbols must be in the vocabulary."""
        return hash_words(*self.vocabulary.encode_all(words))

    def holds(self, hashes: np.ndarray) -> np.ndarray:
        """(words,) bool."""
        return _holds(self.hashes, hashes)

    def parts(self, hashes: np.ndarray) -> list[Part]:
        """Where each word is."""
        inside = "in the list" if self.held_out is None else "training"
        held_out = np.empty(0, dtype=np.uint64) if self.held_out is None else self.held_out
        found = zip(_holds(self.hashes, hashes), _holds(held_out, hashes), strict=True)
        return ["held out" if out else inside if known else "new" for known, out in found]

    def add(self, hashes: np.ndarray) -> None:
        self.hashes = np.union1d(self.hashes, hashes)

    def save(self, folder: Path) -> None:
        held_out = {} if self.held_out is None else {"held_out": self.held_out}
        write_tensors(folder / KNOWN, {"hashes": self.hashes, **held_out})

    @classmethod
    def load(cls, folder: Path, vocabulary: Vocabulary) -> KnownWords | None:
        """None where the run keeps none."""
        path = folder / KNOWN
        try:
            tensors, _ = read_tensors(path)
        except FileNotFoundError:
            return None
        found = [tensors.get("hashes"), *([tensors["held_out"]] if "held_out" in tensors else [])]
        if any(hashes is None or hashes.dtype != np.uint64 or hashes.ndim != 1 for hashes in found):
            raise UserError(f"{path} does not hold the words of a list.")
        return cls(vocabulary, *found)


def _holds(hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(wanted,) bool: is it among the sorted hashes?"""
    return np.searchsorted(hashes, wanted) < np.searchsorted(hashes, wanted, "right")
