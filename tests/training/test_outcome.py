"""What training says of itself at its end: beside counting, and of words that it has not seen."""

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
from rungwise.training.outcome import Counting, count, verdict

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
