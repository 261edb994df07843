"""One training loop for R replicas of a model at once, each with its own seed.

The loop runs in blocks of steps on an engine: `TorchEngine` stacks the replicas with torch.func and is the reference;
`NativeEngine` (native/) does the same arithmetic in C++ where there is a compiler. Both meet the same batches, masks
and learning rates. Dimensions: R replicas, B batch, T time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol as Interface

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from rungwise import native
from rungwise.batches import SITES_A_BLOCK, STEPS_A_BLOCK, Tape, attention_mask, draw, dropout_mask, mask_key
from rungwise.config import ModelConfig, TrainConfig, UserError, closest
from rungwise.layers import Dropout
from rungwise.model import Transformer
from rungwise.words import PAD


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


def mask_of(name: str, config: ModelConfig, seed: int, step: int, inputs: np.ndarray) -> np.ndarray:
    """What a Dropout module, by its name in the model, multiplies by where the model reads inputs (B, T):
    blocks.N.attention.dropout (what attention adds), blocks.N.mlp.dropout (what the MLP adds) or
    blocks.N.attention.f.dropout (attention's weights)."""
    _, block, *where, _ = name.split(".")
    site = SITES_A_BLOCK * int(block) + (["attention"], ["mlp"], ["attention", "f"]).index(where)
    key = mask_key(seed, step, site)
    if where[-1] == "f":
        return attention_mask(config.dropout, key, inputs, config.n_head)
    return dropout_mask(config.dropout, key, inputs, config.n_embd if where[-1] == "mlp" else config.output_width)


class Engine(Interface):
    """What runs steps: it holds the parameters and the optimiser's state of all replicas."""

    name: str

    def run(self, first_step: int, rates: Sequence[float]) -> np.ndarray:
        """Run len(rates) steps within one block; returns the losses before each, (steps, R) nats a scored token."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Parameters and optimiser moments: `param/NAME`, `exp_avg/NAME`, `exp_avg_sq/NAME`, (R, ...) each."""
        ...

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        """Go on from a state that was taken after `step` steps."""
        ...


class TorchEngine:
    """The reference: the model's own forward pass under vmap, autograd, and torch.optim.AdamW on stacked parameters."""

    name = "torch"

    def __init__(
        self,
        model_config: ModelConfig,
        train_config: TrainConfig,
        tape: Tape,
        seeds: Sequence[int],
        device: str = "cpu",
    ) -> None:
        self.config, self.tape, self.seeds, self.device = train_config, tape, seeds, device
        models = [Transformer(model_config, seed).to(device) for seed in seeds]
        self.model = models[0].train()
        stacked, _ = stack_module_state(list[torch.nn.Module](models))
        self.params: dict[str, Tensor] = {name: p.detach().clone().requires_grad_() for name, p in stacked.items()}
        self.optimiser = torch.optim.AdamW(
            self.params.values(),
            betas=(train_config.beta1, train_config.beta2),
            weight_decay=train_config.weight_decay,
            fused=True,
        )
        self.block: tuple[int, np.ndarray, np.ndarray] | None = None

    def _loss(self, params: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over the real tokens of one replica's batch."""
        logits = functional_call(self.model, params, (inputs,))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)

    def _sequences(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and lengths of a block of steps, (steps, R, B) each."""
        if self.block is None or self.block[0] != block:
            drawn = [draw(self.tape, self.config, seed, block) for seed in self.seeds]
            self.block = (block, np.stack([s for s, _ in drawn], 1), np.stack([n for _, n in drawn], 1))
        return self.block[1], self.block[2]

    def _masks(self, step: int, inputs: np.ndarray) -> dict[str, Tensor]:
        """What the dropout modules multiply by at this step, (R, ...) each, for inputs (R, B, T)."""
        config, masks = self.model.config, {}
        for name, module in self.model.named_modules():
            if isinstance(module, Dropout):
                drawn = [mask_of(name, config, seed, step, x) for seed, x in zip(self.seeds, inputs, strict=True)]
                masks[f"{name}.keep"] = torch.from_numpy(np.stack(drawn)).to(self.device)
        return masks

    def _clip(self) -> None:
        grads = [p.grad for p in self.params.values() if p.grad is not None]
        norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()  # (R,)
        scale = (self.config.grad_clip / (norm + 1e-6)).clamp(max=1)
        for g in grads:
            g.mul_(scale.view(-1, *[1] * (g.dim() - 1)))

    def run(self, first_step: int, rates: Sequence[float]) -> np.ndarray:
        starts, lengths = self._sequences(first_step // STEPS_A_BLOCK)
        losses = torch.empty(len(rates), len(self.seeds), device=self.device)
        for i, rate in enumerate(rates):
            within = (first_step + i) % STEPS_A_BLOCK
            width = int(lengths[within].max())  # no column that is PAD in every word
            padded = self.tape.padded(starts[within], lengths[within], width)
            inputs, targets = (torch.from_numpy(x).to(self.device) for x in padded)
            each = vmap(self._loss)({**self.params, **self._masks(first_step + i, padded[0])}, inputs, targets)
            self.optimiser.zero_grad()
            each.sum().backward()
            if self.config.grad_clip:
                self._clip()
            self.optimiser.param_groups[0]["lr"] = rate
            self.optimiser.step()
            losses[i] = each.detach()
        return losses.cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        found = {f"param/{name}": p.detach() for name, p in self.params.items()}
        for name, p in self.params.items():
            moments = self.optimiser.state[p]
            for key in ("exp_avg", "exp_avg_sq"):
                found[f"{key}/{name}"] = moments.get(key, torch.zeros_like(p))
        return {key: value.cpu().numpy().copy() for key, value in found.items()}

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(torch.from_numpy(state[f"param/{name}"]))
                self.optimiser.state[p] = {
                    "step": torch.tensor(float(step), device=self.device),
                    **{k: torch.from_numpy(state[f"{k}/{name}"]).to(self.device) for k in ("exp_avg", "exp_avg_sq")},
                }


FIELDS = {"param": "parameters", "exp_avg": "first", "exp_avg_sq": "second"}
"""What the parts of Engine.state() are called in native.State."""


class NativeEngine:
    """The same steps in C++ (native/): packed tokens instead of padded batches, one replica after the other."""

    name = "native"

    def __init__(self, model_config: ModelConfig, train_config: TrainConfig, tape: Tape, seeds: Sequence[int]) -> None:
        self.model_config, self.config, self.tape, self.seeds = model_config, train_config, tape, seeds
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


def choose_engine(name: str) -> str:
    """`native` or `torch`: auto takes native where there is a compiler."""
    if name == "auto":
        return "torch" if native.why_not() else "native"
    if name not in ("native", "torch"):
        raise UserError(f"Unknown engine {name!r}; {closest(name, ('auto', 'native', 'torch'))}")
    if name == "native" and (reason := native.why_not()):
        raise UserError(f"{reason} Install a C++ compiler, or use engine torch.")
    return name


def make_engine(
    model_config: ModelConfig, train_config: TrainConfig, tape: Tape, seeds: Sequence[int], name: str = "auto"
) -> Engine:
    kind = {"native": NativeEngine, "torch": TorchEngine}[choose_engine(name)]
    return kind(model_config, train_config, tape, seeds)


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
