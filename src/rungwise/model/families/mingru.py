"""A linear recurrence of today: minGRU (Feng et al. 2024, section 3.1), all places of a word at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rungwise.config import ModelConfig
from rungwise.model.layers import Memory, make_projection


class MinGRU(nn.Module):
    """h = (1 - z) * h + z * g, where z = sigmoid(W x) and g = V x do not read h.

    So h at t is a sum over s <= t of z * g at s, times how much of it is left: the product of 1 - z in between, which
    is exp(A_t - A_s) of the running sum A of log(1 - z). Never above 1, so nothing overflows.
    """

    def __init__(self, config: ModelConfig, block: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(config.n_embd, 2 * config.attention_width)
        self.projection = make_projection(config)

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        gate, candidate = self.input(x).chunk(2, -1)
        kept = F.logsigmoid(-gate).cumsum(-2)  # A
        left = kept.unsqueeze(-2) - kept.unsqueeze(-3)  # (B, T, S, A)
        later = torch.ones(left.shape[-3:-1], dtype=torch.bool, device=x.device).triu(1)
        left = left.masked_fill(later[..., None], -math.inf).exp()
        states = (left * (gate.sigmoid() * candidate).unsqueeze(-3)).sum(-2)
        before = memory.last(self)
        if before is not None:
            states = states + kept.exp() * before.unsqueeze(-2)
        memory.keep(self, states)
        return self.projection(states)
