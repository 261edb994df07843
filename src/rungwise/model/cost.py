"""What a model costs: parameters, arithmetic and bytes, each by one formula. No torch here.

Dimensions: D n_embd, A width of attention, M hidden, V vocabulary; N rows, positions that a step computes.
"""

from __future__ import annotations

import math

from rungwise.config import ModelConfig, TrainConfig

STATE_BYTES = 16
"""A parameter in training: itself, its gradient and two moments, float32 each."""


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, in the order of Transformer.named_parameters() and of engine.cpp."""
    d, a, m = config.n_embd, config.attention_width, config.mlp_hidden
    found: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size, d)}

    def norm(name: str) -> None:
        if config.norm != "none":
            found[f"{name}.weight"] = (d,)
        if config.norm == "layernorm":
            found[f"{name}.bias"] = (d,)

    def linear(name: str, outputs: int, inputs: int) -> None:
        found.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    if config.position == "learned":
        found["positions.weight"] = (config.block_size, d)
    for i in range(config.n_layer):
        norm(f"blocks.{i}.attention.norm")
        found[f"blocks.{i}.attention.f.qkv.weight"] = (3 * a, d)
        if config.projection:
            linear(f"blocks.{i}.attention.f.projection", d, a)
        if m:
            norm(f"blocks.{i}.mlp.norm")
            if config.mlp == "swiglu":
                linear(f"blocks.{i}.mlp.f.gate", m, d)
            linear(f"blocks.{i}.mlp.f.up", m, d)
            linear(f"blocks.{i}.mlp.f.down", d, m)
    if config.final_norm:
        norm("final_norm")
    if not config.tie_embeddings:
        found["head.weight"] = (config.vocab_size, config.output_width)
    if config.head_bias:
        found["head.bias"] = (config.vocab_size,)
    return found


def hidden_matrices(config: ModelConfig) -> dict[str, int]:
    """Names of the matrices between embedding and head, and how many each one holds: queries, keys and values are
    three, one below the other."""
    hidden = {name for name, shape in shapes(config).items() if name.startswith("blocks.") and len(shape) == 2}
    return {name: 3 if name.endswith("qkv.weight") else 1 for name in shapes(config) if name in hidden}


def n_parameters(config: ModelConfig) -> int:
    return sum(math.prod(shape) for shape in shapes(config).values())


def products(config: ModelConfig, n: int) -> list[tuple[int, int, int, int]]:
    """(how often, rows, inner, columns) of the linear layers' products, forward, of a step that computes N rows: as
    often again for the gradients of inputs and of weights."""
    d, a, m = config.n_embd, config.attention_width, config.mlp_hidden
    found = [(1, config.vocab_size, d, 3 * a), (config.n_layer - 1, n, d, 3 * a)]  # the first reads bare characters
    found += [(config.n_layer, n, a, d)] * config.projection
    found += [(config.n_layer, n, d, m)] * {"none": 0, "swiglu": 2}.get(config.mlp, 1)  # the gate, too
    found += [(config.n_layer, n, m, d)] * (config.mlp != "none")
    return [*found, (1, n, config.output_width, config.vocab_size)]


def flop(config: ModelConfig, n: float, attended: float) -> float:
    """Floating-point operations of a step's products, forward and backward: N rows that look at so many places."""
    linear = sum(times * rows * inner * columns for times, rows, inner, columns in products(config, round(n)))
    return 3 * 2 * (linear + 2 * config.n_layer * attended * config.attention_width)


def least_bytes(model: ModelConfig, config: TrainConfig, mean_length: float, steps_drawn: int) -> float:
    """What no engine trains a replica without: its state, the starts and lengths of the batches drawn at once, one
    step's stream of activations and its gradient. `mean_length`: tokens of a word."""
    stream = 8 * config.tokens_per_step(mean_length) * model.n_embd * model.n_layer
    return STATE_BYTES * n_parameters(model) + 24 * steps_drawn * config.batch_size + stream


def peak_bytes(model: ModelConfig, config: TrainConfig, steps_drawn: int) -> int:
    """What a replica takes in engine torch at the peak of a step (docs/performance.md tells how near it comes)."""
    time = model.block_size if config.batching == "words" else config.window
    a_block = 12 * model.n_embd + 6 * model.mlp_hidden + 3 * model.n_head * time
    step = 4 * config.batch_size * time * (model.n_layer * a_block + 4 * model.vocab_size)
    drawn = steps_drawn * config.batch_size * (24 + 8 * time * bool(model.dropout))
    return STATE_BYTES * n_parameters(model) + step + drawn
