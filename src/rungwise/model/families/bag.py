"""A causal bag of characters: the mean of what was read, in any order (makemore's bow, Karpathy)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rungwise.config import ModelConfig
from rungwise.model.layers import Memory, make_projection


class Bag(nn.Module):
    """Attention whose weights are all alike."""

    def __init__(self, config: ModelConfig, block: int = 0) -> None:
        super().__init__()
        self.projection = make_projection(config)

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        every = memory.all(self, x)
        n = torch.arange(1, every.shape[-2] + 1, device=x.device, dtype=x.dtype)
        return self.projection((every.cumsum(-2) / n[:, None])[..., -x.shape[-2] :, :])
