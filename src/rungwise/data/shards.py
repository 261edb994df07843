"""Lists of words that no memory holds: Parquet shards, read a row group at a time, again and again. No torch here.

`survey` reads all shards once and keeps what is small: the alphabet, counts, how many training words each row group
holds, and the held-out words themselves. Batches are then dealt from the row groups (stream.py).

Whether a word is held out is a hash of its characters, so that a repeated word never stands on both sides of the split,
without any memory of which words there were. Repeats within the training words stay: to know them, one would have to
remember all.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rungwise.config import Config, ListConfig, get_protocol
from rungwise.config.fields import check
from rungwise.data.sources import BLOCK_BYTES, Block
from rungwise.data.tokens import Tokens, code_points, texts
from rungwise.data.words import Dropped, Vocabulary, WordList, clean, from_words
from rungwise.errors import UserError, require_known
from rungwise.util.files import doing, local, portable
from rungwise.util.hashing import derive_seed, hash_words
from rungwise.util.loading import need

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

HELD_OUT = 100_000
"""About so many validation words, and as many test words, or a tenth each of a shorter list: they are in memory."""
SAMPLED = 200_000
"""About so many training words, whose loss is told at the end."""
ROWS_AT_ONCE = 1 << 16
LARGEST_GROUP = 1 << 23
"""A lane has a row group in memory, some twenty bytes a word."""
FOOTER = 1 << 16
"""Bytes at the end of a shard by which it is known again: sizes, places and extremes of its columns stand there."""
PROTOCOL = get_protocol("strict")
PARTS = ("validation", "test", "train")


def are_meant(data: str) -> bool:
    """Does --data name shards rather than one list? A directory, or a pattern that is no file's own name."""
    try:
        path = Path(local(data))
        return path.is_dir() or (bool(set("*?[") & set(data)) and not path.exists())
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Shards(Config):
    """What is known of a list in shards after it was read once; JSON values only."""

    name: str
    files: list[str]
    marks: list[str]
    """Size and a hash of the end of each file, by which it is known again."""
    column: str
    max_length: int
    sha256: str
    """Of all bytes of all files, one after the other."""
    characters: str | list[str]
    """As Vocabulary.to_json() has them."""
    longest: int
    """Symbols of the longest word."""
    n_words: int
    n_characters: int
    """Symbols of the training words."""
    dropped: Dropped
    held_out: float
    """Share of the distinct words in the validation and in the test part."""
    groups: list[tuple[int, int, int]]
    """Row groups: file, number in it, training words."""
    lowercase: bool = False
    tokens: str | list[str] = "chars"
    """As Tokens.to_json() has it."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "shards") -> Self:
        found: Self = check(cls, dict(values), where)
        return found.replace(name=values["name"], files=values["files"])  # with bytes that are not UTF-8

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.characters, Tokens.from_json(self.tokens))

    @property
    def n_train(self) -> int:
        return sum(n for _, _, n in self.groups)

    @property
    def mean_length(self) -> float:
        """Scored tokens of a training word: its characters and the end."""
        return self.n_characters / self.n_train + 1

    def check(self) -> None:
        """The shards must be those that were read."""
        if len(self.files) != len(self.marks):
            raise UserError(f"The run was begun with {len(self.marks):,} shards, but here are {len(self.files):,}.")
        for path, mark in zip(self.files, self.marks, strict=True):
            if _mark(path) != mark:
                raise UserError(f"{path} is not the shard that the run was begun with: it was written anew.")

    def describe(self, held_out: Mapping[str, WordList]) -> str:
        return (
            f"{self.name}: {self.n_words:,} words in {len(self.files):,} shards{self.dropped}; {self.n_train:,} train "
            f"(repeats stay) / {len(held_out['validation']):,} validation / {len(held_out['test']):,} test; "
            f"vocabulary {len(self.vocabulary)} ({self.vocabulary.told}, END, PAD)"
        )


def _mark(path: str) -> str:
    with doing(f"read {path}"), Path(path).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - FOOTER))
        return f"{size} {hashlib.sha256(file.read()).hexdigest()}"


def find(data: str) -> list[str]:
    """The shards that are meant, in the order of their names."""
    data = local(data)
    path = Path(data)
    pattern = str(Path(glob.escape(data)) / "*.parquet") if path.is_dir() else data
    found = sorted(str(Path(name).resolve()) for name in glob.glob(pattern))  # noqa: PTH207  a pattern with folders
    if not found:
        where = f"{data} holds" if path.is_dir() else f"{data!r} matches"
        raise UserError(f"{where} no Parquet shards: give a directory with *.parquet files, or a pattern.")
    return found


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """What goes wrong with a shard is one line."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def _open(path: str, column: str) -> ParquetFile:
    """A shard whose column was found to hold text."""
    pq, types = (need(f"pyarrow.{part}", "Parquet shards need", "stream") for part in ("parquet", "types"))
    with _reading(path):
        file = pq.ParquetFile(Path(path).open("rb"))  # noqa: SIM115  opened here: it takes no path that is not UTF-8
        schema = file.schema_arrow
        require_known(column, schema.names, f"{path} has no column")
        kind = schema.field(column).type
        text = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(text) or types.is_large_string(text)):
            raise UserError(f"{path}: column {column!r} holds {kind}, not text.")
    return file


def _rows(path: str, column: str) -> int:
    """How many rows a shard has; its metadata tell."""
    with _open(path, column) as file:
        largest = max((file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)), default=0)
        if largest > LARGEST_GROUP:
            raise UserError(
                f"{path} has a row group of {largest:,} rows, more than should be in memory at once; write it with at "
                f"most {LARGEST_GROUP:,} (pyarrow: row_group_size=1_000_000)."
            )
        return file.metadata.num_rows


