"""What dropout multiplies by: a function of the seed, the step, the place in the model and what has been read there.

Nothing is drawn one after the other, so every engine, process and resumed run drops the same elements, in any order;
the native engine computes the same in C++. Torch has no unsigned 64-bit arithmetic: int64 wraps to the same bits.
Dimensions: ... replicas, or nothing; B batch, T time, H heads.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from rungwise.config import dropout_steps
from rungwise.model.layers import Dropout
from rungwise.model.transformer import Transformer
from rungwise.util import hashing
from rungwise.util.hashing import derive_seed


def seed_keys(seeds: list[int]) -> Tensor:
    """(seeds,) int64: what the masks of each seed come from."""
    return torch.from_numpy(np.array([derive_seed(seed, "dropout") for seed in seeds], dtype=np.uint64).view(np.int64))


def masks(model: nn.Module, keys: Tensor, step: Tensor | int, prefixes: Tensor) -> dict[str, Tensor]:
    """What the dropout modules multiply by at a step, by the names of their buffers.

    keys: (...,) of seed_keys; prefixes: (..., B, T) prefix_hashes of what the step reads. The last dimensions of each
    mask are those that the module meets.
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            key = mask_key(keys, step, module.site)
            if module.n_head:
                found[f"{name}.keep"] = attention_mask(module.p, key, prefixes, module.n_head)
            else:
                found[f"{name}.keep"] = dropout_mask(module.p, key, prefixes, module.width)
    return found


def set_masks(model: Transformer, seed: int, step: int, inputs: Tensor) -> None:
    """Hand the dropout modules their masks for a step that reads inputs (B, T)."""
    key = seed_keys([seed]).to(inputs.device)[0]
    for name, keep in masks(model, key, step, prefix_hashes(inputs)).items():
        module, _, buffer = name.rpartition(".")
        setattr(model.get_submodule(module), buffer, keep)


def mask_key(keys: Tensor, step: Tensor | int, site: int) -> Tensor:
    """What the masks of one site at one step are drawn from, as keys (of seed_keys)."""
    for part in (step, site):
        keys = _mix64(keys + torch.as_tensor(part + 1, device=keys.device) * GOLDEN)
    return keys


def prefix_hashes(inputs: Tensor) -> Tensor:
    """(..., T) int64 of tokens (..., T): a hash of each beginning, up to and with its own token."""
    found, before = [], torch.zeros_like(inputs[..., 0])
    for t in range(inputs.shape[-1]):
        before = _mix64(before + (inputs[..., t] + 1) * GOLDEN)
        found.append(before)
    return torch.stack(found, dim=-1)


def dropout_mask(p: float, key: Tensor, prefixes: Tensor, width: int) -> Tensor:
    """What dropout multiplies a sublayer's output by, (..., B, T, width) float32: 0 (probability p) or 1 / (1 - p).

    A function of the key and of what has been read up to the place, prefixes (..., B, T). So two words of a batch that
    begin alike drop the same elements as far as they do, and are one computation so far (native/); to each word its
    masks are what they would be alone, so the expected loss and gradient are those of independent masks. Where in
    the batch a word stands, and how it is padded, sliced or trimmed, changes nothing.

    SplitMix64 from key + prefix on, 16 bits an element (p in steps of 1/65536): several times cheaper than a stateful
    generator.
    """
    threshold, numbers = dropout_steps(p), -(-width // 4)  # a 64-bit number holds four elements
    counted = torch.arange(1, numbers + 1, device=prefixes.device) * GOLDEN
    bits = _mix64(key[..., None, None, None] + prefixes[..., None] + counted)
    lanes = (bits[..., None] >> torch.arange(0, 64, 16, device=prefixes.device)) & 0xFFFF
    kept = lanes.flatten(-2)[..., :width] >= threshold
    return kept * torch.tensor(65536 / (65536 - threshold), device=prefixes.device)


def attention_mask(p: float, key: Tensor, prefixes: Tensor, n_head: int) -> Tensor:
    """What dropout multiplies attention's weights by, (..., B, H, T, S) float32: queries at T, keys at S."""
    time, padded = prefixes.shape[-1], -(-n_head // 4) * 4
    mask = dropout_mask(p, key, prefixes, time * padded)
    return mask.unflatten(-1, (time, padded))[..., :n_head].movedim(-1, -3)


GOLDEN, FIRST, SECOND = (int(factor.view(np.int64)) for factor in (hashing.GOLDEN, *hashing.MIX64))


def _mix64(x: Tensor) -> Tensor:
    """hashing.mix64, on int64 that stand for unsigned numbers."""
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, n: int) -> Tensor:
    """x >> n, zeros coming in."""
    return (x >> n) & ((1 << (64 - n)) - 1)
