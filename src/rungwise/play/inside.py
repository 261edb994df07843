"""Where the source computes each step that the Inside view shows: read from the modules, never typed again."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from rungwise.inference.prefix_tree import Drawer
from rungwise.model.layers import MLP, Attention, LearnedPosition, Plain, Residual, RoPE, SwiGLU, make_norm
from rungwise.model.transformer import Transformer

STEPS: dict[str, tuple[tuple[Callable[..., Any], str], ...]] = {
    "embedding": ((Transformer.forward, "self.embedding("),),
    "place": ((Transformer.forward, "self.positions("), (LearnedPosition.forward, "x + self.weight")),
    "norm": ((Plain.forward, "self.norm("), (make_norm, "kind(")),
    "qkv": ((Attention.weights, "self.qkv("),),
    "rope": ((Attention.weights, "self.position("), (RoPE.forward, "torch.cat")),
    "scores": ((Attention.weights, "scores ="),),
    "weights": ((Attention.weights, "softmax"),),
    "mixed": ((Attention.forward, "@ v"),),
    "projection": ((Attention.forward, "self.projection("),),
    "out": ((Plain.forward, "return"),),
    "residual": ((Residual.forward, "x + "),),
    "mlp": ((MLP.forward, "self.activation("),),
    "swiglu": ((SwiGLU.forward, "F.silu("),),
    "final_norm": ((Transformer.forward, "self.final_norm("),),
    "logits": ((Transformer.forward, "self.head("),),
    "probabilities": ((Drawer.distribution, "return logits.softmax("),),
}
"""Step -> the functions that compute it, and what stands on the lines that do."""


def source(part: Callable[..., Any]) -> dict[str, str]:
    """The source of a function or class, and where it stands."""
    return {
        "where": f"{part.__module__.removeprefix('rungwise.').replace('.', '/')}.py, {part.__qualname__}",
        "text": textwrap.dedent(inspect.getsource(part)),
    }


def steps() -> dict[str, list[dict[str, Any]]]:
    """Of each step the functions that compute it; `lit` holds the numbers of the lines that do, from 0."""

    def one(part: Callable[..., Any], marked: str) -> dict[str, Any]:
        shown = source(part)
        return {**shown, "lit": [i for i, line in enumerate(shown["text"].split("\n")) if marked in line]}

    return {name: [one(*part) for part in parts] for name, parts in STEPS.items()}
