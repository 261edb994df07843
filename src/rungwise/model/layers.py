"""The parts of a transformer, each small, each tested against an oracle.

Dimensions: B batch, T time (positions of a word), D n_embd, H heads, K head size, V vocabulary, and A for what
attention gives: D, or H * K where there is no projection.
"Off" is another small module, chosen where the model is built, so that no forward pass asks what it is.
"""

from __future__ import annotations

import math
from typing import Protocol as Interface
from typing import runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rungwise.config import ModelConfig, dropout_steps

ROPE_BASE = 10_000.0
NORM_EPS = 1e-5


@runtime_checkable
class Memory(Interface):
    """What a layer has seen before: nothing in training, what it asks to keep in generation."""

    def all(self, layer: nn.Module, x: Tensor, slot: int = 0) -> Tensor:
        """The rows of all positions so far, (B, ..., S, K), given those of the new ones, (B, ..., T, K). `slot`: which
        of a layer's several."""
        ...

    def last(self, layer: nn.Module) -> Tensor | None:
        """The state after the last position, (B, K); None before the first one."""
        ...

    def keep(self, layer: nn.Module, states: Tensor) -> None:
        """States after each of the new positions, (B, T, K)."""
        ...


class NoMemory:
    """All positions are new."""

    def all(self, layer: nn.Module, x: Tensor, slot: int = 0) -> Tensor:
        return x

    def last(self, layer: nn.Module) -> Tensor | None:
        return None

    def keep(self, layer: nn.Module, states: Tensor) -> None: ...


class NoPosition(nn.Module):
    """The causal mask alone tells the order."""

    def forward(self, x: Tensor, start: int) -> Tensor:
        return x


class RoPE(nn.Module):
    """Rotary position embedding (Su et al. 2021, eq. 34): pair j of a head turns by position * base^(-2j/K).

    Pairs are (j, j + K/2), as in GPT-NeoX and Llama. Scores then depend on relative position only.
    """

    frequency: Tensor

    def __init__(self, head_size: int) -> None:
        super().__init__()
        frequency = ROPE_BASE ** (-torch.arange(0, head_size, 2).float() / head_size)
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, x: Float[Tensor, "B H T K"], start: int) -> Float[Tensor, "B H T K"]:
        position = torch.arange(start, start + x.shape[-2], device=x.device)
        angle = position[:, None] * self.frequency  # (T, K/2)
        a, b = x.chunk(2, dim=-1)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) whose mask can be handed in.

    Training sets `keep` (as x; 0 or 1 / (1 - p)) for each step, so that every replica, engine and resumed run
    drops the same elements (dropout.dropout_mask). Where none is set, PyTorch draws a mask.
    """

    keep: Tensor

    def __init__(self, p: float, site: int = 0, width: int = 0, n_head: int = 0) -> None:
        """`site`: its number among the model's (SITES_A_BLOCK a block). It multiplies vectors of `width`, or, where
        n_head is not 0, the weights of so many heads."""
        super().__init__()
        self.p, self.site, self.width, self.n_head = p, site, width, n_head
        self.register_buffer("keep", torch.empty(0), persistent=False)

    def forward(self, x: Float[Tensor, ...]) -> Float[Tensor, ...]:
        if self.training and self.keep.numel():
            return x * self.keep
        return F.dropout(x, self.p, self.training)


SITES_A_BLOCK = 3
AFTER_ATTENTION, AFTER_MLP, ON_WEIGHTS = range(SITES_A_BLOCK)
"""Where a block drops: what attention adds, what the MLP adds, attention's weights."""


def make_dropout(p: float, site: int, width: int = 0, n_head: int = 0) -> nn.Module:
    return Dropout(p, site, width, n_head) if dropout_steps(p) else nn.Identity()


