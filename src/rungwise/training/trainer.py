"""One training run in its directory: steps, looks at the validation words, checkpoints, and how it goes on.

checkpoint.safetensors holds all that training depends on: parameters, AdamW's moments, the step (batches, dropout
masks and learning rates are functions of the seed and the step, so it is the generators' state, too), the best
validation loss so far, and the losses not yet written to metrics.jsonl. It is replaced in one rename, so a process
that is killed at any moment leaves the last one, and a run that goes on from it takes the same steps again, bit for
bit. model.safetensors is renewed at every look that finds a better validation loss.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.config import ModelConfig, RunConfig, TrainConfig
from rungwise.data.batches import Tape
from rungwise.engine.loop import Engine, learning_rate, models, train
from rungwise.engine.process_group import RankLost
from rungwise.errors import UserError
from rungwise.inference.score import score
from rungwise.training import run_dir
from rungwise.training.run_dir import CHECKPOINT, METRICS
from rungwise.util import files, hints
from rungwise.util.files import read_tensors, write_tensors

STEPS_AT_ONCE = 32
"""Ctrl-C, the clock and the progress bar are looked at between pieces of so many steps."""
AGAIN = 1.0
"""Seconds after which a signal is another one, and not the first one's echo."""


class Stopped(KeyboardInterrupt):
    """The user, or the system, asked training to stop; everything is saved."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@dataclass
class Standing:
    """Where a run stands, beside its parameters and moments."""

    step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    """Of the validation words."""
    stale: int = 0
    """Looks since the best one."""
    pending: list[float] = field(default_factory=list)
    """Losses of the steps since the last look."""


class Session:
    """Trains an engine in a directory, from the beginning or from its checkpoint."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        model_config: ModelConfig,
        config: TrainConfig,
        run: RunConfig,
        validation: Tape | None,
        observe: Callable[[int, Mapping[str, float]], None] = lambda step, values: None,
    ) -> None:
        self.folder, self.engine, self.model_config, self.config, self.run = folder, engine, model_config, config, run
        self.validation, self.observe = validation, observe
        self.eval_every = run.interval(config.steps)
        self.standing = Standing()
        self.saved_step = 0
        self.go_on = hints.go_on(folder)
        self.recent = [math.nan]
        if run.patience and validation is None:
            raise UserError(
                f"patience needs validation words, and protocol {run.protocol} has none: use protocol strict."
            )

    @property
    def finished(self) -> bool:
        """All steps are done, or patience is at an end."""
        patience = self.run.patience
        return self.standing.step >= self.config.steps or (0 < patience <= self.standing.stale)

    def resume(self) -> None:
        """Go on from the checkpoint; from the first step where there is none yet."""
        path = self.folder / CHECKPOINT
        try:
            tensors, about = read_tensors(path)
        except FileNotFoundError:
            files.write_lines(self.folder / METRICS, [])
            return
        expected = {name: array.shape for name, array in self.engine.state().items()}
        pending = tensors.pop("pending", np.empty(0))
        if {name: array.shape for name, array in tensors.items()} != expected:
            raise UserError(f"{path} is not a checkpoint of the model that config.json tells.")
        try:
            self.standing = Standing(**about, pending=pending.tolist())
        except TypeError:
            raise UserError(f"{path} is of another version of rungwise.") from None
        self.engine.load_state(tensors, self.standing.step)
        self.saved_step = self.standing.step
        # What was written after the checkpoint will be written again.
        before = range(self.standing.step + 1)
        lines = [line for line in run_dir.read_metrics(self.folder) if line["step"] in before]
        files.write_lines(self.folder / METRICS, [line for line in lines if "train_loss" in line])

    def train(self, advance: Callable[[int, str], None]) -> None:
        """To the end, or until somebody stops it; Stopped is raised once everything is saved."""
        saved, began, first = time.monotonic(), time.monotonic(), self.standing.step
        with _stop_signals() as asked:
            while not self.finished:
                step = self.standing.step
                look = (step // self.eval_every + 1) * self.eval_every
                until = min(look, step + STEPS_AT_ONCE, self.config.steps)
                try:
                    train(self.engine, self.config, self._after_block, step, until)
                except RankLost as error:
                    raise RankLost(
                        f"{error}; everything up to step {self.saved_step:,} is saved. {self.go_on}"
                    ) from None
                if until == look or until == self.config.steps:
                    self._look()
                speed = (self.standing.step - first) * self.engine.tokens_per_step / (time.monotonic() - began)
                advance(self.standing.step, f"{self._losses()}, {speed:,.0f} tokens/s")
                if asked or time.monotonic() - saved >= self.run.save_every or self.finished:
                    self.save()
                    saved = time.monotonic()
                if asked and not self.finished:
                    self._stop(asked[0])

    def _after_block(self, step: int, losses: np.ndarray) -> None:
        self.standing.step = step
        self.standing.pending += losses[:, 0].astype(float).tolist()
        self.recent = self.standing.pending[-256:]

    def _losses(self) -> str:
        shown = f"loss {np.mean(self.recent):.3f}"
        best = self.standing.best_loss
        return shown if best is None else f"{shown}, best validation {best:.3f}"

    def _look(self) -> None:
        """Score the validation words, keep the weights if they are the best so far, and write a line of metrics."""
        s = self.standing
        values = {"train_loss": float(np.mean(s.pending)), "learning_rate": learning_rate(self.config, s.step - 1)}
        if self.validation is not None:
            values["val_loss"] = loss = score(models(self.engine, self.model_config, 1)[0], self.validation).loss
            s.stale += 1
            if s.best_loss is None or loss < s.best_loss:
                s.best_loss, s.best_step, s.stale = loss, s.step, 0
                self.save_weights()
        s.pending = []
        files.append_line(self.folder / METRICS, {"step": s.step, **values})
        self.observe(s.step, values)

    def save_weights(self) -> None:
        """The present weights become the run's."""
        found = {k.removeprefix("param/"): v[0] for k, v in self.engine.state().items() if k.startswith("param/")}
        run_dir.save_weights(self.folder, found, {"step": self.standing.step, "val_loss": self.standing.best_loss})

    def save(self) -> None:
        about = {f.name: getattr(self.standing, f.name) for f in dataclasses.fields(Standing) if f.name != "pending"}
        pending = {"pending": np.array(self.standing.pending, dtype=np.float64)}
        write_tensors(self.folder / CHECKPOINT, {**self.engine.state(), **pending}, about)
        self.saved_step = self.standing.step

    def _stop(self, number: int) -> None:
        if self.validation is None:
            self.save_weights()  # so that one can sample from what there is
        s = self.standing
        raise Stopped(
            f"Stopped after {s.step:,} of {self.config.steps:,} steps; everything is saved. {self.go_on}",
            128 + number,
        )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Yields a list that gets the number of a signal when Ctrl-C, or a system that shuts down, asks to stop.

    A step must not be cut in the middle, so the first asks, and a second one stops at once. What comes within a moment
    of the first is the first: torchrun passes on a Ctrl-C that its processes have heard themselves.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main one may take signals
        yield asked
        return

    when = 0.0

    def ask(number: int, frame: Any) -> None:
        nonlocal when
        if not asked:
            when = time.monotonic()
            asked.append(number)
        elif time.monotonic() - when > AGAIN:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
