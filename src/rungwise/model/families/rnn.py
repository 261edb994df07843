"""The simple recurrent network (Elman 1990)."""

from __future__ import annotations

from torch import Tensor

from rungwise.model.families.recurrent import Recurrent


class RNN(Recurrent):
    """h = tanh(W x + U h + b)."""

    gates, carried = 1, 1

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return (x + self.hidden(state)).tanh()