def _blocks(file: ParquetFile, path: str, group: int, column: str) -> Iterator[Block]:
    """The words of a row group as they stand there."""
    batches = file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[column])
    while True:
        with _reading(path):
            if (batch := next(batches, None)) is None:
                return
            words = batch.column(0).to_pylist()
        yield [word or "" for word in words]


def _lengths(words: Sequence[Sequence[str]]) -> np.ndarray:
    return np.fromiter(map(len, words), dtype=np.int64, count=len(words))


def _where(words: list[str], name: str) -> np.ndarray:
    """(words,) a place in [0, 1) by a hash of each word's characters, whatever its symbols: 64 bits, as a float."""
    offsets = np.concatenate([[0], _lengths(words).cumsum()])
    return hash_words(code_points(words, name), offsets, derive_seed(0, "split")).astype(np.float64) / 2.0**64


# ----------------------------------------------------------------------------------------------- reading all, once


class _Survey:
    """What is gathered while all shards are read once."""

    def __init__(self, held_out: float, sampled: float, config: ListConfig) -> None:
        self.held_out, self.sampled, self.config, self.tokens = held_out, sampled, config, Tokens.of(config.tokens)
        self.symbols: set[str] = set()
        self.firsts: Counter[str] = Counter()
        self.dropped, self.n_words, self.n_characters, self.longest = Dropped(), 0, 0, 0
        self.parts: dict[str, dict[str, None]] = {part: {} for part in PARTS}  # each word once, in order

    def take(self, block: Block, name: str) -> int:
        """Count some words; how many of them are to train on."""
        words, left_out = clean(block, self.config, self.tokens)
        self.dropped += left_out
        if not words:
            return 0
        joined, lengths = texts(words), _lengths(words)
        places, (symbols, codes) = _where(joined, name), self.tokens.encode(words, name)
        self.tokens.require(symbols, words, name)
        train = places >= 2 * self.held_out  # before lie the validation and the test words
        self.symbols.update(symbols)
        firsts = np.bincount(codes[(lengths.cumsum() - lengths)[train]], minlength=len(symbols))
        self.firsts.update(dict(zip(symbols, firsts.tolist(), strict=True)))
        self.n_words += len(words)
        self.n_characters += int(lengths[train].sum())
        self.longest = max(self.longest, int(lengths.max()))
        bounds = np.array([self.held_out, 2 * self.held_out, 2 * self.held_out + self.sampled])
        part_of = np.searchsorted(bounds, places, side="right")
        for i in np.flatnonzero(part_of < len(PARTS)).tolist():
            self.parts[PARTS[part_of[i]]][joined[i]] = None
        return int(train.sum())


def survey(config: ListConfig) -> tuple[Shards, dict[str, WordList], np.ndarray]:
    """Read all shards once: what there is; the held-out words and some of the training words, by part, each word once;
    and how often each token id begins a training word, (V,)."""
    files = find(config.data)
    if config.column is None:
        raise UserError(f"{config.data} is made of Parquet shards: name the --column that holds the words.")
    n_rows = max(1, sum(_rows(path, config.column) for path in files))
    gathered = _Survey(min(0.1, HELD_OUT / n_rows), min(0.8, SAMPLED / n_rows), config)
    digest, groups = hashlib.sha256(), []
    for number, path in enumerate(files):
        with _reading(path), Path(path).open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        with _open(path, config.column) as file:
            for group in range(file.num_row_groups):
                n = sum(gathered.take(block, path) for block in _blocks(file, path, group, config.column))
                groups.append((number, group, n))
    tokens = gathered.tokens
    held_out = {part: from_words(words, part, config, tokens) for part, words in gathered.parts.items() if words}
    if len(held_out) < len(PARTS):
        raise UserError(
            f"{config.data} holds {gathered.n_words:,} words, too few different ones to hold some out by a hash of "
            "each: put them into one file, which is split exactly."
        )
    vocabulary = Vocabulary.of(gathered.symbols, tokens)
    shards = Shards(
        portable(Path(config.data).name or config.data), files, [_mark(path) for path in files], config.column,
        config.max_length, digest.hexdigest(), vocabulary.to_json()["characters"], gathered.longest, gathered.n_words,
        gathered.n_characters, gathered.dropped, gathered.held_out, groups, config.lowercase,
        tokens.to_json(),
    )  # fmt: skip
    firsts = np.array([0, 0, *(gathered.firsts[symbol] for symbol in vocabulary.characters)])
    return shards, {part: words.in_vocabulary(vocabulary)[0] for part, words in held_out.items()}, firsts


def read_group(shards: Shards, number: int, group: int, expected: int) -> WordList:
    """The training words of a row group, encoded."""
    path, vocabulary = shards.files[number], shards.vocabulary
    how = ListConfig(max_length=shards.max_length, lowercase=shards.lowercase)
    codes, lengths = [], []
    with _open(path, shards.column) as file:
        for block in _blocks(file, path, group, shards.column):
            words, _ = clean(block, how, vocabulary.tokens)
            symbols, places = vocabulary.tokens.encode(words, path)
            if not vocabulary.ids.keys() >= set(symbols):
                raise UserError(f"{path} was changed while it was trained on.")
            ids = np.array([vocabulary.ids[symbol] for symbol in symbols], dtype=np.min_scalar_type(len(vocabulary)))
            train, n = _where(texts(words), path) >= 2 * shards.held_out, _lengths(words)
            codes.append(ids[places[np.repeat(train, n)]])
            lengths.append(n[train])
    offsets = np.concatenate([[0], *lengths]).cumsum()
    if len(offsets) - 1 != expected:
        raise UserError(f"{path} was changed while it was trained on.")
    return WordList(path, vocabulary, np.concatenate(codes), offsets, "")
