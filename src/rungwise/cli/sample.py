"""`rungwise sample`: words from a trained model, as text or JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from rungwise.inference.sample import Sampling, Word
from rungwise.inference.sample import generate as draw_words
from rungwise.training.run_dir import Weights
from rungwise.training.run_dir import load as load_run


def sample(run_dir: Path, n: int, sampling: Sampling, seed: int, as_json: bool, weights: Weights = "best") -> None:
    """Print n words from a run, one a line, and nothing else on standard output."""
    run = load_run(run_dir, weights)
    known = run.known if as_json or sampling.new_only else None
    printed = write_words(
        draw_words(
            run.model, run.vocabulary, n, run.sampled_firsts, sampling, seed, known, run.word_start.first_scored
        ),
        as_json,
        sys.stdout,
    )
    if printed < n:
        kind = " and ".join(name for name, on in (("distinct", sampling.unique), ("new", sampling.new_only)) if on)
        kind = f"{kind} words" if kind else "words"
        print(f"Only {printed:,} of {n:,} {kind} came; the model hardly gives any more.", file=sys.stderr)


def write_words(drawn: Iterable[Word], as_json: bool, to: TextIO) -> int:
    printed = 0
    for printed, word in enumerate(drawn, 1):  # noqa: B007
        if as_json:
            value = {"word": word.text, "log_likelihood": round(word.log_likelihood, 6), "new": word.new}
            to.write(json.dumps(value, ensure_ascii=False) + "\n")
        else:
            to.write(f"{word.text}\n")
    return printed
