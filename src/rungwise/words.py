"""Word lists: find one, read it, its vocabulary, its split, its fingerprint. No torch here.

A list is kept as token ids in one compact integer array with offsets, never as Python strings, so that ten
million words need little more memory than their characters.
"""

from __future__ import annotations

import hashlib
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import IO

import numpy as np

from rungwise.config import Protocol, UserError, derive_seed

PAD, END = 0, 1
"""Token ids, never characters: a list may hold any character. END also starts a word where a start is fed."""
FIRST_CHARACTER = 2

NAMES_URL = "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"
NAMES_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a list in code-point order; a character's id is its place plus FIRST_CHARACTER."""

    characters: str

    def __len__(self) -> int:
        return FIRST_CHARACTER + len(self.characters)

    def encode(self, word: str) -> np.ndarray:
        """The ids of a word's characters, (len(word),) int64, without END. A character unknown here is an error."""
        ids = [self.characters.find(character) for character in word]
        if -1 in ids:
            character = word[ids.index(-1)]
            known = self.characters if len(self.characters) <= 80 else self.characters[:80] + "..."
            raise UserError(f"{character!r} in {word!r} is not in the alphabet of the training list: {known}")
        return np.array(ids, dtype=np.int64) + FIRST_CHARACTER

    def decode(self, ids: Iterable[int]) -> str:
        """The word up to END; PAD is skipped."""
        characters = []
        for i in ids:
            if i == END:
                break
            if i != PAD:
                characters.append(self.characters[i - FIRST_CHARACTER])
        return "".join(characters)


@dataclass(frozen=True, eq=False)
class WordList:
    """Words as token ids: word i is codes[offsets[i] : offsets[i + 1]], without END."""

    name: str
    vocabulary: Vocabulary
    codes: np.ndarray
    """(characters of all words,) unsigned integers, as narrow as the vocabulary allows."""
    offsets: np.ndarray
    """(words + 1,) int64."""
    sha256: str
    """Of the bytes that were read."""
    too_long: int = 0
    """Words dropped because they were longer than the longest allowed."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return self.vocabulary.decode(self.codes[self.offsets[i] : self.offsets[i + 1]])

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @property
    def max_length(self) -> int:
        return int(self.lengths.max())

    @property
    def block_size(self) -> int:
        """The longest sequence that a model of this list sees: a start or END, and the longest word."""
        return self.max_length + 1

    @cached_property
    def identities(self) -> np.ndarray:
        """(words,) int64: for each word the index where it stands first, so that equal words have equal numbers."""
        found = np.empty(len(self), dtype=np.int64)
        for length in np.unique(self.lengths):  # words of one length are rows of a matrix: exact, and no strings
            of_length = np.flatnonzero(self.lengths == length)
            rows = np.ascontiguousarray(self.codes[self.offsets[of_length][:, None] + np.arange(length)])
            as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * int(length)))).ravel()
            _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
            found[of_length] = of_length[first][inverse]
        return found

    @property
    def firsts(self) -> np.ndarray:
        """Indices of the distinct words, each where it stands first, in the list's order."""
        return np.flatnonzero(self.identities == np.arange(len(self)))

    def first_counts(self, indices: np.ndarray) -> np.ndarray:
        """(V,) int64: how often each token id begins one of the words at `indices`."""
        return np.bincount(self.codes[self.offsets[indices]], minlength=len(self.vocabulary))

    def find(self, word: str) -> np.ndarray:
        """Indices of a word in the list: none, one, or several where it is repeated."""
        if not word or not set(word) <= set(self.vocabulary.characters):
            return np.empty(0, dtype=np.int64)
        candidates = np.flatnonzero(self.lengths == len(word))
        spelled = self.codes[self.offsets[candidates][:, None] + np.arange(len(word))]
        return candidates[(spelled == self.vocabulary.encode(word)).all(axis=1)]

    def rows(self, indices: np.ndarray, width: int) -> np.ndarray:
        """The words at `indices`, each followed by END and then PAD: (..., width) int64."""
        columns = np.arange(width)
        start, length = self.offsets[indices][..., None], self.lengths[indices][..., None]
        inside = np.minimum(start + columns, len(self.codes) - 1)
        tail = np.where(columns == length, END, PAD)
        return np.where(columns < length, self.codes[inside].astype(np.int64), tail)


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a word list: what is trained on, what choices are made on, what is scored once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(words: WordList, protocol: Protocol, seed: int = 0) -> Split:
    """Divide a list as the protocol says, at random by `seed`. Every part that the protocol asks for gets a word."""
    pool = words.firsts if protocol.distinct else np.arange(len(words))
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
    return Split(train=order[n_test + n_val :], validation=order[n_test : n_test + n_val], test=order[:n_test])


def describe(words: WordList, parts: Split) -> str:
    """The first line of every command's output."""
    sizes = [f"{len(parts.train):,} train"]
    if len(parts.validation):
        sizes.append(f"{len(parts.validation):,} validation")
    sizes.append(f"{len(parts.test):,} test")
    dropped = f", {words.too_long:,} too long and dropped" if words.too_long else ""
    return (
        f"{words.name}: {len(words):,} words, {len(words.firsts):,} distinct{dropped}; {' / '.join(sizes)}; "
        f"vocabulary {len(words.vocabulary)} ({len(words.vocabulary.characters)} characters, END, PAD)"
    )


