"""The native engine: the steps of torch_engine.py in C++ (native/), of which the model does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape, draw
from rungwise.engine import native
from rungwise.model.transformer import Transformer

FIELDS = {"param": "parameters", "exp_avg": "first", "exp_avg_sq": "second"}
"""What the parts of Engine.state() are called in native.State."""


class NativeEngine:
    """The same steps in C++ (native/): packed tokens instead of padded batches, one replica after the other."""

    name = "native"
    compiled = False

    def __init__(self, model_config: ModelConfig, train_config: TrainConfig, tape: Tape, seeds: Sequence[int]) -> None:
        self.model_config, self.config, self.tape, self.seeds = model_config, train_config, tape, seeds
        self.tokens_per_step = train_config.tokens_per_step(tape.mean_length)
        self.library = native.load()
        self.replicas = [
            native.State.fresh(
                {name: p.detach().numpy() for name, p in Transformer(model_config, seed).named_parameters()}
            )
            for seed in seeds
        ]

    def run(self, first_step: int, rates: Sequence[float]) -> np.ndarray:
        block, within = divmod(first_step, STEPS_A_BLOCK)
        losses = np.empty((len(rates), len(self.seeds)))
        for r, (seed, state) in enumerate(zip(self.seeds, self.replicas, strict=True)):
            starts, lengths = (x[within : within + len(rates)] for x in draw(self.tape, self.config, seed, block))
            inputs, targets = self.tape.packed(starts, lengths)
            losses[:, r] = self.library.train_block(
                self.model_config, self.config, state, inputs, targets, lengths, first_step, seed, rates
            )
        return losses

    def state(self) -> dict[str, np.ndarray]:
        return {
            f"{kind}/{name}": np.stack([getattr(replica, field)[name] for replica in self.replicas])
            for kind, field in FIELDS.items()
            for name in self.replicas[0].parameters
        }

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        for kind, field in FIELDS.items():
            for r, replica in enumerate(self.replicas):
                for name, array in getattr(replica, field).items():
                    array[...] = state[f"{kind}/{name}"][r]

    def close(self) -> None: ...
