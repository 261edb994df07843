"""The configuration of training, of the list, and of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rungwise.config.fields import Config
from rungwise.errors import UserError

Batching = Literal["words", "stream"]
Schedule = Literal["constant", "cosine"]
Optimizer = Literal["adamw", "muon"]
Targets = Literal["words", "smoothed"]


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a model is trained: an optimiser on the masked cross-entropy. The defaults are the article's final recipe."""

    steps: int = 20_000
    """Optimiser steps."""
    batch_size: int = 32
    """Words (or windows of the stream) a step, drawn with replacement."""
    learning_rate: float = 1e-3
    """The optimiser's step; with the cosine schedule, its peak."""
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
    optimizer: Optimizer = "adamw"
    """adamw, or muon for the matrices of attention and MLP and AdamW for the rest: momentum made orthogonal (Jordan et
    al. 2024)."""
    targets: Targets = "words"
    """words: the character that follows. smoothed: mixed with what a 6-gram model (Kneser-Ney) of the other training
    words says there."""
    teacher_weight: float = 0.5
    """Share of the 6-gram model in the mix (smoothed targets only)."""
    teachers: int = 0
    """So many models like this one are trained first. It learns what they and the 6-gram model say, in the mean, of the
    training words and of words that they draw (Hinton et al. 2015); 0: it learns from the words alone."""
    teacher_embd: int = 0
    """n_embd of the teachers, who may be larger than the student; 0: the student's."""
    teacher_dropout: float | None = None
    """dropout of the teachers: a student, whose lesson is long, does without. None: the student's."""
    teacher_share: float = 1.0
    """Steps of each teacher, as a share of the student's, who goes on learning for longer."""

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
        choices = {"schedule": Schedule, "batching": Batching, "optimizer": Optimizer, "targets": Targets}
        for field, of in choices.items():
            self._require_choice(field, of)
        self._require("teacher_weight", 0 <= self.teacher_weight <= 1, "0 to 1")
        self._require("teachers", 0 <= self.teachers <= 64, "0 to 64")
        self._require("teacher_embd", self.teacher_embd >= 0, "at least 0")
        self._require("teacher_share", 0 < self.teacher_share <= 100, "above 0 and at most 100")
        self._require("teacher_dropout", 0 <= (self.teacher_dropout or 0) < 1, "at least 0 and below 1")
        if (self.targets == "smoothed" or self.teachers) and self.batching == "stream":
            raise UserError(
                "Smoothed targets and teachers need batching=words: a window of the stream has no word to begin with."
            )

    def tokens_per_step(self, mean_length: float) -> float:
        """Real tokens that one replica reads in a step, in the mean; `mean_length`: tokens of a word."""
        return self.batch_size * (mean_length if self.batching == "words" else self.window)
