"""The neural probabilistic language model (Bengio et al. 2003): a hidden layer over the last few characters."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rungwise.config import ModelConfig
from rungwise.model.layers import Memory, make_projection


def earlier(x: Float[Tensor, "B S D"], places: int) -> Float[Tensor, "B S D"]:
    """What stood so many places before each place; zeros before the word began."""
    length = x.shape[-2]
    return torch.cat([torch.zeros_like(x[..., : min(places, length), :]), x[..., : max(length - places, 0), :]], dim=-2)


class Window(nn.Module):
    """tanh(W [x_t, x_(t-1), ..., x_(t-reach+1)] + b)."""

    def __init__(self, config: ModelConfig, block: int = 0) -> None:
        super().__init__()
        self.reach = config.reach
        self.input = nn.Linear(config.reach * config.n_embd, config.attention_width)
        self.projection = make_projection(config)

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        every = memory.all(self, x)
        seen = torch.cat([earlier(every, places) for places in range(self.reach)], dim=-1)
        return self.projection(self.input(seen[..., -x.shape[-2] :, :]).tanh())
