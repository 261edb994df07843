"""Batched sampling with a key-value cache: every position is computed once, and finished words leave the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rungwise.config import UserError, derive_seed
from rungwise.model import Transformer
from rungwise.words import END, PAD, Vocabulary

BATCH = 1024
"""Words that are drawn side by side."""


class KeyValueCache:
    """What every attention layer has seen so far (the Memory of layers.py)."""

    def __init__(self) -> None:
        self.seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: nn.Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if layer in self.seen:
            past_k, past_v = self.seen[layer]
            k, v = torch.cat([past_k, k], dim=-2), torch.cat([past_v, v], dim=-2)
        self.seen[layer] = k, v
        return k, v

    def keep(self, rows: Tensor) -> None:
        """Forget all words but those of `rows`."""
        self.seen = {layer: (k[rows], v[rows]) for layer, (k, v) in self.seen.items()}


@dataclass(frozen=True)
class Sampling:
    """How words are drawn from a model."""

    temperature: float = 1.0
    """Divides the logits; 0 takes the most probable character each time."""
    top_k: int = 0
    """Only the k most probable characters; 0: all."""
    top_p: float = 1.0
    """Only the most probable characters that together hold this much probability (Holtzman et al. 2020)."""
    prefix: str = ""
    """What every word begins with."""
    max_length: int | None = None
    """Words end here at the latest; None: the longest word that the model was made for."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise UserError(f"temperature must be at least 0, but is {self.temperature}.")
        if self.top_k < 0:
            raise UserError(f"top_k must be at least 0, but is {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be above 0 and at most 1, but is {self.top_p}.")
        if self.max_length is not None and self.max_length < 1:
            raise UserError(f"max_length must be at least 1, but is {self.max_length}.")


@dataclass(frozen=True)
class Word:
    text: str
    log_likelihood: float
    """Nats, under the model itself (temperature 1, nothing cut off); given characters are not counted."""


def generate(
    model: Transformer,
    vocabulary: Vocabulary,
    n: int,
    firsts: np.ndarray | None,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Iterator[Word]:
    """Draw n words.

    `firsts`: for a model without a start token (protocol article), how often each token id begins a training word,
    (V,): such a model never predicts a first character, so it is drawn from the training words' own. None: the model
    was trained with a start token and draws its first character itself.

    Memory stays bounded whatever n: words are drawn in batches, in an order that `seed` fixes.
    """
    sampling = sampling or Sampling()
    prefix = vocabulary.encode(sampling.prefix)
    max_length = min(sampling.max_length or model.config.block_size - 1, model.config.block_size - 1)
    if len(prefix) > max_length:
        raise UserError(f"The prefix {sampling.prefix!r} is longer than the longest word ({max_length} characters).")
    generator = torch.Generator().manual_seed(derive_seed(seed, "sampling"))
    for begin in range(0, n, BATCH):
        size = min(BATCH, n - begin)
        given = torch.from_numpy(prefix).expand(size, -1)
        if firsts is None:
            given = torch.cat([torch.full((size, 1), END), given], dim=1)
        elif not len(prefix):
            weights = torch.from_numpy(firsts).double()
            given = torch.multinomial(weights, size, replacement=True, generator=generator)[:, None]
        ids, log_likelihood = _draw(model, given, max_length + (firsts is None), sampling, generator)
        for row, value in zip(ids.tolist(), log_likelihood.tolist(), strict=True):
            yield Word(vocabulary.decode(row[firsts is None :]), value)


@torch.no_grad()
def _draw(
    model: Transformer, given: Tensor, width: int, sampling: Sampling, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Continue (N, t) given tokens to at most `width`: the ids (N, width), PAD from END on, and log-likelihoods."""
    model.eval()
    n, time = given.shape
    ids = torch.full((n, width), PAD)
    ids[:, :time] = given
    log_likelihood = torch.zeros(n, dtype=torch.float64)
    alive, cache, new = torch.arange(n), KeyValueCache(), given
    while len(alive):
        logits = model(new, cache, time - new.shape[1])[:, -1].float()  # (alive, V)
        logits[:, PAD] = -torch.inf
        if time == 1 and given[0, 0] == END:
            logits[:, END] = -torch.inf  # a word has at least one character
        log_probability = logits.log_softmax(-1)
        token = _pick(logits, sampling, generator)
        if time == width:  # no room for another character: whatever was drawn, the word ends
            token = torch.full_like(token, END)
        log_likelihood[alive] += log_probability.gather(1, token[:, None])[:, 0].double()
        goes_on = token != END
        alive, new = alive[goes_on], token[goes_on, None]
        if time < width:
            ids[alive, time] = new[:, 0]
        if len(alive) < len(token):
            cache.keep(goes_on)
        time += 1
    return ids, log_likelihood


def _pick(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """One token a row of logits (N, V)."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits / sampling.temperature
    if sampling.top_k:
        kth = logits.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if sampling.top_p < 1:
        ranked, order = logits.sort(dim=-1, descending=True)
        probability = ranked.softmax(-1)
        beyond = probability.cumsum(-1) - probability >= sampling.top_p  # the mass before it already suffices
        logits = logits.masked_fill(beyond.scatter(1, order, beyond), -torch.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
