"""Did training work? In words: beside counting, on words that it has not seen. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.dataset import Dataset
from rungwise.data.ngram import best_share, fit
from rungwise.judge import estimates
from rungwise.judge.estimates import Estimate
from rungwise.judge.figures import Brief

if TYPE_CHECKING:
    from rungwise.inference.score import Scores

USUAL_ORDER = 5
"""Where the protocol has no validation words to choose one by."""
SOME_GAP, LARGE_GAP = 0.05, 0.15
"""Nats a character between test and training words from which on we speak of overfitting."""
SMALLEST = 32
"""n_embd: models below are not made smaller."""


@dataclass(frozen=True)
class Counting:
    """The n-gram baseline of a split: no network, the same training and test words."""

    order: int
    test_loss: float
    """Nats a scored character."""
    nats: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    """By part of the split, "validation" and "test": of each scored character."""


def count(dataset: Dataset) -> Counting | None:
    """The order that is best on the validation words, and its loss on the test words; None for lists in shards."""
    start = dataset.protocol.word_start
    tapes = {part: dataset.scored_tape(part, start) for part in ("validation", "test")}
    if dataset.tape is None or tapes["test"] is None:
        return None
    model = fit(dataset.tape, len(dataset.vocabulary))
    model = model.at(model.best_order(tapes["validation"]) if tapes["validation"] else USUAL_ORDER)
    nats = {part: model.score(tape) for part, tape in tapes.items() if tape is not None}
    return Counting(model.order, float(nats["test"].mean()), nats)


@dataclass(frozen=True)
class Comparison:
    """What other test words would change, by the bootstrap over words. Nats a scored character."""

    test_loss: Estimate
    gain: Estimate | None
    """The n-gram model's loss less the model's, of the same words; None where not the same characters are scored."""
    share: float = 0.0
    """Of the n-gram model in a mixture of the two: the best on the validation words."""
    mixed: float | None = None
    """The mixture's test loss."""

    @classmethod
    def of(cls, scores: Mapping[str, Scores], counting: Counting | None) -> Comparison:
        """`scores`: by part of the split."""
        test, rng = scores["test"], np.random.default_rng(0)
        weights = test.lengths.astype(float)
        loss = estimates.mean(test.words / weights, weights, rng)
        if counting is None or any(len(nats) != len(scores[part].nats) for part, nats in counting.nats.items()):
            return cls(loss, None)
        counted = dataclasses.replace(test, nats=counting.nats["test"])
        gain = estimates.mean((counted.words - test.words) / weights, weights, rng)
        if "validation" not in counting.nats:
            return cls(loss, gain)
        share = best_share(*(np.exp(-nats) for nats in (scores["validation"].nats, counting.nats["validation"])))
        mixed = -np.log((1 - share) * np.exp(-test.nats) + share * np.exp(-counted.nats))
        return cls(loss, gain, share, float(mixed.mean()))


def verdict(
    losses: Mapping[str, float],
    counting: Counting | None,
    n_train: int,
    model: ModelConfig,
    train: TrainConfig,
    compared: Comparison | None = None,
) -> Iterator[str]:
    """A sentence or two. `losses`: nats a character of the parts of the split."""
    gap = losses["test"] - losses["train"]
    if counting:
        gain = counting.test_loss - losses["test"]
        between = compared.gain if compared else None
        low, high = sorted((abs(between.low), abs(between.high))) if between else (0.0, 0.0)
        range_ = f" ({low:.3f} to {high:.3f})" if between and between.low * between.high > 0 else ""
        open_ = ", but other test words may turn that round" if between and between.low <= 0 <= between.high else ""
        mixed = ""
        if compared and compared.mixed is not None and (gain <= 0 or open_):
            mixed = (
                f" Mixed with {compared.share:.0%} of the {counting.order}-gram, chosen on validation words, it has "
                f"{compared.mixed:.4f}: `eval` and `sample` do so with --ngram."
            )
        yield (
            f"Counting letters (a {counting.order}-gram, no network) has a test loss of {counting.test_loss:.4f} on "
            f"the same words: this model is {'better' if gain > 0 else 'worse'} by {abs(gain):.3f} nats a character"
            f"{range_}{open_}.{mixed}"
        )
        if gain <= 0 and gap > SOME_GAP:
            smaller = f"a smaller one (--n-embd {model.n_embd // 2}), " if model.n_embd >= SMALLEST else ""
            more = "more --dropout" if model.dropout else "--dropout 0.2"
            yield (
                f"The list is too short for this model ({n_train:,} training words): try {smaller}{more} or a longer "
                "list."
            )
        elif gain <= 0:
            yield (
                f"It has not learned all that it could: try --steps {4 * train.steps} or --n-embd {2 * model.n_embd}, "
                "or more time (--budget 1h)."
            )
    if gap > SOME_GAP:
        how = "Strong overfitting" if gap > LARGE_GAP else "Some overfitting"
        yield f"{how}: words that it was trained on have a loss {gap:.2f} lower than words that it has not seen."


def words(judged: Brief) -> str:
    """What the words are like that it writes, beside real ones."""
    floor = f"; as many real held-out words have {judged.floor:.3f}" if judged.floor is not None else ""
    return (
        f"Of {judged.n:,} words drawn, {judged.distinct:.1%} are distinct and {judged.new:.1%} are not in the list. "
        f"Their 3-grams are {judged.distance:.3f} bits from those of training words{floor}."
    )
