"""What a run trains on and is scored on: a list in memory, or shards on disk, behind one contract."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from typing import Protocol as Interface

import numpy as np

from rungwise.config import ListConfig, Protocol, TrainConfig, WordStart, get_protocol
from rungwise.data import shards, words
from rungwise.data.batches import Drawn, Source, Tape
from rungwise.data.known_words import KNOWN, KnownWords
from rungwise.data.shard_stream import ShardStream
from rungwise.data.shards import Shards
from rungwise.data.tokens import Tokens
from rungwise.data.words import Vocabulary, WordList
from rungwise.errors import UserError
from rungwise.util.files import local, portable, read_json, read_tensors, write_json, write_tensors

EVALUATION_WORDS = 20_000
"""Validation words of each evaluation while training: so many at most, a fixed random part."""
SCORED_TRAIN_WORDS = 200_000
"""Training words that are scored at the end: so many at most, a fixed random part. Held-out words: always all."""
SHARDS, HELD_OUT = "shards.json", "held-out.safetensors"
FILES = {KNOWN, SHARDS, HELD_OUT}
"""What a run directory may hold of its dataset before there is a config.json."""


class Dataset(Interface):
    """A list of words, split: what a run trains on, what its evaluations score, and what is scored at the end."""

    name: str
    sha256: str
    vocabulary: Vocabulary
    protocol: Protocol
    block_size: int
    """The longest sequence: characters and END."""
    n_train: int
    """Training words."""
    firsts: np.ndarray
    """(V,) how often each token id begins a training word."""
    tape: Tape | None
    """The training words; None where they are streamed from disk."""

    def describe(self) -> str:
        """One line for people."""
        ...

    def batches(self, config: TrainConfig, seed: int) -> Source:
        """What the distributed engine reads."""
        ...

    def scored_tape(self, part: str, start: WordStart, most: int | None = None) -> Tape | None:
        """The words of a part, "train", "validation" or "test", that are scored; None where it is empty. `most`: so
        many at most; None: as many as at the end of a run."""
        ...

    def save(self, out: Path) -> None:
        """Write into a run directory what a resumed run and new words need to know of the list."""
        ...

    def description(self) -> dict[str, Any]:
        """What another process needs to read the same batches, beside the list's configuration: JSON values."""
        ...


class ListDataset:
    """A list in memory, split as the protocol says."""

    def __init__(self, listed: WordList, protocol: Protocol) -> None:
        self.listed, self.protocol, self.parts = listed, protocol, words.split(listed, protocol)
        self.name, self.sha256, self.vocabulary = listed.name, listed.sha256, listed.vocabulary
        self.block_size, self.n_train = listed.block_size, len(self.parts.train)
        self.firsts = listed.first_counts(self.parts.train)
        self.train_tape = Tape.of(listed, self.parts.train, protocol)
        self.tape: Tape | None = self.train_tape

    def describe(self) -> str:
        return words.describe(self.listed, self.parts)

    def batches(self, config: TrainConfig, seed: int) -> Source:
        return Drawn(self.train_tape, config, seed)

    def scored_tape(self, part: str, start: WordStart, most: int | None = None) -> Tape | None:
        indices = getattr(self.parts, part)[: most or (SCORED_TRAIN_WORDS if part == "train" else None)]
        return Tape.of(self.listed, indices, start) if len(indices) else None

    def save(self, out: Path) -> None:
        KnownWords.of(self.listed, self.parts.train).save(out)

    def description(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "tokens": self.vocabulary.tokens.to_json()}


