"""What every format returns, and its check: does another library compute from our files what we compute?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from rungwise.data.words import FIRST_CHARACTER, Vocabulary
from rungwise.model.transformer import Transformer
from rungwise.training.run_dir import Run

SHAPES = ((1, 1), (1, 7), (5, 1), (3, 11))
"""(batch, time) that are tried, no longer than the model's block_size."""
TOLERANCE = 1e-4
"""Of the largest logit, and at least so much: far above what another order of adding makes, far below a mistake."""


@dataclass(frozen=True)
class Made:
    """The files of one export."""

    what: str
    """In a few words, for the line that the command prints and for the model card."""
    library: str
    """The hub's name for the library that reads it."""
    code: str
    """Python that uses these very files, run in their directory."""
    notes: tuple[str, ...]
    """What one should know of them."""
    error: float
    """The largest difference between the library's logits and ours."""


def example(code: str, run: Run) -> str:
    """The code with a PREFIX that words may have, as a text or as a list of SYMBOLS: the most frequent first symbol, if
    the model needs one."""
    firsts = run.sampled_firsts
    prefix = [] if firsts is None else [symbols(run.vocabulary)[int(firsts.argmax()) - FIRST_CHARACTER]]
    return code.replace("PREFIX", repr("".join(prefix))).replace("SYMBOLS", repr(prefix))


def symbols(vocabulary: Vocabulary) -> list[str]:
    """The text of every id from FIRST_CHARACTER on. What a word is given ends in a line break: no symbol holds one."""
    return [*vocabulary.characters, *(f"<{value}>\n" for value in vocabulary.conditions)]


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
