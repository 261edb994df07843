"""Runs of every rung to export: random weights, norms and biases too, in a moment and without training."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch

from rungwise.config import ModelConfig, TrainConfig, get_protocol
from rungwise.data.words import Vocabulary
from rungwise.ladder import RUNGS
from rungwise.model.transformer import Transformer
from rungwise.training import run_dir
from rungwise.training.run_dir import Run
from rungwise.util.provenance import provenance

CHARACTERS = " .<>adenpé日🙂"
BLOCK_SIZE = 13


def model_of(rung: str) -> ModelConfig:
    """A rung's model, at most two blocks high, for CHARACTERS and words of at most twelve."""
    config = RUNGS[rung].model
    sizes = {"n_layer": min(2, config.n_layer), "vocab_size": 2 + len(CHARACTERS), "block_size": BLOCK_SIZE}
    return config.replace(**sizes, dropout=0.0)


def random_run(config: ModelConfig, protocol: str = "strict", seed: int = 0) -> Run:
    """A run whose every parameter is away from where it begins (a norm that is all ones hides a swap)."""
    model = Transformer(config, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    firsts = np.array([0, 0, *range(1, config.vocab_size - 1)])
    info = {"data": "made-up", "data_sha256": "0" * 64, "seed": seed, "engine": "torch", **provenance()}
    return Run(model, Vocabulary(CHARACTERS), get_protocol(protocol), firsts, TrainConfig(), info)


@functools.cache
def saved(rung: str, protocol: str = "strict") -> Path:
    """The run's directory."""
    folder = Path(tempfile.mkdtemp(prefix="rungwise-tests-")) / rung
    run_dir.save(folder, random_run(model_of(rung), protocol), ["anna"])
    return folder


def tokens_of(shape: tuple[int, int], config: ModelConfig) -> np.ndarray:
    return np.random.default_rng(0).integers(config.vocab_size, size=shape)


def logits_of(run: Run, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return run.model(torch.from_numpy(tokens)).numpy()


SHAPES = ((1, 1), (1, 7), (5, 1), (2, 3), (7, 11), (3, BLOCK_SIZE))
