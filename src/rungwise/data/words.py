"""Word lists: read one, its vocabulary, its split, its fingerprint. No torch here.

A list is kept as token ids in one compact integer array with offsets, never as Python strings, so that ten
million words need little more memory than their characters. Where the words come from: sources.py.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from importlib import resources
from itertools import count, islice
from pathlib import Path
from typing import IO

import numpy as np

from rungwise.config import ListConfig, Protocol
from rungwise.data import sources
from rungwise.data.sources import NAMES_SHA256 as NAMES_SHA256
from rungwise.data.sources import comparable
from rungwise.data.sources import names_path as names_path
from rungwise.data.tokens import Tokens
from rungwise.data.vocabulary import END as END
from rungwise.data.vocabulary import FIRST_CHARACTER as FIRST_CHARACTER
from rungwise.data.vocabulary import PAD as PAD
from rungwise.data.vocabulary import Vocabulary as Vocabulary
from rungwise.data.vocabulary import one_line
from rungwise.errors import UserError
from rungwise.util.files import local, portable
from rungwise.util.hashing import derive_seed, hash_words

DEFAULT = ListConfig()

UNLIKE_HEADER = "in rows with more or fewer cells than the header"
UNCONDITIONED = "without a condition"


@dataclass(frozen=True)
class Dropped:
    """What a source held that is not in the list, by the reason why."""

    long: int = 0
    """Words longer than the longest allowed."""
    broken: int = 0
    """Words that hold a line break: words are printed one a line."""
    blank: int = 0
    """Lines, or cells of a column, without a word."""
    misfit: int = 0
    """Rows of a table with more or fewer cells than its header."""
    unconditioned: int = 0
    """Rows whose cell of the condition is blank."""

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        """Behind a number of words: what was left out, blanks aside."""
        reasons = (
            (self.long, "too long"),
            (self.broken, "with a line break"),
            (self.misfit, UNLIKE_HEADER),
            (self.unconditioned, UNCONDITIONED),
        )
        return "".join(f", {n:,} {why} and dropped" for n, why in reasons if n)


@dataclass(frozen=True, eq=False)
class WordList:
    """Words as token ids: word i is codes[offsets[i] : offsets[i + 1]], without END. In a list with a condition the
    first of them is what the word is given."""

    name: str
    vocabulary: Vocabulary
    codes: np.ndarray
    """(characters of all words,) unsigned integers, as narrow as the vocabulary allows."""
    offsets: np.ndarray
    """(words + 1,) int64."""
    sha256: str
    """Of the bytes that were read, unpacked."""
    dropped: Dropped = field(default_factory=Dropped)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return self.vocabulary.decode(self.codes[self.offsets[i] : self.offsets[i + 1]])

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    @property
    def spelled(self) -> WordList:
        """The words alone, without what they are given."""
        return self._spelled if self.vocabulary.conditions else self

    @cached_property
    def _spelled(self) -> WordList:
        codes, offsets = np.delete(self.codes, self.offsets[:-1]), self.offsets - np.arange(len(self.offsets))
        return replace(self, vocabulary=replace(self.vocabulary, conditions=()), codes=codes, offsets=offsets)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(words,) int32 codes of each. Offsets may wrap around in the subtraction; differences do not."""
        return np.subtract(self.offsets[1:], self.offsets[:-1], dtype=np.int32, casting="same_kind")

    @property
    def max_length(self) -> int:
        return int(self.lengths.max())

    @property
    def block_size(self) -> int:
        """The longest sequence that a model of this list sees: a start or END, and the longest word."""
        return self.max_length + 1

    @cached_property
    def identities(self) -> np.ndarray:
        """(words,) integers: for each word the index where it stands first, so that equal words have equal numbers.

        Exact: words of one hash are compared, and where two differ, all is hashed anew with another salt.
        """
        index = np.int32 if len(self) < 2**31 else np.int64
        for salt in count():
            hashes = hash_words(self.codes, self.offsets, salt)
            order = np.argsort(hashes, kind="stable").astype(index)  # stable: of equal words, the first comes first
            hashes = hashes[order]
            begins = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]])
            found = np.empty(len(self), dtype=index)
            found[order] = np.repeat(order[begins], np.diff(begins, append=len(order)))
            repeated = np.flatnonzero(found != np.arange(len(self), dtype=index))
            if self._equal(repeated, found[repeated]):
                return found
        raise AssertionError  # count() has no end

    def _equal(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Are the words at `a` those at `b`, pair by pair?"""
        lengths = self.lengths[a]
        if (lengths != self.lengths[b]).any():
            return False
        for t in range(int(lengths.max(initial=0))):
            longer = lengths > t
            if (self.codes[self.offsets[a[longer]] + t] != self.codes[self.offsets[b[longer]] + t]).any():
                return False
        return True

    @property
    def firsts(self) -> np.ndarray:
        """Indices of the distinct words, each where it stands first, in the list's order."""
        return np.flatnonzero(self.identities == np.arange(len(self), dtype=self.identities.dtype))

    def first_counts(self, indices: np.ndarray) -> np.ndarray:
        """(V,) int64: how often each token id begins one of the words at `indices`."""
        return np.bincount(self.codes[self.offsets[indices]], minlength=len(self.vocabulary))

    def find(self, word: str) -> np.ndarray:
        """Indices of a word in the list, whatever it is given: none, one, or several where it is repeated. `word`: any
        text (comparable)."""
        word = comparable(word)
        if not word or not self.vocabulary.spells(word):
            return np.empty(0, dtype=np.int64)
        ids = self.vocabulary.encode(word)
        given = int(bool(self.vocabulary.conditions))
        candidates = np.flatnonzero(self.lengths == given + len(ids))
        spelled = self.codes[self.offsets[candidates][:, None] + given + np.arange(len(ids))]
        return candidates[(spelled == ids).all(axis=1)]

    def at(self, indices: np.ndarray) -> WordList:
        """The words at `indices` alone, in the same vocabulary."""
        lengths = self.lengths[indices]
        ends = lengths.cumsum(dtype=np.int64)
        within = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        codes = self.codes[np.repeat(self.offsets[indices], lengths) + within]
        return replace(self, codes=codes, offsets=np.concatenate([[0], ends]))

    def in_vocabulary(self, vocabulary: Vocabulary) -> tuple[WordList, np.ndarray]:
        """The words that another vocabulary can spell, in it; and for each word here, (words,) bool, if it cannot, or
        does not know what the word is given."""
        given = {value: i for i, value in enumerate(vocabulary.conditions, vocabulary.first_condition)}
        symbols = (vocabulary.ids.get(symbol, PAD) for symbol in self.vocabulary.characters)
        table = np.array([PAD, END, *symbols, *(given.get(value, PAD) for value in self.vocabulary.conditions)])
        unknown = (table == PAD) & (np.arange(len(table)) != PAD)
        strange = np.logical_or.reduceat(unknown[self.codes], self.offsets[:-1])
        codes = table.astype(np.min_scalar_type(len(vocabulary)))[self.codes[np.repeat(~strange, self.lengths)]]
        offsets = np.concatenate([[0], self.lengths[~strange].cumsum(dtype=np.int64)])
        return replace(self, vocabulary=vocabulary, codes=codes, offsets=offsets), strange


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a word list: what is trained on, what choices are made on, what is scored once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(words: WordList, protocol: Protocol, seed: int = 0) -> Split:
    """Divide a list as the protocol says, at random by `seed`. Every part that the protocol asks for gets a word."""
    spelled = words.spelled  # one that is given two things is one word: else its spelling would be on both sides
    pool = spelled.firsts if protocol.distinct else np.arange(len(words))
    n_test = round(len(pool) * protocol.test_fraction)
    if protocol.max_test_words is not None:
        n_test = min(n_test, protocol.max_test_words)
    n_test, n_val = max(n_test, 1), round(len(pool) * protocol.val_fraction)
    if protocol.val_fraction:
        n_val = max(n_val, 1)
    if len(pool) <= n_test + n_val:
        kind = "distinct words" if protocol.distinct else "words"
        raise UserError(
            f"{words.name} holds {len(pool)} {kind}; protocol {protocol.name} needs at least {n_test + n_val + 1} "
            "to train on some and test on others."
        )
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(pool)
    parts = order[n_test + n_val :], order[n_test : n_test + n_val], order[:n_test]
    if protocol.distinct and words is not spelled:  # each word with all that it is given
        by_word = words.firsts[np.argsort(spelled.identities[words.firsts], kind="stable")]
        same = spelled.identities[by_word]
        parts = [by_word[np.isin(same, part)] for part in parts]
        parts = [np.random.default_rng(derive_seed(seed, "split")).permutation(part) for part in parts]
    return Split(*parts)


def describe(words: WordList, parts: Split) -> str:
    """The first line of every command's output."""
    sizes = " / ".join(f"{len(part):,} {name}" for name, part in vars(parts).items() if len(part))
    return (
        f"{words.name}: {len(words):,} words, {len(words.firsts):,} distinct{words.dropped}; {sizes}; "
        f"vocabulary {len(words.vocabulary)} ({words.vocabulary.told}, END, PAD)"
    )


def load(source: str | ListConfig = "auto", tokens: Tokens | None = None) -> WordList:
    """A word list by name or path, or as a configuration says. `tokens`: those of a run, which may not know all.

    `given-names` is bundled; `names` is the article's list (from $RUNGWISE_DATA_DIR, the cache, or a checked
    download); `auto` is `names` if it can be had, else `given-names`; `-` is standard input; else a file's path.
    """
    how = ListConfig(source) if isinstance(source, str) else source
    if (how.column is not None or how.condition is not None) and how.data in ("auto", "names", "given-names"):
        flag = "--column" if how.condition is None else "--condition"
        raise UserError(f"The list {how.data} has no columns: {flag} needs a table.")
    plain = how.replace(encoding="utf-8", column=None, condition=None)
    if how.data == "auto":
        try:
            return load(plain.replace(data="names"), tokens)
        except UserError as error:
            print(f"The article's list cannot be had ({error}) Using given-names.", file=sys.stderr)
            return load(plain.replace(data="given-names"), tokens)
    if how.data == "given-names":
        with resources.files("rungwise").joinpath("data/given-names.txt").open("rb") as stream:
            return read(stream, how.data, plain, tokens)
    if how.data == "-":
        if sys.stdin is None:
            raise UserError("Standard input is closed.")
        return read(sys.stdin.buffer, "standard input", how, tokens)
    try:
        path = names_path() if how.data == "names" else Path(local(how.data))
        with path.open("rb") as stream:
            return read(stream, how.data if how.data == "names" else portable(path.name), how, tokens)
    except FileNotFoundError:
        hint = "give a file's path, given-names, names, auto, or - for standard input."
        raise UserError(f"No word list at {how.data!r}; {hint}") from None
    except OSError as error:
        raise UserError(f"Cannot read {how.data!r}: {error.strerror or error}.") from None
    except UserError:
        raise
    except ValueError as error:  # a path with a zero byte
        raise UserError(f"No word list at {how.data!r}: {error}.") from None


def read(stream: IO[bytes], name: str, how: ListConfig = DEFAULT, tokens: Tokens | None = None) -> WordList:
    """Read words, one a line or from one column of a table, each as comparable() has it; blank lines are left out.

    Words longer than `how.max_length` symbols, and of a table those that hold a line break and rows that do not
    fit the header, are dropped and counted, never cut.
    """
    digest = hashlib.sha256()
    return _encode(sources.blocks(stream, name, how, digest), name, how, digest, tokens)


def from_words(
    words: Iterable[str], name: str = "words", how: ListConfig = DEFAULT, tokens: Tokens | None = None
) -> WordList:
    """A word list from strings in Python, as read() makes one of a file that holds one a line.

    A set, which Python orders anew in every process, is taken in the order of its characters.
    """
    digest = hashlib.sha256()
    if how.condition is not None:
        raise UserError(f"{name} are words alone: --condition needs a table, by its name.")
    try:
        iterator = iter(sorted(words, key=str) if isinstance(words, set | frozenset) else words)
    except TypeError:
        raise UserError(f"{name} must be many strings, but is {words!r}.") from None

    def blocks() -> Iterator[sources.Block]:
        n = 0
        while block := list(islice(iterator, sources.ROWS_A_BLOCK)):
            for i, word in enumerate(block, n + 1):
                if not isinstance(word, str):
                    raise UserError(f"{name}: each must be a string, but number {i:,} is {word!r}.")
            n += len(block)
            digest.update("".join(f"{word}\n" for word in block).encode("utf-8", "surrogatepass"))
            yield block

    return _encode(blocks(), name, how, digest, tokens)


def clean(block: sources.Block, how: ListConfig, tokens: Tokens) -> tuple[list[Sequence[str]], Dropped]:
    """The words of some lines or cells, each as comparable() has it, split into symbols; and what of them is no word
    of a list."""
    cells = [cell.lower() if how.lowercase else cell for cell in block if cell is not None]
    words = [word for cell in cells if (word := comparable(cell))]
    split = tokens.split_all([word for word in words if "\n" not in word and "\r" not in word])
    kept = [word for word in split if len(word) <= how.max_length]
    return kept, Dropped(
        len(split) - len(kept), len(words) - len(split), len(cells) - len(words), len(block) - len(cells)
    )


def _encode(
    blocks: Iterable[sources.Block], name: str, how: ListConfig, digest: hashlib._Hash, known: Tokens | None
) -> WordList:
    tokens = known or Tokens.of(how.tokens)
    numbers: dict[str, int] = {}  # symbol -> provisional id, in the order of appearance
    codes, lengths, dropped, given = [], [], Dropped(), list[str]()
    for block in blocks:
        if how.condition is not None:
            block, mine, blank = _conditions(block, how, tokens)
            given, dropped = given + mine, dropped + Dropped(unconditioned=blank)
        kept, left_out = clean(block, how, tokens)
        dropped += left_out
        seen, inverse = tokens.encode(kept, name)
        if known is None:
            tokens.require(seen, kept, name)
        ids = np.array([numbers.setdefault(symbol, len(numbers)) for symbol in seen], dtype=np.uint32)
        codes.append(ids.astype(np.min_scalar_type(len(numbers)))[inverse])
        lengths.append(np.fromiter(map(len, kept), dtype=np.min_scalar_type(how.max_length), count=len(kept)))
    offsets = np.concatenate([np.zeros(1, dtype=np.uint8), *lengths]).cumsum(dtype=np.int64)
    if len(offsets) == 1:
        kinds = (
            (dropped.long, tokens.say(f" of at most {how.max_length} characters")),
            (dropped.broken, " on one line"),
            (dropped.misfit, " in rows with as many cells as the header"),
            (dropped.unconditioned, " with a condition"),
        )
        raise UserError(f"{name} holds no words{next((kind for n, kind in kinds if n), '')}.")
    symbols = sorted(numbers)
    final = np.empty(len(symbols), dtype=np.min_scalar_type(len(symbols) + FIRST_CHARACTER))
    final[[numbers[symbol] for symbol in symbols]] = np.arange(len(symbols)) + FIRST_CHARACTER
    joined, position = np.empty(offsets[-1], dtype=final.dtype), 0
    codes.reverse()
    while codes:  # each piece is let go once it is copied, so that memory holds the list once
        piece = final[codes.pop()]
        joined[position : position + len(piece)] = piece
        position += len(piece)
    listed = WordList(name, Vocabulary.of(symbols, tokens), joined, offsets, digest.hexdigest(), dropped)
    return listed if how.condition is None else _given(listed, given)


def _conditions(block: sources.Block, how: ListConfig, tokens: Tokens) -> tuple[list[str | None], list[str], int]:
    """Of (word, condition) pairs: the words that have one; the condition of each of them that clean() keeps; and how
    many have none."""
    pairs = [(pair[0], one_line(pair[1])) if pair else (None, "") for pair in block]
    marked = [(word, value) for word, value in pairs if value or word is None or not comparable(word)]
    given = [value for word, value in marked if clean([word], how, tokens)[0]]
    return [word for word, _ in marked], given, len(pairs) - len(marked)


def _given(listed: WordList, conditions: list[str]) -> WordList:
    """The same words, each with its condition before it."""
    values, which = np.unique(np.array(conditions, dtype=object), return_inverse=True)
    vocabulary = replace(listed.vocabulary, conditions=tuple(values.tolist()))
    narrow = np.min_scalar_type(len(vocabulary))
    ids = (which + vocabulary.first_condition).astype(narrow)
    codes = np.insert(listed.codes.astype(narrow), listed.offsets[:-1], ids)
    offsets = listed.offsets + np.arange(len(listed.offsets))
    return replace(listed, vocabulary=vocabulary, codes=codes, offsets=offsets)
