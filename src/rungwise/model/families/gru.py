"""The gated recurrent unit (Cho et al. 2014), with the reset gate behind the product, as torch.nn.GRU has it."""

from __future__ import annotations

from torch import Tensor

from rungwise.model.families.recurrent import Recurrent


class GRU(Recurrent):
    """r, z = sigmoid(W x + U h); n = tanh(W x + r * (U h)); h = (1 - z) * n + z * h."""

    gates, carried = 3, 1

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), self.hidden(state).chunk(3, -1)
        z = (xz + hz).sigmoid()
        return (1 - z) * (xn + (xr + hr).sigmoid() * hn).tanh() + z * state
