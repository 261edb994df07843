"""Did training work? In words: beside counting, on words that it has not seen. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rungwise.config import ModelConfig, TrainConfig
from rungwise.data.dataset import Dataset
from rungwise.data.ngram import fit
from rungwise.judge.figures import Brief

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


def count(dataset: Dataset) -> Counting | None:
    """The order that is best on the validation words, and its loss on the test words; None for lists in shards."""
    start = dataset.protocol.word_start
    validation, test = (dataset.scored_tape(part, start) for part in ("validation", "test"))
    if dataset.tape is None or test is None:
        return None
    model = fit(dataset.tape, len(dataset.vocabulary))
    order = model.best_order(validation) if validation else USUAL_ORDER
    return Counting(order, model.at(order).loss(test))


def verdict(
    losses: Mapping[str, float], counting: Counting | None, n_train: int, model: ModelConfig, train: TrainConfig
) -> Iterator[str]:
    """A sentence or two. `losses`: nats a character of the parts of the split."""
    gap = losses["test"] - losses["train"]
    if counting:
        gain = counting.test_loss - losses["test"]
        yield (
            f"Counting letters (a {counting.order}-gram, no network) has a test loss of {counting.test_loss:.4f} on "
            f"the same words: this model is {'better' if gain > 0 else 'worse'} by {abs(gain):.3f} nats a character."
        )
        if gain <= 0 and gap > SOME_GAP:
            smaller = f"a smaller one (--n-embd {model.n_embd // 2}), " if model.n_embd >= SMALLEST else ""
            more = "more --dropout" if model.dropout else "--dropout 0.2"
            yield (
                f"The list is too short for this model ({n_train:,} training words): try {smaller}{more} or a longer "
                "list."
            )
        elif gain <= 0:
            yield f"It has not learned all that it could: try --steps {4 * train.steps} or --n-embd {2 * model.n_embd}."
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