def make_projection(config: ModelConfig) -> nn.Module:
    """What carries the width of attention, or of another family, back to the stream's."""
    return nn.Linear(config.attention_width, config.n_embd) if config.projection else nn.Identity()


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017, eq. 1); queries, keys and values without bias."""

    def __init__(self, config: ModelConfig, block: int = 0) -> None:
        super().__init__()
        self.n_head, self.head_size = config.n_head, config.head_width
        self.qkv = nn.Linear(config.n_embd, 3 * config.attention_width, bias=False)
        self.position = RoPE(self.head_size) if config.position == "rope" else NoPosition()
        site = SITES_A_BLOCK * block + ON_WEIGHTS
        self.dropout = make_dropout(config.dropout_of_weights, site, n_head=config.n_head)
        self.projection = make_projection(config)

    def weights(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> tuple[Tensor, Tensor]:
        """Who looks at whom, (B, H, T, S), each row summing to 1, and the values there, (B, H, S, K)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_head, self.head_size)).movedim(-3, 0).transpose(-3, -2)
        k, v = memory.all(self, self.position(k, start)), memory.all(self, v, slot=1)
        scores = self.position(q, start) @ k.transpose(-2, -1) / math.sqrt(self.head_size)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1 + start)
        return scores.masked_fill(later, -math.inf).softmax(dim=-1), v

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        weights, v = self.weights(x, memory, start)
        return self.projection((self.dropout(weights) @ v).transpose(-3, -2).flatten(-2))


class MLP(nn.Module):
    """Two linear layers, position by position, with a nonlinearity between (GELU: Hendrycks & Gimpel 2016, exact)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, config.mlp_hidden)
        self.activation = {"relu": nn.ReLU, "gelu": nn.GELU}[config.mlp]()
        self.down = nn.Linear(config.mlp_hidden, config.n_embd)

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T D"]:
        return self.down(self.activation(self.up(x)))


class SwiGLU(nn.Module):
    """An MLP whose hidden layer is a product: one half gates the other (Shazeer 2020, eq. 6, here with biases)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.n_embd, config.mlp_hidden)
        self.up = nn.Linear(config.n_embd, config.mlp_hidden)
        self.down = nn.Linear(config.mlp_hidden, config.n_embd)

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T D"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def make_mlp(config: ModelConfig) -> nn.Module:
    return SwiGLU(config) if config.mlp == "swiglu" else MLP(config)


def make_norm(config: ModelConfig) -> nn.Module:
    """LayerNorm (Ba et al. 2016), RMSNorm (Zhang & Sennrich 2019: no mean, no shift), or nothing."""
    kind = {"none": nn.Identity, "layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}[config.norm]
    return kind(config.n_embd, eps=NORM_EPS)


class LearnedPosition(nn.Module):
    """A vector a place, learned like the characters' own (Vaswani et al. 2017, section 3.5), added to the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.block_size, config.n_embd))

    def forward(self, x: Float[Tensor, "B T D"], start: int) -> Float[Tensor, "B T D"]:
        return x + self.weight[start : start + x.shape[-2]]


class Tied(nn.Module):
    """A last layer whose weight is the embedding (Press & Wolf 2017)."""

    def __init__(self, embedding: nn.Embedding, bias: bool) -> None:
        super().__init__()
        self.in_features = embedding.embedding_dim
        self._embedding = (embedding,)  # in a tuple, so that its weight is no parameter of this module, too
        self.bias = nn.Parameter(torch.empty(embedding.num_embeddings)) if bias else None

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return F.linear(x, self._embedding[0].weight, self.bias)


class Plain(nn.Module):
    """f(norm(x)): a sublayer without a residual connection."""

    def __init__(self, config: ModelConfig, f: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.norm = make_norm(config)
        self.f = f
        self.dropout = dropout

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T A"]:
        return self.dropout(self.f(self.norm(x), memory, start))


class Residual(Plain):
    """x + f(norm(x)): pre-norm (Xiong et al. 2020) with a residual connection (He et al. 2016)."""

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T D"]:
        return x + super().forward(x, memory, start)


class Skip(nn.Module):
    """A sublayer that is not there."""

    def forward(self, x: Float[Tensor, "B T D"], memory: Memory, start: int) -> Float[Tensor, "B T D"]:
        return x
