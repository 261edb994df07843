"""Several runs of one list as one model: the mean of them, and where it is asked for, with an n-gram model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rungwise.config import ListConfig
from rungwise.data.batches import Tape
from rungwise.data.dataset import EVALUATION_WORDS, ListDataset, load_list
from rungwise.data.ngram import best_share, fit
from rungwise.errors import UserError
from rungwise.inference.mixture import Mixture
from rungwise.model.transformer import Transformer
from rungwise.training.run_dir import CONFIG, Run, Weights, load


def load_several(folders: Sequence[Path], weights: Weights, ngram: bool) -> tuple[Run, Transformer | Mixture, str]:
    """The first run, what is scored and drawn from, and a line about it, empty for a single model."""
    runs = [load(folder, weights) for folder in folders]
    first = runs[0]
    for folder, run in zip(folders, runs, strict=True):
        if run.vocabulary != first.vocabulary or run.word_start != first.word_start:
            raise UserError(f"{folder} and {folders[0]} cannot be mixed: they are of other alphabets or protocols.")
    if len(runs) == 1 and not ngram:
        return first, first.model, ""
    mixture, told = Mixture([run.model for run in runs], end_fed=first.word_start.end_fed), f"{len(runs)} models"
    if ngram:
        mixture, order = _with_ngram(mixture, first, folders[0])
        told += f", and a {order}-gram model with a share of {mixture.share:.0%}, chosen on validation words"
    return first, mixture, f"A mixture of {told}."


def _with_ngram(mixture: Mixture, run: Run, folder: Path) -> tuple[Mixture, int]:
    """The best order, and the share of it that is best, on the run's own validation words."""
    source = run.info.get("list")
    if not isinstance(source, dict) or source.get("data") == "-":
        raise UserError(f"--ngram counts the run's own list, and {folder / CONFIG} does not say where it is.")
    listed, _ = load_list(ListConfig.from_dict(source, f"{folder / CONFIG}: list"), run.vocabulary.tokens)
    if listed.sha256 != run.info.get("data_sha256"):
        raise UserError(f"{listed.name} is not the list that {folder} was trained on (SHA-256 differs).")
    dataset = ListDataset(listed, run.protocol)
    held_out = dataset.scored_tape("validation", run.word_start, EVALUATION_WORDS)
    if held_out is None:
        raise UserError(f"--ngram needs validation words, and protocol {run.protocol.name} has none.")
    counted = fit(Tape.of(listed, dataset.parts.train, run.word_start), len(run.vocabulary))
    counted = counted.at(counted.best_order(held_out))
    said = np.exp(-mixture.score(held_out).nats)
    scored = np.arange(held_out.n_tokens) - np.repeat(np.cumsum(held_out.lengths) - held_out.lengths, held_out.lengths)
    spoken = np.exp(-counted.score(held_out))[scored >= held_out.unscored]
    return Mixture(mixture.models, counted, best_share(said, spoken), mixture.end_fed), counted.order
