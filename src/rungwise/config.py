"""What can be set: the model, its training, and the protocol by which it is measured. No torch here.

Every field has its reason under it, is checked on construction, and stands in `config.json` of every run.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

MLP = Literal["none", "relu", "gelu", "swiglu"]
Norm = Literal["none", "layernorm", "rmsnorm"]
Position = Literal["none", "learned", "rope"]
Batching = Literal["words", "stream"]
Schedule = Literal["constant", "cosine"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16"]
Compile = Literal["auto", "on", "off"]


EVALUATIONS = 20
"""Evaluations of a run, where eval_every does not say."""


class UserError(ValueError):
    """Something that a user can mend: one line that says what, where and what to do. The command exits with 2."""


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error line: the nearest known name, or all of them where none is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from: {', '.join(known)}."


def derive_seed(seed: int, purpose: str) -> int:
    """A 32-bit seed of its own for each purpose, so that what one part draws never shifts another's draws.

    Batches, initialisation, dropout and sampling each take theirs from the run's one seed: the same seed then
    meets the same batches on every rung, and differences between rungs pair.
    """
    return zlib.crc32(f"{seed}/{purpose}".encode())


def dropout_steps(p: float) -> int:
    """Dropout as masks have it, in steps of 1/65536 (masks.py)."""
    return round(p * 65536)


class _Config:
    """What the three configurations share: checks, and reading from a mapping with unknown fields refused."""

    def _require(self, field: str, ok: bool, what: str) -> None:
        if not ok:
            raise UserError(f"{field} must be {what}, but is {getattr(self, field)!r}.")

    def _require_choice(self, field: str, choices: Any) -> None:
        value, names = getattr(self, field), get_args(choices)
        if value not in names:
            raise UserError(f"Unknown {field} {value!r}; {closest(str(value), names)}")

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        return tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "configuration") -> Self:
        """Read from JSON-like values: types checked, unknown fields refused with the nearest known name."""
        given: dict[str, Any] = {}
        for name, value in values.items():
            if name not in cls.fields():
                raise UserError(f"{where}: unknown field {name!r}; {closest(name, cls.fields())}")
            given[name] = value.item() if getattr(value, "shape", None) == () else value  # NumPy's and torch's numbers
            if not isinstance(given[name], str | int | float | None):
                raise UserError(f"{where}: {name} must be a number, a text or True or False, but is {value!r}.")
        from pydantic import TypeAdapter, ValidationError

        try:  # JSON and strict: "32" is no number and 1 is no flag, but 1 is a float
            told = json.dumps(given, ensure_ascii=False).encode("utf-8", "replace")
            found = TypeAdapter(cls).validate_json(told, strict=True)
            texts = {name: value for name, value in given.items() if isinstance(value, str)}
            return found.replace(**texts)  # as they are: pydantic takes no path with bytes that are no UTF-8
        except ValidationError as error:
            first = error.errors()[0]
            if isinstance(cause := first.get("ctx", {}).get("error"), UserError):
                raise UserError(f"{where}: {cause}") from None
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{where}: {field}: {first['msg']}, but is {first['input']!r}.") from None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class ModelConfig(_Config):
    """A decoder-only transformer over characters. The defaults are the article's final model."""

    vocab_size: int = 28
    """Characters of the list, and two tokens: PAD (0) and END (1, which also starts a word where a start is fed)."""
    block_size: int = 16
    """The longest sequence: the longest word and END. Sampling stops at it; learned positions know no later place."""
    n_layer: int = 4
    """Blocks, one upon the other."""
    n_head: int = 4
    """Attention heads a block."""
    n_embd: int = 64
    """Width of the residual stream."""
    head_size: int | None = None
    """Width of a head; None: n_embd / n_head. The article's single heads are half as wide as the embedding."""
    projection: bool = True
    """A linear layer (with bias) that mixes the heads' outputs."""
    residual: bool = True
    """x + f(x) around attention and MLP, instead of f(x)."""
    mlp: MLP = "gelu"
    """The MLP (n_embd -> mlp_ratio * n_embd -> n_embd) after attention, by its activation; none: no MLP."""
    mlp_ratio: int = 4
    """Hidden width of the MLP, in n_embd; swiglu takes two thirds of it, because it has a third matrix."""
    norm: Norm = "layernorm"
    """Pre-norm: before attention and before the MLP."""
    final_norm: bool = False
    """Another norm before the head. The article has none."""
    position: Position = "rope"
    """How a model knows the order of characters: RoPE rotates queries and keys, learned adds a vector a place to the
    embedding; none leaves the causal mask alone."""
    head_bias: bool = True
    """The last linear layer has a bias."""
    tie_embeddings: bool = False
    """The last linear layer's weight is the embedding."""
    dropout: float = 0.2
    """Share that training drops, of attention's weights and of what attention and MLP add to the stream."""

    def __post_init__(self) -> None:
        self._require("vocab_size", self.vocab_size >= 3, "at least 3 (PAD, END and a character)")
        for field in ("block_size", "n_layer", "n_head", "n_embd", "mlp_ratio"):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        self._require("n_layer", self.n_layer <= 1_000, "at most 1,000")
        for field, choices in (("mlp", MLP), ("norm", Norm), ("position", Position)):
            self._require_choice(field, choices)
        below = 0 <= self.dropout < 1 and dropout_steps(self.dropout) < 65536
        self._require("dropout", below, "at least 0 and below 1 (after rounding to 1/65536, the step of masks)")
        if self.head_size is None:
            self._require("n_embd", self.n_embd % self.n_head == 0, f"a multiple of n_head={self.n_head}")
        else:
            self._require("head_size", self.head_size >= 1, "at least 1")
        if self.final_norm and self.norm == "none":
            raise UserError("final_norm needs a norm: layernorm or rmsnorm, but norm is 'none'.")
        if self.output_width != self.n_embd and (self.final_norm or self.tie_embeddings):
            raise UserError(
                f"final_norm and tie_embeddings need a head that reads n_embd = {self.n_embd}; without a projection it "
                f"reads n_head * head_size = {self.output_width}."
            )
        if self.position == "rope" and self.head_width % 2:
            raise UserError(f"RoPE rotates pairs: the head size must be even, but is {self.head_width}.")
        if not self.projection and self.attention_width != self.n_embd and self.needs_n_embd_after_attention:
            raise UserError(
                f"Without a projection, n_head * head_size = {self.attention_width} must be n_embd = {self.n_embd} "
                "where a residual, an MLP or another block follows."
            )

    @property
    def head_width(self) -> int:
        return self.head_size or self.n_embd // self.n_head

    @property
    def attention_width(self) -> int:
        """Width of the heads' outputs side by side."""
        return self.n_head * self.head_width

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the MLP; 0: there is none. SwiGLU's is two thirds as wide (Shazeer 2020, section 2)."""
        width = self.mlp_ratio * self.n_embd
        return {"none": 0, "swiglu": max(1, 2 * width // 3)}.get(self.mlp, width)

    @property
    def needs_n_embd_after_attention(self) -> bool:
        return self.residual or self.mlp != "none" or self.n_layer > 1

    @property
    def output_width(self) -> int:
        """Width of what the last linear layer reads."""
        return self.n_embd if self.projection else self.attention_width


@dataclass(frozen=True)
class TrainConfig(_Config):
    """How a model is trained: AdamW on the masked cross-entropy. The defaults are the article's final recipe."""

    steps: int = 20_000
    """Optimiser steps."""
    batch_size: int = 32
    """Words (or windows of the stream) a step, drawn with replacement."""
    learning_rate: float = 1e-3
    """AdamW's step; with the cosine schedule, its peak."""
    schedule: Schedule = "cosine"
    """constant, or linear warm-up and then cosine decay (Loshchilov & Hutter 2017) to min_learning_rate."""
    warmup_steps: int = 200
    """Steps of linear warm-up (cosine only); the default is at most half of the run."""
    min_learning_rate: float = 1e-4
    """Where the cosine ends; the default is at most half of learning_rate."""
    weight_decay: float = 0.01
    """Decoupled, on every parameter (Loshchilov & Hutter 2019). 0.01 is also PyTorch's default for AdamW."""
    grad_clip: float = 1.0
    """Largest norm of the whole gradient (Pascanu et al. 2013); 0 leaves it alone."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's mean."""
    beta2: float = 0.999
    """AdamW's decay of the gradient's square."""
    batching: Batching = "words"
    """words: each word padded to the batch's longest, loss masked. stream: windows cut anywhere from all words."""
    window: int = 16
    """Length of a window (stream only)."""

    def __post_init__(self) -> None:
        for field in ("steps", "batch_size", "window"):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        self._require("learning_rate", 0 < self.learning_rate < 10, "above 0 and below 10")
        self._require("min_learning_rate", 0 <= self.min_learning_rate < 10, "at least 0 and below 10")
        self._require("warmup_steps", self.warmup_steps >= 0, "at least 0")
        self._require("weight_decay", self.weight_decay >= 0, "at least 0")
        self._require("grad_clip", self.grad_clip >= 0, "at least 0")
        for field in ("beta1", "beta2"):
            self._require(field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        self._require_choice("schedule", Schedule)
        self._require_choice("batching", Batching)


@dataclass(frozen=True)
class ListConfig(_Config):
    """Which list of words, and how it is read."""

    data: str = "auto"
    """Word list: a file, - (standard input), given-names, names (the article's), or auto (names if it can be had); or
    Parquet shards that are never in memory as a whole: a directory, or a pattern such as 'shards/*.parquet'."""
    encoding: str = "utf-8"
    """Of the file."""
    column: str | None = None
    """Take the words from this column of a CSV, TSV or Parquet file; None: one word a line."""
    max_length: int = 64
    """Longer words are dropped, and counted."""

    def __post_init__(self) -> None:
        self._require("max_length", self.max_length >= 1, "at least 1")


@dataclass(frozen=True)
class EngineConfig(_Config):
    """What trains, where and how (engines.py). The losses are the same to the last bits in which sums differ."""

    engine: str = "auto"
    """auto, native (C++, needs a compiler), torch, or distributed (train: one replica, under torchrun or alone)."""
    device: Device = "auto"
    """Of engine torch: auto (a GPU where torch has one), cpu or cuda."""
    precision: Precision = "fp32"
    """fp32, or bf16: the forward pass in bfloat16 where PyTorch's autocast finds it safe, weights in fp32."""
    compile: Compile = "auto"
    """torch.compile for engine torch: on, off, or auto, where the run is long enough to earn its warm-up back."""

    def __post_init__(self) -> None:
        self._require_choice("device", Device)
        self._require_choice("precision", Precision)
        self._require_choice("compile", Compile)


@dataclass(frozen=True)
class RunConfig(EngineConfig):
    """What else fixes a run of `rungwise train`."""

    rung: str | None = None
    """The rung whose model and training are taken; None: the article's final recipe, suited to the list's size."""
    protocol: str = "strict"
    """What is scored on which words: article, makemore or strict."""
    seed: int = 0
    """Fixes initialisation, batches and dropout."""
    accumulate: int = 1
    """Parts in which each process takes its share of a batch, one after the other: less memory, the same step."""
    eval_every: int = 0
    """Steps from one look at the validation words to the next; 0: a twentieth of the run."""
    patience: int = 0
    """Stop after so many looks in a row without a better validation loss; 0: train to the end."""
    save_every: float = 30.0
    """Seconds from one checkpoint to the next: at most so much work is lost when the process is killed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("eval_every", "patience", "save_every"):
            self._require(field, getattr(self, field) >= 0, "at least 0")
        self._require("accumulate", self.accumulate >= 1, "at least 1")

    def interval(self, steps: int) -> int:
        """Steps from one evaluation to the next, in a run of so many."""
        return self.eval_every or max(1, steps // EVALUATIONS)

    def evaluations(self, steps: int) -> int:
        """How many a run of so many steps has; the last one is at its end."""
        return -(-steps // self.interval(steps))


@dataclass(frozen=True)
class Protocol(_Config):
    """What is scored, on which words, split how. Stored with every result and printed beside every number."""

    name: str
    start_token: bool
    """Feed END before the word and score every character; else the first character is given, never predicted."""
    distinct: bool
    """Drop repeated words before splitting. Where they stay, some test words also stand in training."""
    val_fraction: float
    """Share of the words on which choices (learning rate, early stopping) are made; 0: there are none to make."""
    test_fraction: float
    """Share of the words that only the final score sees."""
    max_test_words: int | None = None
    """At most so many test words."""

    def __post_init__(self) -> None:
        self._require("val_fraction", 0 <= self.val_fraction < 1, "at least 0 and below 1")
        self._require(
            "test_fraction",
            0 < self.test_fraction < 1 - self.val_fraction,
            "above 0, and leave words to train on",
        )

    @property
    def word_start(self) -> WordStart:
        """How a word begins for models that are trained on words."""
        return WordStart(end_fed=self.start_token, first_scored=self.start_token)

    @property
    def scored(self) -> str:
        """What a loss under this protocol is a mean over, for captions."""
        return self.word_start.scored


@dataclass(frozen=True)
class WordStart(_Config):
    """How a word begins for a model: a property of the model, stored with it, that follows from its training.

    A model trained on words meets each word as its protocol says. A model trained on the stream has met every word
    behind the END of the word before, and takes a word without it for the middle of one: it is fed END under every
    protocol, and the same characters are scored as of the other models.
    """

    end_fed: bool
    """END is fed before the first character, which the model then predicts; else the first character is given."""
    first_scored: bool
    """The first character counts in losses and likelihoods."""

    def __post_init__(self) -> None:
        if self.first_scored and not self.end_fed:
            raise UserError("first_scored needs end_fed: a first character that is given cannot be scored.")

    @classmethod
    def of(cls, protocol: Protocol, train: TrainConfig) -> WordStart:
        return cls(protocol.start_token or train.batching == "stream", protocol.start_token)

    @property
    def scored(self) -> str:
        """What a loss is a mean over, for captions."""
        if self.first_scored:
            return "every character and the end"
        return "characters 2..n and the end" + ", each word behind an END" * self.end_fed


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("article", start_token=False, distinct=False, val_fraction=0, test_fraction=0.1),
        Protocol(
            "makemore",
            start_token=True,
            distinct=False,
            val_fraction=0,
            test_fraction=0.1,
            max_test_words=1000,
        ),
        Protocol("strict", start_token=True, distinct=True, val_fraction=0.1, test_fraction=0.1),
    )
}


def get_protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise UserError(f"Unknown protocol {name!r}; {closest(name, PROTOCOLS)}")
    return PROTOCOLS[name]
