"""Letters, n-grams and pieces of words as arrays. No torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from rungwise.util.hashing import mix64
from rungwise.util.progress import Bar, silent

NEAREST_AT_ONCE = 64
"""Words whose distances to all others are in memory together."""


def folded(word: str) -> str:
    """Without case and accents."""
    letters = unicodedata.normalize("NFD", word)
    return "".join(c for c in letters if unicodedata.category(c) != "Mn").casefold()


Things = tuple[np.ndarray, np.ndarray]
"""What is counted, as numbers, and the word that each is in."""


class Tape:
    """Words one after the other as code points, each with a 0 before and behind it."""

    def __init__(self, words: Sequence[str]) -> None:
        self.lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        self.codes = np.frombuffer(("\0" + "\0\0".join(words) + "\0").encode("utf-32-le"), dtype="<u4")
        self.word = np.repeat(np.arange(len(words)), self.lengths + 2)
        """(codes,) which word each is of."""

    def things(self, n: int) -> Things:
        """Each n-gram as a number, and the word that it is in; beginnings and ends of words are marked. n is 1 to 3; of
        1, letters alone; of 0, the lengths of words."""
        if n == 0:
            return self.lengths.astype(np.uint64), np.arange(len(self.lengths))
        if n == 1:
            letters = self.codes > 0
            return self.codes[letters].astype(np.uint64), self.word[letters]
        last = len(self.codes) - n + 1
        found = np.zeros(last, dtype=np.uint64)
        for i in range(n):  # a code point has 21 bits
            found = (found << np.uint64(21)) | self.codes[i : i + last]
        whole = self.word[:last] == self.word[n - 1 :]
        return found[whole], self.word[:last][whole]


class Spread:
    """How often each kind of thing (a length, a letter, an n-gram) is in a word list, to compare with another's."""

    def __init__(self, reference: Things, others: Sequence[Things]) -> None:
        kinds, numbers = np.unique(np.concatenate([reference[0], *(o[0] for o in others)]), return_inverse=True)
        edges = np.cumsum([len(reference[0]), *(len(o[0]) for o in others)])
        own, *rest = np.split(numbers, edges[:-1])
        self.reference = np.bincount(own, minlength=len(kinds)) / len(own)
        self.others = [(n, o[1]) for n, o in zip(rest, others, strict=True)]

    def distance(self, which: int, times: np.ndarray) -> float:
        """Jensen-Shannon divergence in bits between the reference and another list whose word i counts times[i]."""
        numbers, word = self.others[which]
        q = np.bincount(numbers, times[word], minlength=len(self.reference))
        return divergence(self.reference, q / q.sum()) if q.any() else 1.0


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon, in bits: 0 for equal distributions, 1 for distributions that have nothing in common."""
    middle = (p + q) / 2
    parts = [float((x[x > 0] * np.log2(x[x > 0] / middle[x > 0])).sum()) for x in (p, q)]
    return max(0.0, sum(parts) / 2)


def longest_shared(words: Sequence[str], reference: Sequence[str]) -> np.ndarray:
    """(words,) characters of the longest piece that each has in common with any word of the reference.

    Pieces are compared by 64-bit hashes. A piece of n characters is there only where its first n - 1 are.
    """
    own, other = Tape(words), Tape(reference)
    found = np.zeros(len(words), dtype=np.int64)
    hashes = [np.zeros(len(tape.codes), dtype=np.uint64) for tape in (own, other)]
    open_ = own.codes > 0
    for n in range(1, int(own.lengths.max(initial=0)) + 1):
        ends = []
        for i, tape in enumerate((own, other)):
            last = len(tape.codes) - n + 1
            if last < 1:
                return found
            letters = mix64(tape.codes[n - 1 :].astype(np.uint64) + np.uint64(1))
            hashes[i] = mix64(hashes[i][:last] * np.uint64(3) + letters)
            ends.append((tape.codes[n - 1 :] > 0, last))
        inside, last = ends[0]
        open_ = open_[:last] & inside
        theirs, there = ends[1]
        reading = other.codes[:there] > 0
        same = reading & theirs & (other.word[:there] == other.word[n - 1 :])
        open_ &= own.word[:last] == own.word[n - 1 :]
        at = np.flatnonzero(open_)
        hit = at[np.isin(hashes[0][at], np.unique(hashes[1][same]))]
        if not len(hit):
            break
        found[own.word[hit]] = n
        open_ = np.zeros(last, dtype=bool)
        open_[hit] = True
    return found


def nearest(words: Sequence[str], reference: Sequence[str], workers: int, bar: Bar = silent) -> np.ndarray:
    """(words,) edits (Levenshtein) to the nearest word of the reference. Needs RapidFuzz."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    found = np.zeros(len(words))
    with bar(len(words), what="words") as advance:
        for i in range(0, len(words), NEAREST_AT_ONCE):
            some = slice(i, i + NEAREST_AT_ONCE)
            edits = process.cdist(words[some], reference, scorer=Levenshtein.distance, workers=workers)
            found[some] = edits.min(axis=1)
            advance(min(len(words), i + NEAREST_AT_ONCE), "compared with every training word")
    return found


def pairwise(words: Sequence[str], others: Sequence[str], workers: int) -> np.ndarray:
    """(pairs,) edits of each pair as a share of the longer word. Needs RapidFuzz."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    return process.cpdist(words, others, scorer=Levenshtein.normalized_distance, dtype=np.float64, workers=workers)
