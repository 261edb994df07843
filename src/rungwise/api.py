"""For Python: train() a model on a list of words, generate() words from it, load() a run again.

What the package re-exports. Imports training and what lies below; torch is loaded when it is imported.
"""

from __future__ import annotations

import contextlib
import operator
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rungwise.config.settings import Settings
from rungwise.data import words
from rungwise.errors import UserError
from rungwise.inference.sample import Sampling, Word
from rungwise.inference.sample import generate as draw_words
from rungwise.training.run import start
from rungwise.training.run_dir import Run, load

if TYPE_CHECKING:
    from typing import Unpack

    from rungwise.config.settings import Fields
    from rungwise.inference.prefix_tree import SamplingFields

__all__ = ["Run", "Word", "generate", "load", "train"]


def train(data: str | Path | Iterable[str] = "auto", out: str | Path | None = None, **fields: Unpack[Fields]) -> Run:
    """Train a model on a list of words, and give it back.

    `data`: a file or the name of a list as on the command line, or the words themselves, strings in any iterable.
    `out`: the directory to write to; None: nothing is kept. `fields`: n_embd=64, learning_rate=1e-3, patience=5, ... as
    on the command line (`rungwise train --help` tells them all); numbers may be NumPy's. What is not of a field's type,
    or no string among the words, is a UserError.
    """
    by_name = isinstance(data, str | Path)
    asked = Settings.of({**fields, "data": str(data)} if by_name else dict(fields), "train()")
    listed = None if by_name else words.from_words(data, how=asked.list)
    with contextlib.ExitStack() as stack:
        folder = Path(out or stack.enter_context(tempfile.TemporaryDirectory()))
        return start(folder, asked, log=lambda line: None, listed=listed)


def generate(run: Run, n: int = 20, *, seed: int = 0, **sampling: Unpack[SamplingFields]) -> Iterator[Word]:
    """Draw n words from a run. `sampling`: temperature=0.8, top_k=10, prefix="ab", unique=True, ... (Sampling).

    What is not of a field's type, or below 0 for `n`, is a UserError.
    """
    n, seed = _whole("n", n), _whole("seed", seed)
    drawn = Sampling.from_dict(sampling, "generate()")
    return draw_words(
        run.model, run.vocabulary, n, run.sampled_firsts, drawn, seed, run.known, run.word_start.first_scored
    )


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"generate(): {name} must be a whole number, but is {value!r}.") from None