class ShardedDataset:
    """Parquet shards: the held-out words are in memory, the training words are streamed."""

    def __init__(self, known: Shards, held_out: Mapping[str, WordList], firsts: np.ndarray) -> None:
        self.shards, self.held_out, self.firsts, self.protocol = known, held_out, firsts, shards.PROTOCOL
        self.name, self.sha256, self.vocabulary = known.name, known.sha256, known.vocabulary
        self.block_size, self.n_train = known.longest + 1, known.n_train
        self.tape: Tape | None = None

    @classmethod
    def load(cls, out: Path, firsts: np.ndarray, data: str | None = None) -> Self:
        """From a run directory; the shards must be as they were. `data`: where they lie now, if they moved."""
        known = Shards.from_dict(read_json(out / SHARDS), str(out / SHARDS))
        if data is not None:
            known = replace(known, files=shards.find(data))
        known.check()
        try:
            tensors, _ = read_tensors(out / HELD_OUT)
            lists = {
                part: WordList(part, known.vocabulary, tensors[f"{part}/codes"], tensors[f"{part}/offsets"], "")
                for part in shards.PARTS
            }
        except (FileNotFoundError, KeyError):
            raise UserError(f"{out} does not hold its held-out words ({HELD_OUT}).") from None
        return cls(known, lists, firsts)

    def describe(self) -> str:
        return self.shards.describe(self.held_out)

    def batches(self, config: TrainConfig, seed: int) -> Source:
        return ShardStream(self.shards, config.batch_size, seed)

    def scored_tape(self, part: str, start: WordStart, most: int | None = None) -> Tape:
        listed = self.held_out[part]
        return Tape.of(listed, np.arange(len(listed))[:most], start)

    def save(self, out: Path) -> None:
        write_json(out / SHARDS, self.shards.to_dict())
        tensors = {}
        for part, listed in self.held_out.items():
            tensors |= {f"{part}/codes": listed.codes, f"{part}/offsets": listed.offsets}
        write_tensors(out / HELD_OUT, tensors)

    def description(self) -> dict[str, Any]:
        return {"shards": self.shards.to_dict()}


def load(config: ListConfig, protocol_name: str, batching: str) -> tuple[Dataset, ListConfig]:
    """What a list's configuration names, and how to find it again from another directory."""
    if config.condition is not None and batching != "words":
        raise UserError(f"A condition is given to words: batching must be 'words', but is {batching!r}.")
    if not shards.are_meant(config.data):
        listed, found = load_list(config)
        return ListDataset(listed, get_protocol(protocol_name, config.condition)), found
    if config.condition is not None:
        raise UserError("Shards are read without --condition: put the words into one table.")
    if protocol_name != shards.PROTOCOL.name:
        raise UserError(
            f"Shards are split by a hash of each word, which is protocol strict; protocol {protocol_name} needs one "
            "list in memory."
        )
    if batching != "words":
        raise UserError(f"Shards give batches of words: batching must be 'words', but is {batching!r}.")
    return ShardedDataset(*shards.survey(config)), _from_anywhere(config)


def load_list(config: ListConfig, tokens: Tokens | None = None) -> tuple[WordList, ListConfig]:
    """A list in memory, and how to find it again from another directory. `tokens`: of the run that had read it."""
    listed = words.load(config, tokens)
    named = config.replace(data=listed.name) if config.data in ("auto", "names", "given-names") else config
    return listed, _from_anywhere(named)


def _from_anywhere(config: ListConfig) -> ListConfig:
    """The same, with files by their whole paths."""
    found = {
        field: portable(str(Path(local(value)).resolve()))
        for field, value in (("data", config.data), ("tokens", config.tokens))
        if value not in ("-", "names", "given-names", "chars", "graphemes")
    }
    return config.replace(**found)


def described_batches(
    description: Mapping[str, Any], config: ListConfig, protocol: Protocol, train: TrainConfig, seed: int
) -> Source:
    """The batches of a Dataset that another process described."""
    if "shards" in description:
        known = Shards.from_dict(description["shards"], "The description by rank 0")
        known.check()
        return ShardStream(known, train.batch_size, seed)
    dataset = ListDataset(load_list(config, Tokens.from_json(description["tokens"]))[0], protocol)
    if dataset.sha256 != description["sha256"]:
        raise UserError(f"{dataset.name} is not the list that rank 0 reads (SHA-256 differs).")
    return dataset.batches(train, seed)
