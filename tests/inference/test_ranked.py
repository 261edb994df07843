"""The most probable words, in exact order, against all words of a small alphabet."""

import itertools

import numpy as np
import pytest
import torch

from rungwise.config import ModelConfig
from rungwise.data.words import Vocabulary
from rungwise.inference.prefix_tree import Drawer, Sampling
from rungwise.inference.ranked import most_probable
from rungwise.model.transformer import Transformer

ABC = Vocabulary("abc")
FIRSTS = np.array([0, 0, 5, 3, 0])
MODEL = Transformer(ModelConfig(vocab_size=5, block_size=5, n_layer=2, n_head=2, n_embd=8), 3).eval()


@torch.no_grad()
def nats(word: str, start: bool) -> float:
    """By the model's own forward pass over the whole word."""
    ids = [1, *ABC.encode(word), 1] if start else [*ABC.encode(word), 1]
    scores = MODEL(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)
    first = 0.0 if start else float(np.log(FIRSTS[ids[0]] / FIRSTS.sum()))
    return -first - float(sum(scores[i, token] for i, token in enumerate(ids[1:])))


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("n", [0, 1, 7, 50, 500])
def test_order_is_that_of_all_words(start, n):
    every = ["".join(w) for k in range(1, 5) for w in itertools.product("abc", repeat=k)]
    every = [w for w in every if start or w[0] != "c"]
    expected = sorted(every, key=lambda w: nats(w, start))[:n]
    found = list(most_probable(Drawer(MODEL, ABC, None if start else FIRSTS, Sampling(), 0), n))
    np.testing.assert_allclose([-w.log_likelihood for w in found], [nats(w, start) for w in expected], rtol=1e-5)
    assert len({w.text for w in found}) == len(expected)
    for word in found:
        assert -word.log_likelihood == pytest.approx(nats(word.text, start), rel=1e-5)
