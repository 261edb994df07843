"""One training run in its directory: steps, evaluations, checkpoints, and how it is resumed.

checkpoint.safetensors holds all that training depends on: parameters, AdamW's moments, the step (batches, dropout
masks and learning rates are functions of the seed and the step, so it is the generators' state, too), the best
validation loss so far, and the losses not yet written to metrics.jsonl. It is replaced in one rename, so a process
that is killed at any moment leaves the last one, and a run that goes on from it takes the same steps again, bit for
bit. model.safetensors is renewed at every evaluation that finds a better validation loss.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rungwise.config import RunConfig
from rungwise.data.dataset import EVALUATION_WORDS, Dataset
from rungwise.engine.compile import Log
from rungwise.engine.loop import Engine, learning_rate, models, train
from rungwise.engine.process_group import RankLost, World
from rungwise.errors import UserError
from rungwise.inference.score import score
from rungwise.training import run_dir
from rungwise.training.run_dir import CHECKPOINT, METRICS, Configs
from rungwise.util import files
from rungwise.util.files import read_tensors, write_tensors
from rungwise.util.machine import STOPS

STEPS_AT_ONCE = 32
"""Ctrl-C and the clock are looked at between pieces of so many steps."""
AGAIN = 1.0
"""Seconds after which a signal is another one, and not the first one's echo."""


class Stopped(KeyboardInterrupt):
    """The user, or the system, asked training to stop; everything is saved."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@dataclass(frozen=True)
class Event:
    """What just happened in a run, for whoever watches it."""

    kind: Literal["block", "evaluation", "checkpoint"]
    step: int
    """Steps done."""
    values: Mapping[str, float] = field(default_factory=dict)
    """block: "loss", the mean of up to 256 steps, "tokens_per_s" and, once there is one, "best_val_loss"; evaluation:
    what metrics.jsonl gets; losses are nats a scored token."""


Observe = Callable[[Event], None]
"""Called in the training thread, between steps. What it raises ends training, as a kill would."""


@dataclass
class TrainingState:
    """How far a run is, beside its parameters and moments."""

    step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    """Of the validation words."""
    stale: int = 0
    """Evaluations since the best one."""
    pending: list[float] = field(default_factory=list)
    """Losses of the steps since the last evaluation."""


@dataclass(frozen=True)
class Setup:
    """What a run is made of, before anything is trained."""

    out: Path
    configs: Configs
    run: RunConfig
    dataset: Dataset
    world: World | None
    """The processes of the run; None: this one alone."""
    track: Sequence[str]
    log: Log
    observers: Sequence[Observe]
    data: str | None = None
    """Where the list lies, if not where config.json says."""

    @property
    def resume_hint(self) -> str:
        train = self.world.command if self.world else None
        return self.configs.resume_hint(self.out, self.data, self.track, train)


class Trainer:
    """Trains an engine in a directory, from the beginning or from its checkpoint; `observers` are told every event."""

    def __init__(self, setup: Setup, engine: Engine) -> None:
        self.setup, self.engine, self.run, self.config = setup, engine, setup.run, setup.configs.train
        self.folder, self.observers = setup.out, list(setup.observers)
        self.validation = setup.dataset.scored_tape("validation", setup.configs.word_start, EVALUATION_WORDS)
        if self.run.patience and self.validation is None:
            raise UserError(
                f"patience needs validation words, and protocol {self.run.protocol} has none: use protocol strict."
            )
        self.eval_every = self.run.interval(self.config.steps)
        self.state = TrainingState()
        self.saved_step = 0

    @property
    def finished(self) -> bool:
        """All steps are done, or patience is at an end."""
        patience = self.run.patience
        return self.state.step >= self.config.steps or (0 < patience <= self.state.stale)

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
            self.state = TrainingState(**about, pending=pending.tolist())
        except TypeError:
            raise UserError(f"{path} is of another version of rungwise.") from None
        self.engine.load_state(tensors, self.state.step)
        self.saved_step = self.state.step
        # What was written after the checkpoint will be written again.
        before = range(self.state.step + 1)
        lines = [line for line in run_dir.read_metrics(self.folder) if line["step"] in before]
        files.write_lines(self.folder / METRICS, [line for line in lines if "train_loss" in line])

    def train(self) -> None:
        """To the end, or until somebody stops it; Stopped is raised once everything is saved."""
        self.began, self.first_step = time.monotonic(), self.state.step
        saved = self.began
        with stop_signals() as asked:
            while not self.finished:
                step = self.state.step
                evaluation = (step // self.eval_every + 1) * self.eval_every
                until = min(evaluation, step + STEPS_AT_ONCE, self.config.steps)
                try:
                    train(self.engine, self.config, self._after_block, step, until)
                except RankLost as error:
                    saved_up_to = f"everything up to step {self.saved_step:,} is saved"
                    raise RankLost(f"{error}; {saved_up_to}. {self.setup.resume_hint}") from None
                if until in (evaluation, self.config.steps):
                    self.evaluate()
                if asked or time.monotonic() - saved >= self.run.save_every or self.finished:
                    self.save()
                    saved = time.monotonic()
                if asked and not self.finished:
                    self._stop(asked[0])

    def _after_block(self, step: int, losses: np.ndarray) -> None:
        self.state.step = step
        self.state.pending += losses[:, 0].astype(float).tolist()
        speed = (step - self.first_step) * self.engine.tokens_per_step / (time.monotonic() - self.began)
        values = {"loss": float(np.mean(self.state.pending[-256:])), "tokens_per_s": speed}
        if self.state.best_loss is not None:
            values["best_val_loss"] = self.state.best_loss
        self._notify(Event("block", step, values))

    def _notify(self, event: Event) -> None:
        for observe in self.observers:
            observe(event)

    def evaluate(self) -> None:
        """Score the validation words, keep the weights if they are the best so far, and write a line of metrics."""
        s = self.state
        values = {"train_loss": float(np.mean(s.pending)), "learning_rate": learning_rate(self.config, s.step - 1)}
        if self.validation is not None:
            model = models(self.engine, self.setup.configs.model, 1)[0]
            values["val_loss"] = loss = score(model, self.validation).loss
            s.stale += 1
            if s.best_loss is None or loss < s.best_loss:
                s.best_loss, s.best_step, s.stale = loss, s.step, 0
                self.save_weights()
        s.pending = []
        files.append_line(self.folder / METRICS, {"step": s.step, **values})
        self._notify(Event("evaluation", s.step, values))

    def save_weights(self) -> None:
        """The present weights become the run's."""
        model = models(self.engine, self.setup.configs.model, 1)[0]
        run_dir.save_weights(self.folder, model, {"step": self.state.step, "val_loss": self.state.best_loss})

    def save(self) -> None:
        about = dataclasses.asdict(self.state)
        pending = np.array(about.pop("pending"), dtype=np.float64)
        write_tensors(self.folder / CHECKPOINT, {**self.engine.state(), "pending": pending}, about)
        self.saved_step = self.state.step
        self._notify(Event("checkpoint", self.state.step))

    def _stop(self, number: int) -> None:
        if self.validation is None:
            self.save_weights()  # so that one can sample from what there is
        done = f"{self.state.step:,} of {self.config.steps:,} steps"
        raise Stopped(f"Stopped after {done}; everything is saved. {self.setup.resume_hint}", 128 + number)


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
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

    before = {number: signal.signal(number, ask) for number in STOPS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
