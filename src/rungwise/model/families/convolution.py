"""Dilated causal convolutions with gates (WaveNet, van den Oord et al. 2016, eq. 2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rungwise.config import ModelConfig
from rungwise.model.families.window import earlier
from rungwise.model.layers import Memory, make_projection


class Convolution(nn.Module):
    """tanh(W x) * sigmoid(V x) over two characters, 2^block places apart: n blocks reach over 2^n characters."""

    def __init__(self, config: ModelConfig, block: int = 0) -> None:
        super().__init__()
        self.dilation = 2**block
        self.input = nn.Linear(2 * config.n_embd, 2 * config.attention_width)
        self.projection = make_projection(config)

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        every = memory.all(self, x)
        pairs = torch.cat([every, earlier(every, self.dilation)], dim=-1)
        value, gate = self.input(pairs[..., -x.shape[-2] :, :]).chunk(2, -1)
        return self.projection(value.tanh() * gate.sigmoid())
