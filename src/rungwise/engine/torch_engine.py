"""The reference engine: the model's own forward pass, stacked over replicas with torch.func, and optimiser.py.

A step is one function of tensors that lie on the device: its batches are cut there from the tape, and its masks
computed. So the host does nothing but ask for it, and torch.compile takes it whole (compile.py).
Dimensions: R replicas, B batch, T time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.batches import STEPS_A_BLOCK, Tape, draw
from rungwise.data.teacher import Teacher
from rungwise.data.words import PAD
from rungwise.engine import compile as compiling
from rungwise.engine.compile import TRIAL_STEPS, Log, Step
from rungwise.engine.optimiser import Optimiser
from rungwise.model.dropout import masks, prefix_hashes, seed_keys
from rungwise.model.transformer import Transformer

Tensors = dict[str, Tensor]


class Block(NamedTuple):
    """What a block of steps reads. On the device, but for the widths."""

    number: int
    starts: Tensor
    """(steps, R, B)"""
    lengths: Tensor
    """(steps, R, B)"""
    prefixes: Tensor | None
    """(steps, R, B, T) hashes of what has been read, for dropout (model/dropout.py). Here and not in the step: a
    chain of T hashes makes the compiler slow."""
    taught: Tensor | None
    """(steps, R, B, T) the teacher's row of each target."""
    widths: list[int]
    """(steps,) the longest of each step."""


