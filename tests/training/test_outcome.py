"""What training says of itself at its end: beside counting, and of words that it has not seen."""

import dataclasses
import json

import numpy as np
import pytest

from conftest import make_words
from helpers import TINY, command, flags
from rungwise.config import ModelConfig, TrainConfig, get_protocol
from rungwise.data.batches import Tape
from rungwise.data.dataset import ListDataset
from rungwise.data.ngram import fit
from rungwise.data.words import from_words
from rungwise.inference.score import Scores
from rungwise.training.outcome import Comparison, Counting, count, verdict

MODEL, TRAIN = ModelConfig(n_embd=64, dropout=0.2), TrainConfig(steps=500)


COUNTING = Counting(5, 2.0)


def lines(train, test, counting=COUNTING, model=MODEL):
    return list(verdict({"train": train, "test": test}, counting, 1234, model, TRAIN))


def test_better_and_worse_than_counting():
    assert lines(1.9, 1.94) == [
        "Counting letters (a 5-gram, no network) has a test loss of 2.0000 on the same words: this model is better by "
        "0.060 nats a character."
    ]
    worse = lines(1.8, 2.3)
    assert "this model is worse by 0.300" in worse[0]
    assert (
        "too short for this model (1,234 training words): try a smaller one (--n-embd 32), more --dropout" in worse[1]
    )
    assert worse[2].startswith("Strong overfitting") and "0.50 lower" in worse[2]
    assert "smaller" not in lines(1.8, 2.3, model=ModelConfig(n_embd=16))[1]
    assert "try --steps 2000 or --n-embd 128" in lines(2.2, 2.21)[1]  # it fits neither: not the list's fault
    assert lines(1.9, 1.94, counting=None) == [] and lines(1.9, 2.0, counting=None)[0].startswith("Some overfitting")


def test_whether_it_beats_counting_is_told_with_what_other_test_words_would_change():
    """The interval of the difference decides, paired by word; and a mixture is offered where the model does not win."""
    rng, lengths = np.random.default_rng(0), np.full(400, 5)
    nats = {part: rng.uniform(1, 3, size=2000) for part in ("validation", "test")}
    scores = {part: Scores(lengths, found, np.zeros(2000, dtype=bool)) for part, found in nats.items()}

    def compared(by):
        counting = Counting(7, 0.0, {part: found + by + rng.normal(0, 0.5, 2000) for part, found in nats.items()})
        counting = dataclasses.replace(counting, test_loss=float(counting.nats["test"].mean()))
        losses = {"train": scores["test"].loss, "test": scores["test"].loss}
        found = Comparison.of(scores, counting)
        assert found.test_loss.low < losses["test"] < found.test_loss.high
        assert found.gain.value == pytest.approx(counting.test_loss - losses["test"])
        assert found.gain.high - found.gain.low < (found.test_loss.high - found.test_loss.low) * 1.5
        if found.mixed < min(losses["test"], counting.test_loss):
            assert 0 < found.share < 1
        return list(verdict(losses, counting, 1234, MODEL, TRAIN, found))

    better, even, worse = compared(0.3), compared(0.0), compared(-0.3)
    assert "is better by " in better[0]
    assert "Mixed" not in better[0]
    assert "but other test words may turn that round" in even[0]
    assert " Mixed with " in even[0]
    assert "is worse by " in worse[0]
    assert "`eval` and `sample` do so with --ngram." in worse[0]


@pytest.mark.parametrize("protocol", ["strict", "article", "makemore"])
def test_the_count_is_of_the_same_split_and_the_same_characters(protocol):
    words, rules = make_words(), get_protocol(protocol)
    dataset = ListDataset(words, rules)
    found = count(dataset)
    tapes = {part: Tape.of(words, getattr(dataset.parts, part), rules) for part in ("train", "validation", "test")}
    models = {n: fit(tapes["train"], len(words.vocabulary), n) for n in range(1, 8)}
    if protocol == "strict":
        assert found.order == min(models, key=lambda n: models[n].loss(tapes["validation"]))
    assert found.test_loss == pytest.approx(models[found.order].loss(tapes["test"]))


def test_a_run_ends_with_it(tmp_path):
    words = ["".join(np.random.default_rng(i).choice(list("abcdefg"), 5)) for i in range(150)]
    (tmp_path / "l").write_text("\n".join([*words, "new york", "los angeles"]))
    done = command("train", "--data", tmp_path / "l", "--out", tmp_path / "r", *flags(**TINY))
    assert "Counting letters (a " in done.out and "Some words (* in training, \N{DEGREE SIGN} held out, " in done.out
    last = json.loads((tmp_path / "r/metrics.jsonl").read_text().splitlines()[-1])
    dataset = ListDataset(from_words([*words, "new york", "los angeles"]), get_protocol("strict"))
    assert (last["ngram_order"], last["ngram_test_loss"]) == (count(dataset).order, count(dataset).test_loss)
