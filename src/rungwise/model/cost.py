"""What a model costs: parameters, arithmetic and bytes, each by one formula. No torch here.

Dimensions: D n_embd, A width of attention, M hidden, V vocabulary; N rows, positions that a step computes.
"""

from __future__ import annotations

import math

from rungwise.config import ModelConfig, TrainConfig

STATE_BYTES = 16
"""A parameter in training: itself, its gradient and two moments, float32 each."""

RECURRENT = {"rnn": 1, "gru": 3, "lstm": 4}
"""Families that carry a state, and their gates."""


def mixing(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """The matrices, (outputs, inputs), by which a block mixes places, the projection left out."""
    d, a = config.n_embd, config.attention_width
    if gates := RECURRENT.get(config.family):
        return {"input": (gates * a, d), "hidden": (gates * a, a)}
    return {
        "transformer": {"qkv": (3 * a, d)},
        "mlp": {"input": (a, config.reach * d)},
        "conv": {"input": (2 * a, 2 * d)},
        "mingru": {"input": (2 * a, d)},
    }.get(config.family, {})


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, in the order of Transformer.named_parameters() and of engine.cpp."""
    d, a, m = config.n_embd, config.attention_width, config.mlp_hidden
    found: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size, d)}

    def norm(name: str) -> None:
        if config.norm != "none":
            found[f"{name}.weight"] = (d,)
        if config.norm == "layernorm":
            found[f"{name}.bias"] = (d,)

    def linear(name: str, outputs: int, inputs: int, bias: bool = True) -> None:
        found[f"{name}.weight"] = (outputs, inputs)
        if bias:
            found[f"{name}.bias"] = (outputs,)

    if config.position == "learned":
        found["positions.weight"] = (config.block_size, d)
    for i in range(config.n_layer):
        if config.family != "bigram":
            norm(f"blocks.{i}.attention.norm")
        for name, (outputs, inputs) in mixing(config).items():
            linear(f"blocks.{i}.attention.f.{name}", outputs, inputs, bias=name != "qkv")
        if config.projection and config.family != "bigram":
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
    three, one below the other, and so are a family's gates."""
    several = {name: outputs // config.attention_width for name, (outputs, _) in mixing(config).items()}
    hidden = (name for name, shape in shapes(config).items() if name.startswith("blocks.") and len(shape) == 2)
    return {name: several.get(name.split(".")[-2], 1) for name in hidden}


def n_parameters(config: ModelConfig) -> int:
    return sum(math.prod(shape) for shape in shapes(config).values())


def products(config: ModelConfig, n: int) -> list[tuple[int, int, int, int]]:
    """(how often, rows, inner, columns) of the linear layers' products, forward, of a step that computes N rows: as
    often again for the gradients of inputs and of weights."""
    d, a, m = config.n_embd, config.attention_width, config.mlp_hidden
    if config.family == "transformer":
        found = [(1, config.vocab_size, d, 3 * a), (config.n_layer - 1, n, d, 3 * a)]  # the first reads bare characters
    else:
        found = [(config.n_layer, n, inner, columns) for columns, inner in mixing(config).values()]
    found += [(config.n_layer, n, a, d)] * (config.projection and config.family != "bigram")
    found += [(config.n_layer, n, d, m)] * {"none": 0, "swiglu": 2}.get(config.mlp, 1)  # the gate, too
    found += [(config.n_layer, n, m, d)] * (config.mlp != "none")
    return [*found, (1, n, config.output_width, config.vocab_size)]


def flop(config: ModelConfig, n: float, attended: float) -> float:
    """Floating-point operations of a step's products, forward and backward: N rows that look at so many places."""
    linear = sum(times * rows * inner * columns for times, rows, inner, columns in products(config, round(n)))
    weighted = 2 * config.n_layer * attended * config.attention_width if config.family == "transformer" else 0
    return 3 * 2 * (linear + weighted)


def least_bytes(model: ModelConfig, config: TrainConfig, mean_length: float, steps_drawn: int) -> float:
    """What no engine trains a replica without: its state, the starts and lengths of the batches drawn at once, one
    step's stream of activations and its gradient. `mean_length`: tokens of a word."""
    stream = 8 * config.tokens_per_step(mean_length) * model.n_embd * model.n_layer
    return STATE_BYTES * n_parameters(model) + 24 * steps_drawn * config.batch_size + stream


def peak_bytes(model: ModelConfig, config: TrainConfig, steps_drawn: int) -> int:
    """What a replica takes in engine torch at the peak of a step (docs/performance.md tells how near it comes)."""
    time = model.block_size if config.batching == "words" else config.window
    places = {"transformer": 3 * model.n_head, "mingru": 3 * model.attention_width}.get(model.family, 0)
    gates = 8 * RECURRENT.get(model.family, 0) * model.attention_width
    a_block = 12 * model.n_embd + 6 * model.mlp_hidden + places * time + gates
    step = 4 * config.batch_size * time * (model.n_layer * a_block + 4 * model.vocab_size)
    drawn = steps_drawn * config.batch_size * (24 + 8 * time * model.drops)
    return STATE_BYTES * n_parameters(model) + step + drawn
