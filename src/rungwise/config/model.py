"""The model's configuration."""

from dataclasses import dataclass
from typing import Literal

from rungwise.config.fields import Config
from rungwise.errors import UserError

MLP = Literal["none", "relu", "gelu", "swiglu"]
Norm = Literal["none", "layernorm", "rmsnorm"]
Position = Literal["none", "learned", "rope"]
Family = Literal["transformer", "bigram", "bow", "mlp", "rnn", "gru", "lstm", "conv", "mingru"]


def dropout_steps(p: float) -> int:
    """Dropout as masks have it, in steps of 1/65536 (model/dropout.py)."""
    return round(p * 65536)


@dataclass(frozen=True)
class ModelConfig(Config):
    """A decoder-only transformer over characters. The defaults are the article's final model."""

    vocab_size: int = 28
    """Characters of the list, and two tokens: PAD (0) and END (1, which also starts a word where a start is fed)."""
    block_size: int = 16
    """The longest sequence: the longest word and END. Sampling stops at it; learned positions know no later place."""
    n_layer: int = 4
    """Blocks, one upon the other."""
    n_head: int = 4
    """Attention heads a block."""
    n_embd: int = 64
    """Width of the residual stream."""
    head_size: int | None = None
    """Width of a head; None: n_embd / n_head. The article's single heads are half as wide as the embedding."""
    projection: bool = True
    """A linear layer (with bias) that mixes the heads' outputs."""
    residual: bool = True
    """x + f(x) around attention and MLP, instead of f(x)."""
    mlp: MLP = "gelu"
    """The MLP (n_embd -> mlp_ratio * n_embd -> n_embd) after attention, by its activation; none: no MLP."""
    mlp_ratio: int = 4
    """Hidden width of the MLP, in n_embd; swiglu takes two thirds of it, because it has a third matrix."""
    norm: Norm = "layernorm"
    """Pre-norm: before attention and before the MLP."""
    final_norm: bool = False
    """Another norm before the head. The article has none."""
    position: Position = "rope"
    """How a model knows the order of characters: RoPE rotates queries and keys, learned adds a vector a place to the
    embedding; none leaves the causal mask alone."""
    head_bias: bool = True
    """The last linear layer has a bias."""
    tie_embeddings: bool = False
    """The last linear layer's weight is the embedding."""
    dropout: float = 0.2
    """Share that training drops, of attention's weights and of what attention and MLP add to the stream."""
    attention_dropout: float | None = None
    """Share of attention's weights that training drops; None: as dropout."""
    family: Family = "transformer"
    """What mixes the places of a word: attention, or in its place nothing (bigram), the mean (bow), a layer over the
    last characters (mlp), a state (rnn, gru, lstm, mingru) or convolutions (conv). n_head and rope are attention's."""
    reach: int = 8
    """Characters that family mlp looks at, the last one included."""

    def __post_init__(self) -> None:
        self._require("vocab_size", self.vocab_size >= 3, "at least 3 (PAD, END and a character)")
        for field in ("block_size", "n_layer", "n_head", "n_embd", "mlp_ratio", "reach"):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        self._require("n_layer", self.n_layer <= 1_000, "at most 1,000")
        for field, choices in (("family", Family), ("mlp", MLP), ("norm", Norm), ("position", Position)):
            self._require_choice(field, choices)
        for field, p in (("dropout", self.dropout), ("attention_dropout", self.dropout_of_weights)):
            below = 0 <= p < 1 and dropout_steps(p) < 65536
            self._require(field, below, "at least 0 and below 1 (after rounding to 1/65536, the step of masks)")
        if self.head_size is None:
            self._require("n_embd", self.n_embd % self.n_head == 0, f"a multiple of n_head={self.n_head}")
        else:
            self._require("head_size", self.head_size >= 1, "at least 1")
        if self.final_norm and self.norm == "none":
            raise UserError("final_norm needs a norm: layernorm or rmsnorm, but norm is 'none'.")
        if self.output_width != self.n_embd and (self.final_norm or self.tie_embeddings):
            raise UserError(
                f"final_norm and tie_embeddings need a head that reads n_embd = {self.n_embd}; without a projection it "
                f"reads n_head * head_size = {self.output_width}."
            )
        if self.position == "rope" and self.family == "transformer" and self.head_width % 2:
            raise UserError(f"RoPE rotates pairs: the head size must be even, but is {self.head_width}.")
        if self.family in ("bow", "bigram") and self.attention_width != self.n_embd:
            raise UserError(f"Family {self.family} has the width of the stream: leave head_size out.")
        if not self.projection and self.attention_width != self.n_embd and self.needs_n_embd_after_attention:
            raise UserError(
                f"Without a projection, n_head * head_size = {self.attention_width} must be n_embd = {self.n_embd} "
                "where a residual, an MLP or another block follows."
            )

    @property
    def head_width(self) -> int:
        return self.head_size or self.n_embd // self.n_head

    @property
    def dropout_of_weights(self) -> float:
        """Of attention's weights."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def drops(self) -> bool:
        """Does training drop anything?"""
        return bool(dropout_steps(self.dropout) or dropout_steps(self.dropout_of_weights))

    @property
    def attention_width(self) -> int:
        """Width of the heads' outputs side by side."""
        return self.n_head * self.head_width

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the MLP; 0: there is none. SwiGLU's is two thirds as wide (Shazeer 2020, section 2)."""
        width = self.mlp_ratio * self.n_embd
        return {"none": 0, "swiglu": max(1, 2 * width // 3)}.get(self.mlp, width)

    @property
    def needs_n_embd_after_attention(self) -> bool:
        return self.residual or self.mlp != "none" or self.n_layer > 1

    @property
    def output_width(self) -> int:
        """Width of what the last linear layer reads."""
        return self.n_embd if self.projection else self.attention_width
