"""Is what another library computes from our files what we compute? Asked of every export, as it is written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from rungwise.model.transformer import Transformer

SHAPES = ((1, 1), (1, 7), (5, 1), (3, 11))
"""(batch, time) that are tried, no longer than the model's block_size."""
TOLERANCE = 1e-4
"""Of the largest logit, and at least so much: far above what another order of adding makes, far below a mistake."""


def deviation(model: Transformer, other: Callable[[np.ndarray], np.ndarray]) -> float:
    """The largest difference in logits on random tokens of several shapes. A mistake of ours ends here."""
    rng, worst = np.random.default_rng(0), 0.0
    for batch, time in SHAPES:
        tokens = rng.integers(model.config.vocab_size, size=(batch, min(time, model.config.block_size)))
        with torch.inference_mode():
            ours = model(torch.from_numpy(tokens)).numpy()
        difference = float(np.abs(other(tokens) - ours).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(ours).max())):
            raise RuntimeError(f"the exported model's logits differ by {difference:g} at shape {tokens.shape}")
        worst = max(worst, difference)
    return worst
