"""A linear recurrence of today: minGRU (Feng et al. 2024, section 3.1), all places of a word at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rungwise.config import ModelConfig
from rungwise.model.families.window import earlier
from rungwise.model.layers import Memory, make_projection


class MinGRU(nn.Module):
    """h = (1 - z) * h + z * g, where z = sigmoid(W x) and g = V x do not read h.

    Two steps in a row are one of the same form: (1 - z') (1 - z) of h is left, and (1 - z') z g + z' g' added. So pairs
    of places are joined, then pairs of pairs, until each place has read all before it (a scan, Blelloch 1990). No
    factor is above 1, so nothing overflows.
    """

    def __init__(self, config: ModelConfig, block: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(config.n_embd, 2 * config.attention_width)
        self.projection = make_projection(config)

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        gate, candidate = self.input(x).chunk(2, -1)
        left, states = (-gate).sigmoid(), gate.sigmoid() * candidate
        before = memory.last(self)
        if before is not None:  # stands before the first place
            states = torch.cat([before.unsqueeze(-2), states], dim=-2)
            left = torch.cat([torch.zeros_like(left[..., :1, :]), left], dim=-2)
        joined = 1
        while joined < states.shape[-2]:
            states = torch.addcmul(states, left, earlier(states, joined))
            left = left * earlier(left, joined)
            joined *= 2
        states = states[..., -x.shape[-2] :, :]
        memory.keep(self, states)
        return self.projection(states)
