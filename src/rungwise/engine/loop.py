"""What an engine is, and one training loop for R replicas of a model at once, each with its own seed.

The loop runs in blocks of steps on an engine: `TorchEngine` stacks the replicas with torch.func and is the reference;
`NativeEngine` does the same arithmetic in C++ where there is a compiler; `DistributedEngine` trains one replica over
several processes. All meet the same batches, masks and learning rates. Dimensions: R replicas.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

import numpy as np
import torch

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK
from rungwise.errors import UserError
from rungwise.model.transformer import Transformer


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step 0, 1, ...: constant, or linear warm-up and then half a cosine (Loshchilov & Hutter 2017, eq. 5).

    The first step takes 1/warmup_steps of the peak, step warmup_steps the peak itself, and the last step comes
    within one step of min_learning_rate.
    """
    if config.schedule == "constant":
        return config.learning_rate
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return config.min_learning_rate + (config.learning_rate - config.min_learning_rate) * cosine


class Engine(Interface):
    """What runs steps: it holds the parameters and the optimiser's state of all replicas.

    Nobody needs to know which engine it is: what they differ in is told here.
    """

    name: str
    """For people: which engine, and how it runs where that is not the usual."""
    tokens_per_step: float
    """Real tokens that one replica reads in a step, in the mean."""
    compiled: bool
    """Are its steps compiled by torch.compile? The last bits of losses depend on it."""

    def run(self, first_step: int, rates: Sequence[float]) -> np.ndarray:
        """Run len(rates) steps within one block; returns the losses before each, (steps, R) nats a scored token."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Parameters and optimiser moments: `param/NAME`, `exp_avg/NAME`, `exp_avg_sq/NAME`, (R, ...) each."""
        ...

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        """Go on from a state that was taken after `step` steps."""
        ...

    def close(self) -> None:
        """The last call: let go of other processes, where there are any."""
        ...


def train(
    engine: Engine,
    config: TrainConfig,
    after_block: Callable[[int, np.ndarray], None] = lambda step, losses: None,
    first_step: int = 0,
    last_step: int | None = None,
) -> None:
    """Run an engine from `first_step` to `last_step` (None: the end). `after_block(steps done, losses (steps, R))`
    follows each block. Where one stops and goes on does not change what is computed."""
    step, end = first_step, config.steps if last_step is None else last_step
    while step < end:
        n = min(STEPS_A_BLOCK - step % STEPS_A_BLOCK, end - step)
        losses = engine.run(step, [learning_rate(config, s) for s in range(step, step + n)])
        if not np.isfinite(losses).all():
            bad = step + int(np.flatnonzero(~np.isfinite(losses).all(axis=1))[0])
            raise UserError(
                f"Training diverged: the loss of step {bad} is not finite. Try a lower learning_rate or grad_clip=1."
            )
        step += n
        after_block(step, losses)


def models(engine: Engine, config: ModelConfig, n: int) -> list[Transformer]:
    """The replicas as ordinary modules, in evaluation mode."""
    state, found = engine.state(), []
    for r in range(n):
        model = Transformer(config)
        model.load_state_dict(
            {k.removeprefix("param/"): torch.from_numpy(v[r]) for k, v in state.items() if k.startswith("param/")}
        )
        found.append(model.eval())
    return found
