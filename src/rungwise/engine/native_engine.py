"""The native engine: the steps of torch_engine.py in C++ (native/), of which the model does not know."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape, draw
from rungwise.engine import native
from rungwise.model.transformer import Transformer
from rungwise.util.machine import cores


class NativeEngine:
    """The same steps in C++ (native/): packed tokens instead of padded batches, one replica after the other.

    threads: that take a step together; 0: as many as torch takes in this process, or one where that is faster.
    """

    name = "native"
    compiled = False

    def __init__(
        self,
        model_config: ModelConfig,
        train_config: TrainConfig,
        tape: Tape,
        seeds: Sequence[int],
        precision: str = "fp32",
        threads: int = 0,
    ) -> None:
        self.bf16 = precision == "bf16"
        self.name = f"native {precision}" if self.bf16 else self.name
        self.pace = _Pace({threads} if threads else {1, min(torch.get_num_threads(), cores())})
        self.model_config, self.config, self.tape, self.seeds = model_config, train_config, tape, seeds
        self.tokens_per_step = train_config.tokens_per_step(tape.mean_length)
        self.library = native.load()
        drawn = [dict(Transformer(model_config, seed).named_parameters()) for seed in seeds]
        self.arrays = {f"param/{name}": np.stack([p[name].detach().numpy() for p in drawn]) for name in drawn[0]}
        for moment in native.KINDS[1:]:
            self.arrays |= {f"{moment}/{name}": np.zeros_like(self.arrays[f"param/{name}"]) for name in drawn[0]}

    def run(self, first_step: int, rates: Sequence[float]) -> np.ndarray:
        block, within = divmod(first_step, STEPS_A_BLOCK)
        losses = np.empty((len(rates), len(self.seeds)))
        for r, seed in enumerate(self.seeds):
            starts, lengths = (x[within : within + len(rates)] for x in draw(self.tape, self.config, seed, block))
            inputs, targets = self.tape.packed(starts, lengths)
            replica = {key: array[r] for key, array in self.arrays.items()}
            threads, began = self.pace.choose(), time.perf_counter()
            losses[:, r] = self.library.train_block(
                *(self.model_config, self.config, replica, inputs, targets, lengths, first_step, seed, rates),
                *(threads, self.bf16),
            )
            self.pace.took(threads, (time.perf_counter() - began) / len(rates))
        return losses

    def state(self) -> dict[str, np.ndarray]:
        return {key: array.copy() for key, array in self.arrays.items()}

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        for key, array in self.arrays.items():
            array[...] = state[key]

    def close(self) -> None: ...


class _Pace:
    """How many threads a step had best take: other programs may want the cores, and small steps are short. The bits do
    not depend on it, so a run may change its mind."""

    EVERY = 16
    """Calls from one trial of what was slower to the next."""

    def __init__(self, choices: set[int]) -> None:
        self.seconds = dict.fromkeys(choices, 0.0)
        self.calls = 0

    def choose(self) -> int:
        """What was not tried yet, then what took the least time."""
        self.calls += 1
        of_all = sorted(self.seconds, key=self.seconds.__getitem__)
        return of_all[-1] if self.calls % self.EVERY == 0 else of_all[0]

    def took(self, threads: int, seconds_a_step: float) -> None:
        self.seconds[threads] = seconds_a_step
