"""The native engine: the steps of torch_engine.py in C++ (native/), of which the model does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape, draw
from rungwise.data.teacher import Teacher
from rungwise.engine import native
from rungwise.model.transformer import Transformer


class NativeEngine:
    """The same steps in C++ (native/): packed tokens instead of padded batches, one replica after the other."""

    name = "native"
    compiled = False

    def __init__(
        self,
        model_config: ModelConfig,
        train_config: TrainConfig,
        tape: Tape,
        seeds: Sequence[int],
        teacher: Teacher | None = None,
    ) -> None:
        self.model_config, self.config, self.tape, self.seeds = model_config, train_config, tape, seeds
        self.teacher = teacher
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
            taught = None
            if t := self.teacher:
                taught = t.rows, t.at[self.tape.targets(starts, lengths)], t.weight
            replica = {key: array[r] for key, array in self.arrays.items()}
            losses[:, r] = self.library.train_block(
                self.model_config, self.config, replica, inputs, targets, lengths, first_step, seed, rates, taught
            )
        return losses

    def state(self) -> dict[str, np.ndarray]:
        return {key: array.copy() for key, array in self.arrays.items()}

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        for key, array in self.arrays.items():
            array[...] = state[key]

    def close(self) -> None: ...
