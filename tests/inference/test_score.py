import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import ENGINES, every_engine_and_rung, expected_pairs
from rungwise.data.batches import Tape
from rungwise.inference.score import score
from rungwise.ladder import RUNGS
from rungwise.model.transformer import Transformer


def fresh(words, rung):
    return Transformer(rung.model.replace(vocab_size=len(words.vocabulary), block_size=words.block_size)).eval()


@every_engine_and_rung
def test_scores_are_those_of_a_loop_over_words(words, protocol, rung, engine):
    model, indices = fresh(words, rung), np.random.default_rng(0).permutation(len(words))[:13]
    scores = score(model, Tape.of(words, indices, protocol), engine)
    nats, correct = [], []
    with torch.no_grad():
        for fed, predicted in expected_pairs(words, indices, protocol):
            logits = model(torch.tensor([fed]))[0]
            nats.append(F.cross_entropy(logits, torch.tensor(predicted), reduction="none").tolist())
            correct += (logits.argmax(-1) == torch.tensor(predicted)).tolist()
    flat = [value for word in nats for value in word]
    np.testing.assert_allclose(scores.nats, flat, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores.words, [sum(word) for word in nats], rtol=1e-4)
    assert (scores.correct != correct).sum() <= 1  # a tie may fall either way
    assert scores.loss == pytest.approx(sum(flat) / len(flat), rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_loss_is_weighted_by_tokens_not_by_batches_or_words(words, protocol, monkeypatch, engine):
    model, tape = fresh(words, RUNGS["gelu"]), Tape.of(words, np.arange(len(words)), protocol)
    whole = score(model, tape, engine)
    monkeypatch.setattr("rungwise.inference.score.TOKENS_A_BATCH", 7)
    monkeypatch.setattr("rungwise.inference.score.WORDS_AT_ONCE", 5)
    assert score(model, tape, engine).loss == pytest.approx(whole.loss, rel=1e-6)


def test_summaries_by_position_and_length(words, protocol):
    scores = score(fresh(words, RUNGS["baseline"]), Tape.of(words, np.arange(len(words)), protocol))
    by_position, by_length = scores.by_position(), scores.by_length()
    at_0 = scores.nats[np.cumsum(scores.lengths) - scores.lengths]
    assert by_position[0] == pytest.approx(at_0.mean())
    assert by_length[0] is None
    counts = np.bincount(scores.lengths, weights=scores.lengths)
    total = sum(n * loss for n, loss in zip(counts, by_length, strict=True) if loss is not None)
    assert total / counts.sum() == pytest.approx(scores.loss)


def test_means_of_probability(words, protocol):
    scores = score(fresh(words, RUNGS["gelu"]), Tape.of(words, np.arange(len(words)), protocol))
    assert math.exp(-scores.loss) < scores.mean_probability  # a geometric mean lies below the arithmetic one
    assert 0 <= scores.accuracy <= 1
