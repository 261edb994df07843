"""The most probable words, in exact order, against all words of a small alphabet."""

import itertools

import numpy as np
import pytest
import torch

from rungwise.config import ModelConfig
from rungwise.data.words import Vocabulary
from rungwise.errors import UserError
from rungwise.inference import ranked
from rungwise.inference.prefix_tree import Drawer, Sampling
from rungwise.inference.ranked import most_probable
from rungwise.inference.wanted import Wanted, rules_of
from rungwise.model.transformer import Transformer

ABC = Vocabulary("abc")
FIRSTS = np.array([0, 0, 5, 3, 0])
MODEL = Transformer(ModelConfig(vocab_size=5, block_size=5, n_layer=2, n_head=2, n_embd=8), 3).eval()
EVERY = ["".join(w) for k in range(1, 5) for w in itertools.product("abc", repeat=k)]


@torch.no_grad()
def nats(word: str, start: bool) -> float:
    """By the model's own forward pass over the whole word."""
    ids = [1, *ABC.encode(word), 1] if start else [*ABC.encode(word), 1]
    scores = MODEL(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)
    return -float(sum(scores[i, token] for i, token in enumerate(ids[1:])))


def order(word: str, start: bool) -> float:
    """With the first character, where the model does not draw it."""
    return nats(word, start) - (0 if start else float(np.log(FIRSTS[ABC.encode(word)[0]] / FIRSTS.sum())))


def ranks(n: int, start: bool = True, wanted: Wanted | None = None, **sampling):
    drawer = Drawer(MODEL, ABC, None if start else FIRSTS, Sampling(**sampling), 0)
    return most_probable(drawer, rules_of(wanted or Wanted(), drawer), n)


@pytest.mark.parametrize("at_once", [1, 5, 512])
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("n", [0, 1, 7, 50, 500])
def test_order_is_that_of_all_words(start, n, at_once, monkeypatch):
    monkeypatch.setattr(ranked, "AT_ONCE", at_once)
    every = [w for w in EVERY if start or w[0] != "c"]  # no word of FIRSTS begins with c
    expected = sorted(every, key=lambda w: order(w, start))[:n]
    found = ranks(n, start)
    np.testing.assert_allclose([order(w.text, start) for w in found], [order(w, start) for w in expected], rtol=1e-6)
    assert len({w.text for w in found}) == len(expected)
    for word in found:
        assert -word.log_likelihood == pytest.approx(nats(word.text, start), rel=1e-5)


def test_only_words_that_are_wanted_are_ranked():
    fitting = [w for w in EVERY if w[0] == "a" and w.endswith("b") and len(w) >= 3 and w != "acb"]
    found = ranks(100, wanted=Wanted(suffix="b", length="3-4", exclude=("acb",)), prefix="a")
    assert [w.text for w in found] == sorted(fitting, key=lambda w: order(w, True))


def test_where_nothing_fits_one_line_says_so():
    with pytest.raises(UserError, match="No word fits"):
        ranks(3, wanted=Wanted(suffix="x"))


def test_what_waits_is_bounded(monkeypatch):
    """However many words there are: a block for each length, none longer than what one read can give."""
    monkeypatch.setattr(ranked, "AT_ONCE", 4)
    sizes = []
    following = ranked._Search._following

    def watched(search, *arguments):
        block = following(search, *arguments)
        sizes.append(len(block.nats))
        return block

    monkeypatch.setattr(ranked._Search, "_following", watched)
    ranks(60)
    assert max(sizes) <= 4 * len(ABC)


def test_a_search_that_would_take_too_long_gives_what_is_certain(monkeypatch):
    monkeypatch.setattr(ranked, "MOST_READ", 60)
    found = [w.text for w in ranks(100)]
    expected = sorted(EVERY, key=lambda w: order(w, True))
    assert 0 < len(found) < 100 and found == expected[: len(found)]
