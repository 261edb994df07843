"""Long short-term memory (Hochreiter & Schmidhuber 1997), with the forget gate of Gers et al. 2000."""

from __future__ import annotations

import torch
from torch import Tensor

from rungwise.model.families.recurrent import Recurrent


class LSTM(Recurrent):
    """i, f, o = sigmoid(W x + U h); c = f * c + i * tanh(W x + U h); h = o * tanh(c). The state is h, then c."""

    gates, carried = 4, 2

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h, c = state.chunk(2, -1)
        i, f, g, o = (x + self.hidden(h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return torch.cat([o.sigmoid() * c.tanh(), c], dim=-1)
