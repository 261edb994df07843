"""The model: Block, Transformer, and how its parameters begin. Written for one model and one batch.

Training stacks replicas of it with torch.func; the shapes here never know. Dimensions: see layers.py.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rungwise.config import ModelConfig
from rungwise.model.families import make_mixer
from rungwise.model.layers import (
    AFTER_ATTENTION,
    AFTER_MLP,
    SITES_A_BLOCK,
    LearnedPosition,
    Memory,
    NoMemory,
    NoPosition,
    Plain,
    Residual,
    Skip,
    Tied,
    make_dropout,
    make_mlp,
    make_norm,
)
from rungwise.util.hashing import derive_seed


class Block(nn.Module):
    """Attention (or what another family has in its place), then MLP; each with its norm, dropout and residual
    connection, where the configuration has them."""

    def __init__(self, config: ModelConfig, number: int = 0) -> None:
        super().__init__()
        join = Residual if config.residual else Plain
        first = SITES_A_BLOCK * number
        after_attention = make_dropout(config.dropout, first + AFTER_ATTENTION, config.output_width)
        after_mlp = make_dropout(config.dropout, first + AFTER_MLP, config.n_embd)
        alone = config.family == "bigram"
        self.attention = Skip() if alone else join(config, make_mixer(config, number), after_attention)
        self.mlp = join(config, make_mlp(config), after_mlp) if config.mlp != "none" else Skip()

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        x = self.attention(x, memory, start)
        return self.mlp(x, memory, start)


class Transformer(nn.Module):
    """A decoder-only character transformer: embedding, blocks, one linear layer."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = LearnedPosition(config) if config.position == "learned" else NoPosition()
        self.blocks = nn.ModuleList(Block(config, number) for number in range(config.n_layer))
        self.final_norm = make_norm(config) if config.final_norm else nn.Identity()
        self.head = (
            Tied(self.embedding, config.head_bias)
            if config.tie_embeddings
            else nn.Linear(config.output_width, config.vocab_size, bias=config.head_bias)
        )
        initialise(self, seed)

    def forward(
        self, tokens: Int[Tensor, "B T"], memory: Memory | None = None, start: int = 0
    ) -> Float[Tensor, "B T V"]:
        """Logits of the next token at each position. `start` is the position of the first token (generation)."""
        memory = memory or NoMemory()
        x = self.positions(self.embedding(tokens), start)
        for block in self.blocks:
            x = block(x, memory, start)
        return self.head(self.final_norm(x))


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """PyTorch's default distributions: embeddings N(0, 1), linear layers U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    An embedding that is the head's weight, too, begins as a linear layer's, and so do the positions beside it: at
    N(0, 1) the first logits would be sqrt(n_embd) wide.
    Each parameter draws from a generator of its own, seeded by its name, so that the parameters which two rungs
    share begin alike under one seed: differences between rungs pair more tightly.
    """
    tied = any(isinstance(module, Tied) for module in model.modules())
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Embedding | LearnedPosition | Tied):
            continue
        for parameter_name, parameter in module.named_parameters():
            generator = torch.Generator().manual_seed(derive_seed(seed, f"init/{name}.{parameter_name}"))
            if isinstance(module, nn.Embedding | LearnedPosition) and not tied:
                parameter.normal_(generator=generator)
            else:
                fan_in = module.in_features if isinstance(module, nn.Linear | Tied) else parameter.shape[-1]
                bound = 1 / math.sqrt(fan_in)
                parameter.uniform_(-bound, bound, generator=generator)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
