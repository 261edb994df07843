"""The classes of transformers that hold some of our models exactly: what a model must be, and where its tensors go.

Each home is an entry; nothing else knows the classes by name. A tensor of theirs is one of ours, or one of ours and
what is done to it; `{n}` runs over the blocks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rungwise.config import ModelConfig
from rungwise.model.layers import NORM_EPS, ROPE_BASE

Change = Callable[[Tensor, ModelConfig], Tensor]
Source = str | tuple[str, Change]


def transposed(x: Tensor, config: ModelConfig) -> Tensor:
    """GPT-2 keeps its matrices as (in, out); a bias stays as it is."""
    return x.t()


def no_bias(x: Tensor, config: ModelConfig) -> Tensor:
    """Zeros, where theirs has a bias for a matrix (out, in) and ours has none."""
    return torch.zeros(len(x))


def head_by_head(x: Tensor, config: ModelConfig) -> Tensor:
    """(3, H, K) rows of queries, keys and values -> (H, 3, K), as GPT-NeoX has them."""
    return x.unflatten(0, (3, config.n_head, config.head_width)).transpose(0, 1).flatten(0, 2)


def part(i: int, change: Change = lambda x, config: x) -> Change:
    """The rows of queries (0), keys (1) or values (2), and what is done to them."""
    return lambda x, config: change(x.chunk(3)[i], config)


@dataclass(frozen=True)
class Home:
    name: str
    """The class; its configuration's is named alike."""
    needs: Mapping[str, tuple[Any, ...]]
    """Fields of ModelConfig, and the values that they may have; the first is what we advise."""
    config: Callable[[ModelConfig], dict[str, Any]]
    """Its configuration, beyond what hf.build() gives to all."""
    tensors: Mapping[str, Source]
    """All but the head's, which versions of transformers name differently."""
    any_head_size: bool = False
    """Heads may be wider or narrower than n_embd / n_head."""

    def unmet(self, config: ModelConfig) -> dict[str, Any]:
        """Fields that keep a model out, and what to set them to."""
        found = {field: ok[0] for field, ok in self.needs.items() if getattr(config, field) not in ok}
        fits = config.n_embd % config.n_head == 0 if self.any_head_size else config.attention_width == config.n_embd
        return found if fits else found | {"n_embd": config.attention_width}

    def state(self, config: ModelConfig, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Its state_dict from ours, less the head."""
        found = {}
        for theirs, source in self.tensors.items():
            name, change = source if isinstance(source, tuple) else (source, None)
            for n in range(config.n_layer) if "{n}" in theirs else (0,):
                tensor = ours[name.format(n=n)]
                found[theirs.format(n=n)] = (change(tensor, config) if change else tensor).contiguous()
        return found


def both(theirs: str, ours: str, change: Change | None = None) -> dict[str, Source]:
    """Weight and bias."""
    names = {f"{theirs}.{name}": f"{ours}.{name}" for name in ("weight", "bias")}
    return {name: (source, change) if change else source for name, source in names.items()}


ATTENTION, MLP, QKV = "blocks.{n}.attention", "blocks.{n}.mlp", "blocks.{n}.attention.f.qkv.weight"
ALL_NEED = {"projection": (True,), "residual": (True,), "final_norm": (True,), "head_bias": (False,)}

GPT_NEOX = Home(
    "GPTNeoXForCausalLM",
    {**ALL_NEED, "norm": ("layernorm",), "position": ("rope",), "mlp": ("gelu", "relu")},
    lambda config: {
        "intermediate_size": config.mlp_hidden,
        "hidden_act": config.mlp,
        "layer_norm_eps": NORM_EPS,
        "use_parallel_residual": False,
        "attention_bias": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE, "partial_rotary_factor": 1.0},
    },
    {
        "gpt_neox.embed_in.weight": "embedding.weight",
        **both("gpt_neox.layers.{n}.input_layernorm", f"{ATTENTION}.norm"),
        "gpt_neox.layers.{n}.attention.query_key_value.weight": (QKV, head_by_head),
        "gpt_neox.layers.{n}.attention.query_key_value.bias": (QKV, no_bias),
        **both("gpt_neox.layers.{n}.attention.dense", f"{ATTENTION}.f.projection"),
        **both("gpt_neox.layers.{n}.post_attention_layernorm", f"{MLP}.norm"),
        **both("gpt_neox.layers.{n}.mlp.dense_h_to_4h", f"{MLP}.f.up"),
        **both("gpt_neox.layers.{n}.mlp.dense_4h_to_h", f"{MLP}.f.down"),
        **both("gpt_neox.final_layer_norm", "final_norm"),
    },
)

GPT2 = Home(
    "GPT2LMHeadModel",
    {**ALL_NEED, "norm": ("layernorm",), "position": ("learned",), "mlp": ("gelu", "relu")},
    lambda config: {
        "n_inner": config.mlp_hidden,
        "activation_function": config.mlp,
        "layer_norm_epsilon": NORM_EPS,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    {
        "transformer.wte.weight": "embedding.weight",
        "transformer.wpe.weight": "positions.weight",
        **both("transformer.h.{n}.ln_1", f"{ATTENTION}.norm"),
        "transformer.h.{n}.attn.c_attn.weight": (QKV, transposed),
        "transformer.h.{n}.attn.c_attn.bias": (QKV, no_bias),
        **both("transformer.h.{n}.attn.c_proj", f"{ATTENTION}.f.projection", transposed),
        **both("transformer.h.{n}.ln_2", f"{MLP}.norm"),
        **both("transformer.h.{n}.mlp.c_fc", f"{MLP}.f.up", transposed),
        **both("transformer.h.{n}.mlp.c_proj", f"{MLP}.f.down", transposed),
        **both("transformer.ln_f", "final_norm"),
    },
)

LLAMA = Home(
    "LlamaForCausalLM",
    {**ALL_NEED, "norm": ("rmsnorm",), "position": ("rope",), "mlp": ("swiglu",)},
    lambda config: {
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_hidden,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPS,
        "attention_bias": True,
        "mlp_bias": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
    },
    {
        "model.embed_tokens.weight": "embedding.weight",
        "model.layers.{n}.input_layernorm.weight": f"{ATTENTION}.norm.weight",
        **{f"model.layers.{{n}}.self_attn.{name}_proj.weight": (QKV, part(i)) for i, name in enumerate("qkv")},
        **{f"model.layers.{{n}}.self_attn.{name}_proj.bias": (QKV, part(i, no_bias)) for i, name in enumerate("qkv")},
        **both("model.layers.{n}.self_attn.o_proj", f"{ATTENTION}.f.projection"),
        "model.layers.{n}.post_attention_layernorm.weight": f"{MLP}.norm.weight",
        **both("model.layers.{n}.mlp.gate_proj", f"{MLP}.f.gate"),
        **both("model.layers.{n}.mlp.up_proj", f"{MLP}.f.up"),
        **both("model.layers.{n}.mlp.down_proj", f"{MLP}.f.down"),
        "model.norm.weight": "final_norm.weight",
    },
    any_head_size=True,
)

HOMES = (GPT_NEOX, GPT2, LLAMA)


def nearest(config: ModelConfig) -> tuple[Home, dict[str, Any]]:
    """The home that the fewest fields keep a model out of, and these fields; none of them: it is the model's own."""
    unmet = [(home, home.unmet(config)) for home in HOMES]
    return min(unmet, key=lambda pair: len(pair[1]))
