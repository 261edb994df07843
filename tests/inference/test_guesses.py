"""Guess numbers against the true rank of every word of a small alphabet."""

import itertools

import numpy as np
import pytest

from helpers import listed
from rungwise.config import ModelConfig, WordStart
from rungwise.data.words import Vocabulary
from rungwise.inference import guesses
from rungwise.inference.evaluate import assess, scored
from rungwise.inference.guesses import guess_numbers
from rungwise.model.transformer import Transformer

ABC = Vocabulary("abc")
FIRSTS = np.array([0, 0, 5, 3, 0])
MODEL = Transformer(ModelConfig(vocab_size=5, block_size=7, n_layer=2, n_head=2, n_embd=8), 3).eval()
EVERY = ["".join(w) for k in range(1, 7) for w in itertools.product("abc", repeat=k)]


@pytest.mark.parametrize(
    "start", [WordStart(True, True), WordStart(True, False), WordStart(False, False)], ids=lambda s: s.scored
)
def test_the_true_rank_lies_within_the_interval(start):
    every = listed(EVERY)
    firsts = None if start.end_fed else FIRSTS
    found = guess_numbers(assess(MODEL, ABC, start, every), MODEL, ABC, firsts)
    nats = scored(MODEL, every.in_vocabulary(ABC)[0], WordStart(start.end_fed, start.end_fed)).words
    if firsts is not None:
        with np.errstate(divide="ignore"):
            nats = nats - np.log(FIRSTS / FIRSTS.sum())[[ABC.encode(w)[0] for w in EVERY]]
    rank = 1 + np.array([(nats < x - 1e-4).sum() for x in nats])
    possible = np.isfinite(nats)
    assert (found.number[~possible] == np.inf).all()
    away = np.abs(found.number - rank)[possible]
    within = away <= 1.96 * found.error[possible] + 1e-9
    # Neighbours share their draws, so that they are off together: on average 95 % lie within.
    assert within.mean() > 0.8 and (away <= 4.5 * found.error[possible] + 1e-6).all()
    assert np.median(found.error[possible] / rank[possible]) < 0.02


def test_the_error_shrinks_with_draws_as_theory_says(monkeypatch):
    every = listed(EVERY)
    found = []
    for draws in (1 << 14, 1 << 16):
        monkeypatch.setattr(guesses, "DRAWS", draws)
        of = assess(MODEL, ABC, WordStart(True, True), every)
        found.append(np.median(guess_numbers(of, MODEL, ABC, None).error))
    assert found[0] / found[1] == pytest.approx(2, rel=0.1)
