"""What a run trains on and is scored on: a list in memory, or shards on disk. For practice.py both look the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from rungwise.config import ListConfig, Protocol, TrainConfig, WordStart, get_protocol
from rungwise.data import shards, words
from rungwise.data.batches import Drawn, Source, Tape
from rungwise.data.known_words import KNOWN, KnownWords
from rungwise.data.shard_stream import ShardStream
from rungwise.data.shards import Shards
from rungwise.data.words import WordList
from rungwise.errors import UserError
from rungwise.util.files import local, portable, read_json, read_tensors, write_json, write_tensors

LOOKED_AT = 20_000
"""Validation words that are scored again and again while training: so many at most, a fixed random part."""
SCORED = 200_000
"""Training words whose loss is told at the end: so many at most, a fixed random part. Held-out words: always all."""
SHARDS, HELD_OUT = "shards.json", "held-out.safetensors"
FILES = {KNOWN, SHARDS, HELD_OUT}
"""What a run directory may hold of its material before there is a config.json."""


class Listed:
    """A list in memory, split as the protocol says."""

    streams = False

    def __init__(self, listed: WordList, protocol: Protocol) -> None:
        self.listed, self.protocol, self.parts = listed, protocol, words.split(listed, protocol)
        self.name, self.sha256, self.vocabulary = listed.name, listed.sha256, listed.vocabulary
        self.block_size, self.n_train = listed.block_size, len(self.parts.train)
        self.firsts = listed.first_counts(self.parts.train)
        self.tape = Tape.of(listed, self.parts.train, protocol)

    def describe(self) -> str:
        return words.describe(self.listed, self.parts)

    def source(self, config: TrainConfig, seed: int) -> Source:
        return Drawn(self.tape, config, seed)

    def looked_at(self, start: WordStart) -> Tape | None:
        """The validation words of a look; None where the protocol has none."""
        part = self.parts.validation[:LOOKED_AT]
        return Tape.of(self.listed, part, start) if len(part) else None

    def scored(self, part: str, start: WordStart) -> Tape | None:
        """The words of a part that are scored at the end."""
        indices = getattr(self.parts, part)
        if part == "train":
            indices = indices[:SCORED]
        return Tape.of(self.listed, indices, start) if len(indices) else None

    def save(self, out: Path) -> None:
        KnownWords.of(self.listed).save(out)

    def told(self) -> dict[str, Any]:
        """What another process needs to know to have the same, beside the list's configuration."""
        return {"sha256": self.sha256}


class Sharded:
    """Parquet shards: the held-out words are in memory, the training words are streamed."""

    streams = True

    def __init__(self, known: Shards, held_out: Mapping[str, WordList], firsts: np.ndarray) -> None:
        self.shards, self.held_out, self.firsts, self.protocol = known, held_out, firsts, shards.PROTOCOL
        self.name, self.sha256, self.vocabulary = known.name, known.sha256, known.vocabulary
        self.block_size, self.n_train = known.longest + 1, known.n_train

    @property
    def tape(self) -> Tape:
        raise TypeError("Shards are streamed.")

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

    def source(self, config: TrainConfig, seed: int) -> Source:
        return ShardStream(self.shards, config.batch_size, seed)

    def looked_at(self, start: WordStart) -> Tape:
        return self.scored("validation", start, LOOKED_AT)

    def scored(self, part: str, start: WordStart, most: int | None = None) -> Tape:
        listed = self.held_out[part]
        return Tape.of(listed, np.arange(len(listed))[:most], start)

    def save(self, out: Path) -> None:
        write_json(out / SHARDS, self.shards.to_dict())
        write_tensors(
            out / HELD_OUT,
            {
                f"{part}/{name}": getattr(listed, name)
                for part, listed in self.held_out.items()
                for name in ("codes", "offsets")
            },
        )

    def told(self) -> dict[str, Any]:
        return {"shards": self.shards.to_dict()}


Material = Listed | Sharded


def load(config: ListConfig, protocol_name: str, batching: str) -> tuple[Material, ListConfig]:
    """What a list's configuration names, and how to find it again from another directory."""
    if not shards.are_meant(config.data):
        listed, found = load_list(config)
        return Listed(listed, get_protocol(protocol_name)), found
    if protocol_name != shards.PROTOCOL.name:
        raise UserError(
            f"Shards are split by a hash of each word, which is protocol strict; protocol {protocol_name} needs one "
            "list in memory."
        )
    if batching != "words":
        raise UserError(f"Shards give batches of words: batching must be 'words', but is {batching!r}.")
    return Sharded(*shards.survey(config)), config.replace(data=_from_anywhere(config.data))


def load_list(config: ListConfig) -> tuple[WordList, ListConfig]:
    """A list in memory, and how to find it again from another directory."""
    listed = words.load(config.data, config.max_length, config.encoding, config.column)
    if config.data in ("auto", "names", "given-names"):
        return listed, config.replace(data=listed.name)
    return listed, config if config.data == "-" else config.replace(data=_from_anywhere(config.data))


def _from_anywhere(data: str) -> str:
    return portable(str(Path(local(data)).resolve()))


def source_of(told: Mapping[str, Any], config: ListConfig, protocol: Protocol, train: TrainConfig, seed: int) -> Source:
    """The batches that another process was told of."""
    if "shards" in told:
        known = Shards.from_dict(told["shards"], "What rank 0 told")
        known.check()
        return ShardStream(known, train.batch_size, seed)
    listed = Listed(load_list(config)[0], protocol)
    if listed.sha256 != told["sha256"]:
        raise UserError(f"{listed.name} is not the list that rank 0 reads (SHA-256 differs).")
    return listed.source(train, seed)