def load(source: str = "auto", max_length: int = 64) -> WordList:
    """A word list by name or path.

    `given-names` is bundled; `names` is the article's list (from $RUNGWISE_DATA_DIR, the cache, or a checked
    download); `auto` is `names` if it can be had, else `given-names`; `-` is standard input; else a file's path.
    """
    if source == "auto":
        try:
            return load("names", max_length)
        except UserError as error:
            print(f"The article's list cannot be had ({error}) Using given-names.", file=sys.stderr)
            return load("given-names", max_length)
    if source == "given-names":
        with resources.files("rungwise").joinpath("data/given-names.txt").open("rb") as stream:
            return read(stream, source, max_length)
    if source == "-":
        return read(sys.stdin.buffer, "standard input", max_length)
    path = names_path() if source == "names" else Path(source)
    try:
        with path.open("rb") as stream:
            return read(stream, source if source == "names" else path.name, max_length)
    except FileNotFoundError:
        hint = "give a file's path, given-names, names, auto, or - for standard input."
        raise UserError(f"No word list at {source!r}; {hint}") from None
    except OSError as error:
        raise UserError(f"Cannot read {source!r}: {error.strerror}.") from None


def names_path(url: str = NAMES_URL, sha256: str = NAMES_SHA256, timeout: float = 10) -> Path:
    """Where the article's list lies: $RUNGWISE_DATA_DIR, the user's cache, or there after a download.

    The SHA-256 is checked wherever it comes from; a file that differs is refused.
    """
    if folder := os.environ.get("RUNGWISE_DATA_DIR"):
        path = Path(folder) / "names.txt"
        if path.is_file():
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                raise UserError(
                    f"{path} is not the article's list (SHA-256 differs); remove it, or give it as --data {path}."
                )
            return path
    import pooch  # loads requests: only here

    pooch.get_logger().setLevel("ERROR")
    cache = Path(pooch.os_cache("rungwise"))
    try:
        found = pooch.retrieve(url, f"sha256:{sha256}", "names.txt", cache, pooch.HTTPDownloader(timeout=timeout))
    except ValueError:  # pooch's word for a hash that differs; it keeps nothing
        raise UserError(f"What {url} sent is not the article's list (SHA-256 differs); nothing was kept.") from None
    except OSError as error:  # requests' errors are OSErrors
        raise UserError(
            f"no download from {url}: {type(error).__name__}; set RUNGWISE_DATA_DIR to a folder with names.txt."
        ) from None
    return Path(found)


def read(stream: IO[bytes], name: str, max_length: int = 64) -> WordList:
    """Read words, one a line: UTF-8, with or without a byte-order mark; blank lines and outer spaces are dropped.

    Words are brought to Unicode's composed form (NFC), so that one word has one spelling. Words longer than
    `max_length` characters are dropped and counted, never cut.
    """
    digest, too_long, characters = hashlib.sha256(), 0, {}  # characters: code point -> provisional id
    codes, lengths = [], []
    for text in _decoded_blocks(stream, name, digest):
        words = [word for line in unicodedata.normalize("NFC", text).split("\n") if (word := line.strip())]
        kept = [word for word in words if len(word) <= max_length]
        too_long += len(words) - len(kept)
        points = np.frombuffer("".join(kept).encode("utf-32-le"), dtype=np.uint32)
        seen, inverse = np.unique(points, return_inverse=True)
        ids = np.array([characters.setdefault(int(point), len(characters)) for point in seen], dtype=np.uint32)
        codes.append(ids[inverse].astype(np.min_scalar_type(len(characters))) if len(seen) else ids.astype(np.uint8))
        lengths.append(np.fromiter(map(len, kept), dtype=np.int32, count=len(kept)))
    offsets = np.concatenate([[0], *lengths]).cumsum(dtype=np.int64)
    if len(offsets) == 1:
        raise UserError(f"{name} holds no words" + (f" of at most {max_length} characters." if too_long else "."))
    order = np.argsort(np.fromiter(characters, dtype=np.int64, count=len(characters)))
    final = np.empty(len(order), dtype=np.min_scalar_type(len(order) + FIRST_CHARACTER))
    final[order] = np.arange(len(order)) + FIRST_CHARACTER
    vocabulary = Vocabulary("".join(map(chr, sorted(characters))))
    return WordList(name, vocabulary, np.concatenate([final[c] for c in codes]), offsets, digest.hexdigest(), too_long)


def _decoded_blocks(stream: IO[bytes], name: str, digest: hashlib._Hash) -> Iterator[str]:
    """Blocks of whole lines, so that memory does not grow with the file. Says where bytes are not UTF-8."""
    n_lines = 0
    while lines := stream.readlines(BLOCK_BYTES):
        block = b"".join(lines)
        digest.update(block)
        skipped = 3 if not n_lines and block.startswith(b"\xef\xbb\xbf") else 0
        try:
            yield block[skipped:].decode()
        except UnicodeDecodeError as error:
            before = block[: error.start + skipped]
            line, byte = n_lines + before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
            raise UserError(
                f"{name} is not UTF-8: line {line}, byte {byte} of the line; convert it first (iconv)."
            ) from None
        n_lines += len(lines)
