"""What takes a step from gradients: AdamW, or Muon for the hidden matrices with AdamW for the rest.

AdamW is torch's. Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) makes the momentum of a matrix nearly
orthogonal, by Newton-Schulz iterations, and steps by that: every direction that the gradients agree on counts alike,
however large it is. The hidden matrices are those between embedding and head; queries, keys and values are three.
It computes what torch.optim.Muon does with adjust_lr_fn="match_rms_adamw" (Liu et al. 2025: an entry of the step is as
large as AdamW's, so both take one learning rate), but all matrices of a shape at once, those of all replicas with
them, and in float32 instead of bfloat16, so that both engines agree. Dimensions: N matrices, M <= K.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from rungwise.config import ModelConfig, TrainConfig
from rungwise.model.cost import hidden_matrices

MOMENTUM = 0.95
ITERATIONS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
"""Of Newton-Schulz: X <- a X + b (X X^T) X + c (X X^T)^2 X."""
RMS = 0.2
"""The root of the mean square of AdamW's steps, by which Muon's are measured."""


class Optimiser:
    """Of parameters by name, (..., rows, columns) where they are matrices: replicas may be stacked in front."""

    def __init__(self, params: Mapping[str, Tensor], model: ModelConfig, train: TrainConfig) -> None:
        self.params, self.decay = params, train.weight_decay
        parts = hidden_matrices(model) if train.optimizer == "muon" else {}
        self.momenta = {name: torch.zeros_like(params[name]) for name in parts}
        self.shapes: dict[tuple[int, int], list[tuple[str, int]]] = {}
        """Parameters of Muon, and of how many matrices each is made, by the smaller and the larger side of these."""
        for name, n in parts.items():
            rows, columns = params[name].shape[-2] // n, params[name].shape[-1]
            self.shapes.setdefault((min(rows, columns), max(rows, columns)), []).append((name, n))
        others = [p for name, p in params.items() if name not in parts]
        betas = train.beta1, train.beta2
        self.adamw = AdamW(others, betas=betas, weight_decay=train.weight_decay, fused=True)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """By the parameters' `grad`."""
        for (_, large), names in self.shapes.items():
            momenta = [self._momentum(name, n) for name, n in names]
            updates = orthogonal(torch.cat(momenta)).split([len(momentum) for momentum in momenta])
            for (name, n), update in zip(names, updates, strict=True):
                p = self.params[name]
                parts = p.unflatten(-2, (n, -1))
                update = update if parts.shape[-2] <= parts.shape[-1] else update.mT
                p.mul_(1 - rate * self.decay)
                p.add_(update.reshape(p.shape), alpha=-rate * RMS * math.sqrt(large))
        self.adamw.param_groups[0]["lr"] = rate
        self.adamw.step()

    def _momentum(self, name: str, n: int) -> Tensor:
        """The momentum, which the gradient changes, and the gradient once more (Nesterov), (N, M, K)."""
        grad, momentum = self.params[name].grad, self.momenta[name]
        assert grad is not None
        momentum.lerp_(grad, 1 - MOMENTUM)
        matrices = grad.lerp(momentum, MOMENTUM).unflatten(-2, (n, -1)).flatten(0, -3)
        return matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and moments by KIND/NAME, as Engine.state(); what Muon steps has no second moment: zeros."""
        found = {f"param/{name}": p for name, p in self.params.items()}
        for name, p in self.params.items():
            moments = self.adamw.state[p] if name not in self.momenta else {"exp_avg": self.momenta[name]}
            found |= {f"{key}/{name}": moments.get(key, torch.zeros_like(p)) for key in ("exp_avg", "exp_avg_sq")}
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Copies of them."""
        return {key: value.detach().cpu().numpy().copy() for key, value in self.tensors().items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, np.ndarray], step: int) -> None:
        """Go back to what state() gave after `step` steps."""
        for name, p in self.params.items():
            p.copy_(torch.from_numpy(state[f"param/{name}"]))
            moments = {key: torch.from_numpy(state[f"{key}/{name}"]).to(p.device) for key in ("exp_avg", "exp_avg_sq")}
            if name in self.momenta:
                self.momenta[name].copy_(moments["exp_avg"])
            else:
                self.adamw.state[p] = {"step": torch.tensor(float(step), device=p.device), **moments}


def orthogonal(matrices: Tensor) -> Tensor:
    """U V^T of matrices U S V^T, (N, M, K), with singular values between 0.7 and 1.2 instead of 1."""
    a, b, c = COEFFICIENTS
    x = matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
