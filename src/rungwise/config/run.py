"""Which list, which engine, and what else fixes a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rungwise.config.fields import Config
from rungwise.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16"]
Compile = Literal["auto", "on", "off"]

MOST_THREADS = 1024
EVALUATIONS = 20
"""Evaluations of a run, where eval_every does not say."""


@dataclass(frozen=True)
class ListConfig(Config):
    """Which list of words, and how it is read."""

    data: str = "auto"
    """Word list: a file, - (standard input), given-names, names (the article's), or auto (names if it can be had); or
    Parquet shards that are never in memory as a whole: a directory, or a pattern such as 'shards/*.parquet'."""
    encoding: str = "utf-8"
    """Of the file."""
    column: str | None = None
    """Take the words from this column of a CSV, TSV or Parquet file; None: one word a line."""
    condition: str | None = None
    """What every word is given: this column's value in its row (gender, language, ...); needs --column."""
    max_length: int = 64
    """Longer words (in symbols of --tokens) are dropped, and counted."""
    lowercase: bool = False
    """Read every word in lower case: fewer characters to learn."""
    tokens: str = "chars"
    """One symbol of the model: chars (a character), graphemes (what a reader takes for one), or a file with a token a
    line, the longest that fits first."""

    def __post_init__(self) -> None:
        self._require("max_length", self.max_length >= 1, "at least 1")
        if self.condition is not None and self.column is None:
            raise UserError("--condition names a column of a table: name the --column of the words, too.")


@dataclass(frozen=True)
class EngineConfig(Config):
    """What trains, where and how (engines.py). The losses are the same to the last bits in which sums differ."""

    engine: str = "auto"
    """auto, native (C++, needs a compiler), torch, or distributed (train: one replica, under torchrun or alone)."""
    device: Device = "auto"
    """Of engine torch: auto (a GPU where torch has one), cpu or cuda."""
    precision: Precision = "fp32"
    """fp32, or bf16: in engine torch the forward pass in bfloat16 where PyTorch's autocast finds it safe, in engine
    native the matrix products where the CPU has them; weights in fp32."""
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
    """The rung whose model and training are taken; None: the recipe for the list's size. Where fields of the model or
    the training are given: the article's final recipe, suited to the list's size."""
    budget: str | None = None
    """The time that this machine has, 90s, 10m or 1h: it chooses size, steps, rate, teachers, ... for the list. None:
    the recipe's own steps."""
    protocol: str = "strict"
    """What is scored on which words: article, makemore or strict."""
    seed: int = 0
    """Fixes initialisation, batches and dropout."""
    threads: int = 0
    """Threads that take a step together; 0: a core each, or one alone where that is faster. Engine native gives the
    same bits in any number."""
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
        for field in ("eval_every", "patience", "save_every", "threads"):
            self._require(field, getattr(self, field) >= 0, "at least 0")
        self._require("threads", self.threads <= MOST_THREADS, f"at most {MOST_THREADS}")
        self._require("accumulate", self.accumulate >= 1, "at least 1")
        self._require("budget", self.budget is None or self.budget_seconds > 0, "a time such as 90s, 10m or 1h")

    @property
    def budget_seconds(self) -> float:
        """Of the clock; 0 where the text is no time."""
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)", self.budget or "", re.ASCII)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0

    def interval(self, steps: int) -> int:
        """Steps from one evaluation to the next, in a run of so many."""
        return self.eval_every or max(1, steps // EVALUATIONS)

    def evaluations(self, steps: int) -> int:
        """How many a run of so many steps has; the last one is at its end."""
        return -(-steps // self.interval(steps))
