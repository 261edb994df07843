"""A state that is carried from character to character: what RNN, GRU and LSTM share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rungwise.config import ModelConfig
from rungwise.model.layers import Memory, make_projection


class Recurrent(nn.Module):
    """Reads a word from left to right. Its output is the state's first A numbers; it begins at zero."""

    gates: int
    """How many vectors of width A the input and the state are mapped to."""
    carried: int
    """How many vectors of width A the state has."""

    def __init__(self, config: ModelConfig, block: int = 0) -> None:
        super().__init__()
        self.width = config.attention_width
        self.input = nn.Linear(config.n_embd, self.gates * self.width)
        self.hidden = nn.Linear(self.width, self.gates * self.width)
        self.projection = make_projection(config)

    @abstractmethod
    def step(self, x: Float[Tensor, "B G"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """The state after one more character; x: what `input` makes of it."""

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        pieces = self.input(x)
        state = memory.last(self)
        if state is None:
            state = torch.zeros_like(pieces[..., 0, : self.width]).repeat(1, self.carried)
        states = []
        for piece in pieces.unbind(-2):
            state = self.step(piece, state)
            states.append(state)
        found = torch.stack(states, dim=-2)
        memory.keep(self, found)
        return self.projection(found[..., : self.width])
