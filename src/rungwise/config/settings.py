"""What a run of `rungwise train` is made of: fields of four configurations, from defaults, a file and flags. No torch.

The same names everywhere: on the command line (--n-embd), in a configuration file (n_embd = 64), in Python
(train(..., n_embd=64)). All are read off the dataclasses of config.py, so that a new field needs no word here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from rungwise.config import (
    MLP,
    Batching,
    Compile,
    Config,
    Device,
    Family,
    ListConfig,
    ModelConfig,
    Norm,
    Optimizer,
    Position,
    Precision,
    RunConfig,
    Schedule,
    Targets,
    TrainConfig,
    rules,
)
from rungwise.errors import UserError, closest

KINDS: dict[str, type[Config]] = {"list": ListConfig, "run": RunConfig, "model": ModelConfig, "train": TrainConfig}
"""Sections of a configuration file."""
FROM_THE_LIST = ("vocab_size", "block_size")
"""Fields of ModelConfig that nobody sets: the list does."""


def fields(kind: type[Config]) -> tuple[str, ...]:
    """Those that can be set."""
    return tuple(name for name in kind.fields() if name not in FROM_THE_LIST)


ALL = {name: section for section, kind in KINDS.items() for name in fields(kind)}
"""Every field that can be set, and its section."""


@dataclass(frozen=True)
class Settings:
    """What was asked for; what was not is None or absent, and `model_and_train` fills it in."""

    list: ListConfig
    run: RunConfig
    changes: Mapping[str, Any]
    """Fields of ModelConfig and TrainConfig."""
    where: str

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> Settings:
        """Check names and types. `values`: fields of any section; `where` they come from, for errors."""
        parts: dict[str, dict[str, Any]] = {section: {} for section in KINDS}
        for name, value in values.items():
            if name not in ALL:
                raise UserError(f"{where}: unknown field {name!r}; {closest(name, ALL)}")
            parts[ALL[name]][name] = value
        return cls(
            ListConfig.from_dict(parts["list"], where),
            RunConfig.from_dict(parts["run"], where),
            parts["model"] | parts["train"],
            where,
        )

    def suited_to(self, n_words: int) -> Settings:
        """With what suits a list of so many training words, where nothing else was asked for."""
        return self.filled(suited(n_words))

    def filled(self, fitting: Mapping[str, Any]) -> Settings:
        """With other fields of the model and the training, where nothing else was asked for."""
        if self.changes.keys() & {"n_embd", "n_head", "head_size"}:  # these go together
            fitting = {
                name: value for name, value in fitting.items() if name not in ("n_embd", "n_head", "teacher_embd")
            }
        return dataclasses.replace(self, changes={**fitting, **self.changes})

    def model_and_train(
        self, model: ModelConfig, train: TrainConfig, vocab_size: int, block_size: int
    ) -> tuple[ModelConfig, TrainConfig]:
        """A rung's configurations with what was asked for, fitted to a list; a schedule that is one (rules.py)."""
        values = {**self.changes, "vocab_size": vocab_size, "block_size": block_size}
        if model.attention_width == model.n_embd:  # heads that share the width go on sharing it
            model = model.replace(head_size=None)
        made: Any = tuple(
            type(base).from_dict(
                base.to_dict() | {name: value for name, value in values.items() if name in base.fields()}, self.where
            )
            for base in (model, train)
        )
        try:
            return made[0], rules.fitted(made[1], self.changes)
        except UserError as error:
            raise UserError(f"{self.where}: {error}") from None


EXPORTABLE = {"final_norm": True, "head_bias": False}
"""What the article's final recipe lacks so that a class of transformers holds the model (export/homes.py)."""


def suited(n_words: int) -> dict[str, Any]:
    """What to change in the article's final recipe for a list of so many training words.

    It was made for 25,000 to 30,000 words, each met some twenty times. Of fewer, a smaller model learns as much by
    heart in fewer steps (and the best weights on the validation words are kept in any case). Of more, it is too small
    and too slow a learner: counts hold a number for every context that they met, and beat it. Such lists get four
    times the parameters and, at twice the batch, about twenty characters for each (Hoffmann et al. 2022: what suits
    a fixed budget, here a quarter of an hour on one core); no dropout, because few words are met often; and a higher
    peak, which a model without dropout takes well (docs/lab-notes.md).
    """
    if n_words < 3_000:
        return EXPORTABLE | {"n_embd": 32, "n_head": 2, "steps": 5_000}
    if n_words > 50_000:
        return EXPORTABLE | {"n_embd": 128, "n_head": 4, "dropout": 0.0, "batch_size": 64, "learning_rate": 2e-3}
    return EXPORTABLE


class Fields(TypedDict, total=False):
    """The same fields for editors and type checkers; a test holds them to the dataclasses."""

    encoding: str
    column: str | None
    condition: str | None
    max_length: int
    lowercase: bool
    tokens: str
    engine: str
    device: Device
    precision: Precision
    compile: Compile
    rung: str | None
    budget: str | None
    protocol: str
    seed: int
    threads: int
    accumulate: int
    eval_every: int
    patience: int
    save_every: float
    n_layer: int
    n_head: int
    n_embd: int
    head_size: int | None
    projection: bool
    residual: bool
    mlp: MLP
    mlp_ratio: int
    norm: Norm
    final_norm: bool
    position: Position
    head_bias: bool
    tie_embeddings: bool
    dropout: float
    attention_dropout: float | None
    family: Family
    reach: int
    steps: int
    batch_size: int
    learning_rate: float
    schedule: Schedule
    warmup_steps: int
    min_learning_rate: float
    weight_decay: float
    grad_clip: float
    beta1: float
    beta2: float
    batching: Batching
    window: int
    optimizer: Optimizer
    targets: Targets
    teacher_weight: float
    teachers: int
    teacher_embd: int
    teacher_dropout: float | None
    teacher_share: float
