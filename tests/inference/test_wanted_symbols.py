"""Words are wanted in characters, whatever the symbols are that a model writes them in, and whatever they are given."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from rungwise.config import ModelConfig
from rungwise.data.tokens import Tokens
from rungwise.data.words import Vocabulary
from rungwise.errors import UserError
from rungwise.inference.constrained import draw
from rungwise.inference.prefix_tree import Drawer, Sampling
from rungwise.inference.ranked import most_probable
from rungwise.inference.wanted import Wanted, rules_of
from rungwise.model.transformer import Transformer

SYMBOLS = ["a", "ab", "b"]
TOKENS = Tokens("file", tuple(SYMBOLS))
PLAIN = Vocabulary.of(SYMBOLS, TOKENS)
GIVEN = Vocabulary.of(SYMBOLS, TOKENS, ["x", "y"])
SHARES = {"x": 0.75, "y": 0.25}
FIRSTS = np.array([0, 0, 0, 0, 0, 3, 1])
MODELS = {
    len(v): Transformer(ModelConfig(vocab_size=len(v), block_size=5, n_layer=2, n_head=2, n_embd=8), 3).eval()
    for v in (PLAIN, GIVEN)
}


@torch.no_grad()
def probability(vocabulary: Vocabulary, symbols: list[str], first: int, longest: int, masked: bool = True) -> float:
    """Of a word behind the token `first`, by the model's own forward pass. `masked`: what cannot stand there is never
    drawn, and the last place ends."""
    ids = [first, *(vocabulary.ids[symbol] for symbol in symbols), 1]
    log = 0.0
    for i in range(1, len(ids)):
        logits = MODELS[len(vocabulary)](torch.tensor([ids[:i]]))[0, -1].double()
        if masked:
            logits[0] = logits[vocabulary.first_condition :] = -torch.inf
            logits[1] = -torch.inf if i == 1 else logits[1]
        if i <= longest or not masked:
            log += float(logits.log_softmax(-1)[ids[i]])
    return math.exp(log)


def every(longest: int) -> dict[str, list[str]]:
    """Each word that is written in as many symbols, as a list would split it."""
    rows = [list(row) for k in range(1, longest + 1) for row in itertools.product(SYMBOLS, repeat=k)]
    return {"".join(row): row for row in rows if TOKENS.split("".join(row)) == row}


WANTED = {
    "length": (Wanted(length="4-6"), lambda w: 4 <= len(w) <= 6),
    "suffix": (Wanted(suffix="bb"), lambda w: w.endswith("bb")),
    "contains": (Wanted(contains="ba", exclude=("ba", "aba")), lambda w: "ba" in w and w not in ("ba", "aba")),
}


def chi_square(words: list[str], expected: dict[str, float]) -> float:
    assert set(words) <= set(expected)
    wanted = np.array(list(expected.values()))
    wanted *= len(words) / wanted.sum()
    seen, common = np.array([words.count(w) for w in expected]), wanted >= 5
    seen, wanted = (np.append(x[common], x[~common].sum()) for x in (seen, wanted))
    return float(stats.chisquare(seen[wanted > 0], wanted[wanted > 0]).pvalue)


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("given", ["plain", "x", "y", None])
def test_words_come_as_often_as_the_model_says_of_those_that_fit(name, given):
    wanted, fits = WANTED[name]
    if given == "plain":
        vocabulary, firsts, asked, begins, longest = PLAIN, None, None, {1: 1.0}, 4
    else:
        vocabulary, firsts, asked, longest = GIVEN, FIRSTS, given, 3
        begins = {GIVEN.condition(v): share for v, share in SHARES.items() if given in (v, None)}
    drawer = Drawer(MODELS[len(vocabulary)], vocabulary, firsts, Sampling(given=asked), 0)
    assert drawer.longest == longest
    expected = {
        word: sum(share * probability(vocabulary, row, first, longest) for first, share in begins.items())
        for word, row in every(longest).items()
        if fits(word)
    }
    words = [w.text for w in draw(drawer, wanted, 3000, 1)]
    assert len(words) == 3000 and len(expected) > 4
    assert chi_square(words, expected) > 1e-4


def test_the_most_probable_words_are_each_there_once_and_in_order():
    drawer = Drawer(MODELS[len(GIVEN)], GIVEN, FIRSTS, Sampling(given="y"), 0)
    found = most_probable(drawer, rules_of(Wanted(contains="b"), drawer), 8)
    nats = {
        word: -math.log(probability(GIVEN, row, GIVEN.condition("y"), 3, masked=False))
        for word, row in every(3).items()
        if "b" in word
    }
    assert [w.text for w in found] == sorted(nats, key=nats.__getitem__)[:8]
    assert [-w.log_likelihood for w in found] == pytest.approx(sorted(nats.values())[:8], abs=1e-4)
    drawer = Drawer(MODELS[len(GIVEN)], GIVEN, FIRSTS, Sampling(), 0)
    with pytest.raises(UserError, match="--given"):
        most_probable(drawer, rules_of(Wanted(), drawer), 8)