class TorchEngine:
    """See Engine in loop.py. Batches are as wide as their longest word; a compiled step, which is made for one
    width, as wide as the longest word of all. PAD is never scored, so the losses are the same."""

    def __init__(
        self,
        model_config: ModelConfig,
        train_config: TrainConfig,
        tape: Tape,
        seeds: Sequence[int],
        device: str = "cpu",
        precision: str = "fp32",
        compile: str = "off",
        log: Log = lambda line: None,
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.tape, self.seeds, self.device = train_config, tape, seeds, device
        # Products in bf16, parameters, sums, softmax and norms in fp32: torch's own rules (torch.autocast).
        self.autocast = torch.autocast(device, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        replicas = [Transformer(model_config, seed) for seed in seeds]
        self.model = replicas[0].train().to(device)
        stacked, _ = stack_module_state(list[torch.nn.Module](replicas))
        self.params = {name: p.detach().clone().to(device) for name, p in stacked.items()}
        self.optimiser = Optimiser(self.params, model_config, train_config)
        self.keys = seed_keys(list(seeds)).to(device)
        tokens = tape.tokens if tape.tokens.itemsize == 1 else tape.tokens.astype(np.int32)
        self.tokens = torch.from_numpy(tokens).to(device)
        self.teacher_weight = 0.0 if teacher is None else teacher.weight
        self.teacher = None if teacher is None else [torch.from_numpy(x).to(device) for x in (teacher.rows, teacher.at)]
        self.longest = int(tape.lengths.max()) if train_config.batching == "words" else train_config.window
        self.block: Block | None = None
        what = (model_config, train_config.batching, train_config.batch_size, bool(train_config.grad_clip))
        what = (*what, len(seeds), self.longest, len(tokens), precision, torch.get_num_threads())
        what = what if teacher is None else (*what, teacher.rows.shape, teacher.weight)
        self.compiled_step = compiling.compiled(
            self._gradients, self._trial, train_config.steps, compile, device, what, log
        )
        self.compiled = self.compiled_step is not None
        self.tokens_per_step = train_config.tokens_per_step(tape.mean_length)
        marks = (device, device != "cpu"), (precision, precision != "fp32"), ("compiled", self.compiled)
        self.name = " ".join(["torch", *(mark for mark, shown in marks if shown)])

    def _loss(self, params: Tensors, inputs: Tensor, targets: Tensor, taught: Tensors) -> Tensor:
        """Mean cross-entropy over the real tokens of one replica's batch (B, T). taught: {"rows": (B, T, V)} of the
        teacher, zero at PAD; or nothing."""
        with self.autocast:
            logits = functional_call(self.model, params, (inputs,)).float()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)
        if taught:
            nats = -(taught["rows"] * logits.log_softmax(-1)).sum()
            loss = torch.lerp(loss, nats / (targets != PAD).sum(), self.teacher_weight)
        return loss

    def _gradients(
        self,
        params: Tensors,
        tokens: Tensor,
        starts: Tensor,
        lengths: Tensor,
        prefixes: Tensor | None,
        taught: Tensor | None,
        step: Tensor,
        width: int,
    ) -> tuple[Tensors, Tensor]:
        """Clipped gradients, as params, and losses (R,) of the words at starts (R, B) of the tape."""
        inputs, targets = _cut(tokens, starts, lengths, width)
        keep = {} if prefixes is None else masks(self.model, self.keys, step, prefixes)
        rows = {} if taught is None or self.teacher is None else {"rows": self.teacher[0][taught]}

        def loss(params: Tensors, keep: Tensors, inputs: Tensor, targets: Tensor, rows: Tensors) -> Tensor:
            return self._loss({**params, **keep}, inputs, targets, rows)

        if torch.compiler.is_compiling():  # takes whole functions only
            grads, losses = vmap(grad_and_value(loss))(params, keep, inputs, targets, rows)
        else:  # the same, and a sixth faster where every operation is dispatched by itself
            leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
            losses = vmap(loss)(leaves, keep, inputs, targets, rows)
            grads = dict(zip(leaves, torch.autograd.grad(losses.sum(), list(leaves.values())), strict=True))
            losses = losses.detach()
        return self._clipped(grads) if self.config.grad_clip else grads, losses

    def _clipped(self, grads: Tensors) -> Tensors:
        norm = torch.stack([g.flatten(1).square().sum(1) for g in grads.values()]).sum(0).sqrt()  # (R,)
        scale = (self.config.grad_clip / (norm + 1e-6)).clamp(max=1)
        return {name: g * scale.view(-1, *[1] * (g.dim() - 1)) for name, g in grads.items()}

    def _block(self, number: int) -> Block:
        if self.block is None or self.block.number != number:
            drawn = [draw(self.tape, self.config, seed, number) for seed in self.seeds]
            found = [np.stack(x, axis=1) for x in zip(*drawn, strict=True)]
            starts, lengths = (torch.from_numpy(x.astype(np.int64)).to(self.device) for x in found)
            prefixes = taught = None
            if self.model.config.drops:
                prefixes = prefix_hashes(_cut(self.tokens, starts, lengths, self.longest)[0])
            if self.teacher:
                taught = _cut(self.teacher[1], starts, lengths, self.longest)[1]  # row 0 where a target is PAD
            self.block = Block(number, starts, lengths, prefixes, taught, found[1].max(axis=(1, 2)).tolist())
        return self.block

    def _call(self, gradients: Step, step: int) -> tuple[Tensors, Tensor]:
        number, i = divmod(step, STEPS_A_BLOCK)
        block = self._block(number)
        plain = gradients == self._gradients
        width = block.widths[i] if plain else self.longest
        if not plain:
            torch.compiler.cudagraph_mark_step_begin()  # the last step's gradients are needed no more
        prefixes, taught = (None if all_ is None else all_[i, ..., :width] for all_ in (block.prefixes, block.taught))
        # A number of the host's would be compiled in, and every step compiled anew.
        at = torch.full((), step, device=self.device)
        return gradients(self.params, self.tokens, block.starts[i], block.lengths[i], prefixes, taught, at, width)

    def _trial(self, gradients: Step) -> float:
        """Seconds a step, the first left out; nothing is changed."""

        def take(step: int) -> None:
            self._call(gradients, step)[1].sum().item()  # waits for the device

        take(0)
        began = time.perf_counter()
        for step in range(TRIAL_STEPS):
            take(1 + step)
        return (time.perf_counter() - began) / TRIAL_STEPS

    def run(self, first_step: int, rates: Sequence[float]) -> np.ndarray:
        losses = torch.empty(len(rates), len(self.seeds), device=self.device)
        for i, rate in enumerate(rates):
            grads, losses[i] = self._call(self.compiled_step or self._gradients, first_step + i)
            for name, p in self.params.items():
                p.grad = grads[name].contiguous()  # fused AdamW reads memory in order
            self.optimiser.step(rate)
        return losses.cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        return self.optimiser.state()

    def load_state(self, state: dict[str, np.ndarray], step: int) -> None:
        self.optimiser.load_state(state, step)

    def close(self) -> None: ...


def _cut(tokens: Tensor, starts: Tensor, lengths: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Tape.padded, on the device: inputs and targets (..., width) of starts and lengths (...)."""
    columns = torch.arange(width + 1, device=tokens.device)
    found = tokens[(starts[..., None] + columns).clamp(max=len(tokens) - 1)].long()
    inside = columns[:-1] < lengths[..., None]
    return found[..., :-1].where(inside, PAD), found[..., 1:].where(inside, PAD)
